"""Originals: written from memory, a file or a stream, and read by ranges. Memory holds a few chunks at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

import bson
from bson import ObjectId

from schemas.database import Instance
from service.errors import NoSuchInstance, ServiceError, Unavailable
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.connection import CODEC
from service.storage.gridfs_documents import (
    CHUNK_BYTES,
    STEP_CHUNKS,
    Bucket,
    Buffer,
    file_document,
    insert_chunks,
    insert_some,
)
from service.storage.threads import Threads
from service.storage.usage import remove_original
from service.storage.visible import Visible

IDENTIFIERS = (
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
)
"""The instance's fields that stand beside the original too, and beside its pictures."""

_TOLD = frozenset(("_id", "patient_id", "sha256", "size", "original_id", "received_at"))
"""What the document of an original says of the instance without being asked."""

MAX_WARNINGS = 10
"""With more of them, lists look at the instance: the document of the original is to be small."""


@dataclass(frozen=True, slots=True)
class StoredOriginal:
    """An original that can be read.

    Parameters
    ----------
    length : int
        Bytes.
    chunk_bytes : int
        Bytes of every chunk but the last, as far as is known: of an original of one new chunk nobody has looked.
    """

    original_id: ObjectId
    length: int
    chunk_bytes: int
    _bucket: Bucket
    _threads: Threads

    async def iter_range(self, start: int = 0, stop: int | None = None) -> AsyncIterator[bytes]:
        """Read the bytes from `start` up to `stop` (exclusive; None: the end), a chunk at a time.

        Raises
        ------
        NoSuchInstance
            If the original is removed meanwhile.
        ServiceError
            If a chunk is missing or too short.
        DatabaseUnavailable
            If the database does not answer.
        """
        stop = self.length if stop is None else min(stop, self.length)
        start = max(start, 0)
        chunk_bytes = self.chunk_bytes
        while start < stop:
            number, offset = divmod(start, chunk_bytes)
            data = await self._threads.run(partial(_read_chunk, self._bucket, self.original_id, number))
            if len(data) < min(chunk_bytes, self.length - number * chunk_bytes):
                # A removal takes the document first.
                file = await self._threads.run(partial(_find_file, self._bucket, {"_id": self.original_id}))
                if file is None:
                    raise NoSuchInstance
                if file["chunkSize"] >= chunk_bytes:
                    raise ServiceError("A part of the stored original is missing.")
                chunk_bytes = file["chunkSize"]
                continue
            end = min(stop - number * chunk_bytes, chunk_bytes)
            yield data if offset == 0 and end == len(data) else data[offset:end]
            start = number * chunk_bytes + end

    async def read_range(self, start: int = 0, stop: int | None = None) -> bytes:
        """Read the bytes from `start` up to `stop` into memory."""
        return b"".join([part async for part in self.iter_range(start, stop)])


@dataclass(frozen=True, slots=True)
class Originals:
    """The bytes of instances as they were uploaded.

    Parameters
    ----------
    collections : Collections
        Where they are.
    threads : Threads
        Where commands run.
    """

    collections: Collections
    threads: Threads

    async def open(self, visible: Visible, original_id: ObjectId) -> StoredOriginal | None:
        """Find an original, to be read by ranges; None when the caller may see none of this id."""
        wanted = {"_id": original_id, **visible.files()}
        file = await self.threads.run(partial(_find_file, self.collections.originals, wanted))
        if file is None:
            return None
        return self._stored(original_id, file["length"], file["chunkSize"])

    async def open_of(self, visible: Visible, instance: Instance) -> StoredOriginal | None:
        """Find the original of an instance that was found for the caller just now; nobody is asked for a small one.

        Its one chunk says whether it is there when it is read.
        """
        if instance["size"] <= CHUNK_BYTES:
            return self._stored(instance["original_id"], instance["size"], CHUNK_BYTES)
        return await self.open(visible, instance["original_id"])

    def _stored(self, original_id: ObjectId, length: int, chunk_bytes: int) -> StoredOriginal:
        return StoredOriginal(original_id, length, chunk_bytes, self.collections.originals, self.threads)

    async def write(
        self, instance: Instance, content: Buffer | Path | AsyncIterator[bytes], row: bytes | None = None
    ) -> None:
        """Write an original under the instance's `original_id`. When it fails, what was written is removed.

        Parameters
        ----------
        instance : Instance
            Whose it is.
        content : bytes-like, Path, or asynchronous iterator of bytes
            All of it, in one hop; a file that holds it, some chunks in each hop; or parts of any size.
        row : bytes or None
            What tables read of it, where it is extracted.
        """
        if isinstance(content, Buffer):
            await self.threads.run(partial(put_original, self.collections.originals, instance, content, row))
            return
        original_id = instance["original_id"]
        try:
            if isinstance(content, Path):
                length = await self._write_file(original_id, content)
            else:
                length = await self._write_stream(original_id, content)
            await self.threads.run(partial(_put_file, self.collections.originals, instance, length, row))
        except Unavailable:
            raise  # at once: another wait would make the refusal late, and the sweep finds what was written
        except BaseException:
            with suppress(Unavailable):
                await self.remove(original_id)
            raise

    async def _write_file(self, original_id: ObjectId, path: Path) -> int:
        """Write the chunks of an original that is a file, and return its length."""
        file = await asyncio.to_thread(path.open, "rb", 0)
        with file:
            first = 0
            while read := await self.threads.run(
                partial(_insert_from, self.collections.originals, original_id, file, first)
            ):
                first += STEP_CHUNKS
                if read < STEP_CHUNKS * CHUNK_BYTES:
                    break
            return file.tell()

    async def _write_stream(self, original_id: ObjectId, content: AsyncIterator[bytes]) -> int:
        """Write the chunks of an original that arrives in parts of any size, and return its length."""
        held = bytearray()
        number = 0
        length = 0
        async for part in content:
            held += part
            length += len(part)
            while len(held) >= CHUNK_BYTES:
                chunk = bytes(memoryview(held)[:CHUNK_BYTES])
                await self.threads.run(partial(insert_some, self.collections.originals, original_id, number, [chunk]))
                del held[:CHUNK_BYTES]
                number += 1
        if held:
            await self.threads.run(partial(insert_some, self.collections.originals, original_id, number, [bytes(held)]))
        return length

    async def find_present(self, original_ids: Sequence[ObjectId]) -> set[ObjectId]:
        """Return which of some originals are there, whoever's they are."""
        return await self.threads.run(partial(_find_present, self.collections.originals, list(original_ids)))

    async def remove(self, original_id: ObjectId) -> None:
        """Remove an original that no instance names. Never after a commit that raised: it may have landed."""
        while await self.threads.run(partial(remove_original, self.collections, original_id)):
            pass


