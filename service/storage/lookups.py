"""Look-ups of single instances; those that wait at the same time are asked for together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from service.storage.collections import Collections, Document
from service.storage.gathering import Gathering
from service.storage.threads import Threads
from service.storage.visible import Visible

AT_ONCE = 16
"""Look-ups of one query: the local database compares each document with each id of a list."""


@dataclass(frozen=True, slots=True)
class Lookup:
    """One instance, as far as somebody wants to know it.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    dicom_id : str
        The instance.
    fields : frozenset of str
        Paths to fetch, none of which begins with another one. Others of the same query may bring more.
    """

    visible: Visible
    dicom_id: str
    fields: frozenset[str]


def gather_lookups(collections: Collections, threads: Threads, queue: int) -> Gathering[Lookup, Document | None]:
    """Return where look-ups gather, `queue` of them at most.

    The answer of each is the document, or None where the caller may see none.
    """
    return Gathering(threads, partial(look_up, collections), count=AT_ONCE, queue=queue)


def look_up(collections: Collections, lookups: Sequence[Lookup]) -> list[Document | None]:
    """Return the answers of look-ups, by one query for all that let see the same; synchronous."""
    by_visible: defaultdict[Visible, list[Lookup]] = defaultdict(list)
    for lookup in lookups:
        by_visible[lookup.visible].append(lookup)
    found = {visible: _find(collections, visible, some) for visible, some in by_visible.items()}
    return [found[lookup.visible].get(lookup.dicom_id) for lookup in lookups]


def _find(collections: Collections, visible: Visible, lookups: Sequence[Lookup]) -> dict[str, Document]:
    ids = list({lookup.dicom_id for lookup in lookups})
    projection = dict.fromkeys(sorted(frozenset().union(*(lookup.fields for lookup in lookups))), 1)
    wanted = {"_id": ids[0] if len(ids) == 1 else {"$in": ids}, **visible.instances()}
    # Of one document there is one batch, which the driver asks for by a negative limit; several may need more.
    limit = len(ids) if len(ids) > 1 else -1
    documents: Iterator[Any] = collections.instances.find(wanted, projection, limit=limit)
    return {document["_id"]: document for document in documents}
