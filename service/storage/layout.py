"""What a database must have before it is used: collections, validators, indexes, and the `meta` document.

Everything here is idempotent, and may run in several processes at once. Synchronous functions.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pymongo.database import Database
from pymongo.errors import CollectionInvalid, DuplicateKeyError, OperationFailure

from schemas.database import VALIDATORS
from service.errors import ServiceError
from service.storage.collections import NEWEST_FIRST, Collections, Document
from service.storage.visible import Visible

LAYOUT = 2
"""The number of the layout that this code reads and writes. Raised when stored documents must be changed."""

LARGE = 100_000
"""A collection of more documents gets no index at start: building it would hold the service up."""

logger = logging.getLogger(__name__)


class UnknownLayout(ServiceError):
    """The database was written by other code than this, and cannot be used as it is."""


@dataclass(frozen=True, slots=True)
class Index:
    """An index of one collection, or of one collection of a bucket."""

    collection: str
    name: str
    keys: tuple[tuple[str, int], ...]
    options: Mapping[str, Any]
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Prepared:
    """What came of preparing a database.

    Parameters
    ----------
    namespace : uuid.UUID
        Of the ids that this database gives.
    missing_indexes : tuple of str
        ``collection.index`` of those that are not there and are too expensive to build at start.
    lists_by_index : bool
        Whether the server reads the newest instances in the order of their index, and so no more than it gives.
    """

    namespace: uuid.UUID
    missing_indexes: tuple[str, ...]
    lists_by_index: bool


INDEXES = (
    Index("instances", "newest", (("patient_id", 1), ("received_at", -1), ("_id", 1)), {}),
    Index(
        "instances",
        "uids",
        (
            ("patient_id", 1),
            ("study_instance_uid", 1),
            ("series_instance_uid", 1),
            ("sop_instance_uid", 1),
            ("received_at", -1),
        ),
        {},
    ),
    # Whole and not partial: the local database would read every tree for what is pending.
    Index("instances", "states", (("extraction.state", 1),), {}),
    # Which instance an original belongs to: chunks without a `files` document say nothing else.
    Index("instances", "originals", (("original_id", 1),), {}),
    Index("tag_index", "newest", (("patient_id", 1), ("received_at", -1), ("_id", 1)), {}),
    # Whether a search may have missed something: one look, and not another walk over the patient.
    Index("tag_index", "left_out", (("patient_id", 1), ("truncated", 1)), {}),
    # A study's files, or a series's: what a part of a patient's data is searched in.
    Index("tag_index", "of_series", (("patient_id", 1), ("study_instance_uid", 1), ("series_instance_uid", 1)), {}),
    # Any path of any file, private and nested ones too. Servers without wildcard indexes still answer, slower.
    Index("tag_index", "paths", (("$**", 1),), {"wildcardProjection": {"tags": 1, "names": 1}}, optional=True),
    # Who did what lately, who saw a patient's data, what a token was used for, and all deletes of a span.
    Index("audit", "newest", (("at", -1),), {}),
    Index("audit", "of_patient", (("patient_id", 1), ("at", -1)), {}),
    Index("audit", "of_token", (("token_id", 1), ("at", -1)), {}),
    Index("audit", "of_action", (("action", 1), ("at", -1)), {}),
    # What was done of one share, and with it; most entries are about none.
    Index(
        "audit",
        "of_share",
        (("share_id", 1), ("at", -1)),
        {"partialFilterExpression": {"share_id": {"$exists": True}}},
        optional=True,
    ),
    Index("shares", "secret", (("secret_hash", 1),), {"unique": True}),
    Index("shares", "of_patient", (("patient_id", 1), ("made_at", -1)), {}),
    # A server that removes nothing by itself keeps what has ended; nobody gets in by it.
    Index("shares", "expiry", (("forget_at", 1),), {"expireAfterSeconds": 0}, optional=True),
    Index("series", "uids", (("patient_id", 1), ("study_instance_uid", 1), ("series_instance_uid", 1)), {}),
    # The one that every driver's bucket expects, and the ways to a patient's originals and an instance's pictures.
    Index("originals.chunks", "files_id_1_n_1", (("files_id", 1), ("n", 1)), {"unique": True}),
    Index("originals.files", "of_patient", (("metadata.patient_id", 1), ("uploadDate", -1)), {}),
    # A study's instances, a series's, or one, from documents that are small.
    Index(
        "originals.files",
        "of_series",
        (
            ("metadata.patient_id", 1),
            ("metadata.study_instance_uid", 1),
            ("metadata.series_instance_uid", 1),
            ("metadata.sop_instance_uid", 1),
        ),
        {},
    ),
    # Where an instance lies, without its tree: whether a part of a patient's data has it.
    Index("originals.files", "of_instance", (("metadata.dicom_id", 1),), {}),
    # What came by an inbox and waits: few have such.
    Index(
        "originals.files",
        "of_inbox",
        (("metadata.inbox", 1), ("uploadDate", -1)),
        {"partialFilterExpression": {"metadata.inbox": {"$exists": True}}},
        optional=True,
    ),
    Index("rendered.chunks", "files_id_1_n_1", (("files_id", 1), ("n", 1)), {"unique": True}),
    # A picture by its name, in one query.
    Index("rendered.chunks", "of_picture", (("picture", 1), ("n", 1)), {}),
    Index("rendered.files", "of_instance", (("metadata.dicom_id", 1),), {}),
)


SHARES_VIEW = "shares_view"
"""The shares as people see them who ask the database: without hashes, and so without sessions."""

_UNSEEN = {"secret_hash": 0, "passcode": 0, "sessions": 0}


def prepare(database: Database[Document], collections: Collections, now: datetime) -> Prepared:
    """Make what is not there yet.

    Raises
    ------
    UnknownLayout
        If the database has another layout number than this code.
    """
    meta = _settle_meta(collections, now)
    apply_validators(database)
    _make_view(database)
    missing = [f"{index.collection}.{index.name}" for index in INDEXES if not _ensure_index(database, index)]
    return Prepared(uuid.UUID(meta["namespace"]), tuple(missing), lists_by_index(database))


def lists_by_index(database: Database[Document]) -> bool:
    """Return whether the server reads the newest instances in the order of their index, as its plan says."""
    question = {"find": "instances", "filter": Visible("-").instances(), "sort": dict(NEWEST_FIRST), "limit": 1}
    try:
        explained = database.command({"explain": question, "verbosity": "queryPlanner"})
    except (OperationFailure, NotImplementedError):
        return False
    stages = set(_stages(explained))
    return "IXSCAN" in stages and "SORT" not in stages


def _stages(plan: Any) -> Iterator[str]:
    """Return the names of the stages of the plans that win, of every shard."""
    if isinstance(plan, Mapping):
        if isinstance(plan.get("stage"), str):
            yield plan["stage"]
        for name, inner in plan.items():
            if name != "rejectedPlans":
                yield from _stages(inner)
    elif isinstance(plan, list):
        for inner in plan:
            yield from _stages(inner)


def apply_validators(database: Database[Document]) -> None:
    """Make the collections that are not there, and give each the validator of this code's layout."""
    for name, validator in VALIDATORS.items():
        _apply_validator(database, name, validator)


