"""Any data set as a file of Explicit VR Little Endian, which web services speak (PS3.18 8.7.3.4).

Values are copied as the reader found them. Only what the other encoding asks for is changed: byte order, headers, the
file meta, and compressed pixel data with the attributes that describe it. Nothing is held but one frame: a conversion
knows its length beforehand, and gives its bytes from any place on.
"""

from __future__ import annotations

import mmap
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from service.dicom.limits import Buffer, Limits, Readable
from service.dicom.parsing.framing import RawFile, read_dataset
from service.dicom.parsing.headers import LONG_VRS, UNDEFINED
from service.dicom.parsing.implied_vr import settled_vr
from service.dicom.parsing.raw import ENCAPSULATED, Element, Items
from service.dicom.pixels.codestream import begins_codestream
from service.dicom.pixels.decode import inflate_frame
from service.dicom.pixels.frames import word_bytes
from service.dicom.pixels.header import (
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LITTLE_ENDIAN,
    RLE_LOSSLESS,
    ImageHeader,
    read_header,
)
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.rle import decode_rle
from service.dicom.pixels.stored import decode_frame, native_bytes, stored_frame
from service.dicom.tree import Tree, build_tree
from service.dicom.values import CODED_TEXT, WORDS, to_little
from service.errors import Invalid, NotRenderable

LOSSY = frozenset(f"1.2.840.10008.1.2.4.{number}" for number in (50, 51, 81, 91, 93, 111, 112, 203))
"""The transfer syntaxes whose pixel data may have lost something; 111 is a JPEG in another dress."""

NEVER_CONVERTED = frozenset(
    [f"1.2.840.10008.1.2.4.{number}{part}" for number in range(100, 109) for part in ("", ".1")]
    + [f"1.2.840.10008.1.2.4.{number}" for number in (94, 95, 204, 205)]
)
"""The transfer syntaxes of video, which is never decoded, and of pixel data that is somewhere else (JPIP)."""

CONVERTER_VERSION = 1
"""Goes up when the same file is converted to other bytes."""

IMPLEMENTATION_CLASS_UID = b"2.25.284510918376592874109926145381320764512"
"""Who wrote a file meta group that named nobody (PS3.10 7.1)."""

PIECE_BYTES = 1 << 20
_LONG_VALUE = 1 << 16
_LARGEST_LENGTH = 0xFFFFFFFE
_LARGEST_SHORT_LENGTH = 0xFFFE
_PIXELS = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_OFFSET_TABLES = frozenset({0x7FE00001, 0x7FE00002, 0x7FE00003})
_PHOTOMETRIC, _PLANAR = 0x00280004, 0x00280006
_TEXT = CODED_TEXT | {"AE", "AS", "CS", "DA", "DS", "DT", "IS", "TM", "UR"}
_ITEM, _ITEM_END, _SEQUENCE_END = (
    struct.pack("<HHL", 0xFFFE, number, length) for number, length in ((0xE000, UNDEFINED), (0xE00D, 0), (0xE0DD, 0))
)


@dataclass(slots=True)
class Conversion:
    """A file as Explicit VR Little Endian.

    Parameters
    ----------
    parts : list
        What it is made of, in order.
    photometric : str or None
        The Photometric Interpretation of decoded frames; None where none is decoded.
    """

    parts: Sequence[bytes | _Span | _Frames]
    photometric: str | None = None

    @property
    def length(self) -> int:
        """How many bytes it has."""
        return sum(len(part) for part in self.parts)

    def pieces(self, start: int = 0) -> Iterator[bytes]:
        """Return its bytes from a place on, in pieces of at most a frame.

        Raises
        ------
        NotRenderable, LimitExceeded
            A frame cannot be decoded to what the data set says it is.
        """
        for part in self.parts:
            if start >= len(part):
                start -= len(part)
                continue
            if isinstance(part, bytes):
                yield part[start:] if start else part
            else:
                yield from part.pieces(start)
            start = 0


