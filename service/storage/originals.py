"""Originals as streams: written from what arrives, read by ranges. Memory holds one chunk at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any

from bson import ObjectId

from service.errors import NotFound, ServiceError, Unavailable
from service.storage.connection import Database, answering
from service.storage.gridfs_documents import CHUNK_BYTES, Bucket, insert_chunk, insert_file, remove_some
from service.storage.threads import Threads


@dataclass(frozen=True, slots=True)
class StoredOriginal:
    """An original that can be read.

    Parameters
    ----------
    length : int
        Bytes.
    chunk_bytes : int
        Bytes of every chunk but the last.
    """

    original_id: ObjectId
    length: int
    chunk_bytes: int
    _chunks: Any

    async def iter_range(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to `stop` (exclusive; None: the end), a chunk at a time.

        Raises
        ------
        NotFound
            If the original is removed meanwhile.
        ServiceError
            If a chunk is missing or too short.
        DatabaseUnavailable
            If the database does not answer.
        """
        stop = self.length if stop is None else min(stop, self.length)
        start = max(start, 0)
        while start < stop:
            number, offset = divmod(start, self.chunk_bytes)
            with answering():
                chunk = await self._chunks.find_one({"files_id": self.original_id, "n": number}, {"data": 1})
            data: bytes = b"" if chunk is None else chunk["data"]
            if len(data) < min(self.chunk_bytes, self.length - number * self.chunk_bytes):
                if chunk is None and await self._is_deleted():
                    raise NotFound("There is no such instance.")
                raise ServiceError("A part of the stored original is missing.")
            end = min(stop - number * self.chunk_bytes, self.chunk_bytes)
            yield data if offset == 0 and end == len(data) else data[offset:end]
            start = number * self.chunk_bytes + end

    async def _is_deleted(self) -> bool:
        """Return whether the original was removed while it was read; its document goes before its chunks."""
        with answering():
            return (
                await self._chunks.database["originals.files"].find_one({"_id": self.original_id}, {"_id": 1}) is None
            )

    async def read_range(self, start: int = 0, stop: int | None = None) -> bytes:
        """Read the bytes from `start` up to `stop` into memory."""
        return b"".join([part async for part in self.iter_range(start, stop)])


async def open_original(database: Database, patient_id: str, original_id: ObjectId) -> StoredOriginal | None:
    """Find an original of a patient; None when there is none."""
    with answering():
        file = await database["originals.files"].find_one(
            {"_id": original_id, "metadata.patient_id": patient_id}, {"length": 1, "chunkSize": 1}
        )
    if file is None:
        return None
    return StoredOriginal(original_id, file["length"], file["chunkSize"], database["originals.chunks"])


async def write_stream(
    threads: Threads,
    bucket: Bucket,
    original_id: ObjectId,
    parts: AsyncIterator[bytes],
    metadata: dict[str, Any],
    received_at: datetime,
) -> int:
    """Write an original from parts of any size as they arrive. When it fails, what was written is removed.

    Returns
    -------
    int
        The original's length in bytes.
    """
    held = bytearray()
    number = 0
    length = 0
    try:
        async for part in parts:
            held += part
            length += len(part)
            while len(held) >= CHUNK_BYTES:
                await threads.run(partial(insert_chunk, bucket, original_id, number, bytes(held[:CHUNK_BYTES])))
                del held[:CHUNK_BYTES]
                number += 1
        if held:
            await threads.run(partial(insert_chunk, bucket, original_id, number, bytes(held)))
        await threads.run(
            partial(insert_file, bucket, original_id, length, metadata["dicom_id"], metadata, received_at)
        )
    except Unavailable:
        raise  # at once: another wait would make the refusal late, and the sweep finds what was written
    except BaseException:
        with suppress(Unavailable):
            await remove_whole(threads, bucket, original_id)
        raise
    return length


async def remove_whole(threads: Threads, bucket: Bucket, file_id: ObjectId) -> None:
    """Remove a file and its chunks, in as many steps as its size needs."""
    while await threads.run(partial(remove_some, bucket, file_id)):
        pass
