"""The field's own clients against a real service: its own process, its local database, a real socket."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator

import pydicom
import pytest
from pydicom.data import get_testdata_file

from tests.running_service import RunningService
from tests.web.dicomweb.patient import FILES, ORIGIN, Patient, content_of, numbered


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
