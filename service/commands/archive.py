"""Archives of originals: plain files with a manifest.

An archive is a directory, or a tar file of the same layout::

    manifest/head.jsonl          what this is, and the id namespace of the store
    manifest/000000.jsonl, …     JSON lines: patient_id, dicom_id, file_name, received_at, sha256, size, and inbox where
                                 the file waits in one
    originals/5b/5b1f….dcm       the bytes, named by the dicom_id alone
    manifest/end.jsonl           that it is whole, and what was deleted while it was written

In a tar each part of the manifest stands before its files, so that it is read and written as a stream. What names a
patient stands in the manifest and nowhere else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import tarfile
import uuid
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from service.errors import Invalid, ServiceError

FORMAT = "dicom-document-store originals"
FORMAT_VERSION = 1
MAX_PART_BYTES = 64 << 20
PIECE_BYTES = 1 << 20
BLOCK = tarfile.BLOCKSIZE

PART = re.compile(r"manifest/(?:head|end|[0-9]{6,10})\.jsonl")
_SHA256 = re.compile(r"[0-9a-f]{64}")
SLASHED = re.compile(r"(?:\./)?(.+)")


@dataclass(frozen=True, slots=True)
class ArchiveEntry:
    """One file of an archive, as its manifest names it."""

    dicom_id: str
    patient_id: str
    file_name: str | None
    received_at: datetime
    sha256: str
    size: int
    inbox: str | None = None

    @property
    def path(self) -> str:
        """Where its bytes are in the archive: told by the id, never by what the archive says."""
        return f"originals/{self.dicom_id[:2]}/{self.dicom_id}.dcm"

    def line(self) -> bytes:
        """Return its line of the manifest."""
        fields = {
            "patient_id": self.patient_id,
            "dicom_id": self.dicom_id,
            "file_name": self.file_name,
            "received_at": self.received_at.isoformat(timespec="milliseconds"),
            "sha256": self.sha256,
            "size": self.size,
            **({} if self.inbox is None else {"inbox": self.inbox}),
        }
        return json.dumps(fields, ensure_ascii=False).encode() + b"\n"


def read_entry(line: bytes) -> ArchiveEntry:
    """Read a line of a manifest; nothing in it is trusted.

    Raises
    ------
    Invalid
        If it is not one.
    """
    try:
        fields = json.loads(line)
        dicom_id, patient_id, name = fields["dicom_id"], fields["patient_id"], fields["file_name"]
        received_at = datetime.fromisoformat(fields["received_at"])
        size, sha256, inbox = fields["size"], fields["sha256"], fields.get("inbox")
        right = (
            str(uuid.UUID(dicom_id)) == dicom_id
            and isinstance(patient_id, str)
            and 1 <= len(patient_id) <= 64
            and (name is None or isinstance(name, str))
            and type(size) is int
            and size >= 0
            and _SHA256.fullmatch(sha256)
            and (inbox is None or str(uuid.UUID(inbox)) == inbox)
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        right = False
    if not right:
        raise Invalid("A line of the manifest cannot be read.")
    if received_at.tzinfo is None:
        received_at = received_at.replace(tzinfo=UTC)
    return ArchiveEntry(dicom_id, patient_id, name, received_at, sha256, size, inbox)


def make_private(directory: Path) -> None:
    """Make a directory, and those above it that are not there, for their owner alone."""
    if not directory.is_dir():
        make_private(directory.parent)
        directory.mkdir(mode=0o700, exist_ok=True)


class DirectorySink:
    """An archive as a directory, which an export goes on with where one was stopped."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def write_part(self, name: str, content: bytes) -> None:
        """Write a part of the manifest, whole or not at all."""
        path = self._directory / name
        make_private(path.parent)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)

    def drop_parts(self, keep: set[str]) -> None:
        """Remove the parts of an earlier export into the same directory."""
        for path in (self._directory / "manifest").glob("*.jsonl"):
            if f"manifest/{path.name}" not in keep:
                path.unlink(missing_ok=True)

    def has(self, entry: ArchiveEntry) -> bool:
        """Return whether a file is there; it gets its name when it is whole."""
        path = self._directory / entry.path
        return path.is_file() and path.stat().st_size == entry.size

    async def write_file(self, entry: ArchiveEntry, chunks: AsyncIterator[bytes]) -> None:
        """Write a file.

        Raises
        ------
        ServiceError
            If the bytes are not the ones of the entry; nothing is left then.
        """
        path = self._directory / entry.path
        make_private(path.parent)
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        digest = hashlib.sha256()
        try:
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
                async for chunk in chunks:
                    digest.update(chunk)
                    await asyncio.to_thread(file.write, chunk)
                file.flush()
                await asyncio.to_thread(os.fsync, file.fileno())
            if digest.hexdigest() != entry.sha256:
                raise ServiceError("The stored original is damaged: its sha256 is another than at the upload.")
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

    def close(self) -> None:
        """Do nothing: all is written."""


class TarSink:
    """An archive as a stream of tar blocks."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def write_part(self, name: str, content: bytes) -> None:
        """Write a part of the manifest."""
        self._begin(name, len(content), 0)
        self._stream.write(content)
        self._pad(len(content))

    def drop_parts(self, keep: set[str]) -> None:
        """Do nothing: a stream has no parts of an earlier export."""

    def has(self, _entry: ArchiveEntry) -> bool:
        """Return False: a stream has no files of an earlier export."""
        return False

    async def write_file(self, entry: ArchiveEntry, chunks: AsyncIterator[bytes]) -> None:
        """Write a file. Once begun it keeps its length: where bytes are missing, zeros take their place.

        Raises
        ------
        ServiceError
            If the bytes are not the ones of the entry. They stand in the archive, and an import refuses them.
        """
        first = await anext(chunks, b"")  # what is gone is not begun
        self._begin(entry.path, entry.size, entry.received_at.timestamp())
        digest = hashlib.sha256()
        written = 0
        try:
            piece = first
            while piece:
                piece = piece[: entry.size - written]
                digest.update(piece)
                await asyncio.to_thread(self._stream.write, piece)
                written += len(piece)
                piece = await anext(chunks, b"")
        finally:
            while written < entry.size:
                written += self._stream.write(bytes(min(PIECE_BYTES, entry.size - written)))
            self._pad(entry.size)
        if digest.hexdigest() != entry.sha256:
            raise ServiceError("The stored original is damaged: its sha256 is another than at the upload.")

    def close(self) -> None:
        """Write the end of the archive."""
        self._stream.write(bytes(2 * BLOCK))
        self._stream.flush()

    def _begin(self, name: str, size: int, mtime: float) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = size, int(mtime), 0o600
        self._stream.write(info.tobuf(tarfile.PAX_FORMAT))

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % BLOCK))


def open_inside(directory: Path, path: str) -> BinaryIO:
    """Open a regular file below a directory, through no symbolic link."""
    opened = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        *folders, name = path.split("/")
        for folder in folders:
            below = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=opened)
            os.close(opened)
            opened = below
        return os.fdopen(os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=opened), "rb")
    finally:
        os.close(opened)


def write_object(fields: Mapping[str, Any]) -> bytes:
    """Return the head or the end of a manifest."""
    return json.dumps(fields).encode() + b"\n"


def read_object(content: bytes) -> dict[str, Any]:
    """Read the head or the end of a manifest.

    Raises
    ------
    Invalid
        If it cannot be read.
    """
    try:
        fields = json.loads(content)
    except ValueError:
        fields = None
    if not isinstance(fields, dict):
        raise Invalid("A part of the manifest cannot be read.")
    return fields
