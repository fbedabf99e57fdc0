"""Shares: made, found, opened and ended. What has ended or expired is found by none of the reads that open anything.

The sessions of a share stand within it. So the end of a share is one command, which no session that is being made at
the same time escapes, and what a session may see is one read by the share's id.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal

from schemas.database import Share, ShareSession
from service.storage.collections import Collections, Document
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible

MAX_SESSIONS = 64
"""Sessions that a share keeps. One more takes the place of the one that ends soonest, or has ended."""

MAX_WRONG = 10
"""Wrong passcodes in the life of a share; the last of them closes it."""

TRY_SECONDS = 60
"""How long a passcode is looked at at most. One that was not settled by then, because a process ended, was wrong."""


@dataclass(frozen=True, slots=True)
class Shares:
    """The collection `shares`, and what is asked of the instances to make one."""

    collections: Collections
    threads: Threads

    @one_hop
    def insert(self, share: Share) -> None:
        """Add a share."""
        self.collections.shares.insert_one(share)

    @one_hop
    def count_open(self, patient_id: str, now: datetime) -> int:
        """Count the shares of a patient that have not ended."""
        return self.collections.shares.count_documents({"patient_id": patient_id, **open_shares(now)})

    @one_hop
    def list_of(self, patient_id: str, limit: int, offset: int) -> tuple[list[Share], bool]:
        """Return shares of a patient without their instances, the newest first, and whether there are more."""
        newest_first = [("made_at", -1), ("_id", 1)]
        found = list(
            self.collections.shares.find(
                {"patient_id": patient_id},
                {"dicom_ids": 0, "answered": 0},
                sort=newest_first,
                skip=offset,
                limit=limit + 1,
            )
        )
        return found[:limit], len(found) > limit

    @one_hop
    def find(self, patient_id: str, share_id: str) -> Share | None:
        """Find a share of a patient, ended or not."""
        return self.collections.shares.find_one({"_id": share_id, "patient_id": patient_id})

    @one_hop
    def find_by_secret(self, secret_hash: str, now: datetime) -> Share | None:
        """Find the share of a link, if it has not ended. Whether it is used up is told by its `opens`."""
        return self.collections.shares.find_one({"secret_hash": secret_hash, **open_shares(now)})

    @one_hop
    def find_by_session(self, share_id: str, session_hash: str, now: datetime) -> Share | None:
        """Find the share of a session, if neither has ended, without what was answered: one read by the share's id."""
        living = {"$elemMatch": {"hash": session_hash, "expires_at": {"$gt": now}}}
        wanted: Document = {"_id": share_id, "sessions": living, **open_shares(now)}
        return self.collections.shares.find_one(wanted, {"answered": 0})

    @one_hop
    def add_session(self, share: Share, session: ShareSession, now: datetime) -> bool:
        """Count an opening and add its session, in one command.

        Returns
        -------
        bool
            False where the share has ended or is used up meanwhile.
        """
        wanted: Document = {"_id": share["_id"], **open_shares(now)}
        if share["max_opens"] is not None:
            wanted["opens"] = {"$lt": share["max_opens"]}
        latest = {"$each": [session], "$sort": {"expires_at": 1}, "$slice": -MAX_SESSIONS}
        change: Document = {"$inc": {"opens": 1}, "$set": {"opened_at": now}, "$push": {"sessions": latest}}
        if share["passcode"] is not None:  # the try that was taken for it was right
            change["$inc"]["tries"] = -1
        return bool(self.collections.shares.update_one(wanted, change).matched_count)

    @one_hop
    def take_try(self, share_id: str, now: datetime) -> Literal["taken", "busy", "ended"]:
        """Take a try of a share's passcode before that is looked at, so that many at once are no more than ten.

        Returns
        -------
        str
            ``taken``; ``busy`` where as many as are left are being looked at; ``ended`` where the share has ended.
        """
        shares, living = self.collections.shares, {"_id": share_id, **open_shares(now)}
        change: Document = {"$inc": {"tries": 1}, "$set": {"tried_at": now}}
        if shares.update_one({**living, "tries": {"$lt": MAX_WRONG}}, change).matched_count:
            return "taken"
        # Whoever took the rest and did not come back has failed.
        horizon = now - timedelta(seconds=TRY_SECONDS)
        lost = {**living, "tries": {"$gte": MAX_WRONG}, "tried_at": {"$lt": horizon}}
        shares.update_one(lost, _ending("closed", now))
        return "busy" if shares.find_one(living, {"_id": 1}) is not None else "ended"

    @one_hop
    def note_wrong(self, share_id: str, now: datetime) -> bool:
        """Count a wrong passcode whose try was taken. Returns whether it was the last, and has closed the share."""
        self.collections.shares.update_one({"_id": share_id}, {"$inc": {"wrong": 1}})
        last = {"_id": share_id, "wrong": {"$gte": MAX_WRONG}, "ended_at": None}
        return bool(self.collections.shares.update_one(last, _ending("closed", now)).matched_count)

    @one_hop
    def revoke(self, patient_id: str, share_id: str, now: datetime) -> bool:
        """End a share with its sessions. False where the patient has no such share; it may have ended before."""
        mine: Document = {"_id": share_id, "patient_id": patient_id}
        if self.collections.shares.update_one({**mine, "ended_at": None}, _ending("revoked", now)).matched_count:
            return True
        return self.collections.shares.find_one(mine, {"_id": 1}) is not None

    @one_hop
    def revoke_all(self, patient_id: str, now: datetime) -> list[str]:
        """End all shares of a patient with their sessions, and return the ids of those that had not ended."""
        mine: Document = {"patient_id": patient_id, "ended_at": None}
        living = [share["_id"] for share in self.collections.shares.find({**mine, **open_shares(now)}, {"_id": 1})]
        self.collections.shares.update_many(mine, _ending("revoked", now))
        return living

    @one_hop
    def find_uids(self, patient_id: str, level: str, uids: Sequence[str]) -> set[str]:
        """Return which of these studies or series a patient has, without what waits in an inbox.

        Parameters
        ----------
        patient_id : str
            Whose.
        level : str
            What they are: ``study_instance_uid`` or ``series_instance_uid``.
        uids : sequence of str
            What is asked for.
        """
        there = [{"$match": _accepted(patient_id, level, uids)}, {"$group": {"_id": f"$metadata.{level}"}}]
        return {found["_id"] for found in self.collections.originals.files.aggregate(there)}

    @one_hop
    def find_instances(self, patient_id: str, level: str, wanted: Sequence[str], limit: int) -> dict[str, str]:
        """Return the instances of studies or series, or these, that a patient has, without what waits in an inbox.

        Parameters
        ----------
        patient_id : str
            Whose.
        level : str
            What is wanted: ``dicom_id``, or the name of an identifier, such as ``sop_instance_uid``.
        wanted : sequence of str
            The ids or UIDs. A SOP Instance UID means all versions that there are.
        limit : int
            The most that are of use; there may be more.

        Returns
        -------
        dict of str to str
            What each is found by, by its id: at most one more than the limit.
        """
        if level == "dicom_id":  # one that has no UIDs yet can be shown too
            named = dict(zip(wanted, wanted, strict=True))
        else:
            # From what stands beside the originals, which is small.
            files = self.collections.originals.files.find(
                _accepted(patient_id, level, wanted), {"metadata": 1}, limit=limit + 1
            )
            named = {file["metadata"]["dicom_id"]: file["metadata"][level] for file in files}
        living: Document = {"_id": {"$in": list(named)}, **Visible(patient_id).instances(), "inbox": None}
        there = [each["_id"] for each in self.collections.instances.find(living, {"_id": 1})]
        return {dicom_id: named[dicom_id] for dicom_id in there}


def open_shares(now: datetime) -> dict[str, Any]:
    """Return the filter for shares that have not ended. The server removes expired ones late, or never."""
    return {"ended_at": None, "expires_at": {"$gt": now}}


def _ending(by: Literal["revoked", "closed"], now: datetime) -> Document:
    return {"$set": {"ended_at": now, "ended_by": by, "sessions": []}}


def _accepted(patient_id: str, level: str, uids: Sequence[str]) -> Document:
    """Return the filter for the `files` documents of what a patient has. One that is being deleted has lost a UID."""
    return {
        **Visible(patient_id).files(),
        "metadata.sop_instance_uid": {"$ne": None},
        "metadata.inbox": None,
        f"metadata.{level}": {"$in": list(uids)},
    }
