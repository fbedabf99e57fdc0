"""Rounds of uploads against a service that is killed again and again; and what is left of it all.

Also a command: ``python -m tests.faults.rounds --kills 100 --alone`` prints its figures.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import random
import sys
import tempfile
import threading
import time
from http.client import HTTPException
from pathlib import Path

from service.storage.local.database import LocalDatabase
from tests.faults.stores import CLEAN, RECOVERING, faults, is_whole, look, make_file, sweep, uri_of, wait_until_done
from tests.running_service import RunningService

UPLOADERS = 8


class Uploaders:
    """Threads that upload one file after another, each until it is acknowledged."""

    def __init__(self, seed):
        self.acknowledged = {}  # id -> (patient, sha256)
        self.sent = 0
        self.unexpected = []
        self.service = None
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._upload, args=(f"p-{number % 3}", random.Random(f"{seed} {number}")))
            for number in range(UPLOADERS)
        ]

    def start(self, service):
        self.service = service
        for thread in self._threads:
            thread.start()

    def stop(self):
        self._stop.set()
        for thread in self._threads:
            thread.join(60)

    def _upload(self, patient, chance):
        while not self._stop.is_set():
            content = make_file(chance.choice((1, 1, 1, 1, 40)))
            prefer = chance.choice(("", "", "respond-async"))
            while not self._stop.is_set():
                if self._send(patient, content, prefer):
                    break
                time.sleep(0.1)

    def _send(self, patient, content, prefer):
        service = self.service
        self.sent += 1
        try:
            status, _, body = service.request(
                "POST", f"/patient/{patient}/dicom", content, patient, content_type="application/dicom", Prefer=prefer
            )
        except (OSError, HTTPException, AssertionError):
            return False
        if status in {200, 202}:
            self.acknowledged[json.loads(body)] = (patient, hashlib.sha256(content).hexdigest())
            return True
        if status != 503:
            self.unexpected.append(status)
        return False


class Deleter:
    """A thread that deletes files which were acknowledged, one after another.

    Attributes: `gone`, what it was told is deleted, and `doubtful`, of which it was told nothing; by id, with patient.
    """

    def __init__(self, uploaders, seed):
        self.gone = {}
        self.doubtful = {}
        self.unexpected = []
        self._uploaders = uploaders
        self._chance = random.Random(f"{seed} deletes")
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self):
        self._thread.start()

    def stop(self):
        self._stop.set()
        self._thread.join(60)

    def _run(self):
        while not self._stop.wait(0.02):
            there = sorted(dict(self._uploaders.acknowledged).keys() - self.gone.keys())
            if self.doubtful:
                self._delete(next(iter(self.doubtful)))
            elif len(there) > len(self.gone):  # half of them stay, so that there is something to lose too
                self._delete(self._chance.choice(there))

    def _delete(self, dicom_id):
        patient, _ = self._uploaders.acknowledged[dicom_id]
        path = f"/patient/{patient}/dicom/{dicom_id}"
        try:
            status, _, _ = self._uploaders.service.request("DELETE", path, patient=patient)
        except (OSError, HTTPException, AssertionError):
            status = 503
        if status == 204 or (status == 404 and dicom_id in self.doubtful):
            self.gone[dicom_id] = patient
            self.doubtful.pop(dicom_id, None)
        elif status == 503:
            self.doubtful[dicom_id] = patient
        else:
            self.unexpected.append(status)


def comes_back(service, dicom_id, patient):
    """Whether anything shows of a file that was deleted."""
    with contextlib.closing(service.connect()) as connection:
        below = f"/patient/{patient}/dicom/{dicom_id}"
        statuses = {
            service.request("GET", path, patient=patient, connection=connection, Accept="*/*")[0]
            for path in (below, f"{below}/tags", f"{below}/tag/Modality")
        }
    return statuses != {404}


def run_rounds(directory, kills, *, alone, deleting=False, seed=1, longest=1.5):
    """Kill a service so many times while 8 clients upload, and give the figures.

    `alone`: its database survives it; else the database is killed with it. `deleting`: another client deletes.
    """
    chance = random.Random(seed)
    data = Path(directory) / "data"
    with contextlib.ExitStack() as stack:
        variables = dict(RECOVERING)
        uri = stack.enter_context(running_database(Path(directory) / "db")) if alone else None
        if uri:
            variables["MONGODB_URI"] = uri
        uploaders = Uploaders(seed)
        service = RunningService(data, **variables)
        uploaders.start(service)
        deleter = Deleter(uploaders, seed)
        if deleting:
            deleter.start()
        began = time.monotonic()
        try:
            for _ in range(kills):
                time.sleep(chance.uniform(0.05, longest))
                service.kill()
                service = uploaders.service = RunningService(data, **variables)
            time.sleep(1)
        finally:
            if deleting:
                deleter.stop()
            uploaders.stop()
        with service:
            for dicom_id, patient in deleter.doubtful.items():  # it is there or it is not
                status, _, _ = service.request("DELETE", f"/patient/{patient}/dicom/{dicom_id}", patient=patient)
                assert status in {204, 404}
            deleted = deleter.gone | deleter.doubtful
            acknowledged = {dicom_id: of for dicom_id, of in uploaders.acknowledged.items() if dicom_id not in deleted}
            lost = [
                dicom_id
                for dicom_id, (patient, sha256) in acknowledged.items()
                if wait_until_done(service, dicom_id, patient, 60) != "done"
                or not is_whole(service, dicom_id, sha256, patient)
            ]
            where = uri_of(service, uri)
            deadline = time.monotonic() + 60
            while set(look(where)["states"]) - {"done"} and time.monotonic() < deadline:
                time.sleep(0.2)
            before = look(where)
            swept = sweep(where)
            after = faults(where)
            back = [dicom_id for dicom_id, patient in deleted.items() if comes_back(service, dicom_id, patient)]
            service.stop()
    return {
        "kills": kills,
        "seconds": round(time.monotonic() - began),
        "sent": uploaders.sent,
        "acknowledged": len(uploaders.acknowledged),
        "lost": len(lost),
        "deleted": len(deleted),
        "back": len(back),
        "unexpected answers": uploaders.unexpected + deleter.unexpected,
        "states": dict(before["states"]),
        "swept": swept,
        "faults": {name: count for name, count in after.items() if count != CLEAN[name]},
    }


@contextlib.contextmanager
def running_database(directory):
    """A database that a service's end does not touch."""
    database = LocalDatabase(directory)
    with asyncio.Runner() as runner:
        uri = runner.run(database.start())
        try:
            yield uri
        finally:
            runner.run(database.stop())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--deleting", action="store_true")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = run_rounds(temporary, given.kills, alone=given.alone, deleting=given.deleting, seed=given.seed)
    sys.stdout.write(f"{figures}\n")
