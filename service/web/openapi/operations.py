"""The operations of the plain API; those of DICOMweb are in `dicomweb`."""

from __future__ import annotations

from typing import Any

from schemas.http import (
    CatalogueList,
    CatalogueParameters,
    Health,
    InstanceSchema,
    PictureParameters,
    Readiness,
    SearchParameters,
    Tag,
    Token,
    UploadParameters,
)
from service.web.openapi.operation import BINARY, DICOM_JSON, ID, UNCHANGED, Body, Operation, Response
from service.web.openapi.parameters import TAG_EXAMPLES

HTML: dict[str, Any] = {"type": "string"}
LISTED: dict[str, Any] = {
    "anyOf": [{"$ref": "#/components/schemas/InstanceList"}, {"$ref": "#/components/schemas/HitList"}]
}
TAG_LIST: dict[str, Any] = {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}}

EXAMPLE_ID = "5b1f0000-0000-5000-8000-000000000000"
EXAMPLE_TAG = {
    "tag": "00080060",
    "group_id": "0008",
    "element_id": "0060",
    "keyword": "Modality",
    "name": "Modality",
    "vr": "CS",
    "vm": 1,
    "value": "CT",
}

UPLOAD_FORM: dict[str, Any] = {
    "type": "object",
    "required": ["body"],
    "properties": {
        "body": {
            **BINARY,
            "description": "The file. The field may have any name, but the form must contain exactly one file.",
        }
    },
}
ZIP_LINES: dict[str, Any] = {
    "type": "string",
    "description": "One JSON object a line: for each member its `name` and `dicom_id` (with `new`, `state`, `problems` "
    "and `truncated_at`), `refused` (with `detail`) or `skipped`; then `summary`.",
}
UPLOADED = ("Location", "Warning")
OF_INSTANCE = ("getInstance", "getTag", "getTags", "getBulkData", "deleteInstance")
TABLED = ("Link", "Warning", "Content-Disposition")
TABLE: dict[str, dict[str, Any]] = {
    "text/csv": {"type": "string"},
    "application/x-ndjson": {"type": "string"},
    "application/vnd.apache.parquet": BINARY,
}

