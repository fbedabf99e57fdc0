"""What the commands beside a service need of the database: walks over everything, and the one `meta` document.

A walk goes by the small documents of the originals' `files`, in the order of their ids, and asks for the instances of
one page by their ids: no server then reads more trees than are wanted, and neither side holds more than a page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import TypeVar, cast

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.connection import Database, look_first
from service.storage.migrations import Migrated, MigrationStep, migrate
from service.storage.series import retire_from_series, series_key
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible

PAGE = 200
"""Originals a page: some tenths of a second of a server that decodes whole trees."""

AT_ONCE = 25
"""Instances a command, so that what others ask meanwhile need not wait long for it."""

COUNTING_SECONDS = 60.0

Wanted = Callable[[Instance], bool]

T = TypeVar("T")

_RAW = CodecOptions(document_class=RawBSONDocument, tz_aware=True)


@dataclass(frozen=True, slots=True)
class WalkPage:
    """One page of a walk.

    Parameters
    ----------
    instances : list of Instance
        Of the wanted instances, without their trees.
    originals : int
        How many originals were passed, wanted or not.
    """

    instances: list[Instance]
    originals: int


@dataclass(frozen=True, slots=True)
class Derived:
    """What is stored of one file's extraction, as the database has it.

    Parameters
    ----------
    instance : Instance
        Its small fields.
    dataset : RawBSONDocument or None
        The tag tree; None where there is none.
    index : RawBSONDocument or None
        The whole index document.
    series : RawBSONDocument or None
        Its study- and series-level elements.
    shown : RawBSONDocument or None
        The whole document of its series, which may show another instance.
    row : bytes or None
        What tables read of it; None where it was stored before there were rows, or has none.
    """

    instance: Instance
    dataset: RawBSONDocument | None
    index: RawBSONDocument | None
    series: RawBSONDocument | None
    shown: RawBSONDocument | None
    row: bytes | None


@dataclass(frozen=True, slots=True)
class Maintenance:
    """Walks and marks."""

    database: Database
    collections: Collections
    threads: Threads

    async def _run_long(self, sequence: Callable[[], T], seconds: float | None = COUNTING_SECONDS) -> T:
        def look_and_run() -> T:
            look_first(self.collections.meta)
            return sequence()

        return await self.threads.run(look_and_run, seconds)

    async def count_originals(self, patient_id: str | None = None) -> int:
        """Count what a walk passes; of the whole database about so many."""
        files = self.collections.originals.files
        if patient_id is None:
            return await self.threads.run(files.estimated_document_count)
        return await self._run_long(partial(files.count_documents, {"metadata.patient_id": patient_id}))

    async def walk(
        self, wanted: Wanted = lambda _: True, patient_id: str | None = None, *, page: int = PAGE
    ) -> AsyncIterator[WalkPage]:
        """Go through all instances, or a patient's, a page at a time. What comes meanwhile may be passed or not.

        Parameters
        ----------
        wanted : callable, optional
            Takes an instance and tells whether it is given. The ones that are being deleted never are. It is asked
            here, because a further condition may turn a server away from the ids.
        patient_id : str, optional
            Only this patient's.
        page : int, optional
            Originals a page.
        """
        after: ObjectId | None = None
        while True:
            found, last, passed = await self._run_long(
                partial(_read_page, self.collections, wanted, patient_id, after, page)
            )
            if last is None:
                return
            yield WalkPage(found, passed)
            after = last

    async def list_failed(self, patient_id: str | None = None) -> list[tuple[str, str]]:
        """List the patients and ids of the instances whose extraction failed for good."""
        wanted: Document = {"extraction.state": "failed"}
        if patient_id is not None:
            wanted["patient_id"] = patient_id

        def look() -> list[tuple[str, str]]:
            found = self.collections.instances.find(wanted, {"patient_id": 1})
            return [(each["patient_id"], each["_id"]) for each in found]

        return await self._run_long(look)

    @one_hop
    def find_by_id(self, dicom_id: str) -> Instance | None:
        """Find an instance by its id alone, whoever's it is."""
        wanted = {"_id": dicom_id, "extraction.state": {"$ne": "deleting"}}
        return self.collections.instances.find_one(wanted, SMALL_FIELDS)

    async def list_without_original(self) -> list[str]:
        """List the ids of the instances whose original is not there. Reads every instance."""

        def look() -> list[str]:
            lost: list[str] = []
            batch: dict[ObjectId, str] = {}
            wanted = {"extraction.state": {"$ne": "deleting"}}
            for each in self.collections.instances.find(wanted, {"original_id": 1}, batch_size=PAGE):
                batch[each["original_id"]] = each["_id"]
                if len(batch) >= PAGE:
                    lost += self._without_file(batch)
                    batch.clear()
            return lost + self._without_file(batch)

        return await self._run_long(look, None)

    def _without_file(self, batch: Mapping[ObjectId, str]) -> list[str]:
        there = {
            file["_id"] for file in self.collections.originals.files.find({"_id": {"$in": list(batch)}}, {"_id": 1})
        }
        lost = [dicom_id for original_id, dicom_id in batch.items() if original_id not in there]
        # Looked at again: a delete that ran beside this took the original just now.
        still = {"_id": {"$in": lost}, "extraction.state": {"$ne": "deleting"}}
        return [each["_id"] for each in self.collections.instances.find(still, {"_id": 1})] if lost else []

    @one_hop
    def read_derived(self, patient_id: str, dicom_id: str) -> Derived | None:
        """Read all that is derived from one original, undecoded; None when the instance is gone."""
        raw = self.collections.instances.with_options(codec_options=_RAW)
        found = raw.find_one(Visible(patient_id).instance(dicom_id))
        if found is None:
            return None
        small = {name: value for name, value in found.items() if name in SMALL_FIELDS}
        small["extraction"] = dict(found["extraction"])
        instance = cast("Instance", small)
        index = self.collections.tag_index.with_options(codec_options=_RAW).find_one(
            {"_id": dicom_id, "patient_id": patient_id}
        )
        key = series_key(instance)
        shown = None if key is None else self.collections.series.with_options(codec_options=_RAW).find_one(key)
        file = self.collections.originals.files.find_one({"_id": instance["original_id"]}, {"metadata.row": 1}) or {}
        row = file.get("metadata", {}).get("row")
        return Derived(instance, found.get("dataset"), index, found.get("series"), shown, row)

    async def leave_series(self, former: Instance, now: Instance) -> None:
        """Let the series an instance was in show another, where re-extraction has moved it to a new one."""
        if series_key(former) not in (None, series_key(now)):
            await self.threads.run(partial(retire_from_series, self.collections, former))

    # -- the `meta` document

    @one_hop
    def read_meta(self) -> Document:
        """Read the layout number, the id namespace, and what the commands have noted."""
        return self.collections.meta.find_one({"_id": "store"}) or {}

    @one_hop
    def join_run(self, scope: str, version: int, now: datetime, *, fresh: bool = False) -> datetime:
        """Return the time at which the unfinished run of this scope began; without one, a run begins now."""
        meta = self.collections.meta
        if fresh:
            meta.update_one({"_id": "store"}, {"$pull": {"reindex_runs": {"scope": scope}}})
        # Whoever comes second finds the run of the first, also when both come at once.
        began = now.replace(microsecond=now.microsecond // 1000 * 1000)
        meta.update_one(
            {"_id": "store", "reindex_runs": {"$not": {"$elemMatch": {"scope": scope, "version": version}}}},
            {"$push": {"reindex_runs": {"scope": scope, "version": version, "began": began}}},
        )
        there = meta.find_one({"_id": "store"}) or {}
        runs = [run for run in there.get("reindex_runs", ()) if (run["scope"], run["version"]) == (scope, version)]
        return min((run["began"] for run in runs), default=began)

    @one_hop
    def end_run(self, scope: str, began: datetime) -> None:
        """Note that a run is over: the next one begins anew."""
        change = {"$pull": {"reindex_runs": {"scope": scope, "began": began}}}
        self.collections.meta.update_one({"_id": "store"}, change)

    async def migrate(self, steps: Sequence[MigrationStep], *, dry_run: bool, layout: int | None = None) -> Migrated:
        """Bring an older layout up, and build the indexes that are missing, however long it takes."""
        work = partial(migrate, self.database.delegate, self.collections, steps, dry_run=dry_run, layout=layout)
        return await self.threads.run(work, None)


def _read_page(
    collections: Collections, wanted: Wanted, patient_id: str | None, after: ObjectId | None, size: int
) -> tuple[list[Instance], ObjectId | None, int]:
    files: Document = {} if patient_id is None else {"metadata.patient_id": patient_id}
    if after is not None:
        files["_id"] = {"$gt": after}
    page = list(collections.originals.files.find(files, {"metadata.dicom_id": 1}, sort=[("_id", 1)], limit=size))
    if not page:
        return [], None, 0
    original_of = {file["metadata"]["dicom_id"]: file["_id"] for file in page}
    ids = list(original_of)
    found = {
        each["_id"]: each
        for start in range(0, len(ids), AT_ONCE)
        for each in collections.instances.find({"_id": {"$in": ids[start : start + AT_ONCE]}}, SMALL_FIELDS)
        # An original that lost a race is swept one day; its instance comes with the original that won.
        if each["extraction"]["state"] != "deleting"
        and original_of[each["_id"]] == each["original_id"]
        and wanted(each)
    }
    return [found[dicom_id] for dicom_id in original_of if dicom_id in found], page[-1]["_id"], len(page)
