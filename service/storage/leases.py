"""Work that one process does at a time: extractions that wait, deletes that met a crash, the sweep.

A lease is a date in the document itself. Of an instance `extraction.retry_at` is both the end of a lease and the time
of the next try: who takes an instance on sets it as far ahead as the work may take, and while it lies ahead nobody else
takes that instance. A process that dies needs no clearing up: its leases run out. Beside the date stands who holds the
lease. Where that was a process of this machine that is gone, the next one to start releases it, so that nobody waits.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from pymongo import ReturnDocument

from schemas.database import Instance
from service.storage.collections import SMALL_FIELDS, Collections
from service.storage.local.running import PROC, start_time
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
        lease = {
            "$set": {"extraction.retry_at": until, "extraction.holder": name_process(os.getpid())},
            "$inc": {"extraction.attempts": 1},
        }
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
    def release_lost(self, now: datetime) -> int:
        """Release the leases that processes of this machine held and did not live to give back; return how many."""
        machine = name_machine()
        if machine is None:
            return 0
        held = {
            "extraction.state": {"$in": ["pending", "deleting"]},
            "extraction.retry_at": {"$gt": now},
            "extraction.holder": {"$regex": f"^{re.escape(machine)} "},
        }
        released = 0
        for found in list(self.collections.instances.find(held, {"patient_id": 1, "extraction.holder": 1})):
            holder = str(found["extraction"].get("holder"))
            if holder != name_process(int(holder.split(" ")[1])):
                this = {"_id": found["_id"], "patient_id": found["patient_id"], "extraction.holder": holder}
                change = {"$set": {"extraction.retry_at": None, "extraction.holder": None}}
                released += self.collections.instances.update_one(this, change).modified_count
        return released

    @one_hop
    def take_sweep(self, now: datetime, until: datetime) -> bool:
        """Take on the sweep of the whole database until then. False where another process has it."""
        due = {"_id": "store", "sweep_leased_until": {"$not": {"$gt": now}}}
        return bool(self.collections.meta.update_one(due, {"$set": {"sweep_leased_until": until}}).matched_count)


def name_machine() -> str | None:
    """Return what tells this machine, since its last start, from all others; None where the system does not say.

    Processes of two containers on one machine do not see each other, so each container counts as one.
    """
    try:
        boot = (PROC / "sys/kernel/random/boot_id").read_text("ascii").strip()
        return f"{boot}/{(PROC / 'self/ns/pid').readlink()}"
    except OSError:
        return None


def name_process(pid: int) -> str | None:
    """Return what tells a process of this machine from all others; None where it is gone, or cannot be told."""
    machine, started = name_machine(), start_time(pid)
    return None if machine is None or started is None else f"{machine} {pid} {started}"
