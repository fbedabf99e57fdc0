"""A tolerant reader of data elements: it says what lies where, and converts nothing.

Nothing here backtracks, so time is linear in the file: where a header makes no sense (a VR that is none, implicit VR
inside explicit, a length that does not fit) the candidates are told apart by what stands where each value would end.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from service.dicom.limits import Limits, OverBudget, Readable
from service.dicom.parsing.headers import (
    BIG,
    ITEM,
    ITEM_END,
    LITTLE,
    LONG_VRS,
    SEQUENCE_END,
    SHORT_VRS,
    UNDEFINED,
    VR_NUMBERS,
    ByteOrder,
    guess_header,
    is_explicit,
    is_plausible,
)
from service.dicom.parsing.implied_vr import TAG_VRS, private_vr, standard_vr
from service.dicom.parsing.raw import ENCAPSULATED, Creators, Element, Items
from service.errors import LimitExceeded

PIXEL_DATA = 0x7FE00010

_OTHER_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "OB or OW", "US or OW", "US or SS or OW"})
_PLAIN_VRS = {tag: vr for tag, vr in TAG_VRS.items() if vr not in ("SQ", "UN")}


@dataclass(slots=True)
class _Level:
    """One data set or item while it is read: what it holds so far and how it is written."""

    found: list[Element]
    end: int
    explicit: bool
    order: ByteOrder
    depth: int
    delimited: bool
    closed: bool = False
    creators: Creators = field(default_factory=Creators)


@dataclass(slots=True)
class Parser:
    """One pass over one buffer.

    Parameters
    ----------
    buffer : bytes or mmap
        What is read; offsets count from its start.
    limits : Limits
        Bounds on nesting and on the number of elements and items.

    Attributes
    ----------
    deepest : int
        How many sequences within each other were seen.
    truncated_at : int or None
        Offset of the first thing that the file is too short for.
    notes : dict
        What was strange about the file as a whole -> how often.
    problems : dict
        (tag, offset of the value) -> what is wrong with that element.
    """

    buffer: Readable
    limits: Limits
    size: int = 0
    remaining: int = 0
    deepest: int = 0
    truncated_at: int | None = None
    open_end: bool = False
    notes: dict[str, int] = field(default_factory=dict)
    problems: dict[tuple[int, int], str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.size = len(self.buffer)
        budget = self.limits.max_elements
        self.remaining = self.limits.max_tree_elements if budget is None else min(budget, self.limits.max_tree_elements)

    def elements(
        self, pos: int, end: int, explicit: bool, order: ByteOrder, depth: int = 0, delimited: bool = False
    ) -> tuple[list[Element], int]:
        """Read the elements of a data set or of an item.

        Parameters
        ----------
        pos, end : int
            Where they begin, and where their container ends.
        explicit : bool
            Whether headers name the VR. An element that contradicts it is read as what it is.
        order : ByteOrder
            The byte order.
        depth : int
            How many sequences they lie in.
        delimited : bool
            Whether an item delimiter ends them.

        Returns
        -------
        list of Element, int
            The elements, and the offset after them and after their delimiter.

        Raises
        ------
        LimitExceeded
            Sequences nest too deep, or there are too many elements.
        OverBudget
            There are more elements than the caller's own budget.
        """
        buffer = self.buffer
        unpack_explicit, unpack_implicit = order.explicit, order.implicit
        short_vr, plain_vr = SHORT_VRS.get, _PLAIN_VRS.get
        found: list[Element] = []
        append = found.append
        level: _Level | None = None
        spent = 0
        for _ in range(self.remaining + 1):
            if end - pos < 8:
                if end > pos:
                    self._leftover(pos, end)
                pos = max(pos, end)
                break
            if explicit:
                group, number, code, length = unpack_explicit(buffer, pos)
                vr = short_vr(code)
                stop = pos + 8 + length
                if vr is not None and stop <= end and not length & 1 and group != 0xFFFE:
                    append((group << 16 | number, vr, pos + 8, length, None))
                    pos = stop
                    continue
            else:
                group, number, length = unpack_implicit(buffer, pos)
                vr = plain_vr(group << 16 | number)
                stop = pos + 8 + length
                if vr is not None and stop <= end and not length & 1 and length & 0xFFFF not in VR_NUMBERS:
                    append((group << 16 | number, vr, pos + 8, length, None))
                    pos = stop
                    continue
            if level is None:
                level = _Level(found, end, explicit, order, depth, delimited)
            self.spend(len(found) - spent)
            spent = len(found)
            pos = self._unusual(pos, level)
            if level.closed:
                break
        if delimited and (level is None or not level.closed):
            self._reached(end)
        self.spend(len(found) - spent)
        return found, pos

    def one(self, pos: int, explicit: bool, order: ByteOrder) -> tuple[Element | None, int]:
        """Read one element at the top level; None where there is none."""
        level = _Level([], self.size, explicit, order, 0, False)
        self.spend(1)
        pos = self._unusual(pos, level)
        return (level.found[0] if level.found else None), pos

    def spend(self, count: int) -> None:
        """Count elements and items against the budget."""
        self.remaining -= count
        if self.remaining < 0:
            budget = self.limits.max_elements
            if budget is not None and budget < self.limits.max_tree_elements:
                raise OverBudget
            raise LimitExceeded("The file has more data elements than the service reads.")

    def header(self, pos: int, level: _Level) -> tuple[str, int, int, bool] | None:
        """Read one header, whatever is wrong with it.

        Returns
        -------
        (str, int, int, bool) or None
            VR, offset and length of the value, and whether it was UN in the file; None where nothing makes sense.
        """
        buffer, end, order = self.buffer, level.end, level.order
        group, number, length = order.implicit(buffer, pos)
        tag, start = group << 16 | number, pos + 8
        vr: str | None
        if not level.explicit:
            if length & 0xFFFF in VR_NUMBERS and is_explicit(buffer, pos, end, order):
                return guess_header(buffer, pos, end, order)
            return self._vr_of(tag, level), start, length, False
        code = bytes(buffer[pos + 4 : pos + 6])
        vr = SHORT_VRS.get(code)
        if vr is not None:
            length = order.short(buffer, pos + 6)[0]
        else:
            vr = LONG_VRS.get(code)
            if vr is None or end - pos < 12:
                guess = guess_header(buffer, pos, end, order)
                if guess is not None:
                    self.note("an element without a VR of the Standard was read by its tag")
                    if guess[0] == "UN":
                        return self._vr_of(tag, level), *guess[1:3], guess[3]
                return guess
            start, length = pos + 12, order.long(buffer, pos + 8)[0]
        if start + length > end and length != UNDEFINED:
            guess = guess_header(buffer, pos, end, order)
            if guess is not None:
                self.note("an element whose header contradicts the file's encoding was read by its tag")
                return guess if guess[0] != "UN" else (self._vr_of(tag, level), *guess[1:3], guess[3])
        if vr == "UN":
            return self._vr_of(tag, level), start, length, True
        return vr, start, length, False

    def _vr_of(self, tag: int, level: _Level) -> str:
        """Return the VR of a tag by the dictionaries of the Standard and of its private creator (PS3.5 7.8.1)."""
        if not (tag >> 16) & 1 or not tag & 0xFFFF:
            return standard_vr(tag) or "UN"
        if 0x10 <= tag & 0xFFFF <= 0xFF:
            return "LO"
        creator = level.creators.of(tag, self.buffer, level.found)
        return (private_vr(tag, creator) if creator else None) or "UN"

    def _unusual(self, pos: int, level: _Level) -> int:
        """Read what the loop of `elements` does not: long forms, sequences, delimiters, everything strange."""
        buffer, end = self.buffer, level.end
        group, number, _ = level.order.implicit(buffer, pos)
        tag = group << 16 | number
        if group == 0xFFFE and number in (ITEM, ITEM_END, SEQUENCE_END):
            return self._delimiter(pos, number, level)
        if not tag and not bytes(buffer[pos : min(end, pos + 4096)]).strip(b"\0"):
            self.note("zeros after the last element were skipped")
            level.closed = True
            return end
        header = self.header(pos, level)
        if header is None:
            self.note("an element that cannot be read ended its data set")
            if end == self.size:
                self.cut(pos)
            level.closed = True
            return end
        vr, start, length, unknown = header
        # PS3.5 6.2.2: what lies in a UN is written in implicit VR little endian, whatever the file's own encoding.
        inner = (False, LITTLE) if unknown else (level.explicit, level.order)
        if length == UNDEFINED:
            return self._undefined(tag, vr, start, inner, level)
        stop = start + length
        if stop > end:
            stop = self._overrun(tag, vr, pos, start, stop, level)
            length = max(0, stop - start)
            start = min(start, stop)
        elif length & 1 and self._is_padded(stop, level):
            self.note("an odd length did not count its padding")
            stop += 1
        items = None
        if vr == "SQ" and length:
            if self._item_order(start, stop, inner[1]) is not None:
                items, _ = self.items(start, stop, *inner, level.depth, undefined=False)
            elif unknown:
                vr = "UN"
            else:
                self.problems.setdefault((tag, start), "a sequence without items")
        level.found.append((tag, vr, start, length, items))
        return stop

    def _is_padded(self, stop: int, level: _Level) -> bool:
        """Return whether a value of odd length is followed by a byte that its length did not count (PS3.5 7.1.1)."""
        buffer, end, order = self.buffer, level.end, level.order
        return not is_plausible(buffer, stop, end, order) and is_plausible(buffer, stop + 1, end, order)

    def _delimiter(self, pos: int, number: int, level: _Level) -> int:
        """Deal with an item's tag or a delimiter where an element should stand."""
        if number == ITEM_END and level.delimited:
            level.closed = True
            return pos + 8
        if number != ITEM_END and level.depth:
            # Left to the sequence around: a delimiter is missing, or a length is wrong.
            level.closed = True
            return pos
        self.spend(1)
        self.note("a stray item or delimiter was skipped")
        return pos + 8

    def _undefined(self, tag: int, vr: str, start: int, inner: tuple[bool, ByteOrder], level: _Level) -> int:
        """Read a value of undefined length: a sequence, fragments, or text that somebody delimited."""
        end = level.end
        if tag == PIXEL_DATA or vr in _OTHER_BYTES:
            stop, after = self._fragments(tag, start, level)
            vr = "OB" if " or " in vr or vr in ("UN", "SQ") else vr
            level.found.append((tag, vr, start, stop - start, ENCAPSULATED))
            return after
        if vr in ("SQ", "UN") or self._item_order(start, end, inner[1]) is not None:
            items, after = self.items(start, end, *inner, level.depth, undefined=True)
            level.found.append((tag, "SQ", start, after - start, items))
            return after
        mark = b"\xfe\xff\xdd\xe0\0\0\0\0" if level.order.little else b"\xff\xfe\xe0\xdd\0\0\0\0"
        stop = self.buffer.find(mark, start, end)
        after = stop + 8
        if stop < 0:
            stop = after = end
            self._reached(end)
        self.problems.setdefault((tag, start), "an undefined length that its VR does not allow")
        level.found.append((tag, vr, start, stop - start, None))
        return after

    def items(
        self, pos: int, end: int, explicit: bool, order: ByteOrder, depth: int, undefined: bool
    ) -> tuple[Items, int]:
        """Read the items of a sequence that lies in `depth` others (PS3.5 7.5).

        Returns
        -------
        Items, int
            The items, and the offset after the sequence and its delimiter.

        Raises
        ------
        LimitExceeded
        """
        depth += 1
        if depth > self.limits.max_depth:
            raise LimitExceeded(f"The file nests more than {self.limits.max_depth} sequences.")
        self.deepest = max(self.deepest, depth)
        buffer = self.buffer
        items = Items(order.little)
        while end - pos >= 8:
            group, number, length = order.implicit(buffer, pos)
            if group == 0xFFFE and number == ITEM:
                self.spend(1)
                pos += 8
                if length == UNDEFINED:
                    elements, pos = self.elements(pos, end, explicit, order, depth, delimited=True)
                elif length:
                    stop = pos + length
                    if stop > end:
                        stop = self._container_end(stop, end, order)
                    elements, pos = self.elements(pos, stop, explicit, order, depth)
                else:
                    elements = []
                items.append(elements)
            elif group == 0xFFFE and number == SEQUENCE_END:
                pos += 8
                if undefined:
                    return items, pos
                self.note("a stray item or delimiter was skipped")
            elif group == 0xFFFE and number == ITEM_END:
                self.spend(1)
                pos += 8
                self.note("a stray item or delimiter was skipped")
            elif group == 0xFEFF and not items and (swapped := self._item_order(pos, end, order)) is not None:
                order, items.little = swapped, swapped.little
            else:
                self.note("a sequence ended without its delimiter, or held what is no item")
                return items, pos if undefined else end
        if undefined:
            self._reached(end)
        elif end > pos:
            self._leftover(pos, end)
        return items, max(pos, end)

    def _item_order(self, pos: int, end: int, order: ByteOrder) -> ByteOrder | None:
        """Return the byte order in which an item or a delimiter stands here; None where none does."""
        if end - pos < 8:
            return None
        for candidate in (order, BIG if order.little else LITTLE):
            group, number, _ = candidate.implicit(self.buffer, pos)
            if group == 0xFFFE and number in (ITEM, ITEM_END, SEQUENCE_END):
                return candidate
        return None

    def _fragments(self, tag: int, pos: int, level: _Level) -> tuple[int, int]:
        """Walk the fragments of encapsulated pixel data (PS3.5 A.4); give where they end and what follows begins."""
        buffer, end, order = self.buffer, level.end, level.order
        while end - pos >= 8:
            group, number, length = order.implicit(buffer, pos)
            if group != 0xFFFE or number not in (ITEM, SEQUENCE_END):
                break
            if number == SEQUENCE_END:
                return pos, pos + 8
            self.spend(1)
            if pos + 8 + length > end:
                self.problems[(tag, pos)] = "the pixel data ends within a fragment"
                self._reached(end, pos)
                return end, end
            pos += 8 + length
        mark = b"\xfe\xff\xdd\xe0\0\0\0\0" if order.little else b"\xff\xfe\xe0\xdd\0\0\0\0"
        stop = buffer.find(mark, pos, end) if end - pos >= 8 else -1
        if stop >= 0:
            self.note("pixel data held what is no fragment")
            return stop, stop + 8
        self._reached(end, pos)
        return end, end

    def _overrun(self, tag: int, vr: str, pos: int, start: int, stop: int, level: _Level) -> int:
        """Decide where a value ends that is longer than its container."""
        end = level.end
        if stop <= self.size:
            return self._container_end(stop, end, level.order)
        if end == self.size:
            # Of a sequence, what it holds says where exactly the file ends.
            self._reached(end, None if vr == "SQ" else pos)
            self.problems[(tag, min(start, end))] = "the file ends within the value"
        else:
            self.problems[(tag, min(start, end))] = "the value is longer than what holds it"
        return end

    def _container_end(self, stop: int, end: int, order: ByteOrder) -> int:
        """Decide who is right when a thing is longer than what holds it: the end at which a header can stand."""
        if stop > self.size:
            self._reached(end)
            return end
        self.note("a length that is longer than what holds it was corrected")
        follows = is_plausible(self.buffer, end, self.size, order)
        return stop if not follows and is_plausible(self.buffer, stop, self.size, order) else end

    def _leftover(self, pos: int, end: int) -> None:
        """Note bytes that are too few for another header."""
        if not bytes(self.buffer[pos:end]).strip(b"\0"):
            return
        if end == self.size:
            self.cut(pos)
        else:
            self.note("a few stray bytes were skipped")

    def _reached(self, end: int, pos: int | None = None) -> None:
        """Note that something was still open where its container ended."""
        if end == self.size:
            if pos is not None:
                self.cut(pos)
            self.open_end = True
        else:
            self.note("a delimiter is missing")

    def note(self, text: str) -> None:
        """Note, and count, something strange."""
        self.notes[text] = self.notes.get(text, 0) + 1

    def cut(self, pos: int) -> None:
        """Note the offset of the first thing that the file is too short for."""
        if self.truncated_at is None:
            self.truncated_at = pos
