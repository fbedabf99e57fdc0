"""The parameters and headers that operations refer to."""

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
        "Patient id, as in the token: 1 to 64 characters without control characters, `/` or `\\`; not `.` or `..`.",
        {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^/\\\u0000-\u001f\u007f-\u009f]+$"},
        "p-17",
    ),
    "dicom_id": _path(
        "dicom_id",
        "Id that the upload returned.",
        {"type": "string", "format": "uuid"},
        "5b1f0000-0000-5000-8000-000000000000",
    ),
    "share_id": _path(
        "share_id",
        "Id of a share.",
        {"type": "string", "format": "uuid"},
        "b2c7e0de-5f0e-4b52-9d5c-1f3a6a0f8c11",
    ),
    "tag": {
        "name": "tag",
        "in": "path",
        "required": True,
        "description": "Element: hex digits, a keyword, a private element with its creator, or a path with item "
        "numbers.",
        "schema": {"type": "string", "minLength": 1},
        "examples": {name: {"value": text} for name, text in TAG_EXAMPLES.items()},
    },
    "path": _path(
        "path",
        "Path of the element, as in its `BulkDataURI`.",
        {"type": "string", "minLength": 1},
        "7FE00010",
    ),
    "study": _path("study", "Study Instance UID.", UID, "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"),
    "series": _path("series", "Series Instance UID.", UID, "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322"),
    "instance": _path("instance", "SOP Instance UID.", UID, "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322"),
    "frames": _path(
        "frames",
        "Frame numbers from 1, separated by commas.",
        {"type": "string", "pattern": "^[0-9]{1,9}(,[0-9]{1,9})*$"},
        "1",
    ),
}
"""By their names in the routes."""

PARAMETERS: Mapping[str, dict[str, Any]] = {
    "SearchConditions": _conditions(
        "Every other parameter is a condition: a path and the value to match. All conditions must hold. A path is a "
        "keyword, hex digits or `CREATOR:ggggxxEE`, with `.` between the steps into sequences. A value is the value "
        'itself, `Mill*`, `20240101-20240131`, `80..100`, `CT,MR`, `!` (absent), `!!` (present) or `""` (empty).',
        {"Modality": "CT", "StudyDate": "20040101-", "SliceThickness": "..10", "PatientName": "Comp*"},
    ),
    "Fields": {
        **_query(
            "fields",
            "Paths of the elements to return with each result, separated by commas or repeated; at most 50.",
            {"type": "array", "items": {"type": "string"}},
            ["PatientName", "ImageType"],
        ),
        "style": "form",
        "explode": False,
    },
    "QidoConditions": _conditions(
        "Every other parameter is an attribute to match (PS3.18 8.3.4): a keyword or hex digits, with `.` between the "
        "steps into sequences.",
        {"Modality": "CT", "PatientName": "Comp*"},
    ),
    "IncludeField": _query(
        "includefield",
        "Additional attributes to return, separated by commas or repeated, or `all`.",
        {"type": "string"},
        "StudyDescription",
    ),
    "FuzzyMatching": _query(
        "fuzzymatching", "Match person names by the beginnings of their words (PS3.18 8.3.4.2).", BOOLEAN, "false"
    ),
    "EmptyValueMatching": _query(
        "emptyvaluematching", 'Whether `""` matches attributes without a value.', BOOLEAN, "true"
    ),
    "MultipleValueMatching": _query(
        "multiplevaluematching", "Whether a value may be a list, one of which must match.", BOOLEAN, "false"
    ),
    "Limit": _query(
        "limit",
        "Maximum number of results (capped at 1,000).",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 1000},
        100,
    ),
    "Offset": _query(
        "offset",
        "Number of results to skip.",
        {"type": "integer", "minimum": 0, "maximum": 999_999_999, "default": 0},
        0,
    ),
    "Window": _query(
        "window",
        "Window center, width and function (PS3.18 8.3.5.1.4).",
        {"type": "string", "pattern": f"^{DECIMAL},{DECIMAL}(,(linear|linear-exact|sigmoid))?$"},
        "40,400,linear",
    ),
    "Viewport": _query(
        "viewport",
        "Width and height in pixels of the box into which the image is fitted, optionally followed by the left, top, "
        "width and height of a region of the image (PS3.18 8.3.5.1.3).",
        {"type": "string", "pattern": r"^ *[0-9]{1,9} *, *[0-9]{1,9} *(, *(-?[0-9]{1,6}(\.[0-9]{0,6})?)? *){0,4}$"},
        "256,256",
    ),
    "Quality": _query(
        "quality", "JPEG quality, 1 to 100.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 90}, 80
    ),
    "Accept": _header("Accept", "Media type of the response.", "*/*"),
    "ContentTypeAsked": _header(
        "Content-Type",
        "`application/dicom` or `image/png`: the original system's way to choose the media type of the response. "
        "A type in `Accept` takes precedence.",
        "image/png",
    ),
    "Range": _header("Range", "One byte range of the file.", "bytes=0-131"),
    "IfMatch": _header(
        "If-Match", "`ETag` of the version that is meant; any other is 412, and nothing is done to it.", "*"
    ),
    "IfNoneMatch": _header(
        "If-None-Match", "`ETag` that the caller already has; the response is 304 if it is still current.", '""'
    ),
    "IfModifiedSince": _header(
        "If-Modified-Since", "Date of the version that the caller already has.", "Thu, 01 Jan 2026 00:00:00 GMT"
    ),
    "IfRange": _header("If-Range", "`ETag` of the version to which the range belongs.", '""'),
    "Prefer": _header("Prefer", "`respond-async`: respond as soon as the file is stored (RFC 7240).", "respond-async"),
    "AcceptEncoding": _header("Accept-Encoding", "`gzip` requests a compressed response.", "gzip"),
}
"""By the names that operations use."""

