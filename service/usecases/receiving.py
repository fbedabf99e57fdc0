"""Bytes from a client into memory or a spool file, hashed on the way.

Small uploads stay in memory. Larger ones are hashed and written to a file a few MiB at a time, in a thread, so that
neither the memory nor the event loop feels how large the upload is. The pieces stay as they came: none is copied.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from service.dicom.parsing.framing import begins_like_dicom
from service.errors import NotDicom, TooLarge
from service.usecases import spool

MEMORY_BYTES = 1 << 20
"""What one upload may hold in memory, in bytes; a larger one goes to a spool file."""

STEP_BYTES = 2 << 20
"""What is hashed and written to a spool file in one go, in bytes."""

SMALL_BYTES = 16 << 10
"""Pieces under this are put together, in bytes."""

HEAD_BYTES = 4096
"""How much is received before the first look at whether it is DICOM, in bytes."""


@dataclass(frozen=True, slots=True)
class Received:
    """One upload, whole.

    Parameters
    ----------
    size : int
        Bytes.
    sha256 : str
        Hex digest of the bytes.
    source : bytes or Path
        The bytes, or the spool file that holds them until the upload is over.
    """

    size: int
    sha256: str
    source: bytes | Path


@contextlib.asynccontextmanager
async def receive(
    chunks: AsyncIterator[bytes], directory: Path, max_bytes: int, min_free_bytes: int = 0
) -> AsyncIterator[Received]:
    """Take in an upload; what was spooled is gone when the context ends.

    Parameters
    ----------
    chunks : async iterator of bytes
        The upload as it arrives.
    directory : Path
        Where spool files are.
    max_bytes : int
        The largest upload that is taken.
    min_free_bytes : int
        What must stay free on the disk of the spool files.

    Raises
    ------
    NotDicom
        As soon as the first bytes tell.
    TooLarge
        As soon as one byte too many has come.
    Overloaded
        Where the disk of the spool files is full, or nearly.
    """
    spool.check_room(directory, min_free_bytes)
    digest = hashlib.sha256()
    head = b""
    held: list[bytes | bytearray] = []
    held_bytes = size = 0
    most = MEMORY_BYTES
    spooled: tuple[BinaryIO, Path] | None = None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(f"An upload holds at most {max_bytes} bytes.")
            if len(head) < HEAD_BYTES:
                head += chunk[: HEAD_BYTES - len(head)]
                if len(head) == HEAD_BYTES:
                    _look(head)
            _hold(held, chunk)
            held_bytes += len(chunk)
            if held_bytes >= most:
                full, held, held_bytes, most = held, [], 0, STEP_BYTES
                with spool.room():
                    if spooled is None:
                        spooled = await asyncio.to_thread(spool.open_file, directory)
                    await asyncio.to_thread(_write, spooled[0], digest, full, directory, min_free_bytes)
                del full  # while the next pieces come
        if len(head) < HEAD_BYTES:
            _look(head)
        if spooled is None:
            whole = b"".join(held)
            digest.update(whole)
            yield Received(size, digest.hexdigest(), whole)
        else:
            with spool.room():
                await asyncio.to_thread(_finish, spooled[0], digest, held)
            held.clear()
            yield Received(size, digest.hexdigest(), spooled[1])
    finally:
        if spooled is not None:
            spool.discard(*spooled)


def _hold(held: list[bytes | bytearray], piece: bytes) -> None:
    """Put a piece behind those that are held; small ones together, since each takes memory beside its bytes."""
    if len(piece) >= SMALL_BYTES:
        held.append(piece)
    elif held and isinstance(held[-1], bytearray):
        held[-1] += piece
    else:
        held.append(bytearray(piece))


def _look(head: bytes) -> None:
    if not begins_like_dicom(head):
        raise NotDicom("The upload is not a DICOM file.")


def _write(
    file: BinaryIO, digest: hashlib._Hash, pieces: list[bytes | bytearray], directory: Path, min_free_bytes: int
) -> None:
    spool.check_room(directory, min_free_bytes)
    for piece in pieces:
        digest.update(piece)
        file.write(piece)


def _finish(file: BinaryIO, digest: hashlib._Hash, rest: list[bytes | bytearray]) -> None:
    for piece in rest:
        digest.update(piece)
        file.write(piece)
    file.flush()
