"""Which form an answer has: `Accept`, `accept`, their q values and parameters (PS3.18 8.3.3.1, 8.7)."""

import io
from urllib.parse import quote

import pydicom
import pytest
from PIL import Image

from tests.web.dicomweb.patient import content_of, numbered
from tests.web.dicomweb.retrieved import parts_of, path

# Some of the files have UIDs that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

OCTETS = "application/octet-stream"
EXPLICIT = "1.2.840.10008.1.2.1"


def kind_of(answer):
    """The media type, and that of the parts where there are some."""
    assert answer.status_code == 200, answer.text
    kind = answer.headers["Content-Type"].partition(";")[0]
    return [kind, *(headers["Content-Type"] for headers, _ in parts_of(answer))] if "multipart" in kind else [kind]


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("image/*", "image/jpeg"),
        ("image/png, image/jpeg", "image/png"),
        ("image/jpeg;q=0.2, image/png;q=0.3", "image/png"),
        ("image/jpeg;q=0, image/*", "image/png"),
        ("*/*, image/jpeg;q=0", "image/png"),
        ("image/gif, */*;q=0.1", "image/jpeg"),
        ("image/avif,image/webp,image/apng,image/*,*/*;q=0.8", "image/jpeg"),
        ("IMAGE/PNG", "image/png"),
        ("text/html, image/png; q=0.001", "image/png"),
    ],
)
def test_the_form_that_is_liked_best_is_given(stored, accept, expected):
    there = f"{path(stored.datasets['CT_small.dcm'])}/rendered"
    assert kind_of(stored.get(there, headers={"Accept": accept})) == [expected]


@pytest.mark.parametrize("accept", ["image/png;q=0, image/jpeg;q=0, image/*", "*/*;q=0", "image/gif"])
def test_what_is_not_liked_is_not_given(stored, accept):
    refused = stored.get(f"{path(stored.datasets['CT_small.dcm'])}/rendered", headers={"Accept": accept})
    assert refused.status_code == 406
    assert "image/jpeg, image/png" in refused.json()["detail"]
    assert refused.headers["Content-Type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("below", "accept", "expected"),
    [
        ("", "application/dicom", ["application/dicom"]),
        ("", 'multipart/related; type="application/dicom"; transfer-syntax=*', None),
        ("", "multipart/related;type=application/dicom;transfer-syntax=*", None),
        ("", "application/zip", ["application/zip"]),
        ("/metadata", "application/dicom+json", ["application/dicom+json"]),
        ("/metadata", "application/json", ["application/json"]),
        ("/rendered", "image/png", ["image/png"]),
        ("/frames/1", OCTETS, [OCTETS]),
    ],
)
def test_the_accept_parameter_stands_for_the_header(stored, below, accept, expected):
    there = f"{path(stored.datasets['CT_small.dcm'])}{below}"
    expected = expected or ["multipart/related", f"application/dicom; transfer-syntax={EXPLICIT}"]
    for query in (quote(accept), accept.replace(" ", "%20").replace('"', "%22")):  # escaped, and as little as can be
        assert kind_of(stored.get(f"{there}?accept={query}", headers={"Accept": "*/*"})) == expected


