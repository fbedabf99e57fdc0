"""Instances by the hundred, for tables: which there are, and of the index or the tree of each what is asked for.

An index document may stand for nothing: its upload is under way, or met a crash, or its instance is being deleted.
What the last sweep has looked at has its instance, which is found by its state where it is not to be shown. All others
are *unsettled*: only their instances tell.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import bson
import pymongo
from bson import ObjectId

from schemas.database import Instance
from service.storage.collections import NEWEST_FIRST, Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first
from service.storage.newest import MARGIN
from service.storage.projections import Further, check_keys, read_further
from service.storage.search import MAX_PAGE_BYTES
from service.storage.threads import Threads
from service.storage.visible import Visible

LISTING_SECONDS = 120.0
READING_SECONDS = 30.0

AT_ONCE = 25
"""Instances a command: the local database compares each document with each id of a list."""

_SMALL = 64 << 10

MAX_UNFINISHED = 1_000
"""Instances without a tree of their own, of everybody, that are looked up by their state; with more, all are unsettled.
"""

VALUE_BYTES = 256
"""What a value of the index counts for where a batch ends by its size; a text may have so many characters."""


@dataclass(frozen=True, slots=True)
class Settled:
    """What tells which index documents have an instance that may be shown.

    Parameters
    ----------
    before : ObjectId
        The first original that no sweep has looked at.
    unfinished : frozenset of str or None
        Instances in another state than ``done``; None where there are many.
    """

    before: ObjectId
    unfinished: frozenset[str] | None

    def holds(self, dicom_id: str, original_id: ObjectId) -> bool:
        """Return whether an instance is settled."""
        return original_id < self.before and self.unfinished is not None and dicom_id not in self.unfinished


@dataclass(frozen=True, slots=True)
class Listing:
    """Files in the order of a table.

    Parameters
    ----------
    dicom_ids : list of str
        Their ids.
    settled : Settled
        What tells whose index documents have instances.
    unsettled : frozenset of str
        Those whose do not, as far as is known.
    dates : list of datetime or None
        When they came, where these are all files that may be seen, the newest first.
    """

    dicom_ids: list[str]
    settled: Settled
    unsettled: frozenset[str]
    dates: list[datetime] | None = None

    def among(self, dicom_ids: Set[str]) -> Listing:
        """Return those of some files, in the same order."""
        return Listing([each for each in self.dicom_ids if each in dicom_ids], self.settled, self.unsettled)


@dataclass(frozen=True, slots=True)
class Entries:
    """A batch of index documents, or of parts of them.

    Parameters
    ----------
    documents : list of dict
        With ``_id``, ``patient_id``, ``original_id``, ``truncated`` and the entries that were asked for; in no order.
    passed : int
        How many of the ids were looked at: fewer than were given where the documents are large.
    """

    documents: list[Document]
    passed: int


@dataclass(frozen=True, slots=True)
class Trees:
    """A batch of instances with parts of their trees.

    Parameters
    ----------
    instances : list of Instance
        Id, patient, original and ``dataset``, in the order of the ids; without those that are gone, or have no tree.
    passed : int
        How many of the ids were looked at: fewer than were given where the trees are large.
    """

    instances: list[Instance]
    passed: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Long reads. They run where walks do, and wait for each other and for nobody else.

    Parameters
    ----------
    walks : Threads
        Where what goes through all of a patient runs.
    """

    collections: Collections
    threads: Threads
    walks: Threads

    async def list_all(self, visible: Visible) -> Listing:
        """List all files, the newest first: by the documents of the originals, which are small."""

        def look() -> Listing:
            look_first(self.collections.tag_index)
            settled = _find_settled(self.collections)
            shown = {"metadata.dicom_id": 1, "uploadDate": 1}
            found: dict[str, tuple[datetime, ObjectId]] = {}
            twice: set[str] = set()
            for file in self.collections.originals.files.find(visible.files(), shown):
                dicom_id = file["metadata"]["dicom_id"]
                if dicom_id in found:  # one of them lost a race, and is swept one day
                    twice.add(dicom_id)
                found[dicom_id] = file["uploadDate"], file["_id"]
            ids = sorted(found)
            ids.sort(key=lambda each: found[each][0], reverse=True)
            unsettled = {each for each in ids if not settled.holds(each, found[each][1])}
            return Listing(ids, settled, frozenset(unsettled | twice), [found[each][0] for each in ids])

        return await self.walks.run(look, LISTING_SECONDS)

    async def list_ids(
        self, visible: Visible, conditions: Mapping[str, Any], order: str | None = None, *, descending: bool = False
    ) -> Listing:
        """List all files that a filter of `tag_index` finds, in the order of a search."""
        by = [("received_at", -1), ("_id", 1)]
        if order is not None:
            by.insert(0, (order, -1 if descending else 1))

        def look() -> Listing:
            look_first(self.collections.tag_index)
            settled = _find_settled(self.collections)
            wanted = {**visible.derived(), **conditions}
            found = {
                hit["_id"]: hit["original_id"]
                for hit in self.collections.tag_index.find(wanted, {"original_id": 1}, sort=by)
            }
            unsettled = frozenset(each for each in found if not settled.holds(each, found[each]))
            return Listing(list(found), settled, unsettled)

        return await self.walks.run(look, LISTING_SECONDS)

    async def settle(self, originals: Sequence[tuple[ObjectId, str]]) -> Listing:
        """Return instances, each given behind its original, as a listing."""

        def look() -> Listing:
            settled = _find_settled(self.collections)
            unsettled = frozenset(each for original_id, each in originals if not settled.holds(each, original_id))
            return Listing([each for _, each in originals], settled, unsettled)

        return await self.threads.run(look, READING_SECONDS)

    async def find_vrs(
        self, visible: Visible | None, paths: Sequence[str], seconds: float | None = LISTING_SECONDS
    ) -> dict[str, tuple[set[str], bool]]:
        """Find the VRs that files have at paths of the index, and whether one has several values there.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: everybody's files, which is for commands alone.
        paths : sequence of str
            Keys of the index of which no dictionary knows the VR.
        seconds : float or None
            The limit of the whole walk.
        """
        found: dict[str, tuple[set[str], bool]] = {path: (set(), False) for path in paths}
        whose = {} if visible is None else visible.derived()
        wanted: Document = {**whose, "$or": [{f"tags.{path}": {"$exists": True}} for path in paths]}
        projection = {"_id": 0, **{f"{part}.{path}": 1 for path in paths for part in ("tags", "vrs")}}

        def look() -> None:
            look_first(self.collections.tag_index)
            cursor = self.collections.tag_index.find(wanted, projection)
            document = next(cursor, None)
            while document is not None:
                for path, values in document.get("tags", {}).items():
                    vrs, several = found[path]
                    vr = document.get("vrs", {}).get(path)
                    if vr is not None:
                        vrs.add(vr)
                    found[path] = vrs, several or len(values) > 1
                with pymongo.timeout(ANSWER_SECONDS):  # one batch; the limit of the whole walk holds beside it
                    document = next(cursor, None)

        await self.walks.run(look, seconds)
        return found

    async def list_originals(
        self, visible: Visible | None, after: ObjectId | None, size: int
    ) -> list[tuple[ObjectId, str]]:
        """List originals and the ids of their instances, in the order of the originals: a page of a walk over all.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: everybody's, which is for commands alone.
        after : ObjectId or None
            The last original of the page before.
        size : int
            How many at most.
        """
        wanted: Document = {} if visible is None else visible.files()
        if after is not None:
            wanted["_id"] = {"$gt": after}

        def look() -> list[tuple[ObjectId, str]]:
            look_first(self.collections.tag_index)
            files = self.collections.originals.files
            found = files.find(wanted, {"metadata.dicom_id": 1}, sort=[("_id", 1)], limit=size)
            return [(file["_id"], file["metadata"]["dicom_id"]) for file in found]

        return await self.threads.run(look, READING_SECONDS)

    async def read_entries(
        self, visible: Visible | None, listing: Listing, begin: int, end: int, entries: Sequence[str]
    ) -> Entries:
        """Read entries of the index documents of settled files, until all are read or those read are large.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: anybody's files, which is for commands alone.
        listing : Listing
            The files.
        begin, end : int
            From which of them on, and up to which.
        entries : sequence of str
            Keys of the index.
        """
        parts = [f"{part}.{entry}" for part in ("tags", "vrs", "exact") for entry in entries]
        projection = dict.fromkeys(("patient_id", "original_id", "truncated", *parts), 1)
        index = self.collections.tag_index

        def look() -> Entries:
            found: list[Document] = []
            held, place = 0, begin
            while place < end and held <= MAX_PAGE_BYTES:
                window = _window(visible, listing, place, end)
                places = {each: number for number, each in enumerate(listing.dicom_ids[place : window.end], place + 1)}
                for document in index.find(window.filter, projection, sort=NEWEST_FIRST, batch_size=2 * len(places)):
                    if document["_id"] not in places:
                        continue
                    if listing.settled.holds(document["_id"], document["original_id"]):
                        found.append(document)
                        held += VALUE_BYTES * sum(map(len, document.get("tags", {}).values()))
                    if window.in_order and held > MAX_PAGE_BYTES:
                        return Entries(found, places[document["_id"]] - begin)
                place = window.end
            return Entries(found, place - begin)

        return await self.threads.run(look, READING_SECONDS)

    async def read(
        self, visible: Visible | None, dicom_ids: Sequence[str], keys: Sequence[str], further: Further, *, large: bool
    ) -> Trees:
        """Read elements of the trees of instances, until all are read or those read are large.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: anybody's instances, which is for commands alone.
        dicom_ids : sequence of str
            Which instances.
        keys : sequence of str
            Keys of the top level of the trees.
        further : callable
            Takes what was read of a tree and the keys that were asked for, and names those still to be read.
        large : bool
            Whether the elements may be so large that few instances are asked for at once.
        """
        check_keys(keys)

        def look() -> Trees:
            found: list[Instance] = []
            held = passed = 0
            at_once = 1 if large else AT_ONCE
            while passed < len(dicom_ids) and held <= MAX_PAGE_BYTES:
                some = list(dicom_ids[passed : passed + at_once])
                instances = self._read(visible, some, keys, further)
                sizes = [len(bson.encode(each["dataset"])) for each in instances]
                held += sum(sizes)
                found += instances
                passed += len(some)
                if large:
                    at_once = min(2 * at_once, AT_ONCE) if max(sizes, default=0) < _SMALL else 1
            return Trees(found, passed)

        return await self.threads.run(look, READING_SECONDS)

    def _read(
        self, visible: Visible | None, some: Sequence[str], keys: Sequence[str], further: Further
    ) -> list[Instance]:
        everybodys = {"_id": {"$in": list(some)}, "extraction.state": "done"}
        among = everybodys if visible is None else visible.extracted(some)
        projection = {"patient_id": 1, "original_id": 1, **{f"dataset.{key}": 1 for key in keys}}
        found = {each["_id"]: each for each in self.collections.instances.find(among, projection)}
        for each in found.values():
            each.setdefault("dataset", {})
        read_further(self.collections.instances, among, found, keys, further)
        return [found[each] for each in some if each in found]


