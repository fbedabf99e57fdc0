"""ZIP files (PKWARE's APPNOTE.TXT) read while they arrive: one member after another, in constant memory.

The directory of a ZIP stands at its end, so what is read are the headers before the members. None of their sizes is
believed where the bytes can tell: a deflated member ends where its stream does, and a stored one of unknown size where
a data descriptor with its own checksum and length stands. What inflates does so in a thread, a piece at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
import time
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from service.errors import Invalid, ServiceError

LOCAL_HEADER = b"PK\x03\x04"
DESCRIPTOR = b"PK\x07\x08"
DIRECTORY = (b"PK\x01\x02", b"PK\x05\x06", b"PK\x06\x06", b"PK\x06\x08")
"""What may stand behind the last member: the central directory, its end (also Zip64's), and data about the archive."""
SPANNING = (DESCRIPTOR, b"PK00")
"""What may stand before the first member of an archive that was to be split."""

STORED, DEFLATED = 0, 8
FLAG_ENCRYPTED, FLAG_DESCRIPTOR, FLAG_UTF8 = 0x0001, 0x0008, 0x0800
FLAGS_UNREADABLE = 0x2060
"""Patched data, strong encryption, masked headers."""

IN_PIECE = 1 << 16
"""Compressed bytes that one step takes at most."""

OUT_PIECE = 1 << 18
"""Bytes that one step of inflating makes at most, about a millisecond's work in a thread."""

INLINE_IN, INLINE_OUT = 1 << 13, 1 << 16
"""The same where a step is too short for a thread to be worth it."""

FREE_BYTES = 64 << 20
"""Bytes up to which a member may inflate however little it came from: pictures of nothing are rightly small."""

MAX_RATIO = 200
"""How many times its compressed bytes a member may have beyond that."""

MAX_NAME = 1024
"""Characters of a member's name that are shown."""

_JAPANESE = re.compile(
    "[ -~\u2010-\u2027\u2190-\u21ff\u2460-\u25ff\u3000-\u30ff\u3200-\u33ff\u4e00-\u9fff\uff00-\uff9f]*"
)
"""Characters that Japanese names consist of."""
_JAPANESE_WORD = re.compile("[\u3005\u3041-\u30ff\u4e00-\u9fff]{2}")

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_HEADER = re.compile(
    rb"PK(?:\x01\x02|\x05\x06|\x06\x06|\x06\x08|"
    rb"\x03\x04[\x00-\x3f].{3}[\x00-\x13\x5d-\x63]\x00.{16}(?:[\x01-\xff]\x00|.[\x01-\x0f]|\x00\x10)..)",
    re.DOTALL,
)
"""What looks like the directory, or like the header of a member (APPNOTE 4.3.7).

Its version is at most 6.3, its method has a number, and its name has at most 4,096 bytes.
"""
_LONGEST_DESCRIPTOR = 28
"""Bytes of a data descriptor of Zip64, its signature and the one behind it included."""
_SIZES = {4: struct.Struct("<III"), 8: struct.Struct("<IQQ")}
_UNKNOWN = 0xFFFFFFFF
_ZIP64, _UNICODE_PATH = 0x0001, 0x7075


class BadZip(Invalid):
    """Nothing more can be read of a ZIP."""


class BadMember(Invalid):
    """A member of a ZIP is refused; those behind it can be read.

    Parameters
    ----------
    reason : str
        A word for programs.
    detail : str
        A sentence for the caller.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class ZipBounds:
    """What one ZIP may cost.

    Parameters
    ----------
    members : int
        How many it may have, folders included.
    unpacked_bytes : int
        How much all of them may be.
    seconds : float
        How long it may take.
    """

    members: int
    unpacked_bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Member:
    """One member: its name, and its content as it arrives.

    Parameters
    ----------
    name : str
        As the ZIP has it, without what could act on a terminal. It is a name and no path of anything here.
    is_folder : bool
        Whether it only names a folder.
    content : async iterator of bytes
        The content. It raises `BadMember` where the member cannot be read or is not what its checksum says, and
        `BadZip` where the ZIP ends within it.
    """

    name: str
    is_folder: bool
    content: AsyncIterator[bytes]


@dataclass(slots=True)
class _Entry:
    """What is known of the member that is being read."""

    flags: int
    method: int
    crc: int
    packed: int
    size: int
    taken: int = 0
    """Bytes of it that were taken from the body."""
    made: int = 0
    """Bytes of content that they gave."""
    sum: int = 0
    """The checksum of those."""
    is_over: bool = False
    is_hopeless: bool = False
    """Whether inflating it on is no use."""
    content: AsyncIterator[bytes] = field(init=False)

    @property
    def described(self) -> bool:
        """Whether its sizes stand behind it."""
        return bool(self.flags & FLAG_DESCRIPTOR)

    @property
    def measured(self) -> bool:
        """Whether its header says where it ends."""
        return not self.described or (self.method == STORED and self.packed > 0)


class ZipReader:
    """Reads the members of one ZIP, one after another.

    Parameters
    ----------
    body : async iterator of bytes
        The ZIP, in pieces of any size.
    bounds : ZipBounds
        What it may cost.
    monotonic : callable, optional
        Gives the time in seconds.
    """

    def __init__(
        self, body: AsyncIterator[bytes], bounds: ZipBounds, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._body = body
        self._bounds = bounds
        self._monotonic = monotonic
        self._ends = monotonic() + bounds.seconds
        self._held = b""
        self._at = 0
        self._members = 0
        self._entry: _Entry | None = None
        self._is_lost = False
        self.unpacked = 0
        """Bytes of content so far."""

    async def next_member(self) -> Member | None:
        """Return the next member, or None behind the last; what was not read of the one before is passed over.

        Raises
        ------
        BadZip
            The body is no ZIP, or is cut, or passes a bound.
        """
        await self._pass_over()
        while True:
            self._check_time()
            if self._is_lost:
                await self._find_header()
            if not await self._fill(4):
                raise BadZip("The body is not a ZIP." if not self._members else "The ZIP is truncated.")
            signature = self._peek(4)
            if signature in DIRECTORY:
                await self._drain()
                return None
            if signature == LOCAL_HEADER:
                return await self._read_header()
            if self._members:
                self._is_lost = True
            elif signature in SPANNING:
                self._at += 4
            else:
                raise BadZip("The body is not a ZIP.")

    async def _read_header(self) -> Member:
        self._members += 1
        if self._members > self._bounds.members:
            raise BadZip(f"A ZIP may have at most {self._bounds.members} members.")
        await self._need(_LOCAL.size)
        fields = _LOCAL.unpack(self._take(_LOCAL.size))
        flags, method, crc, packed, size, name_bytes, extra_bytes = fields[2], fields[3], *fields[6:]
        await self._need(name_bytes + extra_bytes)
        raw_name, extra = self._take(name_bytes), _read_extra(self._take(extra_bytes))
        if (wide := extra.get(_ZIP64)) is not None:
            numbers = [int.from_bytes(wide[at : at + 8], "little") for at in range(0, len(wide) - 7, 8)]
            size = numbers.pop(0) if size == _UNKNOWN and numbers else size
            packed = numbers.pop(0) if packed == _UNKNOWN and numbers else packed
        entry = self._entry = _Entry(flags, method, crc, packed, size)
        name = _read_name(raw_name, flags, extra)
        entry.content = self._content(entry)
        return Member(name, name.endswith("/"), entry.content)

    async def _content(self, entry: _Entry) -> AsyncIterator[bytes]:
        if (refusal := _refusal(entry)) is not None:
            raise refusal
        pieces = self._inflated(entry) if entry.method == DEFLATED else self._stored(entry)
        async for piece in pieces:
            self._count(entry, len(piece))
            yield piece
        if entry.is_over:  # its descriptor was found by the checksum
            return
        if entry.described:
            await self._read_descriptor(entry)
        elif (entry.sum, entry.made) != (entry.crc, entry.size):
            entry.is_over = True
            raise _damaged()
        entry.is_over = True

    def _count(self, entry: _Entry, made: int) -> None:
        self._check_time()
        self.unpacked += made
        if self.unpacked > self._bounds.unpacked_bytes:
            raise BadZip(f"A ZIP may unpack to at most {self._bounds.unpacked_bytes} bytes.")
        if entry.made > FREE_BYTES and entry.made > MAX_RATIO * entry.taken:
            entry.is_hopeless = True
            raise BadMember(
                "too-compressed", f"The member unpacks to more than {MAX_RATIO} times its compressed bytes."
            )

    async def _stored(self, entry: _Entry) -> AsyncIterator[bytes]:
        if not entry.measured:
            async for piece in self._until_descriptor(entry, by_checksum=True):
                yield piece
            return
        while entry.taken < entry.packed:
            piece = await self._piece(entry.packed - entry.taken)
            entry.taken += len(piece)
            entry.made += len(piece)
            entry.sum = zlib.crc32(piece, entry.sum)
            yield piece

    async def _inflated(self, entry: _Entry) -> AsyncIterator[bytes]:
        stream: Any = zlib.decompressobj(-zlib.MAX_WBITS)
        raw = made = b""
        while not stream.eof:
            if not raw and len(made) < INLINE_OUT:  # a step that made all it may can have more to give of what it took
                left = entry.packed - entry.taken if entry.measured else IN_PIECE
                if left <= 0:
                    entry.is_hopeless = True
                    raise _damaged()
                self._check_time()  # what makes nothing passes no other look at the time
                raw = await self._piece(left)
                entry.taken += len(raw)
            try:
                made, entry.sum = await _inflate(stream, raw, entry.sum)
            except zlib.error:
                entry.is_hopeless = True
                self._give_back(entry, raw)
                raise _damaged() from None
            raw = stream.unconsumed_tail
            entry.made += len(made)
            if stream.eof:
                self._give_back(entry, stream.unused_data)
            if made:
                yield made
        if entry.measured and entry.taken != entry.packed:
            entry.is_hopeless = True
            raise _damaged()

    async def _until_descriptor(self, entry: _Entry, *, by_checksum: bool) -> AsyncIterator[bytes]:
        """Return the raw bytes up to the data descriptor that fits them, which is read too."""
        while True:
            is_last = not await self._fill(_LONGEST_DESCRIPTOR)
            content, descriptor = self._scan(entry, is_last=is_last, by_checksum=by_checksum)
            if content:
                piece = self._take(content)
                entry.taken += content
                entry.made += content
                entry.sum = zlib.crc32(piece, entry.sum) if by_checksum else 0
                yield piece
            if descriptor:
                self._at += descriptor
                entry.is_over = True
                return
            if not content:
                raise BadZip("The ZIP is truncated: it ends within this member.")
            await asyncio.sleep(0)  # a body of nothing but signatures takes long to look at

    def _scan(self, entry: _Entry, *, is_last: bool, by_checksum: bool) -> tuple[int, int]:
        """Return how many of the next bytes are content, and the length of the descriptor behind them, if it is there.

        A signature is looked at in full only where the length behind it fits: content may consist of signatures.
        """
        held, begin, checksum = self._held, self._at, entry.sum
        stop = min(begin + IN_PIECE, len(held) if is_last else len(held) - _LONGEST_DESCRIPTOR + 1)
        at = summed = begin
        while (at := held.find(DESCRIPTOR, at, stop + len(DESCRIPTOR) - 1)) >= 0:
            length = entry.taken + at - begin
            if held[at + 8 : at + 12] == (length & _UNKNOWN).to_bytes(4, "little"):
                if by_checksum:
                    checksum, summed = zlib.crc32(held[summed:at], checksum), at
                width = self._descriptor_width(at + 4, length, checksum if by_checksum else None)
                if width is not None:
                    return at - begin, 4 + _SIZES[width].size
            at += 1
        return stop - begin, 0

    def _descriptor_width(self, begin: int, length: int, checksum: int | None) -> int | None:
        """Return how wide the sizes of a descriptor are that fits; None where none does."""
        for width, sizes in _SIZES.items():
            if len(self._held) - begin < sizes.size:
                continue
            crc, packed, _size = sizes.unpack_from(self._held, begin)
            behind = self._held[begin + sizes.size : begin + sizes.size + 4]
            fits = packed == length & (1 << 8 * width) - 1 and checksum in (None, crc)
            if fits and (behind in {b"", LOCAL_HEADER} or behind in DIRECTORY):  # nothing: the body ends there
                return width
        return None

    async def _read_descriptor(self, entry: _Entry) -> None:
        """Read the data descriptor behind a member whose end is known, and compare it."""
        await self._fill(_LONGEST_DESCRIPTOR)
        skip = 4 if self._peek(4) == DESCRIPTOR else 0
        width = self._descriptor_width(self._at + skip, entry.taken, entry.sum)
        if width is None:
            entry.is_over = self._is_lost = True
            raise _damaged()
        self._at += skip + _SIZES[width].size

    async def _pass_over(self) -> None:
        """Read what is left of the member before."""
        entry, self._entry = self._entry, None
        if entry is None or entry.is_over:
            return
        if entry.measured:
            while entry.taken < entry.packed:
                entry.taken += len(await self._piece(entry.packed - entry.taken))
                self._check_time()
            self._is_lost = entry.described
            return
        if not entry.is_hopeless:
            readable = _refusal(entry) is None
            left = entry.content if readable else self._until_descriptor(entry, by_checksum=False)
            with contextlib.suppress(BadMember):
                async for _ in left:
                    self._check_time()
        self._is_lost = self._is_lost or not entry.is_over

    async def _find_header(self) -> None:
        """Go on to what looks like the header of a member, or like the directory."""
        while True:
            found = _HEADER.search(self._held, self._at, self._at + IN_PIECE)
            if found is not None:
                self._at = found.start()
                self._is_lost = False
                return
            # A header may have begun at the end of what was looked at.
            self._at = max(self._at, min(self._at + IN_PIECE, len(self._held)) - _LOCAL.size + 1)
            self._check_time()
            if not await self._fill(_LOCAL.size):
                found = _HEADER.search(self._held, self._at)  # the directory's end is shorter than a header
                if found is None:
                    raise BadZip("The ZIP is truncated, or damaged beyond this member.")
                self._at = found.start()
                self._is_lost = False
                return
            await asyncio.sleep(0)

    async def _drain(self) -> None:
        """Pass over the directory."""
        self._held, self._at = b"", 0
        while await self._fill(1):
            self._held, self._at = b"", 0
            self._check_time()

    def _check_time(self) -> None:
        if self._monotonic() > self._ends:
            raise BadZip("The ZIP takes longer than one may.")

    async def _fill(self, size: int) -> bool:
        """Hold so many bytes at least; False where the body ends before."""
        while len(self._held) - self._at < size:
            try:
                piece = await anext(self._body, None)
            except ServiceError as error:
                raise BadZip(error.detail) from error
            if piece is None:
                return False
            self._held = self._held[self._at :] + piece
            self._at = 0
        return True

    async def _need(self, size: int) -> None:
        if not await self._fill(size):
            raise BadZip("The ZIP is truncated.")

    async def _piece(self, most: int) -> bytes:
        """Take what is there of a member, at most so much."""
        if not await self._fill(1):
            raise BadZip("The ZIP is truncated: it ends within this member.")
        return self._take(min(most, IN_PIECE, len(self._held) - self._at))

    def _peek(self, size: int) -> bytes:
        return self._held[self._at : self._at + size]

    def _take(self, size: int) -> bytes:
        taken = self._peek(size)
        self._at += size
        return taken

    def _give_back(self, entry: _Entry, unused: bytes) -> None:
        """Take back the last bytes that were taken: they belong to what comes behind."""
        self._at -= len(unused)
        entry.taken -= len(unused)


async def _inflate(stream: Any, raw: bytes, checksum: int) -> tuple[bytes, int]:
    """Return what one step of inflating gives, and the checksum of all until then."""
    if len(raw) <= INLINE_IN:
        return _step(stream, raw, INLINE_OUT, checksum)
    return await asyncio.to_thread(_step, stream, raw, OUT_PIECE, checksum)


def _step(stream: Any, raw: bytes, most: int, checksum: int) -> tuple[bytes, int]:
    made = stream.decompress(raw, most)
    return made, zlib.crc32(made, checksum)


def _refusal(entry: _Entry) -> BadMember | None:
    """Return why a member cannot be read at all, if so."""
    if entry.flags & (FLAG_ENCRYPTED | FLAGS_UNREADABLE):
        return BadMember("encrypted", "The member is encrypted. Send the ZIP without a password.")
    if entry.method not in (STORED, DEFLATED):
        return BadMember("unsupported-compression", "The member is compressed by another method than Deflate.")
    return None


def _damaged() -> BadMember:
    return BadMember("damaged", "The member is damaged: its bytes do not fit its checksum or its sizes.")


def _read_extra(block: bytes) -> dict[int, bytes]:
    """Return the extra fields of a header by their numbers."""
    found: dict[int, bytes] = {}
    at = 0
    while at + 4 <= len(block):
        number, size = struct.unpack_from("<HH", block, at)
        found.setdefault(number, block[at + 4 : at + 4 + size])
        at += 4 + size
    return found


def _read_name(raw: bytes, flags: int, extra: dict[int, bytes]) -> str:
    """Return a member's name: UTF-8 where it says so or can only be that, else code page 437 (APPNOTE D.1).

    A Windows that speaks Japanese writes code page 932 instead, and nothing tells.
    """
    path = extra.get(_UNICODE_PATH, b"")
    if len(path) > 5 and path[0] == 1 and int.from_bytes(path[1:5], "little") == zlib.crc32(raw):
        raw, flags = path[5:], flags | FLAG_UTF8
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = raw.decode("utf-8", "replace") if flags & FLAG_UTF8 else _japanese(raw) or raw.decode("cp437")
    shown = "".join(each for each in text.replace("\\", "/") if each.isprintable())
    return shown if len(shown) <= MAX_NAME else f"…{shown[1 - MAX_NAME :]}"


def _japanese(raw: bytes) -> str | None:
    """Return bytes as code page 932 where they are a Japanese name by that; None where they may be anything else.

    An accented letter and the letter behind it can be a character of that code page too. So it takes two of kana or
    kanji that stand together, and nothing that Japanese names have not.
    """
    try:
        text = raw.decode("cp932")
    except UnicodeDecodeError:
        return None
    return text if _JAPANESE_WORD.search(text) and _JAPANESE.fullmatch(text) else None
