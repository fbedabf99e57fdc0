"""A patient at a real service, as the field's own clients see one, and files to store there."""

from __future__ import annotations

from pathlib import Path

import pydicom
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file
from pydicom.encaps import encapsulate

from tests.running_service import RunningService

FILES = (
    "CT_small.dcm",
    "SC_rgb_rle_2frame.dcm",
    "MR_small_bigendian.dcm",
    "JPEG2000.dcm",
    "rtdose_rle.dcm",
    "examples_palette.dcm",
    "rtplan.dcm",
    "waveform_ecg.dcm",
)
STREAM = b"\0\0\0\x18ftypmp42" + bytes(range(100))
ORIGIN = "https://viewer.example"


def content_of(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


class Patient:
    """One patient at the service, by name, with a session and a client of dicomweb-client."""

    def __init__(self, service: RunningService, name: str) -> None:
        self.service, self.name = service, name
        self.root = f"{service.url}/patient/{name}/dicomweb"
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["access-token"] = service.token(name)
        self.client = DICOMwebClient(url=self.root, session=self.session)

    def get(self, path: str, **options) -> requests.Response:
        return self.session.get(f"{self.root}{path}", timeout=60, **options)

    def upload(self, content: bytes) -> str:
        return self.service.upload(content, self.name)


def numbered(content: bytes, series: int, instance: int, **values) -> bytes:
    """Give a file with the UIDs of its own that these numbers make."""
    dataset = pydicom.dcmread(pydicom.filebase.DicomBytesIO(content))
    dataset.StudyInstanceUID = f"1.2.826.0.1.3680043.9.1.{series // 100}"
    dataset.SeriesInstanceUID = f"1.2.826.0.1.3680043.9.2.{series}"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = (
        f"1.2.826.0.1.3680043.9.3.{series}.{instance}"
    )
    dataset.SeriesNumber, dataset.InstanceNumber = series, instance
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    target = pydicom.filebase.DicomBytesIO()
    dataset.save_as(target)
    return target.getvalue()


def video() -> bytes:
    """A clip of MPEG-4 AVC in two fragments; what is in the stream does not matter here."""
    clip = pydicom.dcmread(str(get_testdata_file("SC_rgb_rle_2frame.dcm", download=False)))
    clip.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.4.102"
    clip.PixelData = encapsulate([STREAM[:40], STREAM[40:]], has_bot=False)
    clip.NumberOfFrames = 25
    target = pydicom.filebase.DicomBytesIO()
    clip.save_as(target)
    return target.getvalue()
