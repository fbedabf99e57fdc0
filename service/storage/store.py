"""Everything at rest, in parts that the use cases call."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from functools import partial

from service.storage import layout
from service.storage.audit import AuditTrail
from service.storage.collections import open_collections
from service.storage.connection import Database, answering
from service.storage.deletion import Deletion
from service.storage.inboxes import Inboxes
from service.storage.instances import Instances
from service.storage.leases import Leases
from service.storage.lookups import gather_lookups
from service.storage.maintenance import Maintenance
from service.storage.namespaces import Namespaces
from service.storage.originals import Originals
from service.storage.renditions import Renditions
from service.storage.search import TagIndex
from service.storage.settled import Committed
from service.storage.shares import Shares
from service.storage.statistics import Statistics
from service.storage.studies import Studies
from service.storage.sweep import Leftovers
from service.storage.tables import Tables
from service.storage.threads import Threads
from service.storage.uploads import Uploads, gather_small
from service.storage.usage import Usage

PREPARING_SECONDS = 600.0


class Store:
    """The documents and files of one database.

    Its parts hold the synchronous collections below Motor's and the threads in which their commands run; those that
    send single commands hold Motor's database too.

    Every method of its parts raises :class:`~service.errors.DatabaseUnavailable` within 5 s of the database going away.
    Every query for a caller names the patient, and an instance that is being deleted is not seen by any of them.

    Parameters
    ----------
    database : motor database
        From :func:`service.storage.connection.open_database`.
    clock : callable
        Gives the time as an aware datetime.
    queue : int, optional
        How many calls may wait for a thread, and how many small uploads and look-ups for those before them.
    max_rendered_bytes : int, optional
        What the cached pictures may take.
    max_patient_bytes : int, optional
        What the originals of one patient may take; 0: there is no bound.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        *,
        queue: int = 256,
        max_rendered_bytes: int = 2 << 30,
        max_patient_bytes: int = 0,
    ) -> None:
        self._database = database
        self._collections = collections = open_collections(database.delegate)
        self._clock = clock
        self._threads = threads = Threads(queue=queue)
        self._walks = Threads(4, queue=8)
        self._missing_indexes: tuple[str, ...] = ()
        committed = Committed()
        lookups = gather_lookups(collections, threads, queue)
        self.instances = Instances(collections, threads, lookups, committed=committed)
        self.studies = Studies(collections, threads)
        self.index = TagIndex(collections, threads, self._walks)
        self.tables = Tables(collections, threads, self._walks)
        self.usage = Usage(collections, threads, max_patient_bytes)
        self.originals = Originals(collections, threads)
        self.renditions = Renditions(collections, threads, clock, max_rendered_bytes)
        together = gather_small(collections, threads, self.usage, queue)
        self.uploads = Uploads(collections, threads, self.originals, self.usage, together, committed)
        self.deletion = Deletion(collections, threads, self.usage)
        self.leases = Leases(collections, threads)
        self.leftovers = Leftovers(collections, threads, clock, max_rendered_bytes)
        self.namespaces = Namespaces(collections, threads, self.instances)
        self.audit = AuditTrail(collections.audit, threads)
        self.shares = Shares(collections, threads)
        self.inboxes = Inboxes(collections, threads)
        self.statistics = Statistics(collections, threads)
        self.maintenance = Maintenance(database, collections, threads)

    async def prepare(self) -> layout.Prepared:
        """Make collections, validators, indexes and the `meta` document where they are missing.

        Raises
        ------
        UnknownLayout
            If the database was written by a version with another layout.
        """
        await self.check()  # a database that is away is told of soon, however long the indexes may take
        prepare = partial(layout.prepare, self._database.delegate, self._collections, self._clock())
        prepared = await self._threads.run(prepare, PREPARING_SECONDS)
        await self.namespaces.read()
        self._missing_indexes = prepared.missing_indexes
        self.instances = replace(self.instances, lists_by_index=prepared.lists_by_index)
        return prepared

    async def find_missing_indexes(self) -> tuple[str, ...]:
        """Return which indexes were too expensive to build at the start and are still not there."""
        if self._missing_indexes:
            missing = await self._threads.run(partial(layout.find_missing, self._database.delegate))
            self._missing_indexes = tuple(f"{index.collection}.{index.name}" for index in missing)
        return self._missing_indexes

    async def check(self) -> None:
        """Read one small document. A database whose disk is full may answer a ping and read nothing."""
        with answering():
            await self._database["meta"].find_one({"_id": "store"}, {"layout": 1})

    def close(self) -> None:
        """Let go of the threads. The client belongs to who made it."""
        self._threads.close()
        self._walks.close()
