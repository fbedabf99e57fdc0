"""For which of a patient's instances conditions hold: the index says it of most, their trees of the others.

The index has no long texts, bounds how many values it takes, and knows neither items nor the blocks of private
creators. So what it left out is tried on the trees, and what it cannot say is either found in another spelling of it
or tried too. Bytes, and what only the original file has, cannot be compared: then the answer says that it may lack
something.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from service.dicom.dictionary import may_be_large, tag_of_key
from service.dicom.matching.conditions import Condition, Either, Present
from service.dicom.matching.index_filter import has_block, incomplete_filter, index_filter, is_negative, needs_check
from service.dicom.matching.on_tree import judge, top_level_steps
from service.dicom.paths import Step, TagPath, first_keys, further_keys, index_key
from service.dicom.private import creator_key, creator_text, is_private_data
from service.storage.visible import Visible
from service.usecases.context import Context

MAX_SPELLINGS = 64
"""Ways in which one search asks the index for what it has no filter for; where there were more, trees are tried."""

AT_ONCE = 25
AT_ONCE_OF_LARGE = 8
SMALL = 256 << 10
"""Bytes of a file up to which its tree is small."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """What the index says.

    Parameters
    ----------
    hits : set of str or None
        The ids of those that it finds; None where one filter, `index_filter`, finds them.
    left_out : set of str
        The ids of those of which it left something out that is asked for.
    check : bool
        Whether also the hits are to be tried on their trees.
    """

    hits: set[str] | None
    left_out: set[str]
    check: bool


@dataclass(frozen=True, slots=True)
class Matched:
    """What was found.

    Parameters
    ----------
    ids : set of str
        The ids of the hits.
    unknown : bool
        Whether there are instances of which nobody can say it.
    """

    ids: set[str]
    unknown: bool


async def find_matching(
    context: Context, visible: Visible, conditions: Sequence[Condition], among: Set[str]
) -> Matched:
    """Find those of the instances for which all conditions hold.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    conditions : sequence of Condition
        At least one.
    among : set of str
        The ids of the instances that are asked about.
    """
    candidates = await find_candidates(context, visible, conditions)
    hits = candidates.hits
    if hits is None:
        hits = await context.store.index.find_ids(visible, index_filter(conditions))
    tried = among & (candidates.left_out | hits if candidates.check else candidates.left_out)
    verdicts = await try_trees(context, visible, tried, conditions)
    sure = (hits & among) - tried
    return Matched(sure | passed(verdicts, hits), None in verdicts.values())


def passed(verdicts: Mapping[str, bool | None], hits: Set[str]) -> set[str]:
    """Return which instances are hits by their trees, or by the index where the tree cannot say."""
    return {each for each, verdict in verdicts.items() if verdict or (verdict is None and each in hits)}


async def find_candidates(context: Context, visible: Visible, conditions: Sequence[Condition]) -> Candidates:
    """Ask the index for what may match; parameters as of `find_matching`."""
    find_ids = context.store.index.find_ids
    looked_at = list(conditions)
    creators: list[str] = []
    narrower: list[list[tuple[Condition, ...]]] = []
    narrowed: list[Condition] = []
    left = MAX_SPELLINGS
    for condition in conditions:
        groups = condition.test.groups if isinstance(condition.test, Either) else ((condition.test,),)
        blocks = has_block(condition.path)
        spellings = await _spellings(context, visible, condition.path, creators) if blocks else [condition.path]
        ways = [tuple(Condition(path, test) for test in group) for path in spellings for group in groups]
        if len(ways) == 1 and ways[0] == (condition,):
            continue
        for way in ways:
            looked_at += way
        left -= len(ways)
        inexact = blocks or any(step.item is not None for step in condition.path)
        negative = any(is_negative(each) for way in ways for each in way)
        if ways and left >= 0 and not (inexact and negative):
            narrower.append(ways)
            narrowed.append(condition)
    left_out = await find_ids(visible, incomplete_filter(looked_at, creators)) if conditions else set()
    # What is narrowed down to what fits by itself needs no tree unless a block or an item is meant.
    settled = [
        replace(each, test=Present()) if each in narrowed and isinstance(each.test, Either) else each
        for each in conditions
    ]
    hits: set[str] | None = None
    if narrower:
        hits = await find_ids(visible, index_filter(conditions))
        for ways in narrower:
            found: set[str] = set()
            for way in ways:
                found |= await find_ids(visible, index_filter(way))
            hits &= found
    return Candidates(hits, left_out, needs_check(settled))


async def _spellings(context: Context, visible: Visible, path: TagPath, creators: list[str]) -> list[TagPath]:
    """Spell a path with blocks by the creators that files have reserved them for.

    Parameters
    ----------
    creators : list of str
        Takes the keys of the creators' own paths: where the index left one out, nobody knows whose block it is.

    Returns
    -------
    list of tuple of Step
        None at all where there would be too many.
    """
    spelt: list[TagPath] = [()]
    for step in path:
        if step.creator is not None or not is_private_data(step.tag):
            spelt = [(*begun, replace(step, item=None)) for begun in spelt]
            continue
        longer: list[TagPath] = []
        for begun in spelt:
            key = index_key((*begun, Step(tag_of_key(creator_key(step.tag)))))
            creators.append(key)
            lists = await context.store.index.find_values(visible, key)
            # A creator is one value; where a file divides it, all of them are its name, as `creator_text` has it.
            names = {creator_text({"Value": [name]}) for values in lists for name in values}
            names |= {creator_text({"Value": list(values)}) for values in lists}
            longer += [(*begun, Step(step.tag & 0xFFFF00FF, name)) for name in sorted(filter(None, names))]
            longer.append((*begun, replace(step, item=None)))  # a block that nobody has reserved
        if len(longer) > MAX_SPELLINGS:
            return []
        spelt = longer
    return spelt


async def try_trees(
    context: Context, visible: Visible, ids: Collection[str], conditions: Sequence[Condition]
) -> dict[str, bool | None]:
    """Return what the trees of instances say of conditions, by their ids; instances that are gone are not among them.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    ids : collection of str
        Which of them.
    conditions : sequence of Condition
        All must hold.
    """
    if not ids:
        return {}
    verdicts: dict[str, bool | None] = {}
    async with context.whole_trees:
        async for each, tree in _iter_trees(context, visible, sorted(ids), top_level_steps(conditions)):
            verdicts[each] = await asyncio.to_thread(judge, tree, conditions)
    return verdicts


async def _iter_trees(
    context: Context, visible: Visible, ids: Sequence[str], steps: Sequence[Step]
) -> AsyncIterator[tuple[str, Mapping[str, Any]]]:
    """Return instances with as much of their trees as the steps need; few at once where that may be large."""
    keys = first_keys(steps)
    large = any(may_be_large(step.tag) for step in steps)
    at_once = 1 if large else AT_ONCE
    begin = 0
    while begin < len(ids):
        some = ids[begin : begin + at_once]
        found = await context.store.instances.find_many(visible, some, keys, partial(_further, steps))
        for each, instance in found.items():
            yield each, instance.get("dataset") or {}
        begin += len(some)
        if large:
            sizes = [instance["size"] for instance in found.values()]
            at_once = AT_ONCE_OF_LARGE if max(sizes, default=0) <= SMALL else 1


def _further(steps: Sequence[Step], tree: Mapping[str, Any], read: Collection[str]) -> set[str]:
    return further_keys(tree, steps, read)
