"""The use case: what one element of a stored file says, and what all of them say.

Answers come from the document. Only what it had no room for is read from the original again, by the same extractor,
in a worker process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson

from schemas.database import ExtractionStatus, Instance
from service.dicom.dictionary import may_be_large, tag_of_key
from service.dicom.extract import read_tree
from service.dicom.jsonmodel import dicom_json
from service.dicom.limits import Limits, Readable
from service.dicom.paths import BelowSpilled, Located, Step, candidate_keys, locate, lookup_keys, parse_tag_path
from service.dicom.simplified import simplified_json, simplify_element
from service.dicom.source import open_source
from service.dicom.spill import has_gap
from service.dicom.withheld import without_original, without_originals
from service.errors import ExtractionFailed, ExtractionPending, LimitExceeded, NoSuchInstance, NotFound
from service.storage.projections import Elements
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import find_instance
from service.usecases.originals import ask_worker, local_original

ABSENT_KEY = "FFFFFFFF"
"""Stands for a sequence that is not there, so that what is asked below it is not there either."""


async def read_tag(context: Context, visible: Visible, dicom_id: str, text: str) -> bytes:
    """Return one element, simplified, as JSON.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
    text : str
        The tag or path as the caller wrote it.

    Raises
    ------
    Invalid
        The text names no tag.
    NotFound
        There is no such instance, or it has no such element.
    ExtractionPending, ExtractionFailed
        The instance has no tags yet, or never will.
    """
    found = await find_element(context, visible, dicom_id, parse_tag_path(text))
    if found is None:
        return await read_original(context, visible, dicom_id, read_tag_of, text, visible.originals)
    return _element_json(found, visible.originals)


async def find_element(context: Context, visible: Visible, dicom_id: str, path: Sequence[Step]) -> Located | None:
    """Find one element in the document; None where only the original has it, or has it whole.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
    path : sequence of Step
        Of `parse_tag_path`.

    Raises
    ------
    NotFound, ExtractionPending, ExtractionFailed
        As of `read_tag`.
    Invalid
        Several items have it, and the path does not say which is meant.
    """
    if any(step.item is None for step in path[:-1]):
        return await _find_in_any_item(context, visible, dicom_id, path)
    parents: list[tuple[str, int]] = []
    for step in path[:-1]:
        parents.append((await _parent_key(context, visible, dicom_id, parents, step), step.item or 0))
    level = await _read_level(context, visible, dicom_id, parents, path[-1])
    try:
        found = locate(level["elements"], path[-1:])
    except NotFound:
        if not level["spilled"]:
            raise
        return None
    return None if level["spilled"] and has_gap(found.element) else found


async def _find_in_any_item(context: Context, visible: Visible, dicom_id: str, path: Sequence[Step]) -> Located | None:
    """Find the element that one item of a sequence has, whichever: the sequence is read for it."""
    async with context.whole_trees:
        level = await _read_level(context, visible, dicom_id, [], path[0])
        try:
            found = locate(level["elements"], path)
        except BelowSpilled:
            return None
        except NotFound:
            if not level["spilled"]:
                raise
            return None
        return None if level["spilled"] and has_gap(found.element) else found


async def read_tags(context: Context, visible: Visible, dicom_id: str) -> bytes:
    """Return all elements of an instance, simplified, as JSON: a list by ascending tag.

    Raises
    ------
    NotFound, ExtractionPending, ExtractionFailed
        As of `read_tag`.
    """
    return await _whole(context, visible, dicom_id, simplified_json)


async def read_dicom_json(context: Context, visible: Visible, dicom_id: str, bulk_data_root: str) -> bytes:
    """Return an instance in the DICOM JSON Model (PS3.18 Annex F): a list of one dataset.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
    bulk_data_root : str
        What the BulkDataURI of a long value begins with; the path of its element follows.

    Raises
    ------
    NotFound, ExtractionPending, ExtractionFailed
        As of `read_tag`.
    """
    return await _whole(context, visible, dicom_id, model_json, bulk_data_root)


async def _parent_key(
    context: Context, visible: Visible, dicom_id: str, parents: list[tuple[str, int]], step: Step
) -> str:
    """Return the document's key of a sequence; only a private one needs a look at which block its creator reserved."""
    if step.creator is None:
        return candidate_keys({}, step)[0]
    level = await _read_level(context, visible, dicom_id, parents, step)
    keys = candidate_keys(level["elements"], step)
    return next((key for key in keys if key in level["elements"]), ABSENT_KEY)


