"""What an instance takes in the database: ``python -m tests.load.sizes``.

Documents are built as an upload builds them, from the files of pydicom's wheel and from a 512 x 512 CT slice made of
one of them, and measured as BSON. Index keys are counted, and their bytes added up as they are before WiredTiger's
prefix compression. With `--stored N` so many slices are also stored in a local database, and its files measured; with
`--audited N` so many entries of the audit.
"""

import argparse
import asyncio
import contextlib
import io
import json
import statistics
import tempfile
import warnings
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import bson
import pydicom
from bson import ObjectId
from pydicom.data import get_testdata_file

from service.dicom.extract import extract
from service.dicom.limits import Limits
from service.errors import Invalid
from service.resources import now
from service.storage.audit import AuditEntry, as_document
from service.storage.connection import connect, open_database
from service.storage.group_commit import index_document
from service.storage.layout import INDEXES
from service.storage.local.database import LocalDatabase
from service.storage.originals import original_metadata
from service.storage.store import Store
from service.usecases.instances import extracted, new_instance

WHEEL = Path(pydicom.__file__).parent / "data" / "test_files"
RECORD_ID = 4
"""Bytes of the place of a document at the end of an index key, about."""


@dataclass
class Sizes:
    """Bytes of the documents of one instance, and what its index keys are."""

    original: int
    instance: int
    tag_index: int
    series: int
    files: int
    paths: int
    keys: int
    key_bytes: int
    other_keys: int
    other_key_bytes: int


