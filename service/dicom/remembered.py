"""What one file has in common with the files before it: converted values, and what the index says of them.

Most elements of a slice are, byte for byte, those of the slice before. So a process keeps the elements of short values
by character set, byte order, VR and bytes, the index entries of those that stand outside sequences, and how the names
of these are packed in a row. The same key always gives the same result, whoever's file it is, so nobody can tell from a
result whether it was remembered. Nothing of it leaves the process, and it is bounded in bytes: once it is full it is
forgotten whole, and the next file begins anew.

An element that is remembered is shared between trees: nobody may change one.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from typing import Any, NamedTuple

from service.dicom.charset import CharacterSet
from service.dicom.values import Convert, TypedElement, converters

LONGEST_VALUE = 64
"""Bytes of the longest value that is remembered. A list in it is short: none of them counts against a file's budget."""

MAX_BYTES = 8 << 20
"""What a process remembers, in bytes of its memory as they are estimated here."""

MAX_TABLES = 64
"""Character sets, by byte order, of which something is remembered."""

_VALUE_BYTES = 640
_BYTE_BYTES = 24
_ENTRY_BYTES = 640
"""What one value, a byte of it, and an index entry take at most, the tables' own room included."""

_NAME_BYTES = 320
"""The same of the path of an element, and of its VR."""


class Entry(NamedTuple):
    """What the index says of one element outside sequences.

    Attributes
    ----------
    element, creator : dict, dict or None
        The element, and that of its private creator. As long as they are held here no other has their identities.
    path : str
        Its path in the index.
    vr : str or None
        Its VR, where the dictionary does not say the same.
    values : list
        What stands under the path.
    words : tuple of str or None
        The words of names; None of what is no name.
    cut : bool
        Whether something was left out.
    """

    element: TypedElement
    creator: TypedElement | None
    path: str
    vr: str | None
    values: list[Any]
    words: tuple[str, ...] | None
    cut: bool


class Remembered:
    """The memory of one process. Used by one thread at a time.

    Parameters
    ----------
    max_bytes : int
        What it may hold.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.held_bytes = 0
        self._max_bytes = max_bytes
        self._tables: dict[tuple[tuple[str, ...], bool], Mapping[str, Values]] = {}
        self._known: set[int] = set()
        self._entries: dict[tuple[str, int, int], Entry] = {}
        self._names: dict[Hashable, bytes] = {}

    def values(self, charset: CharacterSet, little: bool) -> Mapping[str, Values]:
        """Return the elements of short values, by VR and bytes; what is not there yet is converted."""
        table = self._tables.get((charset.names, little))
        if table is None:
            if len(self._tables) >= MAX_TABLES:
                self.forget()
                self._tables.clear()
            convert = converters(charset, little)
            table = self._tables[charset.names, little] = {vr: Values(self, convert[vr]) for vr in convert}
        return table

    def keep_value(self, element: TypedElement, length: int) -> bool:
        """Make room for the element of a value of so many bytes. False where it has not so much."""
        size = _VALUE_BYTES + _BYTE_BYTES * length
        if length > LONGEST_VALUE or not self._make_room(size):
            return False
        self._known.add(id(element))
        return True

    def recall(self, key: str, element: TypedElement, creator: TypedElement | None) -> Entry | None:
        """Return what the index says of an element under its key of the dataset; None where that is not known."""
        return self._entries.get((key, id(element), id(creator)))

    def keep_entry(self, key: str, entry: Entry) -> None:
        """Remember what the index says of an element, if it is one that is remembered."""
        if not (self._is_known(entry.element) and self._is_known(entry.creator)):
            return
        if self._make_room(_ENTRY_BYTES + 4 * len(entry.path)):
            self._entries[key, id(entry.element), id(entry.creator)] = entry

    def names(self, elements: tuple[tuple[str, ...], Hashable], pack: Callable[[], bytes]) -> bytes:
        """Return the packed names of a file's elements; what is not there yet is packed.

        Parameters
        ----------
        elements : tuple
            The paths of the elements, and whatever else their names depend on.
        pack : callable
            Makes the names.
        """
        names = self._names.get(elements)
        if names is None:
            names = pack()
            if self._make_room(_NAME_BYTES * len(elements[0]) + len(names)):
                self._names[elements] = names
        return names

    def _is_known(self, element: TypedElement | None) -> bool:
        """Return whether the next file may have this very element: none, an empty one, or one that is remembered."""
        return element is None or len(element) == 1 or id(element) in self._known

    def forget(self) -> None:
        """Let go of all of it."""
        self.held_bytes = 0
        self._known.clear()
        self._entries.clear()
        self._names.clear()
        for table in self._tables.values():
            for values in table.values():
                values.clear()

    def _make_room(self, size: int) -> bool:
        if self.held_bytes + size > self._max_bytes:
            self.forget()
        if size > self._max_bytes:
            return False
        self.held_bytes += size
        return True


class Values(dict[bytes, TypedElement]):
    """The elements of one VR by their bytes, made when first asked for; a look-up raises what its conversion raises."""

    __slots__ = ("_convert", "_memory")

    def __init__(self, memory: Remembered, convert: Convert) -> None:
        super().__init__()
        self._memory = memory
        self._convert = convert

    def __missing__(self, data: bytes) -> TypedElement:
        element = self._convert(data)
        if self._memory.keep_value(element, len(data)):
            self[data] = element
        return element


REMEMBERED = Remembered()
"""What this process remembers."""
