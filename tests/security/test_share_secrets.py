"""What opens a share stands in no line of the log, metric, entry of the audit, header, refusal or document.

A real service on its database is asked rightly and wrongly with the secret of a link, with a session's token and with
passcodes, in every place where somebody may put them by mistake. Then all that it wrote is searched for them.
"""

import base64
import json
import time
from urllib.parse import quote

import pytest
from bson import BSON
from pymongo import MongoClient

from service.auth.tokens import READ, SHARE, WRITE, mint_token
from tests.faults.stores import make_file
from tests.running_service import RunningService

PATIENT = "p-shares"
KEY = "a secret of the tests, with more than 32 bytes"
RIGHT, WRONG = "right-KRAM71-passcode", "wrong-KRAM72-passcode"
JSON = "application/json"
PIECE = 16
"""Characters of a secret that nobody may find either."""


class Journey:
    """Asks a service, and keeps every answer that must hold nothing."""

    def __init__(self, service):
        self.service = service
        self.secrets, self.answers, self.statuses = {RIGHT, WRONG}, [], set()
        self.owner = mint_token(KEY, PATIENT, lifetime=600, scope=f"{READ} {WRITE} {SHARE}")

    def ask(self, method, path, body=None, *, token=None, kept=True, **headers):
        if isinstance(body, dict):
            body, headers = json.dumps(body), {"content_type": JSON, **headers}
        own_token = self.owner if token is None else token
        status, got, answer = self.service.request(method, path, body, **{"access-token": own_token, **headers})
        assert status != 500, (method, path, answer)
        self.statuses.add(status)
        self.answers.append(f"{status} {got} {answer.decode('latin-1') if kept else ''}")
        return status, got, answer

    def make(self, **wanted):
        """Make a share, whose answer alone has the secret."""
        status, _, body = self.ask("POST", f"/patient/{PATIENT}/shares", {"expires_in": 600, **wanted}, kept=False)
        assert status == 201, body
        made = json.loads(body)
        secret = made["link"].rpartition("#")[2]
        self.secrets.add(secret)
        return made["share_id"], secret

    def open(self, secret, *, kept=True, **more):
        return self.ask("POST", "/shares/session", {"secret": secret, **more}, token="", kept=kept)

    def session(self, secret, **more):
        """Open a session, whose answer alone has its token."""
        status, _, body = self.open(secret, kept=False, **more)
        assert status == 200, body
        token = json.loads(body)["access_token"]
        self.secrets.add(token.rpartition(".")[2])
        return token


def misplace(journey, text, dicom_id):
    """Put something where it does not belong, but in the place of a patient, whom the audit names as they are named."""
    patient, there = f"/patient/{PATIENT}", quote(text, safe="")
    for method, path in (
        ("GET", f"/s/{there}"),
        ("GET", f"/s?{there}"),
        ("GET", f"/shares/session?secret={there}"),
        ("POST", f"/shares/session?secret={there}"),
        ("POST", f"/shares/{there}"),
        ("GET", f"{patient}/shares/{there}"),
        ("DELETE", f"{patient}/shares/{there}"),
        ("POST", f"{patient}/shares/{there}/accept"),
        ("GET", f"{patient}/shares?limit={there}"),
        ("GET", f"{patient}/dicom?secret={there}"),
        ("GET", f"{patient}/dicom?limit={there}"),
        ("GET", f"{patient}/dicom?orderby={there}"),
        ("GET", f"{patient}/dicom?access_token={there}"),
        ("GET", f"{patient}/dicom/{there}"),
        ("GET", f"{patient}/dicom/{dicom_id}/tag/{there}"),
        ("GET", f"{patient}/dicomweb/studies/{there}"),
        ("PUT", f"{patient}/dicom/{there}"),
    ):
        journey.ask(method, path, {} if method == "POST" else None)
    # Not in X-Request-ID: whoever sends that chooses what is written down.
    for header in ("Authorization", "Accept", "Range", "If_None_Match", "Referer", "Cookie", "Origin"):
        journey.ask("GET", f"{patient}/dicom/{dicom_id}", **{header: text})
    journey.ask("GET", f"{patient}/dicom", token=text)
    journey.ask("GET", f"{patient}/dicom", token="", Authorization=f"Bearer {text}")
    journey.ask("POST", f"{patient}/shares", {"expires_in": 60, "instances": [text]})
    journey.ask("POST", f"{patient}/shares", {"expires_in": 60, "studies": ["1.2"], text: text})
    journey.ask("POST", f"{patient}/shares", {"expires_in": text, "passcode": text})


def open_wrongly(journey, secret):
    """Send what nearly opens a share."""
    for body in (
        {"secret": secret[:-1]},
        {"secret": f"{secret}A"},
        {"secret": f" {secret}"},
        {"secret": [secret]},
        {"secret": {secret: secret}},
        {"secret": secret, "passcode": 5},
        {"secret": secret, "passcode": [RIGHT]},
        {"secret": secret, "more": secret},
        {secret: secret},
        [secret],
    ):
        journey.ask("POST", "/shares/session", json.dumps(body), token="", content_type=JSON)
    for body, kind in (
        (f'{{"secret": "{secret}"', JSON),
        (f'{{"secret": "{secret}\\ud800"}}', JSON),
        (f"secret={secret}", "application/x-www-form-urlencoded"),
        (f'{{"secret": "{secret}"}}', f"text/{secret}"),
        (f'{{"secret": "{secret}", "passcode": "{RIGHT * 1000}"}}', JSON),
        (b"\xff" + secret.encode(), JSON),
    ):
        journey.ask("POST", "/shares/session", body, token="", content_type=kind)


