"""Instances by what stands in their trees: ids from the index, then the instances that are shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any, TypeVar

import bson
import pymongo

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first
from service.storage.projections import Further, read_further
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible

T = TypeVar("T")

MAX_CHECKED = 1_000
"""Trees that one search tries at most, where the index alone cannot say whether all conditions hold."""

_AT_ONCE = 25
_AT_ONCE_OF_LARGE = 8
_SMALL = 64 << 10

MAX_PAGE_BYTES = 16 << 20
"""Bytes of elements, as they are in the database, with which a page ends early; in memory they take many times that."""


@dataclass(frozen=True, slots=True)
class InstanceQuery:
    """What is looked for.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    conditions : mapping
        A filter of `tag_index`, to stand beside the patient.
    among : set of str or None
        The ids of the hits, or of what is to be tried, where it took more than one filter to find them; `conditions`
        are not looked at then.
    order : str or None
        The field of `tag_index` to sort by; None: the newest first.
    descending : bool
        Whether the greatest come first.
    limit, offset : int
        How many hits to give, after how many.
    elements : sequence of str
        Keys of the top level of the trees to give with the instances.
    further : callable or None
        Takes what was read of a tree and the keys that were asked for, and names those that are still to be read.
    check : callable or None
        Takes a tree, as much as `elements` names, and says whether it is a hit; None where the index says it.
    large : bool
        Whether the elements may be so large that the database is asked for those of a few instances at a time.
    count : bool
        Whether all hits are counted.
    """

    visible: Visible
    conditions: Mapping[str, Any]
    among: Set[str] | None = None
    order: str | None = None
    descending: bool = False
    limit: int = 100
    offset: int = 0
    elements: Sequence[str] = field(default=())
    further: Further | None = None
    check: Callable[[Mapping[str, Any]], bool] | None = None
    large: bool = False
    count: bool = False


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found.

    Parameters
    ----------
    instances : list of dict
        With the elements that were asked for under ``dataset``.
    next_offset : int or None
        Where the next page begins; None when this was the last.
    unchecked : bool
        Whether there were more trees to try than one search does.
    total : int or None
        How many hits there are on all pages, where that was asked for and all of them were tried.
    """

    instances: list[Instance]
    next_offset: int | None
    unchecked: bool = False
    total: int | None = None


@dataclass(frozen=True, slots=True)
class TagIndex:
    """The flat index of every value of every file.

    Parameters
    ----------
    walks : Threads
        Where walks over all that a patient has run: they take long, and wait for each other and for nobody else.
    """

    collections: Collections
    threads: Threads
    walks: Threads

    @one_hop
    def find_page(self, query: InstanceQuery) -> Hits:
        """Find a page of instances by what stands in their trees."""
        if query.check is not None:
            return _checked(self.collections, query, query.check)
        total = _count(self.collections, query) if query.count else None
        found: list[Instance] = []
        held = 0
        position = query.offset
        while True:
            wanted = query.limit - len(found)
            ids = _ids(self.collections, query, position, wanted + 1)
            for number, instance, size in _iter_instances(self.collections, query, ids[:wanted]):
                found.append(instance)
                held += size
                if held > MAX_PAGE_BYTES and number + 1 < len(ids):
                    return Hits(found, position + number + 1, total=total)
            position += min(len(ids), wanted)
            # An index document without its instance is nothing that was found, and the page goes on behind it.
            if len(ids) <= wanted or len(found) == query.limit:
                return Hits(found, position if len(ids) > wanted else None, total=total)

    @one_hop
    def find_ids(self, visible: Visible, conditions: Mapping[str, Any]) -> set[str]:
        """Find the ids of files by a filter of `tag_index`, whether or not their instances are seen."""
        wanted = {**visible.derived(), **conditions}
        return {hit["_id"] for hit in self.collections.tag_index.find(wanted, {"_id": 1})}

    @one_hop
    def find_values(self, visible: Visible, path: str) -> set[tuple[Any, ...]]:
        """Find the lists of values that files have at a path of the index, each once."""
        field = f"tags.{path}"
        there = {**visible.derived(), field: {"$exists": True}}
        return {
            tuple(document.get("tags", {}).get(path) or ())
            for document in self.collections.tag_index.find(there, {"_id": 0, field: 1})
        }

    async def read(self, visible: Visible, read: Callable[[Iterable[Document]], T], seconds: float) -> T:
        """Return what `read` makes of all index documents, in a thread, within so many seconds.

        It is given ``tags``, ``vrs`` and ``truncated`` of each.
        """
        return await self.walks.run(lambda: read(_walk(self.collections, visible)), seconds)


