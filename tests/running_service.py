"""A real service: its own process, a free port, its own local database or one of the MongoDB that MONGODB_URI names."""

import atexit
import hashlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from pymongo import MongoClient

from service.storage.local.database import find_running

ROOT = Path(__file__).resolve().parent.parent
START_SECONDS = 60
DATABASES = ("secantusd", "mongod")


def wait_until_gone(processes, seconds=10):
    """Wait for processes to end, and give the command lines of those that did not."""
    _, alive = psutil.wait_procs(processes, timeout=seconds)
    return [process.cmdline() for process in alive]


def wait_for(what, seconds=20):
    """Wait until something is so, and give it."""
    deadline = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def database_of(data_dir):
    """The name of the database that a data directory has in the MongoDB of the tests."""
    name = f"test_{hashlib.sha256(str(data_dir).encode()).hexdigest()[:20]}"
    atexit.register(_drop, os.environ["MONGODB_URI"], name)
    return name


def _drop(uri, name):
    with MongoClient(uri, serverSelectionTimeoutMS=2000) as client:
        client.drop_database(name)


class RunningService:
    """`python -m service --dev` on a data directory, from construction to `stop` or `kill`.

    `dev=False`: not in dev mode; then a key is among the flags or variables, and there is no token to ask for.

    If the tests are pointed at an engine (`MONGODB_URI`), each data directory has a database of its own there, which is
    dropped when the tests end.
    """

    def __init__(self, data_dir, *flags, module="service", dev=True, **variables):
        self.log = Path(data_dir).with_name(f"{Path(data_dir).name}.log")
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("MONGODB_", "JWT_"))}
        self.uri = variables.get("MONGODB_URI") or os.environ.get("MONGODB_URI")
        if os.environ.get("MONGODB_URI"):
            environment["MONGODB_URI"] = os.environ["MONGODB_URI"]
            environment["MONGODB_DATABASE"] = database_of(data_dir)
        self.database_name = (environment | variables).get("MONGODB_DATABASE", "dicom")
        with self.log.open("ab") as log:
            before = log.tell()
            self.process = psutil.Popen(
                [
                    *(sys.executable, "-m", module, *(["--dev"] if dev else [])),
                    *("--port", "0", "--data-dir", str(data_dir), *flags),
                ],
                cwd=ROOT,
                env=environment | variables,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        self.data_dir = Path(data_dir)
        self.port = self._wait_until_it_listens(before)
        self.url = f"http://127.0.0.1:{self.port}"
        self._tokens = {}

    def _wait_until_it_listens(self, before):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            text = self.log.read_bytes()[before:].decode()
            if found := re.search(r"listening on http://127\.0\.0\.1:(\d+)", text):
                return int(found[1])
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        self.kill()
        raise AssertionError(f"the service did not start:\n{self.log.read_text()}")

    def request(self, method, path, body=None, patient="p-1", connection=None, **headers):
        """Send one request with a token, and give (status, headers, body)."""
        own = connection or self.connect()
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            if path.startswith("/patient/") and not path.endswith("/token") and "access-token" not in named:
                named["access-token"] = self.token(patient)
            own.request(method, path, body, named)
            response = own.getresponse()
            return response.status, response.headers, response.read()
        finally:
            if connection is None:
                own.close()

    def connect(self):
        """A connection for several requests."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def token(self, patient):
        """A token for a patient, asked for once."""
        if patient not in self._tokens:
            status, _, body = self.request("GET", f"/patient/{patient}/token")
            assert status == 200
            self._tokens[patient] = json.loads(body)["access_token"]
        return self._tokens[patient]

    def upload(self, content, patient="p-1", **headers):
        """Upload a file, and give its id."""
        status, _, body = self.request(
            "POST", f"/patient/{patient}/dicom", content, patient, content_type="application/dicom", **headers
        )
        assert status == 200, (status, body)
        return json.loads(body)

    def family(self):
        """The processes that it started, and theirs."""
        return self.process.children(recursive=True)

    def database_uri(self):
        """Where its MongoDB answers, a local one too."""
        uri = self.uri or find_running(self.data_dir)
        assert uri is not None, "a script beside the service does not find its database"
        return uri

    def database(self):
        """The process of its local database; a test that needs one is skipped where the tests have an engine."""
        if self.uri:
            pytest.skip("the database is not a process of the service: MONGODB_URI names it")
        return next(each for each in self.family() if any(name in " ".join(each.cmdline()) for name in DATABASES))

    def memory(self):
        """Bytes of memory that the service and its workers hold, the database not included."""
        members = [self.process] + [child for child in self.family() if "service.workers.child" in child.cmdline()]
        return sum(member.memory_info().rss for member in members)

    def stop(self, number=signal.SIGTERM, seconds=30):
        """Ask it to stop, and give its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(seconds)

    def kill(self):
        """End it at once."""
        if self.process.poll() is None:
            self.process.kill()
        return self.process.wait(30)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()
