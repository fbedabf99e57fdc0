"""Instances by what stands in their trees: ids from the index, then envelopes for those that are shown.

Synchronous functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import bson
import pymongo

from service.storage.collections import ENVELOPE, Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first
from service.storage.projections import Further, read_further

MAX_CHECKED = 1_000
"""Trees that one search tries at most, where the index alone cannot say whether all conditions hold."""

_AT_ONCE = 25
_AT_ONCE_OF_LARGE = 8
_SMALL = 64 << 10

MAX_PAGE_BYTES = 16 << 20
"""Bytes of elements, as they are in the database, with which a page ends early; in memory they take many times that."""


@dataclass(frozen=True, slots=True)
class Search:
    """What is looked for.

    Parameters
    ----------
    patient_id : str
        Whose instances.
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
        Keys of the top level of the trees to give with the envelopes.
    further : callable or None
        Takes what was read of a tree and the keys that were asked for, and names those that are still to be read.
    check : callable or None
        Takes a tree, as much as `elements` names, and says whether it is a hit; None where the index says it.
    large : bool
        Whether the elements may be so large that the database is asked for those of a few instances at a time.
    count : bool
        Whether all hits are counted.
    """

    patient_id: str
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
    envelopes : list of dict
        With the elements that were asked for under ``dataset``.
    next_offset : int or None
        Where the next page begins; None when this was the last.
    unchecked : bool
        Whether there were more trees to try than one search does.
    total : int or None
        How many hits there are on all pages, where that was asked for and all of them were tried.
    """

    envelopes: list[Document]
    next_offset: int | None
    unchecked: bool = False
    total: int | None = None


def find_hits(collections: Collections, search: Search) -> Hits:
    """Find a page of hits."""
    if search.check is not None:
        return _checked(collections, search, search.check)
    total = _count(collections, search) if search.count else None
    found: list[Document] = []
    held = 0
    position = search.offset
    while True:
        wanted = search.limit - len(found)
        ids = _ids(collections, search, position, wanted + 1)
        for number, envelope, size in _iter_envelopes(collections, search, ids[:wanted]):
            found.append(envelope)
            held += size
            if held > MAX_PAGE_BYTES and number + 1 < len(ids):
                return Hits(found, position + number + 1, total=total)
        position += min(len(ids), wanted)
        # An index document without its instance is nothing that was found, and the page goes on behind it.
        if len(ids) <= wanted or len(found) == search.limit:
            return Hits(found, position if len(ids) > wanted else None, total=total)


def _count(collections: Collections, search: Search) -> int:
    """Count the hits whose instances are there."""
    ids = _ids(collections, search, 0, 0)
    return sum(
        collections.instances.count_documents(_among(search, ids[begin : begin + _AT_ONCE]))
        for begin in range(0, len(ids), _AT_ONCE)
    )


def find_ids(collections: Collections, patient_id: str, conditions: Mapping[str, Any]) -> set[str]:
    """Find the ids of all hits of a filter of `tag_index`."""
    return {hit["_id"] for hit in collections.tag_index.find({"patient_id": patient_id, **conditions}, {"_id": 1})}


def find_values(collections: Collections, patient_id: str, path: str) -> set[tuple[Any, ...]]:
    """Find the lists of values that a patient's files have at a path of the index, each once."""
    field = f"tags.{path}"
    there = {"patient_id": patient_id, field: {"$exists": True}}
    return {
        tuple(document.get("tags", {}).get(path) or ())
        for document in collections.tag_index.find(there, {"_id": 0, field: 1})
    }


def walk_index(collections: Collections, patient_id: str) -> Iterator[Document]:
    """Return ``tags``, ``vrs`` and ``truncated`` of every index document of a patient."""
    projection = {"_id": 0, "tags": 1, "vrs": 1, "truncated": 1}
    look_first(collections.tag_index)
    cursor = collections.tag_index.find({"patient_id": patient_id}, projection)
    document = next(cursor, None)
    while document is not None:
        yield document
        with pymongo.timeout(ANSWER_SECONDS):  # one batch; the limit of the whole walk holds beside it
            document = next(cursor, None)


def _checked(collections: Collections, search: Search, check: Callable[[Mapping[str, Any]], bool]) -> Hits:
    """Try the trees in order until the page is full, or all where they are counted; the offset counts the hits."""
    ids = _ids(collections, search, 0, MAX_CHECKED + 1)
    unchecked = len(ids) > MAX_CHECKED
    found: list[Document] = []
    passed = held = 0
    next_offset: int | None = None
    for _, envelope, size in _iter_envelopes(collections, search, ids[:MAX_CHECKED]):
        if not check(envelope.get("dataset") or {}):
            continue
        if next_offset is None and (len(found) == search.limit or held > MAX_PAGE_BYTES):
            next_offset = search.offset + len(found)
            if not search.count:
                return Hits(found, next_offset)
        passed += 1
        if passed > search.offset and next_offset is None:
            found.append(envelope)
            held += size
    return Hits(found, next_offset, unchecked, passed if search.count and not unchecked else None)


def _ids(collections: Collections, search: Search, skip: int, limit: int) -> list[str]:
    order = [("received_at", -1), ("_id", 1)]
    if search.order is not None:
        order.insert(0, (search.order, -1 if search.descending else 1))
    if search.among is not None:
        # Sorted by the database all the same, whose order of values is its own.
        everything = collections.tag_index.find({"patient_id": search.patient_id}, {"_id": 1}, sort=order)
        among = [hit["_id"] for hit in everything if hit["_id"] in search.among]
        return among[skip : skip + limit] if limit else among[skip:]
    cursor = collections.tag_index.find(
        {"patient_id": search.patient_id, **search.conditions}, {"_id": 1}, sort=order, skip=skip, limit=limit
    )
    return [hit["_id"] for hit in cursor]


def _among(search: Search, ids: Sequence[str]) -> Document:
    return {"_id": {"$in": list(ids)}, "patient_id": search.patient_id, "extraction.state": "done"}


def _iter_envelopes(
    collections: Collections, search: Search, ids: Sequence[str]
) -> Iterator[tuple[int, Document, int]]:
    """Return the envelopes of hits in their order, without those that are gone.

    Each comes with its place among the ids, and with the bytes of its elements as the database has them.
    """
    projection = {**ENVELOPE, **{f"dataset.{key}": 1 for key in search.elements}}
    # A few at a time: the local database compares each document with each id of a list. What may be large comes alone,
    # and several together once it turns out to be small.
    at_once = 1 if search.large else _AT_ONCE
    begin = 0
    while begin < len(ids):
        some = list(ids[begin : begin + at_once])
        among = _among(search, some)
        found = {envelope["_id"]: envelope for envelope in collections.instances.find(among, projection)}
        if search.further is not None:
            read_further(collections.instances, among, found, search.elements, search.further)
        largest = 0
        for number, each in enumerate(some, start=begin):
            if each in found:
                envelope = found.pop(each)
                size = len(bson.encode(envelope["dataset"])) if search.elements and envelope.get("dataset") else 0
                largest = max(largest, size)
                yield number, envelope, size
        begin += len(some)
        if search.large:
            at_once = min(2 * at_once, _AT_ONCE_OF_LARGE) if largest < _SMALL else 1
