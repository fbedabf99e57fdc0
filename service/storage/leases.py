"""Unfinished instances, claimed by one process at a time: extractions that wait, deletes that met a crash.

One field, `extraction.retry_at`, is both the end of a claim and the time of the next try: who claims an instance sets
it as far ahead as the work may take, and while it lies ahead nobody else claims that instance. A process that dies
needs no clearing up: its claims run out. Synchronous.
"""

from __future__ import annotations

from datetime import datetime

from pymongo import ReturnDocument

from service.storage.collections import ENVELOPE, Collections, Document

ATTEMPTS = 5
"""Instances that others may claim between our look and our claim, before it is left to the next round."""


def claim_unfinished(collections: Collections, state: str, now: datetime, until: datetime) -> Document | None:
    """Claim an instance in a state, and count the try.

    Parameters
    ----------
    state : str
        ``pending`` or ``deleting``.
    now : datetime
        Only what is due by now is claimed.
    until : datetime
        When the claim runs out.

    Returns
    -------
    dict or None
        Its envelope, the claim in it; None where nothing is due.
    """
    due = {"extraction.state": state, "extraction.retry_at": {"$not": {"$gt": now}}}
    claim = {"$set": {"extraction.retry_at": until}, "$inc": {"extraction.attempts": 1}}
    # In two steps: where the collection is sharded, MongoDB 7.0 changes one document by its shard key alone.
    for _ in range(ATTEMPTS):
        found = collections.instances.find_one(due, {"patient_id": 1})
        if found is None:
            return None
        claimed = collections.instances.find_one_and_update(
            {**due, "_id": found["_id"], "patient_id": found["patient_id"]},
            claim,
            projection=ENVELOPE,
            return_document=ReturnDocument.AFTER,
        )
        if claimed is not None:
            return claimed
    return None


def claim_sweep(collections: Collections, now: datetime, until: datetime) -> bool:
    """Claim the sweep of the whole database, which is one process's at a time. False where another has it."""
    due = {"_id": "store", "sweep_claimed_until": {"$not": {"$gt": now}}}
    return bool(collections.meta.update_one(due, {"$set": {"sweep_claimed_until": until}}).matched_count)