def use(journey, session, dicom_id):
    """Ask by a session for what it shows, and for what it does not."""
    for path in (
        "dicom",
        "dicom?limit=0",
        f"dicom/{dicom_id}",
        f"dicom/{dicom_id}/tags",
        "dicomweb/studies",
        "tags",
        "shares",
        "dicom/5b1f0000-0000-5000-8000-000000000000",
    ):
        journey.ask("GET", f"/patient/{PATIENT}/{path}", token=session)
        journey.ask("GET", f"/patient/{PATIENT}/{path}", token="", Authorization=f"Bearer {session}")
    journey.ask("GET", "/patient/another/dicom", token=session)
    journey.ask("DELETE", f"/patient/{PATIENT}/dicom/{dicom_id}", token=session)
    journey.ask("POST", f"/patient/{PATIENT}/dicom", make_file(), token=session, content_type="application/dicom")
    journey.ask("GET", f"/patient/{PATIENT}/dicom", token=session, Authorization=f"Bearer {journey.owner}")
    journey.ask("GET", f"/patient/{PATIENT}/dicom", token=f"{session[:-1]}_")


def ask_without_a_database(journey, secret, session):
    """Have the driver fail in the middle, which then says most."""
    if journey.service.uri is None:
        journey.service.database().kill()
        journey.open(secret, passcode=RIGHT)
        journey.ask("GET", f"/patient/{PATIENT}/dicom", token=session)
        until = time.monotonic() + 30
        while journey.service.request("GET", "/readyz")[0] != 200:
            assert time.monotonic() < until
            time.sleep(0.1)


def documents(service):
    """Every document of the database, as the bytes that it has."""
    with MongoClient(service.database_uri()) as client:
        database = client[service.database_name]
        for name in database.list_collection_names():
            for document in database[name].find():
                yield name, BSON.encode(document)


def forms_of(secret):
    """A secret as it may be written, and the pieces of it."""
    for text in (secret, secret[:PIECE], secret[-PIECE:]):
        yield from (text.encode(), quote(text).encode(), text.encode().hex().encode())
    for shift in range(3):  # wherever it begins in what is encoded
        encoded = base64.b64encode(b"\0" * shift + secret.encode())
        yield encoded[4:-4]


@pytest.mark.parametrize("form_of_log", ["json", pytest.param("text", marks=pytest.mark.long)])
def test_nothing_that_is_written_holds_what_opens_a_share(tmp_path, form_of_log):
    variables = {"LOG_LEVEL": "DEBUG", "LOG_FORMAT": form_of_log, "PYTHONWARNINGS": "always", "PYTHONASYNCIODEBUG": "1"}
    variables |= {"JWT_SECRET": KEY, "PUBLIC_URL": "https://store.example"}
    with RunningService(tmp_path / "data", dev=False, **variables) as service:
        journey = Journey(service)
        _, _, body = journey.ask("POST", f"/patient/{PATIENT}/dicom", make_file(), content_type="application/dicom")
        dicom_id = json.loads(body)
        share_id, secret = journey.make(instances=[dicom_id], passcode=RIGHT, label="for Dr Lang")
        _, bare = journey.make(instances=[dicom_id], download=True)
        _, inbox = journey.make(upload=True, max_files=5, max_bytes=10 << 20)
        assert journey.open(secret)[0] == 401  # the passcode is asked for
        assert journey.open(secret, passcode=WRONG)[0] == 401
        session, own = journey.session(secret, passcode=RIGHT), journey.session(bare)
        sending = journey.session(inbox)
        use(journey, session, dicom_id)
        use(journey, own, dicom_id)
        use(journey, sending, dicom_id)
        for text in (secret, session, RIGHT):
            misplace(journey, text, dicom_id)
        open_wrongly(journey, secret)
        ask_without_a_database(journey, secret, session)
        for path in ("", f"/{share_id}"):
            assert journey.ask("GET", f"/patient/{PATIENT}/shares{path}")[0] == 200
        for _ in range(9):
            assert journey.open(secret, passcode=WRONG)[0] == 401
        assert journey.open(secret, passcode=RIGHT)[0] == 404  # closed
        assert journey.ask("GET", f"/patient/{PATIENT}/dicom", token=session)[0] == 401
        for path in (f"/{share_id}", "?limit=1"):
            assert journey.ask("GET", f"/patient/{PATIENT}/shares{path}")[0] == 200
        figures = journey.ask("GET", "/metrics")[2]
        time.sleep(1.5)  # the audit is written by the second
        kept = list(documents(service))
        assert service.stop() == 0
    output = service.log.read_bytes()
    shown = [("output", output), ("metrics", figures), *kept]
    shown += [("answer", answer.encode("latin-1")) for answer in journey.answers]
    wanted = {form: secret for secret in journey.secrets for form in forms_of(secret)}
    assert len(journey.secrets) == 2 + 3 + 3
    for name, content in shown:
        for form in wanted:
            assert form not in content, (name, content[max(content.find(form) - 500, 0) :][:1000])
    # All of it was there to be searched.
    if form_of_log == "json":
        assert all(json.loads(line)["level"] for line in output.splitlines())
    collections = {name for name, _ in kept}
    assert {"shares", "audit", "instances", "tag_index", "originals.files", "meta"} <= collections
    actions = {BSON(content).decode()["action"] for name, content in kept if name == "audit"}
    assert {"share", "open_share", "try_passcode", "close_share", "read_tags", "upload", "search"} <= actions
    assert b"/shares/session" in output
    assert {200, 201, 401, 403, 404, 405, 413, 415, 422} <= journey.statuses
