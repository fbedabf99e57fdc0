"""Typed access to the elements of a tree that rule how pixels are read and shown.

Files break every rule, so an element that is absent, empty or unreadable is `None` or an empty list here; whoever
needs it decides whether that is fatal.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

ReadBytes = Callable[[Mapping[str, Any]], bytes]
"""The bytes of an element that the tree holds by its length only, little-endian (`Tree.read_bytes`)."""


def values(dataset: Mapping[str, Any], keyword: str) -> list[Any]:
    """Return the values of an element, and an empty list where there is none."""
    element = dataset.get(keyword)
    found = element.get("Value") if isinstance(element, Mapping) else None
    return list(found) if found is not None else []


def numbers(dataset: Mapping[str, Any], keyword: str) -> list[float]:
    """Return the finite numbers of an element up to the first value that is not one."""
    found: list[float] = []
    for value in values(dataset, keyword):
        number = as_number(value)
        if number is None:
            break
        found.append(number)
    return found


def as_number(value: Any) -> float | None:
    """Return a value as a finite number: some writers use a text VR where the Standard has a number."""
    if isinstance(value, bool) or value is None:
        return None
    try:
        number = float(value) if not isinstance(value, str) else float(value.strip(" \0"))
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def number(dataset: Mapping[str, Any], keyword: str) -> float | None:
    """Return the first value of an element as a finite number, and None where it is not one."""
    found = numbers(dataset, keyword)
    return found[0] if found else None


def integer(dataset: Mapping[str, Any], keyword: str) -> int | None:
    """Return the first value of an element as an integer, and None where it is not one."""
    found = number(dataset, keyword)
    return int(found) if found is not None and found == int(found) else None


def text(dataset: Mapping[str, Any], keyword: str) -> str:
    """Return the first value of an element as text in upper case, and an empty string where it is not one."""
    found = values(dataset, keyword)
    return found[0].strip(" \0").upper() if found and isinstance(found[0], str) else ""


def items(dataset: Mapping[str, Any], keyword: str) -> list[Mapping[str, Any]]:
    """Return the items of a sequence, and an empty list where there is none."""
    return [item for item in values(dataset, keyword) if isinstance(item, Mapping)]


def is_present(dataset: Mapping[str, Any], keyword: str) -> bool:
    """Return whether an element is there with a value, readable or not."""
    element = dataset.get(keyword)
    return isinstance(element, Mapping) and bool(
        element.get("Value") or element.get("InlineBinary") or element.get("length") or element.get("raw")
    )


def element_bytes(dataset: Mapping[str, Any], keyword: str, read_bytes: ReadBytes) -> bytes:
    """Return the bytes of a binary element, little-endian, and empty bytes where there is none.

    Parameters
    ----------
    dataset : Mapping
        The dataset or item that holds the element.
    keyword : str
        Its keyword.
    read_bytes : ReadBytes
        Reads what the tree does not hold.
    """
    element = dataset.get(keyword)
    if not isinstance(element, Mapping):
        return b""
    inline = element.get("InlineBinary")
    if inline is not None:
        return bytes(inline)
    if element.get("length"):
        return bytes(read_bytes(element))
    raw = element.get("raw")
    return raw if isinstance(raw, bytes) else b""


def of_frame(dataset: Mapping[str, Any], frame: int, group: str) -> Mapping[str, Any] | None:
    """Return the item of a functional group that holds for one frame (PS3.3 C.7.6.16).

    Parameters
    ----------
    dataset : Mapping
        The whole dataset.
    frame : int
        The frame, from 0.
    group : str
        The keyword of the functional group's sequence, such as `FrameVOILUTSequence`.

    Returns
    -------
    Mapping or None
        The item of the Per-frame Functional Groups, else of the Shared ones, else None.
    """
    per_frame = items(dataset, "PerFrameFunctionalGroupsSequence")
    shared = items(dataset, "SharedFunctionalGroupsSequence")
    for functional_groups in (per_frame[frame : frame + 1], shared[:1]):
        for item in functional_groups:
            found = items(item, group)
            if found:
                return found[0]
    return None
