"""A file's row: what its index says of the elements outside sequences, in so few bytes that tables read rows alone.

A row is bytes::

    1                       the version of this form
    length                  two bytes, big-endian: of the names that follow
    names                   zlib: a line for each element, its name and after a tab its VR where the index has one
    values                  zlib: a line of JSON for each element

A name is the eight hex digits of the tag where the dictionary has a keyword for it (PS3.6), and else a full stop and
the path of the index. Of the values, a list is what ``tags`` has, an object has under ``exact`` what ``exact`` has, and
false stands where only the tree has all of them. The slices of a series have the same names, which are packed and
unpacked once.

A row says what the index of the same file says, or leaves it to the tree. A file has none where it would be too large.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

from service.dicom.columns import EntryReader, Field
from service.dicom.dictionary import KEYWORD_TAGS
from service.dicom.index_bounds import OTHER_PATHS
from service.dicom.remembered import REMEMBERED, Remembered

FORMAT = 1
MAX_BYTES = 8 << 10
"""Of a row; the rows of a thousand files are read at once."""

MAX_ELEMENTS = 1_000
MAX_UNPACKED = 64 << 10
"""Bytes of the names of a row, and of its values."""

_LENGTH = 2

_Shape = Mapping[str, tuple[int, str | None]]
"""By the names of elements: the number of the line that has the values, and the VR where the index has one."""

_encode_lines = msgspec.json.Encoder().encode_lines
_decode = msgspec.json.Decoder().decode


def make_row(index: Mapping[str, Any], memory: Remembered | None = None) -> bytes | None:
    """Return the row of an index; None where it has none.

    Parameters
    ----------
    index : Mapping
        As `index_entries` makes it.
    memory : Remembered, optional
        What earlier files had; else what this process remembers.
    """
    tags, vrs, exact, truncated = index["tags"], index["vrs"], index["exact"], index["truncated"]
    paths = [path for path in tags if "/" not in path]
    if OTHER_PATHS in truncated or not 0 < len(paths) <= MAX_ELEMENTS:
        return None
    odd = {path: bool(values) and {"exact": values} for path, values in exact.items()} | dict.fromkeys(truncated, False)
    held = [odd[path] if path in odd else tags[path] for path in paths] if odd else [tags[path] for path in paths]
    try:
        lines = _encode_lines(held)
        if b"null" in lines:  # which stands for NaN and Infinity too, as JSON has none
            lines = _encode_lines([_is_told(each) and each for each in held])
    except (TypeError, ValueError):  # a number beyond 64 bits, half a character
        return None
    if len(lines) > MAX_UNPACKED:
        return None
    memory = REMEMBERED if memory is None else memory
    names = memory.names((tuple(paths), tuple(vrs.items())), lambda: _pack_names(paths, vrs))
    row = b"".join((bytes((FORMAT,)), len(names).to_bytes(_LENGTH), names, zlib.compress(lines, 1)))
    return row if len(row) <= MAX_BYTES else None


def _is_told(held: Any) -> bool:
    """Return whether JSON has all of some values."""
    values = held["exact"] if isinstance(held, dict) else held or ()
    return all(math.isfinite(value) for value in values if isinstance(value, float))


def _pack_names(paths: Sequence[str], vrs: Mapping[str, str]) -> bytes:
    lines = [f"{_name(path)}\t{vrs[path]}" if path in vrs else _name(path) for path in paths]
    packed = "\n".join(lines).encode()
    # Where there is too much of them the row is too large: its length has two bytes.
    return zlib.compress(packed, 9)[: MAX_BYTES + 1] if len(packed) <= MAX_UNPACKED else bytes(MAX_BYTES + 1)


def _name(path: str) -> str:
    """Return what a row calls an element; by its tag, which takes fewer bytes than its keyword."""
    tag = KEYWORD_TAGS.get(path)
    return f".{path}" if tag is None else f"{tag:08X}"


def read_rows(rows: Sequence[bytes], fields: Sequence[Field]) -> tuple[list[list[Any]], set[int], set[int]]:
    """Return what rows say in the columns of fields, and of which files they do not say it all.

    What they say is what `read_columns` says of the indexes.

    Parameters
    ----------
    rows : sequence of bytes
        Of `make_row`.
    fields : sequence of Field
        Each has an `entry`.

    Returns
    -------
    columns : list of list
        One list of cells for each column.
    unsaid : set of int
        The places of rows whose cells only the trees have.
    unread : set of int
        The places of rows that cannot be read, as they are of another version.
    """
    runs: list[_Run] = []
    unsaid: set[int] = set()
    unread: set[int] = set()
    for place, row in enumerate(rows):
        try:
            shape, lines = _open(row)
        except (ValueError, zlib.error):
            unread.add(place)
            shape, lines = {}, []
        if not runs or runs[-1].shape is not shape:
            runs.append(_Run(shape, []))
        runs[-1].rows.append(lines)
    columns: list[list[Any]] = []
    for each in fields:
        cells = _cells_of(runs, each, unsaid)
        columns += map(list, zip(*cells, strict=True)) if cells else [[] for _ in each.columns]
    return columns, unsaid, unread


def is_same_row(one: bytes, other: bytes | None) -> bool:
    """Return whether two rows say the same; zlib does not give the same bytes everywhere."""
    try:
        return other is not None and _open(one) == _open(other)
    except (ValueError, zlib.error):
        return False


class _Run(NamedTuple):
    """Rows that stand one behind another and have the same names.

    Parameters
    ----------
    shape : Mapping
        Where they have which element.
    rows : list of list of bytes
        The lines of values of each.
    """

    shape: _Shape
    rows: list[list[bytes]]


def _open(row: bytes) -> tuple[_Shape, list[bytes]]:
    """Return where a row has which element, and the lines of its values.

    Raises
    ------
    ValueError, zlib.error
        It is none that this version reads.
    """
    if row[:1] != bytes((FORMAT,)):
        raise ValueError("A row of another version.")
    begin = 1 + _LENGTH
    end = begin + int.from_bytes(row[1:begin])
    shape = _shape(row[begin:end])
    lines = _unpack(row[end:]).split(b"\n")
    if len(lines) != len(shape) + 1:
        raise ValueError("A row that lacks values.")
    return shape, lines


@lru_cache(maxsize=64)
def _shape(packed: bytes) -> _Shape:
    shape: dict[str, tuple[int, str | None]] = {}
    for number, line in enumerate(_unpack(packed).decode().split("\n")):
        name, _, vr = line.partition("\t")
        shape[name] = number, vr or None
    return shape


def _unpack(packed: bytes) -> bytes:
    unpacking = zlib.decompressobj()
    unpacked = unpacking.decompress(packed, MAX_UNPACKED)
    if not unpacking.eof:
        raise ValueError("A row that is too large.")
    return unpacked


class _Known(dict[bytes, Sequence[Any] | None]):
    """The cells of one field by the line that says them: slices of a series say much the same."""

    __slots__ = ("_reader", "_vr")

    def __init__(self, reader: EntryReader, vr: str | None) -> None:
        super().__init__()
        self._reader = reader
        self._vr = vr

    def __missing__(self, line: bytes) -> Sequence[Any] | None:
        try:
            cells = self._read(_decode(line))
        except (ValueError, TypeError, LookupError, AttributeError):  # a worker made it, of a file that took it over
            cells = None
        self[line] = cells
        return cells

    def _read(self, held: Any) -> Sequence[Any] | None:
        if held is False:
            return None
        if isinstance(held, dict):
            return self._reader.read(held["exact"], self._vr, exact=True)
        return self._reader.read(held, self._vr)


def _cells_of(runs: Sequence[_Run], wanted: Field, unsaid: set[int]) -> list[Sequence[Any]]:
    """Return the cells of one field, those of each row together; `unsaid` takes the places where it has none."""
    assert wanted.entry is not None  # noqa: S101 - the caller has looked
    name, absent = _name(wanted.entry), (None,) * len(wanted.columns)
    reader = EntryReader(wanted)
    by_vr: dict[str | None, _Known] = {}
    cells: list[Sequence[Any] | None] = []
    for shape, rows in runs:
        if name in shape:
            number, vr = shape[name]
            known = by_vr.setdefault(vr, _Known(reader, vr))
            cells += map(known.__getitem__, map(itemgetter(number), rows))
        else:
            cells += [absent] * len(rows)
    if any(None in known.values() for known in by_vr.values()):
        unsaid.update(place for place, each in enumerate(cells) if each is None)
    return [absent if each is None else each for each in cells]
