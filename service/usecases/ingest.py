"""The use case: bytes in; original, index and document at rest.

The order is what makes a crash harmless: the file is received and hashed, extracted, its original written, then its
index, and the whole instance last. That insert is the commit point, so an instance is there whole or not at all.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from schemas.database import ExtractionStatus, State
from service.dicom.extract import Extraction, extract, extract_packed, unpack
from service.dicom.limits import OverBudget
from service.errors import InboxFull, LimitExceeded, ServiceError, StorageFull, Unavailable, WorkerLost
from service.storage.visible import Visible, shares_of
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.inboxes import InboxUpload
from service.usecases.instances import extracted, new_instance
from service.usecases.receiving import Received, receive

IN_PROCESS_ELEMENTS = 2000
"""Elements up to which a small file is extracted by the service's own process: a few milliseconds of work."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of an upload.

    Parameters
    ----------
    dicom_id : str
        The instance's id.
    created : bool
        False where the patient had these bytes already.
    state : State
        ``done``, or ``pending`` while its tags cannot be read yet.
    problems : int
        How many elements could not be converted.
    truncated_at : int or None
        The byte at which a cut file stopped.
    """

    dicom_id: str
    created: bool
    state: State
    problems: int = 0
    truncated_at: int | None = None


async def store_upload(
    context: Context,
    patient_id: str,
    file_name: str | Callable[[Mapping[str, Any]], str | None] | None,
    chunks: AsyncIterator[bytes],
    *,
    respond_async: bool = False,
    check: Callable[[Mapping[str, str | None]], None] | None = None,
    inspect: Callable[[Extraction | None], None] | None = None,
    inbox: InboxUpload | None = None,
) -> Stored:
    """Store one DICOM file for a patient; the same bytes give the same id and are stored once.

    Parameters
    ----------
    patient_id : str
        Whose file it is.
    file_name : str, callable or None
        The name the client gave it, or what makes one of its tree.
    chunks : async iterator of bytes
        The file as it arrives.
    respond_async : bool
        Whether to come back as soon as the original is durable, and extract later.
    check : callable, optional
        Takes the identifiers of the file once it is extracted, before anything is stored. What it raises refuses it.
    inspect : callable, optional
        The same with all that was extracted, or None where the file is to be kept without.
    inbox : InboxUpload, optional
        The inbox by which it comes. It is then stored under an id of the inbox's, and said to be new in any case.

    Raises
    ------
    NotDicom, LimitExceeded, TooLarge
        The file is refused, and nothing of it is kept.
    StorageFull
        The patient's files take as many bytes as they may.
    InboxFull, Unauthorized
        The inbox takes no more, or its session has ended.
    Unavailable
        The database is away, or there is no room.
    """
    with _counted(context):
        if inbox is None:
            return await _store(context, patient_id, file_name, chunks, respond_async, check, inspect)
        try:
            pieces = inbox.measured(chunks)
            stored = await _store(context, patient_id, file_name, pieces, respond_async, check, inspect, inbox)
        except StorageFull:  # whose sentence says what the patient has
            raise InboxFull from None
        return stored


@contextlib.contextmanager
def _counted(context: Context) -> Iterator[None]:
    """Count an upload that is not stored."""
    try:
        yield
    except Unavailable:
        context.metrics.upload("unavailable")
        raise
    except ServiceError:
        context.metrics.upload("refused")
        raise
    except BaseException:  # its sender went away, or something is wrong here
        context.metrics.upload("broken")
        raise


async def _store(
    context: Context,
    patient_id: str,
    file_name: str | Callable[[Mapping[str, Any]], str | None] | None,
    chunks: AsyncIterator[bytes],
    respond_async: bool,
    check: Callable[[Mapping[str, str | None]], None] | None,
    inspect: Callable[[Extraction | None], None] | None,
    inbox: InboxUpload | None = None,
) -> Stored:
    settings = context.settings
    context.near.make_room()
    if settings.mongodb_uri is None:  # the local database does not survive a full disk without a restart
        spool.check_room(settings.data_dir, settings.min_free_bytes)
    spooling = (settings.spool_dir, settings.max_upload_bytes, settings.min_free_bytes)
    async with receive(chunks, *spooling) as received:
        if inbox is None:
            dicom_id = await context.store.namespaces.settle_id(patient_id, received.sha256)
        else:
            dicom_id = inbox.id_of(received.sha256)
        sent_name = file_name if isinstance(file_name, str) else None
        instance = new_instance(dicom_id, patient_id, sent_name, received.size, received.sha256, context.clock())
        if inbox is not None:
            instance["inbox"] = inbox.share_id
        elif not isinstance(received.source, bytes):  # a small one shows itself by its key when it is stored
            present = await _find_present(context, patient_id, dicom_id)
            if present is not None:
                context.metrics.upload("present")
                return present
        caller = patient_id if inbox is None else shares_of(patient_id)
        # Whoever puts something into an inbox could tell by the time whether such a file had come before.
        apart = inbox is not None
        extraction = None if respond_async else await _extract_or_leave(context, received, caller, apart=apart)
        if inspect is not None:
            inspect(extraction)
        if inbox is not None:
            await inbox.check(patient_id, received.size)
        if extraction is None:
            committed = await context.store.uploads.store_pending(instance, received.source)
            if committed:
                context.unfinished.set()
            stored = Stored(dicom_id, created=True, state="pending")
        else:
            if check is not None:
                check(extraction.identifiers)
            if callable(file_name):
                instance["file_name"] = file_name(extraction.dataset)
            whole = extracted(instance, extraction, context.clock())
            committed = await context.store.uploads.store(whole, extraction, received.source)
            stored = Stored(dicom_id, True, "done", extraction.problems, extraction.truncated_at)
        if committed and not isinstance(received.source, bytes):
            await context.near.take_spooled(instance["original_id"], received.sha256, received.size, received.source)
        if inbox is not None:
            inbox.note_stored(received.size)
        if committed or inbox is not None:  # nobody is told whether it had come by the inbox before
            context.metrics.upload("pending" if extraction is None else "stored", received.size)
            return stored
        present = await _find_present(context, patient_id, dicom_id)
        if present is None:
            raise Unavailable("The same file is being deleted. Send it again when that is over.")
        context.metrics.upload("present")
        return present


async def extract_in_worker(
    context: Context, source: bytes | Path, caller: str = "", *, apart: bool = False
) -> Extraction:
    """Extract a file, given as bytes or as a path, in a worker process.

    Parameters
    ----------
    caller : str
        Whose turn it is.
    apart : bool
        As of :func:`service.dicom.extract.extract`.

    Raises
    ------
    NotDicom, LimitExceeded
        The file is none that can be stored.
    WorkerLost
        The worker crashed, or ran out of time.
    """
    seconds = context.settings.extraction_timeout
    with context.metrics.work("extraction", "worker"):
        packed = await context.workers.run(
            extract_packed, source, context.limits, apart, timeout=seconds, caller=caller
        )
    return unpack(packed)


async def _extract_or_leave(context: Context, received: Received, caller: str, *, apart: bool) -> Extraction | None:
    """Extract here what is small, and in a worker what is not; None where the worker did not survive it."""
    source = received.source
    if isinstance(source, bytes) and received.size <= context.settings.in_process_bytes:
        inflated = min(context.limits.max_inflated_bytes, 4 * received.size)
        limits = replace(context.limits, max_inflated_bytes=inflated, max_elements=IN_PROCESS_ELEMENTS)
        try:
            with context.metrics.work("extraction", "service"):
                return extract(source, limits, apart=apart)
        except (OverBudget, LimitExceeded):
            pass  # a worker has more time and room, and its word is the last
    try:
        return await extract_in_worker(context, source, caller, apart=apart)
    except WorkerLost:  # the file may be the cause: it is kept, and tried again later
        return None


async def _find_present(context: Context, patient_id: str, dicom_id: str) -> Stored | None:
    """Find what the patient has under the same bytes; a failed extraction is queued again."""
    present = await context.store.instances.find(Visible(patient_id), dicom_id)
    if present is None:
        return None
    state = present["extraction"]["state"]
    if state == "failed":
        state = "pending"
        pending: ExtractionStatus = {**present["extraction"], "state": state, "attempts": 0, "retry_at": None}
        await context.store.instances.set_extraction(present, pending)
        context.unfinished.set()
    return Stored(
        present["_id"],
        created=False,
        state=state,
        problems=present.get("problems") or 0,
        truncated_at=present.get("truncated_at"),
    )
