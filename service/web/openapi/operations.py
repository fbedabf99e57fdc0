"""The API's own routes, described; those of DICOMweb are in `dicomweb`."""

from __future__ import annotations

from typing import Any

from schemas.http import (
    CatalogueList,
    CatalogueParameters,
    Health,
    Instance,
    PictureParameters,
    Readiness,
    SearchParameters,
    Tag,
    Token,
)
from service.web.openapi.operation import BINARY, DICOM_JSON, ID, Body, Operation, Response
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
        "body": {**BINARY, "description": "The file; a field of any other name is taken too, but exactly one file."}
    },
}
UPLOADED = ("Location", "Warning")
OF_INSTANCE = ("getInstance", "getTag", "getTags", "getBulkData", "deleteInstance")
UNCHANGED = Response("The caller has it already.", {}, ("ETag",))
PAGED = ("Link", "Warning")

GET_PAGE = Operation(
    "getPage",
    "Service",
    "The page that shows one person's files",
    {200: Response("The page.", {"text/html": HTML}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

GET_DOCS = Operation(
    "getDocs",
    "Service",
    "This document for people",
    {200: Response("The page.", {"text/html": HTML}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

GET_OPENAPI = Operation(
    "getOpenApi",
    "Service",
    "This document for programs",
    {200: Response("The document.", {"application/json": {"type": "object"}}, ("ETag",)), 304: UNCHANGED},
    parameters=("IfNoneMatch",),
)

IS_ALIVE = Operation(
    "isAlive", "Service", "Whether the process lives", {200: Response("It does.", {"application/json": Health})}
)

IS_READY = Operation(
    "isReady",
    "Service",
    "Whether the database answers, and there are keys to verify tokens with",
    {200: Response("It answers.", {"application/json": Readiness})},
    frozenset({503}),
)

GET_METRICS = Operation(
    "getMetrics",
    "Service",
    "Figures for Prometheus",
    {200: Response("The figures, in Prometheus's text format.", {"text/plain": {"type": "string"}})},
)

GET_TOKEN = Operation(
    "getToken",
    "Tokens",
    "A token for this patient, in development mode only",
    {200: Response("The token.", {"application/json": Token}, ("Set-Cookie",))},
    frozenset({404, 422}),
    says={404: "The service was not asked by a loopback address.", 422: "That is no patient id."},
)

UPLOAD_FILE = Operation(
    "uploadFile",
    "Files",
    "Store a file",
    {
        200: Response(
            "The new id. The same bytes give the same id again.",
            {"application/json": ID},
            UPLOADED,
            EXAMPLE_ID,
            OF_INSTANCE,
        ),
        202: Response(
            "The file is durable, and its tags are not there yet.",
            {"application/json": ID},
            (*UPLOADED, "Preference-Applied"),
            links=OF_INSTANCE,
        ),
    },
    frozenset({400, 408, 413, 415}),
    "A form with one file, or the file itself. What is no DICOM is refused, and nothing of it is stored.",
    parameters=("Prefer",),
    body=Body(
        "One DICOM file.",
        {"multipart/form-data": UPLOAD_FORM, "application/dicom": BINARY},
    ),
    says={422: "It is no DICOM file, or there is more or less than one file."},
)

LIST_INSTANCES = Operation(
    "listInstances",
    "Files",
    "The patient's instances, or those that a search finds",
    {
        200: Response(
            "A page. `incomplete` is there where something was searched for.",
            {"application/json": LISTED},
            PAGED,
        )
    },
    description="The newest first. With conditions a search by any path of any file, standard, private or nested.",
    query=SearchParameters,
    parameters=("Fields", "SearchConditions"),
)

LIST_TAGS = Operation(
    "listTags",
    "Files",
    "Every path that the patient's files have",
    {200: Response("A page of the catalogue.", {"application/json": CatalogueList}, PAGED)},
    query=CatalogueParameters,
)

GET_INSTANCE = Operation(
    "getInstance",
    "Files",
    "The original, its picture, or what is known of it",
    {
        200: Response(
            "The original bytes, a frame as PNG, or the description, as `Accept` or `content-type` asks.",
            {"application/dicom": BINARY, "image/png": BINARY, "application/json": Instance},
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
    frozenset({404, 406, 416}),
    "Without a header that says otherwise the original. `frame`, `window`, `voi` and `size` are of a picture.",
    query=PictureParameters,
    parameters=("Accept", "ContentTypeAsked", "Range", "IfRange", "IfNoneMatch", "IfModifiedSince"),
    says={422: "A parameter or the content-type cannot be used, or there is no picture to give."},
)

GET_TAG = Operation(
    "getTag",
    "Tags",
    "One element",
    {200: Response("The element.", {"application/json": Tag}, example=EXAMPLE_TAG)},
    frozenset({404, 406}),
    f"A tag is written as {', '.join(f'`{text}`' for text in TAG_EXAMPLES.values())}.",
    says={
        404: "There is no such instance, or no such element in it.",
        422: "That is no tag and no keyword.",
    },
)

GET_TAGS = Operation(
    "getTags",
    "Tags",
    "All elements",
    {
        200: Response(
            "A list of the elements; or a list of one dataset in the DICOM JSON Model (PS3.18 Annex F).",
            {"application/json": TAG_LIST, "application/dicom+json": DICOM_JSON},
        )
    },
    frozenset({404, 406}),
    parameters=("Accept",),
)

GET_BULK_DATA = Operation(
    "getBulkData",
    "Tags",
    "The bytes of a long value",
    {200: Response("The bytes, little-endian.", {"application/octet-stream": BINARY}, ("Content-Disposition",))},
    frozenset({404}),
)

DELETE_INSTANCE = Operation(
    "deleteInstance",
    "Files",
    "Remove a file and everything that came from it",
    {204: Response("It is gone.")},
    frozenset({404}),
)
