"""The use case: a patient takes what came by an inbox, or declines it.

What is accepted is stored again as an upload of the patient's own, under the id that such has, and the inbox's copy is
deleted after that. So a crash in between leaves a file that waits still, and the next try finds it stored already. The
answer is noted before: of two who answer at once, one to accept and one to decline, only one goes on.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from schemas.database import Instance
from service.errors import Invalid, NoSuchShare, NotFound, ServiceError, StorageFull, Unavailable
from service.storage.visible import Visible
from service.usecases import ingest
from service.usecases.audit import AuditEntry
from service.usecases.context import Context
from service.usecases.deletion import remove, write_intent
from service.usecases.instances import open_original

AT_ONCE = 1000
"""Files of one request."""

SECONDS = 20.0
"""How long one request goes on with them; what is left is told."""

NOT_THERE = "One of the files did not come by this inbox."


@dataclass(slots=True)
class Answered:
    """What became of files that came by an inbox.

    Parameters
    ----------
    accepted : dict of str to str
        The ids of the patient's own files by those in the inbox.
    declined : list of str
        Those that were declined.
    left : int
        How many still wait of those that were meant, or are being answered otherwise at the same time.
    """

    accepted: dict[str, str] = field(default_factory=dict)
    declined: list[str] = field(default_factory=list)
    left: int = 0

    def note(self, dicom_id: str, accepted_as: str | None) -> None:
        """Note what became of one."""
        if accepted_as is None:
            self.declined.append(dicom_id)
        else:
            self.accepted[dicom_id] = accepted_as


async def answer_files(
    context: Context, share_id: str, chosen: Sequence[str] | None, *, decline: bool, intent: AuditEntry
) -> Answered:
    """Accept or decline files that came by an inbox, whether it has ended or not.

    Parameters
    ----------
    share_id : str
        The inbox.
    chosen : sequence of str or None
        The files by their ids in the inbox; None: all, or as many as there is time for. One that was answered before
        is told as it was.
    decline : bool
        Whether they are declined.
    intent : AuditEntry
        Who wants it, and of which patient. It is written to the audit first, because files are deleted.

    Raises
    ------
    NoSuchShare
        The patient has no such inbox, and nothing that came by one.
    Invalid
        One of the files did not come by it.
    StorageFull
        There is no room for another copy, and none was accepted.
    Unavailable
        The database is away, and none was answered.
    """
    patient_id, inboxes = intent.patient_id, context.store.inboxes
    share = await context.store.shares.find(patient_id, share_id)
    is_inbox = share is not None and share["inbox"] is not None
    before = {} if share is None else share["answered"]
    answered = Answered()
    if chosen is None:
        waiting, more = await inboxes.list_waiting(patient_id, share_id, AT_ONCE, 0)
        answered.left = await inboxes.count_waiting(patient_id, share_id) - len(waiting) if more else 0
    else:
        found = await inboxes.find_waiting(patient_id, share_id, chosen)
        waiting = list(found.values())
        for dicom_id in dict.fromkeys(chosen):
            if dicom_id in before and dicom_id not in found:
                answered.note(dicom_id, before[dicom_id])
            elif dicom_id not in found:
                raise Invalid(NOT_THERE) if is_inbox else NoSuchShare()
    if not is_inbox and not waiting:  # what came by one that is forgotten can be answered still
        raise NoSuchShare
    if waiting:
        await write_intent(context, replace(intent, dicom_ids=tuple(instance["_id"] for instance in waiting)))
        await _answer_each(context, share_id, waiting, before, answered, decline=decline)
    return answered


async def _answer_each(
    context: Context,
    share_id: str,
    waiting: Sequence[Instance],
    before: Mapping[str, str | None],
    answered: Answered,
    *,
    decline: bool,
) -> None:
    ends = time.monotonic() + SECONDS
    first_error: ServiceError | None = None
    done = 0
    for instance in waiting:
        if time.monotonic() > ends and done:
            break
        try:
            patient_id, sha256 = instance["patient_id"], instance["sha256"]
            accepted_as = None if decline else await context.store.namespaces.settle_id(patient_id, sha256)
            if not await context.store.inboxes.note_answer(share_id, instance["_id"], before, accepted_as):
                continue
            if accepted_as is not None:
                await _accept(context, share_id, instance, before, accepted_as)
            await remove(context, patient_id, instance["_id"])
        except NotFound:  # somebody else has answered it meanwhile
            done += 1
            continue
        except ServiceError as error:
            first_error = first_error or error
            if isinstance(error, Unavailable | StorageFull):
                break
            continue
        answered.note(instance["_id"], accepted_as)
        done += 1
    answered.left += len(waiting) - done
    if first_error is not None and not done:
        raise first_error


async def _accept(
    context: Context, share_id: str, instance: Instance, before: Mapping[str, str | None], accepted_as: str
) -> None:
    """Store what came by an inbox as an upload of the patient's own; where that fails its answer is taken back."""
    patient_id = instance["patient_id"]
    try:
        original = await open_original(context, Visible(patient_id), instance)
        await ingest.store_upload(context, patient_id, instance["file_name"], original.content.iter_range())
    except ServiceError:
        with contextlib.suppress(Unavailable):  # then the next answer takes its place
            if await context.store.instances.find(Visible(patient_id), accepted_as) is None:
                await context.store.inboxes.take_back_answer(share_id, instance["_id"], before, accepted_as)
        raise
