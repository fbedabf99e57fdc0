"""Deleting an instance: marked first, so that it is invisible from then on; the instance itself goes last.

Whatever stops a delete in the middle leaves an instance that is marked, and :func:`next_step` takes it further: it
is the same for the delete, for recovery, and for an upload of the same bytes. Synchronous; each step is one hop to
a thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.storage.collections import ENVELOPE, Collections, Document, visible
from service.storage.gridfs_documents import remove_some
from service.storage.renditions import remove_matching
from service.storage.series import SeriesElements, retire_from_series


def mark_deleting(collections: Collections, patient_id: str, dicom_id: str) -> Document | None:
    """Mark an instance as being deleted, and return its envelope; None if there is none."""
    envelope = collections.instances.find_one_and_update(
        visible(patient_id, dicom_id), {"$set": {"extraction.state": "deleting"}}, projection=ENVELOPE
    )
    if envelope is not None:
        # Studies are counted from what stands beside the originals.
        collections.originals.files.update_one(
            {"_id": envelope["original_id"]}, {"$unset": {"metadata.sop_instance_uid": ""}}
        )
    return envelope


def next_step(collections: Collections, envelope: Mapping[str, Any], elements: SeriesElements) -> bool:
    """Take a marked instance's delete further. True while there is more to do.

    Every command names the original of this one upload: the same bytes may be stored anew under the same id while
    a delete that met a crash is finished twice.
    """
    same = {name: envelope[name] for name in ("_id", "patient_id", "original_id")}
    collections.tag_index.delete_one(same)
    retire_from_series(collections, envelope, elements)
    remove_renditions(collections, envelope["patient_id"], envelope["_id"])
    if remove_some(collections.originals, envelope["original_id"]):
        return True
    collections.instances.delete_one({**same, "extraction.state": "deleting"})
    return False


def remove_renditions(collections: Collections, patient_id: str, dicom_id: str) -> None:
    """Remove the cached pictures of an instance."""
    remove_matching(collections, {"metadata.dicom_id": dicom_id, "metadata.patient_id": patient_id})
