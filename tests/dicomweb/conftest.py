"""The field's own clients against a real service: its own process, its local database, a real socket."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.data import get_testdata_file

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


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    folder = tmp_path_factory.mktemp("dicomweb") / "data"
    folder.mkdir()
    os.environ.pop("http_proxy", None)
    with RunningService(folder, CORS_ORIGINS=ORIGIN, POOL_PROCESSES="1") as running:
        yield running


@pytest.fixture(scope="session")
def names() -> Iterator[str]:
    return (f"d-{number}" for number in itertools.count())


@pytest.fixture
def patient(service: RunningService, names: Iterator[str]) -> Patient:
    """A patient whom no other test knows."""
    return Patient(service, next(names))


@pytest.fixture(scope="session")
def ct() -> bytes:
    return content_of("CT_small.dcm")


@pytest.fixture(scope="session")
def stored(service: RunningService, names: Iterator[str]) -> Patient:
    """A patient who has files of many kinds, stored by dicomweb-client; nobody changes them."""
    patient = Patient(service, next(names))
    patient.files = {name: content_of(name) for name in FILES}
    patient.datasets = {name: pydicom.dcmread(str(get_testdata_file(name, download=False))) for name in FILES}
    for content in patient.files.values():
        patient.upload(content)
    return patient


@pytest.fixture(scope="session")
def library(service: RunningService, names: Iterator[str], ct: bytes) -> Patient:
    """A patient with two studies, of two series each, of three instances each."""
    patient = Patient(service, next(names))
    for series, instance in itertools.product((100, 101, 200, 201), (1, 2, 3)):
        patient.upload(
            numbered(
                ct,
                series,
                instance,
                StudyDate="20240115" if series < 200 else "20240320",
                StudyTime="101530" if series < 200 else "220000",
                AccessionNumber=f"A{series // 100}",
                PatientName="Müller^Änne" if series < 200 else "Miller^Anna",
                SpecificCharacterSet="ISO_IR 192",
                Modality="CT" if series % 2 == 0 else "PT",
                SeriesDescription=f"Series {series}",
                StudyDescription="" if series < 200 else "Thorax",
            )
        )
    return patient
