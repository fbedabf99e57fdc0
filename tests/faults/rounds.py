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


def run_rounds(directory, kills, *, alone, seed=1, longest=1.5):
    """Kill a service so many times while 8 clients upload, and give the figures.

    `alone`: its database survives it; else the database is killed with it.
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
        began = time.monotonic()
        try:
            for _ in range(kills):
                time.sleep(chance.uniform(0.05, longest))
                service.kill()
                service = uploaders.service = RunningService(data, **variables)
            time.sleep(1)
        finally:
            uploaders.stop()
        with service:
            acknowledged = dict(uploaders.acknowledged)
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
            service.stop()
    return {
        "kills": kills,
        "seconds": round(time.monotonic() - began),
        "sent": uploaders.sent,
        "acknowledged": len(acknowledged),
        "lost": len(lost),
        "unexpected answers": uploaders.unexpected,
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
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        figures = run_rounds(temporary, given.kills, alone=given.alone, seed=given.seed)
    sys.stdout.write(f"{figures}\n")
