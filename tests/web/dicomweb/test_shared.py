"""What is shared is read by the field's clients as they are: the token of a share's session is all they need."""

from __future__ import annotations

import io
from typing import Any
from unittest.mock import patch

import numpy as np
import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from PIL import Image
from pydicom._uid_dict import UID_dictionary
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, VLWholeSlideMicroscopyImageStorage

from tests.web.dicomweb.patient import Patient, numbered

with patch.dict(UID_dictionary):  # it writes names of its own into pydicom's, which other tests read
    from wsidicom import WsiDicom, WsiDicomWebClient

FIRST, SECOND = "1.2.826.0.1.3680043.9.1.1", "1.2.826.0.1.3680043.9.1.2"
CT, PT = "1.2.826.0.1.3680043.9.2.100", "1.2.826.0.1.3680043.9.2.101"
SLIDE = "1.2.826.0.1.3680043.9.7.8"
TILE, TILES = 64, 3


def session_of(patient: Patient, **wanted: Any) -> requests.Session:
    """What asks by a share, as whoever has its link sets it up."""
    made = patient.session.post(
        f"{patient.service.url}/patient/{patient.name}/shares", json={"expires_in": 600, **wanted}, timeout=60
    )
    assert made.status_code == 201, made.text
    secret = made.json()["link"].rpartition("#")[2]
    opened = requests.post(f"{patient.service.url}/shares/session", json={"secret": secret}, timeout=60)
    assert opened.status_code == 200, opened.text
    session = requests.Session()
    session.trust_env = False
    session.headers["Authorization"] = f"Bearer {opened.json()['access_token']}"
    return session


@pytest.fixture
def own(patient: Patient, ct: bytes) -> Patient:
    """A patient with a CT and a PT series in one study, and another study."""
    for series, instance in ((100, 1), (100, 2), (101, 1), (200, 1)):
        modality = "PT" if series == 101 else "CT"
        patient.upload(numbered(ct, series, instance, Modality=modality, StudyDescription=f"Study {series // 100}"))
    return patient


@pytest.mark.parametrize(
    ("wanted", "seen"),
    [
        ({"studies": [FIRST]}, {CT: 2, PT: 1}),
        ({"series": [CT]}, {CT: 2}),
        ({"instances": [f"{CT.replace('.2.100', '.3.100')}.1"]}, {CT: 1}),
        ({"studies": [FIRST], "frozen": True}, {CT: 2, PT: 1}),
    ],
)
def test_dicomweb_client_finds_and_gets_what_a_share_shows_and_nothing_else(
    own: Patient, ct: bytes, wanted: dict[str, Any], seen: dict[str, int]
) -> None:
    client = DICOMwebClient(url=own.root, session=session_of(own, download=True, **wanted))
    (study,) = client.search_for_studies()
    assert study["0020000D"]["Value"] == [FIRST]
    assert study["00201208"]["Value"] == [sum(seen.values())]
    assert study["00201206"]["Value"] == [len(seen)]
    found = {each["0020000E"]["Value"][0]: each["00201209"]["Value"][0] for each in client.search_for_series(FIRST)}
    assert found == seen
    assert len(client.search_for_instances()) == sum(seen.values())
    assert client.search_for_studies(search_filters={"StudyDescription": "Study 2"}) == []
    for series, count in seen.items():
        got = client.retrieve_series(FIRST, series)
        assert len(got) == count
        for dataset in got:
            own_copy = own.client.retrieve_instance(FIRST, series, dataset.SOPInstanceUID)
            assert dataset == own_copy
            assert client.retrieve_instance(FIRST, series, dataset.SOPInstanceUID) == own_copy
            frames = client.retrieve_instance_frames(FIRST, series, dataset.SOPInstanceUID, [1])
            assert frames == own.client.retrieve_instance_frames(FIRST, series, dataset.SOPInstanceUID, [1])
            picture = client.retrieve_instance_rendered(
                FIRST, series, dataset.SOPInstanceUID, media_types=("image/png",)
            )
            assert Image.open(io.BytesIO(picture)).size == (dataset.Columns, dataset.Rows)
        metadata = client.retrieve_series_metadata(FIRST, series)
        assert len(metadata) == count
        assert b"".join(client.retrieve_bulkdata(metadata[0]["7FE00010"]["BulkDataURI"]))
    assert len(client.retrieve_study(FIRST)) == sum(seen.values())
    for refused in (
        lambda: client.retrieve_study(SECOND),
        lambda: client.retrieve_study_metadata(SECOND),
        lambda: client.store_instances([pydicom.dcmread(io.BytesIO(ct))]),
        lambda: client.delete_series(FIRST, CT),
    ):
        with pytest.raises(requests.HTTPError, match=r"40[34]"):
            refused()


