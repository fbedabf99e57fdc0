"""Inboxes: how much may still come by one, what has come and waits, and what became of it.

Whoever uploads takes room first, by a command that does nothing where there is none, so that two processes cannot pass
the bound together. What was taken and not used is given back in the end. A process that dies gives nothing back: so
each reservation has an end, and whoever finds an inbox full ends those that are over. A file that such a process had
just stored is then not counted.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from schemas.database import Inbox, InboxReservation, Instance
from service.storage.collections import SMALL_FIELDS, Collections, Document
from service.storage.shares import open_shares
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible


@dataclass(frozen=True, slots=True)
class Inboxes:
    """The inboxes in the collection `shares`, and the instances that came by them."""

    collections: Collections
    threads: Threads

    @one_hop
    def reserve(
        self, share_id: str, upload_id: str, limits: Inbox, files: int, size: int, until: datetime, now: datetime
    ) -> bool:
        """Take room for an upload, and keep all that it has taken until a time.

        Parameters
        ----------
        share_id, upload_id : str
            The inbox, and what this upload is called there.
        limits : Inbox
            The inbox as it was read: its bounds never change.
        files, size : int
            How many files and bytes more.
        until : datetime
            When its room is given back if nothing more is heard of it.
        now : datetime
            The time.

        Returns
        -------
        bool
            False where there is no such room, or the inbox has ended.
        """
        room = {
            "_id": share_id,
            **open_shares(now),
            "inbox.files": {"$lte": limits["max_files"] - files},
            "inbox.bytes": {"$lte": limits["max_bytes"] - size},
        }
        mine = f"inbox.reserved.{upload_id}"
        added = {"inbox.files": files, "inbox.bytes": size, f"{mine}.files": files, f"{mine}.bytes": size}
        change: Document = {"$inc": added, "$set": {f"{mine}.until": until}}
        return bool(self.collections.shares.update_one(room, change).matched_count)

    @one_hop
    def settle(self, share_id: str, upload_id: str, files: int, size: int) -> None:
        """Give back of an upload's room what it has not used: it has stored so many files and bytes."""
        shares = self.collections.shares
        kept = self._reservations(share_id).get(upload_id)
        if kept is not None and shares.update_one(*_ending(share_id, upload_id, kept, files, size)).matched_count:
            return
        # It was taken for dead, and its room is given back already.
        shares.update_one({"_id": share_id}, {"$inc": {"inbox.files": files, "inbox.bytes": size}})

    @one_hop
    def end_reservations(self, share_id: str, now: datetime) -> None:
        """Give back the room of uploads that are over without having said so."""
        for upload_id, kept in self._reservations(share_id).items():
            if kept["until"] < now:
                self.collections.shares.update_one(*_ending(share_id, upload_id, kept, 0, 0))

    def _reservations(self, share_id: str) -> Mapping[str, InboxReservation]:
        share = self.collections.shares.find_one({"_id": share_id}, {"inbox.reserved": 1})
        inbox = None if share is None else share["inbox"]
        return {} if inbox is None else inbox["reserved"]

    @one_hop
    def list_waiting(self, patient_id: str, share_id: str, limit: int, offset: int) -> tuple[list[Instance], bool]:
        """Return what came by an inbox and waits, the newest first, without trees; and whether there is more."""
        # From what stands beside the originals, which is small.
        files = list(
            self.collections.originals.files.find(
                _waiting(patient_id, share_id),
                {"metadata.dicom_id": 1},
                sort=[("uploadDate", -1), ("_id", 1)],
                skip=offset,
                limit=limit + 1,
            )
        )
        ids = [file["metadata"]["dicom_id"] for file in files[:limit]]
        found = self._find(patient_id, share_id, ids)
        return [found[each] for each in ids if each in found], len(files) > limit

    @one_hop
    def count_waiting(self, patient_id: str, share_id: str) -> int:
        """Count what came by an inbox and waits."""
        return self.collections.originals.files.count_documents(_waiting(patient_id, share_id))

    @one_hop
    def find_waiting(self, patient_id: str, share_id: str, dicom_ids: Collection[str]) -> dict[str, Instance]:
        """Return those of some instances that came by an inbox and wait, by their ids, without trees."""
        return self._find(patient_id, share_id, dicom_ids)

    def _find(self, patient_id: str, share_id: str, dicom_ids: Collection[str]) -> dict[str, Instance]:
        wanted: Document = {"_id": {"$in": list(dicom_ids)}, **Visible(patient_id).instances(), "inbox": share_id}
        return {instance["_id"]: instance for instance in self.collections.instances.find(wanted, SMALL_FIELDS)}

    @one_hop
    def note_answer(
        self, share_id: str, dicom_id: str, seen: Mapping[str, str | None], accepted_as: str | None
    ) -> bool:
        """Note what becomes of a file before it is done: accepted under an id, or declined.

        Parameters
        ----------
        share_id, dicom_id : str
            The inbox, and the file.
        seen : mapping of str to (str or None)
            What had become of its files when it was decided.
        accepted_as : str or None
            The id; None where it is declined.

        Returns
        -------
        bool
            False where somebody else has answered otherwise since. Where the share is forgotten nothing is noted.
        """
        field, inbox = f"answered.{dicom_id}", {"_id": share_id, "inbox": {"$ne": None}}
        same: Document = {field: seen[dicom_id]} if dicom_id in seen else {field: {"$exists": False}}
        shares, change = self.collections.shares, {"$set": {field: accepted_as}}
        # One condition after the other: with an `$or` of both the local database would read the shares of everybody.
        if any(shares.update_one({**inbox, **each}, change).matched_count for each in (same, {field: accepted_as})):
            return True
        return shares.find_one(inbox, {"_id": 1}) is None

    @one_hop
    def take_back_answer(
        self, share_id: str, dicom_id: str, seen: Mapping[str, str | None], accepted_as: str | None
    ) -> None:
        """Take back an answer that was noted and could not be done. Parameters as of :meth:`note_answer`."""
        field = f"answered.{dicom_id}"
        change = {"$set": {field: seen[dicom_id]}} if dicom_id in seen else {"$unset": {field: ""}}
        self.collections.shares.update_one({"_id": share_id, field: accepted_as}, change)


def _waiting(patient_id: str, share_id: str) -> Document:
    return {**Visible(patient_id).files(), "metadata.inbox": share_id}


def _ending(share_id: str, upload_id: str, kept: InboxReservation, files: int, size: int) -> tuple[Document, Document]:
    """Return what ends a reservation if it is still the one that was read: a filter and a change."""
    mine = f"inbox.reserved.{upload_id}"
    same: Document = {"_id": share_id, **{f"{mine}.{name}": value for name, value in kept.items()}}
    change: dict[str, Any] = {
        "$inc": {"inbox.files": files - kept["files"], "inbox.bytes": size - kept["bytes"]},
        "$unset": {mine: ""},
    }
    return same, change
