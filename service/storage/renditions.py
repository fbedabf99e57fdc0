"""Cached pictures in the bucket `rendered`. It can be dropped whole at any time. The functions are synchronous.

The chunks of a picture carry its name, which anybody can make who knows instance, frame and renderer; and the first of
them says how long the picture is, and what was said about it. So a picture is read by one query. The `files` documents
are for what looks at many pictures: the bound, deletes, sweeps. Chunks from before they had names are not found.

How many bytes they are is counted in `meta` as they come and go, so that nobody has to look at all of them; every
sweep sets it right by what is there. Whoever puts one in beyond the bound removes the oldest. Of several who remove
the same picture, the one who took its `files` document away counts it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId
from pymongo import ReturnDocument

from schemas.database import Instance
from service.storage.collections import PLACE_FIELDS, SMALL_FIELDS, Collections, Document, place_of
from service.storage.gridfs_documents import STEP_CHUNKS, chunk_documents, insert_file, remove_some
from service.storage.lookups import seen
from service.storage.threads import Threads, one_hop
from service.storage.visible import Visible

MAX_RENDITION_BYTES = 16 * 1024 * 1024
"""A larger picture is not cached."""

OLDEST = 50
"""How many of the oldest are looked up, and removed where that is needed, in one step."""

_OF_PICTURE = {"_id": 0, "files_id": 1, "data": 1, "length": 1, "about": 1}

SLACK = 20
"""A step goes on until a twentieth of the bound is free again, so that not every picture that comes needs one."""


@dataclass(frozen=True, slots=True)
class RenditionKey:
    """Which picture: of which frame (from 0), by which version of the renderer."""

    frame: int
    renderer: int

    def name_for(self, dicom_id: str) -> str:
        """Return the name of an instance's picture; an instance's id stands for its patient and its bytes."""
        return f"{dicom_id}/{self.frame}/{self.renderer}"


@dataclass(frozen=True, slots=True)
class StoredRendition:
    """A cached picture, and what was said about it when it was made."""

    data: bytes
    metadata: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Renditions:
    """The cached pictures of instances.

    Parameters
    ----------
    clock : callable
        Gives the time as an aware datetime.
    max_bytes : int
        What the pictures may take.
    """

    collections: Collections
    threads: Threads
    clock: Callable[[], datetime]
    max_bytes: int

    @one_hop
    def find(
        self, visible: Visible, dicom_id: str, key: RenditionKey
    ) -> tuple[Instance | None, StoredRendition | None]:
        """Look whether an instance may be seen, and read a cached picture of it, in one hop to a thread.

        Returns
        -------
        tuple of Instance or None, StoredRendition or None
            The instance without its tree, None when the patient has none of this id; and the picture, None
            when it is not there, or not whole.
        """
        if not seen(self.collections, visible, [dicom_id]):
            return None, None
        instance = self.collections.instances.find_one(visible.instance(dicom_id), SMALL_FIELDS)
        return instance, None if instance is None else _find(self.collections, key.name_for(dicom_id))

    @one_hop
    def put(self, patient_id: str, dicom_id: str, key: RenditionKey, rendition: StoredRendition) -> bool:
        """Cache a picture; those of other versions of the renderer go first, and beyond the bound the oldest go.

        The instance is looked at again afterwards: a delete that ran meanwhile has looked for pictures already.

        Returns
        -------
        bool
            False when it was not kept: it is too large, or the instance is gone.
        """
        if len(rendition.data) > min(MAX_RENDITION_BYTES, self.max_bytes):
            return False
        this = Visible(patient_id).instance(dicom_id)
        instance = self.collections.instances.find_one(this, PLACE_FIELDS)
        if instance is None:
            return False
        others = {
            "metadata.dicom_id": dicom_id,
            "metadata.patient_id": patient_id,
            "metadata.renderer": {"$ne": key.renderer},
        }
        remove_matching(self.collections, others)
        file_id = ObjectId()
        _insert_chunks(self.collections, file_id, key.name_for(dicom_id), rendition)
        metadata = {
            **place_of(instance),
            "patient_id": patient_id,
            "dicom_id": dicom_id,
            "frame": key.frame,
            "renderer": key.renderer,
            "about": dict(rendition.metadata),
        }
        size, name = len(rendition.data), f"{dicom_id}/{key.frame}"
        insert_file(self.collections.rendered, file_id, size, name, metadata, self.clock())
        held = _count(self.collections, size)
        if self.collections.instances.find_one(this, {"_id": 1}) is None:
            remove_matching(self.collections, {"_id": file_id})
            return False
        if held > self.max_bytes:
            trim(self.collections, self.max_bytes)
        return True


def _insert_chunks(collections: Collections, file_id: ObjectId, name: str, rendition: StoredRendition) -> None:
    chunks = list(chunk_documents(file_id, rendition.data))
    for chunk in chunks:
        chunk["picture"] = name
    chunks[0] |= {"length": len(rendition.data), "about": dict(rendition.metadata)}
    for first in range(0, len(chunks), STEP_CHUNKS):
        collections.rendered.chunks.insert_many(chunks[first : first + STEP_CHUNKS])


def _find(collections: Collections, name: str) -> StoredRendition | None:
    made: defaultdict[ObjectId, list[Document]] = defaultdict(list)  # two processes may have made the same picture
    for chunk in collections.rendered.chunks.find({"picture": name}, _OF_PICTURE, sort=[("n", 1)]):
        made[chunk["files_id"]].append(chunk)
    for chunks in made.values():
        data = b"".join([chunk["data"] for chunk in chunks])
        if len(data) == chunks[0].get("length"):
            return StoredRendition(data, chunks[0]["about"])
    return None


def remove_matching(collections: Collections, wanted: Document) -> None:
    """Remove the pictures that a filter of their `files` documents finds."""
    for file in list(collections.rendered.files.find(wanted, {"length": 1})):
        _remove(collections, file)


def trim(collections: Collections, max_bytes: int) -> bool:
    """Remove some of the oldest pictures if there are more bytes than `max_bytes`. True while there are more."""
    if _count(collections, 0) <= max_bytes:
        return False
    # An ObjectId begins with its time.
    oldest = list(collections.rendered.files.find({}, {"length": 1}, sort=[("_id", 1)], limit=OLDEST))
    for file in oldest:
        if _remove(collections, file) <= max_bytes - max_bytes // SLACK:
            return False
    return bool(oldest)


def set_right(collections: Collections, held: int, counted: int) -> None:
    """Correct the number of bytes: `held` was known when `counted` began to be added up."""
    _count(collections, counted - held)


def bytes_held(collections: Collections) -> int:
    """Return how many bytes the pictures are, as far as it was counted."""
    return _count(collections, 0)


def _remove(collections: Collections, file: Document) -> int:
    """Remove a picture, and return the bytes that are left."""
    taken = collections.rendered.files.delete_one({"_id": file["_id"]}).deleted_count
    while remove_some(collections.rendered, file["_id"]):
        pass
    return _count(collections, -file["length"] if taken else 0)


def _count(collections: Collections, change: int) -> int:
    """Change the number of bytes, and return it."""
    this = {"_id": "store"}
    if not change:
        found = collections.meta.find_one(this, {"rendered_bytes": 1})
    else:
        found = collections.meta.find_one_and_update(
            this,
            {"$inc": {"rendered_bytes": change}},
            projection={"rendered_bytes": 1},
            return_document=ReturnDocument.AFTER,
        )
    return int((found or {}).get("rendered_bytes", 0))
