"""Broken files, made at random from a seed."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable
from pathlib import Path

from pydicom import data as wheel

from tests.dicom.written import DEFLATED, explicit, item, part10, plain, sequence

ROOT = Path(wheel.__file__).parent
SOURCES = sorted(
    path
    for folder in ("test_files", "charset_files")
    for path in (ROOT / folder).glob("*.dcm")
    if path.stat().st_size < 300_000
)


def _flip(data: bytearray, chance: random.Random) -> None:
    for _ in range(chance.randint(1, 40)):
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)


def _cut(data: bytearray, chance: random.Random) -> None:
    del data[chance.randrange(1, len(data)) :]


def _insert(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    data[at:at] = chance.randbytes(chance.randint(1, 300))


def _remove(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    del data[at : at + chance.randint(1, 300)]


def _repeat(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(len(data))
    piece = data[at : at + chance.randint(1, 600)]
    data[at:at] = piece * chance.randint(1, 50)


def _huge_length(data: bytearray, chance: random.Random) -> None:
    at = chance.randrange(132, max(133, len(data) - 4))
    data[at : at + 4] = struct.pack("<L", chance.choice((0xFFFFFFFF, 0xFFFFFFFE, 0x7FFFFFFF, 0x80000000, 65535, 0)))


def _words(data: bytearray, chance: random.Random) -> None:
    """Put something that means something where it does not belong."""
    word = chance.choice(
        (
            *(b"\xfe\xff\x00\xe0\xff\xff\xff\xff", b"\xfe\xff\x0d\xe0\0\0\0\0", b"\xfe\xff\xdd\xe0\0\0\0\0"),
            *(b"SQ\0\0\xff\xff\xff\xff", b"UN\0\0\xff\xff\xff\xff", b"\xe0\x7f\x10\0OB\0\0\xff\xff\xff\xff"),
            *(b"\x1b$B", b"\\" * 8, b"DICM", b"\2\0\x10\0UI"),
        )
    )
    for _ in range(chance.randint(1, 5)):
        at = chance.randrange(132, max(133, len(data)))
        data[at : at + (len(word) if chance.random() < 0.7 else 0)] = word


def _nest(data: bytearray, chance: random.Random) -> None:
    levels, undefined = chance.choice((5, 60, 64, 65, 500, 3000)), chance.random() < 0.5
    inner = bytes(data[132:2000])
    if undefined:
        inner = b"".join(
            explicit(0x00081140, "SQ", b"\xfe\xff\0\xe0\xff\xff\xff\xff", 0xFFFFFFFF) for _ in range(levels)
        )
    else:
        for _ in range(min(levels, 500)):
            inner = sequence(0x00081140, [item(inner)])
    data[:] = part10(inner)


def _bomb(data: bytearray, chance: random.Random) -> None:
    content = chance.choice((bytes(8 << 20), explicit(0x00091010, "LO") * 200_000, item(b"") * 300_000))
    data[:] = part10(plain() + explicit(0x00091010, "SQ", content), DEFLATED)


def _swap(data: bytearray, chance: random.Random) -> None:
    """Claim another transfer syntax."""
    for syntax in (b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0", b"1.2.840.10008.1.2\0"):
        at = data.find(syntax)
        if at >= 0:
            data[at : at + len(syntax)] = chance.choice((b"1.2.840.10008.1.2.1", b"1.2.840.10008.1.2.2")).ljust(
                len(syntax), b"\0"
            )[: len(syntax)]
            return


MUTATIONS: list[Callable[[bytearray, random.Random], None]] = [
    *(_flip, _flip, _flip, _cut, _cut, _insert, _remove, _repeat, _huge_length, _huge_length, _words, _words, _swap),
    _nest,
]


def mutated(seed: int) -> bytes:
    """Give the broken file of a seed."""
    chance = random.Random(seed)
    data = bytearray(chance.choice(SOURCES).read_bytes())
    if seed % 100 == 99:
        _bomb(data, chance)
        return bytes(data)
    for _ in range(chance.randint(1, 3)):
        chance.choice(MUTATIONS)(data, chance)
        if len(data) < 8:
            break
    return bytes(data)
