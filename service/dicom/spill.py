"""What would pass MongoDB's limits is left in the original file (16 MB a document, 100 levels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson

from service.dicom.limits import Limits
from service.dicom.tree import Tree
from service.errors import LimitExceeded

_GROWTH = 12
"""What is n bytes in a file is less than 12 n in a document: an empty element takes 8 bytes here, some 40 there, a
one-digit number in a list 2 bytes here and up to 17 there, but those are counted against the budget of values."""


def spill(tree: Tree, limits: Limits, size: int) -> bool:
    """Take out of a tree what a document cannot hold: too deep sequences, then the largest ones, then long values.

    A sequence leaves ``{"vr": "SQ", "items": n, "spilled": True}``, a value ``{"vr", "length", "spilled": True}``.

    Parameters
    ----------
    tree : Tree
        Its `dataset` is changed.
    limits : Limits
        Its `kept_depth` and `max_document_bytes`.
    size : int
        Bytes of what was read; what is small without the bytes that stay in the file is not measured.

    Returns
    -------
    bool
        Whether the tree leaves anything in the file.

    Raises
    ------
    LimitExceeded
        There are too many small elements beside each other.
    """
    spilled = False
    if tree.deepest > limits.kept_depth:
        spilled = _spill_deep(tree.dataset, limits.kept_depth)
    stay = sum(place[2] for place in tree.places.values())
    if (size - stay) * _GROWTH > limits.max_document_bytes:
        excess = _size(tree.dataset) - limits.max_document_bytes
        while excess > 0:
            freed = _spill_sequence(tree.dataset, excess) or _spill_value(tree)
            if not freed:
                raise LimitExceeded("The file has more data elements beside each other than a document can hold.")
            excess -= freed
            spilled = True
    return spilled or tree.spilled_values > 0


def _size(part: Mapping[str, Any]) -> int:
    return len(bson.encode(part))


def _left(element: Mapping[str, Any]) -> dict[str, Any]:
    return {"vr": "SQ", "items": len(element["Value"]), "spilled": True}


def _spill_deep(dataset: dict[str, Any], levels: int) -> bool:
    """Leave the sequences below the given number of levels in the file."""
    spilled = False
    for key, element in dataset.items():
        if element["vr"] != "SQ" or not element.get("Value"):
            continue
        if not levels:
            dataset[key] = _left(element)
            spilled = True
        else:
            for item in element["Value"]:
                spilled = _spill_deep(item, levels - 1) or spilled
    return spilled


def _spill_sequence(dataset: dict[str, Any], excess: int) -> int:
    """Leave the largest sequence in the file, or one inside it that is large enough alone; give what that saves."""
    place, key, size = _largest(dataset)
    if key is None:
        return 0
    while size > excess:
        inner = [(_largest(item)) for item in place[key]["Value"]]
        inner_place, inner_key, inner_size = max(inner, key=lambda found: found[2])
        if inner_key is None or inner_size < excess:
            break
        place, key, size = inner_place, inner_key, inner_size
    place[key] = _left(place[key])
    return size - _size(place[key])


def _largest(dataset: dict[str, Any]) -> tuple[dict[str, Any], str | None, int]:
    """Find the largest sequence that stands directly in a data set or an item."""
    sizes = {key: _size(element) for key, element in dataset.items() if element["vr"] == "SQ" and element.get("Value")}
    key = max(sizes, key=sizes.__getitem__, default=None)
    return dataset, key, 0 if key is None else sizes[key]


def _spill_value(tree: Tree) -> int:
    """Leave the longest value of the top level in the file."""
    sizes = {key: _size(element) for key, element in tree.dataset.items() if id(element) in tree.places}
    key = max(sizes, key=sizes.__getitem__, default=None)
    if key is None or sizes[key] < 256:
        return 0
    element = tree.dataset[key]
    left = tree.dataset[key] = tree.leave_in_file(element["vr"], tree.places[id(element)])
    left["spilled"] = True
    return sizes[key] - _size(left)
