"""Files that live as long as a request: uploads on their way in, originals on their way to a worker."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from service.errors import Overloaded

_PREFIX = "spool-"


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
        owner = path.name.removeprefix(_PREFIX).partition("-")[0]
        # A process that starts has no spool file yet: one with its id was left by a namesake (in a container the
        # service always has the same process id).
        if not owner.isdecimal() or int(owner) == os.getpid() or not _alive(int(owner)):
            path.unlink(missing_ok=True)
            removed += 1
    return removed


def _alive(process_id: int) -> bool:
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
