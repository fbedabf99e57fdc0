"""The video or the document that an instance carries, as the file of its own kind that it is (PS3.18 8.7.3.3)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.database import Instance
from service.dicom.extract import read_tree
from service.dicom.limits import Limits, Readable
from service.dicom.payloads import VIDEO_TYPES, Payload, encapsulated_document, video
from service.dicom.source import open_source
from service.errors import NotRenderable
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import open_original
from service.usecases.originals import ask_worker, local_original

DOCUMENT_KEYS = ("EncapsulatedDocument", "EncapsulatedDocumentLength", "MIMETypeOfEncapsulatedDocument")

MAX_KEPT = 256
"""Payloads of which it is remembered where they stand."""

MAX_KEPT_RANGES = 1000
"""Parts that one of them may have."""


@dataclass(frozen=True, slots=True)
class Sendable:
    """A file of its own kind, on its way to a caller.

    Parameters
    ----------
    media_type : str
        What it is.
    length : int
        Bytes of the whole.
    read : callable
        Returns the bytes from one place up to another.
    """

    media_type: str
    length: int
    read: Callable[[int, int], AsyncIterator[bytes]]


async def open_payload(context: Context, visible: Visible, instance: Instance) -> Sendable | None:
    """Return the video or the document of an instance; None where it carries neither.

    Raises
    ------
    NoSuchInstance
        It was deleted a moment ago.
    NotRenderable, LimitExceeded
        It is in too many parts, or finding them takes too long.
    """
    payload = await _find(context, visible, instance)
    if payload is None:
        return None
    original = await open_original(context, visible, instance)

    async def read(start: int, stop: int) -> AsyncIterator[bytes]:
        if payload.content:
            yield payload.content[start:stop]
        for first, last in payload.ranges:
            length = last - first
            if start < length and stop > 0:
                async for piece in original.read(first + max(start, 0), first + min(stop, length)):
                    yield piece
            start, stop = start - length, stop - length

    return Sendable(payload.media_type, payload.length, read)


async def _find(context: Context, visible: Visible, instance: Instance) -> Payload | None:
    """Find a payload by the elements that the database has, else have a worker look into the original."""
    if instance.get("transfer_syntax_uid") not in VIDEO_TYPES:
        found = await context.store.instances.read_elements(visible, instance["_id"], (), DOCUMENT_KEYS, large=True)
        elements = found["elements"] if found else {}
        document = elements.get("EncapsulatedDocument") or {}
        if "offset" in document or "length" not in document:
            return encapsulated_document(elements, lambda _: b"")
    kept: Payload | None = context.payloads.get(instance["_id"])
    if kept is not None:
        return kept
    async with local_original(context, visible, instance) as source:
        payload: Payload | None = await ask_worker(
            context,
            find_payload,
            source,
            context.limits,
            caller=visible.caller,
            seconds=context.settings.render_timeout,
            refusal=NotRenderable("Reading this takes more time or memory than a request may."),
        )
    if payload is not None and not payload.content and len(payload.ranges) <= MAX_KEPT_RANGES:
        if len(context.payloads) >= MAX_KEPT:
            context.payloads.pop(next(iter(context.payloads)), None)
        context.payloads[instance["_id"]] = payload  # an id stands for its bytes
    return payload


def find_payload(source: Readable | Path, limits: Limits) -> Payload | None:
    """In a worker: find the video or the document of a file.

    Raises
    ------
    LimitExceeded
        It has too many parts.
    """
    buffer = open_source(source)
    tree = read_tree(buffer, limits)
    return video(tree.dataset, buffer) or encapsulated_document(tree.dataset, tree.read_bytes)
