"""What docker compose is told, as far as it can be held to without a docker engine."""

import json
import os
import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest
import yaml

from schemas.database import VALIDATORS
from service.settings import Settings, variable
from service.storage.layout import INDEXES, SHARES_VIEW

ROOT = Path(__file__).resolve().parent.parent.parent
COMPOSE = (ROOT / "docker-compose.yml").read_text()
EXAMPLE = (ROOT / ".env.example").read_text()
PARSED = yaml.safe_load(COMPOSE)
CONTAINERS = PARSED["services"]
PASSWORDS = {
    "MONGODB_DATABASE": "dicom",
    "MONGODB_ROOT_PASSWORD": "root-1",
    "MONGODB_SERVICE_PASSWORD": "service-1",
    "MONGODB_ANALYST_PASSWORD": "analyst-1",
}


def set_up(state, tmp_path, **changes):
    """Run setup.js in a stand-in for mongosh and mongod, and give the state that it leaves."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("Node.js is not here")
    before = tmp_path / "state.json"
    before.write_text(json.dumps(state))
    stand_in = Path(__file__).with_name("mongod_stand_in.js")
    done = subprocess.run(
        [node, stand_in, ROOT / "docker" / "mongodb" / "setup.js", before],
        env={"PATH": os.environ["PATH"], **PASSWORDS, **changes},
        capture_output=True,
        check=True,
        timeout=30,
    )
    return json.loads(done.stdout)


def test_a_fresh_database_gets_its_replica_set_and_three_users(tmp_path):
    after = set_up({"answersAfter": 3}, tmp_path)
    assert after["error"] is None
    assert after["calls"] == ["initiate", "create root", "create service", "create analyst"]
    roles = {
        name: {(role["role"], role["db"]) for role in after["users"][name]["roles"]} for name in ("service", "analyst")
    }
    assert roles == {"service": {("documentStore", "admin")}, "analyst": {("documentAnalyst", "admin")}}


def test_the_service_may_do_what_it_does_with_each_collection_and_with_the_audit_only_read_and_add(tmp_path):
    privileges = set_up({}, tmp_path)["roles"]["documentStore"]["privileges"]
    assert {each["resource"]["db"] for each in privileges} == {"dicom"}
    actions = {each["resource"]["collection"]: set(each["actions"]) for each in privileges}
    kept = set(VALIDATORS) | {index.collection for index in INDEXES}
    kept |= {f"{bucket}.{kind}" for bucket in ("originals", "rendered") for kind in ("files", "chunks")}
    assert set(actions) == kept | {"", SHARES_VIEW}
    assert actions.pop(SHARES_VIEW) == {"createCollection", "collMod"}
    assert actions.pop("") == {"listCollections"}
    assert actions.pop("audit") == {"find", "insert", "createCollection", "createIndex", "listIndexes"}
    for name, allowed in actions.items():
        assert {"find", "insert", "update", "remove", "createIndex", "collMod"} <= allowed, name


def test_an_analyst_reads_everything_but_the_hashes_of_shares_and_does_nothing_else(tmp_path):
    roles = set_up({}, tmp_path)["roles"]
    of_service = {each["resource"]["collection"] for each in roles["documentStore"]["privileges"]}
    privileges = roles["documentAnalyst"]["privileges"]
    actions = {each["resource"]["collection"]: set(each["actions"]) for each in privileges}
    assert set(actions) == of_service - {"shares"}
    assert SHARES_VIEW in actions
    assert set().union(*actions.values()) == {"find", "listIndexes", "collStats", "listCollections"}


def test_a_database_of_an_earlier_version_gets_the_role(tmp_path):
    first = set_up({}, tmp_path)
    first["users"]["service"]["roles"] = [{"role": "readWrite", "db": "dicom"}]
    after = set_up({**first, "roles": {}, "calls": []}, tmp_path)
    assert after["error"] is None
    assert after["users"]["service"]["roles"] == [{"role": "documentStore", "db": "admin"}]
    assert set(after["roles"]) == {"documentStore", "documentAnalyst"}


def test_a_second_run_changes_nothing_but_a_changed_password(tmp_path):
    first = set_up({}, tmp_path)
    again = set_up({**first, "calls": []}, tmp_path, MONGODB_SERVICE_PASSWORD="service-2")
    assert (again["error"], again["calls"]) == (None, [])
    assert again["users"]["service"]["pwd"] == "service-2"
    assert again["users"]["analyst"] == first["users"]["analyst"]


@pytest.mark.parametrize("user", ["root", "service", "analyst"])
def test_a_run_that_was_killed_is_finished_by_the_next(user, tmp_path):
    broken = set_up({"dieAfter": user}, tmp_path)
    assert broken["error"]
    after = set_up({**broken, "dieAfter": None}, tmp_path)
    assert after["error"] is None
    assert sorted(after["users"]) == ["analyst", "root", "service"]


def test_a_database_that_is_still_starting_is_waited_for_and_not_initiated_again(tmp_path):
    first = set_up({}, tmp_path)
    again = set_up({**first, "calls": [], "loadingSeconds": 3, "electionSeconds": 3}, tmp_path)
    assert (again["error"], again["calls"]) == (None, [])


def test_another_root_password_is_refused_with_a_sentence(tmp_path):
    first = set_up({}, tmp_path)
    again = set_up(first, tmp_path, MONGODB_ROOT_PASSWORD="other")
    assert "MONGODB_ROOT_PASSWORD is not its password" in again["error"]


def test_a_database_that_never_answers_is_given_up_with_a_sentence(tmp_path):
    assert "not within a minute" in set_up({"answersAfter": 1000}, tmp_path)["error"]


def test_every_variable_of_docker_compose_is_in_the_example():
    asked = set(re.findall(r"\$\{(\w+)", COMPOSE))
    shown = set(re.findall(r"^#?([A-Z_]+)=", EXAMPLE, re.MULTILINE))
    assert asked == shown


def test_the_example_holds_no_secret_and_docker_compose_no_default_for_one():
    for name in re.findall(r"^(\w+)=", EXAMPLE, re.MULTILINE):
        assert re.search(rf"^{name}=$", EXAMPLE, re.MULTILINE), f"{name} has a value in .env.example"
    for name in re.findall(r"\$\{(\w*(?:PASSWORD|SECRET)\w*)", COMPOSE):
        assert set(re.findall(rf"\$\{{{name}(.*?)\}}", COMPOSE)) == {":?set it in .env; see .env.example"}


def test_the_service_is_told_nothing_that_it_does_not_know():
    known = {variable(setting) for setting in fields(Settings)}
    known |= {f"{variable(setting)}_FILE" for setting in fields(Settings) if not setting.metadata["flag"]}
    assert set(CONTAINERS["service"]["environment"]) <= known


def test_no_secret_stands_in_the_environment_of_the_service():
    service = CONTAINERS["service"]
    assert not {"JWT_SECRET", "MONGODB_URI"} & set(service["environment"])
    assert "PASSWORD" not in str(service["environment"])
    assert set(service["secrets"]) == set(PARSED["secrets"])
    assert set(re.findall(r"/run/secrets/(\w+)", str(service["environment"]))) == set(PARSED["secrets"])


def test_every_container_has_bounds_and_no_more_rights_than_it_needs():
    assert set(CONTAINERS) == {"mongodb", "mongodb-setup", "service", "proxy"}
    for name, container in CONTAINERS.items():
        assert container["pids_limit"] > 0, name
        assert container["mem_limit"], name
        assert container["read_only"] is True, name
        assert container["security_opt"] == ["no-new-privileges:true"], name
        assert container["cap_drop"] == ["ALL"], name
        assert container.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else []), name


def test_the_proxy_alone_publishes_a_port_and_does_not_reach_the_database():
    assert [name for name, container in CONTAINERS.items() if "ports" in container] == ["proxy"]
    assert CONTAINERS["proxy"]["ports"] == ["${PUBLISH:-127.0.0.1:8443}:443"]
    networks = {name: set(container.get("networks", ())) for name, container in CONTAINERS.items()}
    assert networks["mongodb"] == {"database"}
    assert networks["service"] & networks["proxy"]
    assert not networks["proxy"] & networks["mongodb"]
    assert PARSED["networks"]["database"]["internal"] is True


def test_many_service_containers_can_stand_side_by_side():
    service = CONTAINERS["service"]
    # A port, a name or a named volume could belong to one of them alone.
    assert not {"ports", "container_name", "hostname"} & set(service)
    assert service["volumes"] == ["/var/lib/service"]
    assert "DATA_DIR=/var/lib/service" in (ROOT / "Dockerfile").read_text()
    assert not {"DATA_DIR", "SPOOL_DIR"} & set(service["environment"])


def test_the_proxy_asks_the_service_where_it_listens_and_lets_no_connection_end_under_a_request():
    config = (ROOT / "docker" / "caddy" / "Caddyfile").read_text()
    assert {"./docker/caddy:/etc/caddy:ro"} <= set(CONTAINERS["proxy"]["volumes"])
    assert "{$SERVICE:service}" in config
    port = re.search(r"PORT=(\d+)", (ROOT / "Dockerfile").read_text())[1]
    assert f"{{$SERVICE_PORT:{port}}}" in config
    defaults = {setting.name: setting.default for setting in fields(Settings)}
    assert int(re.search(r"^\s+keepalive (\d+)s$", config, re.MULTILINE)[1]) < defaults["keepalive_timeout"]
    health = re.search(r"http://127\.0\.0\.1:\{\$HEALTH_PORT:(\d+)\}", config)[1]
    assert f"http://127.0.0.1:{health}/" in CONTAINERS["proxy"]["healthcheck"]["test"]


COMMAND = "docker compose exec mongodb mongosh --username analyst --authenticationDatabase admin dicom"


def test_the_analyst_gets_in_as_the_pages_say(tmp_path):
    for page in (COMPOSE, EXAMPLE, (ROOT / "docs" / "analysis.md").read_text("utf-8")):
        assert COMMAND in page
    assert "MONGODB_ANALYST_PASSWORD" in (ROOT / "docs" / "analysis.md").read_text("utf-8")
    container, program, *arguments = COMMAND.removeprefix("docker compose exec ").split()
    assert program == "mongosh"
    assert CONTAINERS[container]["image"] == CONTAINERS["mongodb-setup"]["image"], "which runs mongosh from it"
    said = dict(zip(arguments[:-1:2], arguments[1:-1:2], strict=True))
    after = set_up({}, tmp_path)
    # setup.js makes users where it speaks: in the database `admin`.
    assert said["--authenticationDatabase"] == "admin"
    analyst = after["users"][said["--username"]]
    assert analyst["pwd"] == PASSWORDS["MONGODB_ANALYST_PASSWORD"]
    database = re.search(r"MONGODB_DATABASE:-(\w+)", COMPOSE)[1]
    assert [role["role"] for role in analyst["roles"]] == ["documentAnalyst"]
    read = {each["resource"]["db"] for each in after["roles"]["documentAnalyst"]["privileges"]}
    assert read == {arguments[-1]} == {database}


def test_the_secrets_are_made_once_for_their_reader_alone_and_a_service_starts_with_them(tmp_path):
    (tmp_path / "docker").mkdir()
    shutil.copy(ROOT / "docker" / "make_secrets.sh", tmp_path / "docker")
    shutil.copy(ROOT / ".env.example", tmp_path)
    made = []
    for _ in range(2):
        subprocess.run([tmp_path / "docker" / "make_secrets.sh"], check=True, timeout=30)
        made.append([(tmp_path / name).read_text() for name in (".env", "secrets/mongodb_uri", "secrets/jwt_secret")])
    assert made[0] == made[1]
    assert not re.search(r"^[A-Z_]+=$", made[0][0], re.MULTILINE)
    assert ((tmp_path / ".env").stat().st_mode & 0o077, (tmp_path / "secrets").stat().st_mode & 0o077) == (0, 0)
    named = {f"{name.upper()}_FILE": str(tmp_path / "secrets" / name) for name in ("mongodb_uri", "jwt_secret")}
    settings = Settings.from_environment(named)
    password = re.search("^MONGODB_SERVICE_PASSWORD=(.+)", made[0][0], re.MULTILINE)[1]
    assert settings.mongodb_uri == f"mongodb://service:{password}@mongodb:27017/?replicaSet=rs0&authSource=admin"
    assert len(settings.jwt_secret) == 64
