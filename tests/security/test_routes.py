"""Every route, walked: a token opens its own patient's data, as far as its scope goes, and nothing else."""

import asyncio
import dataclasses
import json

import pytest
import pytest_asyncio

from service.auth.tokens import DELETE, READ, SHARE, WRITE, mint_token
from service.web.middleware import SAFE_HEADERS
from service.web.route import PUBLIC, UNAUDITED, UNDESCRIBED, Route
from service.web.routes import all_routes
from tests.web.routes import all_routes as routes_of
from tests.web.routes import concrete
from tests.web.service import SECRET

pytestmark = pytest.mark.asyncio(loop_scope="session")

MINE, THEIRS = "p-mine", "p-theirs"
ANY_METHOD = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "MKCOL")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def theirs(service, ct):
    """A file of another patient, with all that its paths need."""
    answer = await service.upload(THEIRS, ct, name="their-file-name.dcm")
    dicom_id = answer.headers["Location"].rpartition("/")[2]
    known = (
        await service.ask("GET", answer.headers["Location"], patient=THEIRS, headers={"Accept": "application/json"})
    ).json()
    wanted = json.dumps({"instances": [dicom_id], "expires_in": 600, "label": "their-label"}).encode()
    headers = {**with_every_scope(service, THEIRS), "Content-Type": "application/json"}
    made = await service.ask("POST", f"/patient/{THEIRS}/shares", headers=headers, data=wanted)
    return {
        "patient_id": THEIRS,
        "dicom_id": dicom_id,
        "share_id": made.json()["share_id"],
        "tag": "PatientName",
        "path": "PixelData",
        "study": known["study_instance_uid"],
        "series": known["series_instance_uid"],
        "instance": known["sop_instance_uid"],
        "frames": "1",
    }


def with_every_scope(service, patient):
    return {"access-token": service.token(patient, scope=f"{READ} {WRITE} {DELETE} {SHARE}")}


def fill(template, names):
    for name, value in names.items():
        template = template.replace(f"{{{name}}}", value)
    assert "{" not in template
    return template


def private_routes(service):
    """Method, template and the scope that it should need: this test's own opinion, not the table's."""
    for method, template, public in routes_of(service):
        if not public:
            yield (
                method,
                template,
                SHARE if "/shares" in template else {"POST": WRITE, "DELETE": DELETE}.get(method, READ),
            )


def says_nothing_of(answer, names):
    shown = answer.body + str(answer.headers).encode()
    secrets = (names["dicom_id"], names["share_id"], "CompressedSamples", "their-file-name", "their-label")
    for secret in (*secrets, names["instance"]):
        assert secret.encode() not in shown


async def test_their_own_token_opens_every_route(service, theirs):
    """What follows would prove nothing otherwise: these paths lead to data."""
    seen = 0
    for method, template, _ in private_routes(service):
        if method in {"GET", "HEAD"}:
            answer = await service.ask(method, fill(template, theirs), headers=with_every_scope(service, THEIRS))
            assert answer.status == 200, (template, answer.body)
            seen += 1
    assert seen >= 50


async def test_my_token_opens_no_route_of_theirs(service, theirs):
    mine = with_every_scope(service, MINE)
    for _, template, _ in private_routes(service):
        path = fill(template, theirs)
        for method in ANY_METHOD:
            answer = await service.ask(method, path, headers=mine)
            assert answer.status in {401, 405}, (method, template)
            says_nothing_of(answer, theirs)
    assert (await service.ask("GET", f"/patient/{THEIRS}/dicom/{theirs['dicom_id']}", patient=THEIRS)).status == 200


async def test_their_ids_below_my_name_are_of_nothing(service, theirs):
    below_me = {**theirs, "patient_id": MINE}
    for method, template, _ in private_routes(service):
        if method == "POST":
            continue
        answer = await service.ask(method, fill(template, below_me), headers=with_every_scope(service, MINE))
        named = any(f"{{{name}}}" in template for name in ("dicom_id", "study", "series", "instance", "share_id"))
        searched = template.endswith(("/studies", "/series", "/instances"))
        assert answer.status in ({200} if searched or not named else {404}), (method, template, answer.body)
        says_nothing_of(answer, theirs)
    assert (await service.ask("GET", f"/patient/{THEIRS}/dicom/{theirs['dicom_id']}", patient=THEIRS)).status == 200


