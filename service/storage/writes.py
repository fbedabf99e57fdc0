"""The order in which an instance's documents are written, so that it is there whole or not at all.

Original, `tag_index`, `series`, and last the instance: that insert is the commit point. What a crash leaves without
an instance is invisible and swept later. All functions are synchronous; each is one hop to a thread.

The index document carries the `original_id` of the upload attempt that wrote it. It is what the writers that may
meet compare: a delete that finishes late removes its own index document and not that of the same bytes uploaded
again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any

from pymongo.errors import DuplicateKeyError

from service.errors import DatabaseUnavailable
from service.storage.collections import ENVELOPE, Collections, Document, Extracted
from service.storage.gridfs_documents import Buffer, insert_chunks, insert_file, remove_some
from service.storage.series import SeriesElements, put_series, retire_from_series, series_key

ATTEMPTS = 5

IDENTIFIERS = (
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
)
"""The envelope's fields that stand beside the original too."""


class Outcome(Enum):
    """What came of writing an index document."""

    WRITTEN = "the instance can follow"
    COMMITTED = "the instance of this very upload is there: an earlier try whose answer was lost"
    TAKEN = "the instance is there, of another upload of the same bytes"


class Restless(DatabaseUnavailable):
    """The same file is stored and deleted again and again. This upload is not there: its original can be removed."""

    def __init__(self) -> None:
        super().__init__("The same file is being stored and deleted again and again.")


FinishDelete = Callable[[Mapping[str, Any]], None]


def store_whole(
    collections: Collections,
    envelope: Mapping[str, Any],
    extracted: Extracted,
    content: Buffer,
    finish_delete: FinishDelete,
) -> bool:
    """Store a small upload: index, original, series, instance, in five commands.

    The index comes first, because its key tells at once that the same bytes are there already.

    Returns
    -------
    bool
        False when the instance was there already: nothing of this upload is left.
    """
    outcome = _put_index(collections, envelope, extracted, finish_delete)
    if outcome is not Outcome.WRITTEN:
        return outcome is Outcome.COMMITTED
    put_original(collections, envelope, content)
    try:
        if _commit(collections, envelope, extracted, finish_delete):
            return True
    except Restless:
        _remove_original(collections, envelope)
        raise
    _remove_original(collections, envelope)
    return False


def commit_instance(
    collections: Collections, envelope: Mapping[str, Any], extracted: Extracted, finish_delete: FinishDelete
) -> bool:
    """Write index, series and instance of an upload whose original is stored already.

    Returns
    -------
    bool
        False when the instance was there already.
    """
    outcome = _put_index(collections, envelope, extracted, finish_delete)
    if outcome is not Outcome.WRITTEN:
        return outcome is Outcome.COMMITTED
    return _commit(collections, envelope, extracted, finish_delete)


def insert_pending(collections: Collections, envelope: Mapping[str, Any], finish_delete: FinishDelete) -> bool:
    """Insert an instance that has no tree yet. False when it was there already."""
    for _ in range(ATTEMPTS):
        try:
            collections.instances.insert_one(dict(envelope))
        except DuplicateKeyError:
            there = _find_rival(collections, envelope, finish_delete)
            if there is not None:
                return bool(there["original_id"] == envelope["original_id"])
        else:
            return True
    raise Restless


def replace_derived(
    collections: Collections, envelope: Mapping[str, Any], extracted: Extracted, elements: SeriesElements
) -> bool:
    """Return a stored instance its tree, index and series, anew or for the first time.

    Parameters
    ----------
    envelope : mapping
        The whole envelope as it shall be.

    Returns
    -------
    bool
        False when the instance is gone or being deleted: then nothing that was written here is left.
    """
    same = _same_upload(envelope)
    living = {**same, "extraction.state": {"$ne": "deleting"}}
    if collections.instances.find_one(living, {"_id": 1}) is None:
        return False
    document = _index_document(envelope, extracted)
    collections.tag_index.replace_one(
        {"_id": envelope["_id"], "patient_id": envelope["patient_id"]}, document, upsert=True
    )
    put_series(collections, envelope, extracted.series)
    fields = {name: value for name, value in envelope.items() if name != "_id"}
    about = {"$set": {"metadata": original_metadata(envelope)}}
    collections.originals.files.update_one({"_id": envelope["original_id"]}, about)
    done = collections.instances.update_one(living, {"$set": {**fields, "dataset": extracted.dataset}})
    if done.matched_count:
        return True
    # Deleted meanwhile, and the delete may have looked for these before they were written. The same bytes may even
    # have been stored anew: then the index that was overwritten here is theirs.
    anew = collections.instances.find_one(
        {"_id": envelope["_id"], "patient_id": envelope["patient_id"], "extraction.state": {"$ne": "deleting"}},
        ENVELOPE,
    )
    if anew is None or not _yield_to(collections, envelope, anew):
        collections.tag_index.delete_one(same)
    retire_from_series(collections, envelope, elements)
    return False


