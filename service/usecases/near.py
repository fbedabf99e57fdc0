"""Originals near the process: a bounded directory of this machine, read where the database need not send the bytes.

An original never changes, and its id is never given again. So a near file is right for as long as it is whole, and it
is read only after a query has shown that its instance may be seen. A file comes under its name by one rename or link,
whole and hashed. After a start its bytes are not trusted, because a crash of the machine may have emptied them: each
file is read and compared with its SHA-256 before it is used for the first time.

Several service processes may share the directory. Each of them bounds what it knows of.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path

from bson import ObjectId

from service.usecases import spool

PIECE_BYTES = 1 << 20
"""What is read of a near file at once, in bytes."""

LOOP_BYTES = 1 << 20
"""A read of no more than that is not worth a hop to a thread."""

HELD_BYTES = 1 << 20
"""What is held of an original on its way to a near file before it is written, in bytes."""

REMOVALS = 16
"""How many near files make room for one upload at most."""

FORGOTTEN = 10_000
"""How many deleted originals are remembered, so that nobody who is still reading one brings it back."""

_NAME = re.compile(r"([0-9a-f]{24})\.([0-9a-f]{64})")
_INCOMING = "incoming-"


class NearOriginal:
    """A near file that is open: it can be read to its end whatever becomes of its name.

    Parameters
    ----------
    descriptor : int
        Of the file. It is closed with this object.
    length : int
        Bytes.
    path : Path
        The name under which it was opened.
    """

    def __init__(self, descriptor: int, length: int, path: Path) -> None:
        self.descriptor = descriptor
        self._path = path
        self.length = length

    async def iter_range(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to `stop` (exclusive; None: the end) in pieces."""
        stop = self.length if stop is None else min(stop, self.length)
        position = max(start, 0)
        while position < stop:
            size = min(PIECE_BYTES, stop - position)
            if stop - start <= LOOP_BYTES:
                piece = os.pread(self.descriptor, size, position)
            else:
                piece = await asyncio.to_thread(os.pread, self.descriptor, size, position)
            if not piece:
                raise OSError("A near file has become shorter.")
            yield piece
            position += len(piece)

    async def read_range(self, start: int = 0, stop: int | None = None) -> bytes:
        """Read the bytes from `start` up to `stop` into memory."""
        return b"".join([piece async for piece in self.iter_range(start, stop)])

    def link_over(self, path: Path) -> bool:
        """Put the file in the place of a spool file, under a name that lasts, and return whether that could be done."""
        beside = path.with_name(f"{path.name}.near")
        try:
            os.link(self._path, beside)
            beside.replace(path)
        except OSError:  # another file system, or the name is gone: the bytes are copied
            return False
        return True

    def close(self) -> None:
        """Close the file."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def __del__(self) -> None:
        """Close the file of a reader that did not come to its end."""
        self.close()


@dataclass(slots=True)
class _Known:
    """A near file: its name, its bytes, and whether they are known to be right since this process started."""

    name: str
    size: int
    right: bool


class Near:
    """The near originals of one service process.

    Its methods are called in the event loop; those that take long go to a thread by themselves.

    Parameters
    ----------
    directory : Path or None
        Where the files are; None keeps none.
    max_bytes : int
        What they may take. The one that was not used for longest goes first.
    min_free_bytes : int
        What uploads leave free on their disk; near files leave twice that.
    """

    def __init__(self, directory: Path | None = None, max_bytes: int = 0, min_free_bytes: int = 0) -> None:
        self._directory = directory if max_bytes else None
        self._max_bytes = max_bytes
        self._min_free_bytes = min_free_bytes
        self._known: OrderedDict[ObjectId, _Known] = OrderedDict()
        self._bytes = 0
        self._forgotten: dict[ObjectId, None] = {}  # in the order of their deletes

    @property
    def held_bytes(self) -> int:
        """How many bytes the near files are, as far as this process knows."""
        return self._bytes

    @property
    def ids(self) -> list[ObjectId]:
        """Whose near files are known."""
        return list(self._known)

    def load(self) -> None:
        """Find what an earlier process left, and make the directory where it is missing; synchronous."""
        if self._directory is None:
            return
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = []
        for entry in os.scandir(self._directory):
            with contextlib.suppress(FileNotFoundError):
                matched, facts = _NAME.fullmatch(entry.name), entry.stat(follow_symlinks=False)
                if matched is not None:
                    found.append((facts.st_mtime, ObjectId(matched[1]), entry.name, facts.st_size))
                elif entry.name.startswith(_INCOMING) and spool.is_left(entry.name, _INCOMING):
                    Path(entry.path).unlink()
        for _, original_id, name, size in sorted(found):
            self._keep(original_id, _Known(name, size, right=False))

    async def open(self, original_id: ObjectId) -> NearOriginal | None:
        """Open a near original; None where there is none that is right.

        Whether its instance may be seen is asked before.
        """
        known = self._known.get(original_id)
        if known is None or self._directory is None:
            return None
        path = self._directory / known.name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError:  # another process made room
            self._drop(original_id)
            return None
        near = NearOriginal(descriptor, known.size, path)
        if os.fstat(descriptor).st_size != known.size or not (known.right or await _is_right(near, known)):
            near.close()
            self._remove(original_id)
            return None
        known.right = True
        if original_id in self._known:
            self._known.move_to_end(original_id)
        return near

    async def take_spooled(self, original_id: ObjectId, sha256: str, size: int, path: Path) -> None:
        """Keep an upload's spool file, whose bytes were hashed as they came, under a further name."""
        if self._directory is not None and self._may_come(original_id, size):
            name = f"{original_id}.{sha256}"
            with contextlib.suppress(OSError):  # another file system: the first download brings it near
                await asyncio.to_thread(os.link, path, self._directory / name)
                self._come(original_id, _Known(name, size, right=True))

    async def filling(
        self, original_id: ObjectId, sha256: str, size: int, pieces: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """Return the pieces of a whole original on their way to a caller, and keep them near once all have passed."""
        directory = self._directory
        if directory is None or not self._may_come(original_id, size):
            async for piece in pieces:
                yield piece
            return
        incoming = _Incoming(directory)
        try:
            async for piece in pieces:
                yield piece
                await incoming.take(piece)
            name = f"{original_id}.{sha256}"
            if await asyncio.to_thread(incoming.finish, name, sha256):
                self._come(original_id, _Known(name, size, right=True))
        finally:
            incoming.discard()

    async def put(self, original_id: ObjectId, sha256: str, content: bytes) -> None:
        """Keep an original that is in memory."""

        async def whole() -> AsyncIterator[bytes]:
            yield content

        async for _ in self.filling(original_id, sha256, len(content), whole()):
            pass

    def make_room(self) -> None:
        """Remove some near files where the disk is filling up, so that an upload is not refused for their sake."""
        for _ in range(REMOVALS):
            if not self._known or self._has_room(0):
                return
            self._remove(next(iter(self._known)))

    def _has_room(self, size: int) -> bool:
        """Return whether a file leaves twice the floor free, at which uploads are refused."""
        directory = self._directory
        return directory is not None and shutil.disk_usage(directory).free >= 2 * self._min_free_bytes + size

    def forget(self, original_id: ObjectId, sha256: str) -> None:
        """Remove the near file of an original that is deleted, whichever process keeps it, for good."""
        self._forgotten[original_id] = None
        if len(self._forgotten) > FORGOTTEN:
            del self._forgotten[next(iter(self._forgotten))]
        self._drop(original_id)
        if self._directory is not None:
            (self._directory / f"{original_id}.{sha256}").unlink(missing_ok=True)

    def forget_all(self, original_ids: Iterable[ObjectId]) -> None:
        """Remove the near files of originals that are gone."""
        for original_id in original_ids:
            known = self._known.get(original_id)
            if known is not None:
                self.forget(original_id, known.name.rpartition(".")[2])

    def _may_come(self, original_id: ObjectId, size: int) -> bool:
        new = original_id not in self._known and original_id not in self._forgotten
        return new and size <= self._max_bytes // 4 and self._has_room(size)

    def _come(self, original_id: ObjectId, known: _Known) -> None:
        """Keep a file that has its name; one that was deleted while it came goes again."""
        if original_id in self._forgotten:
            self.forget(original_id, known.name.rpartition(".")[2])
        elif original_id not in self._known:
            self._keep(original_id, known)

    def _keep(self, original_id: ObjectId, known: _Known) -> None:
        self._known[original_id] = known
        self._bytes += known.size
        while self._bytes > self._max_bytes:
            self._remove(next(iter(self._known)))

    def _remove(self, original_id: ObjectId) -> None:
        known = self._known.get(original_id)
        self._drop(original_id)
        if known is not None and self._directory is not None:
            (self._directory / known.name).unlink(missing_ok=True)

    def _drop(self, original_id: ObjectId) -> None:
        known = self._known.pop(original_id, None)
        self._bytes -= known.size if known is not None else 0


class _Incoming:
    """A file that is written beside the near ones and gets its name when it is whole.

    Where it cannot be written it is given up: whoever reads the original meanwhile is served all the same.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._digest = hashlib.sha256()
        self._held: list[bytes] = []
        self._held_bytes = 0
        self._descriptor = -1
        self._path: Path | None = None
        self._failed = False

    async def take(self, piece: bytes) -> None:
        """Take a piece."""
        self._held.append(piece)
        self._held_bytes += len(piece)
        if self._held_bytes >= HELD_BYTES:
            await asyncio.to_thread(self._write)

    def finish(self, name: str, sha256: str) -> bool:
        """Write the rest and give the file its name, and return whether its bytes are those of the hash."""
        self._write()
        if self._path is None or self._failed or self._digest.hexdigest() != sha256:
            return False
        try:
            self._path.rename(self._directory / name)
        except OSError:
            return False
        self._path = None
        return True

    def discard(self) -> None:
        """Let go of the file, and remove it where it has no name."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _write(self) -> None:
        held, self._held, self._held_bytes = self._held, [], 0
        if self._failed:
            return
        try:
            if self._path is None:
                prefix = f"{_INCOMING}{os.getpid()}-"
                self._descriptor, path = tempfile.mkstemp(prefix=prefix, dir=self._directory)
                self._path = Path(path)
            for piece in held:
                self._digest.update(piece)
                left = memoryview(piece)
                while left:
                    left = left[os.write(self._descriptor, left) :]
        except OSError:
            self._failed = True


async def _is_right(near: NearOriginal, known: _Known) -> bool:
    """Return whether the bytes of a file are those that its name promises."""
    return await asyncio.to_thread(_hash, near.descriptor) == known.name.rpartition(".")[2]


def _hash(descriptor: int) -> str:
    digest = hashlib.sha256()
    position = 0
    while piece := os.pread(descriptor, PIECE_BYTES, position):
        digest.update(piece)
        position += len(piece)
    return digest.hexdigest()
