"""The order in which an instance's documents are written, so that it is there whole or not at all.

Original, `tag_index`, `series`, and last the instance: that insert is the commit point. What a crash leaves without
an instance is invisible and swept later. The functions are synchronous.

The index document carries the `original_id` of the upload attempt that wrote it. It is what the writers that may
meet compare: a delete that finishes late removes its own index document and not that of the same bytes uploaded
again.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from pymongo.errors import DuplicateKeyError

from schemas.database import Instance
from service.errors import DatabaseUnavailable, StorageFull
from service.storage.collections import (
    PLACE,
    PLACE_FIELDS,
    SMALL_FIELDS,
    Collections,
    Document,
    Extracted,
    place_of,
    same_upload,
)
from service.storage.deletion import WITHDRAWN, finish_at_once
from service.storage.gathering import Gathering
from service.storage.gridfs_documents import Buffer, remove_some
from service.storage.group_commit import (
    BYTES_AT_ONCE,
    UPLOADS_AT_ONCE,
    SmallUpload,
    answer_of,
    index_document,
    store_together,
)
from service.storage.originals import Originals, original_metadata, put_original
from service.storage.series import put_series, retire_from_series, series_key
from service.storage.settled import Committed
from service.storage.threads import Threads, one_hop
from service.storage.usage import Usage, give_back, remove_original
from service.storage.visible import Visible

ATTEMPTS = 5


class IndexWrite(Enum):
    """What came of writing an index document."""

    WRITTEN = "the instance can follow"
    COMMITTED = "the instance of this very upload is there: an earlier try whose answer was lost"
    TAKEN = "the instance is there, of another upload of the same bytes"


class WriteContention(DatabaseUnavailable):
    """The same file is stored and deleted again and again. This upload is not there: its original can be removed."""

    def __init__(self) -> None:
        super().__init__("The same file is being stored and deleted again and again.")


@dataclass(frozen=True, slots=True)
class Uploads:
    """What is written of an upload, and of its extraction.

    When one of these raises :class:`~service.errors.DatabaseUnavailable` the instance may be stored or not; what is
    left without an instance is swept later.

    Parameters
    ----------
    originals : Originals
        Where the bytes are kept.
    usage : Usage
        What each patient may keep.
    together : Gathering
        Where small uploads wait for each other; from :func:`gather_small`.
    committed : Committed
        Where lists learn what is stored.
    """

    collections: Collections
    threads: Threads
    originals: Originals
    usage: Usage
    together: Gathering[SmallUpload, bool]
    committed: Committed

    async def store(
        self, instance: Instance, extracted: Extracted, content: Buffer | Path | AsyncIterator[bytes]
    ) -> bool:
        """Store an upload whole: original, index, series, instance.

        Parameters
        ----------
        instance : Instance
            With a fresh `original_id`; `extraction.state` is `done`.
        extracted : Extracted
            Tree, index and series attributes.
        content : bytes-like, Path, or asynchronous iterator of bytes
            The original. Held in memory it is stored together with others that come at the same time.

        Returns
        -------
        bool
            False when the instance was there already; nothing of this upload is left then.

        Raises
        ------
        StorageFull
            The patient has no room for it.
        """
        if isinstance(content, Buffer):
            stored = await self.together.ask(SmallUpload(instance, extracted, content), len(content))
        else:
            stored = await self._write_original(instance, content, extracted.row) and await self._keep_if(
                instance, self.commit(instance, extracted)
            )
        if stored:
            self.committed.add([instance["original_id"]])
        return stored

    async def store_pending(self, instance: Instance, content: Buffer | Path | AsyncIterator[bytes]) -> bool:
        """Store an upload whose tree comes later, or never. Returns and raises what :meth:`store` does."""
        return await self._write_original(instance, content) and await self._keep_if(
            instance, self._insert_pending(instance)
        )

    async def _write_original(
        self, instance: Instance, content: Buffer | Path | AsyncIterator[bytes], row: bytes | None = None
    ) -> bool:
        """Write the original if there is room for it; False as of :meth:`_reserve`."""
        if isinstance(content, Buffer):
            return await self.threads.run(partial(self._put_original, instance, content, row))
        if not await self.threads.run(partial(self._reserve, instance)):
            return False
        await self.originals.write(instance, content, row)
        return True

    def _put_original(self, instance: Instance, content: Buffer, row: bytes | None) -> bool:
        if not self._reserve(instance):
            return False
        put_original(self.collections.originals, instance, content, row)
        return True

    async def _keep_if(self, instance: Instance, committing: Awaitable[bool]) -> bool:
        """Remove the original again where its instance is not there."""
        try:
            committed = await committing
        except WriteContention:
            await self.originals.remove(instance["original_id"])
            raise
        if not committed:
            await self.originals.remove(instance["original_id"])
        return committed

    @one_hop
    def commit(self, instance: Instance, extracted: Extracted) -> bool:
        """Write index, series, and last the instance, of an upload whose original is stored already.

        Returns
        -------
        bool
            False when the instance was there already: the caller removes the original of its own.
        """
        outcome = _put_index(self.collections, instance, extracted)
        if outcome is not IndexWrite.WRITTEN:
            return outcome is IndexWrite.COMMITTED
        return _commit(self.collections, instance, extracted)

    def _reserve(self, instance: Instance) -> bool:
        """Take room for an upload; False when the same bytes are there already and there is none for them twice."""
        try:
            self.usage.reserve(instance)
        except StorageFull as full:
            return _refuse(self.collections, instance, full)
        return True

    @one_hop
    def _insert_pending(self, instance: Instance) -> bool:
        for _ in range(ATTEMPTS):
            try:
                self.collections.instances.insert_one(instance)
            except DuplicateKeyError:
                there = _find_rival(self.collections, instance)
                if there is not None:
                    return there["original_id"] == instance["original_id"]
            else:
                return True
        raise WriteContention

    @one_hop
    def replace_derived(self, instance: Instance, extracted: Extracted) -> bool:
        """Give a stored instance its tree, index and series: for the first time, or anew.

        Parameters
        ----------
        instance : Instance
            As it shall be.
        extracted : Extracted
            Tree, index and series attributes.

        Returns
        -------
        bool
            False when the instance is gone or being deleted; nothing that was written is left then.
        """
        same = same_upload(instance)
        living = {**same, "extraction.state": {"$ne": "deleting"}}
        former = self.collections.instances.find_one(living, PLACE_FIELDS)
        if former is None:
            return False
        instance = _with_inbox_of(former, instance)
        document = index_document(instance, extracted)
        self.collections.tag_index.replace_one(
            {"_id": instance["_id"], "patient_id": instance["patient_id"]}, document, upsert=True
        )
        put_series(self.collections, instance, extracted.series)
        about = {"$set": {"metadata": original_metadata(instance, extracted.row)}}
        self.collections.originals.files.update_one({"_id": instance["original_id"]}, about)
        # Not whether it waits in an inbox: it may be accepted meanwhile.
        fields = {name: value for name, value in instance.items() if name not in ("_id", "inbox")}
        fields |= {"series": extracted.series, "dataset": extracted.dataset}
        now: Instance | None = self.collections.instances.find_one_and_update(
            living, {"$set": fields}, projection=PLACE_FIELDS
        )
        if now is not None:
            if place_of(now) != place_of(instance):
                place_derived(self.collections, _with_inbox_of(now, instance))
            return True
        # Deleted meanwhile, and the delete may have looked for these before they were written. The same bytes may even
        # have been stored anew: then the index that was overwritten here is theirs.
        self.collections.originals.files.update_one({"_id": instance["original_id"]}, WITHDRAWN)
        anew = self.collections.instances.find_one(
            Visible(instance["patient_id"]).instance(instance["_id"]), SMALL_FIELDS
        )
        if anew is None or not _yield_to(self.collections, instance, anew):
            self.collections.tag_index.delete_one(same)
        retire_from_series(self.collections, instance)
        return False


def _with_inbox_of(stored: Instance, instance: Instance) -> Instance:
    """Return an instance that waits in the inbox in which the stored one waits, or in none."""
    placed = instance.copy()
    placed.pop("inbox", None)
    if "inbox" in stored:
        placed["inbox"] = stored["inbox"]
    return placed


def place_derived(collections: Collections, instance: Instance) -> None:
    """Have all that is kept of an instance say in which study and series it lies, and whether it waits in an inbox.

    Called when the instance itself says so already: whoever comes in between looks at the instance.
    """
    place = place_of(instance)
    indexed = {"study_instance_uid": None, "series_instance_uid": None, **place}
    collections.tag_index.update_one(same_upload(instance), _change(indexed))
    beside = _change({f"metadata.{name}": value for name, value in place.items()}, "metadata.")
    collections.originals.files.update_one({"_id": instance["original_id"]}, beside)
    pictures = {"metadata.dicom_id": instance["_id"], "metadata.patient_id": instance["patient_id"]}
    collections.rendered.files.update_many(pictures, beside)
    key = series_key(instance)
    if key is not None:
        waits = {name: value for name, value in place.items() if name == "inbox"}
        change = {"$set": waits} if waits else {"$unset": {"inbox": ""}}
        collections.series.update_one({**key, "original_id": instance["original_id"]}, change)


def _change(fields: Document, beginning: str = "") -> Document:
    """Return the change that sets the fields of a place, and takes away those of which nothing is said."""
    gone = {f"{beginning}{name}": "" for name in PLACE if f"{beginning}{name}" not in fields}
    return {operator: part for operator, part in (("$set", fields), ("$unset", gone)) if part}


def gather_small(collections: Collections, threads: Threads, usage: Usage, queue: int) -> Gathering[SmallUpload, bool]:
    """Return where small uploads gather to be stored together; `queue` of them may wait."""
    work = partial(_store_small, collections, usage)
    return Gathering(threads, work, count=UPLOADS_AT_ONCE, weight=BYTES_AT_ONCE, queue=queue)


def _store_small(collections: Collections, usage: Usage, uploads: Sequence[SmallUpload]) -> list[bool | Exception]:
    """Store those small uploads together that there is room for; each answer is as of :func:`store_together`.

    The others are looked at last: their bytes may be among those that were stored just now.
    """
    refused = _reserve_together(usage, uploads)
    fitting = [upload for upload in uploads if upload not in refused]
    stored = dict(zip(fitting, store_together(collections, fitting, _store_alone), strict=True))
    return [
        answer_of(partial(_refuse, collections, upload.instance, refused[upload]))
        if upload in refused
        else stored[upload]
        for upload in uploads
    ]


def _reserve_together(usage: Usage, uploads: Sequence[SmallUpload]) -> dict[SmallUpload, Exception]:
    """Take room for uploads, and return which have none, and why."""
    of_patients: dict[str, list[SmallUpload]] = {}
    for upload in uploads:
        of_patients.setdefault(upload.instance["patient_id"], []).append(upload)
    refused: dict[SmallUpload, Exception] = {}
    for mine in of_patients.values():
        refused |= _reserve_for_patient(usage, mine)
    return refused


def _reserve_for_patient(usage: Usage, uploads: Sequence[SmallUpload]) -> dict[SmallUpload, Exception]:
    """Take room for a patient's uploads: for all by one command, or where they do not all fit for one by one."""
    error = answer_of(partial(usage.reserve, *(upload.instance for upload in uploads)))
    if error is None:
        return {}
    if isinstance(error, StorageFull) and len(uploads) > 1:
        return {each: why for upload in uploads for each, why in _reserve_for_patient(usage, [upload]).items()}
    return dict.fromkeys(uploads, error)


