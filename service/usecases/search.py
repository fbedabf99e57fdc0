"""The use cases: which of a patient's files say something, and what their files say at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from schemas.database import Instance
from service.dicom.catalogue import Catalogue
from service.dicom.dictionary import may_be_large, tag_of_key
from service.dicom.matching.conditions import Condition
from service.dicom.matching.index_filter import incomplete_filter, index_filter, needs_check
from service.dicom.matching.on_tree import may_match, top_level_steps
from service.dicom.paths import Step, TagPath, candidate_keys, index_key, lookup_keys
from service.dicom.private import creator_of
from service.dicom.simplified import simplify_element
from service.storage.search import Hits, InstanceQuery
from service.storage.visible import Visible
from service.usecases.context import Context

CATALOGUE_SECONDS = 120.0
"""For all files of a patient."""


@dataclass(frozen=True, slots=True)
class PageRequest:
    """Which hits, and what is told of them.

    Parameters
    ----------
    limit, offset : int
        How many, after how many.
    order : tuple of Step or None
        The path to sort by; None: the newest first.
    descending : bool
        Whether the greatest come first.
    fields : mapping of str to tuple of Step
        Paths of elements to give with each hit, by the names that the caller has for them.
    """

    limit: int
    offset: int
    order: TagPath | None
    descending: bool
    fields: Mapping[str, TagPath]


async def list_newest(context: Context, patient_id: str, limit: int, offset: int) -> tuple[list[Instance], bool]:
    """Return a page of a patient's instances without their trees, newest first, and whether there are more.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    return await context.store.instances.list_newest(Visible(patient_id), limit, offset)


async def search(context: Context, patient_id: str, conditions: Sequence[Condition], page: PageRequest) -> Hits:
    """Find the instances of a patient for which all conditions hold.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    check = partial(may_match, conditions=conditions) if needs_check(conditions) else None
    steps = [path[0] for path in page.fields.values()]
    if check is not None:
        steps += top_level_steps(conditions)
    elements = dict.fromkeys(key for step in steps for key in lookup_keys(step))
    wanted = InstanceQuery(
        visible=Visible(patient_id),
        conditions=index_filter(conditions),
        left_out=incomplete_filter(conditions),
        order=None if page.order is None else f"tags.{index_key(page.order)}",
        descending=page.descending,
        limit=page.limit,
        offset=page.offset,
        elements=tuple(elements),
        check=check,
        large=any(may_be_large(tag_of_key(key)) for key in elements),
    )
    if not elements:
        return await context.store.index.find_page(wanted)
    async with context.whole_trees:  # what is shown may be as large as a tree
        return await context.store.index.find_page(wanted)


def show_fields(dataset: Mapping[str, Any], fields: Mapping[str, TagPath]) -> dict[str, Any]:
    """Return the elements that a caller asked for with each hit.

    Returns
    -------
    dict
        By name: the element, simplified; null where there is none. Below a sequence a list, with one for each item in
        which it is, or of the one item that the path names.
    """
    shown: dict[str, Any] = {}
    for name, path in fields.items():
        found = list(_elements(dataset, path))
        shown[name] = found if len(path) > 1 else found[0] if found else None
    return shown


async def catalogue(context: Context, patient_id: str, beginning: str) -> Catalogue:
    """List every path that a patient's files have.

    Parameters
    ----------
    patient_id : str
        Whose.
    beginning : str
        What the index keys begin with.
    """
    read = partial(Catalogue.of, beginning=beginning)
    return await context.store.index.read(Visible(patient_id), read, CATALOGUE_SECONDS)


def _elements(level: Mapping[str, Any], path: Sequence[Step]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    step = path[0]
    for key in candidate_keys(level, step):
        element = level.get(key)
        if element is None:
            continue
        if len(path) == 1:
            tag = step.tag if step.creator is None else int(key, 16)
            found.append(simplify_element(tag, element, creator_of(level, tag)))
            break
        if element.get("vr") == "SQ":
            items = element.get("Value") or []
            if step.item is not None:
                items = items[step.item : step.item + 1]
            for item in items:
                found += _elements(item, path[1:])
    return found
