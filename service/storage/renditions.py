"""Cached pictures in the bucket `rendered`. It can be dropped whole at any time. Synchronous functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from service.storage.documents import Collections, visible
from service.storage.gridfs_documents import insert_chunks, insert_file, remove_some

MAX_RENDITION_BYTES = 16 * 1024 * 1024
"""A larger picture is not cached."""


@dataclass(frozen=True, slots=True)
class RenditionKey:
    """Which picture: of which frame (from 0), by which version of the renderer."""

    frame: int
    renderer: int


@dataclass(frozen=True, slots=True)
class StoredRendition:
    """A cached picture, and what was said about it when it was made."""

    data: bytes
    metadata: Mapping[str, Any]


def find_rendition(
    collections: Collections, patient_id: str, dicom_id: str, key: RenditionKey
) -> StoredRendition | None:
    """Read a cached picture; None when it is not there, or not whole."""
    file = collections.rendered.files.find_one(_metadata(patient_id, dicom_id, key))
    if file is None:
        return None
    chunks = collections.rendered.chunks.find({"files_id": file["_id"]}, {"data": 1}, sort=[("n", 1)])
    data = b"".join([chunk["data"] for chunk in chunks])
    if len(data) != file["length"]:
        return None
    return StoredRendition(data, file["metadata"]["about"])


def put_rendition(
    collections: Collections,
    patient_id: str,
    dicom_id: str,
    key: RenditionKey,
    rendition: StoredRendition,
    now: datetime,
) -> bool:
    """Cache a picture; those of other versions of the renderer go first.

    The instance is looked at again afterwards: a delete that ran meanwhile has looked for pictures already.

    Returns
    -------
    bool
        False when it was not kept: it is too large, or the instance is gone.
    """
    if len(rendition.data) > MAX_RENDITION_BYTES:
        return False
    others = {
        "metadata.dicom_id": dicom_id,
        "metadata.patient_id": patient_id,
        "metadata.renderer": {"$ne": key.renderer},
    }
    for file in list(collections.rendered.files.find(others, {"_id": 1})):
        _remove(collections, file["_id"])
    file_id = ObjectId()
    insert_chunks(collections.rendered, file_id, rendition.data)
    metadata = {
        "patient_id": patient_id,
        "dicom_id": dicom_id,
        "frame": key.frame,
        "renderer": key.renderer,
        "about": dict(rendition.metadata),
    }
    name = f"{dicom_id}/{key.frame}"
    insert_file(collections.rendered, file_id, len(rendition.data), name, metadata, now)
    if collections.instances.find_one(visible(patient_id, dicom_id), {"_id": 1}) is None:
        _remove(collections, file_id)
        return False
    return True


def _metadata(patient_id: str, dicom_id: str, key: RenditionKey) -> dict[str, Any]:
    return {
        "metadata.dicom_id": dicom_id,
        "metadata.patient_id": patient_id,
        "metadata.frame": key.frame,
        "metadata.renderer": key.renderer,
    }


def _remove(collections: Collections, file_id: ObjectId) -> None:
    while remove_some(collections.rendered, file_id):
        pass