def original_document(instance: Instance, length: int, row: bytes | None) -> Document:
    """Return the document that makes the chunks of an instance's original a file."""
    metadata = original_metadata(instance, row)
    return file_document(instance["original_id"], length, instance["_id"], metadata, instance["received_at"])


def put_original(bucket: Bucket, instance: Instance, content: Buffer, row: bytes | None = None) -> None:
    """Write a whole original that is held in memory; synchronous."""
    insert_chunks(bucket, instance["original_id"], content)
    _put_file(bucket, instance, len(content), row)


def _find_file(bucket: Bucket, wanted: Document) -> Document | None:
    return bucket.files.find_one(wanted, {"length": 1, "chunkSize": 1})


def _read_chunk(bucket: Bucket, original_id: ObjectId, number: int) -> bytes:
    """Read one chunk; nothing where there is none."""
    chunk = bucket.chunks.find_one({"files_id": original_id, "n": number}, {"_id": 0, "data": 1})
    return b"" if chunk is None else chunk["data"]


def _find_present(bucket: Bucket, original_ids: list[ObjectId]) -> set[ObjectId]:
    return {file["_id"] for file in bucket.files.find({"_id": {"$in": original_ids}}, {"_id": 1})}


def _insert_from(bucket: Bucket, original_id: ObjectId, file: BinaryIO, first: int) -> int:
    """Read the next chunks of a file and insert them; return how many bytes they are. In one thread."""
    chunks: list[Buffer] = []
    while len(chunks) < STEP_CHUNKS and (chunk := file.read(CHUNK_BYTES)):
        chunks.append(chunk)
    if chunks:
        insert_some(bucket, original_id, first, chunks)
    return sum(map(len, chunks))


def _put_file(bucket: Bucket, instance: Instance, length: int, row: bytes | None) -> None:
    bucket.files.insert_one(original_document(instance, length, row))


def original_metadata(instance: Instance, row: bytes | None) -> Document:
    """Return what is kept beside an original: enough to tie its bytes to its patient without the instance.

    The identifiers, where it is extracted already, let studies be listed and counted from these small documents, the
    row lets tables be made of them, and ``listed`` has what lists say beside all that.
    """
    kept: Document = {"patient_id": instance["patient_id"], "dicom_id": instance["_id"], "sha256": instance["sha256"]}
    kept |= {name: value for name in (*IDENTIFIERS, "inbox") if (value := instance.get(name))}
    if instance["extraction"]["state"] == "done" and len(instance.get("warnings", ())) <= MAX_WARNINGS:
        said = _TOLD.union(kept)
        listed = {name: value for name, value in instance.items() if name in SMALL_FIELDS and name not in said}
        kept["listed"] = bson.encode(listed)  # as bytes, which the local database passes on unread
    return kept if row is None else {**kept, "row": row}


def instance_beside(file: Document) -> Instance | None:
    """Return the instance without its tree, as the document of its original has it; None where that does not say all.

    It is as it was when it was extracted. With another state than ``done`` an instance has none of this beside it.
    """
    about = file["metadata"]
    if "listed" not in about:
        return None
    told = {
        "_id": about["dicom_id"],
        "patient_id": about["patient_id"],
        "size": file["length"],
        "sha256": about["sha256"],
        "original_id": file["_id"],
        "received_at": file["uploadDate"],
    }
    told |= {name: about[name] for name in (*IDENTIFIERS, "inbox") if name in about}
    return cast("Instance", {**bson.decode(about["listed"], CODEC), **told})