# --- scopes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "scope",
    [
        "",
        "openid",
        READ,
        WRITE,
        DELETE,
        SHARE,
        f"{READ} {WRITE}",
        f"{WRITE} {DELETE}",
        f"{READ} {WRITE} {DELETE}",
        f"{READ} {WRITE} {DELETE} {SHARE}",
    ],
)
async def test_a_scope_opens_its_routes_and_no_others(service, scope):
    headers = {"access-token": mint_token(SECRET, "p-1", lifetime=60, scope=scope)}
    seen = 0
    for method, template, needed in private_routes(service):
        answer = await service.ask(method, concrete(template), headers=headers)
        if needed in scope.split():
            assert answer.status not in {401, 403}, (method, template)
        else:
            seen += 1
            assert answer.status == 403, (method, template)
            challenge = f'Bearer realm="dicom", error="insufficient_scope", scope="{needed}"'
            assert answer.headers["WWW-Authenticate"] == challenge
            if method != "HEAD":
                assert answer.json()["code"] == "forbidden"
    assert bool(seen) == (not {READ, WRITE, DELETE, SHARE} <= set(scope.split()))


async def test_whose_scope_is_not_enough_learns_nothing_of_what_is_there(service, theirs):
    headers = {"access-token": mint_token(SECRET, THEIRS, lifetime=60, scope=WRITE)}
    there, not_there = theirs["dicom_id"], "5b1f0000-0000-5000-8000-000000000000"
    answers = [
        await service.ask("GET", f"/patient/{THEIRS}/dicom/{each}", headers=headers) for each in (there, not_there)
    ]
    assert [answer.status for answer in answers] == [403, 403]
    assert answers[0].json()["detail"] == answers[1].json()["detail"]


async def test_another_patients_token_is_401_before_its_scope_is_looked_at(service):
    headers = {"access-token": mint_token(SECRET, MINE, lifetime=60, scope="")}
    assert (await service.ask("GET", f"/patient/{THEIRS}/dicom", headers=headers)).status == 401


async def test_who_may_write_uploads_and_learns_the_id_and_cannot_read_it(service, ct, patient):
    def token(scope):
        return {
            "access-token": mint_token(SECRET, patient, lifetime=60, scope=scope),
            "Content-Type": "application/dicom",
        }

    answer = await service.ask("POST", f"/patient/{patient}/dicom", data=ct, headers=token(WRITE))
    assert answer.status == 200
    path = answer.headers["Location"]
    assert path.endswith(answer.json())
    for method, scope, status in (
        ("GET", WRITE, 403),
        ("DELETE", f"{READ} {WRITE}", 403),
        ("GET", DELETE, 403),
        ("GET", READ, 200),
        ("DELETE", DELETE, 204),
        ("GET", READ, 404),
    ):
        assert (await service.ask(method, path, headers=token(scope))).status == status


async def test_a_route_that_does_not_say_who_may_use_it_keeps_the_service_from_starting(service):
    async def handler(_):
        raise AssertionError

    for scope, action in (
        ("dicom:admin", "read"),
        ("", "read"),
        (READ, UNAUDITED),
        (PUBLIC, "read"),
    ):
        with pytest.raises(ValueError, match="GET /new"):
            Route("GET", "/new", handler, scope, action, UNDESCRIBED)
    for some in ((), (READ,), (READ, "read")):
        with pytest.raises(TypeError, match="missing"):
            Route("GET", "/new", handler, *some)
    routes = all_routes(dataclasses.replace(service.settings, dev_mode=False))
    assert len([route for route in routes if route.scope is not PUBLIC]) > 25


# --- paths ---------------------------------------------------------------------------------------------------------

