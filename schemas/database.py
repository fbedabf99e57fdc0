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
        The study- and series-level elements, which the series shows while this is its newest instance.
    dataset : dict
        The tag tree.
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
    },
    "additionalProperties": False,
}

TAG_INDEX = {
    "bsonType": "object",
    "required": ["_id", "patient_id", "received_at", "original_id", "tags", "names", "vrs", "truncated"],
    "properties": {
        "_id": UUID,
        "patient_id": PATIENT,
        "received_at": DATE,
        "original_id": OBJECT_ID,
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

VALIDATORS: Mapping[str, Mapping[str, Any]] = {
    "instances": {"$jsonSchema": INSTANCE},
    "tag_index": {"$jsonSchema": TAG_INDEX},
    "series": {"$jsonSchema": SERIES},
    "meta": {"$jsonSchema": META},
    "audit": {"$jsonSchema": AUDIT},
    "usage": {"$jsonSchema": USAGE},
}
"""The validator of each collection by the collection's name."""
