"""Conditions tried on a tree, for what the index cannot say.

That several hold in one and the same item, what a long text or the thousandth value says, which element stands in a
block. The tree has it all, but for bytes and what was left in the original file: then nobody knows, which is None.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.index import name_words, normalised_date, normalised_date_time, normalised_name, normalised_time
from service.dicom.matching.conditions import (
    Absent,
    Between,
    Condition,
    During,
    Either,
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
from service.dicom.paths import BelowSpilled, Step, TagPath, candidate_keys, items_of

_Element = Mapping[str, Any]
_Below = list[tuple[int, Condition]]
"""Conditions, each with the number of steps of its path that have been taken."""

_MAX_STEPS = 20_000_000
"""Characters of a text times those of an expression, up to which it is tried: a tenth of a second at the worst."""

_NORMALISED: dict[str, Callable[[str], str | None]] = {
    "DA": normalised_date,
    "TM": normalised_time,
    "DT": normalised_date_time,
}


def judge(dataset: Mapping[str, Any], conditions: Iterable[Condition]) -> bool | None:
    """Return whether all conditions hold for a tree; None where only the original file could say.

    Conditions whose paths share a sequence hold in one item of it (PS3.4 C.2.2.2.6), those that share one below it in
    one item of that. Where nothing is asked for but what is absent or empty, it is so in every item.

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex, or as much of it as the conditions look at.
    conditions : iterable of Condition
        Of `read_conditions`.
    """
    return _hold(dataset, [(0, condition) for condition in conditions])


def matches(dataset: Mapping[str, Any], conditions: Iterable[Condition]) -> bool:
    """Return whether all conditions are known to hold for a tree; parameters as of `judge`."""
    return judge(dataset, conditions) is True


def may_match(dataset: Mapping[str, Any], conditions: Iterable[Condition]) -> bool:
    """Return whether no condition is known to fail for a tree; parameters as of `judge`."""
    return judge(dataset, conditions) is not False


def top_level_steps(conditions: Iterable[Condition]) -> list[Step]:
    """Return the elements of the top level that `judge` looks at."""
    return list(dict.fromkeys(path[0] for condition in conditions for path in condition.paths))


# --- true, false, and not known -----------------------------------------------------------------------------------


def _all(answers: Iterable[bool | None]) -> bool | None:
    known: bool | None = True
    for answer in answers:
        if answer is False:
            return False
        known = known if answer else None
    return known


def _any(answers: Iterable[bool | None]) -> bool | None:
    known: bool | None = False
    for answer in answers:
        if answer:
            return True
        known = known if answer is False else None
    return known


# --- levels and items ---------------------------------------------------------------------------------------------


def _hold(level: Mapping[str, Any], asked: _Below) -> bool | None:
    groups: dict[Step, _Below] = {}
    alone: _Below = []
    for taken, condition in asked:
        if len(condition.path) - taken > 1:
            groups.setdefault(condition.path[taken], []).append((taken, condition))
        else:
            alone.append((taken, condition))
    shared = []
    for step, group in groups.items():
        if len(group) == 1 or all(is_negative(condition) for _, condition in group):
            alone += group
        else:
            shared.append((step, [(taken + 1, condition) for taken, condition in group]))
    return _all(
        [_holds(level, condition.path[taken:], condition.test) for taken, condition in alone]
        + [_any(None if item is None else _hold(item, group) for item in _items(level, step)) for step, group in shared]
    )


def _items(level: Mapping[str, Any], step: Step) -> Iterator[Mapping[str, Any] | None]:
    """Return the items that a step leads into; None where they are in the original file only."""
    for key in candidate_keys(level, step):
        element = level.get(key)
        if element is not None:
            try:
                yield from items_of(element, step.item)
            except BelowSpilled:
                yield None


def _levels(level: Mapping[str, Any], path: TagPath) -> Iterator[Mapping[str, Any] | None]:
    """Return the levels on which the last step of a path stands, over all items; None for those that are not here."""
    if len(path) == 1:
        yield level
        return
    for item in _items(level, path[0]):
        if item is None:
            yield None
        else:
            yield from _levels(item, path[1:])


def _elements(level: Mapping[str, Any], step: Step) -> Iterator[_Element]:
    for key in candidate_keys(level, step):
        element = level.get(key)
        if element is not None:
            yield element


def _holds(level: Mapping[str, Any], path: TagPath, test: Test) -> bool | None:
    """Return whether a test holds for what a path leads to, over all items."""
    if isinstance(test, Either):
        return _any(_all(_holds(level, path, one) for one in group) for group in test.groups)
    if isinstance(test, Moment):
        return _any(None if place is None else _at_moment(place, path[-1], test) for place in _levels(level, path))
    found: list[_Element] = []
    hidden = False
    for place in _levels(level, path):
        if place is None:
            hidden = True
        else:
            found += _elements(place, path[-1])
    if isinstance(test, (Absent, Present)):
        there = True if found else None if hidden else False
        return there if isinstance(test, Present) or there is None else not there
    if isinstance(test, Empty):
        if any(map(_has_value, found)) or not (found or hidden):
            return False
        return None if hidden else True
    fits = _any(_fits(value, test) for element in found for value in _compared(element, test))
    return None if fits is False and (hidden or any(map(_is_hidden, found))) else fits


def _at_moment(level: Mapping[str, Any], step: Step, test: Moment) -> bool | None:
    dates, times = list(_elements(level, step)), list(_elements(level, test.time))
    if any(
        isinstance(date, str) and isinstance(time, str)
        and test.dates.low <= date < test.dates.end and test.low <= date + time < test.end
        for date in _values_of(dates) for time in _values_of(times)
    ):  # fmt: skip
        return True
    return None if dates and times and any(map(_is_hidden, (*dates, *times))) else False


# --- values of an element -----------------------------------------------------------------------------------------


def _has_value(element: _Element) -> bool:
    return bool(
        any(value not in (None, "") for value in element.get("Value") or ())
        or element.get("raw")
        or element.get("InlineBinary")
        or element.get("length")
        or element.get("items")
    )


def _is_hidden(element: _Element) -> bool:
    """Return whether an element has a value that cannot be compared: bytes, or what was left in the original file."""
    if element.get("Value") or isinstance(element.get("raw"), str) or element["vr"] == "SQ":
        return False
    return _has_value(element)


def _values_of(elements: Iterable[_Element]) -> Iterator[Any]:
    for element in elements:
        yield from _values(element)


def _compared(element: _Element, test: Test) -> Iterator[Any]:
    """Return what a test compares: the words of names, or the values."""
    if isinstance(test, (Word, WordLike)):
        for value in element.get("Value") or ():
            for group in value.values() if isinstance(value, Mapping) else ():
                yield from name_words(group)
    else:
        yield from _values(element)


def _values(element: _Element) -> Iterator[Any]:
    """Return the values of an element in the form in which the index compares them, but all and whole."""
    vr, values = element["vr"], element.get("Value")
    if vr == "SQ":
        yield len(values) if values else element.get("items", 0)
    elif not values:
        if isinstance(element.get("raw"), str):
            yield element["raw"]
    elif vr == "PN":
        yield from (normalised_name(group) for value in values if value for group in value.values())
    else:
        normalise = _NORMALISED.get(vr)
        for value in values:
            if value not in (None, ""):
                yield normalise(value) if normalise else value


def _fits(value: Any, test: Test) -> bool | None:
    """Return whether a value is what a test asks for; None where it would take too long to say."""
    match test:
        case OneOf(wanted):
            return any(_equal(value, one) for one in wanted)
        case Like(pattern, ignore_case):
            if not isinstance(value, str):
                return False
            if len(value) * len(pattern) > _MAX_STEPS:
                return None
            return _compiled(pattern, ignore_case).search(value) is not None
        case Word(prefix):
            return isinstance(value, str) and value.startswith(prefix)
        case WordLike(pattern):
            return isinstance(value, str) and _compiled(pattern, False).search(value) is not None
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
