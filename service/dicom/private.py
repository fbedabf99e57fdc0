"""Private data elements: who created them, and which block of their group he reserved (PS3.5 7.8.1).

An element (gggg,BBee) of an odd group belongs to the creator that (gggg,00BB) of the same data set names. Which block a
creator has differs from file to file, so private elements are named by creator, group and the last two digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_CREATOR_CHARACTERS = 64
"""A private creator is an LO of one value (PS3.5 6.2); a longer text names nobody."""

FIRST_BLOCK = 0x10
LAST_BLOCK = 0xFF


def is_private_creator(tag: int) -> bool:
    """Return whether a tag is a private creator's, (gggg,0010) to (gggg,00FF) of an odd group."""
    return bool(tag & 0x10000) and FIRST_BLOCK <= (tag & 0xFFFF) <= LAST_BLOCK


def is_private_data(tag: int) -> bool:
    """Return whether a tag lies in a block that a private creator can reserve: (gggg,1000-FFFF), odd group."""
    return bool(tag & 0x10000) and (tag & 0xFFFF) >= FIRST_BLOCK << 8


def creator_key(tag: int) -> str:
    """Return the document's key of the creator element that rules over a private element."""
    return f"{tag >> 16:04X}00{tag >> 8 & 0xFF:02X}"


def creator_text(element: Mapping[str, Any] | None) -> str | None:
    """Return the creator that an element names, trimmed; None where it names none.

    Parameters
    ----------
    element : Mapping or None
        The creator element as a document holds it. A creator that came as UN, in bytes, counts when they are ASCII.
    """
    if element is None:
        return None
    values = element.get("Value")
    text: Any
    if values:
        text = values[0] if len(values) == 1 else "\\".join(value or "" for value in values)
    else:
        text = element.get("raw") or element.get("InlineBinary")
    if isinstance(text, bytes):
        if not text.isascii():
            return None
        text = text.decode("ascii")
    if not isinstance(text, str):
        return None
    text = text.strip(" \0")
    return text if 0 < len(text) <= MAX_CREATOR_CHARACTERS else None


def creator_of(dataset: Mapping[str, Any], tag: int) -> str | None:
    """Return the creator of an element of a data set; None for what is not private, or whose block nobody reserved.

    Parameters
    ----------
    dataset : Mapping
        The level of the tree on which the element stands: creators count for their own level alone.
    tag : int
        The element's tag.
    """
    return creator_text(dataset.get(creator_key(tag))) if is_private_data(tag) else None
