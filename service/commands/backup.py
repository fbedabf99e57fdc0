"""The use case: originals out of a store into an archive, and into another store again, under the same ids."""

from __future__ import annotations

import asyncio
import contextlib
import tarfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from schemas.database import Instance
from service.commands.archive import (
    FORMAT,
    FORMAT_VERSION,
    MAX_PART_BYTES,
    PART,
    PIECE_BYTES,
    SLASHED,
    ArchiveEntry,
    DirectorySink,
    TarSink,
    open_inside,
    read_entry,
    read_object,
    write_object,
)
from service.errors import DatabaseUnavailable, Invalid, NotFound, Overloaded, ServiceError
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.ingest import extract_in_worker
from service.usecases.instances import extracted, new_instance, status
from service.usecases.receiving import Received, receive

PART_FILES = 200
MAX_NAMED = 1000


@dataclass
class ArchiveReport:
    """What came of an export or an import, counted in files."""

    done: int = 0
    present: int = 0
    gone: int = 0
    failed: int = 0
    unextracted: int = 0
    bytes: int = 0
    passed: int = 0
    total: int | None = None
    own_namespace: bool = True
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, name: str, error: str) -> None:
        """Count a failure, and name the first ones."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED:
            self.failures.append({"dicom_id": name, "error": error})


Show = Callable[[ArchiveReport], None]


async def export_originals(
    context: Context, sink: DirectorySink | TarSink, *, patient_id: str | None = None, show: Show = lambda _: None
) -> ArchiveReport:
    """Write every original, or a patient's, with the manifest. What is stored meanwhile may be in it or not.

    Parameters
    ----------
    sink : DirectorySink or TarSink
        Where to.
    patient_id : str, optional
        Only this patient's.
    show : callable, optional
        Is told of the progress.

    Raises
    ------
    DatabaseUnavailable
        Where the database goes away.
    """
    report = ArchiveReport()
    maintenance = context.store.maintenance
    meta = await maintenance.read_meta()
    head = {
        "format": FORMAT,
        "version": FORMAT_VERSION,
        "namespace": meta["namespace"],
        "other_namespaces": meta.get("other_namespaces", []),
        "exported_at": context.clock().isoformat(),
    }
    report.total = await maintenance.count_originals(patient_id)
    parts = {"manifest/head.jsonl"}
    withdrawn: list[str] = []
    sink.write_part("manifest/head.jsonl", write_object(head))
    async for page in maintenance.walk(patient_id=patient_id, page=PART_FILES):
        entries = [_entry_of(instance) for instance in page.instances]
        if entries:
            name = f"manifest/{len(parts) - 1:06}.jsonl"
            parts.add(name)
            sink.write_part(name, b"".join(entry.line() for entry in entries))
        for instance, entry in zip(page.instances, entries, strict=True):
            if not await _export_one(context, sink, instance, entry, report):
                withdrawn.append(entry.dicom_id)
            show(report)
        report.passed += page.originals
    sink.write_part("manifest/end.jsonl", write_object({"end": True, "parts": len(parts) - 1, "withdrawn": withdrawn}))
    sink.drop_parts(parts | {"manifest/end.jsonl"})
    sink.close()
    return report


async def _export_one(
    context: Context, sink: DirectorySink | TarSink, instance: Instance, entry: ArchiveEntry, report: ArchiveReport
) -> bool:
    """Write one file. False when there is none to be expected in the archive."""
    if sink.has(entry):
        report.present += 1
        return True
    try:
        original = await context.store.originals.open(Visible(entry.patient_id), instance["original_id"])
        if original is None:
            raise NotFound("The original is not there.")
        await sink.write_file(entry, original.iter_range())
    except DatabaseUnavailable:
        raise
    except ServiceError as error:
        if await context.store.instances.find(Visible(entry.patient_id), entry.dicom_id) is None:
            report.gone += 1
            return False
        report.fail(entry.dicom_id, str(error))
        return True
    report.done += 1
    report.bytes += entry.size
    return True


def _entry_of(instance: Instance) -> ArchiveEntry:
    return ArchiveEntry(
        dicom_id=instance["_id"],
        patient_id=instance["patient_id"],
        file_name=instance["file_name"],
        received_at=instance["received_at"],
        sha256=instance["sha256"],
        size=instance["size"],
        inbox=instance.get("inbox"),
    )


class Import:
    """One import: reads manifests, takes the files they name, and stores them while the next ones are read.

    Parameters
    ----------
    report : ArchiveReport
        Is filled.
    show : callable
        Is told of the progress.
    """

    def __init__(self, context: Context, report: ArchiveReport, show: Show) -> None:
        self._context = context
        self._report = report
        self._show = show
        self._running: set[asyncio.Task[None]] = set()
        self._begun = False
        self._whole = False
        self.expected: dict[str, ArchiveEntry] = {}
        self._withdrawn: set[str] = set()

    async def take_part(self, name: str, content: bytes) -> None:
        """Read a part of the manifest.

        Raises
        ------
        Invalid
            If the archive does not begin with its head, or is of another kind.
        """
        if name == "manifest/head.jsonl":
            await self._take_head(content)
            return
        if not self._begun:
            raise Invalid("This is not an archive of originals: it does not begin with manifest/head.jsonl.")
        if name == "manifest/end.jsonl":
            end = read_object(content)
            self._whole = end.get("end") is True
            self._withdrawn = set(map(str, end.get("withdrawn") or ()))
            return
        entries = []
        for line in content.splitlines():
            try:
                entries.append(read_entry(line))
            except Invalid as error:
                self._report.fail(name, str(error))
        await self._choose(entries)

    async def _take_head(self, content: bytes) -> None:
        head = read_object(content)
        if head.get("format") != FORMAT or head.get("version") != FORMAT_VERSION:
            raise Invalid("This is not an archive of originals that this version reads.")
        try:
            own, *others = [str(uuid.UUID(each)) for each in (head["namespace"], *head.get("other_namespaces", ()))]
        except (KeyError, ValueError, TypeError, AttributeError):
            raise Invalid("The head of the archive has no id namespace.") from None
        store = self._context.store
        self._report.own_namespace = await store.namespaces.take(own, others)
        self._begun = True

    async def _choose(self, entries: Iterable[ArchiveEntry]) -> None:
        """Expect what is not here yet, under its own id or as the same bytes of the same patient."""
        store = self._context.store
        both = {entry: {entry.dicom_id, *self._own_ids(entry)} for entry in entries}
        present = await store.instances.find_present(sorted(set().union(*both.values())))
        for entry, ids in both.items():
            if ids & present:
                self._report.present += 1
                self._report.passed += 1
            else:
                self.expected[entry.path] = entry

    def _own_ids(self, entry: ArchiveEntry) -> list[str]:
        """Return the id that the same bytes have here; what waits in an inbox is no file of the patient's own yet."""
        own_id = self._context.store.namespaces.own_id
        return [own_id(entry.patient_id, entry.sha256)] if entry.inbox is None else []

    async def take_file(self, entry: ArchiveEntry, chunks: AsyncIterator[bytes]) -> None:
        """Take in the bytes of a file that is expected; it is stored while the caller goes on."""
        self.expected.pop(entry.path, None)
        self._report.passed += 1
        while len(self._running) >= self._context.workers.size + 1:
            await self._settle(asyncio.FIRST_COMPLETED)
        stack = contextlib.AsyncExitStack()
        settings = self._context.settings
        try:
            incoming = receive(chunks, settings.spool_dir, max(entry.size, 1))
            received = await stack.enter_async_context(incoming)
            if (received.size, received.sha256) != (entry.size, entry.sha256):
                raise Invalid("The file is damaged: its size or sha256 is not the one in the manifest.")
        except Overloaded:
            await stack.aclose()
            raise
        except ServiceError as error:
            await stack.aclose()
            self._report.fail(entry.dicom_id, f"Refused: {error}")
            return
        self._running.add(asyncio.create_task(self._store(entry, received, stack)))

    async def _store(self, entry: ArchiveEntry, received: Received, stack: contextlib.AsyncExitStack) -> None:
        async with stack:
            instance = new_instance(
                entry.dicom_id, entry.patient_id, entry.file_name, entry.size, entry.sha256, entry.received_at
            )
            if entry.inbox is not None:
                instance["inbox"] = entry.inbox
            source = received.source
            uploads = self._context.store.uploads
            try:
                extraction = await extract_in_worker(self._context, source)
            except (DatabaseUnavailable, Overloaded):
                raise
            except ServiceError as error:  # it was acknowledged once, so its bytes are kept whatever is made of them
                instance["extraction"] = status("failed", attempts=1, error=str(error))
                stored = await uploads.store_pending(instance, source)
                self._report.unextracted += stored
            else:
                whole = extracted(instance, extraction, self._context.clock())
                stored = await uploads.store(whole, extraction, source)
        self._report.done += stored
        self._report.present += not stored
        self._report.bytes += entry.size * stored
        self._show(self._report)

    async def _settle(self, when: str) -> None:
        if self._running:
            finished, self._running = await asyncio.wait(self._running, return_when=when)
            for each in finished:
                each.result()

    async def finish(self) -> None:
        """Wait for what is being stored, and count what the archive does not have."""
        await self._settle(asyncio.ALL_COMPLETED)
        for entry in self.expected.values():
            if entry.dicom_id in self._withdrawn:
                self._report.gone += 1
            else:
                self._report.fail(entry.dicom_id, "The manifest names it, and the archive does not have it.")
        if not self._begun:
            raise Invalid("This is not an archive of originals: it has no manifest/head.jsonl.")
        if not self._whole:
            self._report.fail("manifest/end.jsonl", "The archive is cut, or its export was not finished.")

    async def abandon(self) -> None:
        """Stop what is being stored."""
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


