"""Instances by what stands in their trees: ids from the index, then envelopes for those that are shown.

Synchronous functions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson
import pymongo

from service.storage.collections import ENVELOPE, Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first

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
    left_out : mapping
        The filter of index documents that lack something of what is asked for.
    order : str or None
        The field of `tag_index` to sort by; None: the newest first.
    descending : bool
        Whether the greatest come first.
    limit, offset : int
        How many hits to give, after how many.
    elements : sequence of str
        Keys of the top level of the trees to give with the envelopes.
    check : callable or None
        Takes a tree, as much as `elements` names, and says whether it is a hit; None where the index says it.
    large : bool
        Whether the elements may be so large that the database is asked for those of a few instances at a time.
    """

    patient_id: str
    conditions: Mapping[str, Any]
    left_out: Mapping[str, Any]
    order: str | None = None
    descending: bool = False
    limit: int = 100
    offset: int = 0
    elements: Sequence[str] = field(default=())
    check: Callable[[Mapping[str, Any]], bool] | None = None
    large: bool = False


@dataclass(frozen=True, slots=True)
class Hits:
    """What was found.

    Parameters
    ----------
    envelopes : list of dict
        With the elements that were asked for under ``dataset``.
    next_offset : int or None
        Where the next page begins; None when this was the last.
    left_out : bool
        Whether files of the patient have values that are not in the index, on a path that was asked for.
    unchecked : bool
        Whether there were more trees to try than one search does.
    """

    envelopes: list[Document]
    next_offset: int | None
    left_out: bool
    unchecked: bool


def find_hits(collections: Collections, search: Search) -> Hits:
    """Find a page of hits."""
    left_out = bool(search.conditions) and (
        collections.tag_index.find_one({"patient_id": search.patient_id, **search.left_out}, {"_id": 1}) is not None
    )
    if search.check is not None:
        return _checked(collections, search, search.check, left_out)
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
                return Hits(found, position + number + 1, left_out, unchecked=False)
        position += min(len(ids), wanted)
        # An index document without its instance is nothing that was found, and the page goes on behind it.
        if len(ids) <= wanted or len(found) == search.limit:
            return Hits(found, position if len(ids) > wanted else None, left_out, unchecked=False)


def find_ids(collections: Collections, patient_id: str, conditions: Mapping[str, Any]) -> set[str]:
    """Find the ids of all hits of a filter of `tag_index`."""
    return {hit["_id"] for hit in collections.tag_index.find({"patient_id": patient_id, **conditions}, {"_id": 1})}


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


def _checked(
    collections: Collections, search: Search, check: Callable[[Mapping[str, Any]], bool], left_out: bool
) -> Hits:
    """Try the trees in order until the page is full; the offset counts those that pass."""
    ids = _ids(collections, search, 0, MAX_CHECKED + 1)
    unchecked = len(ids) > MAX_CHECKED
    found: list[Document] = []
    passed = held = 0
    for _, envelope, size in _iter_envelopes(collections, search, ids[:MAX_CHECKED]):
        if not check(envelope.get("dataset") or {}):
            continue
        if len(found) == search.limit or held > MAX_PAGE_BYTES:
            return Hits(found, search.offset + len(found), left_out, unchecked=False)
        passed += 1
        if passed > search.offset:
            found.append(envelope)
            held += size
    return Hits(found, None, left_out, unchecked)


def _ids(collections: Collections, search: Search, skip: int, limit: int) -> list[str]:
    order = [("received_at", -1), ("_id", 1)]
    if search.order is not None:
        order.insert(0, (search.order, -1 if search.descending else 1))
    cursor = collections.tag_index.find(
        {"patient_id": search.patient_id, **search.conditions}, {"_id": 1}, sort=order, skip=skip, limit=limit
    )
    return [hit["_id"] for hit in cursor]


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
        among = {"_id": {"$in": some}, "patient_id": search.patient_id, "extraction.state": "done"}
        found = {envelope["_id"]: envelope for envelope in collections.instances.find(among, projection)}
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
