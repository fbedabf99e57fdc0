"""Twenty patients with a thousand instances each: varied copies of real files, written as uploads write them."""

from __future__ import annotations

import copy
import hashlib
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from bson import ObjectId
from pydicom.data import get_testdata_file

from service.dicom.extract import Extraction, extract
from service.dicom.limits import Limits
from service.storage.documents import Collections
from service.storage.store import Store

FILES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_rgb_color.dcm", "CT_small.dcm", "CT_small.dcm")
BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def extractions() -> list[Extraction]:
    """Extract each of the files once."""
    return [extract(Path(str(get_testdata_file(name, download=False))).read_bytes(), Limits()) for name in FILES]


def varied(store: Store, made: Extraction, patient: str, number: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Make the documents of one instance: its envelope with the tree, and its index."""
    chance = random.Random(f"{patient}/{number}")
    content = f"{patient}/{number}".encode()
    sha256 = hashlib.sha256(content).hexdigest()
    dicom_id = store.instance_id(patient, sha256)
    received = BEGIN + timedelta(seconds=number)
    dataset, tags = copy.deepcopy(dict(made.dataset)), dict(made.index["tags"])
    uid = f"1.2.3.{chance.getrandbits(60)}"
    thickness = chance.randrange(1, 100) / 10
    for key, vr, value in (("SOPInstanceUID", "UI", uid), ("SliceThickness", "DS", thickness)):
        dataset[key] = {"vr": vr, "Value": [value]}
        tags[key] = [value]
    envelope: dict[str, Any] = {
        "_id": dicom_id,
        "patient_id": patient,
        "file_name": f"{number}.dcm",
        "size": 39206,
        "sha256": sha256,
        "original_id": ObjectId(),
        "received_at": received,
        **made.identifiers,
        "sop_instance_uid": uid,
        "extraction": {"state": "done", "version": 1, "at": received, "attempts": 1, "error": None},
        "problems": 0,
        "warnings": [],
        "truncated_at": None,
        "spilled": False,
        "dataset": dataset,
    }
    index = {
        **{name: envelope[name] for name in ("_id", "patient_id", "received_at", "original_id")},
        **made.index,
        "tags": tags,
    }
    return envelope, index


def populate(store: Store, collections: Collections, patients: int, instances: int) -> Iterator[str]:
    """Store them, and give the patients one by one as they are there."""
    made = extractions()
    for patient in (f"p-{number}" for number in range(patients)):
        for begin in range(0, instances, 100):
            documents = [
                varied(store, made[number % len(made)], patient, number)
                for number in range(begin, min(begin + 100, instances))
            ]
            collections.tag_index.insert_many([index for _, index in documents])
            collections.instances.insert_many([envelope for envelope, _ in documents])
            collections.originals.files.insert_many(
                [
                    {
                        "_id": envelope["original_id"],
                        "length": envelope["size"],
                        "chunkSize": 1 << 20,
                        "uploadDate": envelope["received_at"],
                        "metadata": {
                            "patient_id": patient,
                            "dicom_id": envelope["_id"],
                            "sha256": envelope["sha256"],
                        },
                    }
                    for envelope, _ in documents
                ]
            )
        yield patient
