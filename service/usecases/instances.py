"""What the use cases share of an instance: how one is made, and how one is found."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from schemas.database import ExtractionStatus, Instance, State
from service.dicom.extract import EXTRACTOR_VERSION, Extraction
from service.dicom.withheld import without_originals
from service.errors import NoSuchInstance
from service.storage.originals import StoredOriginal
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.near import NearOriginal

LOOK_BYTES = 4 << 20
"""After so many bytes of an answer it is looked at again whether they may be seen."""


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


def shown_tree(visible: Visible, instance: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return what a caller may see of as much of an instance's tree as was read."""
    tree: Mapping[str, Any] = instance.get("dataset") or {}
    return tree if visible.originals else without_originals(tree)


@dataclass(frozen=True, slots=True)
class Original:
    """An instance's original on its way to its reader.

    Parameters
    ----------
    context : Context
        Where it is.
    visible : Visible
        What its reader may see.
    instance : Instance
        Whose it is.
    content : StoredOriginal or NearOriginal
        Its bytes.
    """

    context: Context
    visible: Visible
    instance: Instance
    content: StoredOriginal | NearOriginal

    @property
    def length(self) -> int:
        """How many bytes it is."""
        return self.content.length

    async def look(self) -> None:
        """Look whether it may still be seen.

        Raises
        ------
        NoSuchInstance
            Where its instance was deleted meanwhile.
        """
        await find_instance(self.context, self.visible, self.instance["_id"])

    def read(self, start: int, stop: int) -> AsyncIterator[bytes]:
        """Return the bytes from one place up to another for a caller; the whole is near once it has passed."""
        pieces = while_seen(self.look, self.content.iter_range(start, stop))
        if isinstance(self.content, NearOriginal) or (start, stop) != (0, self.length):
            return pieces
        return self.context.near.filling(self.instance["original_id"], self.instance["sha256"], self.length, pieces)


async def open_original(context: Context, visible: Visible, instance: Instance) -> Original:
    """Return an instance's original: from near by where it is, else from the database.

    That the instance may be seen was asked just before.

    Raises
    ------
    NoSuchInstance
        Where it is not there: the instance was deleted a moment ago.
    """
    original_id = instance["original_id"]
    content: StoredOriginal | NearOriginal | None = await context.near.open(original_id)
    if content is None:
        content = await context.store.originals.open_of(visible, instance)
    if content is None:
        raise NoSuchInstance
    return Original(context, visible, instance, content)


async def while_seen(look: Callable[[], Awaitable[Any]], pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the pieces of a long answer, and look every few MiB whether they may still be seen.

    Parameters
    ----------
    look : callable
        Raises where they may not.
    pieces : async iterator of bytes
        The answer.
    """
    passed = 0
    async for piece in pieces:
        if passed >= LOOK_BYTES:
            await look()
            passed = 0
        passed += len(piece)
        yield piece
