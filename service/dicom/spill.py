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
    spilled = tree.spilled_values > 0
    if tree.deepest > limits.kept_depth:
        spilled = _spill_deep(tree.dataset, limits.kept_depth) or spilled
    if (size - tree.left_bytes) * _GROWTH > limits.max_document_bytes:
        excess = _size(tree.dataset) - limits.max_document_bytes
        if excess > 0:
            spilled = True
            excess = _spill_values(tree, _spill_sequences(tree.dataset, excess))
        if excess > 0:
            raise LimitExceeded("The file has more data elements beside each other than a document can hold.")
    return spilled


def has_gap(element: Mapping[str, Any]) -> bool:
    """Return whether a part of an element was left in the original."""
    if element.get("spilled"):
        return True
    if element["vr"] != "SQ":
        return False
    return any(has_gap(inner) for item in element.get("Value") or () for inner in item.values())


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


def _spill_sequences(dataset: dict[str, Any], excess: int) -> int:
    """Leave the largest sequences in the file; return how much is still too much."""
    sizes = _sequences(dataset)
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        place, inner, size = dataset, key, sizes[key]
        while size > excess:
            # Is there one inside that is large enough alone? Then what stands beside it can stay.
            found = [(item, *_largest(item)) for item in place[inner]["Value"]]
            item, inside, inside_size = max(found, key=lambda candidate: candidate[2])
            if inside is None or inside_size < excess:
                break
            place, inner, size = item, inside, inside_size
        place[inner] = _left(place[inner])
        excess -= size - _size(place[inner])
    return excess


def _sequences(dataset: dict[str, Any]) -> dict[str, int]:
    """Return the sizes of the sequences that stand directly in a data set or an item."""
    return {key: _size(element) for key, element in dataset.items() if element["vr"] == "SQ" and element.get("Value")}


def _largest(dataset: dict[str, Any]) -> tuple[str | None, int]:
    """Return the largest sequence that stands directly in an item, and its size."""
    sizes = _sequences(dataset)
    key = max(sizes, key=sizes.__getitem__, default=None)
    return key, 0 if key is None else sizes[key]


def _spill_values(tree: Tree, excess: int) -> int:
    """Leave the longest values of the top level in the file; return how much is still too much."""
    sizes = {
        key: _size(element)
        for key, element in tree.dataset.items()
        if "Value" in element and id(element) in tree.places
    }
    for key in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if excess <= 0:
            break
        element = tree.dataset[key]
        left = tree.leave_in_file(element["vr"], tree.places[id(element)])
        left["spilled"] = True
        tree.dataset[key] = left
        excess -= sizes[key] - _size(left)
    return excess
