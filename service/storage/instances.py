"""Instances: found by their ids, listed, and read as far as somebody wants to know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from schemas.database import ExtractionStatus, Instance
from service.storage.collections import SMALL_FIELDS, Collections, same_upload, visible
from service.storage.connection import Database, answering
from service.storage.newest import date_of_file, page_since
from service.storage.projections import (
    Elements,
    Further,
    check_keys,
    nested_pipeline,
    read_answer,
    read_further,
    top_level_projection,
)
from service.storage.threads import Threads, one_hop


@dataclass(frozen=True, slots=True)
class Instances:
    """The instances of patients. One that is being deleted is not seen."""

    database: Database
    collections: Collections
    threads: Threads

    async def find(self, patient_id: str, dicom_id: str) -> Instance | None:
        """Find an instance, without its tree."""
        with answering():
            found = await self.database["instances"].find_one(visible(patient_id, dicom_id), SMALL_FIELDS)
        return cast("Instance | None", found)

    async def read_whole(self, patient_id: str, dicom_id: str) -> Instance | None:
        """Read an instance with its tree under ``dataset`` (absent while it is pending)."""
        with answering():
            found = await self.database["instances"].find_one(visible(patient_id, dicom_id))
        return cast("Instance | None", found)

    async def read_elements(
        self, patient_id: str, dicom_id: str, parents: Sequence[tuple[str, int]], keys: Sequence[str]
    ) -> Elements | None:
        """Read elements of the dataset, or of one item of nested sequences, and nothing else.

        Parameters
        ----------
        patient_id, dicom_id : str
            Whose, and which instance.
        parents : sequence of (str, int)
            Key and item number (from 0) of each sequence on the way down; empty for the dataset itself.
        keys : sequence of str
            Keys of the elements in that item.

        Returns
        -------
        Elements or None
            Those that are there. None when there is no such instance.

        Raises
        ------
        ValueError
            If a key or an item number cannot be one.
        """
        check_keys([*(key for key, _ in parents), *keys])
        instances = self.database["instances"]
        with answering():
            if parents:
                pipeline = nested_pipeline(patient_id, dicom_id, parents, keys)
                found = next(iter(await instances.aggregate(pipeline).to_list(1)), None)
            else:
                found = await instances.find_one(visible(patient_id, dicom_id), top_level_projection(keys))
        return None if found is None else read_answer(found)

    @one_hop
    def find_many(
        self, patient_id: str, dicom_ids: Sequence[str], keys: Sequence[str] = (), further: Further | None = None
    ) -> dict[str, Instance]:
        """Find instances by their ids, and of their trees the elements of the given keys under ``dataset``.

        `further` takes what was read of a tree and the keys that were asked for, and names those still to be read.

        Raises
        ------
        ValueError
            If a key cannot be one.
        """
        check_keys(keys)
        wanted = {"_id": {"$in": list(dicom_ids)}, "patient_id": patient_id, "extraction.state": {"$ne": "deleting"}}
        projection = {**SMALL_FIELDS, **{f"dataset.{key}": 1 for key in keys}}
        found = {instance["_id"]: instance for instance in self.collections.instances.find(wanted, projection)}
        if further is not None:
            read_further(self.collections.instances, wanted, found, keys, further)
        return found

    @one_hop
    def count(self, patient_id: str) -> int:
        """Count a patient's instances."""
        return self.collections.instances.count_documents(
            {"patient_id": patient_id, "extraction.state": {"$ne": "deleting"}}
        )

    @one_hop
    def find_present(self, dicom_ids: Sequence[str]) -> set[str]:
        """Return which of these instances are there, whoever's they are."""
        wanted = {"_id": {"$in": list(dicom_ids)}, "extraction.state": {"$ne": "deleting"}}
        return {found["_id"] for found in self.collections.instances.find(wanted, {"_id": 1})}

    @one_hop
    def list_newest(self, patient_id: str, limit: int, offset: int = 0) -> tuple[list[Instance], bool]:
        """List a patient's instances without their trees, newest first.

        Returns
        -------
        tuple of list of Instance, bool
            At most `limit` instances after the first `offset`, and whether there are more.
        """
        wanted = limit + 1
        reach = offset + wanted
        while True:
            since = date_of_file(self.collections, patient_id, reach)
            pipeline = page_since(patient_id, since, wanted, offset)
            found: list[Instance] = list(self.collections.instances.aggregate(pipeline))
            if since is None or len(found) == wanted:
                return found[:limit], len(found) > limit
            reach *= 2

    async def set_extraction(self, instance: Instance, extraction: ExtractionStatus) -> bool:
        """Set what is known of an instance's extraction, such as that it failed.

        Returns
        -------
        bool
            False when it is gone, or is no longer as `instance` has it: finished or taken on by somebody else.
        """
        known = instance["extraction"]
        as_it_was = {
            **same_upload(instance),
            "extraction.state": known["state"],
            "extraction.retry_at": known.get("retry_at"),
        }
        with answering():
            done = await self.database["instances"].update_one(as_it_was, {"$set": {"extraction": dict(extraction)}})
        return bool(done.matched_count)
