"""Which parts of a file the picture of one frame needs, told from the elements that describe its pixels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.dicom.pixels.header import read_header
from service.dicom.pixels.limits import PixelLimits
from service.errors import Invalid

HEADER_KEYS = (
    "TransferSyntaxUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "PlanarConfiguration",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
)
"""The elements that `frame_ranges` looks at."""

_LARGEST_WORD = 8


def frame_ranges(
    dataset: Mapping[str, Any], frame: int, size: int, limits: PixelLimits
) -> list[tuple[int, int]] | None:
    """Name the parts of a file that rendering one frame of native pixels reads (PS3.5 section 8.1.1).

    Parameters
    ----------
    dataset : Mapping
        The tree, or what `HEADER_KEYS` names of it.
    frame : int
        The frame, from 0.
    size : int
        The length of the file in bytes.
    limits : PixelLimits
        The bounds on a frame.

    Returns
    -------
    list of (int, int) or None
        Parts ``[start, stop)`` in ascending order: all but the pixels of other frames. None where the whole file is
        needed: the pixels are compressed, or do not stand in it as they are; or where there is no such frame.
    """
    try:
        header = read_header(dataset, limits)
    except Invalid:
        return None
    element = dataset[header.keyword]
    offset, length = element.get("offset"), element.get("length")
    if offset is None or length is None or element.get("encapsulated") or not header.is_native:
        return None
    bits = header.frame_samples * header.bits_allocated
    first = frame * bits // 8 // _LARGEST_WORD * _LARGEST_WORD
    last = -(-(frame + 1) * bits // (8 * _LARGEST_WORD)) * _LARGEST_WORD
    if not 0 <= first < length:
        return None
    end = min(offset + length, size)
    return [(0, offset), (offset + first, min(offset + last, end)), (end, size)]
