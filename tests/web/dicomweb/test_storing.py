"""STOW-RS: every file of a request is stored or refused for itself."""

import json

import pydicom
import pytest

from tests.web.dicomweb.patient import FILES, Patient, content_of, numbered

# Some of the files have UIDs that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

STUDY = "1.2.826.0.1.3680043.9.1.0"


def body_of(*parts, kind="application/dicom", boundary="b0undary"):
    pieces = [f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n".encode() + content + b"\r\n" for content in parts]
    return b"".join(pieces) + f"--{boundary}--\r\n".encode()


def post(patient, body, study="", **headers):
    sent = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b0undary', **headers}
    return patient.session.post(f"{patient.root}/studies{study}", data=body, headers=sent, timeout=60)


def reasons(dataset, tag):
    return [item["00081197"]["Value"][0] for item in dataset.get(tag, {}).get("Value", [])]


def test_dicomweb_client_stores_instances_that_are_the_same_afterwards(patient):
    datasets = [pydicom.dcmread(pydicom.filebase.DicomBytesIO(content_of(name))) for name in FILES]
    answer = patient.client.store_instances(datasets)
    assert len(answer.ReferencedSOPSequence) == len(FILES)
    assert "FailedSOPSequence" not in answer
    for dataset, item in zip(datasets, answer.ReferencedSOPSequence, strict=True):
        assert item.ReferencedSOPInstanceUID == dataset.SOPInstanceUID
        assert item.ReferencedSOPClassUID == dataset.SOPClassUID
        stored = {"Accept": "application/dicom; transfer-syntax=*"}
        got = patient.session.get(item.RetrieveURL, headers=stored, timeout=30)
        assert pydicom.dcmread(pydicom.filebase.DicomBytesIO(got.content)) == dataset


def test_everything_stored_is_200_and_the_bytes_are_kept(patient, ct):
    files = [numbered(ct, 1, number) for number in range(1, 41)]  # more parts than a form may have
    answer = post(patient, body_of(*files))
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/dicom+json"
    dataset = answer.json()
    assert dataset["00081190"]["Value"] == [f"{patient.root}/studies/{STUDY}"]
    items = dataset["00081199"]["Value"]
    assert [item["00081155"]["Value"][0].rsplit(".", 1)[1] for item in items] == [str(n) for n in range(1, 41)]
    for item, content in list(zip(items, files, strict=True))[::13]:
        got = patient.session.get(item["00081190"]["Value"][0], headers={"Accept": "application/dicom"}, timeout=30)
        assert got.content == content
    assert len(patient.client.search_for_instances()) == 40
    assert post(patient, body_of(*files[:3])).status_code == 200  # again
    assert len(patient.client.search_for_instances()) == 40


def test_a_chunked_body_is_taken(patient, ct):
    body = body_of(numbered(ct, 1, 1), numbered(ct, 1, 2))
    answer = post(patient, (body[start : start + 1000] for start in range(0, len(body), 1000)))
    assert answer.status_code == 200
    assert len(answer.json()["00081199"]["Value"]) == 2


def test_some_stored_is_202_and_says_which_were_not(patient, ct):
    good, other = numbered(ct, 1, 1), numbered(ct, 100, 1)
    nameless = pydicom.dcmread(pydicom.filebase.DicomBytesIO(good))
    del nameless.SeriesInstanceUID
    target = pydicom.filebase.DicomBytesIO()
    nameless.save_as(target)
    answer = post(patient, body_of(b"no DICOM at all", good, other, target.getvalue()), f"/{STUDY}")
    assert answer.status_code == 202
    dataset = answer.json()
    assert [item["00081155"]["Value"][0] for item in dataset["00081199"]["Value"]] == ["1.2.826.0.1.3680043.9.3.1.1"]
    assert reasons(dataset, "00081198") == [0xA900, 0xC000]
    assert reasons(dataset, "0008119A") == [0xC000]
    assert len(patient.client.search_for_instances()) == 1
    status, _, listed = patient.service.request("GET", f"/patient/{patient.name}/dicom", patient=patient.name)
    assert status == 200
    assert listed.count(b'"dicom_id"') == 1  # what was refused is not kept


def test_nothing_stored_is_409(patient, ct):
    answer = post(patient, body_of(numbered(ct, 1, 1)), "/1.2.3")
    assert answer.status_code == 409
    assert answer.headers["Content-Type"] == "application/dicom+json"
    assert reasons(answer.json(), "00081198") == [0xA900]
    assert patient.client.search_for_studies() == []


def test_a_file_with_faults_is_stored_with_a_warning(patient, ct):
    answer = post(patient, body_of(ct[:-1000]))
    assert answer.status_code == 202
    (item,) = answer.json()["00081199"]["Value"]
    assert item["00081196"]["Value"] == [0xB007]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Content-Type": 'multipart/related; type="application/dicom+json"; boundary=b0undary'}, 415),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Accept": "application/pdf"}, 406),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
def test_what_is_no_such_request_is_refused(patient, ct, headers, status):
    assert post(patient, body_of(numbered(ct, 1, 1)), **headers).status_code == status
    assert patient.client.search_for_studies() == []


def test_a_body_that_is_cut_or_empty_is_a_bad_request(patient, ct):
    assert post(patient, body_of(numbered(ct, 1, 1))[:-2000]).status_code == 400
    assert post(patient, b"--b0undary--\r\n").status_code == 400


