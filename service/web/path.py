"""The segments of a request's path, decoded once and by nobody else.

The router decodes a path before it matches and once more, partly, after it, so that ``%252F`` and ``%2F`` would come
out alike. What names a patient is compared byte for byte; it is read here from the path as it was sent.
"""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import unquote_to_bytes

from aiohttp import web

from service.errors import Invalid, NoSuchInstance, NotFound

MAX_PATIENT_ID = 64
"""Characters that a patient id may have."""

_DECODED: web.RequestKey[dict[str, str]] = web.RequestKey("decoded", dict[str, str])

_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_DICOM_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def decode_segment(raw: str) -> str:
    """Undo the percent-encoding of one segment, once.

    Parameters
    ----------
    raw : str
        The segment as it was sent.

    Raises
    ------
    Invalid
        Where a percent sign begins no escape, or the bytes are not UTF-8.
    """
    if "%" not in raw and raw.isascii():
        return raw
    if _ESCAPE.search(raw):
        raise Invalid("The path has a percent sign that is not followed by two hex digits. Write it as %25.")
    try:
        return unquote_to_bytes(raw.encode("utf-8", "surrogateescape")).decode("utf-8")
    except UnicodeError:
        raise Invalid("The percent-encoded bytes in the path must be UTF-8.") from None


def path_segment(request: web.Request, name: str) -> str:
    """Return the decoded segment of the path that the route calls by this name.

    Raises
    ------
    Invalid
        Where it cannot be decoded.
    NotFound
        Where the path as it was sent has other segments than the one that was routed.
    """
    decoded = request.get(_DECODED)
    if decoded is None:
        decoded = request[_DECODED] = {}
    if name not in decoded:
        decoded[name] = decode_segment(_raw_segment(request, name))
    return decoded[name]


def _raw_segment(request: web.Request, name: str) -> str:
    resource = request.match_info.route.resource
    template = resource.canonical.split("/") if resource is not None else []
    segments = request.rel_url.raw_path.split("/")
    if len(template) != len(segments) or f"{{{name}}}" not in template:
        raise NotFound("Nothing exists at this path.")
    return segments[template.index(f"{{{name}}}")]


def patient_id_of(request: web.Request) -> str:
    """Return the patient whom the path names.

    Raises
    ------
    Invalid
        Where that is no patient id.
    """
    return check_patient_id(path_segment(request, "patient_id"))


def check_patient_id(text: str) -> str:
    """Return a patient id that is one.

    Raises
    ------
    Invalid
        Where it is too long, or has characters that a patient id has not.
    """
    if not 1 <= len(text) <= MAX_PATIENT_ID:
        raise Invalid(f"A patient id must have 1 to {MAX_PATIENT_ID} characters.")
    if text in {".", ".."} or any(character in "/\\" or unicodedata.category(character) == "Cc" for character in text):
        raise Invalid(
            "A patient id must not contain control characters, slashes or backslashes, and must not be '.' or '..'."
        )
    return text


def dicom_id_of(request: web.Request) -> str:
    """Return the instance that the path names.

    Raises
    ------
    NotFound
        Where the text cannot be the id of an instance.
    """
    text = path_segment(request, "dicom_id")
    if not _DICOM_ID.fullmatch(text):
        raise NoSuchInstance
    return text
