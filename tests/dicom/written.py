"""DICOM files written byte by byte, so that a test can write them wrong."""

from __future__ import annotations

import struct
import zlib

UNDEFINED = 0xFFFFFFFF
LONG = {"OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"}
EXPLICIT, IMPLICIT, BIG, DEFLATED = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
)


def explicit(tag: int, vr: str, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    """An element in explicit VR; `length` is written in place of the true one."""
    size = len(value) if length is None else length
    head = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF) + vr.encode("latin-1")
    return head + struct.pack(order + ("HL" if vr in LONG else "H"), *((0, size) if vr in LONG else (size,))) + value


def implicit(tag: int, value: bytes = b"", length: int | None = None, order: str = "<") -> bytes:
    """An element in implicit VR."""
    return struct.pack(order + "HHL", tag >> 16, tag & 0xFFFF, len(value) if length is None else length) + value


def item(content: bytes, undefined: bool = False, order: str = "<", length: int | None = None) -> bytes:
    """An item, delimited or with its length."""
    if undefined:
        return implicit(0xFFFEE000, content, UNDEFINED, order) + implicit(0xFFFEE00D, order=order)
    return implicit(0xFFFEE000, content, length, order)


def sequence(tag: int, items: list[bytes], undefined: bool = False, order: str = "<", vr: str = "SQ") -> bytes:
    """A sequence in explicit VR."""
    content = b"".join(items)
    if undefined:
        return explicit(tag, vr, content, UNDEFINED, order) + implicit(0xFFFEE0DD, order=order)
    return explicit(tag, vr, content, order=order)


def meta(syntax: str | None = EXPLICIT, group_length: bool = True) -> bytes:
    """A file meta group."""
    body = explicit(0x00020002, "UI", b"1.2.840.10008.5.1.4.1.1.7\0")
    if syntax is not None:
        body += explicit(0x00020010, "UI", syntax.encode() + b"\0" * (len(syntax) % 2))
    return (explicit(0x00020000, "UL", struct.pack("<L", len(body))) if group_length else b"") + body


def part10(dataset: bytes, syntax: str | None = EXPLICIT, group_length: bool = True) -> bytes:
    """A whole file; the data set is deflated where the transfer syntax says so."""
    if syntax == DEFLATED:
        squeeze = zlib.compressobj(wbits=-15)
        dataset = squeeze.compress(dataset) + squeeze.flush()
    return bytes(128) + b"DICM" + meta(syntax, group_length) + dataset


def plain(order: str = "<") -> bytes:
    """A small data set in explicit VR: two UIDs, a name, a sequence of two items, a number, pixels."""
    return b"".join(
        (
            explicit(0x00080016, "UI", b"1.2.840.10008.5.1.4.1.1.7\0", order=order),
            explicit(0x00080018, "UI", b"1.2.3.4\0", order=order),
            sequence(0x00081140, [item(referenced(n, order), order=order) for n in (1, 2)], order=order),
            explicit(0x00100010, "PN", b"Doe^Jane", order=order),
            explicit(0x00280010, "US", struct.pack(order + "H", 2), order=order),
            explicit(0x7FE00010, "OW", struct.pack(order + "4H", 1, 2, 3, 0x1234), order=order),
        )
    )


def referenced(number: int, order: str = "<") -> bytes:
    """One item's elements."""
    return explicit(0x00081155, "UI", f"1.2.3.{number}\0".encode(), order=order)
