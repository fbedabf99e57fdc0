"""Conditions as one filter of the index: MongoDB's words, side by side, and nothing at the top that divides.

Servers that stand in for MongoDB read everything where a filter begins with ``$and`` or ``$or``. So conditions stand
beside each other by their paths, and several on one path as ``$all`` of ``$elemMatch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from service.dicom.index_bounds import OTHER_PATHS
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
from service.dicom.paths import index_key

NEVER: dict[str, Any] = {"$in": []}


def index_filter(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Write conditions as a filter of `tag_index`.

    Parameters
    ----------
    conditions : sequence of Condition
        Of `read_conditions`.

    Returns
    -------
    dict
        To stand beside the patient. It finds every file for which the conditions hold, and where `needs_check` says so
        also others: what must hold in one item, or for a date and time together, is left to
        :func:`service.dicom.matching.on_tree.matches`.
    """
    fields: dict[str, list[Test]] = {}
    for condition in _found_by_the_index(conditions):
        field = f"{'names' if isinstance(condition.test, (Word, WordLike)) else 'tags'}.{condition.key}"
        tests = fields.setdefault(field, [])
        if isinstance(condition.test, Moment):
            tests.append(condition.test.dates)
            fields.setdefault(f"tags.{index_key(condition.paths[1])}", []).append(Present())
        elif condition.test not in tests:
            tests.append(condition.test)
    written = {field: _expression(tests) for field, tests in fields.items()}
    # What was left out of the index is not empty.
    empty = [condition.key for condition in conditions if isinstance(condition.test, Empty)]
    if empty:
        written["truncated"] = {"$nin": empty}
    return written


def needs_check(conditions: Iterable[Condition]) -> bool:
    """Return whether hits of the filter must be tried on their trees."""
    conditions = list(conditions)
    return any(isinstance(condition.test, Moment) for condition in conditions) or any(
        len(group) > 1 for group in shared_sequences(conditions)
    )


def shared_sequences(conditions: Iterable[Condition]) -> list[list[Condition]]:
    """Return the groups of conditions that lie below one sequence of the top level, and must hold in one item of it.

    A group in which nothing has to be there is none: what is absent or empty is so everywhere.
    """
    groups: dict[Any, list[Condition]] = {}
    for condition in conditions:
        if len(condition.path) > 1:
            groups.setdefault(condition.path[0], []).append(condition)
    return [group for group in groups.values() if not all(is_negative(condition) for condition in group)]


def is_negative(condition: Condition) -> bool:
    """Return whether a condition asks that nothing is there."""
    return isinstance(condition.test, (Absent, Empty))


def incomplete_filter(conditions: Sequence[Condition]) -> dict[str, Any]:
    """Write the filter of the files of which the index left out something that the conditions ask for."""
    paths = dict.fromkeys(index_key(path) for condition in conditions for path in condition.paths)
    return {"truncated": {"$in": [*paths, OTHER_PATHS]}}


def _found_by_the_index(conditions: Sequence[Condition]) -> list[Condition]:
    """Leave out what holds in one item and need not hold in others: nothing of the index says it."""
    dropped = [
        condition
        for group in shared_sequences(conditions)
        if len(group) > 1
        for condition in group
        if is_negative(condition)
    ]
    return [condition for condition in conditions if condition not in dropped]


def _expression(tests: list[Test]) -> Any:
    """Write all tests on one field."""
    kinds = {type(test) for test in tests}
    if Absent in kinds:
        return {"$exists": False} if kinds == {Absent} else NEVER
    each = [_of_one_value(test) for test in tests if not isinstance(test, (Present, Empty))]
    if Empty in kinds:
        # an empty list, or of a sequence the numbers of its items, which are all none
        return NEVER if each else [0] if any(isinstance(test, Empty) and test.sequence for test in tests) else []
    if not each:
        return {"$exists": True}
    if len(each) > 1:
        return {"$all": [{"$elemMatch": one} for one in each]}
    only = each[0]
    if "$eq" in only:
        return only["$eq"]
    return {"$elemMatch": only} if len(only) > 1 and "$regex" not in only else only


def _of_one_value(test: Test) -> dict[str, Any]:
    """Write what must hold of one of the values."""
    match test:
        case OneOf(values):
            return {"$eq": values[0]} if len(values) == 1 else {"$in": list(values)}
        case Like(pattern, ignore_case):
            return {"$regex": pattern, "$options": "i"} if ignore_case else {"$regex": pattern}
        case Word(prefix):
            return {"$gte": prefix, "$lt": prefix + "\U0010ffff"}
        case WordLike(pattern):
            return {"$regex": pattern}
        case Between(low, high):
            ends = {"$gte": low, "$lte": high}
            return {operator: end for operator, end in ends.items() if end is not None}
        case During(low, end):
            return {"$gte": low, "$lt": end}
        case _:
            raise TypeError(f"{type(test).__name__} is not of one value")
