"""The use case: the bytes of one long value, as a BulkDataURI of the DICOM JSON Model names it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from service.dicom.extract import read_tree
from service.dicom.jsonmodel import bulk_data
from service.dicom.limits import Limits, Readable
from service.dicom.paths import locate, parse_tag_path
from service.dicom.source import open_source
from service.errors import NotFound
from service.storage.visible import Visible
from service.usecases import tags
from service.usecases.context import Context
from service.usecases.instances import find_instance, open_original


@dataclass(frozen=True, slots=True)
class BulkData:
    """The bytes of a value, little-endian.

    Parameters
    ----------
    length : int
        How many there are.
    pieces : async iterator of bytes
        The bytes, in pieces of at most one MiB where they come from the original.
    """

    length: int
    pieces: AsyncIterator[bytes]


async def read_bulk_data(context: Context, visible: Visible, dicom_id: str, text: str) -> BulkData:
    """Return the bytes of one element's value.

    Where the original holds them as they are, only that range of it is read.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
    text : str
        The element's path.

    Raises
    ------
    Invalid
        The text names no tag.
    NotFound
        There is no such instance, it has no such element, or its value is no bytes.
    ExtractionPending, ExtractionFailed
        The instance has no tags yet, or never will.
    """
    found = await tags.find_element(context, visible, dicom_id, parse_tag_path(text))
    if found is not None:
        held = bulk_data(found.element)
        if held is not None:
            return _at_hand(held)
        length, offset = found.element.get("length"), found.element.get("offset")
        if length is None:
            raise _no_bytes()
        if offset is not None:
            return await _range_of_original(context, visible, dicom_id, offset, length)
    return _at_hand(await tags.read_original(context, visible, dicom_id, read_value, text))


async def _range_of_original(context: Context, visible: Visible, dicom_id: str, offset: int, length: int) -> BulkData:
    instance = await find_instance(context, visible, dicom_id)
    original = await open_original(context, visible, instance)
    stop = min(offset + length, original.length)
    return BulkData(stop - offset, original.read(offset, stop))


def _at_hand(value: bytes) -> BulkData:
    async def once() -> AsyncIterator[bytes]:
        yield value

    return BulkData(len(value), once())


def _no_bytes() -> NotFound:
    return NotFound("The value of this element is no bulk data; its tag has it.")


def read_value(source: Readable | Path, limits: Limits, text: str) -> bytes:
    """In a worker: read the bytes of one element's value from an original."""
    tree = read_tree(open_source(source), limits)
    element = locate(tree.dataset, parse_tag_path(text)).element
    held = bulk_data(element)
    if held is not None:
        return held
    if "length" not in element:
        raise _no_bytes()
    return bytes(tree.read_bytes(element))