RESPONSE_HEADERS: Mapping[str, dict[str, Any]] = {
    "X-Request-ID": {
        "description": "Id of this request in the log; the caller's own if one was sent.",
        "required": True,
        "schema": {"type": "string", "pattern": "^[A-Za-z0-9._-]{1,64}$"},
    },
    "WWW-Authenticate": {
        "description": "The supported authentication scheme.",
        "required": True,
        "schema": {"type": "string", "pattern": "^Bearer"},
    },
    "Retry-After": {
        "description": "Seconds to wait before trying again.",
        "required": True,
        "schema": {"type": "integer", "minimum": 1},
    },
    "Location": {"description": "URL of the file, if the upload was one file.", "schema": {"type": "string"}},
    "Preference-Applied": {"description": "Preferences from `Prefer` that were applied.", "schema": {"type": "string"}},
    "Link": {"description": 'The next page, as `<…>; rel="next"`, if there is one.', "schema": {"type": "string"}},
    "Warning": {"description": 'A warning about the response, as `299 - "…"`.', "schema": {"type": "string"}},
    "ETag": {
        "description": "Version of the content, for `If-None-Match` and `If-Match`.",
        "schema": {"type": "string"},
    },
    "Last-Modified": {"description": "Time of the upload.", "schema": {"type": "string"}},
    "Accept-Ranges": {"description": "`bytes`.", "schema": {"type": "string"}},
    "Content-Range": {"description": "The range that is returned, and the total size.", "schema": {"type": "string"}},
    "Content-Disposition": {"description": "Suggested file name.", "schema": {"type": "string"}},
    "Content-Encoding": {"description": "`gzip` if it was requested.", "schema": {"type": "string"}},
    "Dicom-Frame": {"description": "Number of the frame that is shown, counted from 1.", "schema": {"type": "integer"}},
    "Dicom-Frames": {"description": "Number of frames.", "schema": {"type": "integer"}},
    "Dicom-Window": {"description": "Window center and width that were used.", "schema": {"type": "string"}},
    "Dicom-Window-Source": {"description": "Where the window comes from.", "schema": {"type": "string"}},
    "Set-Cookie": {
        "description": "The token again, for Postman. The service does not accept it as a credential.",
        "schema": {"type": "string"},
    },
}
"""Headers of responses."""