async def _read_level(
    context: Context, visible: Visible, dicom_id: str, parents: list[tuple[str, int]], step: Step
) -> Elements:
    keys = lookup_keys(step)
    level = await context.store.instances.read_elements(
        visible, dicom_id, parents, keys, large=any(may_be_large(tag_of_key(key)) for key in keys)
    )
    if level is None:
        raise NoSuchInstance
    check_extracted(level["extraction"])
    return level


def check_extracted(extraction: ExtractionStatus) -> None:
    """Refuse what asks for the tags of an instance that has none.

    Raises
    ------
    ExtractionPending
        They are not there yet.
    ExtractionFailed
        They never will be.
    """
    if extraction["state"] == "pending":
        raise ExtractionPending("The tags of this instance are not extracted yet.", retry_after=2)
    if extraction["state"] == "failed":
        raise ExtractionFailed(f"The tags of this instance could not be extracted: {extraction['error']}")


async def _whole(context: Context, visible: Visible, dicom_id: str, encode: Any, *arguments: str) -> bytes:
    """Encode the whole tree off the event loop: from the document, or where that has gaps from the original."""

    def encode_document(document: Instance) -> bytes:
        check_extracted(document["extraction"])
        if document["spilled"]:
            return b""
        return _encode(document["dataset"], visible.originals, encode, *arguments)

    async with context.whole_trees:
        encoded = await context.store.instances.use_whole(visible, dicom_id, encode_document)
        if encoded is None:
            raise NoSuchInstance
        if encoded:
            return encoded
    return await read_original(context, visible, dicom_id, encode_whole, visible.originals, encode, *arguments)


async def read_original(context: Context, visible: Visible, dicom_id: str, function: Any, *arguments: Any) -> bytes:
    """Return what a worker reads of an instance's original by a function of the source, the limits and the arguments.

    Raises
    ------
    NotFound
        There is no such instance.
    LimitExceeded
        It took a worker too long, or its life.
    """
    instance = await find_instance(context, visible, dicom_id)
    async with local_original(context, visible, instance) as source:
        answer: bytes = await ask_worker(
            context,
            function,
            source,
            context.limits,
            *arguments,
            caller=visible.caller,
            seconds=context.settings.extraction_timeout,
            refusal=LimitExceeded("Reading this from the original takes more time or memory than a request may."),
        )
    return answer


def model_json(dataset: Mapping[str, Any], bulk_data_root: str) -> bytes:
    """Encode a tree as a JSON list of one dataset of the DICOM JSON Model."""
    return orjson.dumps([dicom_json(dataset, lambda path: bulk_data_root + quote(path, safe=""))])


def read_tag_of(source: Readable | Path, limits: Limits, text: str, originals: bool) -> bytes:
    """In a worker: read one element from an original, simplified, as JSON."""
    found = locate(read_tree(open_source(source), limits).dataset, parse_tag_path(text))
    return _element_json(found, originals)


def encode_whole(source: Readable | Path, limits: Limits, originals: bool, encode: Any, *arguments: str) -> bytes:
    """In a worker: read a whole original and encode its tree."""
    return _encode(read_tree(open_source(source), limits).dataset, originals, encode, *arguments)


def _element_json(found: Located, originals: bool) -> bytes:
    element = found.element if originals else without_original(found.tag, found.element)
    return orjson.dumps(simplify_element(found.tag, element, found.creator))


def _encode(dataset: Mapping[str, Any], originals: bool, encode: Any, *arguments: str) -> bytes:
    encoded: bytes = encode(dataset if originals else without_originals(dataset), *arguments)
    return encoded
