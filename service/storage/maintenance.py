"""What the commands beside a service need of the database: walks over everything, and the one `meta` document.

A walk goes by the small documents of the originals' `files`, in the order of their ids, and asks for the instances of
one page by their ids: no server then reads more trees than are wanted, and neither side holds more than a page.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from bson import ObjectId
from bson.codec_options import CodecOptions
from bson.raw_bson import RawBSONDocument

from service.storage.collections import ENVELOPE, Collections, Document, visible
from service.storage.connection import Database, look_first
from service.storage.leases import claim_sweep
from service.storage.migrations import STEPS, Migrated, Step, migrate
from service.storage.series import SeriesElements, retire_from_series, series_key
from service.storage.threads import Threads

PAGE = 200
"""Originals a page: some tenths of a second of a server that decodes whole trees."""

AT_ONCE = 25
"""Instances a command, so that what others ask meanwhile need not wait long for it."""

COUNTING_SECONDS = 60.0

Wanted = Callable[[Mapping[str, Any]], bool]

T = TypeVar("T")

_RAW = CodecOptions(document_class=RawBSONDocument, tz_aware=True)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a walk.

    Parameters
    ----------
    envelopes : list of dict
        Of the wanted instances, without their trees.
    originals : int
        How many originals were passed, wanted or not.
    """

    envelopes: list[Document]
    originals: int


@dataclass(frozen=True, slots=True)
class Derived:
    """What is stored of one file's extraction, as the database has it.

    Parameters
    ----------
    envelope : dict
        The envelope.
    dataset : RawBSONDocument or None
        The tag tree; None where there is none.
    index : RawBSONDocument or None
        The whole index document.
    series : RawBSONDocument or None
        The whole document of the series.
    """

    envelope: Document
    dataset: RawBSONDocument | None
    index: RawBSONDocument | None
    series: RawBSONDocument | None