def _count(collections: Collections, query: InstanceQuery) -> int:
    """Count the hits whose instances are there."""
    ids = _ids(collections, query, 0, 0)
    return sum(
        collections.instances.count_documents(_among(query, ids[begin : begin + _AT_ONCE]))
        for begin in range(0, len(ids), _AT_ONCE)
    )


def _walk(collections: Collections, visible: Visible) -> Iterator[Document]:
    projection = {"_id": 0, "tags": 1, "vrs": 1, "truncated": 1}
    look_first(collections.tag_index)
    cursor = collections.tag_index.find(visible.derived(), projection)
    document = next(cursor, None)
    while document is not None:
        yield document
        with pymongo.timeout(ANSWER_SECONDS):  # one batch; the limit of the whole walk holds beside it
            document = next(cursor, None)


def _checked(collections: Collections, query: InstanceQuery, check: Callable[[Mapping[str, Any]], bool]) -> Hits:
    """Try the trees in order until the page is full, or all where they are counted; the offset counts the hits."""
    ids = _ids(collections, query, 0, MAX_CHECKED + 1)
    unchecked = len(ids) > MAX_CHECKED
    found: list[Instance] = []
    passed = held = 0
    next_offset: int | None = None
    for _, instance, size in _iter_instances(collections, query, ids[:MAX_CHECKED]):
        if not check(instance.get("dataset") or {}):
            continue
        if next_offset is None and (len(found) == query.limit or held > MAX_PAGE_BYTES):
            next_offset = query.offset + len(found)
            if not query.count:
                return Hits(found, next_offset)
        passed += 1
        if passed > query.offset and next_offset is None:
            found.append(instance)
            held += size
    return Hits(found, next_offset, unchecked, passed if query.count and not unchecked else None)


def _ids(collections: Collections, query: InstanceQuery, skip: int, limit: int) -> list[str]:
    order = [("received_at", -1), ("_id", 1)]
    if query.order is not None:
        order.insert(0, (query.order, -1 if query.descending else 1))
    if query.among is not None:
        # Sorted by the database all the same, whose order of values is its own.
        everything = collections.tag_index.find(query.visible.derived(), {"_id": 1}, sort=order)
        among = [hit["_id"] for hit in everything if hit["_id"] in query.among]
        return among[skip : skip + limit] if limit else among[skip:]
    cursor = collections.tag_index.find(
        {**query.visible.derived(), **query.conditions}, {"_id": 1}, sort=order, skip=skip, limit=limit
    )
    return [hit["_id"] for hit in cursor]


def _among(query: InstanceQuery, ids: Sequence[str]) -> Document:
    return query.visible.extracted(ids)


def _iter_instances(
    collections: Collections, query: InstanceQuery, ids: Sequence[str]
) -> Iterator[tuple[int, Instance, int]]:
    """Return the instances of hits in their order, without those that are gone.

    Each comes with its place among the ids, and with the bytes of its elements as the database has them.
    """
    projection = {**SMALL_FIELDS, **{f"dataset.{key}": 1 for key in query.elements}}
    # A few at a time: the local database compares each document with each id of a list. What may be large comes alone,
    # and several together once it turns out to be small.
    at_once = 1 if query.large else _AT_ONCE
    begin = 0
    while begin < len(ids):
        some = list(ids[begin : begin + at_once])
        among = _among(query, some)
        found = {instance["_id"]: instance for instance in collections.instances.find(among, projection)}
        if query.further is not None:
            read_further(collections.instances, among, found, query.elements, query.further)
        largest = 0
        for number, each in enumerate(some, start=begin):
            if each in found:
                instance = found.pop(each)
                size = len(bson.encode(instance["dataset"])) if query.elements and instance.get("dataset") else 0
                largest = max(largest, size)
                yield number, instance, size
        begin += len(some)
        if query.large:
            at_once = min(2 * at_once, _AT_ONCE_OF_LARGE) if largest < _SMALL else 1