GET_PAGE = Operation(
    "getPage",
    "Service",
    "Web page that shows one patient's files",
    {200: Response("The page.", {"text/html": HTML}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

GET_LINK_PAGE = Operation(
    "getLinkPage",
    "Service",
    "Web page that opens the link of a share",
    {200: Response("The page.", {"text/html": HTML}, ("ETag",)), 304: UNCHANGED},
    description="The secret stands behind the `#` of a link, which a browser does not send. The page takes it out of "
    "the address, and opens a session by it.",
    parameters=("IfNoneMatch",),
)

GET_DOCS = Operation(
    "getDocs",
    "Service",
    "Web page with this API description",
    {200: Response("The page.", {"text/html": HTML}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

GET_OPENAPI = Operation(
    "getOpenApi",
    "Service",
    "OpenAPI document",
    {200: Response("The document.", {"application/json": {"type": "object"}}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

IS_ALIVE = Operation(
    "isAlive", "Service", "Liveness check", {200: Response("The process is running.", {"application/json": Health})}
)

IS_READY = Operation(
    "isReady",
    "Service",
    "Readiness check: the database and the keys for tokens",
    {200: Response("The service is ready.", {"application/json": Readiness})},
    frozenset({503}),
)

GET_METRICS = Operation(
    "getMetrics",
    "Service",
    "Metrics for Prometheus",
    {200: Response("The metrics, in the Prometheus text format.", {"text/plain": {"type": "string"}})},
)

GET_TOKEN = Operation(
    "getToken",
    "Tokens",
    "Get a token for this patient (development mode only)",
    {200: Response("The token.", {"application/json": Token}, ("Set-Cookie",))},
    frozenset({404, 422}),
    says={404: "The request was not sent to a loopback address.", 422: "The patient id is invalid."},
)

UPLOAD_FILE = Operation(
    "uploadFile",
    "Files",
    "Upload a file",
    {
        200: Response(
            "The id of the file. Uploading the same bytes again returns the same id.",
            {"application/json": ID, "application/x-ndjson": ZIP_LINES},
            UPLOADED,
            EXAMPLE_ID,
            OF_INSTANCE,
        ),
        202: Response(
            "The file is stored; its tags are still being extracted.",
            {"application/json": ID},
            (*UPLOADED, "Preference-Applied"),
            links=OF_INSTANCE,
        ),
    },
    frozenset({400, 408, 413, 415, 507}),
    "Send a form with one file, or the file itself. Anything that is not DICOM is refused and not stored. A ZIP is "
    "unpacked: each member is stored or refused for itself and has a line of JSON in the response; the last line is a "
    "summary. A ZIP that broke off is sent again.",
    query=UploadParameters,
    parameters=("Prefer",),
    body=Body(
        "One DICOM file, or a ZIP of such files.",
        {"multipart/form-data": UPLOAD_FORM, "application/dicom": BINARY, "application/zip": BINARY},
    ),
    says={422: "The body is not a DICOM file and not a ZIP, or the form does not contain exactly one file."},
)

LIST_INSTANCES = Operation(
    "listInstances",
    "Files",
    "List or search a patient's instances",
    {
        200: Response(
            "A page of instances. The results of a search also have `incomplete`. As CSV, NDJSON or Parquet a table of "
            "all instances that match, with a column for each of `fields`. As `application/zip` all that match.",
            {"application/json": LISTED, **TABLE, "application/zip": BINARY},
            TABLED,
        )
    },
    frozenset({404, 406, 413}),
    "Newest first. With conditions, the request searches by any path: standard, private or nested. A table needs "
    "`fields`, and takes neither `limit` and `offset` nor `count`. With `Accept: application/zip; media=dicomdir` the "
    "response is a DICOM medium (PS3.10) with all instances that match: a DICOMDIR, the files below `DICOM`, and in "
    "`OTHER` those that a DICOMDIR may not list. Only conditions count for it.",
    query=SearchParameters,
    parameters=("Fields", "SearchConditions", "Accept"),
    says={404: "There are no instances for a medium.", 413: "There are more instances than a medium has."},
)

LIST_TAGS = Operation(
    "listTags",
    "Files",
    "List every path in a patient's files",
    {
        200: Response(
            "A page of the catalogue. As CSV, NDJSON or Parquet a table of all of it.",
            {"application/json": CatalogueList, **TABLE},
            TABLED,
        )
    },
    frozenset({406}),
    query=CatalogueParameters,
    parameters=("Accept",),
)

GET_INSTANCE = Operation(
    "getInstance",
    "Files",
    "Get the original file, an image, or a description",
    {
        200: Response(
            "The original bytes, a frame as PNG, or a description, depending on `Accept` or `Content-Type`.",
            {"application/dicom": BINARY, "image/png": BINARY, "application/json": InstanceSchema},
            (
                "ETag",
                "Last-Modified",
                "Accept-Ranges",
                "Content-Disposition",
                "Warning",
                "Dicom-Frame",
                "Dicom-Frames",
                "Dicom-Window",
                "Dicom-Window-Source",
            ),
        ),
        206: Response(
            "A part of the original.",
            {"application/dicom": BINARY},
            ("ETag", "Last-Modified", "Accept-Ranges", "Content-Range", "Content-Disposition"),
        ),
        304: UNCHANGED,
    },
    frozenset({404, 406, 412, 416}),
    "By default, the original is returned. `frame`, `window`, `voi` and `size` apply to images only.",
    query=PictureParameters,
    parameters=("Accept", "ContentTypeAsked", "Range", "IfRange", "IfMatch", "IfNoneMatch", "IfModifiedSince"),
    says={422: "A parameter or the `Content-Type` is invalid, or the file cannot be rendered."},
)

GET_TAG = Operation(
    "getTag",
    "Tags",
    "Get one element",
    {200: Response("The element.", {"application/json": Tag}, example=EXAMPLE_TAG)},
    frozenset({404, 406}),
    f"A tag can be written as {', '.join(f'`{text}`' for text in TAG_EXAMPLES.values())}.",
    says={
        404: "The instance does not exist, or it has no such element.",
        422: "The tag or keyword is invalid.",
    },
)

GET_TAGS = Operation(
    "getTags",
    "Tags",
    "Get all elements",
    {
        200: Response(
            "A list of elements, or a list of one dataset in the DICOM JSON Model (PS3.18 Annex F).",
            {"application/json": TAG_LIST, "application/dicom+json": DICOM_JSON},
            ("Content-Encoding",),
        )
    },
    frozenset({404, 406}),
    parameters=("Accept", "AcceptEncoding"),
)

GET_BULK_DATA = Operation(
    "getBulkData",
    "Tags",
    "Get the bytes of a long value",
    {200: Response("The bytes, little-endian.", {"application/octet-stream": BINARY}, ("Content-Disposition",))},
    frozenset({404}),
)

DELETE_INSTANCE = Operation(
    "deleteInstance",
    "Files",
    "Delete a file and everything derived from it",
    {204: Response("The file was deleted.")},
    frozenset({404, 412}),
    parameters=("IfMatch",),
)
