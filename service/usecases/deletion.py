"""The use case: an instance and everything that came from it, gone."""

from __future__ import annotations

from service.errors import NoSuchInstance, Unavailable
from service.usecases.audit import AuditEntry
from service.usecases.context import Context


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
    if await context.store.audit.append([intent]):
        context.metrics.audit("lost")
        raise Unavailable("A delete must be audited, and the audit cannot be written.", retry_after=5)
    context.metrics.audit("written")
    deleted = await context.store.deletion.delete(patient_id, dicom_id)
    if deleted is None:
        raise NoSuchInstance
    context.near.forget(deleted["original_id"], deleted["sha256"])
