"""How much of a file's values the index takes: the longest lists are cut first, and what was cut is named."""

from __future__ import annotations

from itertools import accumulate
from typing import Any, NamedTuple

import bson

MAX_VALUES_PER_PATH = 1_000
MAX_VALUES = 20_000
MAX_BYTES = 4 * 2**20
"""Of the index of one file, as BSON."""

OTHER_PATHS = "*"
"""Stands in `truncated` when whole paths were left out, because the paths alone passed the bound."""

_MAX_VALUE_BYTES = 4 * 256 + 16
_VALUE_OVERHEAD = 16
_PATH_OVERHEAD = 64
"""More than BSON takes for a field, its array and its array's positions."""


class _List(NamedTuple):
    """One list of the index and what it costs."""

    field: str
    path: str
    values: list[Any]
    costs: list[int]
    """Bytes that the path takes with none of its values, the first, the first two ..."""


def keep_within_bounds(index: dict[str, Any]) -> dict[str, Any]:
    """Cut the lists of an index where it is too large for its document.

    Parameters
    ----------
    index : dict
        ``tags``, ``names``, ``vrs``, ``truncated`` and ``exact`` as `index_entries` makes them, of which no list of
        values has more than `MAX_VALUES_PER_PATH`. It is changed.

    Returns
    -------
    dict
        The same index, with at most `MAX_VALUES` values and `MAX_BYTES` bytes.
    """
    tags, names = index["tags"], index["names"]
    count = sum(map(len, tags.values())) + sum(map(len, names.values()))
    most = count * _MAX_VALUE_BYTES + sum(map(len, tags)) * 5 + len(tags) * _PATH_OVERHEAD
    if most <= MAX_BYTES or (count <= MAX_VALUES and len(bson.encode(index)) <= MAX_BYTES):
        return index
    truncated = dict.fromkeys(index["truncated"])
    lists = _priced_lists(index)
    longest = _longest_that_fits(lists)
    if longest == 0:
        lists = _lists_that_fit(lists, truncated)
        longest = 1
    for field in ("tags", "names"):
        index[field] = {}
    for field, path, values, _ in lists:
        if len(values) > longest:
            truncated[path] = None
        index[field][path] = values[:longest]
    index["vrs"] = {path: vr for path, vr in index["vrs"].items() if path in index["tags"]}
    # Without the values, as there is no room: the tree has them.
    index["exact"] = {path: None for path in index["exact"] if path in index["tags"] and path not in truncated}
    index["truncated"] = [path for path in truncated if path in index["tags"] or path == OTHER_PATHS]
    return index


def _priced_lists(index: dict[str, Any]) -> list[_List]:
    lists = []
    for field in ("tags", "names"):
        for path, values in index[field].items():
            # a path can stand in tags or names, in vrs, and in truncated or exact
            base = 3 * len(path) + _PATH_OVERHEAD
            sizes = (len(value.encode()) if isinstance(value, str) else 0 for value in values)
            costs = accumulate((size + _VALUE_OVERHEAD for size in sizes), initial=base)
            lists.append(_List(field, path, values, list(costs)))
    return lists


def _longest_that_fits(lists: list[_List]) -> int:
    """Find the greatest length to which all lists can be cut so that they fit; 0 when not even one value each does."""
    low, high = 0, MAX_VALUES_PER_PATH
    while low < high:
        middle = (low + high + 1) // 2
        values = sum(min(len(one.values), middle) for one in lists)
        size = sum(one.costs[min(len(one.values), middle)] for one in lists)
        if values <= MAX_VALUES and size <= MAX_BYTES:
            low = middle
        else:
            high = middle - 1
    return low


def _lists_that_fit(lists: list[_List], truncated: dict[str, None]) -> list[_List]:
    """Keep one value of each list, those of short paths first, and leave out the longest paths where that is too much.

    Notes
    -----
    This takes a file with some ten thousand different paths. Short paths are the ones that people search.
    """
    kept: set[tuple[str, str]] = set()
    size = values = 0
    for one in sorted(lists, key=lambda one: len(one.path)):
        with_value = min(len(one.values), 1)
        size += one.costs[with_value]
        values += with_value
        if size > MAX_BYTES or values > MAX_VALUES:
            truncated[OTHER_PATHS] = None
            break
        kept.add((one.field, one.path))
    return [one for one in lists if (one.field, one.path) in kept]
