"""Everything at rest, behind calls as large as the use cases need them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from bson import ObjectId

from service.storage import deletion, layout, leases, members, newest, projections, renditions, writes
from service.storage.audit import AuditTrail
from service.storage.collections import ENVELOPE, Document, Extracted, open_collections, visible
from service.storage.connection import Database, answering
from service.storage.gridfs_documents import Buffer
from service.storage.maintenance import Maintenance
from service.storage.namespaces import Namespaces
from service.storage.originals import StoredOriginal, open_original, remove_whole, write_stream
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.search import Hits, Search, find_hits, find_ids, find_values, walk_index
from service.storage.series import SeriesElements
from service.storage.statistics import Figures
from service.storage.sweep import Swept, sweep_all, trim_renditions
from service.storage.threads import Threads

T = TypeVar("T")

PREPARING_SECONDS = 600.0


class Store:
    """The documents and files of one database.

    Every method raises :class:`~service.errors.DatabaseUnavailable` within 5 s of the database going away. Every
    query names the patient, and an instance that is being deleted is not seen by any of them.

    Parameters
    ----------
    database : motor database
        From :func:`service.storage.connection.open_database`.
    clock : callable
        Gives the time as an aware datetime.
    series_elements : callable
        Takes a dataset and gives its study- and series-level elements: what a series shows once the instance it
        showed is deleted.
    queue : int, optional
        How many calls may wait for a thread.
    max_rendered_bytes : int, optional
        What the cached pictures may take.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        series_elements: SeriesElements,
        *,
        queue: int = 256,
        max_rendered_bytes: int = 2 << 30,
    ) -> None:
        self._database = database
        self._instances = database["instances"]
        self._sync = open_collections(database.delegate)
        self._clock = clock
        self._series_elements = series_elements
        self._threads = Threads(queue=queue)
        self.audit = AuditTrail(self._sync.audit, self._threads)  # who asked for whose data
        self.figures = Figures(self._sync, self._threads)  # what can be measured
        self.namespaces = Namespaces(self._sync, self._threads)  # which ids are given
        # Walks over all that a patient has take long; they wait for each other and for nobody else.
        self._walks = Threads(4, queue=8)
        self._max_rendered_bytes = max_rendered_bytes
        self._missing_indexes: tuple[str, ...] = ()

    async def prepare(self) -> layout.Prepared:
        """Make collections, validators, indexes and the `meta` document where they are missing.

        Raises
        ------
        UnknownLayout
            If the database was written by a version with another layout.
        """
        await self.ping()  # a database that is away is told of soon, however long the indexes may take
        prepare = partial(layout.prepare, self._database.delegate, self._sync, self._clock())
        prepared = await self._threads.run(prepare, PREPARING_SECONDS)
        await self.namespaces.read()
        self._missing_indexes = prepared.missing_indexes
        return prepared

    @property
    def maintenance(self) -> Maintenance:
        """What the commands beside a service work with."""
        return Maintenance(self._database, self._sync, self._threads, self._series_elements)

    async def find_missing_indexes(self) -> tuple[str, ...]:
        """Return which indexes were too expensive to build at the start and are still not there."""
        if self._missing_indexes:
            missing = await self._threads.run(partial(layout.find_missing, self._database.delegate))
            self._missing_indexes = tuple(f"{index.collection}.{index.name}" for index in missing)
        return self._missing_indexes

    async def ping(self) -> None:
        """Ask the database for a sign of life."""
        with answering():
            await self._database.command("ping")

    def close(self) -> None:
        """Let go of the threads. The client belongs to who made it."""
        self._threads.close()
        self._walks.close()

    async def settle_id(self, patient_id: str, sha256: str) -> str:
        """Return the id of a patient's file; where it was imported under another database's id, that one.

        Raises
        ------
        ServiceError
            Before :meth:`prepare`.
        """
        own, *others = await self.namespaces.all_ids(patient_id, sha256)
        present = await self.maintenance.find_present([own, *others]) if others else ()
        return next((each for each in (own, *others) if each in present), own)

    # -- uploads

    async def store_instance(
        self, envelope: Mapping[str, Any], extracted: Extracted, content: Buffer | AsyncIterator[bytes]
    ) -> bool:
        """Store an upload whole: original, index, series, instance.

        When it raises :class:`~service.errors.DatabaseUnavailable` the instance may be stored or not; what is left
        without an instance is swept later.

        Parameters
        ----------
        envelope : mapping
            With a fresh `original_id`; `extraction.state` is `done`.
        extracted : Extracted
            Tree, index and series attributes.
        content : bytes-like, or asynchronous iterator of bytes
            The original. Held in memory it is stored in one hop to a thread.

        Returns
        -------
        bool
            False when the instance was there already; nothing of this upload is left then.
        """
        if isinstance(content, Buffer):
            return await self._threads.run(
                partial(
                    writes.store_whole,
                    self._sync,
                    envelope,
                    extracted,
                    content,
                    self._finish_delete_at_once,
                )
            )
        await self.write_original(envelope, content)
        try:
            if await self.commit_instance(envelope, extracted):
                return True
        except writes.Restless:
            await self.remove_original(envelope["original_id"])
            raise
        await self.remove_original(envelope["original_id"])
        return False

    async def write_original(self, envelope: Mapping[str, Any], content: Buffer | AsyncIterator[bytes]) -> None:
        """Write an original under the envelope's `original_id`. When it fails, nothing of it is left."""
        if isinstance(content, Buffer):
            await self._threads.run(partial(writes.put_original, self._sync, envelope, content))
            return
        metadata = writes.original_metadata(envelope)
        await write_stream(
            self._threads, self._sync.originals, envelope["original_id"], content, metadata, envelope["received_at"]
        )

    async def remove_original(self, original_id: ObjectId) -> None:
        """Remove an original that no instance names. Never after a commit that raised: it may have landed."""
        await remove_whole(self._threads, self._sync.originals, original_id)

    async def commit_instance(self, envelope: Mapping[str, Any], extracted: Extracted) -> bool:
        """Write index, series, and last the instance, of an upload whose original is stored already.

        Returns
        -------
        bool
            False when the instance was there already: the caller removes the original of its own.
        """
        return await self._threads.run(
            partial(writes.commit_instance, self._sync, envelope, extracted, self._finish_delete_at_once)
        )

    async def insert_pending(self, envelope: Mapping[str, Any]) -> bool:
        """Insert an instance whose original is stored and whose tree comes later. False: it was there already."""
        try:
            return await self._threads.run(
                partial(writes.insert_pending, self._sync, envelope, self._finish_delete_at_once)
            )
        except writes.Restless:
            await self.remove_original(envelope["original_id"])
            raise

    async def replace_derived(self, envelope: Mapping[str, Any], extracted: Extracted) -> bool:
        """Return a stored instance its tree, index and series: for the first time, or anew.

        Returns
        -------
        bool
            False when the instance is gone or being deleted; nothing that was written is left then.
        """
        return await self._threads.run(
            partial(writes.replace_derived, self._sync, envelope, extracted, self._series_elements)
        )

    async def claim_unfinished(self, state: str, now: datetime, until: datetime) -> Document | None:
        """Claim an instance that is ``pending`` or ``deleting``, so that no other process works on it until then."""
        return await self._threads.run(partial(leases.claim_unfinished, self._sync, state, now, until))

    async def sweep(self, older_than: timedelta) -> Swept:
        """Remove what no instance names: originals, index documents, series, pictures; and pictures beyond the bound.

        Parameters
        ----------
        older_than : timedelta
            What is younger may belong to an upload that is under way, and stays.
        """
        horizon = ObjectId.from_datetime(self._clock() - older_than)
        swept = await sweep_all(self._threads, self._sync, self._series_elements, horizon)
        await trim_renditions(self._threads, self._sync, self._max_rendered_bytes)
        return swept

    async def set_extraction(self, envelope: Mapping[str, Any], extraction: Mapping[str, Any]) -> bool:
        """Set what is known of an instance's extraction, such as that it failed.

        Returns
        -------
        bool
            False when it is gone, or is no longer as the envelope has it: finished or claimed by somebody else.
        """
        known = envelope["extraction"]
        named = {
            **{name: envelope[name] for name in ("_id", "patient_id", "original_id")},
            "extraction.state": known["state"],
            "extraction.retry_at": known.get("retry_at"),
        }
        with answering():
            done = await self._instances.update_one(named, {"$set": {"extraction": dict(extraction)}})
        return bool(done.matched_count)

    # -- reading
    async def find_envelope(self, patient_id: str, dicom_id: str) -> Document | None:
        """Find an instance, without its tree."""
        with answering():
            return await self._instances.find_one(visible(patient_id, dicom_id), ENVELOPE)

    async def list_envelopes(self, patient_id: str, limit: int, offset: int = 0) -> tuple[list[Document], bool]:
        """List a patient's instances without their trees, newest first.

        Returns
        -------
        tuple of list of dict, bool
            At most `limit` envelopes after the first `offset`, and whether there are more.
        """
        envelopes = await self._threads.run(partial(newest.list_envelopes, self._sync, patient_id, limit + 1, offset))
        return envelopes[:limit], len(envelopes) > limit

    async def search(self, search: Search) -> Hits:
        """Find a page of a patient's instances by what stands in their trees."""
        return await self._threads.run(partial(find_hits, self._sync, search))

    async def find_ids(self, patient_id: str, conditions: Mapping[str, Any]) -> set[str]:
        """Find the ids of a patient's files by a filter of `tag_index`, whether or not their instances are seen."""
        return await self._threads.run(partial(find_ids, self._sync, patient_id, conditions))

    async def find_values(self, patient_id: str, path: str) -> set[tuple[Any, ...]]:
        """Find the lists of values that a patient's files have at a path of the index, by its key there."""
        return await self._threads.run(partial(find_values, self._sync, patient_id, path))

    async def count_instances(self, patient_id: str) -> int:
        """Count a patient's instances."""
        wanted = {"patient_id": patient_id, "extraction.state": {"$ne": "deleting"}}
        return await self._threads.run(lambda: self._sync.instances.count_documents(wanted))

    async def read_index(self, patient_id: str, read: Callable[[Iterable[Document]], T], seconds: float) -> T:
        """Return what `read` makes of all index documents of a patient, in a thread, within so many seconds."""
        return await self._walks.run(lambda: read(walk_index(self._sync, patient_id)), seconds)

    async def read_elements(
        self, patient_id: str, dicom_id: str, parents: Sequence[tuple[str, int]], keys: Sequence[str]
    ) -> Document | None:
        """Read elements of the dataset, or of one item of nested sequences, and nothing else.

        Parameters
        ----------
        parents : sequence of (str, int)
            Key and item number (from 0) of each sequence on the way down; empty for the dataset itself.
        keys : sequence of str
            Keys of the elements in that item.

        Returns
        -------
        dict or None
            ``extraction``, ``spilled`` and ``elements``: key to element, of those that are there. None when there is
            no such instance.

        Raises
        ------
        ValueError
            If a key or an item number cannot be one.
        """
        projections.check_keys([*(key for key, _ in parents), *keys])
        with answering():
            if parents:
                pipeline = projections.nested_pipeline(patient_id, dicom_id, parents, keys)
                found = next(iter(await self._instances.aggregate(pipeline).to_list(1)), None)
            else:
                projection = projections.top_level_projection(keys)
                found = await self._instances.find_one(visible(patient_id, dicom_id), projection)
        return None if found is None else projections.read_answer(found)

    async def read_dataset(self, patient_id: str, dicom_id: str) -> Document | None:
        """Read an instance whole: the envelope, and its tree under ``dataset`` (absent while it is pending)."""
        with answering():
            return await self._instances.find_one(visible(patient_id, dicom_id))

    async def open_original(self, patient_id: str, original_id: ObjectId) -> StoredOriginal | None:
        """Find an original, to be read by ranges."""
        return await open_original(self._database, patient_id, original_id)

    # -- studies, series and instances as DICOMweb names them

    async def list_members(
        self,
        patient_id: str,
        study_instance_uid: str | None = None,
        series_instance_uid: str | None = None,
        sop_instance_uid: str | None = None,
    ) -> list[members.Member]:
        """List the instances of a patient, of a study, of a series, or one, from their originals' documents.

        Of several with the same three UIDs only the newest is given. They are in the order in which they came. No tree
        is read. Whether an instance is being deleted is told by :meth:`find_members`.
        """
        uids = (study_instance_uid, series_instance_uid, sop_instance_uid)
        return await self._threads.run(partial(members.list_members, self._sync, patient_id, uids))

    async def find_members(
        self,
        patient_id: str,
        dicom_ids: Sequence[str],
        keys: Sequence[str] = (),
        further: projections.Further | None = None,
    ) -> dict[str, Document]:
        """Find envelopes by their ids, and of their trees the elements of the given keys.

        `further` takes what was read of a tree and the keys that were asked for, and names those still to be read.

        Raises
        ------
        ValueError
            If a key cannot be one.
        """
        projections.check_keys(keys)
        return await self._threads.run(partial(members.find_members, self._sync, patient_id, dicom_ids, keys, further))

    async def list_series(self, patient_id: str, study_instance_uid: str | None = None) -> list[Document]:
        """List the series documents of a patient or of a study, the newest first."""
        return await self._threads.run(partial(members.list_series, self._sync, patient_id, study_instance_uid))

    # -- pictures

    async def find_rendition(self, patient_id: str, dicom_id: str, key: RenditionKey) -> StoredRendition | None:
        """Read a cached picture; None when there is none. Whether the instance may be seen is asked before."""
        return await self._threads.run(partial(renditions.find_rendition, self._sync, patient_id, dicom_id, key))

    async def put_rendition(
        self, patient_id: str, dicom_id: str, key: RenditionKey, rendition: StoredRendition
    ) -> bool:
        """Cache a picture, in place of those by other versions of the renderer. False when it was not kept."""
        put = partial(renditions.put_rendition, self._sync, patient_id, dicom_id, key, rendition)
        return await self._threads.run(partial(put, self._clock(), self._max_rendered_bytes))

    # -- deleting

    async def delete_instance(self, patient_id: str, dicom_id: str) -> bool:
        """Delete an instance with everything that belongs to it. False when there is none.

        When it raises, the instance is invisible if the mark was set; :meth:`finish_delete` does the rest.
        """
        envelope = await self._threads.run(partial(deletion.mark_deleting, self._sync, patient_id, dicom_id))
        if envelope is None:
            return False
        await self.finish_delete(envelope)
        return True

    async def finish_delete(self, envelope: Mapping[str, Any]) -> None:
        """Finish the delete of an instance that is marked as being deleted."""
        step = partial(deletion.next_step, self._sync, envelope, self._series_elements)
        while await self._threads.run(step):
            pass

    def _finish_delete_at_once(self, envelope: Mapping[str, Any]) -> None:
        while deletion.next_step(self._sync, envelope, self._series_elements):
            pass