TRICKS = [
    "/patient/{mine}/../{theirs}/dicom{rest}",
    "/patient/{mine}/%2e%2e/{theirs}/dicom{rest}",
    "/patient/{mine}/.%2E/{theirs}/dicom{rest}",
    "/patient/{mine}%2f..%2f{theirs}/dicom{rest}",
    "/patient/{mine}%2F{theirs}/dicom{rest}",
    "/patient/{mine}%252f..%252f{theirs}/dicom{rest}",
    "/patient/{mine}\\..\\{theirs}/dicom{rest}",
    "/patient/{mine}%5c..%5c{theirs}/dicom{rest}",
    "/patient/{mine};/../{theirs}/dicom{rest}",
    "/patient/{mine}/dicom/../../{theirs}/dicom{rest}",
    "/patient/{mine}/dicom/..%2f..%2f{theirs}%2fdicom{rest}",
    "/patient/{mine}/dicom/%2e%2e/%2e%2e/{theirs}/dicom{rest}",
    "/./patient/./{theirs}/dicom{rest}",
    "//patient/{theirs}/dicom{rest}",
    "/patient//{theirs}/dicom{rest}",
    "/patient/{theirs}//dicom{rest}",
    "/patient/{theirs}/dicom/{rest}",
    "/patient/{theirs}%00/dicom{rest}",
    "/patient/{theirs}%00{mine}/dicom{rest}",
    "/patient/{theirs}%0d%0aX:%20y/dicom{rest}",
    "/patient/{theirs}%20/dicom{rest}",
    "/patient/{theirs}./dicom{rest}",
    "/patient/{theirs};{mine}/dicom{rest}",
    "/patient/{theirs},{mine}/dicom{rest}",
    "/patient/{theirs}%c0%80/dicom{rest}",
    "/patient/%c0%ae%c0%ae/dicom{rest}",
    "/patient/{mine}%c0%af..%c0%af{theirs}/dicom{rest}",
    "/patient/{mine}%e0%80%af{theirs}/dicom{rest}",
    "/patient/{mine}%ef%bc%8f{theirs}/dicom{rest}",
    "/patient/{mine}%u002f{theirs}/dicom{rest}",
    "/patient/{theirs}%/dicom{rest}",
    "/patient/{theirs}?/../../{mine}/dicom{rest}",
    "/patient/{theirs}/dicom{rest}?patient_id={mine}",
    "/patient/{theirs}/dicom{rest}#/patient/{mine}/dicom",
    "/patient/{theirs}/dicom{rest}%23/patient/{mine}/dicom",
    "/PATIENT/{theirs}/dicom{rest}",
    "/patient/{theirs}/DICOM{rest}",
    "/patient/{upper}/dicom{rest}",
    "http://127.0.0.1/patient/{theirs}/dicom{rest}",
    "http://127.0.0.1/patient/{mine}/../{theirs}/dicom{rest}",
    "http://{mine}@127.0.0.1/patient/{theirs}/dicom{rest}",
    "/static/../patient/{theirs}/dicom{rest}",
    "/static/%2e%2e/patient/{theirs}/dicom{rest}",
    "/healthz/../patient/{theirs}/dicom{rest}",
    "/healthz;/patient/{theirs}/dicom{rest}",
    "*/patient/{theirs}/dicom{rest}",
    "patient/{theirs}/dicom{rest}",
]


async def say(service, request):
    """Send bytes as they are, and read what comes until the other side has nothing more to say."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    try:
        writer.write(request)
        return await asyncio.wait_for(reader.read(), 5)
    finally:
        writer.close()


@pytest.mark.parametrize("trick", TRICKS)
async def test_no_spelling_of_a_path_leads_to_theirs_with_my_token(service, theirs, trick):
    for rest in ("", f"/{theirs['dicom_id']}", f"/{theirs['dicom_id']}/tags"):
        path = trick.format(mine=MINE, theirs=THEIRS, upper=THEIRS.upper(), rest=rest)
        for head in ("", f"access-token: {service.token(MINE)}\r\n"):
            answer = await say(service, f"GET {path} HTTP/1.1\r\nHost: x\r\n{head}Connection: close\r\n\r\n".encode())
            assert answer[9:12] in {b"400", b"401", b"404", b"422"}, (path, answer)
            assert b"application/problem+json" in answer
            shown = answer.replace(rest.encode() or b"-", b"")
            for secret in (theirs["dicom_id"], "CompressedSamples", "their-file-name"):
                assert secret.encode() not in shown


@pytest.mark.parametrize("character", [*range(0x20), 0x7F, 0x80, 0x85, 0x9F, 0x2028])
async def test_control_characters_are_in_no_patient_id(service, character):
    escaped = "".join(f"%{byte:02x}" for byte in chr(character).encode())
    answer = await service.ask("GET", f"/patient/p{escaped}1/dicom", patient=f"p{chr(character)}1")
    assert answer.status == (200 if character == 0x2028 else 422)  # that is a separator, and text as any other


@pytest.mark.parametrize("length", [64, 65, 1000, 7000])
async def test_a_patient_id_has_64_characters_at_most(service, length):
    for character, escaped in (("x", "x"), ("é", "%C3%A9")) if length < 1000 else (("x", "x"),):
        answer = await service.ask("GET", f"/patient/{escaped * length}/dicom", patient=character * min(length, 200))
        assert answer.status == (200 if length == 64 else 422)


async def test_forms_of_one_name_are_two_patients(service, ct):
    """NFC and NFD, and what looks alike: compared byte for byte, so that no other program's folding matters."""
    composed, apart, greek = "caf%C3%A9", "cafe%CC%81", "%CF%81-1"
    form = {"Content-Type": "application/dicom"}
    path = (await service.ask("POST", f"/patient/{composed}/dicom", patient="café", data=ct, headers=form)).headers[
        "Location"
    ]
    assert (await service.ask("GET", path, patient="café")).status == 200
    assert (await service.ask("GET", path, patient="cafe\u0301")).status == 401
    listed = await service.ask("GET", f"/patient/{apart}/dicom", patient="cafe\u0301")
    assert listed.json()["instances"] == []
    assert (await service.ask("GET", f"/patient/{greek}/dicom", patient="p-1")).status == 401


