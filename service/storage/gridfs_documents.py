"""Files as GridFS's own documents: ``chunks`` as they come, then one document in ``files``.

Written directly, because a driver's upload stream looks into both collections before each file and holds many
chunks back. Any driver's bucket reads what is written here: GridFS is a convention about these two collections.
All functions are synchronous; they run in a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

CHUNK_BYTES = 1024 * 1024
"""Bytes of a new file's chunks but the last; each file's own document says how long its chunks are."""

STEP_CHUNKS = 2
"""So many chunks of a large file are inserted by one command: a command costs more than the bytes in it.

With four the processor time is the same, and eight uploads of 52 MB at a time take 130 MB more.
"""

REMOVAL_CHUNKS = 64
"""So many chunks are removed by one command, so that it ends in time however large the file is."""

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True, slots=True)
class Bucket:
    """The two collections of a GridFS bucket."""

    files: Collection[dict[str, Any]]
    chunks: Collection[dict[str, Any]]


def open_bucket(database: Database[dict[str, Any]], name: str) -> Bucket:
    """Return the bucket of that name."""
    return Bucket(files=database[f"{name}.files"], chunks=database[f"{name}.chunks"])


def insert_some(bucket: Bucket, file_id: ObjectId, first: int, chunks: Sequence[Buffer]) -> None:
    """Insert some chunks of a file by one command; the first of them is number `first` (from 0)."""
    documents = [_chunk_document(file_id, number, data) for number, data in enumerate(chunks, first)]
    if len(documents) == 1:
        bucket.chunks.insert_one(documents[0])
    else:
        bucket.chunks.insert_many(documents)


def insert_chunks(bucket: Bucket, file_id: ObjectId, data: Buffer) -> None:
    """Insert all the chunks of a file that is held in memory."""
    chunks = _chunks_of(data)
    for first in range(0, len(chunks), STEP_CHUNKS):
        insert_some(bucket, file_id, first, chunks[first : first + STEP_CHUNKS])


def chunk_documents(file_id: ObjectId, data: Buffer) -> Iterator[dict[str, Any]]:
    """Return the documents of all the chunks of a file that is held in memory."""
    return (_chunk_document(file_id, number, chunk) for number, chunk in enumerate(_chunks_of(data)))


def _chunks_of(data: Buffer) -> list[Buffer]:
    view = data if len(data) <= CHUNK_BYTES else memoryview(data)
    return [view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES)]


def _chunk_document(file_id: ObjectId, number: int, data: Buffer) -> dict[str, Any]:
    return {"files_id": file_id, "n": number, "data": data if isinstance(data, bytes) else bytes(data)}


def insert_file(
    bucket: Bucket, file_id: ObjectId, length: int, name: str, metadata: Mapping[str, Any], now: datetime
) -> None:
    """Insert the document that makes the chunks a file."""
    bucket.files.insert_one(file_document(file_id, length, name, metadata, now))


def file_document(
    file_id: ObjectId, length: int, name: str, metadata: Mapping[str, Any], now: datetime
) -> dict[str, Any]:
    """Return the document that makes the chunks a file."""
    return {
        "_id": file_id,
        "length": length,
        "chunkSize": CHUNK_BYTES,
        "uploadDate": now,
        "filename": name,
        "metadata": dict(metadata),
    }


def remove_some(bucket: Bucket, file_id: ObjectId) -> bool:
    """Take away the document of a file, then its last chunks; called again while it says that there are more.

    What a crash leaves is chunks without a file, never a file without its chunks. From the end, so that the chunks
    that are left are always those from 0 on.
    """
    bucket.files.delete_one({"_id": file_id})
    return remove_chunks(bucket, file_id)


def remove_chunks(bucket: Bucket, file_id: ObjectId) -> bool:
    """Take away the last chunks of a file whose document is gone; called again while it says that there are more."""
    last = bucket.chunks.find_one({"files_id": file_id}, {"n": 1}, sort=[("n", -1)])
    if last is None:
        return False
    start = max(0, last["n"] + 1 - REMOVAL_CHUNKS)
    bucket.chunks.delete_many({"files_id": file_id, "n": {"$gte": start}})
    return bool(start)
