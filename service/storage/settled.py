"""What stands beside originals and has an instance that may be shown, without a look at the instance.

Documents of originals, and of the index, may stand for nothing: the upload is under way, or met a crash, or the
instance is being deleted. What the last sweep has looked at has its instance, and so has what this process has seen
committed: a delete takes the original's document before the instance. Where it is not to be shown, it is found by its
state, or what lists read of it is not there. All others are *unsettled*: only their instances tell. Synchronous
functions.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from threading import Lock

from bson import ObjectId

from service.storage.collections import Collections, Document

MAX_UNFINISHED = 1_000
"""Instances without a tree of their own, of everybody, that are looked up by their state; with more, all are unsettled.
"""

MAX_COMMITTED = 20_000


class Committed:
    """The originals of which this process has seen the instances, finished; the first that it saw are forgotten first.

    Parameters
    ----------
    most : int
        How many it remembers, each some 100 bytes.
    """

    def __init__(self, most: int = MAX_COMMITTED) -> None:
        self._most = most
        self._originals: dict[ObjectId, None] = {}
        self._lock = Lock()

    def add(self, original_ids: Iterable[ObjectId]) -> None:
        """Remember originals."""
        with self._lock:
            self._originals |= dict.fromkeys(original_ids)
            while len(self._originals) > self._most:
                del self._originals[next(iter(self._originals))]

    def __contains__(self, original_id: object) -> bool:
        return original_id in self._originals


@dataclass(frozen=True, slots=True)
class Settled:
    """What tells which originals have an instance that may be shown.

    Parameters
    ----------
    before : ObjectId
        The first original that no sweep has looked at.
    unfinished : frozenset of str or None
        Instances in another state than ``done``; None where there are many.
    committed : container of ObjectId
        Originals that have one, whether a sweep has looked at them or not.
    """

    before: ObjectId
    unfinished: frozenset[str] | None
    committed: Container[ObjectId] = ()

    def holds(self, dicom_id: str, original_id: ObjectId) -> bool:
        """Return whether an instance is settled."""
        if self.unfinished is None or dicom_id in self.unfinished:
            return False
        return original_id < self.before or original_id in self.committed


@dataclass(frozen=True, slots=True)
class Listing:
    """Files in the order of a list or table.

    Parameters
    ----------
    dicom_ids : list of str
        Their ids.
    settled : Settled
        What tells whose rows and index documents have instances.
    unsettled : frozenset of str
        Those whose do not, as far as is known.
    dates : list of datetime or None
        When they came, where these are all files of a time that may be seen, the newest first.
    """

    dicom_ids: list[str]
    settled: Settled
    unsettled: frozenset[str]
    dates: list[datetime] | None = None

    def among(self, dicom_ids: Set[str]) -> Listing:
        """Return those of some files, in the same order."""
        return Listing([each for each in self.dicom_ids if each in dicom_ids], self.settled, self.unsettled)


def find_settled(collections: Collections) -> Settled:
    """Find what tells which originals have an instance that may be shown.

    To be asked before the documents of the originals are read: what is deleted in between is gone from these.
    """
    # By the state alone, whosever they are: it has an index of its own, and there are few.
    found = collections.instances.find(
        {"extraction.state": {"$in": ["pending", "failed", "deleting"]}}, {"_id": 1}, limit=MAX_UNFINISHED + 1
    )
    unfinished = frozenset(each["_id"] for each in found)
    return Settled(find_swept(collections), unfinished if len(unfinished) <= MAX_UNFINISHED else None)


def find_swept(collections: Collections) -> ObjectId:
    """Return the first original that no sweep has looked at."""
    meta: Document = collections.meta.find_one({"_id": "store"}, {"swept_until": 1}) or {}
    swept_until = meta.get("swept_until")
    return ObjectId(bytes(12)) if swept_until is None else ObjectId.from_datetime(swept_until)


def listing_of(files: Sequence[Document], settled: Settled) -> Listing:
    """Return what the documents of originals tell of, the newest first; one that has two originals is unsettled."""
    found: dict[str, tuple[datetime, ObjectId]] = {}
    twice: set[str] = set()
    for file in files:
        dicom_id = file["metadata"]["dicom_id"]
        if dicom_id in found:  # one of them lost a race, and is swept one day
            twice.add(dicom_id)
        found[dicom_id] = file["uploadDate"], file["_id"]
    ids = sorted(found)
    ids.sort(key=lambda each: found[each][0], reverse=True)
    unsettled = {each for each in ids if not settled.holds(each, found[each][1])}
    return Listing(ids, settled, frozenset(unsettled | twice), [found[each][0] for each in ids])