def test_who_may_only_look_gets_frames_and_pictures_by_dicomweb_client_and_no_file(own: Patient) -> None:
    client = DICOMwebClient(url=own.root, session=session_of(own, studies=[FIRST]))
    instance = client.search_for_instances(FIRST, CT)[0]["00080018"]["Value"][0]
    assert client.retrieve_instance_frames(FIRST, CT, instance, [1])
    assert client.retrieve_instance_rendered(FIRST, CT, instance, media_types=("image/png",))
    assert len(client.retrieve_study_metadata(FIRST)) == 3
    for refused in (lambda: client.retrieve_instance(FIRST, CT, instance), lambda: client.retrieve_study(FIRST)):
        with pytest.raises(requests.HTTPError, match="403"):
            refused()


# --- whole slides ----------------------------------------------------------------------------------------------------


def slide() -> tuple[bytes, list[bytes]]:
    """A slide of three by three tiles in JPEG (PS3.3 A.32.8), each of its own colour, and its tiles."""
    tiles = []
    for number in range(TILES * TILES):
        pixels = np.zeros((TILE, TILE, 3), np.uint8)
        pixels[..., 0], pixels[..., 1], pixels[..., 2] = 25 * number, 255 - 25 * number, 128
        written = io.BytesIO()
        Image.fromarray(pixels).save(written, "JPEG", quality=95)
        tiles.append(written.getvalue())
    made = Dataset()
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = VLWholeSlideMicroscopyImageStorage
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = f"{SLIDE}.3"
    made.StudyInstanceUID, made.SeriesInstanceUID, made.FrameOfReferenceUID = f"{SLIDE}.1", f"{SLIDE}.2", f"{SLIDE}.4"
    made.DimensionOrganizationType = "TILED_FULL"
    organization = Dataset()
    organization.DimensionOrganizationUID = f"{SLIDE}.5"
    made.DimensionOrganizationSequence = [organization]
    made.Modality, made.ImageType = "SM", ["ORIGINAL", "PRIMARY", "VOLUME", "NONE"]
    made.PatientID, made.PatientName, made.StudyID = "1", "Slide^Whole", "1"
    made.SeriesNumber = made.InstanceNumber = 1
    made.ContentDate, made.ContentTime, made.AcquisitionDateTime = "20240115", "101530", "20240115101530"
    made.Rows = made.Columns = TILE
    made.TotalPixelMatrixRows = made.TotalPixelMatrixColumns = TILE * TILES
    made.ImagedVolumeWidth = made.ImagedVolumeHeight = 0.5 * TILE * TILES / 1000
    made.ImagedVolumeDepth = 0.001
    made.NumberOfFrames, made.TotalPixelMatrixFocalPlanes, made.NumberOfOpticalPaths = TILES * TILES, 1, 1
    made.FocusMethod, made.ExtendedDepthOfField, made.SpecimenLabelInImage = "AUTO", "NO", "NO"
    made.VolumetricProperties, made.BurnedInAnnotation, made.LossyImageCompression = "VOLUME", "NO", "01"
    made.ContainerIdentifier = "slide"
    made.ImageOrientationSlide = [0, -1, 0, -1, 0, 0]
    origin = Dataset()
    origin.XOffsetInSlideCoordinateSystem = origin.YOffsetInSlideCoordinateSystem = 0
    made.TotalPixelMatrixOriginSequence = [origin]
    path = Dataset()
    path.OpticalPathIdentifier = "0"
    made.OpticalPathSequence = [path]
    measures, shared = Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [0.0005, 0.0005], 0.001
    shared.PixelMeasuresSequence = [measures]
    made.SharedFunctionalGroupsSequence = [shared]
    made.SamplesPerPixel, made.PhotometricInterpretation, made.PlanarConfiguration = 3, "YBR_FULL_422", 0
    made.BitsAllocated = made.BitsStored = 8
    made.HighBit, made.PixelRepresentation = 7, 0
    made.PixelData = encapsulate(tiles)
    written = io.BytesIO()
    made.save_as(written, enforce_file_format=True)
    return written.getvalue(), tiles


@pytest.mark.filterwarnings("ignore:No bulk data URI handler:UserWarning")  # of pydicom, which reads the metadata
@pytest.mark.parametrize("download", [True, False])
def test_wsidicom_reads_a_slide_that_is_shared(patient: Patient, ct: bytes, download: bool) -> None:
    content, tiles = slide()
    patient.upload(content)
    patient.upload(ct)
    shared = session_of(patient, studies=[f"{SLIDE}.1"], download=download)
    client = WsiDicomWebClient(DICOMwebClient(url=patient.root, session=shared))
    with WsiDicom.open_web(client, UID(f"{SLIDE}.1"), UID(f"{SLIDE}.2")) as read:
        assert read.size.to_tuple() == (TILE * TILES, TILE * TILES)
        for number, tile in enumerate(tiles):
            at = (number % TILES, number // TILES)
            assert bytes(read.read_encoded_tile(0, at)) in {tile, tile + b"\0"}  # an item has an even length
            assert np.array_equal(np.asarray(read.read_tile(0, at)), np.asarray(Image.open(io.BytesIO(tile))))
        region = np.asarray(read.read_region((TILE - 8, 0), 0, (16, 8)))  # half of it in the first tile
        whole = [np.asarray(Image.open(io.BytesIO(tile)))[:8, :8] for tile in tiles[:2]]
        assert np.array_equal(region, np.concatenate(whole, axis=1))
