"""One sweep through the database, a step at a time, so that requests come first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial

from bson import ObjectId

from service.storage import renditions, sweep
from service.storage.documents import Collections, Document
from service.storage.gridfs_documents import Bucket
from service.storage.originals import remove_whole
from service.storage.series import SeriesElements
from service.storage.sweep import Swept, Window
from service.storage.threads import Threads

PAUSE_SECONDS = 0.01
"""Between two steps."""

Unnamed = Callable[[Collections, list[ObjectId]], list[ObjectId]]


async def sweep_all(threads: Threads, collections: Collections, elements: SeriesElements, horizon: ObjectId) -> Swept:
    """Remove what no instance names and is older than the horizon; it can be stopped anywhere.

    Parameters
    ----------
    threads : Threads
        Where the steps run.
    collections : Collections
        Of the database.
    elements : callable
        Gives the series attributes of a dataset.
    horizon : ObjectId
        What was made after it stays.
    """
    indexes = series = 0
    async for batch in _steps(threads, partial(sweep.walk, collections.tag_index)):
        indexes += await threads.run(partial(sweep.sweep_indexes, collections, batch, horizon))
    async for batch in _steps(threads, partial(sweep.walk, collections.series, *sweep.SERIES_FIELDS)):
        series += await threads.run(partial(sweep.sweep_series, collections, batch, horizon, elements))
    began = await threads.run(partial(sweep.begin, collections))
    buckets = ((collections.originals, sweep.unnamed_originals), (collections.rendered, sweep.unnamed_renditions))
    originals, pictures = [
        await _sweep_bucket(threads, collections, bucket, unnamed, Window(began), horizon)
        for bucket, unnamed in buckets
    ]
    await threads.run(partial(sweep.end, collections, horizon))
    return Swept(originals, indexes, series, pictures)


async def trim_renditions(threads: Threads, collections: Collections, max_bytes: int) -> None:
    """Count the bytes of the cached pictures anew, and remove the oldest while there are too many."""
    held = await threads.run(partial(renditions.bytes_held, collections))
    counted = 0
    async for batch in _steps(threads, partial(sweep.walk, collections.rendered.files, "length")):
        counted += sum(file["length"] for file in batch)
    await threads.run(partial(renditions.set_right, collections, held, counted))
    more = True
    while more:
        more = await threads.run(partial(renditions.trim, collections, max_bytes))
        await asyncio.sleep(PAUSE_SECONDS)


async def _sweep_bucket(
    threads: Threads, collections: Collections, bucket: Bucket, unnamed: Unnamed, window: Window, horizon: ObjectId
) -> int:
    removed = 0
    while (ids := await threads.run(partial(sweep.next_files, bucket, window, horizon))) is not None:
        for file_id in await threads.run(partial(unnamed, collections, ids)):
            await remove_whole(threads, bucket, file_id)
            removed += 1
        await asyncio.sleep(PAUSE_SECONDS)
    return removed


async def _steps(threads: Threads, begin: Callable[[], Iterator[list[Document]]]) -> AsyncIterator[list[Document]]:
    steps = begin()
    while (batch := await threads.run(partial(next, steps, None))) is not None:
        yield batch
        await asyncio.sleep(PAUSE_SECONDS)
