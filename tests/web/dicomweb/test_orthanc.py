"""Orthanc, unmodified, pushes studies by STOW-RS, finds them by QIDO-RS and pulls them back by WADO-RS."""

import io
import os

import numpy as np
import pydicom
import pytest

from tests.web.dicomweb.orthanc import PLUGIN, PROGRAM, RunningOrthanc
from tests.web.dicomweb.patient import Patient, content_of, numbered

pytestmark = [
    pytest.mark.skipif(
        not (PROGRAM and PLUGIN) and "REQUIRE_ORTHANC" not in os.environ,
        reason="Orthanc and its DICOMweb plugin are not installed (Debian: orthanc, orthanc-dicomweb)",
    ),
    pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning"),
]

STUDY = "1.2.826.0.1.3680043.9.1.0"
NAMES = ("CT_small.dcm", "MR_small_bigendian.dcm", "SC_rgb_rle.dcm", "JPEG2000.dcm", "rtplan.dcm")
FILES = [numbered(content_of(name), number, number, PatientID="O-1") for number, name in enumerate(NAMES, start=1)]


@pytest.fixture(scope="module")
def pushed(service, names, tmp_path_factory):
    """A patient whose files Orthanc pushed, and that Orthanc, which has forgotten them."""
    patient = Patient(service, next(names))
    orthanc = RunningOrthanc(
        tmp_path_factory.mktemp("orthanc"), patient.root, **{"access-token": service.token(patient.name)}
    )
    try:
        for content in FILES:
            orthanc.post("/instances", content)
        (study,) = orthanc.get("/studies").json()
        job = orthanc.post("/dicom-web/servers/store/stow", {"Resources": [study], "Synchronous": True})
        assert str(job["InstancesCount"]) == str(len(FILES))
        orthanc.delete_all()
        yield patient, orthanc
    finally:
        orthanc.stop()
    assert orthanc.process.poll() is not None


def test_what_it_pushes_is_stored_byte_for_byte(pushed):
    patient, _ = pushed
    assert len(patient.client.search_for_instances()) == len(FILES)
    for content in FILES:
        dataset = pydicom.dcmread(io.BytesIO(content))
        got = patient.client.retrieve_instance(
            STUDY, dataset.SeriesInstanceUID, dataset.SOPInstanceUID, media_types=(("application/dicom", "*"),)
        )
        assert got == dataset


def test_it_finds_what_it_pushed(pushed):
    _, orthanc = pushed
    found = orthanc.post("/dicom-web/servers/store/qido", {"Uri": "/studies", "Arguments": {"StudyInstanceUID": STUDY}})
    assert [each["0020000D"]["Value"] for each in found] == [STUDY]
    found = orthanc.post(
        "/dicom-web/servers/store/qido", {"Uri": f"/studies/{STUDY}/instances", "Arguments": {"Modality": "CT"}}
    )
    assert {each["00080060"]["Value"] for each in found} == {"CT"}
    assert (
        orthanc.post("/dicom-web/servers/store/qido", {"Uri": "/studies", "Arguments": {"PatientID": "nobody"}}) == []
    )


def test_it_pulls_the_study_back_and_every_pixel_is_what_it_was(pushed):
    _, orthanc = pushed
    orthanc.post("/dicom-web/servers/store/retrieve", {"Resources": [{"Study": STUDY}], "Synchronous": True})
    instances = orthanc.get("/instances").json()
    got = [pydicom.dcmread(io.BytesIO(orthanc.get(f"/instances/{each}/file").content)) for each in instances]
    assert len(got) == len(FILES)
    by_uid = {dataset.SOPInstanceUID: dataset for dataset in got}
    for content in FILES:
        dataset = pydicom.dcmread(io.BytesIO(content))
        back = by_uid[dataset.SOPInstanceUID]
        assert back.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID  # it asks for what is stored
        assert back.PatientID == dataset.PatientID
        if "PixelData" in dataset:
            assert np.array_equal(back.pixel_array, dataset.pixel_array)
