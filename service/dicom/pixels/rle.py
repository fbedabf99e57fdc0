"""RLE Lossless frames (PS3.5 Annex G).

A frame is a header of 16 words and one PackBits segment for each byte of each sample: the most significant bytes of all
pixels' first sample, and so on. The fast decoder wants exactly what the Standard says; the one here also takes what is
cut short, and makes no more bytes than a frame has.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rle.rle import decode_frame

from service.errors import NotRenderable

_HEADER_BYTES = 64


def decode_rle(
    data: bytes, rows: int, columns: int, samples: int, bits_allocated: int, warnings: list[str]
) -> NDArray[Any]:
    """Decode one frame.

    Parameters
    ----------
    data : bytes
        The compressed frame.
    rows, columns, samples, bits_allocated : int
        What it must hold.
    warnings : list of str
        Where the frame is short or has another number of segments, that is noted here.

    Returns
    -------
    ndarray
        (samples, rows, columns) cells, unsigned; a frame of single bits comes back as (1, rows, columns) of 0 and 1.

    Raises
    ------
    NotRenderable
        Where the header is broken.
    """
    if bits_allocated == 1:
        if samples != 1:
            raise NotRenderable("RLE frames of single bits have one sample a pixel, and this object says more.")
        return _decode_bits(data, rows, columns, warnings)
    width = -(-bits_allocated // 8)
    pixels = rows * columns
    if _segment_count(data) == samples * width:
        decoded = _decode_strictly(data, pixels, width * 8)
        if decoded is not None:
            return np.frombuffer(decoded, dtype=f"<u{width}").reshape(samples, rows, columns)
    planes = _decode_segments(data, samples * width, pixels, warnings).reshape(samples, width, rows, columns)
    # The most significant byte comes first (PS3.5 G.2); in memory it comes last.
    together = np.ascontiguousarray(planes[:, ::-1].transpose(0, 2, 3, 1))
    return together.view(f"<u{width}")[..., 0]


def _decode_strictly(data: bytes, pixels: int, bits_allocated: int) -> bytes | None:
    """Decode by the fast decoder; None where it refuses, or panics, as it does on some broken frames."""
    try:
        return bytes(decode_frame(data, pixels, bits_allocated, "<"))
    except Exception:  # noqa: BLE001 - whatever it says, the frame is read by the lenient decoder next
        return None
    except BaseException as error:
        # A panic of the decoder's is no Exception, and its class has no name to import.
        if type(error).__name__ != "PanicException":
            raise
        return None


def _decode_bits(data: bytes, rows: int, columns: int, warnings: list[str]) -> NDArray[Any]:
    packed = _decode_segments(data, 1, -(-rows * columns // 8), warnings)
    bits = np.unpackbits(packed[0], bitorder="little")[: rows * columns]
    return bits.reshape(1, rows, columns)


def _segment_count(data: bytes) -> int:
    if len(data) < _HEADER_BYTES:
        raise NotRenderable("The RLE frame ends within its own header.")
    (count,) = struct.unpack_from("<I", data)
    if not 1 <= count <= 15:
        raise NotRenderable("The RLE frame has a broken header.")
    return int(count)


def _decode_segments(data: bytes, count: int, size: int, warnings: list[str]) -> NDArray[np.uint8]:
    """Decode as many segments as asked for, each to `size` bytes, with zeros where there is nothing."""
    found = _segment_count(data)
    if found != count:
        warnings.append("The RLE frame has another number of segments than its pixels need.")
    offsets = [*struct.unpack_from(f"<{found}I", data, 4), len(data)]
    planes = np.zeros((count, size), dtype=np.uint8)
    short = False
    for n in range(min(count, found)):
        segment = data[offsets[n] : max(offsets[n], offsets[n + 1])]
        decoded = unpack_bits(segment, size)
        short |= len(decoded) < size
        planes[n, : len(decoded)] = np.frombuffer(decoded, dtype=np.uint8)
    if short:
        warnings.append("The RLE frame is short; the rest was taken to be zero.")
    return planes


def unpack_bits(segment: bytes, size: int) -> bytes:
    """Decode one PackBits segment (PS3.5 G.3.2), to at most `size` bytes."""
    decoded = bytearray()
    place, end = 0, len(segment)
    while place < end and len(decoded) < size:
        control = segment[place]
        if control < 128:
            decoded += segment[place + 1 : place + 2 + control]
            place += 2 + control
        else:
            if control > 128:
                decoded += segment[place + 1 : place + 2] * (257 - control)
            place += 2 if control > 128 else 1
    return bytes(decoded[:size])