def _refuse(collections: Collections, instance: Instance, error: Exception) -> bool:
    """Return False when there is no room, but the same bytes are there already; else raise why there is no room."""
    if isinstance(error, StorageFull) and _find_rival(collections, instance) is not None:
        return False
    raise error


def _store_alone(collections: Collections, upload: SmallUpload) -> bool:
    """Store a small upload that has its room, by commands of its own: index, original, series, instance."""
    instance = upload.instance
    if not upload.before_written:
        if upload.original_begun:  # no instance names it yet; its room stays taken
            while remove_some(collections.originals, instance["original_id"]):
                pass
        try:
            outcome = _put_index(collections, instance, upload.extracted)
        except WriteContention:
            give_back(collections, instance["patient_id"], instance["size"])
            raise
        if outcome is IndexWrite.TAKEN:
            give_back(collections, instance["patient_id"], instance["size"])
        if outcome is not IndexWrite.WRITTEN:
            return outcome is IndexWrite.COMMITTED
        put_original(collections.originals, instance, upload.content, upload.extracted.row)
    try:
        if _commit(collections, instance, upload.extracted):
            return True
    except WriteContention:
        _remove_original(collections, instance)
        raise
    _remove_original(collections, instance)
    return False


def _put_index(collections: Collections, instance: Instance, extracted: Extracted) -> IndexWrite:
    """Write the index document, unless the instance is there already."""
    document = index_document(instance, extracted)
    for _ in range(ATTEMPTS):
        try:
            collections.tag_index.insert_one(document)
        except DuplicateKeyError:
            there = _find_rival(collections, instance)
            if there is not None:
                ours = there["original_id"] == instance["original_id"]
                return IndexWrite.COMMITTED if ours else IndexWrite.TAKEN
        else:
            return IndexWrite.WRITTEN
        # Left by an upload that did not end, or by one that is about to: whose instance comes first decides.
        replaced = collections.tag_index.replace_one(
            {"_id": instance["_id"], "patient_id": instance["patient_id"]}, document
        )
        if replaced.matched_count:
            return IndexWrite.WRITTEN
    raise WriteContention


