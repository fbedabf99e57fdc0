"""The typed tree of a file: what the reader found, converted element by element, nothing dropped."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from service.dicom.charset import CharacterSet, character_set
from service.dicom.dictionary import KEYWORD_TAGS
from service.dicom.limits import Limits, OverBudget, Readable
from service.dicom.parsing.framing import RawFile
from service.dicom.parsing.implied_vr import settled_vr
from service.dicom.parsing.raw import ENCAPSULATED, Element, Items
from service.dicom.remembered import LONGEST_VALUE, REMEMBERED, Remembered, Values
from service.dicom.values import BYTE_VRS, WORDS, Convert, TypedElement, Unconvertible, converters, to_little
from service.errors import LimitExceeded

MAX_WARNINGS = 100

_KEYS = {tag: keyword for keyword, tag in KEYWORD_TAGS.items()}
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_CHARACTER_SET = 0x00080005
_EMPTY: dict[str, TypedElement] = {}


@dataclass(slots=True)
class Tree:
    """The elements of a file by keyword or hex digits, whole.

    Parameters
    ----------
    dataset : dict
        The tree, the file meta group in it. Elements are shared between places of the tree: do not change one.
    warnings : list of dict
        ``{"path", "problem"}``, at most `MAX_WARNINGS`; `problems` counts all.
    original : bytes or mmap
        The file.
    truncated_at : int or None
        Byte offset at which a cut file stopped.
    deepest : int
        How many sequences lie within each other.
    problems : int
        How many elements have a problem, and how much about the file is strange.
    places : dict
        Identity of an element -> the buffer, offset and length of its value, and the size of its words there.
    spilled_values, left_bytes : int
        How many values were left in the file for their length, and how many bytes stay there altogether.
    frames : object or None
        Where its compressed frames begin, once somebody has asked for one.
    """

    dataset: dict[str, Any]
    original: Readable
    truncated_at: int | None
    deepest: int
    warnings: list[dict[str, Any]] = field(default_factory=list)
    problems: int = 0
    places: dict[int, tuple[Readable, int, int, int]] = field(default_factory=dict)
    spilled_values: int = 0
    left_bytes: int = 0
    frames: Any = None

    def read_bytes(self, element: Mapping[str, Any]) -> bytes:
        """Return the bytes of an element of this tree, in little-endian order and inflated.

        Parameters
        ----------
        element : Mapping
            An element out of `dataset` that is bytes, or that has only its length. Encapsulated pixel data comes with
            the headers of its fragments.

        Raises
        ------
        KeyError
            The element is not one of this tree, or has values.
        """
        inline = element.get("InlineBinary")
        if inline is not None:
            return bytes(inline)
        if element.keys() == {"vr"}:
            return b""
        buffer, start, length, word = self.places[id(element)]
        return to_little(bytes(buffer[start : start + length]), word)

    def leave_in_file(self, vr: str, place: tuple[Readable, int, int, int]) -> TypedElement:
        """Return the element of a value that stays in the file, and remember where it is.

        Its ``offset`` is there where the bytes of the file at that place are the value itself.

        Parameters
        ----------
        vr : str
            The VR.
        place : tuple
            The buffer, the offset and length in it, and the size of the words to turn round (1: none).
        """
        buffer, start, length, word = place
        element: TypedElement = {"vr": vr, "length": length}
        if buffer is self.original and word == 1:
            element["offset"] = start
        self.places[id(element)] = place
        self.left_bytes += length
        return element


def build_tree(raw: RawFile, limits: Limits, spill_values: bool = False, memory: Remembered | None = None) -> Tree:
    """Convert what was read. The elements of `raw` are used up, so that a large file is not held twice.

    Parameters
    ----------
    raw : RawFile
        What `read_dataset` gave.
    limits : Limits
        Its `max_inline_bytes` decides what stands in the tree.
    spill_values : bool
        Leave values longer than `Limits.max_value_bytes` in the file.
    memory : Remembered, optional
        What earlier files had; else what this process remembers.

    Raises
    ------
    OverBudget
        There are more values than the caller's own budget.
    """
    tree = Tree({}, raw.original, raw.parser.truncated_at, raw.parser.deepest)
    for parser in (raw.meta_parser, raw.parser):
        for note, count in parser.notes.items():
            _warn(tree, None, note if count == 1 else f"{note} ({count} times)")
    if tree.truncated_at is not None:
        _warn(tree, None, f"the file is cut off: reading stopped at byte {tree.truncated_at}")
    memory = REMEMBERED if memory is None else memory
    meta = _Builder(tree, raw.original, raw.meta_parser.problems, limits, spill_values, memory)
    tree.dataset = meta.build(raw.meta, character_set(()), True)
    builder = _Builder(tree, raw.buffer, raw.parser.problems, limits, spill_values, memory)
    dataset = builder.build(raw.elements, character_set(()), raw.little)
    for key in tree.dataset.keys() & dataset.keys():
        _warn(tree, key, "a duplicate of an element in the file meta was left out")
    tree.dataset = dataset if not tree.dataset else tree.dataset | dataset | tree.dataset
    return tree


def _warn(tree: Tree, path: str | None, problem: str) -> None:
    tree.problems += 1
    if len(tree.warnings) < MAX_WARNINGS:
        tree.warnings.append({"path": path, "problem": problem})


class _TooManyValues(Exception):
    """A list of values is more than what a document may still hold."""


class _Builder:
    """Converts the elements of one buffer."""

    def __init__(
        self,
        tree: Tree,
        buffer: Readable,
        problems: dict[tuple[int, int], str],
        limits: Limits,
        spill_values: bool,
        memory: Remembered,
    ) -> None:
        self.tree = tree
        self.buffer = buffer
        self.problems = problems
        self.inline = limits.max_inline_bytes
        self.longest = limits.max_value_bytes if spill_values else None
        self.limits = limits
        self.memory = memory
        self.values_left = limits.max_values if spill_values else limits.max_tree_values
        if limits.max_elements is not None:
            self.values_left = min(self.values_left, limits.max_elements)
        self.path: list[str] = []
        self.around: list[tuple[list[Element], bool]] = []
        self.short: dict[tuple[CharacterSet, bool], Mapping[str, Values]] = {}
        self.long: dict[tuple[CharacterSet, bool], dict[str, Convert]] = {}

    def build(self, elements: list[Element], charset: CharacterSet, little: bool) -> dict[str, Any]:
        """Convert the elements of one data set or item; `charset` is that of what is around it."""
        buffer, inline, problems, keys = self.buffer, self.inline, self.problems, _KEYS
        own = self._own_charset(elements)
        if own is not None:
            charset = own
        short = self.short.get((charset, little)) or self._short(charset, little)
        out: dict[str, Any] = {}
        for tag, vr, start, length, payload in elements:
            key = keys.get(tag) or f"{tag:08X}"
            if key in out:
                _warn(self.tree, self._place(key), "a duplicate element was left out; the first was kept")
                continue
            try:
                if payload is not None or length > inline or problems or tag in _PIXELS:
                    out[key] = self._unusual(key, (tag, vr, start, length, payload), elements, charset, little)
                elif 0 < length <= LONGEST_VALUE:
                    out[key] = short[vr][buffer[start : start + length]]
                elif length:
                    out[key] = self._convert(vr, buffer[start : start + length], charset, little)
                else:
                    out[key] = _EMPTY.get(vr) or self._empty(vr)
            except Unconvertible as error:
                out[key] = self._kept(key, error.element, start, length, little)
            except KeyError:
                # A choice of VRs, which only its surroundings settle.
                vr = settled_vr(tag, vr, length, ((elements, little), *reversed(self.around)), buffer)
                if vr in short:
                    out[key] = self._settled_value(key, vr, start, length, charset, little)
                else:
                    out[key] = self._kept(key, self._no_items(vr, start, length), start, length, little)
            except _TooManyValues:
                out[key] = self._spilled(vr, start, length, little)
        return out

    def _no_items(self, vr: str, start: int, length: int) -> TypedElement:
        """Return the element of a sequence in whose place the reader found bytes."""
        return {"vr": vr, "raw": self.buffer[start : start + length], "problem": "the value of a sequence has no items"}

    def _settled_value(
        self, key: str, vr: str, start: int, length: int, charset: CharacterSet, little: bool
    ) -> TypedElement:
        """Convert a value whose VR has been settled."""
        try:
            return self._convert(vr, self.buffer[start : start + length], charset, little)
        except Unconvertible as error:
            return self._kept(key, error.element, start, length, little)
        except _TooManyValues:
            return self._spilled(vr, start, length, little)

    def _convert(self, vr: str, data: bytes, charset: CharacterSet, little: bool) -> TypedElement:
        """Return the element of a value: of a short one perhaps one that an earlier file had too."""
        if len(data) <= LONGEST_VALUE:
            return self._short(charset, little)[vr][data]
        convert = self.long.get((charset, little))
        if convert is None:
            convert = self.long[charset, little] = converters(charset, little, self._spend)
        return convert[vr](data)

    def _short(self, charset: CharacterSet, little: bool) -> Mapping[str, Values]:
        """Return the elements of short values."""
        found = self.short[charset, little] = self.memory.values(charset, little)
        return found

    def _spend(self, count: int) -> None:
        """Count the values of a long list against the budget.

        Raises
        ------
        OverBudget, LimitExceeded
            The list is too much, for this process or at all.
        _TooManyValues
            It is too much for a document.
        """
        self.values_left -= count
        if self.values_left >= 0:
            return
        if self.limits.max_elements is not None:
            raise OverBudget
        if self.longest is None:
            raise LimitExceeded("The file has more values than the service reads.")
        raise _TooManyValues

    def _own_charset(self, elements: list[Element]) -> CharacterSet | None:
        """Return the character set that a data set or an item names; None where it names none."""
        whole = not self.around
        for tag, _, start, length, payload in elements:
            if tag == _CHARACTER_SET and payload is None:
                names = self.buffer[start : start + min(length, 1024)].decode("latin-1").split("\\")
                charset = character_set(tuple(name.strip(" \0") for name in names))
                if charset.problem:
                    _warn(self.tree, self._place("SpecificCharacterSet"), charset.problem)
                return charset
            if tag > _CHARACTER_SET and not whole:
                break
        return None

    def _place(self, key: str) -> str:
        return ".".join([*self.path, key])

    def _empty(self, vr: str) -> TypedElement:
        """Return the element of a VR without a value."""
        vr = settled_vr(0, vr, 0, (), b"")
        return _EMPTY.setdefault(vr, {"vr": vr})

    def _kept(self, key: str, element: TypedElement, start: int, length: int, little: bool) -> TypedElement:
        """Note an element that could not be converted; a long one is left in the file, by its length."""
        _warn(self.tree, self._place(key), element["problem"])
        raw = element.get("raw")
        if isinstance(raw, bytes) and len(raw) > self.inline and "Value" not in element:
            long = self._by_length(element["vr"], start, length, little)
            long["problem"] = element["problem"]
            return long
        return element

    def _unusual(
        self, key: str, found: Element, elements: list[Element], charset: CharacterSet, little: bool
    ) -> TypedElement:
        """Convert what is a sequence, long, or has a problem."""
        tag, vr, start, length, payload = found
        problem = self.problems.get((tag, start)) if self.problems else None
        if problem is not None:
            _warn(self.tree, self._place(key), problem)
        if isinstance(payload, Items):
            element = self._sequence(key, payload, elements, charset, little)
            return element | {"problem": problem} if problem else element
        vr = settled_vr(tag, vr, length, ((elements, little), *reversed(self.around)), self.buffer)
        if payload is ENCAPSULATED:
            element = self._by_length(vr, start, length, True)
            element["encapsulated"] = True
        elif tag in _PIXELS or (length > self.inline and (vr in BYTE_VRS or vr == "SQ")):
            element = self._by_length(vr, start, length, little) if length else {"vr": vr}
        elif self.longest is not None and length > self.longest:
            element = self._spilled(vr, start, length, little)
        else:
            return self._long(vr, start, length, charset, little, problem)
        if problem is not None:
            element["problem"] = problem
        return element

    def _long(
        self, vr: str, start: int, length: int, charset: CharacterSet, little: bool, problem: str | None
    ) -> TypedElement:
        """Convert a value that is longer than most, or broken."""
        data = self.buffer[start : start + length]
        if problem is not None:
            text = vr not in BYTE_VRS and vr not in ("SQ", "AT", "US", "SS", "UL", "SL", "UV", "SV", "FL", "FD")
            raw = data.decode("ascii") if text and data.isascii() else data
            return {"vr": vr, "raw": raw, "problem": problem}
        element = self._convert(vr, data, charset, little)
        if "Value" in element:
            # So that a document which is still too large can leave it in the file.
            self.tree.places[id(element)] = (self.buffer, start, length, 1 if little else WORDS.get(vr, 1))
        return element

    def _by_length(self, vr: str, start: int, length: int, little: bool) -> TypedElement:
        """Return an element that stays in the file, and remember where."""
        return self.tree.leave_in_file(vr, (self.buffer, start, length, 1 if little else WORDS.get(vr, 1)))

    def _spilled(self, vr: str, start: int, length: int, little: bool) -> TypedElement:
        """Leave values in the file that a document has no room for."""
        self.tree.spilled_values += 1
        element = self._by_length(vr, start, length, little)
        element["spilled"] = True
        return element

    def _sequence(
        self, key: str, items: Items, elements: list[Element], charset: CharacterSet, little: bool
    ) -> TypedElement:
        """Convert the items of a sequence, and let go of what the reader found."""
        if not items:
            return self._empty("SQ")
        self.around.append((elements, little))
        built: list[dict[str, Any]] = []
        path = self.path
        for index in range(len(items)):
            path.append(f"{key}[{index}]")
            built.append(self.build(items[index], charset, items.little))
            path.pop()
            items[index] = []
        self.around.pop()
        return {"vr": "SQ", "Value": built}