@pytest.mark.parametrize(
    ("accept", "kind", "decoded"),
    [
        (f'multipart/related; type="{OCTETS}"; transfer-syntax="*"', OCTETS, False),
        (f'multipart/related; type="{OCTETS}"', OCTETS, True),  # Explicit VR Little Endian, where none is named
        (f"multipart/related; type={OCTETS}; transfer-syntax={EXPLICIT}", OCTETS, True),
        (f"multipart/related; type={OCTETS}; transfer-syntax=1.2.840.10008.1.2.5", OCTETS, False),
        (f'multipart/related; type="image/jp2", multipart/related; type="{OCTETS}"; transfer-syntax=*', OCTETS, False),
        ('multipart/related; type="image/dicom-rle"', "image/dicom-rle", False),
        (f'multipart/related; type="image/dicom-rle"; q=0.5, multipart/related; type="{OCTETS}"', OCTETS, True),
        ("multipart/related", OCTETS, False),
        ("multipart/*", OCTETS, False),
    ],
)
def test_frames_come_in_the_transfer_syntax_that_is_asked_for(stored, accept, kind, decoded):
    dataset = stored.datasets["SC_rgb_rle_2frame.dcm"]
    syntax = EXPLICIT if decoded else dataset.file_meta.TransferSyntaxUID
    answer = stored.get(f"{path(dataset)}/frames/1,2", headers={"Accept": accept})
    assert kind_of(answer) == ["multipart/related"] + [f"{kind}; transfer-syntax={syntax}"] * 2
    if decoded:
        assert b"".join(content for _, content in parts_of(answer)) == dataset.pixel_array.tobytes()


def test_one_picture_comes_in_a_part_where_that_is_asked_for(stored):
    multipart = {"Accept": 'multipart/related; type="image/png"'}
    for name, below, count in (
        ("CT_small.dcm", "/rendered", 1),
        ("CT_small.dcm", "/frames/1/rendered", 1),
        ("SC_rgb_rle_2frame.dcm", "/rendered", 2),  # every frame of an instance
        ("rtdose_rle.dcm", "/rendered", 15),
    ):
        there = f"{path(stored.datasets[name])}{below}"
        assert kind_of(stored.get(there, headers=multipart)) == ["multipart/related"] + ["image/png"] * count
        assert kind_of(stored.get(there, headers={"Accept": "image/png"})) == ["image/png"]
    refused = stored.get(f"{path(stored.datasets['rtplan.dcm'])}/rendered", headers=multipart)
    assert refused.status_code == 406


def test_a_series_comes_as_the_pictures_of_its_instances(library):
    series = "/studies/1.2.826.0.1.3680043.9.1.1/series/1.2.826.0.1.3680043.9.2.100"
    answer = library.get(f"{series}/rendered?viewport=32,32", headers={"Accept": 'multipart/related; type="image/png"'})
    pictures = [Image.open(io.BytesIO(content)) for _, content in parts_of(answer)]
    assert [picture.size for picture in pictures] == [(32, 32)] * 3


def test_more_pictures_than_one_request_may_have_are_refused(stored, patient):
    dose = path(stored.datasets["rtdose_rle.dcm"])
    multipart = {"Accept": 'multipart/related; type="image/png"'}
    assert stored.get(f"{dose}/frames/{','.join(['1'] * 101)}/rendered", headers=multipart).status_code == 400
    assert stored.get(f"{dose}/frames/1,16/rendered", headers=multipart).status_code == 404
    many = pydicom.dcmread(io.BytesIO(content_of("rtdose.dcm")))
    many.PixelData, many.NumberOfFrames = many.PixelData * 7, 105
    target = io.BytesIO()
    many.save_as(target)
    patient.upload(target.getvalue())
    assert patient.get(f"{path(many)}/rendered", headers=multipart).status_code == 413


def test_an_instance_with_pixels_stands_for_a_series(patient, ct):
    patient.upload(numbered(ct, 1, 1))
    for number in (2, 3, 4):  # no pixels
        patient.upload(numbered(content_of("rtplan.dcm"), 1, number))
    series = "/studies/1.2.826.0.1.3680043.9.1.0/series/1.2.826.0.1.3680043.9.2.1"
    for there in (f"{series}/rendered", f"{series}/thumbnail", "/studies/1.2.826.0.1.3680043.9.1.0/thumbnail"):
        assert Image.open(io.BytesIO(patient.get(there).content)).size == (128, 128)
    answer = patient.get(f"{series}/rendered", headers={"Accept": 'multipart/related; type="image/jpeg"'})
    assert kind_of(answer) == ["multipart/related", "image/jpeg"]
