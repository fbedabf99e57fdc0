"""A file as a worker process is handed it: its bytes, or the path where they are."""

from __future__ import annotations

from mmap import ACCESS_READ, mmap
from pathlib import Path

from service.dicom.limits import Readable


def open_source(source: Readable | str | Path) -> Readable:
    """Return the bytes of a file, or of the one at a path a map, of which only what is looked at is read.

    Parameters
    ----------
    source : bytes, mmap or path
        The bytes, or the path of a file that holds them.
    """
    if isinstance(source, bytes | mmap):
        return source
    with Path(source).open("rb") as file:
        if not file.seek(0, 2):  # there is nothing to map
            return b""
        return mmap(file.fileno(), 0, access=ACCESS_READ)
