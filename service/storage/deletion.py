"""Deleting an instance: marked first, so that it is invisible from then on; the instance itself goes last.

Whatever stops a delete in the middle leaves an instance that is marked, and :func:`next_step` takes it further: it
is the same for the delete, for recovery, and for an upload of the same bytes. The functions are synchronous.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document, same_upload
from service.storage.renditions import remove_matching
from service.storage.series import retire_from_series
from service.storage.threads import Threads, one_hop
from service.storage.usage import Usage, remove_original
from service.storage.visible import Visible

WITHDRAWN = {"$unset": {"metadata.sop_instance_uid": "", "metadata.listed": ""}}
"""The change beside the original of what is being deleted: studies and lists are made of what stands there."""


@dataclass(frozen=True, slots=True)
class Deletion:
    """Deletes, each step of them one hop to a thread."""

    collections: Collections
    threads: Threads
    usage: Usage

    async def delete(self, patient_id: str, dicom_id: str) -> Instance | None:
        """Delete an instance with everything that belongs to it, and return what it was. None when there is none.

        When it raises, the instance is invisible if the mark was set; :meth:`finish` does the rest.
        """
        instance = await self.threads.run(partial(mark_deleting, self.collections, patient_id, dicom_id))
        if instance is not None:
            await self.finish(instance)
        return instance

    @one_hop
    def list_of_study(self, patient_id: str, study: str, series: str | None) -> list[str]:
        """List the ids of the instances of a study, or of a series of it, also of several with the same UIDs."""
        wanted = _of_study(patient_id, study, series)
        return [found["_id"] for found in self.collections.instances.find(wanted, {"_id": 1})]

    @one_hop
    def mark_study(self, patient_id: str, study: str, series: str | None, dicom_ids: Sequence[str]) -> list[Instance]:
        """Mark these instances of a study or series as being deleted, and return them without their trees.

        One command marks all of them: a service that ends in the middle leaves none that is not marked, and
        recovery takes each further.
        """
        instances = self.collections.instances
        named: Document = {"_id": {"$in": list(dicom_ids)}}
        instances.update_many(
            {**_of_study(patient_id, study, series), **named}, {"$set": {"extraction.state": "deleting"}}
        )
        marked = list(instances.find({**named, "patient_id": patient_id, "extraction.state": "deleting"}, SMALL_FIELDS))
        self.collections.originals.files.update_many(
            {"_id": {"$in": [instance["original_id"] for instance in marked]}},
            WITHDRAWN,
        )
        return marked

    async def finish(self, instance: Instance) -> None:
        """Finish the delete of an instance that is marked as being deleted."""
        while await self.threads.run(partial(next_step, self.collections, instance)):
            pass
        self.usage.changed(instance["patient_id"])


def _of_study(patient_id: str, study: str, series: str | None) -> Document:
    wanted: Document = {
        "patient_id": patient_id,
        "study_instance_uid": study,
        "extraction.state": {"$ne": "deleting"},
    }
    return wanted if series is None else {**wanted, "series_instance_uid": series}


def mark_deleting(collections: Collections, patient_id: str, dicom_id: str) -> Instance | None:
    """Mark an instance as being deleted, and return it without its tree; None if there is none."""
    instance = collections.instances.find_one_and_update(
        Visible(patient_id).instance(dicom_id), {"$set": {"extraction.state": "deleting"}}, projection=SMALL_FIELDS
    )
    if instance is not None:
        collections.originals.files.update_one({"_id": instance["original_id"]}, WITHDRAWN)
    return instance


def finish_at_once(collections: Collections, instance: Instance) -> None:
    """Finish the delete of a marked instance within this hop, for an upload that waits for it."""
    while next_step(collections, instance):
        pass


def next_step(collections: Collections, instance: Instance) -> bool:
    """Take a marked instance's delete further. True while there is more to do.

    Every command names the original of this one upload: the same bytes may be stored anew under the same id while
    a delete that met a crash is finished twice.
    """
    collections.tag_index.delete_one(same_upload(instance))
    retire_from_series(collections, instance)
    remove_matching(collections, {"metadata.dicom_id": instance["_id"], "metadata.patient_id": instance["patient_id"]})
    if remove_original(collections, instance["original_id"]):
        return True
    collections.instances.delete_one({**same_upload(instance), "extraction.state": "deleting"})
    return False
