"""Bytes from a client into memory or a spool file, hashed on the way.

Small uploads stay in memory. Larger ones go to a file in writes of one MiB, each in a thread, so that neither the
memory nor the event loop feels how large the upload is.
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
"""What one upload may hold in memory, in bytes; also the size of one write to its spool file."""

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

    async def chunks(self) -> AsyncIterator[bytes]:
        """Return the bytes again, in pieces of at most one MiB."""
        if isinstance(self.source, bytes):
            yield self.source
            return
        file = await asyncio.to_thread(self.source.open, "rb")
        try:
            while piece := await asyncio.to_thread(file.read, MEMORY_BYTES):
                yield piece
        finally:
            file.close()


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
    held = bytearray()
    size = 0
    looked = False
    spooled: tuple[BinaryIO, Path] | None = None
    try:
        async for chunk in chunks:
            size += len(chunk)
            if size > max_bytes:
                raise TooLarge(f"An upload holds at most {max_bytes} bytes.")
            digest.update(chunk)
            held += chunk
            if not looked and len(held) >= HEAD_BYTES:
                _look(held)
                looked = True
            if len(held) >= MEMORY_BYTES:
                full, held = held, bytearray()
                with spool.room():
                    if spooled is None:
                        spooled = await asyncio.to_thread(spool.open_file, directory)
                    await asyncio.to_thread(_write, spooled[0], full, directory, min_free_bytes)
        if not looked:
            _look(held)
        if spooled is None:
            yield Received(size, digest.hexdigest(), bytes(held))
        else:
            with spool.room():
                await asyncio.to_thread(_finish, spooled[0], held)
            yield Received(size, digest.hexdigest(), spooled[1])
    finally:
        if spooled is not None:
            spool.discard(*spooled)


def _look(head: bytearray) -> None:
    if not begins_like_dicom(bytes(head[:HEAD_BYTES])):
        raise NotDicom("The upload is not a DICOM file.")


def _write(file: BinaryIO, piece: bytearray, directory: Path, min_free_bytes: int) -> None:
    spool.check_room(directory, min_free_bytes)
    file.write(piece)


def _finish(file: BinaryIO, rest: bytearray) -> None:
    file.write(rest)
    file.flush()
