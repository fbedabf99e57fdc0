"""What a compressed frame says of itself, read before anything decodes it.

A stream's own header settles what it is (files are often labelled wrongly), how large it is (before a decoder makes
room for it) and which colours it holds. Only headers are read here; nothing is decoded.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from typing import Literal

import pyjpegxl

from service.errors import NotRenderable

Kind = Literal["jpeg", "jpeg-lossless", "jpeg-ls", "jpeg-2000", "jpeg-xl"]

_JPEG_START = b"\xff\xd8\xff"
_JPEG_2000_START = b"\xff\x4f\xff\x51"
_JP2_START = b"\x00\x00\x00\x0cjP  \r\n\x87\n"
JPEG_XL_STARTS = (b"\xff\x0a", b"\x00\x00\x00\x0cJXL \r\n\x87\n")
_START_OF_SCAN, _END_OF_IMAGE, _APP0, _APP14 = 0xDA, 0xD9, 0xE0, 0xEE
_JPEG_LS_FRAME = 0xF7
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_LOSSLESS_FRAMES = frozenset({0xC3, 0xC7, 0xCB, 0xCF})
_HIERARCHICAL_FRAMES = frozenset({0xC5, 0xC6, 0xC7, 0xCD, 0xCE, 0xCF})
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD9)})
_COD, _SOT = 0xFF52, 0xFF90
_IRREVERSIBLE = 0
# ISO 10918-1 B.2.2, ISO 14495-1 C.2.2; ISO 15444-1 A.5.1 goes up to 38, and the decoder to 32; PS3.5 8.2.15 to 16.
_PRECISIONS: dict[Kind, frozenset[int]] = {
    "jpeg": frozenset({8, 12}),
    "jpeg-lossless": frozenset(range(2, 17)),
    "jpeg-ls": frozenset(range(2, 17)),
    "jpeg-2000": frozenset(range(1, 33)),
    "jpeg-xl": frozenset(range(1, 17)),
}


@dataclass(frozen=True, slots=True)
class Codestream:
    """The header of a compressed frame.

    Parameters
    ----------
    kind : str
        `jpeg` is whatever of ISO 10918-1 is not lossless.
    columns, rows, samples : int
        Its size; the rows of a JPEG stream may be 0, to be told later in the stream.
    precision : int
        Bits of a sample.
    signed : bool
        Whether samples are signed; only JPEG 2000 can say so.
    transformed : bool or None
        Whether a colour transformation was applied: for JPEG, that samples are YCbCr; for JPEG 2000, that decoding
        undoes it. None where the stream says neither.
    subsampled : bool
        Whether samples have different resolutions.
    lossy : bool
        Whether the stream itself says that values are not kept exactly. JPEG XL never does.
    """

    kind: Kind
    columns: int
    rows: int
    samples: int
    precision: int
    signed: bool = False
    transformed: bool | None = None
    subsampled: bool = False
    lossy: bool = False


def begins_codestream(data: bytes) -> bool:
    """Return whether the first bytes of a fragment begin a JPEG, JPEG-LS, JPEG 2000 or JPEG XL stream."""
    return data.startswith((_JPEG_START, _JPEG_2000_START, _JP2_START, *JPEG_XL_STARTS))


def read_codestream(data: bytes) -> Codestream | None:
    """Read the header of a compressed frame.

    Returns
    -------
    Codestream or None
        None where the bytes begin none of the streams known here (RLE and deflated frames have no header of this kind).

    Raises
    ------
    NotRenderable
        Where a stream begins, and its header is broken or of a kind that nothing here decodes.
    """
    try:
        stream = _read_header(data)
    except (struct.error, IndexError) as error:
        raise NotRenderable("The compressed frame ends within its own header.") from error
    if stream is not None and stream.precision not in _PRECISIONS[stream.kind]:
        raise NotRenderable(f"The compressed frame has samples of {stream.precision} bits, which cannot be decoded.")
    return stream


def _read_header(data: bytes) -> Codestream | None:
    if data.startswith(_JPEG_START):
        return _read_jpeg(data)
    if data.startswith(JPEG_XL_STARTS):
        return _read_jpeg_xl(data)
    start = data.find(_JPEG_2000_START) if data.startswith(_JP2_START) else 0
    return _read_jpeg_2000(data, start) if data.startswith(_JPEG_2000_START, max(start, 0)) else None


def jpeg_2000_part(data: bytes) -> bytes:
    """Return the codestream of a JPEG 2000 frame that is wrapped in a JP2 file (PS3.5 A.4.4 does not allow it)."""
    return data[data.find(_JPEG_2000_START) :] if data.startswith(_JP2_START) else data


def _read_jpeg(data: bytes) -> Codestream:
    """Read the markers of ISO 10918-1 or ISO 14495-1 up to the first scan (B.1.1.3)."""
    place = 2
    jfif = False
    adobe: int | None = None
    while True:
        while data[place] == 0xFF and data[place + 1] == 0xFF:
            place += 1
        if data[place] != 0xFF:
            raise NotRenderable("The JPEG stream of this frame has no marker where one must be.")
        marker = data[place + 1]
        if marker in _WITHOUT_LENGTH:
            place += 2
            continue
        if marker in (_START_OF_SCAN, _END_OF_IMAGE):
            raise NotRenderable("The JPEG stream of this frame has no frame header.")
        (length,) = struct.unpack_from(">H", data, place + 2)
        body = data[place + 4 : place + 2 + length]
        if marker == _APP0 and body.startswith(b"JFIF"):
            jfif = True
        elif marker == _APP14 and body.startswith(b"Adobe") and len(body) >= 12:
            adobe = body[11]
        elif marker in _FRAMES or marker == _JPEG_LS_FRAME:
            found = _jpeg_frame(marker, body, jfif=jfif, adobe=adobe)
            return replace(found, lossy=_is_near_lossless(data, place)) if found.kind == "jpeg-ls" else found
        place += 2 + length


def _is_near_lossless(data: bytes, place: int) -> bool:
    """Return whether the first scan of a JPEG-LS stream admits errors: its NEAR is not 0 (ISO 14495-1 C.2.3)."""
    while place + 4 <= len(data) and data[place] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker == _START_OF_SCAN:
            near = place + 5 + 2 * data[place + 4] if place + 4 < len(data) else len(data)
            return near < len(data) and data[near] > 0
        place += 2 + length
    return False


def _jpeg_frame(marker: int, body: bytes, *, jfif: bool, adobe: int | None) -> Codestream:
    if marker in _HIERARCHICAL_FRAMES:
        raise NotRenderable("The JPEG stream of this frame is hierarchical, which no decoder here reads.")
    precision, rows, columns, samples = struct.unpack_from(">BHHB", body)
    components = [struct.unpack_from("BB", body, 6 + 3 * n) for n in range(samples)]
    kind: Kind = "jpeg-ls" if marker == _JPEG_LS_FRAME else "jpeg-lossless" if marker in _LOSSLESS_FRAMES else "jpeg"
    return Codestream(
        kind=kind,
        columns=columns,
        rows=rows,
        samples=samples,
        precision=precision,
        transformed=_is_transformed(bytes(number for number, _ in components), jfif=jfif, adobe=adobe),
        subsampled=len({factors for _, factors in components}) > 1,
        lossy=kind == "jpeg",
    )


def _is_transformed(component_ids: bytes, *, jfif: bool, adobe: int | None) -> bool | None:
    """Return whether a JPEG is YCbCr, as its readers tell: by JFIF, Adobe's marker, the names of components."""
    if adobe is not None:
        return adobe != 0
    if jfif:
        return True
    return False if component_ids in (b"RGB", b"rgb") else None


