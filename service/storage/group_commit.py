"""Small uploads that wait at the same time, committed together.

The order is that of one upload, for each of them: index, original, series, and last the instance, whose insert is the
commit point. What a crash leaves is what crashes of single uploads leave. First comes what is written before the
instances: by one ordered `bulkWrite` over all the collections where the server has it, else by one `insert_many` for
each collection. Then all the instances are inserted by one command. Between two uploads nothing is ordered: no upload
looks at another's documents.

Whoever meets a rival, or writes something that the server refuses, is stored alone afterwards, and its error is its
own. The functions are synchronous.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from bson.errors import BSONError
from pymongo import InsertOne, MongoClient, UpdateOne
from pymongo.collection import Collection
from pymongo.errors import BulkWriteError, ClientBulkWriteException, PyMongoError
from pymongo.server_description import ServerDescription
from pymongo.write_concern import WriteConcern

from schemas.database import Instance
from service.errors import ServiceError
from service.storage.collections import Collections, Document, Extracted, same_upload
from service.storage.connection import answering, is_passing
from service.storage.gridfs_documents import Buffer, chunk_documents
from service.storage.originals import original_document
from service.storage.series import put_series, rank, series_key, series_update

T = TypeVar("T")

BULK_WRITE_VERSION = 25
"""The wire version of MongoDB 8.0, whose `bulkWrite` writes to several collections."""

UPLOADS_AT_ONCE = 32
BYTES_AT_ONCE = 8 << 20
"""What one group has at most, the bytes being those of the originals; far below what one command may hold."""


@dataclass(eq=False, slots=True)
class SmallUpload:
    """An upload that is held in memory.

    Parameters
    ----------
    instance : Instance
        With a fresh `original_id`; `extraction.state` is `done`.
    extracted : Extracted
        Tree, index and series attributes.
    content : bytes-like
        The original.

    Attributes
    ----------
    original_begun, before_written : bool
        Whether something of the original may be there, and whether all is that comes before the instance.
    """

    instance: Instance
    extracted: Extracted
    content: Buffer
    original_begun: bool = field(default=False, init=False)
    before_written: bool = field(default=False, init=False)

    @property
    def whole(self) -> Instance:
        """The instance with its tree."""
        return {**self.instance, "series": self.extracted.series, "dataset": self.extracted.dataset}


Alone = Callable[[Collections, SmallUpload], bool]


@dataclass(frozen=True, slots=True)
class _Write:
    """One document that is written before the instance of an upload."""

    upload: SmallUpload
    collection: Collection[Any]
    document: Document


def index_document(instance: Instance, extracted: Extracted) -> Document:
    """Return the document of the tag index."""
    return {
        **same_upload(instance),
        "received_at": instance["received_at"],
        "study_instance_uid": instance.get("study_instance_uid"),
        "series_instance_uid": instance.get("series_instance_uid"),
        **({"inbox": instance["inbox"]} if "inbox" in instance else {}),
        **extracted.index,
    }


def store_together(collections: Collections, uploads: Sequence[SmallUpload], alone: Alone) -> list[bool | Exception]:
    """Store uploads; each answer is whether the upload is stored, or why it is not.

    Parameters
    ----------
    collections : Collections
        Where to.
    uploads : sequence of SmallUpload
        With the same bytes twice the second one meets a rival.
    alone : callable
        Stores an upload that could not be stored with the others, from where its attributes say that it is.

    Raises
    ------
    PyMongoError
        The database does not answer: each of the uploads may be stored or not.
    """
    stored = _store_all(collections, uploads)
    return [True if upload in stored else answer_of(partial(alone, collections, upload)) for upload in uploads]


def answer_of(call: Callable[[], T]) -> T | Exception:
    """Return what a call for one upload returns, or the error it ends with, which is not that of the whole group."""
    try:
        with answering(None):  # the time limit of the whole group holds
            return call()
    except (ServiceError, PyMongoError, BSONError, OverflowError) as error:
        return error


def _store_all(collections: Collections, uploads: Sequence[SmallUpload]) -> set[SmallUpload]:
    """Store what meets nothing unusual, and return it."""
    try:
        writes = [*_index_writes(collections, uploads), *_original_writes(collections, uploads)]
        if takes_bulk_writes(collections):
            refused = _write_in_bulk(collections, uploads, writes)
        else:
            refused = _write_by_collection(collections, uploads, writes)
        ready = [upload for upload in uploads if upload not in refused]
        for upload in ready:
            upload.before_written = True
        return set(ready) - _insert_instances(collections, ready) if ready else set()
    except (PyMongoError, BSONError, OverflowError) as error:
        if isinstance(error, PyMongoError) and is_passing(error):
            raise
        # One of them cannot be written at all, and how far the others came is not known. Alone, each finds out.
        for upload in uploads:
            upload.original_begun = True
        return set()


def takes_bulk_writes(collections: Collections) -> bool:
    """Return whether the server has `bulkWrite` over several collections (MongoDB 8.0), as far as is known now."""
    servers = [each for each in _known_servers(collections) if each.is_writable]
    return bool(servers) and all(each.max_wire_version >= BULK_WRITE_VERSION for each in servers)


def _known_servers(collections: Collections) -> list[ServerDescription]:
    """Return what the driver knows of the servers, without asking them; nothing where it is no driver but a double."""
    client: object = collections.instances.database.client
    if not isinstance(client, MongoClient):
        return []
    return list(client.topology_description.server_descriptions().values())


def _index_writes(collections: Collections, uploads: Sequence[SmallUpload]) -> Iterator[_Write]:
    """Return the index documents. They come first, because their keys tell at once which bytes are there already."""
    for upload in uploads:
        yield _Write(upload, collections.tag_index, index_document(upload.instance, upload.extracted))


def _original_writes(collections: Collections, uploads: Sequence[SmallUpload]) -> Iterator[_Write]:
    """Return what follows the index documents: all chunks, then what makes them files."""
    bucket = collections.originals
    for upload in uploads:
        for document in chunk_documents(upload.instance["original_id"], upload.content):
            yield _Write(upload, bucket.chunks, document)
    for upload in uploads:
        document = original_document(upload.instance, len(upload.content), upload.extracted.row)
        yield _Write(upload, bucket.files, document)


def _newest_of_each_series(uploads: Sequence[SmallUpload]) -> list[SmallUpload]:
    """Return the uploads that their series show: of several of one series, that of the highest rank."""
    newest: dict[str, SmallUpload] = {}
    for upload in uploads:
        key = series_key(upload.instance)
        if key is None or upload.extracted.series is None:
            continue
        there = newest.get(key["_id"])
        if there is None or rank(there.instance) <= rank(upload.instance):
            newest[key["_id"]] = upload
    return list(newest.values())


def _write_in_bulk(
    collections: Collections, uploads: Sequence[SmallUpload], writes: Sequence[_Write]
) -> set[SmallUpload]:
    """Write all that comes before the instances, by one command as a rule; return the uploads that were refused.

    An ordered command ends at the first write that fails. The next one goes on behind it, without the upload in
    question.
    """
    database = collections.instances.database
    refused: set[SmallUpload] = set()
    left = list(writes)
    shown = _newest_of_each_series(uploads)
    while left or shown:
        models: list[InsertOne[Any] | UpdateOne] = [
            InsertOne(each.document, namespace=f"{database.name}.{each.collection.name}") for each in left
        ]
        for upload in shown:
            update = series_update(upload.instance, upload.extracted.series)
            assert update is not None  # noqa: S101 - it shows its series
            models.append(UpdateOne(*update, upsert=True, namespace=f"{database.name}.{collections.series.name}"))
        failed = _send(collections, models)
        if failed is None:
            break
        if failed < len(left):
            upload = left[failed].upload
            refused.add(upload)
            upload.original_begun = left[failed].collection is not collections.tag_index
            left = [each for each in left[failed + 1 :] if each.upload is not upload]
            shown = _newest_of_each_series([each for each in uploads if each not in refused])
        else:  # it shows another instance, as a rule
            upload = shown[failed - len(left)]
            put_series(collections, upload.instance, upload.extracted.series)
            shown = shown[failed - len(left) + 1 :]
            left = []
    return refused


def _send(collections: Collections, models: Sequence[InsertOne[Any] | UpdateOne]) -> int | None:
    """Send writes in their order, and return which one was refused; None if none was."""
    client = collections.instances.database.client
    concern = _concern_before(collections)
    try:
        client.bulk_write(list(models), ordered=True, write_concern=concern)
    except ClientBulkWriteException as error:
        if isinstance(error.error, PyMongoError):
            raise error.error from error
        if error.write_concern_errors or not error.write_errors:
            raise
        number: int = error.write_errors[0]["idx"]  # type: ignore[index]  # the driver gives the server's documents
        return number
    return None


def _write_by_collection(
    collections: Collections, uploads: Sequence[SmallUpload], writes: Sequence[_Write]
) -> set[SmallUpload]:
    """Write all that comes before the instances, by collection; return the uploads that were refused."""
    refused: set[SmallUpload] = set()
    concern = _concern_before(collections)
    for collection in (collections.tag_index, collections.originals.chunks, collections.originals.files):
        some = [each for each in writes if each.collection is collection and each.upload not in refused]
        if not some:
            continue
        for number in _insert_many(collection.with_options(write_concern=concern), [each.document for each in some]):
            some[number].upload.original_begun = collection is not collections.tag_index
            refused.add(some[number].upload)
    for upload in _newest_of_each_series([each for each in uploads if each not in refused]):
        put_series(collections, upload.instance, upload.extracted.series)
    return refused


def _insert_instances(collections: Collections, uploads: Sequence[SmallUpload]) -> set[SmallUpload]:
    """Insert the instances, and return the uploads whose instances were refused."""
    refused = _insert_many(collections.instances, [upload.whole for upload in uploads])
    return {uploads[number] for number in refused}


def _insert_many(collection: Collection[Any], documents: Sequence[Any]) -> list[int]:
    """Insert documents, and return the numbers of those that were refused."""
    try:
        collection.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if is_passing(error):
            raise
        return [each["index"] for each in (error.details or {})["writeErrors"]]
    return []


def _concern_before(collections: Collections) -> WriteConcern:
    """Return the write concern for what comes before the instances.

    On a server that stands alone the instances' own `j: true` flushes the log up to there, and so all that was written
    before. On a replica set each write waits for the majority.
    """
    alone = [each.server_type_name for each in _known_servers(collections)] == ["Standalone"]
    return WriteConcern(w=1) if alone else collections.instances.write_concern
