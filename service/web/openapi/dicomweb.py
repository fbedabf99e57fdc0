"""The routes of DICOMweb (PS3.18), described."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from service.web.openapi.operation import BINARY, DICOM_JSON, Body, Operation, Response

ROOT = "/patient/{patient_id}/dicomweb"
STUDY = f"{ROOT}/studies/{{study}}"
SERIES = f"{STUDY}/series/{{series}}"
INSTANCE = f"{SERIES}/instances/{{instance}}"
FRAMES = f"{INSTANCE}/frames/{{frames}}"

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


def _store(operation_id: str, path: str, summary: str) -> tuple[tuple[str, str], Operation]:
    return ("POST", path), Operation(
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


def _search(operation_id: str, path: str, level: str, within: str) -> tuple[tuple[str, str], Operation]:
    return ("GET", path), Operation(
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


def _retrieve(operation_id: str, path: str, level: str) -> tuple[tuple[str, str], Operation]:
    content = {FILES: BINARY, "application/zip": BINARY}
    if level == "instance":
        content["application/dicom"] = BINARY
    return ("GET", path), Operation(
        operation_id,
        "WADO-RS",
        f"The files of a{'n' if level == 'instance' else ''} {level}",
        {200: Response("The files as they came.", content, ("Content-Disposition",))},
        frozenset({400, 404, 406}),
        parameters=("Accept",),
        says=SAYS,
    )


def _metadata(operation_id: str, path: str, level: str) -> tuple[tuple[str, str], Operation]:
    return ("GET", path), Operation(
        operation_id,
        "WADO-RS",
        f"The metadata of a{'n' if level == 'instance' else ''} {level}",
        {200: Response("The datasets without bulk data.", BOTH_JSON, ("Content-Encoding",))},
        frozenset({400, 404, 406, 413}),
        parameters=("Accept", "AcceptEncoding"),
        says=SAYS,
    )


def _rendered(operation_id: str, path: str, what: str) -> tuple[tuple[str, str], Operation]:
    content = {"image/jpeg": BINARY, "image/png": BINARY, JPEGS: BINARY, PNGS: BINARY}
    return ("GET", path), Operation(
        operation_id,
        "WADO-RS",
        f"{what}, rendered",
        {200: Response("The picture; as parts every frame of what the path names.", content, ("Content-Disposition",))},
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types is there, or there is no picture to give."},
    )


def _thumbnail(operation_id: str, path: str, what: str) -> tuple[tuple[str, str], Operation]:
    return ("GET", path), Operation(
        operation_id,
        "WADO-RS",
        f"A small picture of {what}",
        {200: Response("The picture.", {"image/jpeg": BINARY, "image/png": BINARY}, ("Content-Disposition",))},
        frozenset({400, 404, 406, 413}),
        parameters=RENDERED_PARAMETERS,
        says={**SAYS, 406: "None of the media types is there, or there is no picture to give."},
    )


OPERATIONS: Mapping[tuple[str, str], Operation] = dict(
    (
        _store("storeInstances", f"{ROOT}/studies", "Store files"),
        _store("storeInstancesOfStudy", STUDY, "Store files of a study"),
        _search("searchStudies", f"{ROOT}/studies", "study", ""),
        _search("searchSeries", f"{ROOT}/series", "series", ""),
        _search("searchInstances", f"{ROOT}/instances", "instance", ""),
        _search("searchSeriesOfStudy", f"{STUDY}/series", "series", " of a study"),
        _search("searchInstancesOfStudy", f"{STUDY}/instances", "instance", " of a study"),
        _search("searchInstancesOfSeries", f"{SERIES}/instances", "instance", " of a series"),
        _retrieve("retrieveStudy", STUDY, "study"),
        _retrieve("retrieveSeries", SERIES, "series"),
        _retrieve("retrieveInstance", INSTANCE, "instance"),
        _metadata("getStudyMetadata", f"{STUDY}/metadata", "study"),
        _metadata("getSeriesMetadata", f"{SERIES}/metadata", "series"),
        _metadata("getInstanceMetadata", f"{INSTANCE}/metadata", "instance"),
        (
            ("GET", f"{INSTANCE}/bulkdata/{{path}}"),
            Operation(
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
            ),
        ),
        (
            ("GET", FRAMES),
            Operation(
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
            ),
        ),
        _rendered("getRenderedSeries", f"{SERIES}/rendered", "An instance of the series"),
        _rendered("getRenderedInstance", f"{INSTANCE}/rendered", "An instance's first frame"),
        _rendered("getRenderedFrames", f"{FRAMES}/rendered", "Frames"),
        _thumbnail("getStudyThumbnail", f"{STUDY}/thumbnail", "a study"),
        _thumbnail("getSeriesThumbnail", f"{SERIES}/thumbnail", "a series"),
        _thumbnail("getInstanceThumbnail", f"{INSTANCE}/thumbnail", "an instance"),
        _thumbnail("getFrameThumbnail", f"{FRAMES}/thumbnail", "a frame"),
    )
)
"""By method and path, as the routes have them."""