@pytest.mark.parametrize(
    "header",
    [
        "X-Original-URL: {path}",
        "X-Rewrite-URL: {path}",
        "X-Forwarded-Prefix: {path}",
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "X-Forwarded-For: 127.0.0.1",
        "X-Forwarded-User: p-theirs",
        "X-Patient-Id: p-theirs",
        "Forwarded: for=127.0.0.1;host=localhost",
        "Referer: {path}",
        "Origin: http://127.0.0.1",
    ],
)
async def test_no_other_header_says_what_is_asked_or_who_asks(service, theirs, header):
    path = f"/patient/{THEIRS}/dicom/{theirs['dicom_id']}"
    name, _, value = header.format(path=path).partition(": ")
    assert (await service.ask("GET", path, headers={name: value})).status == 401
    answer = await service.ask("GET", f"/patient/{MINE}/dicom", patient=MINE, headers={name: value})
    assert (answer.status, answer.json()["instances"]) == (200, [])
    answer = await service.ask("GET", path, patient=THEIRS, headers={name: value, "Accept": "application/json"})
    assert answer.status == 200
    assert (await service.ask("GET", path, patient=THEIRS)).status == 200


# --- answers -------------------------------------------------------------------------------------------------------


async def test_every_answer_tells_browsers_and_caches_to_keep_their_hands_off(service, theirs):
    for method, template, _ in routes_of(service):
        if method not in {"GET", "HEAD"}:
            continue
        page = template in {"/", "/s", "/docs", "/openapi.json"} or template.startswith("/static/")
        for answer in (
            await service.ask(method, fill(template, theirs), headers=with_every_scope(service, THEIRS)),
            await service.ask(
                method, fill(template, {**theirs, "patient_id": MINE}), headers=with_every_scope(service, MINE)
            ),
            await service.ask(method, fill(template, theirs)),
        ):
            sent = answer.headers
            for name in SAFE_HEADERS:
                assert name in sent, (template, name)
            assert sent["X-Content-Type-Options"] == "nosniff"
            assert sent["X-Frame-Options"] == "DENY"
            assert sent["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "frame-ancestors 'none'" in sent["Content-Security-Policy"]
            assert "unsafe" not in sent["Content-Security-Policy"]
            directives = {word.strip() for word in sent["Cache-Control"].split(",")}
            assert page or "private" in directives or "no-store" in directives, (template, directives)
            assert "public" not in directives


async def test_what_the_parser_refuses_has_the_same_headers(service):
    answer = await service.raw(b"GET / HTTP/1.1\r\nHost x\r\n\r\n")
    assert answer.status == 400
    assert SAFE_HEADERS.items() - {("Cache-Control", SAFE_HEADERS["Cache-Control"])} <= set(answer.headers.items())


async def test_what_is_stored_is_downloaded_and_never_shown_as_a_page(service, ct, patient):
    html = b"<script>alert(1)</script>".ljust(128, b"\0") + ct[128:]
    answer = await service.upload(patient, html, name='"><script>.html')
    answer = await service.ask("GET", answer.headers["Location"], patient=patient)
    assert answer.body == html
    assert answer.headers["Content-Type"] == "application/dicom"
    assert answer.headers["Content-Disposition"].startswith("attachment;")
    assert not set('<>"') & set(answer.headers["Content-Disposition"].split('filename="')[1].split('"')[0])
    assert "sandbox" in answer.headers["Content-Security-Policy"]


# --- the dev token -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("localhost", 200),
        ("LOCALHOST:1", 200),
        ("[::1]:8000", 200),
        ("evil.example", 404),
        ("127.0.0.1.evil.example:8000", 404),
        ("localhost.evil.example", 404),
        ("127.0.0.1@evil.example", 400),
        ("evil.example@127.0.0.1", 400),
        ("[::1", 400),
        ("[::1]evil.example", 400),
        ("10.0.0.1", 404),
        ("", 400),
    ],
)
async def test_dev_tokens_are_given_to_pages_of_this_machine_alone(service, host, status):
    """A name of elsewhere can be made to resolve to this machine, and its page would then read the answer."""
    answer = await service.raw(f"GET /patient/p-1/token HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    assert answer.status == status, answer.body
    assert (b"access_token" in answer.body) == (status == 200)
