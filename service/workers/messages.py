"""What a service and its workers say to each other: plain data, of a bounded size and depth, and never code.

A message is 4 bytes of length, big-endian; a head of JSON; and blobs, whose sizes stand in the head in their order::

    {"value": ["a text", 1, {"blob": 0}], "blobs": [20000]}

In the value ``{"blob": n}`` stands for the bytes of a blob. Towards a worker, ``{"file": n}`` stands for a file whose
descriptor is handed over beside the message, and ``{"function": [module, name]}`` for a function.

A worker opens hostile files with codecs written in C, and one of them may take it over. What comes from it is therefore
looked at before it is read, and then made into the one type that its job returns.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

LENGTH_BYTES = 4
MAX_HEAD_BYTES = 4 << 20
MAX_DEPTH = 16
MAX_CONTAINERS = 100_000
MAX_WHOLE = 1 << 63

_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_ESCAPES = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|.)", re.DOTALL)
_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class Unreadable(Exception):
    """A message that is none, or not the one that was asked for; the text says what is wrong and quotes nothing."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes of an answer that went to where the caller wanted them.

    Parameters
    ----------
    start, size : int
        The first of them among all that went there, and how many there are.
    """

    start: int
    size: int


@dataclass(frozen=True, slots=True)
class Packed:
    """A message on its way out.

    Parameters
    ----------
    head : bytes
        With its length before it.
    blobs : list of bytes
        What follows.
    files : list of Path
        What is handed over beside it.
    """

    head: bytes
    blobs: list[bytes]
    files: list[Path]


def pack(value: Any, *, to_worker: bool = False) -> Packed:
    """Return a value as a message; dataclasses become objects of their fields.

    Parameters
    ----------
    value : object
        Plain data.
    to_worker : bool, optional
        Whether paths become files that are handed over, and functions their names.

    Raises
    ------
    TypeError, ValueError
        It is no plain data, or larger than a message may be.
    """
    blobs: list[bytes] = []
    files: list[Path] = []

    def replace(part: Any) -> Any:
        if isinstance(part, bytes):
            blobs.append(part)
            return {"blob": len(blobs) - 1}
        if to_worker and isinstance(part, Path):
            files.append(part)
            return {"file": len(files) - 1}
        if dataclasses.is_dataclass(part) and not isinstance(part, type):
            return {each.name: getattr(part, each.name) for each in dataclasses.fields(part)}
        if to_worker and callable(part):
            return {"function": [part.__module__, part.__qualname__]}
        raise TypeError(f"{type(part).__name__} is no plain data")

    text = json.dumps(value, default=replace, ensure_ascii=False)
    head = f'{{"value": {text}, "blobs": {json.dumps([len(blob) for blob in blobs])}}}'.encode()
    if len(head) > MAX_HEAD_BYTES:
        raise ValueError("more than a message may hold")
    return Packed(len(head).to_bytes(LENGTH_BYTES, "big") + head, blobs, files)


def read_head(head: bytes) -> tuple[Any, list[int]]:
    """Return the value of a head, in which blobs are not replaced yet, and their sizes.

    Raises
    ------
    Unreadable
        It is too large, too deep, or no head.
    """
    _check_shape(head)
    try:
        read = json.loads(head, parse_int=_whole)
    except (ValueError, RecursionError):
        raise Unreadable("its head is not JSON") from None
    if not isinstance(read, dict) or read.keys() != {"value", "blobs"} or not isinstance(read["blobs"], list):
        raise Unreadable("its head is none")
    if not all(type(size) is int and size >= 0 for size in read["blobs"]):
        raise Unreadable("a blob has no size")
    return read["value"], read["blobs"]


def fill(value: Any, blobs: Sequence[Any], replace: Callable[[str, Any], Any] | None = None) -> Any:
    """Return the value of a head with its blobs in it.

    Parameters
    ----------
    value : object
        From `read_head`.
    blobs : sequence
        What stands for each.
    replace : callable, optional
        In a worker: takes ``file`` or ``function`` and what stands behind it, and returns what that means.

    Raises
    ------
    Unreadable
        It names a blob that is not there.
    """
    if isinstance(value, list):
        return [fill(each, blobs, replace) for each in value]
    if not isinstance(value, dict):
        return value
    if len(value) == 1:
        ((name, number),) = value.items()
        if name == "blob":
            if type(number) is not int or not 0 <= number < len(blobs):
                raise Unreadable("a blob is not there")
            return blobs[number]
        if replace is not None and name in ("file", "function"):
            return replace(name, number)
    return {name: fill(each, blobs, replace) for name, each in value.items()}


def convert(value: Any, wanted: Any) -> Any:
    """Return a plain value as the type that was asked for.

    Raises
    ------
    Unreadable
        It is of another.
    """
    try:
        return msgspec.convert(value, wanted, builtin_types=(bytes,))
    except (msgspec.ValidationError, RecursionError, OverflowError):
        raise Unreadable("it is not what the job returns") from None


def _check_shape(head: bytes) -> None:
    """Refuse what would cost more than it can be worth, before it is read; the time is that of two looks at each byte.

    Raises
    ------
    Unreadable
    """
    if len(head) > MAX_HEAD_BYTES:
        raise Unreadable("its head is too long")
    if b"\\u" in head and any(match[1] and 0xD800 <= int(match[1], 16) < 0xE000 for match in _ESCAPES.finditer(head)):
        raise Unreadable("it has half a character")  # which no database takes
    brackets = _STRINGS.sub(b"", head).translate(None, _NOT_BRACKETS)
    if len(brackets) > 2 * MAX_CONTAINERS:
        raise Unreadable("it has too many parts")
    depth = 0
    for bracket in brackets:
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise Unreadable("it is too deep")


def _whole(text: str) -> int:
    """Read a whole number of at most 64 bits: a longer one costs the square of its length, and no database takes it."""
    if len(text) > 20 or not -MAX_WHOLE <= (number := int(text)) < MAX_WHOLE:
        raise ValueError
    return number
