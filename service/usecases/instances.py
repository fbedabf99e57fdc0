"""What the use cases share of an instance: how one is made, and how one is found."""

from __future__ import annotations

from datetime import datetime

from bson import ObjectId

from schemas.database import ExtractionStatus, Instance, State
from service.dicom.extract import EXTRACTOR_VERSION, Extraction
from service.errors import NoSuchInstance
from service.storage.originals import StoredOriginal
from service.storage.visible import Visible
from service.usecases.context import Context


def new_instance(
    dicom_id: str, patient_id: str, file_name: str | None, size: int, sha256: str, received_at: datetime
) -> Instance:
    """Return an instance that has no tags yet, with a fresh `original_id`."""
    return {
        "_id": dicom_id,
        "patient_id": patient_id,
        "file_name": file_name,
        "size": size,
        "sha256": sha256,
        "original_id": ObjectId(),
        "received_at": received_at,
        "extraction": status("pending"),
        "problems": 0,
    }


def status(
    state: State,
    *,
    version: int = EXTRACTOR_VERSION,
    at: datetime | None = None,
    attempts: int = 0,
    error: str | None = None,
) -> ExtractionStatus:
    """Return what is known of an extraction."""
    return {"state": state, "version": version, "at": at, "attempts": attempts, "error": error}


def extracted(
    instance: Instance, extraction: Extraction, at: datetime, *, attempts: int = 1, version: int = EXTRACTOR_VERSION
) -> Instance:
    """Return an instance with all that follows from its extraction.

    Parameters
    ----------
    instance : Instance
        As it was.
    extraction : Extraction
        What was extracted just now.
    at : datetime
        The time.
    attempts : int, optional
        How many times it was tried.
    version : int, optional
        The extractor's.
    """
    identifiers = extraction.identifiers
    return {
        **instance,
        "study_instance_uid": identifiers["study_instance_uid"],
        "series_instance_uid": identifiers["series_instance_uid"],
        "sop_instance_uid": identifiers["sop_instance_uid"],
        "sop_class_uid": identifiers["sop_class_uid"],
        "transfer_syntax_uid": identifiers["transfer_syntax_uid"],
        "extraction": status("done", version=version, at=at, attempts=attempts),
        "problems": extraction.problems,
        "warnings": extraction.warnings,
        "truncated_at": extraction.truncated_at,
        "spilled": extraction.spilled,
    }


async def find_instance(context: Context, visible: Visible, dicom_id: str) -> Instance:
    """Return an instance, without its tree.

    Raises
    ------
    NoSuchInstance
        Where the caller may see none of this id.
    """
    instance = await context.store.instances.find(visible, dicom_id)
    if instance is None:
        raise NoSuchInstance
    return instance


async def open_original(context: Context, visible: Visible, original_id: ObjectId) -> StoredOriginal:
    """Return an instance's original, to be read by ranges.

    Raises
    ------
    NoSuchInstance
        Where it is not there: the instance was deleted a moment ago.
    """
    original = await context.store.originals.open(visible, original_id)
    if original is None:
        raise NoSuchInstance
    return original
