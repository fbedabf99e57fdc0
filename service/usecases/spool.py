"""Files that live as long as a request: uploads on their way in, originals on their way to a worker, answers."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import shutil
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import BinaryIO

from service.errors import Overloaded

_PREFIX = "spool-"

MEMORY_BYTES = 1 << 20
"""What one answer may hold in memory; a larger one waits in a file without a name."""

PIECE_BYTES = 1 << 18
"""How much of it is read at once."""


class Outgoing:
    """Bytes of an answer, from when a worker makes them until its reader has taken them, however slow that is.

    Parameters
    ----------
    directory : Path
        Where they wait when they are many.
    min_free_bytes : int
        Bytes that stay free there.
    """

    def __init__(self, directory: Path, min_free_bytes: int) -> None:
        self._directory = directory
        self._min_free_bytes = min_free_bytes
        self._file = tempfile.SpooledTemporaryFile(MEMORY_BYTES, dir=str(directory))  # noqa: SIM115 - closed by `close`
        self._lock = threading.Lock()

    def write(self, start: int, piece: bytes) -> None:
        """Take a piece for its place, in any thread; after the end of the request it is dropped.

        Raises
        ------
        OSError
            Where the disk is full, or nearly.
        """
        with self._lock:
            if self._file.closed:
                return
            if start + len(piece) > MEMORY_BYTES and shutil.disk_usage(self._directory).free < self._min_free_bytes:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._file.seek(start)
            self._file.write(piece)

    async def pieces(self, start: int, size: int) -> AsyncIterator[bytes]:
        """Return some of the bytes, in pieces."""
        for position in range(start, start + size, PIECE_BYTES):
            yield await asyncio.to_thread(self._read, position, min(PIECE_BYTES, start + size - position))

    def clear(self) -> None:
        """Forget the bytes: all of them are taken."""
        with self._lock:
            self._file.seek(0)
            self._file.truncate()

    def close(self) -> None:
        """Forget the bytes, and take no more."""
        with self._lock, contextlib.suppress(OSError):
            self._file.close()

    def _read(self, position: int, size: int) -> bytes:
        with self._lock:
            self._file.seek(position)
            read: bytes = self._file.read(size)
            return read


def open_file(directory: Path) -> tuple[BinaryIO, Path]:
    """Make a new spool file, named after this process.

    Parameters
    ----------
    directory : Path
        Where spool files are.
    """
    descriptor, name = tempfile.mkstemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=directory)
    return os.fdopen(descriptor, "wb"), Path(name)


def discard(file: BinaryIO, path: Path) -> None:
    """Close and remove a spool file."""
    with contextlib.suppress(OSError):  # on a full disk, closing tries once more to write what is left
        file.close()
    path.unlink(missing_ok=True)


def check_room(directory: Path, min_free_bytes: int) -> None:
    """Refuse to fill the disk.

    Parameters
    ----------
    directory : Path
        Where spool files are.
    min_free_bytes : int
        Bytes that stay free there.

    Raises
    ------
    Overloaded
        Where fewer are left.
    """
    if min_free_bytes and shutil.disk_usage(directory).free < min_free_bytes:
        raise _full()


@contextlib.contextmanager
def room() -> Iterator[None]:
    """Turn a full disk into an error that a caller can do something about.

    Raises
    ------
    Overloaded
        Where the disk of the spool files is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise _full() from error
        raise


def _full() -> Overloaded:
    return Overloaded("The service has no disk space for this now.", retry_after=30)


def sweep(directory: Path) -> int:
    """Remove the spool files of processes that are gone.

    Parameters
    ----------
    directory : Path
        Where spool files are; made where it is missing.

    Returns
    -------
    int
        How many were removed.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    removed = 0
    for path in directory.glob(f"{_PREFIX}*"):
        if is_left(path.name, _PREFIX):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def is_left(name: str, prefix: str) -> bool:
    """Return whether a file was left by a process that is gone, for a process that starts and has none yet.

    Parameters
    ----------
    name : str
        Of the file: the prefix, the process id, a hyphen, and anything.
    prefix : str
        What stands before the process id.
    """
    owner = name.removeprefix(prefix).partition("-")[0]
    # One with the id of this process was left by a namesake: in a container the service always has the same id.
    return not owner.isdecimal() or int(owner) == os.getpid() or not _alive(int(owner))


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
