"""The routes of DICOMweb (PS3.18), described."""

from __future__ import annotations

from typing import Any

from service.web.openapi.operation import BINARY, DICOM_JSON, Body, Operation, Response

DICOM_JSON_TYPE = "application/dicom+json"
FILES = 'multipart/related; type="application/dicom"'
OCTETS = 'multipart/related; type="application/octet-stream"'
JPEGS = 'multipart/related; type="image/jpeg"'
PNGS = 'multipart/related; type="image/png"'

STORE_RESPONSE: dict[str, Any] = {"$ref": "#/components/schemas/DicomJsonDataset"}
BOTH_JSON = {DICOM_JSON_TYPE: DICOM_JSON, "application/json": DICOM_JSON}
RENDERED_PARAMETERS = ("Accept", "Window", "Viewport", "Quality")
SAYS = {
    400: "A parameter cannot be used.",
    406: "None of the media types or transfer syntaxes that `Accept` names can be given; the sentence says which can.",
    422: "The path has no patient id, or the file's tags could not be extracted.",
}

_PLURALS = {"study": "studies", "series": "series", "instance": "instances"}


def _store(operation_id: str, summary: str) -> Operation:
    return Operation(
        operation_id,
        "STOW-RS",
        summary,
        {
            200: Response("Everything was stored.", {DICOM_JSON_TYPE: STORE_RESPONSE}),
            202: Response("Some of it was stored; the dataset says what was not.", {DICOM_JSON_TYPE: STORE_RESPONSE}),
            409: Response("Nothing was stored; the dataset says why.", {DICOM_JSON_TYPE: STORE_RESPONSE}),
        },
        frozenset({400, 406, 408, 413, 415}),
        "Each file is stored or refused for itself (PS3.18 10.5), while the body arrives. One may also come as it is.",
        body=Body(
            "DICOM files.",
            {
                "application/dicom": BINARY,
                FILES: BINARY,
            },
        ),
        says={**SAYS, 400: "A parameter cannot be used, or the body is not what its headers say."},
    )


def _search(operation_id: str, level: str, within: str) -> Operation:
    return Operation(
        operation_id,
        "QIDO-RS",
        f"Search for {_PLURALS[level]}{within}",
        {200: Response("A dataset for each; none is `[]`.", BOTH_JSON, ("Warning",))},
        frozenset({400, 406}),
        "PS3.18 10.6. A `Warning` says how many more there are.",
        parameters=(
            "Accept",
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
    if level == "instance":
        content["application/dicom"] = BINARY
    return Operation(
        operation_id,
        "WADO-RS",
        f"The files of a{'n' if level == 'instance' else ''} {level}",
        {200: Response("The files as they came.", content, ("Content-Disposition",))},
        frozenset({400, 404, 406}),
        parameters=("Accept",),
        says=SAYS,
    )


def _metadata(operation_id: str, level: str) -> Operation:
    return Operation(
        operation_id,
        "WADO-RS",
        f"The metadata of a{'n' if level == 'instance' else ''} {level}",
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
        f"{what}, rendered",
        {200: Response("The picture; as parts every frame of what the path names.", content, ("Content-Disposition",))},
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types is there, or there is no picture to give."},
    )


def _thumbnail(operation_id: str, what: str) -> Operation:
    return Operation(
        operation_id,
        "WADO-RS",
        f"A small picture of {what}",
        {200: Response("The picture.", {"image/jpeg": BINARY, "image/png": BINARY}, ("Content-Disposition",))},
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types is there, or there is no picture to give."},
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
GET_BULK_DATA = Operation(
    "getInstanceBulkData",
    "WADO-RS",
    "The bytes of a long value",
    {
        200: Response(
            "The bytes, little-endian.",
            {"application/octet-stream": BINARY, OCTETS: BINARY},
            ("Content-Disposition",),
        )
    },
    frozenset({400, 404, 406, 413}),
    parameters=("Accept",),
    says=SAYS,
)
GET_FRAMES = Operation(
    "getFrames",
    "WADO-RS",
    "Frames, as they are stored or decoded",
    {
        200: Response(
            "The frames, a part each; one also without. Compressed ones may come as their image type.",
            {OCTETS: BINARY, "application/octet-stream": BINARY, "image/*": BINARY},
        )
    },
    frozenset({400, 404, 406, 413}),
    "`transfer-syntax=1.2.840.10008.1.2.1` beside the type in `Accept` asks for decoded frames "
    "(PS3.18 8.7.3), `transfer-syntax=*` for those that are stored.",
    parameters=("Accept",),
    says=SAYS,
)
GET_RENDERED_SERIES = _rendered("getRenderedSeries", "An instance of the series")
GET_RENDERED_INSTANCE = _rendered("getRenderedInstance", "An instance's first frame")
GET_RENDERED_FRAMES = _rendered("getRenderedFrames", "Frames")
GET_STUDY_THUMBNAIL = _thumbnail("getStudyThumbnail", "a study")
GET_SERIES_THUMBNAIL = _thumbnail("getSeriesThumbnail", "a series")
GET_INSTANCE_THUMBNAIL = _thumbnail("getInstanceThumbnail", "an instance")
GET_FRAME_THUMBNAIL = _thumbnail("getFrameThumbnail", "a frame")