def _make_view(database: Database[Document]) -> None:
    """Make the view of the shares, or make it anew; a server or a user that has none goes without."""
    pipeline = [{"$project": _UNSEEN}]
    try:
        try:
            database.create_collection(SHARES_VIEW, viewOn="shares", pipeline=pipeline)
        except CollectionInvalid:
            there = next(iter(database.list_collections(filter={"name": SHARES_VIEW})), None)
            if there is None or there.get("options", {}).get("pipeline") != pipeline:
                database.command("collMod", SHARES_VIEW, viewOn="shares", pipeline=pipeline)
    except NotImplementedError:
        logger.info("This server has no views; there is no %s", SHARES_VIEW)
    except OperationFailure as error:
        logger.warning("The view %s could not be made (code %s)", SHARES_VIEW, error.code)


def _settle_meta(collections: Collections, now: datetime) -> Document:
    try:
        collections.meta.insert_one(
            {"_id": "store", "layout": LAYOUT, "namespace": str(uuid.uuid4()), "created_at": now}
        )
        logger.info("A new database: layout %d", LAYOUT)
    except DuplicateKeyError:
        pass  # it is there, or another process was faster
    meta = collections.meta.find_one({"_id": "store"})
    if meta is None:
        raise UnknownLayout("The database lost its meta document while it was being opened.")
    if meta["layout"] > LAYOUT:
        raise UnknownLayout(
            f"The database has layout {meta['layout']}, and this version of the service knows layouts up to {LAYOUT}. "
            "Run the version of the service that wrote it, or a newer one."
        )
    if meta["layout"] < LAYOUT:
        raise UnknownLayout(
            f"The database has layout {meta['layout']}, and this version of the service needs layout {LAYOUT}. "
            "Run `python scripts/migrate.py` to bring it up."
        )
    return meta


def _apply_validator(database: Database[Document], name: str, validator: Mapping[str, Any]) -> None:
    try:
        try:
            database.create_collection(name, validator=validator)
        except CollectionInvalid:
            _change_validator(database, name, validator)
    except NotImplementedError:
        logger.info("This server has no validators; %s goes without", name)
    except OperationFailure as error:
        # Validators guard against our own mistakes. A server or a user that may not set them can still be used.
        logger.warning("The validator of %s could not be set (code %s)", name, error.code)


def _change_validator(database: Database[Document], name: str, validator: Mapping[str, Any]) -> None:
    there = next(iter(database.list_collections(filter={"name": name})), None)
    if there is None or there.get("options", {}).get("validator") != validator:
        database.command("collMod", name, validator=validator)


def _ensure_index(database: Database[Document], index: Index) -> bool:
    """Create an index unless it is there; False when it is missing and the collection is large."""
    collection = database[index.collection]
    if index.name in collection.index_information():
        return True
    if collection.estimated_document_count() > LARGE:
        logger.warning("The index %s of %s is missing; scripts/migrate.py builds it", index.name, index.collection)
        return False
    build_index(database, index)
    return True


def find_missing(database: Database[Document]) -> list[Index]:
    """List the indexes that are not there."""
    return [index for index in INDEXES if index.name not in database[index.collection].index_information()]


def build_index(database: Database[Document], index: Index) -> bool:
    """Build an index, however long it takes. False where this server refuses it and does without."""
    try:
        database[index.collection].create_index(list(index.keys), name=index.name, **index.options)
    except (OperationFailure, NotImplementedError) as error:
        if not index.optional:
            raise
        # Not with the server's sentence, which may quote a document.
        code = error.code if isinstance(error, OperationFailure) else None
        logger.warning("This server refuses the index %s of %s (code %s)", index.name, index.collection, code)
        return False
    return True
