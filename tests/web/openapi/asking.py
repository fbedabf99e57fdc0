"""Questions that schemathesis makes of the document, with the names of files that are there in them."""

import copy
import io
import json
import zipfile
from collections import defaultdict
from pathlib import Path

import schemathesis
from hypothesis import strategies as st
from pydicom import dcmread
from pydicom.data import get_testdata_file
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import negative_data_rejection
from schemathesis.transport.serialization import Binary

from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.routes import all_routes

PATIENT = "p-1"
STUDY, SERIES = "1.2.826.0.1.3680043.8.498.1", "1.2.826.0.1.3680043.8.498.2"
FILES = ("CT_small.dcm", "examples_palette.dcm", "JPEG2000.dcm", "reportsi.dcm")
SPARE = "MR_small.dcm"
SHARE, SECRET = "00000000-0000-4000-8000-00000000000a", "the-secret-of-the-share"
INBOX = "the inbox"
SHARES, SESSIONS = "/patient/{patient_id}/shares", "/shares/session"

TAGS = [
    "00080060",
    "0008,0060",
    "(0010,0010)",
    "PatientName",
    "7FE00010",
    "GEMS_IDEN_01:0009xx01",
    "OtherPatientIDsSequence",
    "OtherPatientIDsSequence[0].PatientID",
    "ContentSequence[0].ConceptNameCodeSequence[0].CodeMeaning",
    "OtherPatientIDsSequence[7].PatientID",
    "NoSuchKeyword",
]
CONDITIONS = [
    {"Modality": "CT", "PatientName": "*"},
    {"00080060": "C*", "StudyDate": "20040101-", "SliceThickness": "..10"},
    {"PatientName": "Comp*", "StudyDate": "-20041231", "OtherPatientIDsSequence.PatientID": "ABCD1234"},
    {"PatientName": "comp", "GEMS_IDEN_01:0009xx01": "GE_GENESIS_FF", "Modality": "!!"},
    {"Modality": "CT\\US", "SOPInstanceUID": "1.2,1.3"},
    {"Modality": "!", "InstanceNumber": "1"},
    {"SliceThickness": "5", "StudyID": '""'},
    {"SliceThickness": "a..b"},
    {"StudyDate": "20049999", "StudyTime": "-"},
]


def read_file(name):
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def of_one_series(name):
    """A file of pydicom's own, put into the series that all of them have here."""
    dataset = dcmread(get_testdata_file(name, download=False))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, SERIES
    written = io.BytesIO()
    dataset.save_as(written)
    return written.getvalue(), str(dataset.SOPInstanceUID)


STORED = [of_one_series(name) for name in FILES]
PLACEHOLDERS = [f"00000000-0000-5000-8000-00000000000{number}" for number in range(len(STORED))]


CT = read_file("CT_small.dcm")
BOUNDARY = "a-boundary"


def multipart(files):
    parts = [b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (BOUNDARY.encode(), file) for file in files]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


def zipped(files):
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for number, file in enumerate(files):
            archive.writestr(f"{number}.dcm", file)
    return made.getvalue()


OF_SERIES = of_one_series("CT_small.dcm")[0]
files = st.one_of(st.just(OF_SERIES), st.just(CT), st.just(OF_SERIES[:5000]), st.binary(max_size=300))
schemathesis.openapi.media_type("application/dicom", files)
schemathesis.openapi.media_type("application/zip", st.lists(files, max_size=3).map(zipped) | st.binary(max_size=300))
schemathesis.openapi.format("binary", files.map(Binary))  # the file of a form
schemathesis.openapi.media_type(
    'multipart/related; type="application/dicom"',
    st.one_of(st.lists(files, max_size=3).map(multipart), st.binary(max_size=300)),
)


def half(schema, values):
    """One of these values, or anything that the schema has."""
    return {"anyOf": [{"enum": values}, schema]}


