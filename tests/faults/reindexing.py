"""Re-extraction of a thousand CTs beside a running service, with figures.

A command: ``python -m tests.faults.reindexing --files 1000`` stores the files, re-extracts them with one worker and
with two, kills a run at half and lets another go on, and shows what a changed extractor would change. Tags are asked of
the service all the while.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import bson
import numpy
import pydicom
import pymongo
from pydicom.data import get_testdata_file

from service.storage.local.database import find_running
from tests.commands.running import environment, start, summary
from tests.running_service import ROOT, RunningService

CHANGE = (
    "    index = index_entries(dataset, memory)\n",
    '    dataset["Modality"]["Value"] = ["OT"]\n    index = index_entries(dataset, memory)\n',
)
"""A line of the extractor, and what a deliberate change makes of it."""


def make_ct(number):
    """A CT of 512 by 512 pixels, 530 KB."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    dataset.SOPInstanceUID = f"2.25.{number + 1}"
    dataset.SeriesInstanceUID = f"2.25.1000.{number // 100}"
    dataset.Rows = dataset.Columns = 512
    rows, columns = numpy.indices((512, 512))
    dataset.PixelData = ((rows * columns + number) % 1500).astype("<i2").tobytes()
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def everything(uri):
    """All that is derived, without the times and tries of extraction."""
    found = {}
    with contextlib.closing(pymongo.MongoClient(uri)) as client:
        for name in ("instances", "tag_index", "series"):
            for each in client["dicom"][name].find({}):
                if name == "instances":
                    each["extraction"] = {"state": each["extraction"]["state"]}
                found[name, str(each["_id"])] = bson.encode(each)
    return found


class Asking:
    """Asks for tags, one after another, until it is stopped."""

    def __init__(self, service, ids):
        self._service = service
        self._ids = ids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self.seconds = []
        self.refused = []

    def _ask(self):
        with contextlib.closing(self._service.connect()) as connection:
            for number in range(10**9):
                if self._stop.wait(0.02):
                    return
                began = time.monotonic()
                path = f"/patient/p-1/dicom/{self._ids[number % len(self._ids)]}/tag/Rows"
                status, _, _ = self._service.request("GET", path, connection=connection)
                self.seconds.append(time.monotonic() - began)
                if status != 200:
                    self.refused.append(status)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def figures(self):
        """How many answers, and how long they took."""
        ordered = sorted(self.seconds)
        return {
            "answers": len(ordered),
            "refused": self.refused,
            "median ms": round(1000 * statistics.median(ordered), 1),
            "p99 ms": round(1000 * ordered[int(0.99 * (len(ordered) - 1))], 1),
        }


def change_extractor(directory):
    """A copy of the project whose extractor calls every modality OT."""
    for name in ("service", "schemas", "scripts"):
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    path = directory / "service" / "dicom" / "extract.py"
    text = path.read_text()
    assert text.count(CHANGE[0]) == 1
    path.write_text(text.replace(*CHANGE))


def run(directory, files, say):
    """Do it all, and tell the figures by `say`."""
    data = directory / "data"
    with RunningService(data) as service, contextlib.ExitStack() as stack:
        began = time.monotonic()
        service.token("p-1")
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda number: service.upload(make_ct(number)), range(files)))
        say(f"{len(set(ids))} stored, {files / (time.monotonic() - began):.1f} a second")
        uri = find_running(data)
        state = everything(uri)
        asking = stack.enter_context(Asking(service, ids))
        for workers in (1, 2):
            status, told = summary("reindex", data, "--all", "--fresh", "--workers", str(workers))
            same = everything(uri) == state
            rate = told["files_per_second"]
            say(f"{workers} workers: exit {status}, {told['done']} done, {rate} a second, state equal: {same}")
            assert (status, told["done"], told["failed"], same) == (0, files, 0, True)

        instances = stack.enter_context(contextlib.closing(pymongo.MongoClient(uri)))["dicom"]["instances"]
        instances.update_many({}, {"$set": {"extraction.version": 0}, "$unset": {"dataset.Modality": ""}})
        killed = start("reindex", data, "--workers", "2", "--quiet")
        while (done := instances.count_documents({"extraction.version": {"$gt": 0}})) < files // 2:
            assert killed.poll() is None
            time.sleep(0.05)
        killed.kill()
        killed.communicate()
        status, told = summary("reindex", data, "--workers", "2")
        same = everything(uri) == state
        say(f"killed at {done}, resumed: exit {status}, {told['done']} done, equal to an uninterrupted run: {same}")
        assert (status, same) == (0, True)
        assert told["done"] <= files - done

        copy = directory / "changed"
        change_extractor(copy)
        command = [sys.executable, str(copy / "scripts" / "reindex.py"), "--all", "--dry-run", "--json", "--quiet"]
        dry = subprocess.run(command, env=environment(data), capture_output=True, timeout=600)
        changes = json.loads(dry.stdout)["differences"]
        same = everything(uri) == state
        shown = {
            path: {name: entry[name] for name in ("added", "removed", "changed")} for path, entry in changes.items()
        }
        say(f"a changed extractor, --dry-run: exit {dry.returncode}, {shown}, nothing written: {same}")
        assert shown.keys() == {"Modality", "(series)"}
        assert shown["Modality"] == {"added": 0, "removed": 0, "changed": files}
        assert same
        status, told = summary("reindex", data, "--verify")
        say(f"--verify: exit {status}, {told['unchanged']} unchanged, {told['files_per_second']} a second")
        assert (status, told["unchanged"]) == (0, files)
        stack.close()
        say(f"tags meanwhile: {asking.figures()}")
        assert asking.refused == []
        service.stop()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=1000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(Path(temporary), given.files, lambda line: sys.stdout.write(f"{line}\n"))