def to_explicit_little_endian(
    buffer: Buffer, limits: Limits, bounds: PixelLimits, photometric: str | None = None
) -> Conversion:
    """Return a file as Explicit VR Little Endian (PS3.5 A.2), its pixel data native.

    Retired group lengths (PS3.5 7.2) are left out, since they would be wrong, and so is an element that is there twice,
    the second time. A value that is too long for its VR is UN (PS3.5 6.2.2).

    Parameters
    ----------
    buffer : bytes, bytearray, memoryview or mmap
        The whole file.
    limits : Limits
        What reading it may cost.
    bounds : PixelLimits
        The bounds on a frame.
    photometric : str, optional
        The `Conversion.photometric` of the same file, where it is known: it spares decoding the first frame.

    Raises
    ------
    NotDicom, LimitExceeded
        The file cannot be read.
    NotRenderable
        The file cannot be converted: its pixel data is video, or somewhere else, or contradicts what describes it, or
        becomes longer than an element can be.
    """
    raw = read_dataset(buffer if isinstance(buffer, bytes | mmap.mmap) else bytes(buffer), limits)
    if raw.transfer_syntax in NEVER_CONVERTED:
        raise NotRenderable("Pixel data of this transfer syntax cannot be converted.")
    writer = _Writer(raw, limits, bounds, photometric)
    writer.put(_file_meta(raw))
    writer.write_level([element for element in raw.elements if element[0] >> 16 != 2], raw.little)
    return Conversion(writer.finished(), writer.photometric)


def _file_meta(raw: RawFile) -> bytes:
    """Return preamble and file meta (PS3.10 7.1) with the new transfer syntax; the rest of it is the file's own."""
    found: dict[int, tuple[str, bytes]] = {}
    in_dataset = [element for element in raw.elements if element[0] >> 16 == 2]
    for elements, buffer in ((raw.meta, raw.original), (in_dataset, raw.buffer)):
        for tag, vr, start, length, payload in elements:
            if payload is None and vr in WORDS.keys() | _TEXT | {"UI"}:
                found.setdefault(tag, (vr, bytes(buffer[start : start + length])))
    data_set = {tag: (start, length) for tag, _, start, length, _ in reversed(raw.elements)}
    for tag, source in ((0x00020002, 0x00080016), (0x00020003, 0x00080018)):
        start, length = data_set.get(source, (0, 0))
        found.setdefault(tag, ("UI", bytes(raw.buffer[start : start + length])))
    found.setdefault(0x00020001, ("OB", b"\0\1"))
    found.setdefault(0x00020012, ("UI", IMPLEMENTATION_CLASS_UID))
    found[0x00020010] = ("UI", EXPLICIT_LITTLE_ENDIAN.encode("ascii"))
    found.pop(0x00020000, None)
    group = b"".join(_element(tag, vr, value) for tag, (vr, value) in sorted(found.items()))
    return bytes(128) + b"DICM" + _element(0x00020000, "UL", struct.pack("<L", len(group))) + group


def _element(tag: int, vr: str, value: bytes) -> bytes:
    return _header(tag, vr, len(value) + len(value) % 2) + value + _padding(vr, len(value))


def _header(tag: int, vr: str, length: int) -> bytes:
    """Return the header of an element (PS3.5 7.1.2)."""
    code = vr.encode("ascii")
    if code not in LONG_VRS:
        if length <= _LARGEST_SHORT_LENGTH:
            return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, code, length)
        code = b"UN"
    return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, code, 0, length)


def _padding(vr: str, length: int) -> bytes:
    """Return what makes the length of a value even (PS3.5 6.2)."""
    return (b" " if vr in _TEXT else b"\0") if length % 2 else b""


@dataclass(slots=True)
class _Span:
    """A long value that is copied, its words turned round."""

    buffer: Readable
    start: int
    length: int
    word: int

    def __len__(self) -> int:
        return self.length

    def pieces(self, start: int) -> Iterator[bytes]:
        """Return its bytes from a place on."""
        skipped = start % self.word
        for place in range(start - skipped, self.length, PIECE_BYTES):
            stop = min(place + PIECE_BYTES, self.length)
            yield to_little(bytes(self.buffer[self.start + place : self.start + stop]), self.word)[skipped:]
            skipped = 0


