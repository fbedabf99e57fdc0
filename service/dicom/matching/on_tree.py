"""Conditions tried on a tree, for what the index cannot say: that several hold in one and the same item."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.dictionary import tag_of_key
from service.dicom.index import index_entries
from service.dicom.matching.conditions import (
    Absent,
    Between,
    Condition,
    During,
    Empty,
    Like,
    Moment,
    OneOf,
    Present,
    Test,
    Word,
    WordLike,
)
from service.dicom.matching.index_filter import is_negative
from service.dicom.paths import BelowSpilled, Step, TagPath, candidate_keys, index_key
from service.dicom.private import creator_key, is_private_data

_Below = list[tuple[int, Condition]]
"""Conditions, each with the number of steps of its path that have been taken."""


def matches(dataset: Mapping[str, Any], conditions: Iterable[Condition]) -> bool:
    """Return whether all conditions hold for a tree.

    Conditions whose paths share a sequence hold in one item of it (PS3.4 C.2.2.2.6), those that share one below it in
    one item of that. Where nothing is asked for but what is absent or empty, it is so in every item.

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex, or as much of it as the conditions look at.
    conditions : iterable of Condition
        Of `read_conditions`.

    Raises
    ------
    BelowSpilled
        What is asked for lies below a sequence that only the original file has.
    """
    return _hold(dataset, [(0, condition) for condition in conditions])


def may_match(dataset: Mapping[str, Any], conditions: Sequence[Condition]) -> bool:
    """Return whether all conditions hold, as `matches` does; True where only the original file could say."""
    try:
        return matches(dataset, conditions)
    except BelowSpilled:
        return True


def matches_entries(entries: Mapping[str, Any], conditions: Iterable[Condition]) -> bool:
    """Return whether each condition for itself holds for an index of a file, as `index_entries` makes it."""
    return all(_holds(entries, 0, condition) for condition in conditions)


def top_level_steps(conditions: Iterable[Condition]) -> list[Step]:
    """Return the elements of the top level that `matches` looks at."""
    return list(dict.fromkeys(path[0] for condition in conditions for path in condition.paths))


def _hold(level: Mapping[str, Any], asked: _Below) -> bool:
    groups: dict[Step, _Below] = {}
    alone: _Below = []
    for taken, condition in asked:
        if len(condition.path) - taken > 1:
            groups.setdefault(condition.path[taken], []).append((taken, condition))
        else:
            alone.append((taken, condition))
    for step, group in groups.items():
        if len(group) == 1 or all(is_negative(condition) for _, condition in group):
            alone += group
        elif not any(_hold(item, [(taken + 1, one) for taken, one in group]) for item in _items(level, step)):
            return False
    if not alone:
        return True
    needed = [path[taken:] for taken, condition in alone for path in condition.paths]
    entries = index_entries(_pruned(level, needed))
    return all(_holds(entries, taken, condition) for taken, condition in alone)


def _items(level: Mapping[str, Any], step: Step) -> Iterable[Mapping[str, Any]]:
    for key in candidate_keys(level, step):
        element = level.get(key)
        if element is not None and element.get("vr") == "SQ":
            if element.get("spilled"):
                raise BelowSpilled
            yield from element.get("Value") or ()


def _pruned(level: Mapping[str, Any], paths: Sequence[TagPath]) -> dict[str, Any]:
    """Return the elements of a level on which paths lead somewhere, and the creators who say whose they are."""
    kept: dict[str, Any] = {}
    for step in dict.fromkeys(path[0] for path in paths):
        below = [path[1:] for path in paths if path[0] == step and len(path) > 1]
        for key in candidate_keys(level, step):
            element = level.get(key)
            if element is None:
                continue
            tag = tag_of_key(key)
            if is_private_data(tag) and creator_key(tag) in level:
                kept[creator_key(tag)] = level[creator_key(tag)]
            if below and element.get("spilled"):
                raise BelowSpilled
            if element.get("vr") == "SQ" and element.get("Value"):
                element = {"vr": "SQ", "Value": [_pruned(item, below) if below else {} for item in element["Value"]]}
            kept[key] = element
    return kept


def _holds(entries: Mapping[str, Any], taken: int, condition: Condition) -> bool:
    key = index_key(condition.path[taken:])
    test = condition.test
    if isinstance(test, Word):
        return any(word.startswith(test.prefix) for word in entries["names"].get(key, ()))
    if isinstance(test, WordLike):
        return any(_compiled(test.pattern, False).search(word) for word in entries["names"].get(key, ()))
    values = entries["tags"].get(key)
    match test:
        case Absent():
            return values is None
        case Present():
            return values is not None
        case Empty(sequence):
            return values is not None and list(values) == ([0] if sequence else []) and key not in entries["truncated"]
        case Moment(_, dates, low, end):
            times = entries["tags"].get(index_key(condition.paths[1][taken:])) or ()
            return any(
                isinstance(date, str) and isinstance(time, str) and dates.low <= date < dates.end
                and low <= date + time < end
                for date in values or () for time in times
            )  # fmt: skip
        case _:
            return any(_fits(value, test) for value in values or ())


def _fits(value: Any, test: Test) -> bool:
    match test:
        case OneOf(wanted):
            return any(_equal(value, one) for one in wanted)
        case Like(pattern, ignore_case):
            return isinstance(value, str) and _compiled(pattern, ignore_case).search(value) is not None
        case Between(low, high):
            number = _number(value)
            return number is not None and (low is None or low <= number) and (high is None or number <= high)
        case During(low, end):
            return isinstance(value, str) and low <= value < end
        case _:
            raise TypeError(f"{type(test).__name__} is not of one value")


@lru_cache(maxsize=256)
def _compiled(pattern: str, ignore_case: bool) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE if ignore_case else 0)


def _equal(value: Any, wanted: Any) -> bool:
    if isinstance(value, str) or isinstance(wanted, str):
        return type(value) is type(wanted) and bool(value == wanted)
    value, wanted = _number(value, nan=True), _number(wanted, nan=True)
    return bool(value == wanted) or (value != value and wanted != wanted)


def _number(value: Any, *, nan: bool = False) -> Any:
    """Return a value as a number that can be compared; None where it is none."""
    if isinstance(value, Decimal128):
        return int(value.to_decimal())
    if isinstance(value, (int, float)) and (nan or value == value):
        return value
    return None
