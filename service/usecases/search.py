"""The use cases: which of a patient's files say something, and what their files say at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from typing import Any

from schemas.database import Instance
from service.dicom.catalogue import Catalogue
from service.dicom.dictionary import may_be_large
from service.dicom.matching.conditions import Condition
from service.dicom.matching.index_filter import index_filter
from service.dicom.matching.on_tree import judge, top_level_steps
from service.dicom.paths import Step, TagPath, candidate_keys, first_keys, further_keys, index_key
from service.dicom.private import creator_of
from service.dicom.simplified import simplify_element
from service.storage.search import MAX_CHECKED, Hits, InstanceQuery
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.matching import find_candidates, passed, try_trees

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
    count : bool
        Whether all hits are counted.
    """

    limit: int
    offset: int
    order: TagPath | None
    descending: bool
    fields: Mapping[str, TagPath]
    count: bool = False


@dataclass(frozen=True, slots=True)
class Found:
    """What a search found.

    Parameters
    ----------
    hits : Hits
        The page.
    unknown : bool
        Whether there are files of which nobody can say whether they match.
    unchecked : bool
        Whether there were more candidates than one search tries.
    """

    hits: Hits
    unknown: bool
    unchecked: bool

    @property
    def total(self) -> int | None:
        """How many hits there are in all; None where that is not known."""
        return None if self.unknown or self.unchecked else self.hits.total


async def list_newest(context: Context, visible: Visible, limit: int, offset: int) -> tuple[list[Instance], bool]:
    """Return a page of the instances without their trees, newest first, and whether there are more.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    return await context.store.instances.list_newest(visible, limit, offset)


async def count(context: Context, visible: Visible) -> int:
    """Return how many instances there are.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    return await context.store.instances.count(visible)


async def search(context: Context, visible: Visible, conditions: Sequence[Condition], page: PageRequest) -> Found:
    """Find the instances for which all conditions hold.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    candidates = await find_candidates(context, visible, conditions)
    among, unknown = candidates.hits, False
    if candidates.left_out:
        hits = candidates.hits
        if hits is None:
            hits = await context.store.index.find_ids(visible, index_filter(conditions))
        tried = set(islice(sorted(candidates.left_out), MAX_CHECKED))
        verdicts = await try_trees(context, visible, tried, conditions)
        among = (hits - tried) | passed(verdicts, hits)
        unknown = None in verdicts.values()
    doubts: list[bool] = []

    def check(tree: Mapping[str, Any]) -> bool:
        verdict = judge(tree, conditions)
        if verdict is None:
            doubts.append(True)
        return verdict is not False

    steps = [path[0] for path in page.fields.values()]
    if candidates.check:
        steps += top_level_steps(conditions)
    wanted = InstanceQuery(
        visible=visible,
        conditions=index_filter(conditions),
        among=among,
        order=None if page.order is None else f"tags.{index_key(page.order)}",
        descending=page.descending,
        limit=page.limit,
        offset=page.offset,
        elements=first_keys(steps),
        further=lambda tree, read: further_keys(tree, steps, read),
        check=check if candidates.check else None,
        large=any(may_be_large(step.tag) for step in steps),
        count=page.count,
    )
    if not steps:
        found = await context.store.index.find_page(wanted)
    else:
        async with context.whole_trees:  # what is shown may be as large as a tree
            found = await context.store.index.find_page(wanted)
    unchecked = found.unchecked or len(candidates.left_out) > MAX_CHECKED
    return Found(found, unknown or bool(doubts), unchecked)


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


async def catalogue(context: Context, visible: Visible, beginning: str) -> Catalogue:
    """List every path that the files have.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    beginning : str
        What the index keys begin with.
    """
    read = partial(Catalogue.of, beginning=beginning)
    return await context.store.index.read(visible, read, CATALOGUE_SECONDS)


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
