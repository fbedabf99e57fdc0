"""What rests in the database: the type of an instance, and `$jsonSchema` validators of every collection.

They are tight on our own fields and loose on the tag tree. The tree follows the DICOM JSON Model (PS3.18 Annex F), and
the code that makes it is where its types are written; they are not repeated here. A field that is not named here is
refused in an instance, so that a misspelt one shows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NotRequired, TypedDict, get_args

from bson import ObjectId

State = Literal["pending", "done", "failed", "deleting"]
"""How far an instance is: its tags come later, are there, never will be; or it is being deleted."""


class ExtractionStatus(TypedDict):
    """What became of the extraction of an instance.

    Attributes
    ----------
    state : State
        How far it is.
    version : int or None
        The extractor's.
    at : datetime or None
        When it was last tried to its end.
    attempts : int
        How many times it was tried.
    error : str or None
        Why it failed.
    retry_at : datetime or None
        When it is tried again: the end of the lease of whoever works on it, or of a pause.
    holder : str or None
        The process that has the lease: its machine, process id and time of start.
    """

    state: State
    version: int | None
    at: datetime | None
    attempts: int
    error: str | None
    retry_at: NotRequired[datetime | None]
    holder: NotRequired[str | None]


class Instance(TypedDict):
    """One uploaded file, as the collection `instances` has it.

    Attributes
    ----------
    _id : str
        Its id, which callers know as `dicom_id`.
    patient_id : str
        Whose it is.
    file_name : str or None
        The name that the client gave it.
    size, sha256
        Of the original bytes.
    original_id : ObjectId
        The file in GridFS. Every upload makes a new one, so it also names the upload.
    received_at : datetime
        When it came.
    extraction : ExtractionStatus
        How far it is.
    problems : int
        How many elements could not be converted.
    study_instance_uid, series_instance_uid, sop_instance_uid, sop_class_uid, transfer_syntax_uid : str or None
        As the file says.
    warnings : list of dict
        What is strange about the file.
    truncated_at : int or None
        The byte at which a cut file stops.
    spilled : bool
        Whether the tree leaves something in the original.
    series : dict or None
        The study- and series-level elements, which the series shows while this is its newest instance; while it waits
        in an inbox, only where all instances of the series do.
    dataset : dict
        The tag tree.
    inbox : str
        The share by which it came, while nobody has accepted it.
    """

    _id: str
    patient_id: str
    file_name: str | None
    size: int
    sha256: str
    original_id: ObjectId
    received_at: datetime
    extraction: ExtractionStatus
    problems: int
    study_instance_uid: NotRequired[str | None]
    series_instance_uid: NotRequired[str | None]
    sop_instance_uid: NotRequired[str | None]
    sop_class_uid: NotRequired[str | None]
    transfer_syntax_uid: NotRequired[str | None]
    warnings: NotRequired[list[dict[str, Any]]]
    truncated_at: NotRequired[int | None]
    spilled: NotRequired[bool]
    series: NotRequired[Mapping[str, Any] | None]
    dataset: NotRequired[Mapping[str, Any]]
    inbox: NotRequired[str]


class PasscodeHash(TypedDict):
    """What is kept of a share's passcode.

    Attributes
    ----------
    salt, hash : bytes
        As `service.auth.passcodes` made them.
    """

    salt: bytes
    hash: bytes


class ShareSession(TypedDict):
    """One session of a share.

    Attributes
    ----------
    id : str
        What the audit calls it; it opens nothing.
    hash : str
        SHA-256 of its token.
    expires_at : datetime
        When it ends, and with it the token.
    """

    id: str
    hash: str
    expires_at: datetime


class InboxReservation(TypedDict):
    """What one upload into an inbox may still need.

    Attributes
    ----------
    files, bytes : int
        How much of the inbox's room it has taken.
    until : datetime
        When it is given back if the upload has not said by then what became of it.
    """

    files: int
    bytes: int
    until: datetime


class Inbox(TypedDict):
    """What may come by an inbox, and what has come.

    Attributes
    ----------
    max_files, max_bytes : int
        How much may come in all.
    files, bytes : int
        How much has come, and is reserved for what is coming.
    reserved : dict of str to InboxReservation
        What is reserved, by the upload's own id.
    """

    max_files: int
    max_bytes: int
    files: int
    bytes: int
    reserved: dict[str, InboxReservation]


class Share(TypedDict):
    """What a patient lets others see, as the collection `shares` has it.

    Attributes
    ----------
    _id : str
        Its id.
    patient_id : str
        Whose it is.
    kind : str
        ``view``: its link lets see. ``inbox``: its link lets put files in.
    secret_hash : str
        SHA-256 of the secret in its link.
    passcode : PasscodeHash or None
        What is kept of its passcode, where it has one.
    studies, series : list of str or None
        What the patient chose, by UIDs.
    dicom_ids : list of str or None
        The instances that it shows, where these are fixed.
    instances : int or None
        How many these are.
    frozen : bool
        Whether the instances of the studies or series were fixed when it was made.
    download : bool
        Whether originals may be had.
    inbox : Inbox or None
        What may come by it, and what has come, where it is an inbox.
    answered : dict of str to (str or None)
        What became of files by their ids in the inbox: accepted, and under which id, or None: declined.
    label : str or None
        The patient's own note.
    made_at : datetime
        When it was made.
    made_by : dict
        By whom: ``subject`` and ``token_id`` of the token.
    expires_at : datetime
        When it ends by itself.
    ended_at : datetime or None
        When it was ended before that.
    ended_by : str or None
        ``revoked`` by the patient, or ``closed`` after wrong passcodes.
    max_opens : int or None
        How many sessions may be made of it.
    opens : int
        How many were made.
    opened_at : datetime or None
        When the last one was.
    tries : int
        Passcodes that were tried and were not right, or are being looked at.
    wrong : int
        Passcodes that were wrong.
    tried_at : datetime or None
        When the last one was tried.
    sessions : list of ShareSession
        The latest; some have ended.
    forget_at : datetime
        When the document is removed.
    """

    _id: str
    patient_id: str
    kind: Literal["view", "inbox"]
    secret_hash: str
    passcode: PasscodeHash | None
    studies: list[str] | None
    series: list[str] | None
    dicom_ids: list[str] | None
    instances: int | None
    frozen: bool
    download: bool
    inbox: Inbox | None
    answered: dict[str, str | None]
    label: str | None
    made_at: datetime
    made_by: dict[str, str | None]
    expires_at: datetime
    ended_at: datetime | None
    ended_by: Literal["revoked", "closed"] | None
    max_opens: int | None
    opens: int
    opened_at: datetime | None
    tries: int
    wrong: int
    tried_at: datetime | None
    sessions: list[ShareSession]
    forget_at: NotRequired[datetime]


INTEGER = {"bsonType": ["int", "long"]}
COUNT = {"bsonType": ["int", "long"], "minimum": 0}
TEXT = {"bsonType": "string"}
NON_EMPTY = {"bsonType": "string", "minLength": 1}
OPTIONAL_TEXT = {"bsonType": ["string", "null"]}
UUID = {"bsonType": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
PATIENT = {"bsonType": "string", "minLength": 1, "maxLength": 64}
DATE = {"bsonType": "date"}
OBJECT_ID = {"bsonType": "objectId"}

EXTRACTION = {
    "bsonType": "object",
    "required": ["state", "version", "at", "attempts", "error"],
    "properties": {
        "state": {"enum": list(get_args(State))},
        "version": {"bsonType": ["int", "long", "null"]},
        "at": {"bsonType": ["date", "null"]},
        "attempts": COUNT,
        "error": OPTIONAL_TEXT,
        "retry_at": {"bsonType": ["date", "null"]},
        "holder": OPTIONAL_TEXT,
    },
    "additionalProperties": False,
}

WARNING = {
    "bsonType": "object",
    "required": ["problem"],
    "properties": {"path": OPTIONAL_TEXT, "problem": TEXT},
}

INSTANCE: dict[str, Any] = {
    "bsonType": "object",
    "required": [
        "_id",
        "patient_id",
        "file_name",
        "size",
        "sha256",
        "original_id",
        "received_at",
        "extraction",
        "problems",
    ],
    "properties": {
        "_id": UUID,
        "patient_id": PATIENT,
        "file_name": OPTIONAL_TEXT,
        "size": COUNT,
        "sha256": {"bsonType": "string", "pattern": "^[0-9a-f]{64}$"},
        "original_id": OBJECT_ID,
        "received_at": DATE,
        "study_instance_uid": OPTIONAL_TEXT,
        "series_instance_uid": OPTIONAL_TEXT,
        "sop_instance_uid": OPTIONAL_TEXT,
        "sop_class_uid": OPTIONAL_TEXT,
        "transfer_syntax_uid": OPTIONAL_TEXT,
        "extraction": EXTRACTION,
        "problems": COUNT,
        "warnings": {"bsonType": "array", "maxItems": 100, "items": WARNING},
        "truncated_at": {"bsonType": ["int", "long", "null"]},
        "spilled": {"bsonType": "bool"},
        "series": {"bsonType": ["object", "null"]},
        "dataset": {"bsonType": "object"},
        "inbox": NON_EMPTY,
    },
    "additionalProperties": False,
}

TAG_INDEX = {
    "bsonType": "object",
    "required": [
        "_id",
        "patient_id",
        "received_at",
        "original_id",
        "study_instance_uid",
        "series_instance_uid",
        "tags",
        "names",
        "vrs",
        "truncated",
    ],
    "properties": {
        "_id": UUID,
        "patient_id": PATIENT,
        "received_at": DATE,
        "original_id": OBJECT_ID,
        "study_instance_uid": OPTIONAL_TEXT,
        "series_instance_uid": OPTIONAL_TEXT,
        "inbox": NON_EMPTY,
        "tags": {"bsonType": "object"},
        "names": {"bsonType": "object"},
        "vrs": {"bsonType": "object"},
        "truncated": {"bsonType": "array"},
        "exact": {"bsonType": "object"},
    },
    "additionalProperties": False,
}

SERIES = {
    "bsonType": "object",
    "required": [
        "_id",
        "patient_id",
        "study_instance_uid",
        "series_instance_uid",
        "received_at",
        "dicom_id",
        "original_id",
        "attributes",
    ],
    "properties": {
        "_id": UUID,
        "patient_id": PATIENT,
        "study_instance_uid": NON_EMPTY,
        "series_instance_uid": NON_EMPTY,
        "received_at": DATE,
        "dicom_id": UUID,
        "original_id": OBJECT_ID,
        "attributes": {"bsonType": "object"},
        "inbox": NON_EMPTY,
    },
    "additionalProperties": False,
}

META = {
    "bsonType": "object",
    "required": ["_id", "layout", "namespace", "created_at"],
    "properties": {
        "layout": INTEGER,
        "namespace": UUID,
        "created_at": DATE,
        "rendered_bytes": INTEGER,
        "sweep_leased_until": DATE,
    },
}

AUDIT = {
    "bsonType": "object",
    "required": [
        "_id",
        "at",
        "action",
        "outcome",
        "status",
        "method",
        "route",
        "request_id",
        "patient_id",
        "subject",
        "token_id",
        "dicom_ids",
    ],
    "properties": {
        "_id": OBJECT_ID,
        "at": DATE,
        "action": NON_EMPTY,
        "outcome": {"enum": ["intended", "done", "denied", "failed"]},
        "status": {"bsonType": ["int", "long", "null"]},
        "method": NON_EMPTY,
        "route": NON_EMPTY,
        "request_id": NON_EMPTY,
        "patient_id": PATIENT,
        "subject": OPTIONAL_TEXT,
        "token_id": OPTIONAL_TEXT,
        "dicom_ids": {"bsonType": "array", "items": UUID},
        "share_id": UUID,
    },
    # No field for a value, a query or a file name.
    "additionalProperties": False,
}

USAGE = {
    "bsonType": "object",
    "required": ["_id", "bytes", "changed_at"],
    "properties": {"_id": PATIENT, "bytes": INTEGER, "changed_at": DATE, "counted_at": DATE},
    "additionalProperties": False,
}

OPTIONAL_DATE = {"bsonType": ["date", "null"]}
OPTIONAL_COUNT = {"bsonType": ["int", "long", "null"], "minimum": 0}
SHA256 = {"bsonType": "string", "pattern": "^[0-9a-f]{64}$"}
UIDS = {"bsonType": ["array", "null"], "minItems": 1, "items": NON_EMPTY}

INBOX = {
    "bsonType": ["object", "null"],
    "required": list(Inbox.__annotations__),
    "properties": {
        "max_files": COUNT,
        "max_bytes": COUNT,
        "files": INTEGER,
        "bytes": INTEGER,
        "reserved": {
            "bsonType": "object",
            "additionalProperties": {
                "bsonType": "object",
                "required": list(InboxReservation.__annotations__),
                "properties": {"files": COUNT, "bytes": COUNT, "until": DATE},
                "additionalProperties": False,
            },
        },
    },
    "additionalProperties": False,
}

SHARE: dict[str, Any] = {
    "bsonType": "object",
    "required": [name for name in Share.__annotations__ if name != "forget_at"],
    "properties": {
        "_id": UUID,
        "patient_id": PATIENT,
        "kind": {"enum": ["view", "inbox"]},
        "secret_hash": SHA256,
        "passcode": {
            "bsonType": ["object", "null"],
            "required": ["salt", "hash"],
            "properties": {"salt": {"bsonType": "binData"}, "hash": {"bsonType": "binData"}},
            "additionalProperties": False,
        },
        "studies": UIDS,
        "series": UIDS,
        "dicom_ids": {**UIDS, "items": UUID},
        "instances": OPTIONAL_COUNT,
        "frozen": {"bsonType": "bool"},
        "download": {"bsonType": "bool"},
        "inbox": INBOX,
        "answered": {"bsonType": "object", "additionalProperties": {**UUID, "bsonType": ["string", "null"]}},
        "label": OPTIONAL_TEXT,
        "made_at": DATE,
        "made_by": {
            "bsonType": "object",
            "required": ["subject", "token_id"],
            "properties": {"subject": OPTIONAL_TEXT, "token_id": OPTIONAL_TEXT},
            "additionalProperties": False,
        },
        "expires_at": DATE,
        "ended_at": OPTIONAL_DATE,
        "ended_by": {"enum": ["revoked", "closed", None]},
        "max_opens": OPTIONAL_COUNT,
        "opens": COUNT,
        "opened_at": OPTIONAL_DATE,
        "tries": COUNT,
        "wrong": COUNT,
        "tried_at": OPTIONAL_DATE,
        "sessions": {
            "bsonType": "array",
            "items": {
                "bsonType": "object",
                "required": ["id", "hash", "expires_at"],
                "properties": {"id": NON_EMPTY, "hash": SHA256, "expires_at": DATE},
                "additionalProperties": False,
            },
        },
        "forget_at": DATE,
    },
    # No field for a secret, a token or a passcode.
    "additionalProperties": False,
}

VALIDATORS: Mapping[str, Mapping[str, Any]] = {
    "instances": {"$jsonSchema": INSTANCE},
    "tag_index": {"$jsonSchema": TAG_INDEX},
    "series": {"$jsonSchema": SERIES},
    "meta": {"$jsonSchema": META},
    "audit": {"$jsonSchema": AUDIT},
    "usage": {"$jsonSchema": USAGE},
    "shares": {"$jsonSchema": SHARE},
}
"""The validator of each collection by the collection's name."""
