"""The header of a data element (PS3.5 7.1), and how likely some bytes are to be one."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from service.dicom.limits import Readable
from service.dicom.parsing.implied_vr import standard_vr

UNDEFINED = 0xFFFFFFFF
ITEM, ITEM_END, SEQUENCE_END = 0xE000, 0xE00D, 0xE0DD

_SHORT = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO"),
    *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
_LONG = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")

SHORT_VRS = {vr.encode(): vr for vr in _SHORT}
"""The VRs whose length takes two bytes (PS3.5 7.1.2)."""

LONG_VRS = {vr.encode(): vr for vr in _LONG}
"""The VRs whose length takes four bytes, after two that are reserved."""

VR_NUMBERS = frozenset(struct.unpack("<H", code)[0] for code in (*SHORT_VRS, *LONG_VRS))
"""Every VR as the low half of what stands where implicit VR has its length."""

Unpack = Callable[[Readable, int], tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class ByteOrder:
    """The ways to read a header in one byte order."""

    little: bool
    explicit: Unpack  # group, element, VR, 16-bit length
    implicit: Unpack  # group, element, 32-bit length
    short: Unpack
    long: Unpack


LITTLE, BIG = (
    ByteOrder(mark == "<", *(struct.Struct(mark + layout).unpack_from for layout in ("HH2sH", "HHL", "H", "L")))
    for mark in "<>"
)


def is_plausible(buffer: Readable, pos: int, end: int, order: ByteOrder) -> bool:
    """Return whether a header, or the end of what is read, can stand here."""
    if pos >= end:
        return pos == end
    if end - pos < 8:
        return not bytes(buffer[pos:end]).strip(b"\0")
    group, number, code, _ = order.explicit(buffer, pos)
    if group == 0xFFFE:
        return number in (ITEM, ITEM_END, SEQUENCE_END)
    if code in SHORT_VRS or code in LONG_VRS:
        return True
    tag = group << 16 | number
    if not group & 1 and standard_vr(tag) is None:
        return False
    length: int = order.long(buffer, pos + 4)[0]
    return length == UNDEFINED or pos + 8 + length <= end


def is_explicit(buffer: Readable, pos: int, end: int, order: ByteOrder) -> bool:
    """Return whether an element in an implicit VR data set is written in explicit VR all the same."""
    group, number, code, length = order.explicit(buffer, pos)
    if code in SHORT_VRS:
        stop = pos + 8 + length
    elif code in LONG_VRS and end - pos >= 12:
        length = order.long(buffer, pos + 8)[0]
        stop = pos + 12 + (0 if length == UNDEFINED else length)
    else:
        return False
    if stop > end or not is_plausible(buffer, stop, end, order):
        return False
    if standard_vr(group << 16 | number) == code.decode():
        return True
    stop = pos + 8 + order.long(buffer, pos + 4)[0]
    return stop > end or not is_plausible(buffer, stop, end, order)


def guess_header(buffer: Readable, pos: int, end: int, order: ByteOrder) -> tuple[str, int, int, bool] | None:
    """Find the reading of a strange header after which something sensible follows.

    Returns
    -------
    (str, int, int, bool) or None
        VR ("UN" where only the tag can tell), offset and length of the value, and False: it was not UN in the file.
    """
    group, number, code, length = order.explicit(buffer, pos)
    known = code.upper().decode("latin-1") if code.upper() in SHORT_VRS or code.upper() in LONG_VRS else None
    by_tag = standard_vr(group << 16 | number) if not group & 1 or not number else None
    implicit = (by_tag or "UN", pos + 8, order.long(buffer, pos + 4)[0])
    short = (known or by_tag or "UN", pos + 8, length)
    long = (known or by_tag or "UN", pos + 12, order.long(buffer, pos + 8)[0] if end - pos >= 12 else UNDEFINED - 1)
    if known is not None and code.upper() in LONG_VRS:
        candidates = (long, implicit, short)
    elif known is not None:
        candidates = (short, implicit, long)
    elif code.isalpha() and code.isupper():
        # PS3.5 6.2: a VR that is defined after this was written has the long form.
        candidates = (long, short, implicit)
    else:
        candidates = (implicit, short, long)
    for vr, start, size in candidates:
        stop = start if size == UNDEFINED else start + size
        if stop <= end and is_plausible(buffer, stop, end, order):
            return vr, start, size, False
    return None
