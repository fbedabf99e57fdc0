"""What crashes leave without an instance: chunks, originals, index documents, series, pictures.

Nothing is found by what it lacks: each collection is walked in batches, and every batch looks at the instances before
anything of it is removed. The age of what is found is that of its ObjectId, which an upload makes when it has received
its file: what is young may belong to an upload that is under way, in this process or in another, and stays.

An upload writes its chunks first, from the first one on, and a removal takes the first one last. So the first chunks
are all that is walked of the originals; they are looked up by the index on `instances.original_id`, since chunks
without a `files` document say nothing else of whose they are. The walk goes in windows of time, because not every
server ends a range early, and begins where the last one ended. On MongoDB the walks are answered from indexes, without
a tree or a chunk. The functions are synchronous; each is one hop to a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from bson import ObjectId
from pymongo.collection import Collection

from service.storage import renditions
from service.storage.collections import Collections, Document
from service.storage.connection import look_first
from service.storage.gridfs_documents import Bucket, remove_some
from service.storage.series import retire_from_series
from service.storage.threads import Threads
from service.storage.usage import remove_original, set_right

BATCH = 200
"""How many documents one step looks at."""

FIRST_WINDOW = timedelta(hours=1)
SHORTEST_WINDOW = timedelta(seconds=1)
BEFORE_THE_FIRST = timedelta(days=1)
"""How much earlier than its database an original may claim to be: clocks differ."""

PAUSE_SECONDS = 0.01
"""Between two steps."""

WALK_SECONDS = 120.0
"""What one step along a collection may take: the local database reads all of it before it answers the first."""

Unnamed = Callable[[Collections, list[ObjectId]], list[ObjectId]]
RemoveSome = Callable[[ObjectId], bool]

SERIES_FIELDS = ("patient_id", "study_instance_uid", "series_instance_uid", "received_at", "original_id")


@dataclass(frozen=True, slots=True)
class Swept:
    """How much was removed.

    Parameters
    ----------
    originals, indexes, series, renditions : int
        Originals (with or without a `files` document), index documents, series documents, cached pictures.
    """

    originals: int = 0
    indexes: int = 0
    series: int = 0
    renditions: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return sum(astuple(self))


@dataclass(slots=True)
class SweepWindow:
    """A place in the walk along the ids of a bucket, and how far the next step looks."""

    position: ObjectId
    length: timedelta = FIRST_WINDOW


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What no instance names, and pictures beyond their bound.

    Parameters
    ----------
    clock : callable
        Gives the time as an aware datetime.
    max_rendered_bytes : int
        What the cached pictures may take.
    """

    collections: Collections
    threads: Threads
    clock: Callable[[], datetime]
    max_rendered_bytes: int

    async def sweep(self, older_than: timedelta) -> Swept:
        """Remove originals, index documents, series and pictures without an instance; and the oldest pictures.

        What patients' originals take is counted anew afterwards, where it has changed. It can be stopped anywhere.

        Parameters
        ----------
        older_than : timedelta
            What is younger may belong to an upload that is under way, and stays.
        """
        collections, threads = self.collections, self.threads
        horizon = ObjectId.from_datetime(self.clock() - older_than)
        indexes = series = 0
        async for batch in _steps(threads, partial(walk, collections.tag_index)):
            indexes += await threads.run(partial(sweep_indexes, collections, batch, horizon))
        async for batch in _steps(threads, partial(walk, collections.series, *SERIES_FIELDS)):
            series += await threads.run(partial(sweep_series, collections, batch, horizon))
        began = await threads.run(partial(begin, collections))
        take_original = partial(remove_original, collections)
        originals = await self._sweep_bucket(
            collections.originals, unnamed_originals, take_original, SweepWindow(began), horizon
        )
        take_picture = partial(remove_some, collections.rendered)
        pictures = await self._sweep_bucket(
            collections.rendered, unnamed_renditions, take_picture, SweepWindow(began), horizon
        )
        await threads.run(partial(end, collections, horizon))
        await self._trim_renditions()
        async for batch in _steps(threads, partial(walk, collections.usage, "bytes", "changed_at", "counted_at")):
            for counter in batch:
                await threads.run(partial(set_right, collections, counter, horizon.generation_time))
        return Swept(originals, indexes, series, pictures)

    async def _sweep_bucket(
        self, bucket: Bucket, unnamed: Unnamed, remove: RemoveSome, window: SweepWindow, horizon: ObjectId
    ) -> int:
        removed = 0
        find = partial(next_files, bucket, window, horizon)
        while (ids := await self.threads.run(find, WALK_SECONDS)) is not None:
            for file_id in await self.threads.run(partial(unnamed, self.collections, ids)):
                while await self.threads.run(partial(remove, file_id)):
                    pass
                removed += 1
            await asyncio.sleep(PAUSE_SECONDS)
        return removed

    async def _trim_renditions(self) -> None:
        """Count the bytes of the cached pictures anew, and remove the oldest while there are too many."""
        collections, threads = self.collections, self.threads
        held = await threads.run(partial(renditions.bytes_held, collections))
        counted = 0
        async for batch in _steps(threads, partial(walk, collections.rendered.files, "length")):
            counted += sum(file["length"] for file in batch)
        await threads.run(partial(renditions.set_right, collections, held, counted))
        more = True
        while more:
            more = await threads.run(partial(renditions.trim, collections, self.max_rendered_bytes))
            await asyncio.sleep(PAUSE_SECONDS)


