"""The Postman collection in docs: made from the API as it is now, and newman runs all of it without a failure."""

import json
import os
import shutil
import subprocess
from pathlib import Path

from pydicom.data import get_testdata_file

from scripts.dev.make_postman_collection import FILE, TARGET, VARIABLES, make_collection, write_collection
from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.routes import all_routes

DOCUMENT = create_document(all_routes(Settings(dev_mode=True)))


def requests_of(collection):
    return [request for folder in collection["item"] for request in folder["item"]]


def test_the_file_is_what_the_script_makes_now():
    made = write_collection(make_collection(DOCUMENT))
    assert TARGET.read_text("utf-8") == made, "run scripts/dev/make_postman_collection.py and commit what it wrote"


def test_it_has_every_operation_and_its_variables():
    collection = json.loads(TARGET.read_text("utf-8"))
    asked = {
        (each["request"]["method"].lower(), "/" + "/".join(each["request"]["url"]["path"]))
        for each in requests_of(collection)
    }
    described = {(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations}
    assert asked == {(method, path.replace("{", ":").replace("}", "")) for method, path in described}
    used = {variable["value"] for each in requests_of(collection) for variable in each["request"]["url"]["variable"]}
    assert used <= {f"{{{{{name}}}}}" for name in VARIABLES}
    assert all(each["event"][0]["script"]["exec"] for each in requests_of(collection))


def test_newman_runs_it_from_the_beginning_to_the_end(newman, service, tmp_path):
    shutil.copy(Path(str(get_testdata_file("CT_small.dcm", download=False))), tmp_path / FILE)
    report = tmp_path / "report.json"
    command = [newman, "run", TARGET, "--working-dir", tmp_path, "--env-var", f"baseUrl={service.url}"]
    command += ["--env-var", "patientId=p-collection", "--reporters", "json", "--reporter-json-export", report]
    done = subprocess.run(
        command,
        env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
        capture_output=True,
        timeout=120,
        text=True,
        check=False,
    )
    assert report.exists(), done.stdout + done.stderr
    run = json.loads(report.read_text())["run"]
    failures = [(each["source"]["name"], each["error"]["message"]) for each in run["failures"]]
    assert failures == []
    assert len(run["executions"]) == len(requests_of(json.loads(TARGET.read_text("utf-8"))))
    assert run["stats"]["assertions"]["total"] >= len(run["executions"])
