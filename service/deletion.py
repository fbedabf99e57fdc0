"""The use case: an instance and everything that came from it, gone."""

from __future__ import annotations

from service.context import Context
from service.errors import NotFound


async def delete(context: Context, patient_id: str, dicom_id: str) -> None:
    """Remove an instance: its index, renditions, original bytes, and the document last.

    Raises
    ------
    NotFound
        Where the patient has no such instance.
    DatabaseUnavailable
        Where the database does not answer; what was begun is finished by recovery.
    """
    if not await context.store.delete_instance(patient_id, dicom_id):
        raise NotFound("There is no such instance.")
