"""Lookup tables as files hold them: read, checked, expanded, applied (PS3.3 C.11.1, C.11.2, C.11.4, C.7.6.3, C.7.9).

One shape serves the Modality LUT, the VOI LUT, the Presentation LUT and the palettes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.pixels.attributes import ReadBytes, as_number, element_bytes, values

_LARGEST = 65536
_DISCRETE, _LINEAR, _INDIRECT = 0, 1, 2


@dataclass(frozen=True, slots=True, eq=False)
class Lut:
    """A lookup table.

    Parameters
    ----------
    first : int
        The input value that the first entry maps.
    entries : ndarray
        1 to 65536 unsigned 16-bit entries.
    bits : int
        Precision of an entry, 1 to 16: the output reaches from 0 to 2**bits - 1.
    """

    first: int
    entries: NDArray[np.uint16]
    bits: int

    def apply(self, inputs: NDArray[Any]) -> NDArray[np.uint16]:
        """Map values; beyond its ends the table continues with its end entries (PS3.3 C.11.1.1.1).

        Parameters
        ----------
        inputs : ndarray
            Numbers, rounded to the nearest integer where they are not integers.
        """
        outputs: NDArray[np.uint16] = np.take(self.entries, indices_of(inputs, self.first, len(self.entries)))
        return outputs


def indices_of(inputs: NDArray[Any], first: int, count: int) -> NDArray[np.intp]:
    """Return which entry of a table each value takes; beyond its ends, the first or the last (PS3.3 C.11.1.1.1).

    Parameters
    ----------
    inputs : ndarray
        Numbers of any type, rounded to the nearest integer where they are not integers; NaN takes the first entry.
    first : int
        The value that the first entry maps.
    count : int
        Entries of the table, at least 1.
    """
    # The difference must not wrap in the type of the inputs: 5 - 10 is below a table, not far above it.
    is_whole = inputs.dtype.kind in "iub" and inputs.dtype.itemsize <= 4
    index: NDArray[Any] = inputs.astype(np.int64 if is_whole else np.float64)
    index -= first
    if not is_whole:
        np.floor(index + 0.5, out=index)
        np.nan_to_num(index, copy=False)
    clipped: NDArray[np.intp] = np.clip(index, 0, count - 1, out=index).astype(np.intp, copy=False)
    return clipped


def read_lut(
    item: Mapping[str, Any], descriptor: str, data: str, read_bytes: ReadBytes, *, signed_input: bool
) -> Lut | None:
    """Read one lookup table by its descriptor (PS3.3 C.11.1.1.1 and alike).

    The descriptor's first value counts the entries (0 means 65536), its second is the first input value mapped, its
    third the bits of an entry. It may be typed US or SS, whatever its values mean, so both readings of its 16 bits are
    accepted here.

    Parameters
    ----------
    item : Mapping
        What holds the elements.
    descriptor, data : str
        Their keywords.
    read_bytes : ReadBytes
        Reads data that the tree does not hold.
    signed_input : bool
        Whether the input of the table may be negative.

    Returns
    -------
    Lut or None
        None where the table is absent, empty or unreadable. A table with fewer entries than its descriptor says is
        used as far as it goes.
    """
    shape = _read_descriptor(item, descriptor, signed_input=signed_input)
    if shape is None:
        return None
    count, first, bits = shape
    entries = _read_entries(item, data, read_bytes, count, bits)
    if not len(entries):
        return None
    return Lut(first, entries, _true_bits(entries, bits))


def read_segmented_lut(
    item: Mapping[str, Any], descriptor: str, data: str, read_bytes: ReadBytes, *, signed_input: bool
) -> Lut | None:
    """Read one Segmented Palette Color Lookup Table (PS3.3 C.7.9.2), as `read_lut` reads a plain one."""
    shape = _read_descriptor(item, descriptor, signed_input=signed_input)
    if shape is None:
        return None
    count, first, bits = shape
    content = element_bytes(item, data, read_bytes)
    word_bytes = 1 if bits == 8 else 2
    words = np.frombuffer(content, dtype=f"<u{word_bytes}", count=len(content) // word_bytes)
    entries = expand_segments(words.tolist(), word_bytes, count)
    return Lut(first, entries, _true_bits(entries, bits)) if len(entries) else None


def expand_segments(words: list[int], word_bytes: int, count: int) -> NDArray[np.uint16]:
    """Expand the segments of a Segmented Palette Color Lookup Table (PS3.3 C.7.9.2).

    Parameters
    ----------
    words : list of int
        Opcodes, lengths and values.
    word_bytes : int
        Bytes of a word: 1 for entries of 8 bits, else 2.
    count : int
        Entries to make. Segments beyond that, a broken one, and what follows it, are left out.

    Returns
    -------
    ndarray
        At most `count` entries.
    """
    entries: list[int] = []
    place = 0
    offset_words = 4 // word_bytes
    while place + 2 < len(words) and len(entries) < count:
        if words[place] == _INDIRECT:
            # The place of the segments to repeat: a byte offset of 32 bits, its least significant word first.
            parts = words[place + 2 : place + 2 + offset_words]
            again = sum(part << (8 * word_bytes * n) for n, part in enumerate(parts)) // word_bytes
            for _ in range(words[place + 1]):
                if again + 2 >= len(words) or words[again] not in (_DISCRETE, _LINEAR) or len(entries) >= count:
                    break
                again = _expand_segment(words, again, entries)
            place += 2 + offset_words
        elif words[place] in (_DISCRETE, _LINEAR):
            place = _expand_segment(words, place, entries)
        else:
            break
    return np.array(entries[:count], dtype=np.uint16)


def _expand_segment(words: list[int], place: int, entries: list[int]) -> int:
    """Append what a discrete or a linear segment stands for, and return where the next one begins."""
    opcode, length = words[place], words[place + 1]
    if opcode == _DISCRETE:
        entries.extend(words[place + 2 : place + 2 + length])
        return place + 2 + length
    # A line from the entry before, which is not repeated, to the value given.
    end = words[place + 2]
    start = entries[-1] if entries else end
    entries.extend(int(start + (end - start) * n / length + 0.5) for n in range(1, length + 1))
    return place + 3


def _read_descriptor(item: Mapping[str, Any], keyword: str, *, signed_input: bool) -> tuple[int, int, int] | None:
    found = [as_number(value) for value in values(item, keyword)]
    if len(found) < 3:
        return None
    count, first, bits = (int(value) if value is not None else 0 for value in found[:3])
    first %= _LARGEST
    if signed_input and first >= _LARGEST // 2:
        first -= _LARGEST
    return count % _LARGEST or _LARGEST, first, bits


def _read_entries(
    item: Mapping[str, Any], keyword: str, read_bytes: ReadBytes, count: int, bits: int
) -> NDArray[np.uint16]:
    stored = values(item, keyword)
    if stored:
        entries = [int(as_number(value) or 0) % _LARGEST for value in stored[:count]]
        return np.array(entries, dtype=np.uint16)
    content = element_bytes(item, keyword, read_bytes)
    # Entries of 8 bits stand two in a word, or in a word each: the length tells.
    width = 1 if bits <= 8 and len(content) <= count + 1 else 2
    found = np.frombuffer(content, dtype=f"<u{width}", count=min(count, len(content) // width))
    return found.astype(np.uint16)


def _true_bits(entries: NDArray[np.uint16], bits: int) -> int:
    """Return the precision of entries, also where the descriptor is plainly wrong about it."""
    needed = max(1, int(entries.max()).bit_length())
    return max(bits, needed) if 0 < bits <= 16 else needed