def begin(collections: Collections) -> ObjectId:
    """Return the id behind which originals have not been looked at yet."""
    meta: Document = collections.meta.find_one({"_id": "store"}) or {}
    since = meta.get("swept_until") or meta["created_at"] - BEFORE_THE_FIRST
    return ObjectId.from_datetime(since)


def end(collections: Collections, horizon: ObjectId) -> None:
    """Note that all up to the horizon has been looked at."""
    collections.meta.update_one({"_id": "store"}, {"$max": {"swept_until": horizon.generation_time}})


def next_files(bucket: Bucket, window: SweepWindow, horizon: ObjectId) -> list[ObjectId] | None:
    """Return the ids of the files in the next window before the horizon, and move on behind it; None at its end."""
    if window.position >= horizon:
        return None
    stop = min(horizon, ObjectId.from_datetime(window.position.generation_time + window.length))
    among = {"files_id": {"$gte": window.position, "$lt": stop}, "n": 0}
    # The sort has MongoDB answer from the index alone.
    order = [("files_id", 1), ("n", 1)]
    found = list(bucket.chunks.find(among, {"_id": 0, "files_id": 1}, sort=order, limit=BATCH))
    ids = [chunk["files_id"] for chunk in found]
    if len(ids) == BATCH:
        window.position = ids.pop()  # looked at again by the next step, so that there always is progress and no gap
        window.length = max(SHORTEST_WINDOW, window.length / 2)
    else:
        window.position = stop
        if not ids:
            window.length *= 2
    return ids


def unnamed_originals(collections: Collections, ids: list[ObjectId]) -> list[ObjectId]:
    """Return those of some originals that no instance names, whatever its state."""
    named = collections.instances.find({"original_id": {"$in": ids}}, {"_id": 0, "original_id": 1}) if ids else ()
    known = {document["original_id"] for document in named}
    return [each for each in ids if each not in known]


def unnamed_renditions(collections: Collections, ids: list[ObjectId]) -> list[ObjectId]:
    """Return those of some pictures that have no `files` document, or whose instance is gone."""
    files = collections.rendered.files.find({"_id": {"$in": ids}}, {"metadata.dicom_id": 1}) if ids else ()
    instance_of = {file["_id"]: file["metadata"]["dicom_id"] for file in files}
    there = _find_instances(collections, list(instance_of.values()))
    return [each for each in ids if instance_of.get(each) not in there]


def walk(collection: Collection[Any], *names: str) -> Iterator[list[Document]]:
    """Walk a collection in the order of `_id`, with some fields, a batch a step."""
    batch: list[Document] = []
    look_first(collection)
    # Without further fields the hint has MongoDB answer from the index alone.
    cursor = collection.find({}, dict.fromkeys(("_id", *names), 1), batch_size=BATCH).hint([("_id", 1)])
    for document in cursor:
        batch.append(document)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def sweep_indexes(collections: Collections, batch: list[Document], horizon: ObjectId) -> int:
    """Remove those of some index documents that have no instance. Returns their number."""
    ids = [document["_id"] for document in batch]
    there = _find_instances(collections, ids)
    lost = [each for each in ids if each not in there]
    removed = 0
    if lost:
        identity = {"_id": 1, "patient_id": 1, "original_id": 1}
        for document in list(collections.tag_index.find({"_id": {"$in": lost}}, identity)):
            # Looked at again: the same bytes may have been stored anew meanwhile.
            if document["original_id"] < horizon and not _find_instances(collections, [document["_id"]]):
                removed += collections.tag_index.delete_one(document).deleted_count
    return removed


def sweep_series(collections: Collections, batch: list[Document], horizon: ObjectId) -> int:
    """Let series that show a lost instance show the next newest one; return how many had none."""
    old: dict[ObjectId, dict[str, Any]] = {
        document["original_id"]: document for document in batch if document["original_id"] < horizon
    }
    removed = 0
    for original_id in unnamed_originals(collections, list(old)):
        retire_from_series(collections, old[original_id])
        removed += collections.series.find_one({"_id": old[original_id]["_id"]}, {"_id": 1}) is None
    return removed


def _find_instances(collections: Collections, ids: list[str]) -> set[str]:
    found = collections.instances.find({"_id": {"$in": ids}}, {"_id": 1}) if ids else ()
    return {document["_id"] for document in found}


async def _steps(threads: Threads, begin: Callable[[], Iterator[list[Document]]]) -> AsyncIterator[list[Document]]:
    steps = begin()
    while (batch := await threads.run(partial(next, steps, None), WALK_SECONDS)) is not None:
        yield batch
        await asyncio.sleep(PAUSE_SECONDS)