class _Frames:
    """The frames of one pixel data element, each decoded when it is asked for and then forgotten.

    Raises
    ------
    NotRenderable, LimitExceeded
        The data set does not say what its frames become.
    """

    def __init__(self, raw: RawFile, elements: list[Element], limits: Limits, bounds: PixelLimits) -> None:
        if raw.buffer is not raw.original:
            raise NotRenderable("Compressed frames in a deflated data set cannot be converted.")
        described = [
            element
            for element in elements
            if element[0] >> 16 in (0x0028, 0x7FE0) and not isinstance(element[4], Items)
        ]
        self._buffer = raw.original
        self._bounds = bounds
        self._tree: Tree = build_tree(replace(raw, elements=described), limits)
        self.header: ImageHeader = read_header(self._tree.dataset, bounds)
        header = self.header
        if header.warnings or header.bits_allocated not in (1, 8, 16, 32, 64):
            raise NotRenderable("The attributes of the pixel data do not say what its frames become.")
        self.keeps_cells = header.transfer_syntax_uid in (ENCAPSULATED_UNCOMPRESSED, DEFLATED_FRAME)
        samples = header.frame_samples if self.keeps_cells else header.rows * header.columns * header.samples
        self._frame_bits = samples * header.bits_allocated
        # Single bits run on from one frame to the next (PS3.5 8.1.1); eight frames of them are whole bytes.
        self._together = 1 if self._frame_bits % 8 == 0 else 8
        self._length = -(-self._frame_bits * header.frames // 8)
        if self._length > _LARGEST_LENGTH:
            raise NotRenderable("The pixel data becomes longer than an element of Explicit VR Little Endian can be.")

    def __len__(self) -> int:
        return self._length

    def pieces(self, start: int) -> Iterator[bytes]:
        """Return the bytes of the frames from a place on."""
        size = self._frame_bits * self._together // 8
        skipped = start % size
        for first in range(start // size * self._together, self.header.frames, self._together):
            yield self._read(first, min(first + self._together, self.header.frames))[skipped:]
            skipped = 0

    def photometric(self) -> str:
        """Return what decoded frames mean; only a stream itself says whether its colours were transformed."""
        named = self.header.photometric
        if self.keeps_cells:
            return named
        if self.header.transfer_syntax_uid == RLE_LOSSLESS:
            return named.removesuffix("_422")  # each pixel has its own colour there
        return decode_frame(self._buffer, self._tree, self.header, 0, self._bounds, []).photometric

    def _read(self, first: int, stop: int) -> bytes:
        if self._together == 1:
            return self._decode(first)
        bits = [
            np.unpackbits(np.frombuffer(self._decode(frame), np.uint8), count=self._frame_bits, bitorder="little")
            for frame in range(first, stop)
        ]
        return np.packbits(np.concatenate(bits), bitorder="little").tobytes()

    def _decode(self, frame: int) -> bytes:
        """Return the bytes of one frame; what is short, or is not what the data set says, is refused."""
        header, size = self.header, -(-self._frame_bits // 8)
        warnings: list[str] = []
        if self.keeps_cells:
            data = stored_frame(self._buffer, self._tree, frame, self._bounds)[0]
            data = inflate_frame(data, size) if header.transfer_syntax_uid == DEFLATED_FRAME else data[:size]
        elif header.transfer_syntax_uid == RLE_LOSSLESS:
            data = stored_frame(self._buffer, self._tree, frame, self._bounds)[0]
            planes = decode_rle(data, header.rows, header.columns, header.samples, header.bits_allocated, warnings)
            data = (
                np.packbits(planes.reshape(-1).astype(bool), bitorder="little").tobytes()
                if header.bits_allocated == 1
                else np.ascontiguousarray(planes.transpose(1, 2, 0)).tobytes()
            )
        else:
            decoded = decode_frame(self._buffer, self._tree, header, frame, self._bounds, warnings)
            unused = header.high_bit + 1 - header.bits_stored
            if unused:  # samples came down to the lowest bit; High Bit says where they stand
                cells = decoded.samples.astype(f"{decoded.samples.dtype.kind}{header.bits_allocated // 8}")
                decoded = replace(decoded, samples=cells << unused)
            data = native_bytes(decoded, header)
        if warnings or len(data) != size:
            raise NotRenderable(f"Frame {frame + 1} is not what its attributes say, and cannot be converted.")
        return data


@dataclass(slots=True)
class _Writer:
    """Writes elements one after another; what is long is left to be read later."""

    raw: RawFile
    limits: Limits
    bounds: PixelLimits
    photometric: str | None
    parts: list[bytes | _Span | _Frames] = field(default_factory=list)
    held: bytearray = field(default_factory=bytearray)
    around: list[tuple[list[Element], bool]] = field(default_factory=list)

    def put(self, data: bytes) -> None:
        """Write some bytes."""
        self.held += data
        if len(self.held) >= PIECE_BYTES:
            self._end_piece()

    def finished(self) -> list[bytes | _Span | _Frames]:
        """Return all that was written."""
        self._end_piece()
        return self.parts

    def _end_piece(self) -> None:
        if self.held:
            self.parts.append(bytes(self.held))
            self.held = bytearray()

    def write_level(self, elements: list[Element], little: bool) -> None:
        """Write the elements of a data set or an item, in the order in which the file has them."""
        frames = self._frames_of(elements)
        replaced = {} if frames is None else self._described(frames)
        present = {element[0] for element in elements}
        written: set[int] = set()
        waiting = sorted(tag for tag in replaced if tag not in present)
        for tag, vr, start, length, payload in elements:
            while waiting and waiting[0] < tag:
                missing = waiting.pop(0)
                self.put(_element(missing, *replaced[missing]))
            if tag in written or not tag & 0xFFFF or (frames is not None and tag in _OFFSET_TABLES):
                continue
            written.add(tag)
            if tag in replaced:
                self.put(_element(tag, *replaced[tag]))
            elif tag in _PIXELS and frames is not None:
                self._write_frames(tag, frames)
            elif isinstance(payload, Items):
                self._write_sequence(tag, payload, elements, little)
            else:
                self._write_value((tag, vr, start, length, payload), elements, little)

    def _frames_of(self, elements: list[Element]) -> _Frames | None:
        """Return the frames of a level whose pixel data has to be decoded."""
        for tag, _, start, length, payload in elements:
            if tag in _PIXELS:
                syntax = self.raw.transfer_syntax
                bare = (
                    not self.around
                    and syntax is not None
                    and syntax.startswith(("1.2.840.10008.1.2.4.", RLE_LOSSLESS))
                    and begins_codestream(bytes(self.raw.buffer[start : start + min(length, 12)]))
                )
                if payload is ENCAPSULATED or bare:
                    return _Frames(self.raw, elements, self.limits, self.bounds)
                return None
        return None

    def _described(self, frames: _Frames) -> dict[int, tuple[str, bytes]]:
        """Return the attributes that decoding changes (PS3.3 C.7.6.3)."""
        header = frames.header
        known = None if self.around else self.photometric
        photometric = known or frames.photometric()
        if not self.around:
            self.photometric = photometric
        changed: dict[int, tuple[str, bytes]] = {}
        if photometric != header.photometric:
            changed[_PHOTOMETRIC] = ("CS", photometric.encode("ascii"))
        if frames.keeps_cells:
            return changed
        if header.samples > 1:
            changed[_PLANAR] = ("US", b"\0\0")
        return changed

    def _write_frames(self, tag: int, frames: _Frames) -> None:
        length = len(frames)
        self.put(_header(tag, "OB" if frames.header.bits_allocated <= 8 else "OW", length + length % 2))
        if self.around:  # of an icon
            for piece in frames.pieces(0):
                self.put(piece)
        else:
            self._end_piece()
            self.parts.append(frames)
        self.put(bytes(length % 2))

    def _write_sequence(self, tag: int, items: Items, elements: list[Element], little: bool) -> None:
        if not items:
            self.put(_header(tag, "SQ", 0))
            return
        self.put(_header(tag, "SQ", UNDEFINED))
        self.around.append((elements, little))
        for item in items:
            self.put(_ITEM)
            self.write_level(item, items.little)
            self.put(_ITEM_END)
        self.around.pop()
        self.put(_SEQUENCE_END)

    def _write_value(self, element: Element, elements: list[Element], little: bool) -> None:
        tag, vr, start, length, payload = element
        if payload is ENCAPSULATED:
            raise NotRenderable("The file has fragments in an element that is not pixel data.")
        vr = settled_vr(tag, vr, length, ((elements, little), *reversed(self.around)), self.raw.buffer)
        if vr == "SQ" and length:  # what is said to be a sequence and has no items
            vr = "UN"
        word = self._word(tag, vr, elements, little)
        self.put(_header(tag, vr, length + length % 2))
        if length < _LONG_VALUE:
            self.put(to_little(bytes(self.raw.buffer[start : start + length]), word))
        else:
            self._end_piece()
            self.parts.append(_Span(self.raw.buffer, start, length, word))
        self.put(_padding(vr, length))

    def _word(self, tag: int, vr: str, elements: list[Element], little: bool) -> int:
        """Return the size of the words that have to be turned round; 1 where none have to."""
        if tag not in _PIXELS or self.raw.transfer_syntax in (None, EXPLICIT_LITTLE_ENDIAN):
            return 1 if little else WORDS.get(vr, 1)
        # Samples are turned round as what they are, whatever the VR's own words (PS3.5 7.3, 8.1.1).
        described = [element for element in elements if element[0] >> 16 in (0x0028, 0x7FE0) and element[4] is None]
        tree = build_tree(replace(self.raw, elements=described), self.limits)
        try:
            header = read_header(tree.dataset, self.bounds)
        except Invalid:
            return 1 if little else WORDS.get(vr, 1)
        return word_bytes(header, tree.dataset[header.keyword])
