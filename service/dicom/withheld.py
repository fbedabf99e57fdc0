"""What of a tree is an original itself, and is left out for whoever may look and not download."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.dicom.dictionary import KEYWORD_TAGS, element_key
from service.dicom.values import BYTE_VRS

ORIGINALS = frozenset(("PixelData", "FloatPixelData", "DoubleFloatPixelData", "EncapsulatedDocument"))
"""Stored pixels, videos and documents."""

ORIGINAL_TAGS = frozenset(KEYWORD_TAGS[keyword] for keyword in ORIGINALS)

_HELD = frozenset(("Value", "InlineBinary", "raw", "spilled"))


def without_originals(dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Return a tree, or an item of one, in which originals are there without their values, at any depth."""
    return {key: _shown(key, element) for key, element in dataset.items()}


def without_original(tag: int, element: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one element as :func:`without_originals` has it."""
    return _shown(element_key(tag), element)


def _shown(key: str, element: Mapping[str, Any]) -> Mapping[str, Any]:
    if key in ORIGINALS:
        return _withheld(element)
    items = element.get("Value") if element["vr"] == "SQ" else None
    return {**element, "Value": [without_originals(item) for item in items]} if items else element


def _withheld(element: Mapping[str, Any]) -> dict[str, Any]:
    """Return an element with the number of its bytes, as one whose value is too long to be shown.

    A VR that has no bytes may be a file's mistake, and readers would look for its values.
    """
    kept = {name: value for name, value in element.items() if name not in _HELD}
    if kept["vr"] not in BYTE_VRS:
        kept["vr"] = "UN"
    held = element.get("InlineBinary") or element.get("raw")
    if held:
        kept["length"] = len(held)
    return kept
