"""The ids of instances: a UUID of the patient and the bytes, in a random namespace that each database makes for itself.

So the same bytes of a patient have the same id, and an id proves nothing to who holds the bytes. A database into which
files of another one were imported finds the same bytes under the ids of either.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Sequence
from functools import partial
from typing import Any

from service.errors import ServiceError
from service.storage.collections import Collections
from service.storage.instances import Instances
from service.storage.threads import Threads

NAMESPACE_SECONDS = 2.0
"""How long a service goes on with the namespaces that it knows before it looks again."""


class Namespaces:
    """The namespaces of one database, as a process knows them.

    Parameters
    ----------
    collections : Collections
        Of the database; the namespaces stand in `meta`.
    threads : Threads
        Where its commands run.
    instances : Instances
        Where ids are looked up.
    """

    def __init__(self, collections: Collections, threads: Threads, instances: Instances) -> None:
        self._collections = collections
        self._threads = threads
        self._instances = instances
        self._own: uuid.UUID | None = None
        self._others: tuple[uuid.UUID, ...] = ()
        self._read_at = 0.0

    async def read(self) -> None:
        """Read them; before that no id can be given."""
        began = time.monotonic()
        meta = await self._threads.run(partial(_find_meta, self._collections))
        self._own = uuid.UUID(meta["namespace"])
        self._others = tuple(uuid.UUID(other) for other in meta.get("other_namespaces", ()))
        self._read_at = began

    def own_id(self, patient_id: str, sha256: str) -> str:
        """Return the id by which this database stores a patient's file.

        Raises
        ------
        ServiceError
            Before :meth:`read`.
        """
        if self._own is None:
            raise ServiceError("The database is not prepared.")
        return _id_in(self._own, patient_id, sha256)

    async def settle_id(self, patient_id: str, sha256: str) -> str:
        """Return the id of a patient's file; where it was imported under another database's id, that one.

        Raises
        ------
        ServiceError
            Before :meth:`read`.
        """
        if self._own is not None and time.monotonic() - self._read_at > NAMESPACE_SECONDS:
            await self.read()  # an import into this database may have brought others
        own = self.own_id(patient_id, sha256)
        others = [_id_in(other, patient_id, sha256) for other in self._others]
        present = await self._instances.find_present([own, *others]) if others else ()
        return next((each for each in (own, *others) if each in present), own)

    async def take(self, own: str, others: Sequence[str]) -> bool:
        """Make the namespaces of an archive known, and come back when every running service knows them.

        An empty database takes the archive's as its own. One that has instances keeps its own and notes the other.

        Returns
        -------
        bool
            Whether the database gives its ids by the archive's own namespace from now on.
        """
        former = await self._threads.run(partial(_take, self._collections, own, others))
        if former is not None:
            await asyncio.sleep(1.5 * NAMESPACE_SECONDS)
            await self._threads.run(partial(_keep, self._collections, former))
        await self.read()
        return str(self._own) == own


def _id_in(namespace: uuid.UUID, patient_id: str, sha256: str) -> str:
    # The hash has a fixed length and comes first, so no two pairs give the same text.
    return str(uuid.uuid5(namespace, f"{sha256}/{patient_id}"))


def _find_meta(collections: Collections) -> dict[str, Any]:
    return collections.meta.find_one({"_id": "store"}) or {}


def _take(collections: Collections, own: str, others: Sequence[str]) -> str | None:
    """Note what is not known yet. Returns the namespace that was the database's own before; None if nothing is new."""
    meta = _find_meta(collections)
    former: str = meta["namespace"]
    known = {former, *meta.get("other_namespaces", ())}
    if known >= {own, *others}:
        return None
    taken = former
    if own != former and collections.instances.find_one({}, {"_id": 1}) is None:
        mine = {"_id": "store", "namespace": former}
        if collections.meta.update_one(mine, {"$set": {"namespace": own}}).matched_count:
            taken = own
    noted = sorted({own, *others} - {taken})
    collections.meta.update_one({"_id": "store"}, {"$addToSet": {"other_namespaces": {"$each": noted}}})
    return former


def _keep(collections: Collections, former: str) -> None:
    """Note a namespace that is no longer the database's own, where a service gave an id by it all the same."""
    if collections.instances.find_one({}, {"_id": 1}) is not None:
        replaced = {"_id": "store", "namespace": {"$ne": former}}
        collections.meta.update_one(replaced, {"$addToSet": {"other_namespaces": former}})
