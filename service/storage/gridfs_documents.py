"""Files as GridFS's own documents: ``chunks`` as they come, then one document in ``files``.

Written directly, because a driver's upload stream looks into both collections before each file and holds many
chunks back. Any driver's bucket reads what is written here: GridFS is a convention about these two collections.
All functions are synchronous; they run in a thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.database import Database

CHUNK_BYTES = 1024 * 1024
"""Bytes of a new file's chunks but the last; each file's own document says how long its chunks are."""

STEP_CHUNKS = 4
"""So many chunks of a large file are inserted by one command: a command costs more than the bytes in it."""

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
    documents = [
        {"files_id": file_id, "n": number, "data": data if isinstance(data, bytes) else bytes(data)}
        for number, data in enumerate(chunks, first)
    ]
    if len(documents) == 1:
        bucket.chunks.insert_one(documents[0])
    else:
        bucket.chunks.insert_many(documents)


def insert_chunks(bucket: Bucket, file_id: ObjectId, data: Buffer) -> None:
    """Insert all the chunks of a file that is held in memory."""
    view = data if len(data) <= CHUNK_BYTES else memoryview(data)
    chunks = [view[start : start + CHUNK_BYTES] for start in range(0, len(view), CHUNK_BYTES)]
    for first in range(0, len(chunks), STEP_CHUNKS):
        insert_some(bucket, file_id, first, chunks[first : first + STEP_CHUNKS])


def insert_file(
    bucket: Bucket, file_id: ObjectId, length: int, name: str, metadata: Mapping[str, Any], now: datetime
) -> None:
    """Insert the document that makes the chunks a file."""
    bucket.files.insert_one(
        {
            "_id": file_id,
            "length": length,
            "chunkSize": CHUNK_BYTES,
            "uploadDate": now,
            "filename": name,
            "metadata": dict(metadata),
        }
    )


def remove_some(bucket: Bucket, file_id: ObjectId) -> bool:
    """Take away the document of a file, then its last chunks; called again while it says that there are more.

    What a crash leaves is chunks without a file, never a file without its chunks. From the end, so that the chunks
    that are left are always those from 0 on.
    """
    bucket.files.delete_one({"_id": file_id})
    last = bucket.chunks.find_one({"files_id": file_id}, {"n": 1}, sort=[("n", -1)])
    if last is None:
        return False
    start = max(0, last["n"] + 1 - REMOVAL_CHUNKS)
    bucket.chunks.delete_many({"files_id": file_id, "n": {"$gte": start}})
    return bool(start)
