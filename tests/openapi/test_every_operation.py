"""schemathesis asks every operation what its document allows, and what it does not, of a real service."""

import pytest
import schemathesis
from hypothesis import strategies as st
from schemathesis.specs.openapi.checks import negative_data_rejection

from tests.openapi.conftest import PATIENT, SPARE, load, of_one_series, read_file

CT = read_file("CT_small.dcm")
BOUNDARY = "a-boundary"


def multipart(files):
    parts = [b"--%s\r\nContent-Type: application/dicom\r\n\r\n%s\r\n" % (BOUNDARY.encode(), file) for file in files]
    return b"".join(parts) + b"--%s--\r\n" % BOUNDARY.encode()


files = st.one_of(st.just(CT), st.just(of_one_series("CT_small.dcm")[0]), st.just(CT[:5000]), st.binary(max_size=300))
schemathesis.openapi.media_type("application/dicom", files)
schemathesis.openapi.media_type(
    'multipart/related; type="application/dicom"',
    st.one_of(st.lists(files, max_size=3).map(multipart), st.binary(max_size=300)),
)


SHORT = load(12, wild=False)
LONG = load(200, wild=True)


def ask(case, service, stored):
    named = case.path_parameters.get("dicom_id")
    if isinstance(named, str) and named in stored:
        case.path_parameters["dicom_id"] = (
            service.upload(read_file(SPARE), PATIENT) if case.method == "DELETE" else stored[named]
        )
    headers = {"access-token": service.token(PATIENT)}
    if str(case.media_type).startswith("multipart/related"):
        headers["Content-Type"] = f"{case.media_type}; boundary={BOUNDARY}"
    # A search below a study takes any text as its UID, and finds nothing: there is no wrong one to refuse.
    below_study = case.method == "GET" and "{study}" in case.path and case.path.endswith(("/series", "/instances"))
    excluded = [negative_data_rejection] if below_study else []
    case.call_and_validate(base_url=service.url, headers=headers, excluded_checks=excluded)


@SHORT.parametrize()
def test_no_answer_is_outside_its_description(case, service, stored):
    ask(case, service, stored)


@pytest.mark.long
@LONG.parametrize()
def test_no_answer_is_outside_its_description_however_it_is_asked(case, service, stored):
    ask(case, service, stored)