def names_of(patient):
    status, _, listed = patient.service.request("GET", f"/patient/{patient.name}/dicom", patient=patient.name)
    assert status == 200
    return [each["file_name"] for each in json.loads(listed)["instances"]]


@pytest.mark.parametrize(
    "end",
    [
        lambda body: body[:-2000],
        lambda body: body.removesuffix(b"--\r\n"),
        lambda body: body.removesuffix(b"\r\n--b0undary--\r\n"),
        lambda body: body.removesuffix(b"--\r\n") + b"\r\nnot a header",
        lambda body: body.removesuffix(b"--\r\n") + b"\r\nno header\r\n\r\n",
        lambda body: body.removesuffix(b"--\r\n") + b" and more text on this line\r\n",
    ],
    ids=["within a file", "last dashes", "last boundary", "within headers", "bad headers", "text behind a boundary"],
)
def test_a_body_that_is_cut_after_something_was_stored_is_202_and_says_so(patient, ct, end):
    body = end(body_of(numbered(ct, 1, 1), numbered(ct, 1, 2)))
    answer = post(patient, body)
    assert answer.status_code == 202
    assert answer.headers["Content-Type"] == "application/dicom+json"
    dataset = answer.json()
    stored = [item["00081155"]["Value"][0] for item in dataset["00081199"]["Value"]]
    assert reasons(dataset, "0008119A") == [0xC000]
    found = patient.client.search_for_instances()
    assert sorted(each["00080018"]["Value"][0] for each in found) == sorted(stored)
    assert stored[0] == "1.2.826.0.1.3680043.9.3.1.1"


def test_what_is_cut_before_anything_was_stored_is_400_and_nothing_is_kept(patient, ct):
    for body in (body_of(numbered(ct, 1, 1))[:-2000], body_of(b"no DICOM", numbered(ct, 1, 1))[:-3000]):
        assert post(patient, body).status_code == 400
        assert names_of(patient) == []


def test_a_file_that_comes_without_a_name_is_named_by_modality_series_and_instance(patient, ct):
    plan = numbered(content_of("rtplan.dcm"), 1, 3)
    odd = numbered(ct, 1, 4, Modality="C T/..")
    assert post(patient, body_of(numbered(ct, 1, 1), numbered(ct, 1, 12), plan, odd)).status_code == 200
    nameless = pydicom.dcmread(pydicom.filebase.DicomBytesIO(numbered(ct, 1, 5)))
    del nameless.InstanceNumber
    target = pydicom.filebase.DicomBytesIO()
    nameless.save_as(target)
    assert post(patient, target.getvalue(), **{"Content-Type": "application/dicom"}).status_code == 200
    assert sorted(names_of(patient)) == sorted(
        ["CT-1-1.dcm", "CT-1-12.dcm", "RTPLAN-1-3.dcm"]
        + [f"1.2.826.0.1.3680043.9.3.1.{number}.dcm" for number in (4, 5)]
    )


@pytest.mark.parametrize("length", [70, 73, 200])
def test_boundaries_of_up_to_200_characters_are_taken(patient, ct, length):
    boundary = "a-boundary-of-" + "x" * (length - 14)
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    answer = post(patient, body_of(numbered(ct, 1, 1), boundary=boundary), **{"Content-Type": kind})
    assert answer.status_code == 200
    refused = kind + "x" * (201 - length)
    assert post(patient, body_of(numbered(ct, 1, 1)), **{"Content-Type": refused}).status_code == 400


def test_media_types_may_be_quoted_or_not_and_have_parameters_and_capitals(patient, ct):
    body = body_of(numbered(ct, 1, 1), kind="Application/DICOM; transfer-syntax=1.2.840.10008.1.2.1")
    for kind in ("type=application/dicom; boundary=b0undary", 'boundary="b0undary"; Type="application/DICOM"'):
        assert post(patient, body, **{"Content-Type": f"Multipart/Related; {kind}"}).status_code == 200
    single = post(patient, numbered(ct, 1, 2), **{"Content-Type": "application/dicom"})
    assert single.status_code == 200
    assert len(patient.client.search_for_instances()) == 2


def test_links_are_secure_where_a_proxy_says_that_its_caller_is(patient, ct):
    body = body_of(numbered(ct, 1, 1))
    for sent, scheme in (("https", "https"), ("HTTPS, http", "https"), ("http", "http"), ("javascript", "http")):
        answer = post(patient, body, **{"X-Forwarded-Proto": sent})
        assert answer.json()["00081190"]["Value"] == [f"{scheme}{patient.root.removeprefix('http')}/studies/{STUDY}"]


def test_parts_of_another_type_fail_alone(patient, ct):
    mixed = body_of(b"{}", kind="application/dicom+json").removesuffix(b"--b0undary--\r\n") + body_of(
        numbered(ct, 1, 1)
    )
    answer = post(patient, mixed)
    assert answer.status_code == 202
    assert reasons(answer.json(), "0008119A") == [0xC000]


def test_one_patient_learns_nothing_of_another(patient, service, names, ct):
    other = Patient(service, next(names))
    assert post(patient, body_of(numbered(ct, 1, 1))).status_code == 200
    assert other.client.search_for_studies() == []
    assert other.get(f"/studies/{STUDY}").status_code == 404
    assert other.session.get(f"{patient.root}/studies", timeout=30).status_code == 401
    assert content_of("CT_small.dcm") == ct