def _commit(collections: Collections, instance: Instance, extracted: Extracted) -> bool:
    put_series(collections, instance, extracted.series)
    whole: Instance = {**instance, "series": extracted.series, "dataset": extracted.dataset}
    for _ in range(ATTEMPTS):
        try:
            collections.instances.insert_one(whole)
        except DuplicateKeyError:
            there = _find_rival(collections, instance)
            if there is not None and there["original_id"] == instance["original_id"]:
                return True  # an earlier try whose answer was lost
            if there is not None and _yield_to(collections, instance, there):
                return False
        else:
            return True
        outcome = _put_index(collections, instance, extracted)
        if outcome is not IndexWrite.WRITTEN:
            return outcome is IndexWrite.COMMITTED
        put_series(collections, instance, extracted.series)
    raise WriteContention


def _find_rival(collections: Collections, instance: Instance) -> Instance | None:
    """Find the instance that has the `_id`; one that is being deleted is deleted first, and then there is none."""
    there = collections.instances.find_one({"_id": instance["_id"], "patient_id": instance["patient_id"]}, SMALL_FIELDS)
    if there is not None and there["extraction"]["state"] == "deleting":
        finish_at_once(collections, there)
        return None
    return there


def _yield_to(collections: Collections, instance: Instance, winner: Instance) -> bool:
    """Make what was written here the winner's: the same bytes gave the same tags. False if it is gone meanwhile."""
    theirs = {"original_id": winner["original_id"], "received_at": winner["received_at"]}
    accepted = {"$unset": {"inbox": ""}} if "inbox" in instance and "inbox" not in winner else {}
    collections.tag_index.update_one(same_upload(instance), {"$set": theirs, **accepted})
    key = series_key(instance)
    if key is not None:
        collections.series.update_one({**key, "original_id": instance["original_id"]}, {"$set": theirs, **accepted})
    living = {**same_upload(winner), "extraction.state": {"$ne": "deleting"}}
    looked = collections.instances.find_one(living, {"_id": 1})
    if looked is None:
        collections.tag_index.delete_one(same_upload(winner))
    return looked is not None


def _remove_original(collections: Collections, instance: Instance) -> None:
    while remove_original(collections, instance["original_id"]):
        pass
