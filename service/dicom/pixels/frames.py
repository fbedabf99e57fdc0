"""Where the bytes of one frame stand, so that it is read alone (PS3.5 section 8.2, A.4; PS3.3 C.7.6.3.1.8).

Native frames lie one after the other. A compressed frame is one or more fragments; an offset table may tell which, may
be empty, and is now and then wrong, so it is believed only where it leads to the beginning of fragments.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from mmap import mmap
from typing import Any

import numpy as np

from service.dicom.pixels.attributes import ReadBytes, element_bytes
from service.dicom.pixels.codestream import JPEG_XL_STARTS, begins_codestream
from service.dicom.pixels.header import RLE_LOSSLESS, ImageHeader
from service.dicom.pixels.native import swap_words
from service.errors import Invalid, LimitExceeded, NotRenderable

Buffer = bytes | bytearray | memoryview | mmap

MAX_FRAGMENTS = 1 << 20
_SPARE_BYTES = 16 * 1024 * 1024
ITEM = b"\xfe\xff\x00\xe0"
"""The tag of an item in little-endian bytes; fragments begin with it."""


@dataclass(frozen=True, slots=True)
class Fragment:
    """One item of encapsulated pixel data: the places of its tag, of its first byte, and past its last."""

    tag: int
    start: int
    stop: int


def check_frame_number(header: ImageHeader, frame: int) -> None:
    """Refuse a frame that the object does not have.

    Raises
    ------
    Invalid
        Saying how many frames there are.
    """
    if not 0 <= frame < header.frames:
        count = "1 frame" if header.frames == 1 else f"{header.frames} frames"
        raise Invalid(f"There is no frame {frame + 1}: this object has {count}.")


def native_frame(
    buffer: Buffer, element: Mapping[str, Any], header: ImageHeader, frame: int, read_bytes: ReadBytes
) -> tuple[bytes, int]:
    """Return the bytes of one native frame, as little-endian words (PS3.5 section 8.1.1).

    Parameters
    ----------
    buffer : Buffer
        The file.
    element : Mapping
        The tree's element that holds the pixels.
    header : ImageHeader
        What describes them.
    frame : int
        The frame, from 0.
    read_bytes : ReadBytes
        Reads pixels that do not stand in the file as they are (deflated, or in words that had to be swapped).

    Returns
    -------
    tuple of bytes and int
        The bytes, fewer than a frame takes where the file is short; and the bit at which the frame begins in them.
    """
    bits = header.frame_samples * header.bits_allocated
    first, last = frame * bits // 8, -(-(frame + 1) * bits // 8)
    word = word_bytes(header, element)
    start, stop = first // word * word, -(-last // word) * word
    offset, length = element.get("offset"), int(element.get("length") or 0)
    if offset is None:
        whole = element_bytes({"element": element}, "element", read_bytes)
        data = whole[start:stop]
        if word > 2 and element.get("vr") == "OW":
            # The words of 16 bits have been swapped already; the samples are larger (PS3.5 section 7.3).
            data = swap_words(swap_words(data, 2), word)
        return data[first - start : last - start], frame * bits % 8
    stop = min(stop, length)
    data = bytes(buffer[offset + start : offset + stop]) if start < stop else b""
    if word > 1:
        data = swap_words(data, word)
    return data[first - start : last - start], frame * bits % 8


def word_bytes(header: ImageHeader, element: Mapping[str, Any]) -> int:
    """Return the bytes of a big-endian word of the pixels as the file has them; 1 where there is nothing to swap."""
    if not header.is_big_endian:
        return 1
    if header.bits_allocated in (16, 32, 64):
        return header.bits_allocated // 8
    return 1 if element.get("vr") == "OB" else 2


def walk_items(buffer: Buffer, start: int, stop: int) -> Iterator[Fragment]:
    """Yield the items from one place of encapsulated pixel data on, up to its end or to what is no item.

    An item that reaches past the end is cut there.
    """
    while start + 8 <= stop and bytes(buffer[start : start + 4]) == ITEM:
        (length,) = struct.unpack("<I", buffer[start + 4 : start + 8])
        end = min(start + 8 + length, stop)
        yield Fragment(start, start + 8, end)
        start = end


def _read_offsets(
    buffer: Buffer, dataset: Mapping[str, Any], table: Fragment, read_bytes: ReadBytes
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the offsets of the Extended Offset Table (PS3.3 C.7.6.3.1.8), else of the Basic one (PS3.5 A.4)."""
    extended = element_bytes(dataset, "ExtendedOffsetTable", read_bytes)
    if extended:
        return np.frombuffer(extended, dtype="<u8", count=len(extended) // 8).astype(np.int64)
    basic = bytes(buffer[table.start : table.stop])
    return np.frombuffer(basic, dtype="<u4", count=len(basic) // 4).astype(np.int64)


def _join(buffer: Buffer, fragments: list[Fragment], header: ImageHeader) -> bytes:
    # What is compressed is smaller than what it becomes, or hardly larger.
    allowed = 4 * (header.frame_samples * header.bits_allocated // 8) + _SPARE_BYTES
    if sum(part.stop - part.start for part in fragments) > allowed:
        raise LimitExceeded("A compressed frame takes several times the bytes of its own pixels.")
    return b"".join(bytes(buffer[part.start : part.stop]) for part in fragments)


class EncapsulatedFrames:
    """The compressed frames of one object (PS3.5 A.4); where they begin is found once, when it is first asked for.

    Parameters
    ----------
    buffer : Buffer
        The file.
    dataset : Mapping
        The whole dataset.
    header : ImageHeader
        What describes the pixels.
    read_bytes : ReadBytes
        Reads the Extended Offset Table.

    Raises
    ------
    NotRenderable
        Where there is nothing to look for frames in.
    """

    def __init__(self, buffer: Buffer, dataset: Mapping[str, Any], header: ImageHeader, read_bytes: ReadBytes) -> None:
        element = dataset[header.keyword]
        start = int(element["offset"])
        self._buffer = buffer
        self._header = header
        self._stop = min(start + int(element["length"]), len(buffer))
        table = next(walk_items(buffer, start, self._stop), None)
        if table is None:
            raise NotRenderable("The compressed pixel data has no fragments.")
        self._first = table.stop
        self._named: Sequence[int] | None = None
        self._found: Sequence[int] | None = None
        if header.frames > 1:
            offsets = _read_offsets(buffer, dataset, table, read_bytes)
            is_right = len(offsets) == header.frames and offsets[0] == 0 and (np.diff(offsets) > 0).all()
            if is_right and offsets[-1] < self._stop:
                self._named = array("q", (offsets + self._first).tobytes())

    def read(self, frame: int) -> bytes:
        """Return the bytes of one frame, its fragments joined.

        Parameters
        ----------
        frame : int
            The frame, from 0.

        Raises
        ------
        NotRenderable
            Where the fragments do not tell which of them are this frame, or it is not there.
        LimitExceeded
            Where there are too many fragments, or they are far too long.
        """
        if self._named is not None:
            fragments = self._between(self._named, frame)
            is_last = frame + 1 == len(self._named)
            if fragments and (is_last or fragments[-1].stop == self._named[frame + 1]):
                return _join(self._buffer, fragments, self._header)
        if self._found is None:
            self._found = self._find()
        if frame >= len(self._found):
            raise NotRenderable(f"Frame {frame + 1} is missing: the pixel data ends after frame {len(self._found)}.")
        return _join(self._buffer, self._between(self._found, frame), self._header)

    def _between(self, begins: Sequence[int], frame: int) -> list[Fragment]:
        """Return the fragments from the place where a frame begins to the next such place."""
        end = begins[frame + 1] if frame + 1 < len(begins) else self._stop
        return list(takewhile(lambda part: part.tag < end, walk_items(self._buffer, begins[frame], self._stop)))

    def _find(self) -> Sequence[int]:
        """Find where frames begin without an offset table.

        A fragment never holds two frames (PS3.5 A.4), so as many fragments as frames are one each. Else a frame begins
        where a codestream does.
        """
        tags, begins = array("q"), array("q")
        is_jpeg_xl = False
        for part in walk_items(self._buffer, self._first, self._stop):
            if len(tags) == MAX_FRAGMENTS:
                raise LimitExceeded(f"The pixel data has more than {MAX_FRAGMENTS} fragments.")
            head = bytes(self._buffer[part.start : min(part.start + 12, part.stop)])
            if not tags:  # the two bytes that begin a JPEG XL stream may stand anywhere in a stream of another kind
                is_jpeg_xl = head.startswith(JPEG_XL_STARTS)
            tags.append(part.tag)
            if begins_codestream(head) and head.startswith(JPEG_XL_STARTS) == is_jpeg_xl:
                begins.append(part.tag)
        if not tags:
            raise NotRenderable("The compressed pixel data has no fragments.")
        frames = self._header.frames
        if len(tags) == frames or (self._header.transfer_syntax_uid == RLE_LOSSLESS and frames > 1):
            return tags
        if begins[:1] == tags[:1]:
            return begins
        if frames == 1:
            return tags[:1]
        if len(tags) > frames:
            raise NotRenderable("The fragments of the compressed pixel data do not tell where a frame begins.")
        return tags
