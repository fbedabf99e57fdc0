"""One frame of an object: as it is stored, and as the values it stores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np

from service.dicom.pixels.codestream import begins_codestream
from service.dicom.pixels.decode import Decoded, decode_codestream, inflate_frame
from service.dicom.pixels.frames import Buffer, EncapsulatedFrames, check_frame_number, native_frame
from service.dicom.pixels.header import (
    DEFLATED_DATASET,
    DEFLATED_FRAME,
    ENCAPSULATED_UNCOMPRESSED,
    EXPLICIT_LITTLE_ENDIAN,
    RLE_LOSSLESS,
    ImageHeader,
    read_header,
)
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.native import arrange_planes, expand_422, extract_samples, unpack_cells
from service.dicom.pixels.rle import decode_rle
from service.errors import NotRenderable


class PixelTree(Protocol):
    """What is needed of a parsed file."""

    frames: EncapsulatedFrames | None

    @property
    def dataset(self) -> Mapping[str, Any]:
        """The tree of elements."""

    def read_bytes(self, element: Mapping[str, Any], /) -> bytes:
        """Return the bytes of an element that the tree holds by its length only, little-endian."""


def stored_frame(buffer: Buffer, tree: PixelTree, frame: int, limits: PixelLimits) -> tuple[bytes, str]:
    """Return one frame as it is stored, its fragments joined.

    Parameters
    ----------
    buffer : Buffer
        The file.
    tree : PixelTree
        What was read from it.
    frame : int
        The frame, from 0.
    limits : PixelLimits
        The bounds on a frame.

    Returns
    -------
    tuple of bytes and str
        The frame, and the UID of the transfer syntax that describes these bytes. Native pixels come as little-endian
        ones; a frame of single bits begins at a byte of its own.

    Raises
    ------
    NotRenderable
        Where the object has no such pixels.
    Invalid
        Where it has no such frame.
    """
    header = read_header(tree.dataset, limits)
    check_frame_number(header, frame)
    element = tree.dataset[header.keyword]
    if element.get("encapsulated"):
        return _encapsulated(buffer, tree, header).read(frame), header.transfer_syntax_uid
    data, first_bit = native_frame(buffer, element, header, frame, tree.read_bytes)
    bits = header.frame_samples * header.bits_allocated
    if first_bit or bits % 8:  # the last byte may hold the beginning of the next frame
        unpacked = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
        data = np.packbits(unpacked[first_bit : first_bit + bits], bitorder="little").tobytes()
    syntax = EXPLICIT_LITTLE_ENDIAN if header.is_big_endian or not header.is_native else header.transfer_syntax_uid
    if syntax in (DEFLATED_DATASET, ""):
        syntax = EXPLICIT_LITTLE_ENDIAN
    return data, syntax


def decode_frame(
    buffer: Buffer, tree: PixelTree, header: ImageHeader, frame: int, limits: PixelLimits, warnings: list[str]
) -> Decoded:
    """Return the stored values of one frame; no other frame is decoded.

    Parameters
    ----------
    buffer : Buffer
        The file.
    tree : PixelTree
        What was read from it.
    header : ImageHeader
        `read_header` of it.
    frame : int
        The frame, from 0.
    limits : PixelLimits
        The bounds on a frame.
    warnings : list of str
        What was missing or contradictory is noted here.

    Returns
    -------
    Decoded
        Values of integer or float type, before any transformation: (rows, columns) or (rows, columns, samples).

    Raises
    ------
    NotRenderable
        Where the frame is not there, or cannot be decoded.
    Invalid
        Where the object has no such frame.
    LimitExceeded
        Where the frame is too large.
    """
    check_frame_number(header, frame)
    element = tree.dataset[header.keyword]
    if not element.get("encapsulated"):
        data, first_bit = native_frame(buffer, element, header, frame, tree.read_bytes)
        if not header.is_native and begins_codestream(data):
            # A compressed frame without the items that should enclose it.
            return decode_codestream(data, header, limits, warnings)
        return _decode_native(data, first_bit, header, warnings)
    data = _encapsulated(buffer, tree, header).read(frame)
    if header.transfer_syntax_uid == RLE_LOSSLESS and not begins_codestream(data):
        planes = decode_rle(data, header.rows, header.columns, header.samples, header.bits_allocated, warnings)
        samples = extract_samples(planes, header.bits_stored, header.high_bit, header.signed)
        image = samples[0] if header.samples == 1 else samples.transpose(1, 2, 0)
        return Decoded(image, header.photometric, header.bits_stored)
    if header.transfer_syntax_uid == ENCAPSULATED_UNCOMPRESSED:
        return _decode_native(data, 0, header, warnings)
    if header.transfer_syntax_uid == DEFLATED_FRAME:
        size = -(-header.frame_samples * header.bits_allocated // 8)
        return _decode_native(inflate_frame(data, size), 0, header, warnings)
    return decode_codestream(data, header, limits, warnings)


def native_bytes(decoded: Decoded, header: ImageHeader) -> bytes:
    """Return stored values as the bytes of Explicit VR Little Endian, the samples of a pixel side by side.

    Parameters
    ----------
    decoded : Decoded
        The values of one frame.
    header : ImageHeader
        Whose Bits Allocated says how wide a sample is; one of 1 bit is packed (PS3.5 8.2).
    """
    if header.bits_allocated == 1:
        return np.packbits(decoded.samples.reshape(-1).astype(bool), bitorder="little").tobytes()
    kind = decoded.samples.dtype.kind
    width = max(-(-header.bits_allocated // 8), decoded.samples.dtype.itemsize if kind == "f" else 1)
    return np.ascontiguousarray(decoded.samples, dtype=f"<{kind}{width}").tobytes()


def _encapsulated(buffer: Buffer, tree: PixelTree, header: ImageHeader) -> EncapsulatedFrames:
    """Return the frames of a tree, which keeps them: whoever asks for many frames has the file walked once."""
    if tree.frames is None:
        tree.frames = EncapsulatedFrames(buffer, tree.dataset, header, tree.read_bytes)
    return tree.frames


def _decode_native(data: bytes, first_bit: int, header: ImageHeader, warnings: list[str]) -> Decoded:
    count = header.frame_samples
    needed = -(-(first_bit + count * header.bits_allocated) // 8)
    if not data:
        raise NotRenderable("This frame is missing: the pixel data ends before it.")
    if len(data) < needed:
        warnings.append("The pixel data is short; the rest of the frame was taken to be zero.")
        data += bytes(needed - len(data))
    cells = unpack_cells(data, count, header.bits_allocated, first_bit)
    if header.is_float:
        flat = cells.view(f"f{header.bits_allocated // 8}")
    else:
        flat = extract_samples(cells, header.bits_stored, header.high_bit, header.signed)
    if header.is_halved:
        image = expand_422(flat, header.rows, header.columns)
    else:
        image = arrange_planes(flat, header.rows, header.columns, header.samples, header.planar_configuration)
    return Decoded(image, header.photometric, header.bits_stored)