def make_slice(number=0):
    """A CT slice of 512 x 512, with the elements that a scanner writes, private ones too; 530 KB."""
    dataset = pydicom.dcmread(get_testdata_file("CT_small.dcm", download=False))
    dataset.Rows = dataset.Columns = 512
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
        f"1.2.826.0.1.3680043.8.498.{10**20 + number}"
    )
    dataset.InstanceNumber = number
    dataset.PixelData = number.to_bytes(8, "little") * (512 * 512 * 2 // 8)
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue()


def instance_of(content, extraction, number=0):
    """An instance as an upload makes it."""
    dicom_id = f"5b1f0a1c-0000-5000-8000-{number:012x}"
    made = new_instance(dicom_id, "patient-000017", "IM-0001-0001.dcm", len(content), f"{number:064x}", now())
    return extracted(made, extraction, now())


def wildcard_keys(index):
    """Give the keys of the wildcard index on `tags` and `names`: one for each path and value."""
    for field in ("tags", "names"):
        for path, values in index[field].items():
            for value in values or [None]:
                yield f"{field}.{path}", value


def other_keys(documents):
    """Give the values of the keys of every other index, those on `_id` included."""
    for name, document in documents.items():
        for fields in [["_id"], *([field for field, _ in each.keys] for each in INDEXES if each.collection == name)]:
            if fields != ["$**"]:
                yield [_find(document, field) for field in fields]


def _find(document, field):
    for step in field.split("."):
        document = document.get(step) if isinstance(document, dict) else None
    return document or None


def _key_bytes(*values):
    return sum(len(bson.encode({"": value})) - 6 for value in values) + RECORD_ID


def measure(content):
    """Measure the documents of one file."""
    extraction = extract(content, Limits())
    instance = instance_of(content, extraction)
    index = index_document(instance, extraction)
    mine = {name: instance[name] for name in ("_id", "patient_id", "received_at", "original_id")}
    series = {**mine, "study_instance_uid": "1" * 60, "series_instance_uid": "1" * 60, "dicom_id": instance["_id"]}
    files = {
        "_id": ObjectId(),
        "length": len(content),
        "chunkSize": 1 << 20,
        "uploadDate": datetime.now(UTC),
        "filename": instance["_id"],
        "metadata": original_metadata(instance, extraction.row),
    }
    keys = list(wildcard_keys(index))
    chunk = {"_id": ObjectId(), "files_id": files["_id"], "n": 0}
    others = list(
        other_keys({"instances": instance, "tag_index": index, "originals.files": files, "originals.chunks": chunk})
    )
    return Sizes(
        original=len(content),
        instance=len(bson.encode({**instance, "series": extraction.series, "dataset": extraction.dataset})),
        tag_index=len(bson.encode(index)),
        series=len(bson.encode({**series, "attributes": extraction.series or {}})),
        files=len(bson.encode(files)),
        paths=len(index["tags"]) + len(index["names"]),
        keys=len(keys),
        key_bytes=sum(len(path) + _key_bytes(value) for path, value in keys),
        other_keys=len(others),
        other_key_bytes=sum(_key_bytes(*values) for values in others),
    )


def measure_wheel():
    """Measure every DICOM file of the wheel."""
    measured = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for path in sorted(each for each in WHEEL.rglob("*") if each.is_file()):
            try:
                measured.append(measure(path.read_bytes()))
            except Invalid:
                continue
    return measured


def audit_entry(number=0):
    """What the audit keeps of a look at a tag, with a token that has `sub` and `jti`."""
    return AuditEntry(
        at=now(),
        action="read_tag",
        outcome="done",
        status=200,
        method="GET",
        route="/patient/{patient_id}/dicom/{dicom_id}/tag/{tag}",
        request_id=f"{number:032x}",
        patient_id=f"patient-{number % 1000:06}",
        subject="clinic-reading-room-7",
        token_id=f"{number // 100:016x}",
        dicom_ids=(f"5b1f0a1c-0000-5000-8000-{number:012x}",),
    )


def measure_audit():
    """Measure an entry of the audit."""
    entry = as_document(audit_entry())
    keys = list(other_keys({"audit": entry}))
    return {
        "document": len(bson.encode(entry)),
        "keys": len(keys),
        "key_bytes": sum(_key_bytes(*values) for values in keys),
    }


@contextlib.asynccontextmanager
async def local_store(data):
    """A store in a local database of its own, and the name of the program that keeps it."""
    async with LocalDatabase(data) as database:
        client = connect(database.uri)
        store = Store(open_database(client, "sizes"), now)
        await store.prepare()
        yield store, database.program
        store.close()
        client.close()


async def store_audit(folder, count):
    """Add entries to the audit of a local database, and give the bytes of its files for each."""
    data = Path(folder) / "data"
    async with local_store(data) as (store, program):
        base = _bytes_below(data)
        for begin in range(0, count, 1000):
            assert await store.audit.append([audit_entry(each) for each in range(begin, min(count, begin + 1000))]) == 0
    return {"program": program, "entries": count, "bytes an entry": round((_bytes_below(data) - base) / count)}


async def store_slices(folder, count):
    """Store slices in a local database, and give the bytes of its files for each, the originals' own left out."""
    data = Path(folder) / "data"
    async with local_store(data) as (store, program):
        base = _bytes_below(data)
        total = 0
        for number in range(count):
            content = make_slice(number)
            extraction = extract(content, Limits())
            await store.uploads.store(instance_of(content, extraction, number), extraction, content)
            total += len(content)
    taken = _bytes_below(data) - base
    return {
        "program": program,
        "slices": count,
        "bytes a slice": round(taken / count),
        "of that its original": round(total / count),
    }


def _bytes_below(folder):
    # What the disk has of them: files may be sparse.
    return sum(each.stat().st_blocks * 512 for each in folder.rglob("*") if each.is_file())


def summary(measured):
    """Give the middle and the mean of each size."""
    names = Sizes.__dataclass_fields__
    return {
        name: {
            "median": round(statistics.median(getattr(each, name) for each in measured)),
            "mean": round(statistics.fmean(getattr(each, name) for each in measured)),
            "most": max(getattr(each, name) for each in measured),
        }
        for name in names
    }


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.sizes", description=__doc__)
    parser.add_argument("--stored", type=int, default=0, metavar="N", help="slices to store in a local database")
    parser.add_argument("--audited", type=int, default=0, metavar="N", help="audit entries to store in one")
    asked = parser.parse_args()
    wheel = measure_wheel()
    figures = {"a CT slice": vars(measure(make_slice())), f"{len(wheel)} files of the wheel": summary(wheel)}
    figures["an audit entry"] = measure_audit()
    if asked.audited:
        with tempfile.TemporaryDirectory() as folder:
            figures["audited"] = asyncio.run(store_audit(folder, asked.audited))
    if asked.stored:
        with tempfile.TemporaryDirectory() as folder:
            figures["stored"] = asyncio.run(store_slices(folder, asked.stored))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
