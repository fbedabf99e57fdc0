"""The operations of DICOMweb (PS3.18)."""

from __future__ import annotations

from typing import Any

from schemas.http import Deleted
from service.web.openapi.operation import BINARY, DICOM_JSON, UNCHANGED, Body, Operation, Response

DICOM_JSON_TYPE = "application/dicom+json"
FILES = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
JPEGS = 'multipart/related; type="image/jpeg"'
PNGS = 'multipart/related; type="image/png"'

STORE_RESPONSE: dict[str, Any] = {"$ref": "#/components/schemas/DicomJsonDataset"}
BOTH_JSON = {DICOM_JSON_TYPE: DICOM_JSON, "application/json": DICOM_JSON}
RENDERED_PARAMETERS = ("Accept", "Window", "Viewport", "Quality")
VERSIONS = ("ETag", "Last-Modified", "Accept-Ranges")
MEDIUM = (
    " `Accept: application/zip; media=dicomdir` asks for a DICOM medium (PS3.10) with a DICOMDIR and the stored files."
)
CONDITIONAL = ("Range", "IfRange", "IfMatch", "IfNoneMatch", "IfModifiedSince")
SAYS = {
    400: "A parameter is invalid.",
    406: "None of the media types or transfer syntaxes in `Accept` is available; `detail` lists those that are.",
    422: "The patient id is invalid, or the file's tags could not be extracted.",
}

_PLURALS = {"study": "studies", "series": "series", "instance": "instances"}


def _store(operation_id: str, summary: str) -> Operation:
    return Operation(
        operation_id,
        "STOW-RS",
        summary,
        {
            200: Response("All files were stored.", {DICOM_JSON_TYPE: STORE_RESPONSE}),
            202: Response(
                "Some files were stored; the dataset lists those that were not.", {DICOM_JSON_TYPE: STORE_RESPONSE}
            ),
            409: Response("Nothing was stored; the dataset gives the reasons.", {DICOM_JSON_TYPE: STORE_RESPONSE}),
        },
        frozenset({400, 406, 408, 413, 415, 507}),
        "Each file is stored or refused on its own (PS3.18 10.5). A single file may also be the whole body, "
        "and so may a ZIP of files.",
        body=Body(
            "DICOM files.",
            {
                "application/dicom": BINARY,
                FILES: BINARY,
                "application/zip": BINARY,
            },
        ),
        says={**SAYS, 400: "A parameter is invalid, or the body does not match its headers."},
    )


def _search(operation_id: str, level: str, within: str) -> Operation:
    return Operation(
        operation_id,
        "QIDO-RS",
        f"Search for {_PLURALS[level]}{within}",
        {
            200: Response(
                "A list with one dataset per result; it may be empty.", BOTH_JSON, ("Warning", "Content-Encoding")
            )
        },
        frozenset({400, 406}),
        "See PS3.18 10.6. A `Warning` header says how many more results there are.",
        parameters=(
            "Accept",
            "AcceptEncoding",
            "IncludeField",
            "FuzzyMatching",
            "EmptyValueMatching",
            "MultipleValueMatching",
            "Limit",
            "Offset",
            "QidoConditions",
        ),
        says=SAYS,
    )


def _retrieve(operation_id: str, level: str) -> Operation:
    content = {FILES: BINARY, "application/zip": BINARY}
    responses = {
        200: Response("The files.", content, ("Content-Disposition",)),
        206: Response("Only the files that can have the transfer syntax in `Accept`.", content),
    }
    if level == "instance":
        content["application/dicom"] = BINARY
        responses = {
            200: Response("The file.", content, ("Content-Disposition", *VERSIONS)),
            206: Response("A part of the file.", {"application/dicom": BINARY}, (*VERSIONS, "Content-Range")),
            304: UNCHANGED,
        }
    return Operation(
        operation_id,
        "WADO-RS",
        f"Get the files of a{'n' if level == 'instance' else ''} {level}",
        responses,
        frozenset({400, 404, 406, *({412, 416} if level == "instance" else {413})}),
        "Files come in Explicit VR Little Endian, except those that are lossily compressed or cannot be converted. In "
        "`Accept`, the parameter `transfer-syntax=*` requests the stored files, and "
        "`transfer-syntax=1.2.840.10008.1.2.1` asks that lossily compressed ones be converted too (PS3.18 8.7.3.4)."
        + ("" if level == "instance" else MEDIUM),
        parameters=(
            "Accept",
            *(CONDITIONAL if level == "instance" else ()),
        ),
        says=SAYS,
    )


def _metadata(operation_id: str, level: str) -> Operation:
    return Operation(
        operation_id,
        "WADO-RS",
        f"Get the metadata of a{'n' if level == 'instance' else ''} {level}",
        {200: Response("The datasets without bulk data.", BOTH_JSON, ("Content-Encoding",))},
        frozenset({400, 404, 406, 413}),
        parameters=("Accept", "AcceptEncoding"),
        says=SAYS,
    )