def _find_settled(collections: Collections) -> Settled:
    meta: Document = collections.meta.find_one({"_id": "store"}, {"swept_until": 1}) or {}
    swept_until = meta.get("swept_until")
    if swept_until is None:
        return Settled(ObjectId(bytes(12)), None)
    # By the state alone, whosever they are: it has an index of its own, and there are few.
    found = collections.instances.find(
        {"extraction.state": {"$in": ["pending", "failed", "deleting"]}}, {"_id": 1}, limit=MAX_UNFINISHED + 1
    )
    unfinished = frozenset(each["_id"] for each in found)
    return Settled(ObjectId.from_datetime(swept_until), unfinished if len(unfinished) <= MAX_UNFINISHED else None)


@dataclass(frozen=True, slots=True)
class _Window:
    """A filter of the index for some files of a listing.

    Parameters
    ----------
    filter : dict
        It may find a few of their neighbours too.
    end : int
        The place behind the last of them.
    in_order : bool
        Whether what it finds comes in the order of the listing.
    """

    filter: Document
    end: int
    in_order: bool


def _window(visible: Visible | None, listing: Listing, begin: int, end: int) -> _Window:
    """Return how some files of a listing are found: by their dates where others do not share these, else by their ids.

    By their dates the local database reads each once; by ids it compares each with every id.
    """
    whose = {} if visible is None else visible.derived()
    dates, size = listing.dates, end - begin
    if dates is not None and visible is not None:
        newer, older = begin - size, end + size - 1
        shared = (newer >= 0 and dates[newer] == dates[begin]) or (
            older < len(dates) and dates[older] == dates[end - 1]
        )
        if not shared:
            span = {"$gte": dates[end - 1] - MARGIN, "$lte": dates[begin] + MARGIN}
            return _Window({**whose, "received_at": span}, end, in_order=True)
    end = min(end, begin + AT_ONCE)
    # What may be seen stands last: where it names ids itself, it is not widened.
    return _Window({"_id": {"$in": listing.dicom_ids[begin:end]}, **whose}, end, in_order=False)
