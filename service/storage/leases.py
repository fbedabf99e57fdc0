"""Work that one process does at a time: extractions that wait, deletes that met a crash, the sweep.

A lease is a date in the document itself. Of an instance `extraction.retry_at` is both the end of a lease and the time
of the next try: who takes an instance on sets it as far ahead as the work may take, and while it lies ahead nobody else
takes that instance. A process that dies needs no clearing up: its leases run out.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pymongo import ReturnDocument

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections
from service.storage.threads import Threads, one_hop

ATTEMPTS = 5
"""Instances that others may take between our look and our lease, before it is left to the next round."""


@dataclass(frozen=True, slots=True)
class Leases:
    """Who works on what is unfinished."""

    collections: Collections
    threads: Threads

    @one_hop
    def take_unfinished(self, state: Literal["pending", "deleting"], now: datetime, until: datetime) -> Instance | None:
        """Take on an instance in a state, so that no other process works on it, and count the try.

        Parameters
        ----------
        state : str
            ``pending`` or ``deleting``.
        now : datetime
            Only what is due by now is taken.
        until : datetime
            When the lease runs out.

        Returns
        -------
        Instance or None
            Without its tree, the lease in it; None where nothing is due.
        """
        due = {"extraction.state": state, "extraction.retry_at": {"$not": {"$gt": now}}}
        lease = {"$set": {"extraction.retry_at": until}, "$inc": {"extraction.attempts": 1}}
        # In two steps: where the collection is sharded, MongoDB 7.0 changes one document by its shard key alone.
        for _ in range(ATTEMPTS):
            found = self.collections.instances.find_one(due, {"patient_id": 1})
            if found is None:
                return None
            taken = self.collections.instances.find_one_and_update(
                {**due, "_id": found["_id"], "patient_id": found["patient_id"]},
                lease,
                projection=SMALL_FIELDS,
                return_document=ReturnDocument.AFTER,
            )
            if taken is not None:
                return taken
        return None

    @one_hop
    def take_sweep(self, now: datetime, until: datetime) -> bool:
        """Take on the sweep of the whole database until then. False where another process has it."""
        due = {"_id": "store", "sweep_leased_until": {"$not": {"$gt": now}}}
        return bool(self.collections.meta.update_one(due, {"$set": {"sweep_leased_until": until}}).matched_count)