def put_original(collections: Collections, envelope: Mapping[str, Any], content: Buffer) -> None:
    """Write a whole original that is held in memory, under the envelope's `original_id`."""
    insert_chunks(collections.originals, envelope["original_id"], content)
    insert_file(
        collections.originals,
        envelope["original_id"],
        len(content),
        envelope["_id"],
        original_metadata(envelope),
        envelope["received_at"],
    )


def original_metadata(envelope: Mapping[str, Any]) -> Document:
    """Return what is kept beside an original: enough to tie its bytes to its patient without the instance.

    The identifiers, where it is extracted already, let studies be listed and counted from these small documents.
    """
    kept = {"patient_id": envelope["patient_id"], "dicom_id": envelope["_id"], "sha256": envelope["sha256"]}
    return kept | {name: envelope[name] for name in IDENTIFIERS if envelope.get(name)}


def _put_index(
    collections: Collections, envelope: Mapping[str, Any], extracted: Extracted, finish_delete: FinishDelete
) -> Outcome:
    """Write the index document, unless the instance is there already."""
    document = _index_document(envelope, extracted)
    for _ in range(ATTEMPTS):
        try:
            collections.tag_index.insert_one(document)
        except DuplicateKeyError:
            there = _find_rival(collections, envelope, finish_delete)
            if there is not None:
                ours = there["original_id"] == envelope["original_id"]
                return Outcome.COMMITTED if ours else Outcome.TAKEN
        else:
            return Outcome.WRITTEN
        # Left by an upload that did not end, or by one that is about to: whose instance comes first decides.
        replaced = collections.tag_index.replace_one(
            {"_id": envelope["_id"], "patient_id": envelope["patient_id"]}, document
        )
        if replaced.matched_count:
            return Outcome.WRITTEN
    raise Restless


def _commit(
    collections: Collections, envelope: Mapping[str, Any], extracted: Extracted, finish_delete: FinishDelete
) -> bool:
    put_series(collections, envelope, extracted.series)
    whole = {**envelope, "dataset": extracted.dataset}
    for _ in range(ATTEMPTS):
        try:
            collections.instances.insert_one(whole)
        except DuplicateKeyError:
            there = _find_rival(collections, envelope, finish_delete)
            if there is not None and there["original_id"] == envelope["original_id"]:
                return True  # an earlier try whose answer was lost
            if there is not None and _yield_to(collections, envelope, there):
                return False
        else:
            return True
        outcome = _put_index(collections, envelope, extracted, finish_delete)
        if outcome is not Outcome.WRITTEN:
            return outcome is Outcome.COMMITTED
        put_series(collections, envelope, extracted.series)
    raise Restless


def _find_rival(collections: Collections, envelope: Mapping[str, Any], finish_delete: FinishDelete) -> Document | None:
    """Find the instance that has the `_id`; one that is being deleted is deleted first, and then there is none."""
    there = collections.instances.find_one({"_id": envelope["_id"], "patient_id": envelope["patient_id"]}, ENVELOPE)
    if there is not None and there["extraction"]["state"] == "deleting":
        finish_delete(there)
        return None
    return there


def _yield_to(collections: Collections, envelope: Mapping[str, Any], winner: Mapping[str, Any]) -> bool:
    """Make what was written here the winner's: the same bytes gave the same tags. False if it is gone meanwhile."""
    theirs = {"original_id": winner["original_id"], "received_at": winner["received_at"]}
    collections.tag_index.update_one(_same_upload(envelope), {"$set": theirs})
    key = series_key(envelope)
    if key is not None:
        collections.series.update_one({**key, "original_id": envelope["original_id"]}, {"$set": theirs})
    looked = collections.instances.find_one(
        {**_same_upload(winner), "extraction.state": {"$ne": "deleting"}}, {"_id": 1}
    )
    if looked is None:
        collections.tag_index.delete_one(_same_upload(winner))
    return looked is not None


def _same_upload(envelope: Mapping[str, Any]) -> Document:
    return {
        "_id": envelope["_id"],
        "patient_id": envelope["patient_id"],
        "original_id": envelope["original_id"],
    }


def _index_document(envelope: Mapping[str, Any], extracted: Extracted) -> Document:
    return {
        "_id": envelope["_id"],
        "patient_id": envelope["patient_id"],
        "received_at": envelope["received_at"],
        "original_id": envelope["original_id"],
        **extracted.index,
    }


def _remove_original(collections: Collections, envelope: Mapping[str, Any]) -> None:
    while remove_some(collections.originals, envelope["original_id"]):
        pass