async def import_directory(context: Context, directory: Path, *, show: Show = lambda _: None) -> ArchiveReport:
    """Store what an archive in a directory holds and the store does not.

    Raises
    ------
    Invalid
        If it is not such an archive.
    DatabaseUnavailable, Overloaded
        Where it cannot go on now. What is stored stays, and another import goes on from there.
    """
    report = ArchiveReport()
    work = Import(context, report, show)
    names = sorted(path.name for path in (directory / "manifest").glob("*.jsonl") if path.name[0].isdigit())
    if not (directory / "manifest" / "head.jsonl").is_file():
        raise Invalid("This is not an archive of originals: it has no manifest/head.jsonl.")
    try:
        for name in ("head.jsonl", *names, "end.jsonl"):
            path = directory / "manifest" / name
            if path.is_file() and path.stat().st_size <= MAX_PART_BYTES:
                await work.take_part(f"manifest/{name}", path.read_bytes())
            for entry in list(work.expected.values()):
                try:
                    file = open_inside(directory, entry.path)
                except OSError:
                    continue  # it stays expected, and is named at the end
                with file:
                    await work.take_file(entry, _pieces(file))
        await work.finish()
    finally:
        await work.abandon()
    return report


async def import_tar(context: Context, stream: BinaryIO, *, show: Show = lambda _: None) -> ArchiveReport:
    """Store what an archive in a tar stream holds and the store does not; it may be compressed.

    Raises
    ------
    Invalid
        If it is not such an archive.
    DatabaseUnavailable, Overloaded
        Where it cannot go on now.
    """
    report = ArchiveReport()
    work = Import(context, report, show)
    try:
        try:
            archive = await asyncio.to_thread(tarfile.open, fileobj=stream, mode="r|*")
            while (member := await asyncio.to_thread(archive.next)) is not None:
                archive.members.clear()  # type: ignore[attr-defined] # a stream is not gone back in, and memory stays bounded
                match = SLASHED.fullmatch(member.name)
                name = match[1] if match else ""
                content = archive.extractfile(member) if member.isreg() else None
                if content is None:
                    continue
                if PART.fullmatch(name) and member.size <= MAX_PART_BYTES:
                    await work.take_part(name, await asyncio.to_thread(content.read))
                elif name in work.expected:
                    await work.take_file(work.expected[name], _pieces(content))
        except (tarfile.TarError, EOFError, OSError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise
            report.fail("archive", "The tar file is cut or damaged; what stood before was taken.")
        await work.finish()
    finally:
        await work.abandon()
    return report


async def _pieces(file: Any) -> AsyncIterator[bytes]:
    while piece := await asyncio.to_thread(file.read, PIECE_BYTES):
        yield piece
