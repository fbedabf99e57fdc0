"""Conditions as one filter of the index: MongoDB's words, side by side, and nothing at the top that divides.

Servers that stand in for MongoDB read everything where a filter begins with ``$and`` or ``$or``. So conditions stand
beside each other by their paths, and several on one path as ``$all`` of ``$elemMatch``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.index_bounds import OTHER_PATHS
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
from service.dicom.paths import TagPath, index_key
from service.dicom.private import is_private_data

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
        To stand beside the patient. It finds every file for which the conditions hold, what the index left out apart,
        and where `needs_check` says so also others: those are left to :func:`service.dicom.matching.on_tree.judge`.
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
    empty = [condition.key for condition in conditions if isinstance(condition.test, Empty) and is_of_index(condition)]
    if empty:
        written["truncated"] = {"$nin": empty}
    return written


def needs_check(conditions: Iterable[Condition]) -> bool:
    """Return whether hits of the filter must be tried on their trees."""
    conditions = list(conditions)
    return any(isinstance(condition.test, Moment) or not is_of_index(condition) for condition in conditions) or any(
        len(group) > 1 for group in shared_sequences(conditions)
    )


def is_of_index(condition: Condition) -> bool:
    """Return whether the index can say by itself whether a condition holds.

    It has no items, keeps a private element by its creator and not by its block, and a filter has no place for either
    of two tests.
    """
    return not (
        isinstance(condition.test, Either)
        or has_block(condition.path)
        or any(step.item is not None for step in condition.path)
    )


def has_block(path: TagPath) -> bool:
    """Return whether a step of a path names a private element by the block that a file has reserved for its creator."""
    return any(step.creator is None and is_private_data(step.tag) for step in path)


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


def incomplete_filter(conditions: Sequence[Condition], creators: Iterable[str] = ()) -> dict[str, Any]:
    """Write the filter of the files of which the index left out something that the conditions ask for.

    Whether an element is there at all is only left out with its whole path.

    Parameters
    ----------
    conditions : sequence of Condition
        What is asked for.
    creators : iterable of str
        Keys of private creators that must be known too.
    """
    paths = dict.fromkeys(
        index_key(path)
        for condition in conditions
        if not isinstance(condition.test, (Absent, Present))
        for path in condition.paths
    )
    return {"truncated": {"$in": [*paths, *creators, OTHER_PATHS]}}


def _found_by_the_index(conditions: Sequence[Condition]) -> list[Condition]:
    """Leave out what the index cannot say, and what holds in one item and need not hold in others."""
    dropped = [
        condition
        for group in shared_sequences(conditions)
        if len(group) > 1
        for condition in group
        if is_negative(condition)
    ]
    return [
        condition
        for condition in conditions
        if condition not in dropped
        and not isinstance(condition.test, Either)
        and not has_block(condition.path)
        and not (is_negative(condition) and not is_of_index(condition))
    ]


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
            stored = [_as_stored(value) for value in values]
            return {"$eq": stored[0]} if len(stored) == 1 else {"$in": stored}
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


def _as_stored(value: Any) -> Any:
    """Return a value as the index has it: BSON has no integer past 64 bits."""
    return Decimal128(str(value)) if isinstance(value, int) and abs(value) >= 1 << 63 else value
