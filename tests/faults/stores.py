"""What is in the database of a service that has met a fault, and what is left when it is swept."""

import asyncio
import hashlib
import itertools
import json
import time
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import BytesIO

import pydicom
from pydicom.data import get_testdata_file
from pymongo import MongoClient

from service.storage.connection import connect, open_database
from service.storage.local.database import find_running
from service.storage.store import Store

SERIAL = itertools.count(1)
RECOVERING = {"RECOVERY_INTERVAL": "0.5", "EXTRACTION_TIMEOUT": "2"}


def make_file(frames=1):
    """A CT that is like no other; of 40 KB a frame."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    number = next(SERIAL)
    dataset.SOPInstanceUID = f"2.25.{number}"
    dataset.SeriesInstanceUID = f"2.25.1000.{number % 7}"
    dataset.PixelData = dataset.PixelData * frames
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def wait_until_done(service, dicom_id, patient="p-1", seconds=30):
    """Wait until an instance's tags can be read."""
    deadline = time.monotonic() + seconds
    while True:
        status, _, body = service.request(
            "GET", f"/patient/{patient}/dicom/{dicom_id}", patient=patient, Accept="application/json"
        )
        assert status == 200, (status, body)
        state = json.loads(body)["extraction"]["state"]
        if state == "done" or time.monotonic() > deadline:
            return state
        time.sleep(0.1)


def is_whole(service, dicom_id, sha256, patient="p-1"):
    """Whether an instance gives its original byte for byte, and a tag."""
    path = f"/patient/{patient}/dicom/{dicom_id}"
    with closing(service.connect()) as connection:
        status, _, body = service.request(
            "GET", path, patient=patient, connection=connection, Accept="application/dicom"
        )
        tag = service.request("GET", f"{path}/tag/Modality", patient=patient, connection=connection)
    return status == 200 and hashlib.sha256(body).hexdigest() == sha256 and tag[0] == 200


def uri_of(service, uri=None):
    return uri or find_running(service.data_dir)


def sweep(uri, database="dicom"):
    """Sweep as if it were two hours later."""

    async def run():
        client = connect(uri)
        store = Store(open_database(client, database), lambda: datetime.now(UTC) + timedelta(hours=2))
        await store.prepare()
        try:
            return await store.leftovers.sweep(timedelta(hours=1))
        finally:
            store.close()
            client.close()

    return asyncio.run(run())


def look(uri, database="dicom"):
    """States of instances, and every disagreement between the collections."""
    with closing(MongoClient(uri)) as client:
        found = client[database]
        instances = list(
            found.instances.find({}, {"original_id": 1, "sha256": 1, "patient_id": 1, "extraction": 1, "size": 1})
        )
        originals = {each["original_id"] for each in instances}
        files = {each["_id"] for each in found["originals.files"].find({}, {"_id": 1})}
        chunks = {each["files_id"] for each in found["originals.chunks"].find({"n": 0}, {"files_id": 1})}
        done = {each["_id"]: each["original_id"] for each in instances if each["extraction"]["state"] == "done"}
        indexes = {each["_id"]: each["original_id"] for each in found.tag_index.find({}, {"original_id": 1})}
        shown = {each["original_id"] for each in found.series.find({}, {"original_id": 1})}
        kept = Counter()
        for each in found["originals.files"].find({}, {"length": 1, "metadata.patient_id": 1}):
            kept[each["metadata"]["patient_id"]] += each["length"]
        counted = {each["_id"]: each["bytes"] for each in found.usage.find({}) if each["bytes"]}
        copies = Counter((each["patient_id"], each["sha256"]) for each in instances)
    return {
        "states": Counter(each["extraction"]["state"] for each in instances),
        "duplicates": sum(count - 1 for count in copies.values()),
        "missing originals": len(originals - files) + len(originals - chunks),
        "unnamed originals": len((files | chunks) - originals),
        "missing or wrong indexes": len(set(done.items()) - set(indexes.items())),
        "unnamed indexes": len(indexes.keys() - done.keys()),
        "unnamed series": len(shown - originals),
        "patients counted wrongly": len(counted.items() ^ kept.items()),
    }


FAULTS = (
    "duplicates",
    "missing originals",
    "unnamed originals",
    "missing or wrong indexes",
    "unnamed indexes",
    "unnamed series",
    "patients counted wrongly",
)
CLEAN = dict.fromkeys(FAULTS, 0)


def faults(uri, database="dicom"):
    """Every disagreement, by its name; those that are not there too."""
    seen = look(uri, database)
    return {name: seen[name] for name in FAULTS}
