"""Instances by the hundred, for tables: which there are, and of the row, index or tree of each what is asked for.

The row stands beside the original, in a document that is small. Rows and index documents may stand for nothing, which
:mod:`service.storage.settled` tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import bson
import pymongo
from bson import ObjectId

from schemas.database import Instance
from service.storage.collections import NEWEST_FIRST, Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first
from service.storage.newest import AT_ONCE, MARGIN
from service.storage.projections import Further, check_keys, read_further
from service.storage.search import MAX_PAGE_BYTES
from service.storage.settled import Listing, Settled, find_settled, listing_of
from service.storage.threads import Threads
from service.storage.visible import Visible

LISTING_SECONDS = 120.0
READING_SECONDS = 30.0

_SMALL = 64 << 10

WINDOW = 500
"""Files that a window of a walk is to have."""

MAX_WINDOW = 2_000
"""Files of which a walk reads no more at once, however many came in a short time."""

FIRST_SPAN = timedelta(minutes=1)
LONGEST_SPAN = timedelta(days=3650)
_TICK = timedelta(milliseconds=1)
"""What the database tells apart."""

_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)

VALUE_BYTES = 256
"""What a value of the index counts for where a batch ends by its size; a text may have so many characters."""


class Row(NamedTuple):
    """What stands beside the original of a settled file.

    Parameters
    ----------
    patient_id : str
        Whose it is.
    original_id : ObjectId
        The original.
    row : bytes
        The row.
    """

    patient_id: str
    original_id: ObjectId
    row: bytes


@dataclass(frozen=True, slots=True)
class Page:
    """Files in the order of a table, with their rows.

    Parameters
    ----------
    listing : Listing
        The files.
    rows : dict of str to Row, or None
        Of those that are settled and have one; None where nobody has looked.
    """

    listing: Listing
    rows: Mapping[str, Row] | None


@dataclass(slots=True)
class Walk:
    """A way through all files of a patient, the newest first, a window of time after the other.

    The local database reads all that a filter finds, and costs as much for a file as the rest of a table does. So each
    file is read once, in windows that are found by how many files the last one had. Behind one that had none the next
    goes to where a series ended, so that no window ends in the midst of many files.

    Parameters
    ----------
    visible : Visible
        All that a patient has.
    settled : Settled
        What tells whose rows have instances.
    ends : list of datetime
        When the newest instances of the patient's series came, the newest last.

    Attributes
    ----------
    before : datetime or None
        What came before it is still to be read; None: everything.
    span : timedelta
        How long the next window is.
    gap : bool
        Whether the next window is one that ends at a series instead.
    over : bool
        Whether all is read.
    passed : set of str
        The files that were read: one that has two originals, of which one is swept one day, is read once.
    """

    visible: Visible
    settled: Settled
    ends: list[datetime]
    before: datetime | None = None
    span: timedelta = FIRST_SPAN
    gap: bool = True
    over: bool = False
    passed: set[str] = field(default_factory=set)


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

    async def begin_walk(self, visible: Visible) -> Walk:
        """Return a walk through all that a patient has.

        Raises
        ------
        ValueError
            Only a part of it may be seen.
        """
        if visible.is_part:
            raise ValueError("A walk is for all that a patient has.")

        def look() -> Walk:
            look_first(self.collections.meta)
            settled = find_settled(self.collections)
            series = self.collections.series.find({"patient_id": visible.patient_id}, {"_id": 0, "received_at": 1})
            return Walk(visible, settled, sorted(each["received_at"] for each in series))

        return await self.walks.run(look, LISTING_SECONDS)

    async def next_page(self, walk: Walk) -> Page | None:
        """Return the files of the next window of a walk that has some, the newest first; None at its end."""

        def look() -> Page | None:
            while not walk.over:
                if files := _read_window(self.collections, walk):
                    return _page_of(walk, files)
            return None

        return await self.threads.run(look, READING_SECONDS)

    async def list_part(self, visible: Visible) -> Listing:
        """List all files of a part, the newest first: by the documents of the originals, which are small."""

        def look() -> Listing:
            look_first(self.collections.tag_index)
            settled = find_settled(self.collections)
            found = list(
                self.collections.originals.files.find(visible.files(), {"metadata.dicom_id": 1, "uploadDate": 1})
            )
            return listing_of(found, settled)

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
            settled = find_settled(self.collections)
            wanted = {**visible.derived(), **conditions}
            found = {
                hit["_id"]: hit["original_id"]
                for hit in self.collections.tag_index.find(wanted, {"original_id": 1}, sort=by)
            }
            unsettled = frozenset(each for each in found if not settled.holds(each, found[each]))
            return Listing(list(found), settled, unsettled)

        return await self.walks.run(look, LISTING_SECONDS)

    async def settle(self, originals: Sequence[tuple[ObjectId, str]], kept: Mapping[ObjectId, Row]) -> Page:
        """Return instances as a page.

        Parameters
        ----------
        originals : sequence of tuple
            Each instance's original, and its id.
        kept : dict of ObjectId to Row
            The rows that stand beside these originals.
        """

        def look() -> Page:
            settled = find_settled(self.collections)
            unsettled = frozenset(each for original_id, each in originals if not settled.holds(each, original_id))
            rows = {
                each: kept[original_id]
                for original_id, each in originals
                if original_id in kept and each not in unsettled
            }
            return Page(Listing([each for _, each in originals], settled, unsettled), rows)

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
        self, visible: Visible | None, after: ObjectId | None, size: int, *, rows: bool = True
    ) -> tuple[list[tuple[ObjectId, str]], dict[ObjectId, Row]]:
        """List originals and the ids of their instances, in the order of the originals: a page of a walk over all.

        Beside them come the rows of those that have one.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: everybody's, which is for commands alone.
        after : ObjectId or None
            The last original of the page before.
        size : int
            How many at most.
        rows : bool
            Whether rows are wanted.
        """
        wanted: Document = {} if visible is None else visible.files()
        if after is not None:
            wanted["_id"] = {"$gt": after}
        # Whole where rows are wanted: they are small, and the local database takes longer to leave something out.
        projection = None if rows else {"metadata.dicom_id": 1}

        def look() -> tuple[list[tuple[ObjectId, str]], dict[ObjectId, Row]]:
            look_first(self.collections.tag_index)
            found = self.collections.originals.files.find(wanted, projection, sort=[("_id", 1)], limit=size)
            if visible is None:
                found.hint([("_id", 1)])  # by which the local database need not sort
            listed: list[tuple[ObjectId, str]] = []
            kept: dict[ObjectId, Row] = {}
            for file in found:
                listed.append((file["_id"], file["metadata"]["dicom_id"]))
                if rows and (row := _row_of(file)) is not None:
                    kept[file["_id"]] = row
            return listed, kept

        return await self.threads.run(look, READING_SECONDS)

    async def read_rows(self, visible: Visible | None, listing: Listing, begin: int, end: int) -> dict[str, Row]:
        """Read the rows of those files of a listing that are settled and have one.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: anybody's files, which is for commands alone.
        listing : Listing
            The files.
        begin, end : int
            From which of them on, and up to which.
        """
        ids = [each for each in listing.dicom_ids[begin:end] if each not in listing.unsettled]
        whose = (lambda some: {"metadata.dicom_id": {"$in": some}}) if visible is None else visible.files

        def look() -> dict[str, Row]:
            kept: dict[str, Row] = {}
            for place in range(0, len(ids), AT_ONCE):
                for file in self.collections.originals.files.find(whose(ids[place : place + AT_ONCE])):
                    row, dicom_id = _row_of(file), file["metadata"]["dicom_id"]
                    if row is not None and listing.settled.holds(dicom_id, file["_id"]):
                        kept[dicom_id] = row
            return kept

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


def _row_of(file: Document) -> Row | None:
    about = file["metadata"]
    return Row(about["patient_id"], file["_id"], about["row"]) if "row" in about else None


def _page_of(walk: Walk, files: Sequence[Document]) -> Page:
    files = [file for file in files if file["metadata"]["dicom_id"] not in walk.passed]
    listing = listing_of(files, walk.settled)
    walk.passed.update(listing.dicom_ids)
    kept = {file["metadata"]["dicom_id"]: _row_of(file) for file in files}
    rows = {each: row for each, row in kept.items() if row is not None and each not in listing.unsettled}
    return Page(listing, rows)


def _read_window(collections: Collections, walk: Walk) -> list[Document]:
    """Read the documents of the originals of the next window, and move on behind it."""
    before, since = walk.before, None
    while before is not None and walk.ends and walk.ends[-1] >= before:
        walk.ends.pop()
    if walk.gap and walk.ends:
        since = walk.ends[-1] + _TICK
    elif not walk.gap and before is not None and before > _EARLIEST + walk.span:
        since = before - walk.span
    files, whole = _came_within(collections, walk.visible, since, before)
    if not whole:  # and nothing says that these are the newest
        files, whole = _came_within(collections, walk.visible, since, before, in_order=True)
    if not whole:  # all but those of the last moment
        since = files[-1]["uploadDate"] + _TICK
        files = [file for file in files if file["uploadDate"] >= since]
        if not files:  # all came in one moment
            since -= _TICK
            files, _ = _came_within(collections, walk.visible, since, since + _TICK, bounded=False)
        walk.span = _in_ticks((files[0]["uploadDate"] - since) * WINDOW / len(files))
    elif not walk.gap:
        if len(files) < WINDOW // 2:
            walk.span = min(2 * walk.span, LONGEST_SPAN)
        elif len(files) > 2 * WINDOW:
            walk.span = _in_ticks(walk.span / 2)
    walk.gap = not walk.gap and not files
    walk.before, walk.over = since, since is None
    return files


def _in_ticks(span: timedelta) -> timedelta:
    """Return a span as the database tells it, so that no file is between two windows."""
    return max(span // _TICK, 1) * _TICK


def _came_within(
    collections: Collections,
    visible: Visible,
    since: datetime | None,
    before: datetime | None,
    *,
    in_order: bool = False,
    bounded: bool = True,
) -> tuple[list[Document], bool]:
    """Find the documents of the originals that came in a span of time, in any order or the newest first.

    They come with whether these are all: there may be more than are read at once, if they are to be `bounded`.
    """
    most = MAX_WINDOW + 1 if bounded else 0
    span: Document = {}
    if since is not None:
        span["$gte"] = since - MARGIN
    if before is not None:
        span["$lt"] = before
    wanted = {**visible.files(), **({"uploadDate": span} if span else {})}
    order = [("uploadDate", -1)] if in_order else None
    # Whole: they are small, and the local database takes longer to leave something out.
    found = list(collections.originals.files.find(wanted, sort=order, limit=most, batch_size=most))
    files = [file for file in found if since is None or file["uploadDate"] >= since]
    return files, not 0 < most == len(found) or (in_order and len(files) < len(found))


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
