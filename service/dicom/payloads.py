"""What an instance carries that is a file of a kind of its own: an encapsulated document, or a video."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from service.dicom.pixels.attributes import element_bytes, integer, values
from service.dicom.pixels.frames import MAX_FRAGMENTS, Buffer, walk_items
from service.dicom.uids import transfer_syntax_of
from service.errors import LimitExceeded

OCTETS = "application/octet-stream"

VIDEO_TYPES = {
    f"1.2.840.10008.1.2.4.{number}{part}": media_type
    for media_type, numbers in (
        ("video/mpeg", range(100, 102)),
        ("video/mp4", range(102, 107)),
        ("video/H265", range(107, 109)),
    )
    for number in numbers
    for part in ("", ".1")
}
"""The media type of each transfer syntax of a video, the fragmentable ones too (PS3.18 Table 8.7.3-5)."""

# RFC 6838 4.2.
_NAME = r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}"
_MEDIA_TYPE = re.compile(rf"({_NAME})/({_NAME})", re.ASCII)
_TOP_LEVEL = frozenset(("application", "audio", "font", "image", "model", "text", "video"))


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes that are a file of their own, and where they stand.

    Parameters
    ----------
    media_type : str
        What they are.
    ranges : tuple of (int, int)
        The parts ``[start, stop)`` of the original that they are, one after the other. Empty where they do not stand in
        it as they are.
    content : bytes
        The bytes themselves, where `ranges` does not name them.
    """

    media_type: str
    ranges: tuple[tuple[int, int], ...] = ()
    content: bytes = b""

    @property
    def length(self) -> int:
        """How many bytes they are."""
        return sum(stop - start for start, stop in self.ranges) + len(self.content)


def encapsulated_document(
    dataset: Mapping[str, Any], read_bytes: Callable[[Mapping[str, Any]], bytes]
) -> Payload | None:
    """Return the document that an instance encapsulates, such as a PDF, a CDA or an STL (PS3.3 C.24.2).

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex.
    read_bytes : callable
        Reads a value that does not stand in the original as it is (`Tree.read_bytes`).

    Returns
    -------
    Payload or None
        None where there is no document. Its type is what (0042,0012) MIME Type of Encapsulated Document says, and
        `application/octet-stream` where that is no media type. It ends where (0042,0015) Encapsulated Document Length
        says, which leaves the padding out; where that is missing or more than there is, it is the whole value.
    """
    element = dataset.get("EncapsulatedDocument")
    if element is None or element.get("spilled") or element.get("encapsulated"):
        return None
    media_type = media_type_of(dataset)
    start, length = element.get("offset"), element.get("length")
    content = b"" if start is not None else element_bytes(dataset, "EncapsulatedDocument", read_bytes)
    there = len(content) if start is None else int(length or 0)
    if not there:
        return None
    said = integer(dataset, "EncapsulatedDocumentLength")
    kept = said if said is not None and 0 < said <= there else there
    return (
        Payload(media_type, content=content[:kept]) if start is None else Payload(media_type, ((start, start + kept),))
    )


def media_type_of(dataset: Mapping[str, Any]) -> str:
    """Return the media type of an encapsulated document, without parameters; of what names none, that of bytes."""
    named = next(iter(values(dataset, "MIMETypeOfEncapsulatedDocument")), None)
    match = _MEDIA_TYPE.fullmatch(named.partition(";")[0].strip(" \0")) if isinstance(named, str) else None
    # A multipart or message is bytes with an inner structure that the headers of an answer would have to describe.
    return match[0].lower() if match and match[1].lower() in _TOP_LEVEL else OCTETS


def video(dataset: Mapping[str, Any], buffer: Buffer) -> Payload | None:
    """Return the stream of a video, which its fragments are without their headers (PS3.5 A.4, PS3.18 8.7.3.3.2).

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex.
    buffer : Buffer
        The original.

    Returns
    -------
    Payload or None
        None where the transfer syntax is not one of `VIDEO_TYPES`, or there are no fragments. A byte of padding behind
        a stream of odd length is part of it: nothing tells it from the stream.

    Raises
    ------
    LimitExceeded
        Where there are too many fragments.
    """
    media_type = VIDEO_TYPES.get(transfer_syntax_of(dataset) or "")
    element = dataset.get("PixelData") or {}
    if media_type is None or not element.get("encapsulated"):
        return None
    start = int(element["offset"])
    stop = min(start + int(element["length"]), len(buffer))
    items = walk_items(buffer, start, stop)
    next(items, None)  # the offset table
    fragments = list(islice(items, MAX_FRAGMENTS + 1))
    if len(fragments) > MAX_FRAGMENTS:
        raise LimitExceeded(f"The video has more than {MAX_FRAGMENTS} fragments.")
    ranges = tuple((part.start, part.stop) for part in fragments if part.start < part.stop)
    return Payload(media_type, ranges) if ranges else None
