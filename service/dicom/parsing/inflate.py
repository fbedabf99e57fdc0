"""The deflated transfer syntaxes (PS3.5 A.5): inflate what can be inflated, up to a bound."""

from __future__ import annotations

import zlib

from service.dicom.limits import Limits, Readable
from service.errors import LimitExceeded

_CHUNK = 16384


def inflate(buffer: Readable, pos: int, limits: Limits) -> tuple[bytes, bool]:
    """Inflate a deflated data set as far as its stream goes.

    A zlib or gzip wrapper, which the Standard does not have, is understood too.

    Parameters
    ----------
    buffer : bytes or mmap
        The file.
    pos : int
        Where the stream begins.
    limits : Limits
        Its `max_inflated_bytes` is the bound.

    Returns
    -------
    bytes, bool
        The data set, and whether the stream came to its end.

    Raises
    ------
    LimitExceeded
        The data set becomes longer than the bound.
    """
    best = b""
    for window in (-zlib.MAX_WBITS, zlib.MAX_WBITS + 32):
        out, whole = _inflate(buffer, pos, window, limits.max_inflated_bytes)
        if whole:
            return bytes(out), True
        if len(out) > len(best):
            best = bytes(out)
    return best, False


def _inflate(buffer: Readable, pos: int, window: int, bound: int) -> tuple[bytearray, bool]:
    """Inflate in one window format; return the bytes, and whether the end of the stream was seen."""
    stream = zlib.decompressobj(window)
    out = bytearray()
    for start in range(pos, len(buffer), _CHUNK):
        data = bytes(buffer[start : start + _CHUNK])
        kept, length = stream.copy(), len(out)
        try:
            _feed(stream, data, out, bound)
        except zlib.error:
            # zlib drops what it made of a chunk that turns out to be broken: get it byte by byte.
            del out[length:]
            try:
                for number in data:
                    _feed(kept, bytes((number,)), out, bound)
            except zlib.error:
                return out, False
        if stream.eof:
            return out, True
    return out, False


def _feed(stream: zlib._Decompress, data: bytes, out: bytearray, bound: int) -> None:
    """Inflate one piece onto `out`."""
    while data and not stream.eof:
        out += stream.decompress(data, bound + 1 - len(out))
        if len(out) > bound:
            raise LimitExceeded(f"The data set inflates to more than {bound} bytes.")
        data = stream.unconsumed_tail
