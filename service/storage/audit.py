"""The audit: who asked for whose data, and what became of it. This module reads it, and only ever adds to it.

Nothing in the service changes or removes an entry. Where the operator wants entries to end, the server itself removes
them (a TTL index).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from bson import ObjectId
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, OperationFailure, PyMongoError

from service.errors import DatabaseUnavailable, Unavailable
from service.storage.collections import Document
from service.storage.connection import is_passing
from service.storage.threads import Threads, one_hop

EXPIRY = "expiry"
"""The name of the index by which entries end."""

SECONDS_A_DAY = 86_400

LINE_FIELDS = dict.fromkeys(("at", "action", "outcome", "status", "subject", "method", "dicom_ids"), 1)
"""What is read of an entry to show it to the patient whose data it is about."""

_DUPLICATE = 11000

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One thing that somebody asked for.

    Parameters
    ----------
    at : datetime
        When, aware.
    action : str
        What, such as ``read_tag`` or ``delete``.
    outcome : str
        ``intended`` (before a delete), ``done``, ``denied`` or ``failed``.
    status : int or None
        The HTTP status of the answer; None where there is none yet.
    method, route : str
        The method, and the template of the path.
    request_id : str
        The id that the log has of the request.
    patient_id : str
        Whose data it was about.
    subject, token_id : str or None
        ``sub`` and ``jti`` of the token; None where it has none, or is not valid.
    dicom_ids : tuple of str
        The instances that were named, given or made; empty for what is about all of a patient's.
    share_id : str or None
        The share that it was about, or by which it was asked for.
    entry_id : ObjectId
        Its own id, so that a second try to write it writes no second entry.
    """

    at: datetime
    action: str
    outcome: str
    status: int | None
    method: str
    route: str
    request_id: str
    patient_id: str
    subject: str | None = None
    token_id: str | None = None
    dicom_ids: tuple[str, ...] = ()
    share_id: str | None = None
    entry_id: ObjectId = field(default_factory=ObjectId)


@dataclass(frozen=True, slots=True)
class AuditTrail:
    """The `audit` collection."""

    collection: Collection[Document]
    threads: Threads

    @one_hop
    def append(self, entries: Sequence[AuditEntry]) -> int:
        """Add entries, durably.

        Returns
        -------
        int
            How many of them the server refuses, for good.

        Raises
        ------
        Unavailable
            None may have been written; the same entries can be given again.
        """
        try:
            self.collection.insert_many([as_document(entry) for entry in entries], ordered=False)
        except BulkWriteError as error:
            details = error.details or {}
            if details.get("writeConcernErrors"):  # written, and perhaps not durably
                raise DatabaseUnavailable("The database does not answer.", retry_after=2) from error
            # What an earlier try has written is there.
            return sum(each.get("code") != _DUPLICATE for each in details.get("writeErrors", ()))
        except PyMongoError as error:
            if is_passing(error):
                raise
            code = error.code if isinstance(error, OperationFailure) else None
            logger.error("The audit cannot be written: %s, code %s", type(error).__name__, code)  # noqa: TRY400
            raise Unavailable("What is done here must be audited, and the audit cannot be written.", 5) from error
        return 0

    @one_hop
    def list_of_share(self, patient_id: str, share_id: str, limit: int, offset: int) -> tuple[list[Document], bool]:
        """Return what was done about a share, and by it, the latest first, and whether there is more.

        That it was looked at by its patient is left out: whoever asks for this does so.
        """
        wanted = {"share_id": share_id, "patient_id": patient_id, "action": {"$ne": "read_share"}}
        latest_first = [("at", -1), ("_id", -1)]
        found = list(self.collection.find(wanted, LINE_FIELDS, sort=latest_first, skip=offset, limit=limit + 1))
        return found[:limit], len(found) > limit

    @one_hop
    def keep_for(self, days: int | None) -> None:
        """Ask the server to remove entries after so many days; None: never. Where it cannot be set, the log says so."""
        there = self.collection.index_information().get(EXPIRY)
        seconds = None if days is None else days * SECONDS_A_DAY
        if (there or {}).get("expireAfterSeconds") == seconds:
            return
        try:
            if there is not None:
                self.collection.drop_index(EXPIRY)
            if seconds is not None:
                self.collection.create_index([("at", 1)], name=EXPIRY, expireAfterSeconds=seconds)
        except OperationFailure as error:
            logger.error("AUDIT_DAYS could not be set (code %s)", error.code)  # noqa: TRY400


def as_document(entry: AuditEntry) -> Document:
    """Return an entry as the collection has it."""
    of_share = {} if entry.share_id is None else {"share_id": entry.share_id}
    return {
        "_id": entry.entry_id,
        "at": entry.at,
        "action": entry.action,
        "outcome": entry.outcome,
        "status": entry.status,
        "method": entry.method,
        "route": entry.route,
        "request_id": entry.request_id,
        "patient_id": entry.patient_id,
        "subject": entry.subject,
        "token_id": entry.token_id,
        "dicom_ids": list(entry.dicom_ids),
        **of_share,
    }