def with_real_names(*, wild):
    """The document with parameters that name what is there: half of the time, or wherever a request is allowed."""
    pinned = create_document(all_routes(Settings(dev_mode=True)))
    parameters = pinned["components"]["parameters"]
    real = {
        "dicom_id": PLACEHOLDERS,
        "share_id": [SHARE],
        "tag": TAGS,
        "path": ["7FE00010", "PixelData", "00080060", "(7FE0,0010)", "WaveformSequence[0].WaveformData"],
        "study": [STUDY],
        "series": [SERIES],
        "instance": [uid for _, uid in STORED],
        "frames": ["1", "1,2", "2", "2,1,30"],
        "IncludeField": ["all", "StudyDescription", "00081030,PatientAge", "OtherPatientIDsSequence"],
        "Accept": [
            "*/*",
            "image/png",
            "image/jpeg",
            "application/json",
            "application/dicom",
            "application/zip",
            "application/dicom+json",
            "application/octet-stream; transfer-syntax=*",
            'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1',
            "multipart/related; type=application/dicom; transfer-syntax=*",
            "text/html;q=0.5, */*;q=0",
        ],
        "ContentTypeAsked": ["application/dicom", "image/png", "application/dicom; charset=utf-8", "text/plain"],
        "Range": ["bytes=0-131", "bytes=-5", "bytes=999999999-", "bytes=5-2"],
        "IfNoneMatch": ["*"],
        "SearchConditions": CONDITIONS,
        "QidoConditions": CONDITIONS,
        "Prefer": ["respond-async", "return=minimal"],
    }
    for name, values in real.items():
        others = wild or not name.islower()
        parameters[name]["schema"] = half(parameters[name]["schema"], values) if others else {"enum": values}
        parameters[name].pop("example", None)
    for parameter in pinned["paths"]["/patient/{patient_id}/dicom"]["post"]["parameters"]:
        if parameter.get("name") == "expect_patient_id":
            parameter["schema"] = half(parameter["schema"], ["1CT1"])
    for path, body in ((SHARES, {"studies": [STUDY], "expires_in": 600}), (SESSIONS, {"secret": SECRET})):
        pinned["paths"][path]["post"]["requestBody"]["content"]["application/json"]["example"] = body
    # Every patient has a token; the others are asked by one patient, whose token it is.
    any_patient = copy.deepcopy(parameters["patient_id"])
    pinned["paths"]["/patient/{patient_id}/token"]["get"]["parameters"] = [any_patient]
    parameters["patient_id"] |= {"schema": {"const": PATIENT}, "example": PATIENT}
    return pinned


REFUSALS = [400, 401, 403, 404, 405, 406, 409, 413, 414, 415, 422, 428, 429, 503]
"""What refuses a request that the document does not allow."""


def load(max_examples, *, wild):
    config = SchemathesisConfig.from_dict(
        {
            "generation": {
                "max-examples": max_examples,
                "deterministic": max_examples < 50,
                "database": "none",
                "with-security-parameters": False,
            },
            "phases": {"coverage": {"enabled": wild}},
            # No schema can say which bytes are a DICOM file, which words are tags, which values a VR has.
            "checks": {
                "positive_data_acceptance": {"enabled": False},
                "negative_data_rejection": {"expected-statuses": REFUSALS},
            },
        }
    )
    return schemathesis.openapi.from_dict(with_real_names(wild=wild), config=config)


STATUSES = defaultdict(set)
"""What each operation has answered, by method and path."""


def make_share(service, **shared):
    """Make a share of the study, or of what is said, and give its id and its secret."""
    body = json.dumps({"expires_in": 600, **(shared or {"studies": [STUDY]})})
    status, _, body = service.request("POST", f"/patient/{PATIENT}/shares", body, content_type="application/json")
    assert status == 201, body
    made = json.loads(body)
    return made["share_id"], made["link"].rpartition("#")[2]


def ask(case, service, stored):
    """Ask what schemathesis has made, and hold the answer to all of its checks."""
    named = case.path_parameters.get("dicom_id")
    if isinstance(named, str) and named in stored:
        case.path_parameters["dicom_id"] = (
            service.upload(read_file(SPARE), PATIENT) if case.method == "DELETE" else stored[named]
        )
    if case.method == "DELETE" and case.path_parameters.get("study") == STUDY:  # others ask for that one
        service.upload(read_file(SPARE), PATIENT)
        spare = dcmread(io.BytesIO(read_file(SPARE)))
        case.path_parameters["study"] = str(spare.StudyInstanceUID)
        if case.path_parameters.get("series") == SERIES:
            case.path_parameters["series"] = str(spare.SeriesInstanceUID)
    if case.path_parameters.get("share_id") == SHARE:
        if case.path.endswith("/accept"):
            case.path_parameters["share_id"] = stored[INBOX]
        elif case.method == "DELETE":
            case.path_parameters["share_id"] = make_share(service)[0]
        else:
            case.path_parameters["share_id"] = stored[SHARE]
    if case.path == SESSIONS and case.body == {"secret": SECRET}:
        case.body = {"secret": stored[SECRET]}
    headers = {"access-token": service.token(PATIENT)}
    if str(case.media_type).startswith("multipart/related"):
        headers["Content-Type"] = f"{case.media_type}; boundary={BOUNDARY}"
    # A search below a study takes any text as its UID, and finds nothing: there is no wrong one to refuse.
    below_study = case.method == "GET" and "{study}" in case.path and case.path.endswith(("/series", "/instances"))
    excluded = [negative_data_rejection] if below_study else []
    answer = case.call_and_validate(base_url=service.url, headers=headers, excluded_checks=excluded)
    STATUSES[f"{case.method} {case.path}"].add(answer.status_code)
