"""Stored bytes to stored values: pixel cells, samples, planes (PS3.5 section 8, PS3.3 C.7.6.3).

Everything here is a pure function on bytes and arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[Any]


def swap_words(data: bytes, width: int) -> bytes:
    """Turn big-endian words into little-endian ones (PS3.5 section 7.3).

    Parameters
    ----------
    data : bytes
        Words of `width` bytes; an incomplete last word is kept as it is.
    width : int
        2, 4 or 8.
    """
    whole = len(data) // width * width
    return np.frombuffer(data, dtype=f">u{width}", count=whole // width).astype(f"<u{width}").tobytes() + data[whole:]


def unpack_cells(data: bytes, count: int, bits_allocated: int, first_bit: int = 0) -> Pixels:
    """Return the pixel cells in little-endian bytes (PS3.5 section 8.1.1).

    Parameters
    ----------
    data : bytes
        The bytes, at least as many as the cells take.
    count : int
        Number of cells.
    bits_allocated : int
        Bits a cell: 8, 16, 32 and 64 stand in bytes of their own; others, below 16 (1 of a segmentation, 12 of the
        retired packed form), follow each other without a gap, the least significant bit first.
    first_bit : int
        The bit of `data` at which the first cell begins: frames of single bits need not begin at a byte.

    Returns
    -------
    ndarray
        `count` unsigned integers.
    """
    if bits_allocated in (8, 16, 32, 64):
        return np.frombuffer(data, dtype=f"<u{bits_allocated // 8}", count=count)
    unpacked = np.unpackbits(np.frombuffer(data, dtype=np.uint8), bitorder="little")
    bits = unpacked[first_bit : first_bit + count * bits_allocated]
    if bits_allocated == 1:
        return bits
    weights = (1 << np.arange(bits_allocated)).astype(np.uint16)
    cells: Pixels = (bits.reshape(count, bits_allocated) * weights).sum(axis=1, dtype=np.uint16)
    return cells


def extract_samples(cells: Pixels, bits_stored: int, high_bit: int, signed: bool) -> Pixels:
    """Return the sample values in pixel cells (PS3.5 section 8.1.1).

    What else stands in a cell, such as the retired overlays in unused bits, is left out.

    Parameters
    ----------
    cells : ndarray
        Unsigned integers.
    bits_stored : int
        Bits of a sample.
    high_bit : int
        The place of its most significant bit.
    signed : bool
        Whether samples are two's complement.

    Returns
    -------
    ndarray
        Integers of the cells' width, of the same shape.
    """
    width = cells.dtype.itemsize * 8
    typed = cells.view(f"i{width // 8}") if signed else cells
    if bits_stored >= width:
        return typed
    above, unused = width - 1 - high_bit, width - bits_stored
    shift = typed.dtype.type
    shifted: Pixels = (typed << shift(above) if above else typed) >> shift(unused)
    return shifted


def arrange_planes(flat: Pixels, rows: int, columns: int, samples: int, planar_configuration: int) -> Pixels:
    """Return samples as an image, the samples of a pixel side by side (PS3.3 C.7.6.3.1.3).

    Parameters
    ----------
    flat : ndarray
        rows x columns x samples values.
    planar_configuration : int
        0: by pixel; 1: by plane.

    Returns
    -------
    ndarray
        (rows, columns), or (rows, columns, samples) of several samples.
    """
    if samples == 1:
        return flat.reshape(rows, columns)
    if planar_configuration == 1:
        return flat.reshape(samples, rows, columns).transpose(1, 2, 0)
    return flat.reshape(rows, columns, samples)


def expand_422(flat: Pixels, rows: int, columns: int) -> Pixels:
    """Return a YBR_FULL_422 or YBR_PARTIAL_422 image with a colour for every pixel (PS3.3 C.7.6.3.1.2).

    Two neighbours are stored as Y1, Y2, CB, CR and share the colour.

    Parameters
    ----------
    flat : ndarray
        2 x rows x columns values; the number of columns is even.

    Returns
    -------
    ndarray
        (rows, columns, 3): Y, CB, CR.
    """
    pairs = flat.reshape(rows, columns // 2, 4)
    image = np.empty((rows, columns, 3), dtype=flat.dtype)
    image[:, 0::2, 0] = pairs[:, :, 0]
    image[:, 1::2, 0] = pairs[:, :, 1]
    image[:, 0::2, 1:] = pairs[:, :, 2:]
    image[:, 1::2, 1:] = pairs[:, :, 2:]
    return image
