"""Instances, trees and bytes to store, and a clock that a test turns."""

from __future__ import annotations

import hashlib
import random
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from bson import ObjectId

from service.storage.store import Store


class Clock:
    """Each look is a millisecond later."""

    def __init__(self) -> None:
        self.now = datetime(2026, 3, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        self.now += timedelta(milliseconds=1)
        return self.now


def series_elements(dataset: Mapping[str, Any]) -> dict[str, Any]:
    return {key: dataset[key] for key in ("Modality", "SeriesDescription") if key in dataset}


@dataclass
class Extraction:
    dataset: Mapping[str, Any]
    series: Mapping[str, Any] | None
    index: Mapping[str, Any] = field(
        default_factory=lambda: {"tags": {"Modality": ["CT"]}, "names": {}, "vrs": {}, "truncated": []}
    )
    row: bytes | None = None


def extraction(description: str = "Head", **elements: Any) -> Extraction:
    dataset = {
        "Modality": {"vr": "CS", "Value": ["CT"]},
        "SeriesDescription": {"vr": "LO", "Value": [description]},
        "SliceThickness": {"vr": "DS", "Value": [5.0]},
        **elements,
    }
    return Extraction(dataset, series_elements(dataset))


def make_instance(
    store: Store, clock: Clock, content: bytes, patient_id: str = "p-1", series: str | None = "1.2.2", **changes: Any
) -> dict[str, Any]:
    """Make an instance as an upload makes it, with an `original_id` of its own."""
    sha256 = hashlib.sha256(content).hexdigest()
    return {
        "_id": store.namespaces.own_id(patient_id, sha256),
        "patient_id": patient_id,
        "file_name": "slice.dcm",
        "size": len(content),
        "sha256": sha256,
        "original_id": ObjectId(),
        "received_at": clock(),
        "study_instance_uid": "1.2.1" if series else None,
        "series_instance_uid": series,
        "sop_instance_uid": "1.2.3" if series else None,
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": "1.2.840.10008.1.2.1",
        "extraction": {"state": "done", "version": 1, "at": clock(), "attempts": 1, "error": None},
        "problems": 0,
        "warnings": [],
        "truncated_at": None,
        "spilled": False,
        **changes,
    }


def pending(whole: Mapping[str, Any]) -> dict[str, Any]:
    state = {"state": "pending", "version": None, "at": None, "attempts": 0, "error": None}
    return {**whole, "extraction": state}


def make_bytes(count: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(count)


async def in_parts(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def counts(store: Store) -> dict[str, int]:
    """Count the documents of every collection that is not empty, `meta` and `usage` aside."""
    database = store._database
    names = [name for name in await database.list_collection_names() if name not in ("meta", "usage")]
    found = {name: await database[name].count_documents({}) for name in names}
    return {name: count for name, count in sorted(found.items()) if count}


ONE_STORED = {"instances": 1, "originals.chunks": 1, "originals.files": 1, "series": 1, "tag_index": 1}
