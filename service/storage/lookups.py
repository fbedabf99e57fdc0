"""Look-ups of single instances; those that wait at the same time are asked for together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
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


def seen(collections: Collections, visible: Visible, dicom_ids: Collection[str]) -> Collection[str]:
    """Return of some ids those that a part may show, as far as small documents tell; of everything all of them.

    A server that decodes a whole tree to find that it lies outside would tell by its time that it is there.
    """
    if not visible.is_part:
        return dicom_ids
    if visible.dicom_ids is not None:
        return visible.dicom_ids.intersection(dicom_ids)
    files = collections.originals.files.find(visible.files(dicom_ids), {"metadata.dicom_id": 1})
    return {file["metadata"]["dicom_id"] for file in files}


def _find(collections: Collections, visible: Visible, lookups: Sequence[Lookup]) -> dict[str, Document]:
    ids = seen(collections, visible, {lookup.dicom_id for lookup in lookups})
    if not ids:
        return {}
    projection = dict.fromkeys(sorted(frozenset().union(*(lookup.fields for lookup in lookups))), 1)
    # Of one document there is one batch, which the driver asks for by a negative limit; several may need more.
    limit = len(ids) if len(ids) > 1 else -1
    documents: Iterator[Any] = collections.instances.find(visible.instances(ids), projection, limit=limit)
    return {document["_id"]: document for document in documents}
