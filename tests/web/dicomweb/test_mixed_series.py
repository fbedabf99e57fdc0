"""Series of which not everything can be drawn: what can be is drawn, and no answer is cut (PS3.18 8.5.1, 10.4)."""

import io

import pydicom
import pytest
from PIL import Image

from tests.web.dicomweb.patient import content_of, numbered, video
from tests.web.dicomweb.retrieved import parts_of

# Some of the files have UIDs that pydicom warns of.
pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")

STUDY = "/studies/1.2.826.0.1.3680043.9.1.0"
SERIES = f"{STUDY}/series/1.2.826.0.1.3680043.9.2.1"
PARTS = {"Accept": 'multipart/related; type="image/png"'}


def half_broken(frames=2, broken=1):
    """An RLE object of which one frame, counted from 0, cannot be decoded."""
    dataset = pydicom.dcmread(io.BytesIO(content_of("SC_rgb_rle_2frame.dcm")))
    (whole, *_) = pydicom.encaps.generate_frames(dataset.PixelData, number_of_frames=2)
    kept = [b"\xff\xff\xff\xff" + bytes(70) if number == broken else whole for number in range(frames)]
    dataset.PixelData, dataset.NumberOfFrames = pydicom.encaps.encapsulate(kept), frames
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


def sizes(answer):
    return [Image.open(io.BytesIO(content)).size for _, content in parts_of(answer)]


@pytest.mark.parametrize("clips", [(2,), (1,), (1, 2), (1, 3)])
def test_a_series_with_a_video_in_it_is_shown_by_its_stills(patient, ct, clips):
    for number in (1, 2, 3):
        patient.upload(numbered(video() if number in clips else ct, 1, number))
    for there in (f"{SERIES}/thumbnail", f"{SERIES}/rendered", f"{STUDY}/thumbnail", f"{STUDY}/rendered"):
        answer = patient.get(there)
        assert answer.status_code == 200
        assert Image.open(io.BytesIO(answer.content)).size == (128, 128)
    for there in (SERIES, STUDY):
        answer = patient.get(f"{there}/rendered", headers=PARTS)
        assert answer.status_code == 206
        assert sizes(answer) == [(128, 128)] * (3 - len(clips))


def test_a_video_alone_has_no_picture(patient):
    patient.upload(numbered(video(), 1, 1))
    for there in (
        f"{SERIES}/thumbnail",
        f"{SERIES}/rendered",
        f"{SERIES}/instances/1.2.826.0.1.3680043.9.3.1.1/rendered",
    ):
        assert patient.get(there).status_code == 406
        assert patient.get(there, headers=PARTS).status_code == 406


@pytest.mark.parametrize("broken", [0, 1, 2])
def test_a_frame_that_cannot_be_decoded_is_left_out_and_the_rest_is_206(patient, ct, broken):
    patient.upload(numbered(half_broken(3, broken), 1, 1))
    patient.upload(numbered(ct, 1, 2))
    answer = patient.get(f"{SERIES}/rendered", headers=PARTS)
    assert answer.status_code == 206
    assert sizes(answer) == [(100, 100)] * 2 + [(128, 128)]
    instance = f"{SERIES}/instances/1.2.826.0.1.3680043.9.3.1.1"
    answer = patient.get(f"{instance}/rendered", headers=PARTS)
    assert (answer.status_code, len(sizes(answer))) == (206, 2)
    answer = patient.get(f"{instance}/frames/1,2,3/rendered", headers=PARTS)
    assert (answer.status_code, len(sizes(answer))) == (206, 2)
    assert patient.get(f"{instance}/thumbnail").status_code == 200
    assert patient.get(f"{instance}/frames/{broken + 1}/rendered").status_code == 406
    assert patient.get(f"{instance}/frames/{broken + 1}/rendered", headers=PARTS).status_code == 406


def test_a_series_whose_middle_cannot_be_decoded_is_shown_by_another_instance(patient, ct):
    patient.upload(numbered(half_broken(1, 0), 1, 1))
    patient.upload(numbered(half_broken(1, 0), 1, 2))
    patient.upload(numbered(ct, 1, 3))
    for there in (f"{SERIES}/thumbnail", f"{STUDY}/rendered"):
        answer = patient.get(there)
        assert (answer.status_code, Image.open(io.BytesIO(answer.content)).size) == (200, (128, 128))


def test_a_study_comes_as_the_pictures_of_all_its_series(library):
    study = "/studies/1.2.826.0.1.3680043.9.1.1"
    answer = library.get(f"{study}/rendered", headers=PARTS)
    assert (answer.status_code, sizes(answer)) == (200, [(128, 128)] * 6)
    assert Image.open(io.BytesIO(library.get(f"{study}/rendered?viewport=64,64").content)).size == (64, 64)
