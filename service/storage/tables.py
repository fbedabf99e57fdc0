"""Instances by the hundred, for tables: which there are, and of each tree what is asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import bson
import pymongo
from bson import ObjectId

from schemas.database import Instance
from service.storage.collections import Collections, Document
from service.storage.connection import ANSWER_SECONDS, look_first
from service.storage.projections import Further, check_keys, read_further
from service.storage.search import MAX_PAGE_BYTES
from service.storage.threads import Threads
from service.storage.visible import Visible

LISTING_SECONDS = 120.0
READING_SECONDS = 30.0

AT_ONCE = 25
"""Instances a command: the local database compares each document with each id of a list."""

_SMALL = 64 << 10


@dataclass(frozen=True, slots=True)
class Trees:
    """A batch of instances with parts of their trees.

    Parameters
    ----------
    instances : list of Instance
        Id, patient, original and ``dataset``, in the order of the ids; without those that are gone, or have no tree.
    passed : int
        How many of the ids were looked at: fewer than were given where the trees are large.
    """

    instances: list[Instance]
    passed: int


@dataclass(frozen=True, slots=True)
class Tables:
    """Long reads. They run where walks do, and wait for each other and for nobody else.

    Parameters
    ----------
    walks : Threads
        Where what goes through all of a patient runs.
    """

    collections: Collections
    threads: Threads
    walks: Threads

    async def list_ids(
        self, visible: Visible, conditions: Mapping[str, Any], order: str | None = None, *, descending: bool = False
    ) -> list[str]:
        """List the ids of all files that a filter of `tag_index` finds, in the order of a search."""
        by = [("received_at", -1), ("_id", 1)]
        if order is not None:
            by.insert(0, (order, -1 if descending else 1))

        def look() -> list[str]:
            look_first(self.collections.tag_index)
            found = self.collections.tag_index.find({**visible.derived(), **conditions}, {"_id": 1}, sort=by)
            return [hit["_id"] for hit in found]

        return await self.walks.run(look, LISTING_SECONDS)

    async def find_vrs(
        self, visible: Visible | None, paths: Sequence[str], seconds: float | None = LISTING_SECONDS
    ) -> dict[str, tuple[set[str], bool]]:
        """Find the VRs that files have at paths of the index, and whether one has several values there.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: everybody's files, which is for commands alone.
        paths : sequence of str
            Keys of the index of which no dictionary knows the VR.
        seconds : float or None
            The limit of the whole walk.
        """
        found: dict[str, tuple[set[str], bool]] = {path: (set(), False) for path in paths}
        whose = {} if visible is None else visible.derived()
        wanted: Document = {**whose, "$or": [{f"tags.{path}": {"$exists": True}} for path in paths]}
        projection = {"_id": 0, **{f"{part}.{path}": 1 for path in paths for part in ("tags", "vrs")}}

        def look() -> None:
            look_first(self.collections.tag_index)
            cursor = self.collections.tag_index.find(wanted, projection)
            document = next(cursor, None)
            while document is not None:
                for path, values in document.get("tags", {}).items():
                    vrs, several = found[path]
                    vr = document.get("vrs", {}).get(path)
                    if vr is not None:
                        vrs.add(vr)
                    found[path] = vrs, several or len(values) > 1
                with pymongo.timeout(ANSWER_SECONDS):  # one batch; the limit of the whole walk holds beside it
                    document = next(cursor, None)

        await self.walks.run(look, seconds)
        return found

    async def list_originals(
        self, visible: Visible | None, after: ObjectId | None, size: int
    ) -> list[tuple[ObjectId, str]]:
        """List originals and the ids of their instances, in the order of the originals: a page of a walk over all.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: everybody's, which is for commands alone.
        after : ObjectId or None
            The last original of the page before.
        size : int
            How many at most.
        """
        wanted: Document = {} if visible is None else visible.files()
        if after is not None:
            wanted["_id"] = {"$gt": after}

        def look() -> list[tuple[ObjectId, str]]:
            look_first(self.collections.tag_index)
            files = self.collections.originals.files
            found = files.find(wanted, {"metadata.dicom_id": 1}, sort=[("_id", 1)], limit=size)
            return [(file["_id"], file["metadata"]["dicom_id"]) for file in found]

        return await self.threads.run(look, READING_SECONDS)

    async def read(
        self, visible: Visible | None, dicom_ids: Sequence[str], keys: Sequence[str], further: Further, *, large: bool
    ) -> Trees:
        """Read elements of the trees of instances, until all are read or those read are large.

        Parameters
        ----------
        visible : Visible or None
            What the caller may see; None: anybody's instances, which is for commands alone.
        dicom_ids : sequence of str
            Which instances.
        keys : sequence of str
            Keys of the top level of the trees.
        further : callable
            Takes what was read of a tree and the keys that were asked for, and names those still to be read.
        large : bool
            Whether the elements may be so large that few instances are asked for at once.
        """
        check_keys(keys)

        def look() -> Trees:
            found: list[Instance] = []
            held = passed = 0
            at_once = 1 if large else AT_ONCE
            while passed < len(dicom_ids) and held <= MAX_PAGE_BYTES:
                some = list(dicom_ids[passed : passed + at_once])
                instances = self._read(visible, some, keys, further)
                sizes = [len(bson.encode(each["dataset"])) for each in instances]
                held += sum(sizes)
                found += instances
                passed += len(some)
                if large:
                    at_once = min(2 * at_once, AT_ONCE) if max(sizes, default=0) < _SMALL else 1
            return Trees(found, passed)

        return await self.threads.run(look, READING_SECONDS)

    def _read(
        self, visible: Visible | None, some: Sequence[str], keys: Sequence[str], further: Further
    ) -> list[Instance]:
        everybodys = {"_id": {"$in": list(some)}, "extraction.state": "done"}
        among = everybodys if visible is None else visible.extracted(some)
        projection = {"patient_id": 1, "original_id": 1, **{f"dataset.{key}": 1 for key in keys}}
        found = {each["_id"]: each for each in self.collections.instances.find(among, projection)}
        for each in found.values():
            each.setdefault("dataset", {})
        read_further(self.collections.instances, among, found, keys, further)
        return [found[each] for each in some if each in found]
