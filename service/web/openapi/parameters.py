"""The parameters and headers that operations refer to, each said once."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from schemas.http import DECIMAL

TAG_EXAMPLES = {
    "hex": "00080060",
    "group and element": "0008,0060",
    "keyword": "Modality",
    "private": "GEMS_IDEN_01:0009xx04",
    "in an item": "OtherPatientIDsSequence[0].PatientID",
}

UID: dict[str, Any] = {"type": "string", "minLength": 1}
BOOLEAN: dict[str, Any] = {"type": "string", "enum": ["true", "false"]}


def _path(name: str, description: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "path",
        "required": True,
        "description": description,
        "schema": schema,
        "example": example,
    }


def _query(name: str, description: str, schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, "example": example}


def _header(name: str, description: str, example: str) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "description": description,
        "schema": {"type": "string"},
        "example": example,
    }


def _conditions(description: str, example: dict[str, str]) -> dict[str, Any]:
    return {
        "name": "conditions",
        "in": "query",
        "description": description,
        "style": "form",
        "explode": True,
        "schema": {"type": "object", "additionalProperties": {"type": "string"}},
        "example": example,
    }


PATH_PARAMETERS: Mapping[str, dict[str, Any]] = {
    "patient_id": _path(
        "patient_id",
        "The patient whose token this is: 1 to 64 characters without control characters, `/` or `\\`; not `.` or `..`.",
        {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"},
        "p-17",
    ),
    "dicom_id": _path(
        "dicom_id",
        "The id that the upload gave.",
        {"type": "string", "format": "uuid"},
        "5b1f0000-0000-5000-8000-000000000000",
    ),
    "tag": {
        "name": "tag",
        "in": "path",
        "required": True,
        "description": "The element: hex digits, a keyword, a private element by its creator, or a path with item "
        "numbers.",
        "schema": {"type": "string", "minLength": 1},
        "examples": {name: {"value": text} for name, text in TAG_EXAMPLES.items()},
    },
    "path": _path(
        "path",
        "The element whose bytes these are, as its `BulkDataURI` has it.",
        {"type": "string", "minLength": 1},
        "7FE00010",
    ),
    "study": _path("study", "Study Instance UID.", UID, "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"),
    "series": _path("series", "Series Instance UID.", UID, "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"),
    "instance": _path("instance", "SOP Instance UID.", UID, "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"),
    "frames": _path(
        "frames",
        "Frame numbers from 1, with commas.",
        {"type": "string", "pattern": "^[0-9]{1,9}(,[0-9]{1,9})*$"},
        "1",
    ),
}
"""By their names in the routes."""

PARAMETERS: Mapping[str, dict[str, Any]] = {
    "SearchConditions": _conditions(
        "Every parameter with another name is a path to match, and all must hold. A path is a keyword, hex or "
        "`CREATOR:ggggxxEE`, with `.` between the steps into sequences. A value is the value itself, `Mill*`, "
        '`20240101-20240131`, `80..100`, `CT,MR`, `!` (absent), `!!` (present) or `""` (empty).',
        {"Modality": "CT", "StudyDate": "20040101-", "SliceThickness": "..10", "PatientName": "Comp*"},
    ),
    "Fields": {
        **_query(
            "fields",
            "Paths of elements that are shown with each hit, with commas or given several times; at most 50.",
            {"type": "array", "items": {"type": "string"}},
            ["PatientName", "ImageType"],
        ),
        "style": "form",
        "explode": False,
    },
    "QidoConditions": _conditions(
        "Every parameter with another name is an attribute to match (PS3.18 8.3.4): a keyword or hex, with `.` between "
        "the steps into sequences.",
        {"Modality": "CT", "PatientName": "Comp*"},
    ),
    "IncludeField": _query(
        "includefield",
        "Attributes that are returned beside the usual ones, with commas or given several times, or `all`.",
        {"type": "string"},
        "StudyDescription",
    ),
    "FuzzyMatching": _query(
        "fuzzymatching", "Match person names by the beginnings of their words (PS3.18 8.3.4.2).", BOOLEAN, "false"
    ),
    "EmptyValueMatching": _query(
        "emptyvaluematching", 'Whether `""` matches what is there without a value.', BOOLEAN, "true"
    ),
    "MultipleValueMatching": _query(
        "multiplevaluematching", "Whether a value is a list of which one must match.", BOOLEAN, "false"
    ),
    "Limit": _query(
        "limit",
        "How many results at most; more than 1,000 is 1,000.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 1000},
        100,
    ),
    "Offset": _query(
        "offset",
        "How many results to pass over.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
        0,
    ),
    "Window": _query(
        "window",
        "Center, width and function (PS3.18 8.3.5.1.4).",
        {"type": "string", "pattern": f"^{DECIMAL},{DECIMAL}(,(linear|linear-exact|sigmoid))?$"},
        "40,400,linear",
    ),
    "Viewport": _query(
        "viewport",
        "Width and height in pixels into which the picture is fitted; behind them left, top, width and height of a "
        "region of the image (PS3.18 8.3.5.1.3).",
        {"type": "string", "pattern": r"^ *[0-9]{1,9} *, *[0-9]{1,9} *(, *(-?[0-9]{1,6}(\.[0-9]{0,6})?)? *){0,4}$"},
        "256,256",
    ),
    "Quality": _query(
        "quality", "Of a JPEG, 1 to 100.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 90}, 80
    ),
    "Accept": _header("Accept", "Which of the media types of the answer is wanted.", "*/*"),
    "ContentTypeAsked": _header(
        "Content-Type",
        "`application/dicom` or `image/png`: the original system's way to say what is wanted. Where `Accept` names a "
        "type, that one holds.",
        "image/png",
    ),
    "Range": _header("Range", "A part of the original, as one range of bytes.", "bytes=0-131"),
    "IfNoneMatch": _header("If-None-Match", "The `ETag` that the caller has already; 304 where it still holds.", '""'),
    "IfModifiedSince": _header(
        "If-Modified-Since", "The date that the caller has already.", "Thu, 01 Jan 2026 00:00:00 GMT"
    ),
    "IfRange": _header("If-Range", "The `ETag` of which the range is a part.", '""'),
    "Prefer": _header("Prefer", "`respond-async`: answer as soon as the file is durable (RFC 7240).", "respond-async"),
    "AcceptEncoding": _header("Accept-Encoding", "`gzip`: send it compressed.", "gzip"),
}
"""By the names that operations refer to."""

RESPONSE_HEADERS: Mapping[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "The id that the log has of this request; the caller's own where it sent one.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "WWW-Authenticate": {
        "description": "The scheme that is taken.",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
    "Retry-After": {
        "description": "Seconds after which another try is worth it.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "Where the file is.", "required": True, "schema": {"type": "string"}},
    "Preference-Applied": {"description": "What of `Prefer` was done.", "schema": {"type": "string"}},
    "Link": {"description": 'The next page, as `<…>; rel="next"`, where there is one.', "schema": {"type": "string"}},
    "Warning": {"description": 'Something to know of the answer, as `299 - "…"`.', "schema": {"type": "string"}},
    "ETag": {"description": "The version, for `If-None-Match`.", "schema": {"type": "string"}},
    "Last-Modified": {"description": "When the file came.", "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "`bytes`.", "schema": {"type": "string"}},
    "Content-Range": {"description": "Which part this is, and of how much.", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "A name to keep it under.", "schema": {"type": "string"}},
    "Content-Encoding": {"description": "`gzip` where it was asked for.", "schema": {"type": "string"}},
    "Dicom-Frame": {"description": "The frame that is shown, from 1.", "schema": {"type": "integer"}},
    "Dicom-Frames": {"description": "How many there are.", "schema": {"type": "integer"}},
    "Dicom-Window": {"description": "Center and width that were used.", "schema": {"type": "string"}},
    "Dicom-Window-Source": {"description": "Where they come from.", "schema": {"type": "string"}},
    "Set-Cookie": {"description": "The token again, for Postman; no credential here.", "schema": {"type": "string"}},
}
"""Headers of answers."""
