"""How many bytes of originals a patient has, and the bound on them.

A patient's counter is the length of all the originals that have a `files` document, and of those that are about to get
one. An upload adds its bytes before it writes the original, by a command that does nothing where there is no room, so
two processes cannot pass the bound together. Whoever takes an original's `files` document away takes its bytes off. So
what a crash or a lost answer leaves is a counter that is too high, never one that is too low; the sweep sets it right.
"""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from schemas.database import Instance
from service.errors import DatabaseUnavailable, StorageFull
from service.storage.collections import Collections, Document
from service.storage.gridfs_documents import remove_chunks
from service.storage.threads import Threads, one_hop

ATTEMPTS = 5

LATELY_SECONDS = 3.0
"""How old a number may be that a list tells; what this process changes is told at once."""

REMEMBERED = 10_000
"""Patients whose numbers are remembered."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What patients' originals take, and may take.

    Parameters
    ----------
    collections : Collections
        Of the database.
    threads : Threads
        Where its commands run.
    max_bytes : int
        What the originals of one patient may take together; 0: there is no bound.
    """

    collections: Collections
    threads: Threads
    max_bytes: int
    _lately: dict[str, tuple[float, int]] = field(default_factory=dict, init=False, repr=False, compare=False)

    async def read_lately(self, patient_id: str) -> int:
        """Return what :meth:`read` returned within the last seconds, or returns now."""
        moment = time.monotonic()
        known = self._lately.get(patient_id)
        if known is not None and moment - known[0] < LATELY_SECONDS:
            return known[1]
        held = await self.read(patient_id)
        if len(self._lately) >= REMEMBERED:
            self._lately.clear()
        self._lately[patient_id] = moment, held
        return held

    def changed(self, patient_id: str) -> None:
        """Note that a patient's originals take more or less than before."""
        self._lately.pop(patient_id, None)

    @one_hop
    def read(self, patient_id: str) -> int:
        """Return how many bytes a patient's originals take."""
        counter = self.collections.usage.find_one({"_id": patient_id})
        return add_up(self.collections, patient_id) if counter is None else int(counter["bytes"])

    def reserve(self, *instances: Instance) -> None:
        """Add the bytes of a patient's uploads to the counter, of all or of none of them; synchronous.

        Raises
        ------
        StorageFull
            There is no room for them.
        """
        patient_id, size = instances[0]["patient_id"], sum(instance["size"] for instance in instances)
        room: Document = {"_id": patient_id}
        if self.max_bytes:
            room["bytes"] = {"$lte": self.max_bytes - size}
        for _ in range(ATTEMPTS):
            if self.collections.usage.update_one(room, _change(size)).matched_count:
                self.changed(patient_id)
                return
            counter = self.collections.usage.find_one({"_id": patient_id})
            if counter is None:
                _begin(self.collections, patient_id)
            elif self.max_bytes and counter["bytes"] + size > self.max_bytes:
                raise StorageFull(int(counter["bytes"]), self.max_bytes, size)
        raise DatabaseUnavailable("The patient's files are being counted.", retry_after=2)


def give_back(collections: Collections, patient_id: str, size: int) -> None:
    """Take bytes off a patient's counter. A patient who has none yet is counted when one is needed."""
    collections.usage.update_one({"_id": patient_id}, _change(-size))


def remove_original(collections: Collections, original_id: ObjectId) -> bool:
    """Take away an original's document, and its bytes off its patient's counter, then its last chunks.

    Returns
    -------
    bool
        Whether there are more chunks: it is called again then.
    """
    wanted = {"length": 1, "metadata.patient_id": 1}
    file: Document | None = collections.originals.files.find_one_and_delete({"_id": original_id}, projection=wanted)
    if file is not None:
        give_back(collections, file["metadata"]["patient_id"], file["length"])
    return remove_chunks(collections.originals, original_id)


def set_right(collections: Collections, counter: Document, horizon: datetime) -> None:
    """Count a patient's originals anew, if the counter has changed since the last time and not since the horizon.

    An upload under way has added bytes that are not there yet. So a counter is left alone while it is younger than any
    upload that may be under way, and a change that comes meanwhile keeps it as it is.
    """
    if counter["changed_at"] >= horizon or counter.get("counted_at", counter["changed_at"]) > counter["changed_at"]:
        return
    unchanged = {name: counter[name] for name in ("_id", "bytes", "changed_at")}
    counted = add_up(collections, counter["_id"])
    if counted:
        right = {"$set": {"bytes": counted, "counted_at": datetime.now(UTC)}}
        collections.usage.update_one(unchanged, right)
    else:
        collections.usage.delete_one(unchanged)


def add_up(collections: Collections, patient_id: str) -> int:
    """Return the bytes of all originals of a patient, from their `files` documents."""
    mine = {"$match": {"metadata.patient_id": patient_id}}
    total = {"$group": {"_id": None, "bytes": {"$sum": "$length"}}}
    return int(next((each["bytes"] for each in collections.originals.files.aggregate([mine, total])), 0))


def _change(size: int) -> Document:
    # Of the real time, as the ids of originals are: both are compared with the sweep's horizon.
    return {"$inc": {"bytes": size}, "$set": {"changed_at": datetime.now(UTC)}}


def _begin(collections: Collections, patient_id: str) -> None:
    """Give a patient a counter: a new patient, or one whose files came before there were counters."""
    counter = {"_id": patient_id, "bytes": add_up(collections, patient_id), "changed_at": datetime.now(UTC)}
    with suppress(DuplicateKeyError):  # another upload was faster
        collections.usage.insert_one(counter)
