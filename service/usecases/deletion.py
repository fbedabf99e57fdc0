"""The use cases: an instance, a series or a study and everything that came from it, gone."""

from __future__ import annotations

import time
from dataclasses import replace

from service.errors import NoSuchInstance, NotFound, Unavailable
from service.usecases.audit import AuditEntry, parts_of
from service.usecases.context import Context

FINISH_SECONDS = 20.0
"""How long a request finishes the delete of what it has marked; recovery does the rest."""


async def delete(context: Context, patient_id: str, dicom_id: str, intent: AuditEntry) -> None:
    """Remove an instance: its index, renditions, original bytes, and the document last.

    Parameters
    ----------
    patient_id, dicom_id : str
        Whose, and which instance.
    intent : AuditEntry
        Who wants it. It is written to the audit first, and nothing is deleted where it cannot be.

    Raises
    ------
    NoSuchInstance
        Where the patient has no such instance.
    Unavailable
        Where the intent cannot be written, or the database does not answer; what was begun is finished by recovery.
    """
    await write_intent(context, intent)
    await remove(context, patient_id, dicom_id)


async def remove(context: Context, patient_id: str, dicom_id: str) -> None:
    """Remove an instance whose delete is written to the audit already. Raises what :func:`delete` does."""
    deleted = await context.store.deletion.delete(patient_id, dicom_id)
    if deleted is None:
        raise NoSuchInstance
    context.near.forget(deleted["original_id"], deleted["sha256"])


async def delete_study(
    context: Context, patient_id: str, study: str, series: str | None, intent: AuditEntry
) -> tuple[list[str], int]:
    """Remove every instance of a study, or of a series of it; from the first moment on none of them is seen.

    Parameters
    ----------
    patient_id : str
        Whose.
    study : str
        Study Instance UID.
    series : str or None
        Series Instance UID, where only that series is meant.
    intent : AuditEntry
        Who wants it. It is written to the audit first, with every instance.

    Returns
    -------
    list of str, int
        The ids of what was deleted, and of how many of them bytes are left for recovery to remove.

    Raises
    ------
    NotFound
        The patient has no such study or series.
    Unavailable
        The intent cannot be written, or the database does not answer before anything is marked.
    """
    dicom_ids = await context.store.deletion.list_of_study(patient_id, study, series)
    if not dicom_ids:
        raise NotFound(f"There is no such {'study' if series is None else 'series'}.")
    await write_intent(context, replace(intent, dicom_ids=tuple(dicom_ids)))
    marked = await context.store.deletion.mark_study(patient_id, study, series, dicom_ids)
    left = len(marked)
    ends = time.monotonic() + FINISH_SECONDS
    try:
        for instance in marked:
            if time.monotonic() > ends:
                break
            await context.store.deletion.finish(instance)
            context.near.forget(instance["original_id"], instance["sha256"])
            left -= 1
    except Unavailable:  # what is marked is finished when the database is back
        pass
    finally:
        if left:
            context.unfinished.set()
    return dicom_ids, left


async def write_intent(context: Context, intent: AuditEntry) -> None:
    """Write to the audit that something is about to be deleted.

    Raises
    ------
    Unavailable
        It cannot be written, and so nothing may be deleted.
    """
    entries = parts_of(intent)
    if await context.store.audit.append(entries):
        context.metrics.audit("lost")
        raise Unavailable("A delete must be audited, and the audit cannot be written.", retry_after=5)
    context.metrics.audit("written", len(entries))