def _read_jpeg_2000(data: bytes, start: int) -> Codestream:
    """Read the main header of ISO 15444-1 (A.5.1, A.6.1); HTJ2K (ISO 15444-15) has the same."""
    width, height, left, top = struct.unpack_from(">IIII", data, start + 8)
    (samples,) = struct.unpack_from(">H", data, start + 40)
    components = [struct.unpack_from("BBB", data, start + 42 + 3 * n) for n in range(min(samples, 4))]
    if not components:
        raise NotRenderable("The JPEG 2000 stream of this frame has no components.")
    place = start + 2
    transformed = lossy = False
    while place + 4 <= len(data):
        marker, length = struct.unpack_from(">HH", data, place)
        if marker == _COD:
            transformed, lossy = data[place + 8] == 1, data[place + 13] == _IRREVERSIBLE
        if marker in (_COD, _SOT):
            break
        place += 2 + length
    return Codestream(
        kind="jpeg-2000",
        columns=width - left,
        rows=height - top,
        samples=samples,
        precision=(components[0][0] & 0x7F) + 1,
        signed=bool(components[0][0] & 0x80),
        transformed=transformed,
        subsampled=len({(across, down) for _, across, down in components}) > 1,
        lossy=lossy,
    )


def _read_jpeg_xl(data: bytes) -> Codestream:
    """Read the image header of ISO 18181-1; an alpha channel is no sample of a pixel (PS3.5 8.2.15)."""
    try:
        found = pyjpegxl.probe(data)
    except RuntimeError as error:
        raise NotRenderable("The JPEG XL stream of this frame has a broken header.") from error
    return Codestream("jpeg-xl", found.width, found.height, found.num_color_channels, found.bits_per_sample)
