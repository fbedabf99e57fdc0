"""Colour models to RGB (PS3.3 C.7.6.3.1.2), and palettes (PS3.3 C.7.6.3.1.5, C.7.6.3.1.6, C.7.9).

Pure functions on arrays of 8-bit values.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.dicom.pixels.luts import indices_of

Grey = NDArray[np.uint8]
Colour = NDArray[np.uint8]

_BAND_PIXELS = 1 << 20


def reduce_to_8_bits(samples: NDArray[Any], bits_stored: int) -> Colour:
    """Scale unsigned samples of colour to 8 bits: the largest becomes 255.

    Parameters
    ----------
    samples : ndarray
        Integers from 0 to 2**bits_stored - 1. What is more, as in files with wrong attributes, counts as the largest.
    bits_stored : int
        Their precision, 1 to 64.
    """
    if bits_stored == 8:
        return samples.astype(np.uint8, copy=False)
    largest = 2**bits_stored - 1
    if bits_stored <= 16:
        table = np.floor(np.arange(largest + 1) * (255 / largest) + 0.5).astype(np.uint8)
        return np.take(table, samples, mode="clip")
    high: NDArray[Any] = np.minimum(samples, samples.dtype.type(largest)) >> samples.dtype.type(bits_stored - 8)
    return high.astype(np.uint8)


def ybr_full_to_rgb(image: Colour) -> Colour:
    """Convert YBR_FULL, or YBR_FULL_422 already expanded, to RGB (PS3.3 C.7.6.3.1.2).

    Parameters
    ----------
    image : ndarray
        (rows, columns, 3): Y, CB, CR.
    """
    luminance, blue, red = (image[..., n].astype(np.float32) for n in range(3))
    blue -= 128
    red -= 128
    return _as_colour(luminance + 1.402 * red, luminance - 0.344136 * blue - 0.714136 * red, luminance + 1.772 * blue)


def ybr_partial_to_rgb(image: Colour) -> Colour:
    """Convert YBR_PARTIAL_420 or YBR_PARTIAL_422, already expanded, to RGB (PS3.3 C.7.6.3.1.2).

    Black is Y = 16 and white is Y = 235; CB and CR reach from 16 to 240.

    Parameters
    ----------
    image : ndarray
        (rows, columns, 3): Y, CB, CR.
    """
    luminance, blue, red = (image[..., n].astype(np.float32) for n in range(3))
    luminance = (luminance - 16) * 1.164384
    blue -= 128
    red -= 128
    return _as_colour(
        luminance + 1.596027 * red, luminance - 0.391762 * blue - 0.812968 * red, luminance + 2.017232 * blue
    )


def hsv_to_rgb(image: Colour) -> Colour:
    """Convert HSV, retired from PS3.3 C.7.6.3.1.2 in 2001, to RGB.

    Parameters
    ----------
    image : ndarray
        (rows, columns, 3): hue (the circle is 0 to 255), saturation, value.
    """
    hue, saturation, value = (image[..., n].astype(np.float32) for n in range(3))
    hue *= 6 / 256
    saturation /= 255
    # The distance of each primary on the circle of hues says how much of the value it keeps.
    channels = []
    for start in (5.0, 3.0, 1.0):
        place = (start + hue) % 6
        channels.append(value - value * saturation * np.clip(np.minimum(place, 4 - place), 0, 1))
    return _as_colour(*channels)


def cmyk_to_rgb(image: Colour) -> Colour:
    """Convert CMYK, retired from PS3.3 C.7.6.3.1.2 in 2001, to RGB.

    Parameters
    ----------
    image : ndarray
        (rows, columns, 4): cyan, magenta, yellow, black; 255 is full ink.
    """
    light = 255 - image.astype(np.float32)
    black = light[..., 3] / np.float32(255)
    return _as_colour(*(light[..., n] * black for n in range(3)))


def apply_palette(samples: NDArray[Any], first: int, tables: Sequence[Grey]) -> Colour:
    """Colour stored values by the Red, Green and Blue Palette Color Lookup Tables (PS3.3 C.7.6.3.1.5).

    Parameters
    ----------
    samples : ndarray
        (rows, columns) stored values. What is below the first value mapped takes the first entry, what is above the
        last one takes the last.
    first : int
        The stored value that the first entry maps.
    tables : sequence of ndarray
        The three tables, of 8-bit entries, none of them empty.

    Returns
    -------
    ndarray
        (rows, columns, 3).
    """
    longest = max(len(table) for table in tables)
    entries = np.stack([np.pad(table, (0, longest - len(table)), mode="edge") for table in tables], axis=-1)
    coloured: Colour = np.take(entries, indices_of(samples, first, longest), axis=0)
    return coloured


def convert_by_rows(samples: NDArray[Any], convert: Callable[[NDArray[Any]], Colour]) -> Colour:
    """Apply a conversion to RGB a band of rows at a time, so that the floats of a large frame are not all in memory.

    Parameters
    ----------
    samples : ndarray
        (rows, columns) or (rows, columns, samples).
    convert : callable
        Takes such a band, and returns (rows, columns, 3).
    """
    rows, columns = samples.shape[:2]
    band = max(1, _BAND_PIXELS // columns)
    if rows <= band:
        return convert(samples)
    image = np.empty((rows, columns, 3), dtype=np.uint8)
    for start in range(0, rows, band):
        image[start : start + band] = convert(samples[start : start + band])
    return image


def _as_colour(*channels: NDArray[np.floating[Any]]) -> Colour:
    stacked = np.stack(channels, axis=-1)
    stacked += 0.5
    return np.clip(stacked, 0, 255, out=stacked).astype(np.uint8)