class Maintenance:
    """Walks and marks, on the collections of a store.

    Parameters
    ----------
    database : motor database
        The database.
    collections : Collections
        The synchronous collections below it.
    threads : Threads
        Where sequences of commands run.
    series_elements : callable
        Takes a dataset and gives its study- and series-level elements.
    """

    def __init__(
        self, database: Database, collections: Collections, threads: Threads, series_elements: SeriesElements
    ) -> None:
        self._database = database
        self._sync = collections
        self._threads = threads
        self._series_elements = series_elements

    async def _run_long(self, sequence: Callable[[], T], seconds: float | None = COUNTING_SECONDS) -> T:
        def look_and_run() -> T:
            look_first(self._sync.meta)
            return sequence()

        return await self._threads.run(look_and_run, seconds)

    async def count_originals(self, patient_id: str | None = None) -> int:
        """Count what a walk passes; of the whole database about so many."""
        files = self._sync.originals.files
        if patient_id is None:
            return await self._threads.run(files.estimated_document_count)
        return await self._run_long(partial(files.count_documents, {"metadata.patient_id": patient_id}))

    async def walk(
        self, wanted: Wanted = lambda _: True, patient_id: str | None = None, *, page: int = PAGE
    ) -> AsyncIterator[Page]:
        """Go through all instances, or a patient's, a page at a time. What comes meanwhile may be passed or not.

        Parameters
        ----------
        wanted : callable, optional
            Takes an envelope and tells whether it is given. The ones that are being deleted never are. It is asked
            here, because a further condition may turn a server away from the ids.
        patient_id : str, optional
            Only this patient's.
        page : int, optional
            Originals a page.
        """
        after: ObjectId | None = None
        while True:
            found, last, passed = await self._run_long(partial(_read_page, self._sync, wanted, patient_id, after, page))
            if last is None:
                return
            yield Page(found, passed)
            after = last

    async def list_failed(self, patient_id: str | None = None) -> list[tuple[str, str]]:
        """List the patients and ids of the instances whose extraction failed for good."""
        wanted: Document = {"extraction.state": "failed"}
        if patient_id is not None:
            wanted["patient_id"] = patient_id

        def look() -> list[tuple[str, str]]:
            found = self._sync.instances.find(wanted, {"patient_id": 1})
            return [(each["patient_id"], each["_id"]) for each in found]

        return await self._run_long(look)

    async def find_by_id(self, dicom_id: str) -> Document | None:
        """Find an envelope by its id alone, whoever's it is."""
        wanted = {"_id": dicom_id, "extraction.state": {"$ne": "deleting"}}
        return await self._threads.run(partial(self._sync.instances.find_one, wanted, ENVELOPE))

    async def find_present(self, dicom_ids: Sequence[str]) -> set[str]:
        """Return which of these instances are there."""

        def look() -> set[str]:
            wanted = {"_id": {"$in": list(dicom_ids)}, "extraction.state": {"$ne": "deleting"}}
            return {found["_id"] for found in self._sync.instances.find(wanted, {"_id": 1})}

        return await self._threads.run(look)

    async def list_without_original(self) -> list[str]:
        """List the ids of the instances whose original is not there. Reads every instance."""

        def look() -> list[str]:
            lost: list[str] = []
            batch: dict[ObjectId, str] = {}
            wanted = {"extraction.state": {"$ne": "deleting"}}
            for each in self._sync.instances.find(wanted, {"original_id": 1}, batch_size=PAGE):
                batch[each["original_id"]] = each["_id"]
                if len(batch) >= PAGE:
                    lost += self._without_file(batch)
                    batch.clear()
            return lost + self._without_file(batch)

        return await self._run_long(look, None)

    def _without_file(self, batch: Mapping[ObjectId, str]) -> list[str]:
        there = {file["_id"] for file in self._sync.originals.files.find({"_id": {"$in": list(batch)}}, {"_id": 1})}
        lost = [dicom_id for original_id, dicom_id in batch.items() if original_id not in there]
        # Looked at again: a delete that ran beside this took the original just now.
        still = {"_id": {"$in": lost}, "extraction.state": {"$ne": "deleting"}}
        return [each["_id"] for each in self._sync.instances.find(still, {"_id": 1})] if lost else []

    async def read_derived(self, patient_id: str, dicom_id: str) -> Derived | None:
        """Read all that is derived from one original, undecoded; None when the instance is gone."""
        return await self._threads.run(partial(_read_derived, self._sync, patient_id, dicom_id))

    async def leave_series(self, former: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Let the series an instance was in show another, where re-extraction has moved it to a new one."""
        if series_key(former) not in (None, series_key(now)):
            await self._threads.run(partial(retire_from_series, self._sync, former, self._series_elements))

    # -- the `meta` document

    async def read_meta(self) -> Document:
        """Read the layout number, the id namespace, and what the commands have noted."""
        return await self._threads.run(partial(self._sync.meta.find_one, {"_id": "store"})) or {}

    async def claim_sweep(self, now: datetime, until: datetime) -> bool:
        """Claim the sweep until then, so that no other process does the same work. False where another has it."""
        return await self._threads.run(partial(claim_sweep, self._sync, now, until))

    async def join_run(self, scope: str, version: int, now: datetime, *, fresh: bool = False) -> datetime:
        """Return the time at which the unfinished run of this scope began; without one, a run begins now."""
        return await self._threads.run(partial(_join_run, self._sync, scope, version, now, fresh))

    async def end_run(self, scope: str, began: datetime) -> None:
        """Note that a run is over: the next one begins anew."""
        change = {"$pull": {"reindex_runs": {"scope": scope, "began": began}}}
        await self._threads.run(partial(self._sync.meta.update_one, {"_id": "store"}, change))

    async def migrate(self, *, dry_run: bool, steps: Sequence[Step] = STEPS, layout: int | None = None) -> Migrated:
        """Bring an older layout up, and build the indexes that are missing, however long it takes."""
        work = partial(migrate, self._database.delegate, self._sync, dry_run=dry_run, steps=steps, layout=layout)
        return await self._threads.run(work, None)


def _read_page(
    collections: Collections, wanted: Wanted, patient_id: str | None, after: ObjectId | None, size: int
) -> tuple[list[Document], ObjectId | None, int]:
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
        for each in collections.instances.find({"_id": {"$in": ids[start : start + AT_ONCE]}}, ENVELOPE)
        # An original that lost a race is swept one day; its instance comes with the original that won.
        if each["extraction"]["state"] != "deleting"
        and original_of[each["_id"]] == each["original_id"]
        and wanted(each)
    }
    return [found[dicom_id] for dicom_id in original_of if dicom_id in found], page[-1]["_id"], len(page)


def _read_derived(collections: Collections, patient_id: str, dicom_id: str) -> Derived | None:
    raw = collections.instances.with_options(codec_options=_RAW)
    found = raw.find_one(visible(patient_id, dicom_id))
    if found is None:
        return None
    envelope = {name: value for name, value in found.items() if name != "dataset"}
    envelope["extraction"] = dict(envelope["extraction"])
    index = collections.tag_index.with_options(codec_options=_RAW).find_one({"_id": dicom_id, "patient_id": patient_id})
    key = series_key(envelope)
    series = None if key is None else collections.series.with_options(codec_options=_RAW).find_one(key)
    return Derived(envelope, found.get("dataset"), index, series)


def _join_run(collections: Collections, scope: str, version: int, now: datetime, fresh: bool) -> datetime:
    if fresh:
        collections.meta.update_one({"_id": "store"}, {"$pull": {"reindex_runs": {"scope": scope}}})
    # Whoever comes second finds the run of the first, also when both come at once.
    began = now.replace(microsecond=now.microsecond // 1000 * 1000)
    collections.meta.update_one(
        {"_id": "store", "reindex_runs": {"$not": {"$elemMatch": {"scope": scope, "version": version}}}},
        {"$push": {"reindex_runs": {"scope": scope, "version": version, "began": began}}},
    )
    meta = collections.meta.find_one({"_id": "store"}) or {}
    runs = [run for run in meta.get("reindex_runs", ()) if (run["scope"], run["version"]) == (scope, version)]
    return min((run["began"] for run in runs), default=began)