def _rendered(operation_id: str, what: str) -> Operation:
    content = {"image/jpeg": BINARY, "image/png": BINARY, JPEGS: BINARY, PNGS: BINARY}
    return Operation(
        operation_id,
        "WADO-RS",
        f"Render {what}",
        {
            200: Response(
                "One image, or every frame of the resource as the parts of a multipart body.",
                content,
                ("Content-Disposition",),
            ),
            206: Response(
                "Only the frames that can be rendered, because others cannot.", {JPEGS: BINARY, PNGS: BINARY}
            ),
        },
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types in `Accept` is available, or the resource cannot be rendered."},
    )


def _thumbnail(operation_id: str, what: str) -> Operation:
    return Operation(
        operation_id,
        "WADO-RS",
        f"Get a thumbnail of {what}",
        {200: Response("The image.", {"image/jpeg": BINARY, "image/png": BINARY}, ("Content-Disposition",))},
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types in `Accept` is available, or the resource cannot be rendered."},
    )


def _delete(operation_id: str, level: str) -> Operation:
    return Operation(
        operation_id,
        "Files",
        f"Delete a {level} and everything derived from it",
        {
            204: Response(f"The {level} was deleted."),
            202: Response(
                f"The {level} was deleted and can no longer be seen; some of its bytes are still being removed.",
                {"application/json": Deleted},
            ),
        },
        frozenset({400, 404, 412}),
        "All instances are deleted, or none. The audit names each of them before. A study or series has no `ETag`, so "
        "any `If-Match` but `*` is 412.",
        says=SAYS,
    )


STORE_INSTANCES = _store("storeInstances", "Store files")
STORE_INSTANCES_OF_STUDY = _store("storeInstancesOfStudy", "Store files of a study")
SEARCH_STUDIES = _search("searchStudies", "study", "")
SEARCH_SERIES = _search("searchSeries", "series", "")
SEARCH_INSTANCES = _search("searchInstances", "instance", "")
SEARCH_SERIES_OF_STUDY = _search("searchSeriesOfStudy", "series", " of a study")
SEARCH_INSTANCES_OF_STUDY = _search("searchInstancesOfStudy", "instance", " of a study")
SEARCH_INSTANCES_OF_SERIES = _search("searchInstancesOfSeries", "instance", " of a series")
RETRIEVE_STUDY = _retrieve("retrieveStudy", "study")
RETRIEVE_SERIES = _retrieve("retrieveSeries", "series")
RETRIEVE_INSTANCE = _retrieve("retrieveInstance", "instance")
GET_STUDY_METADATA = _metadata("getStudyMetadata", "study")
GET_SERIES_METADATA = _metadata("getSeriesMetadata", "series")
GET_INSTANCE_METADATA = _metadata("getInstanceMetadata", "instance")
DELETE_STUDY = _delete("deleteStudy", "study")
DELETE_SERIES = _delete("deleteSeries", "series")
GET_BULK_DATA = Operation(
    "getInstanceBulkData",
    "WADO-RS",
    "Get the bytes of a long value",
    {
        200: Response(
            "The bytes, little-endian; a video or an encapsulated document as the file that it is.",
            {"application/octet-stream": BINARY, OCTETS: BINARY, "*/*": BINARY},
            ("Content-Disposition", *VERSIONS),
        ),
        206: Response("A part of a video or document.", {"*/*": BINARY}, (*VERSIONS, "Content-Range")),
        304: UNCHANGED,
    },
    frozenset({400, 404, 406, 412, 413, 416}),
    parameters=("Accept", *CONDITIONAL),
    says=SAYS,
)
GET_FRAMES = Operation(
    "getFrames",
    "WADO-RS",
    "Get frames, as stored or decoded",
    {
        200: Response(
            "One part per frame. A single frame may also be the whole body. Compressed frames may be images.",
            {OCTETS: BINARY, "application/octet-stream": BINARY, "image/*": BINARY},
        )
    },
    frozenset({400, 404, 406, 413}),
    "In `Accept`, the parameter `transfer-syntax=1.2.840.10008.1.2.1` requests decoded frames and "
    "`transfer-syntax=*` requests the stored ones (PS3.18 8.7.3).",
    parameters=("Accept",),
    says=SAYS,
)
GET_RENDERED_STUDY = _rendered("getRenderedStudy", "a representative instance of a study")
GET_RENDERED_SERIES = _rendered("getRenderedSeries", "a representative instance of a series")
GET_RENDERED_INSTANCE = _rendered("getRenderedInstance", "the first frame of an instance")
GET_RENDERED_FRAMES = _rendered("getRenderedFrames", "frames")
GET_STUDY_THUMBNAIL = _thumbnail("getStudyThumbnail", "a study")
GET_SERIES_THUMBNAIL = _thumbnail("getSeriesThumbnail", "a series")
GET_INSTANCE_THUMBNAIL = _thumbnail("getInstanceThumbnail", "an instance")
GET_FRAME_THUMBNAIL = _thumbnail("getFrameThumbnail", "a frame")
