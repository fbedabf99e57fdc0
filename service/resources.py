"""What a service process holds from its start to its end: the database, the store on it, the worker processes."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from service.settings import Settings
from service.storage.connection import connect, open_database
from service.storage.local.database import LocalDatabase, find_running
from service.storage.local.lock import LocalDatabaseError
from service.storage.store import Store
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.near import Near
from service.usecases.outgoing import OutgoingBudget
from service.workers.pool import WorkerPool

WORKER_MODULES = ("service.dicom.extract", "service.dicom.pixels.render")
"""What a worker process imports before its first job."""


BESIDE_SECONDS = 30.0
"""How long a command waits for the database of a service that is starting or stopping."""


def now() -> datetime:
    """Return the current time."""
    return datetime.now(UTC)


@contextlib.asynccontextmanager
async def open_store(settings: Settings) -> AsyncIterator[Store]:
    """Open a store that is ready for use, on the configured database or on a local one.

    Parameters
    ----------
    settings : Settings
        Which database.

    Raises
    ------
    DatabaseUnavailable, LocalDatabaseError, UnknownLayout
        Where the service cannot start on it.
    """
    async with contextlib.AsyncExitStack() as stack:
        uri = settings.mongodb_uri
        if uri is None:
            database = await stack.enter_async_context(LocalDatabase(settings.data_dir))
            uri = database.uri
        client = connect(uri)
        stack.callback(client.close)
        store = Store(
            open_database(client, settings.mongodb_database),
            now,
            queue=settings.max_storage_queue,
            max_rendered_bytes=settings.max_rendered_bytes,
            max_patient_bytes=settings.max_patient_bytes,
        )
        stack.callback(store.close)
        await store.prepare()
        await store.audit.keep_for(settings.audit_days)
        yield store


@contextlib.asynccontextmanager
async def open_store_beside(
    settings: Settings, command: str, *, yields: bool = False, prepare: bool = True, create: bool = False
) -> AsyncIterator[Store]:
    """Open a store for a command: on the configured database, on the one that a service keeps, or on a local one.

    Parameters
    ----------
    settings : Settings
        Which database.
    command : str
        Which command, for whoever wants to use the directory of a local database meanwhile.
    yields : bool, optional
        Whether a service that starts may take the local database over: the store then is away for good, and the
        command opens another.
    prepare : bool, optional
        False for a database whose layout may be an older one.
    create : bool, optional
        Whether a local database is made where none is: a mistyped directory would look like an empty store.

    Raises
    ------
    DatabaseUnavailable, LocalDatabaseError, UnknownLayout
        Where it cannot be used.
    """
    async with contextlib.AsyncExitStack() as stack:
        database = LocalDatabase(settings.data_dir, command, yields=yields)
        if settings.mongodb_uri is None and not create and not database.is_made:
            raise LocalDatabaseError(
                f"There is no database in the data directory {settings.data_dir.absolute()}. "
                "Name the service's own with --data-dir or DATA_DIR, or its MongoDB with MONGODB_URI."
            )
        uri = settings.mongodb_uri or await _find_or_start(settings, database, stack)
        client = connect(uri)
        stack.callback(client.close)
        store = Store(open_database(client, settings.mongodb_database), now)
        stack.callback(store.close)
        if prepare:
            await store.prepare()
        yield store


async def _find_or_start(settings: Settings, database: LocalDatabase, stack: contextlib.AsyncExitStack) -> str:
    """Return the URI of the data directory's database; it is started where nobody keeps it."""
    ends = time.monotonic() + BESIDE_SECONDS
    while True:
        uri = find_running(settings.data_dir)
        if uri is not None:
            return uri
        try:
            return (await stack.enter_async_context(database)).uri
        except LocalDatabaseError:  # somebody holds the directory, whose database is about to come up, or to end
            if find_running(settings.data_dir) is None and time.monotonic() > ends:
                raise
            await asyncio.sleep(0.2)


@contextlib.asynccontextmanager
async def open_workers(settings: Settings) -> AsyncIterator[WorkerPool]:
    """Start worker processes, and end them when the block is left.

    Parameters
    ----------
    settings : Settings
        How many, and what they may take.
    """
    workers = WorkerPool(
        settings.pool_processes or None,
        modules=WORKER_MODULES,
        memory_bytes=settings.pool_memory_bytes,
        queue_limit=settings.max_pool_queue,
    )
    await workers.start()
    try:
        yield workers
    finally:
        await workers.close()


@contextlib.asynccontextmanager
async def open_context(settings: Settings, store: Store | None = None) -> AsyncIterator[Context]:
    """Open everything that the use cases work with.

    Parameters
    ----------
    settings : Settings
        What the operator has set.
    store : Store, optional
        A store to use instead of the configured one; whoever opened it closes it.
    """
    await asyncio.to_thread(spool.sweep, settings.spool_dir)
    async with contextlib.AsyncExitStack() as stack:
        # The workers first: they come up while the database does.
        workers = await stack.enter_async_context(open_workers(settings))
        opened = store if store is not None else await stack.enter_async_context(open_store(settings))
        near = Near(settings.data_dir / "near", settings.max_near_bytes, settings.min_free_bytes)
        await asyncio.to_thread(near.load)
        outgoing = OutgoingBudget(settings.max_outgoing_bytes, settings.request_wait)
        context = Context(opened, workers, settings, now, outgoing=outgoing, near=near)
        yield context
        await context.behind.finish()
