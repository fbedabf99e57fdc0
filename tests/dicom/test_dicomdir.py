"""A DICOMDIR that others read: DCMTK, pydicom and dicom3tools."""

from __future__ import annotations

import io
import shutil
import subprocess
import warnings
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileInstance, FileSet

from service.dicom.dicomdir import DIRECTORY_CLASS, Directory, record_type
from service.dicom.extract import extract
from service.dicom.limits import Limits

FILES = (
    "CT_small.dcm",
    "MR_small.dcm",
    "test-SR.dcm",
    "rtplan.dcm",
    "rtdose.dcm",
    "examples_palette.dcm",
    "JPEG2000.dcm",
)


def read(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


def changed(content: bytes, **values: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        dataset = pydicom.dcmread(io.BytesIO(content))
        for keyword, value in values.items():
            setattr(dataset, keyword, value)
        if "SOPInstanceUID" in values:
            dataset.file_meta.MediaStorageSOPInstanceUID = values["SOPInstanceUID"]
        made = io.BytesIO()
        dataset.save_as(made)
    return made.getvalue()


def write(root: Path, contents: list[bytes]) -> Directory:
    directory = Directory()
    for content in contents:
        placed = directory.add(extract(content, Limits()).dataset)
        if placed is not None:
            path = root.joinpath(*placed.file_id)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    (root / "DICOMDIR").write_bytes(directory.encode("2.25.1", "STORE"))
    return directory


def open_set(root: Path) -> list[FileInstance]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = FileSet(root / "DICOMDIR")
    found = list(opened)
    opened._stage["t"].cleanup()  # else it is complained of when it is collected
    return found


def test_pydicom_finds_every_file_under_its_patient_study_and_series(tmp_path):
    write(tmp_path, [read(name) for name in FILES])
    found = {instance.SOPInstanceUID for instance in open_set(tmp_path)}
    assert found == {pydicom.dcmread(io.BytesIO(read(name))).file_meta.MediaStorageSOPInstanceUID for name in FILES}


def test_its_records_have_the_types_of_their_sop_classes(tmp_path):
    write(tmp_path, [read(name) for name in FILES])
    records = pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
    types = [record.DirectoryRecordType for record in records]
    assert {"PATIENT", "STUDY", "SERIES", "IMAGE", "SR DOCUMENT", "RT PLAN", "RT DOSE"} == set(types)


def test_file_ids_are_as_ps3_10_has_them(tmp_path):
    write(tmp_path, [read(name) for name in FILES])
    for record in pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence:
        parts = list(record.get("ReferencedFileID") or [])
        assert len(parts) <= 8
        assert all(len(part) <= 8 and part == part.upper() and part.replace("_", "").isalnum() for part in parts)


def test_two_series_of_one_study_are_two_records_below_one(tmp_path):
    ct = read("CT_small.dcm")
    one = [changed(ct, SOPInstanceUID=f"1.2.3.{number}") for number in range(3)]
    other = [changed(ct, SOPInstanceUID=f"1.2.4.{number}", SeriesInstanceUID="1.2.5") for number in range(2)]
    write(tmp_path, [one[0], other[0], one[1], other[1], one[2]])
    types = [record.DirectoryRecordType for record in pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence]
    assert types == ["PATIENT", "STUDY", "SERIES", *["IMAGE"] * 3, "SERIES", *["IMAGE"] * 2]
    assert len(open_set(tmp_path)) == 5


def test_a_japanese_name_is_in_its_record(tmp_path):
    content = changed(read("CT_small.dcm"), SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Taro=山田^太郎")
    write(tmp_path, [content])
    record = pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence[0]
    assert str(record.PatientName) == "Yamada^Taro=山田^太郎"


def test_an_item_with_a_character_set_of_its_own_is_read_as_in_the_file(tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(read("reportsi.dcm")))
    dataset.SpecificCharacterSet, dataset.PatientName = "ISO_IR 100", "Müller"
    (concept,) = dataset.ConceptNameCodeSequence
    concept.SpecificCharacterSet, concept.CodeMeaning = "ISO_IR 101", "Zażółć"
    made = io.BytesIO()
    dataset.save_as(made)
    write(tmp_path, [made.getvalue()])
    patient, *_, report = pydicom.dcmread(tmp_path / "DICOMDIR").DirectoryRecordSequence
    assert patient.PatientName == "Müller"
    assert report.ConceptNameCodeSequence[0].CodeMeaning == "Zażółć"


@pytest.mark.parametrize("name", ["no_meta.dcm", "rtplan_truncated.dcm"])
def test_what_has_no_file_meta_or_no_class_has_no_record(name):
    tree = dict(extract(read(name), Limits()).dataset)
    tree.pop("MediaStorageSOPClassUID", None)
    assert Directory().add(tree) is None


def test_one_sop_instance_is_there_once():
    directory = Directory()
    tree = extract(read("CT_small.dcm"), Limits()).dataset
    assert directory.add(tree) is not None
    assert directory.add(tree) is None


@pytest.mark.parametrize(
    ("uid", "name"),
    [
        ("1.2.840.10008.5.1.4.1.1.88.67", "SR DOCUMENT"),
        ("1.2.840.10008.5.1.4.1.1.88.59", "KEY OBJECT DOC"),
        ("1.2.840.10008.5.1.4.1.1.9.1.1", "WAVEFORM"),
        ("1.2.840.10008.5.1.4.1.1.104.1", "ENCAP DOC"),
        ("1.2.840.10008.5.1.4.1.1.66", "RAW DATA"),
        ("1.2.840.10008.5.1.4.1.1.481.3", "RT STRUCTURE SET"),
        ("1.2.840.10008.5.1.4.38.1", "HANGING PROTOCOL"),
        ("1.2.3.4", None),
    ],
)
def test_record_types(uid, name):
    assert record_type({"MediaStorageSOPClassUID": {"vr": "UI", "Value": [uid]}}) == name


def test_an_empty_directory_can_be_read():
    read_back = pydicom.dcmread(io.BytesIO(Directory().encode("2.25.1")))
    assert read_back.file_meta.MediaStorageSOPClassUID == DIRECTORY_CLASS
    assert list(read_back.DirectoryRecordSequence) == []


@pytest.mark.skipif(shutil.which("dcmdump") is None, reason="DCMTK is not installed")
def test_dcmtk_reads_it_without_a_complaint(tmp_path):
    write(tmp_path, [read(name) for name in FILES])
    ran = subprocess.run(["dcmdump", tmp_path / "DICOMDIR"], capture_output=True, check=True)
    assert ran.stderr == b""
    assert ran.stdout.count(b'"Directory Record" IMAGE') == 4


@pytest.mark.skipif(shutil.which("dcmmkdir") is None, reason="DCMTK is not installed")
def test_dcmtk_can_add_a_file_to_it(tmp_path):
    ct = read("CT_small.dcm")
    write(tmp_path, [ct, changed(ct, SOPInstanceUID="1.2.3.1")])
    (tmp_path / "NEW00001").write_bytes(read("MR_small.dcm"))
    command = ["dcmmkdir", "+A", "-Nxc", "+D", "DICOMDIR", "NEW00001"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert len(open_set(tmp_path)) == 3


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_dicom3tools_find_no_error_that_the_file_itself_does_not_have(tmp_path):
    ct = read("CT_small.dcm")
    complete = {"StudyID": "1", "AccessionNumber": "2", "StudyDescription": "CHEST", "PatientName": "Doe^Jane"}
    write(tmp_path, [changed(ct, SOPInstanceUID=f"1.2.3.{number}", **complete) for number in range(1, 20)])
    ran = subprocess.run(["dciodvfy", tmp_path / "DICOMDIR"], capture_output=True, check=False)
    assert b"Error" not in ran.stderr, ran.stderr
    assert b"BasicDirectory" in ran.stderr


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
def test_the_only_errors_of_others_are_values_that_the_file_lacks(tmp_path):
    write(tmp_path, [read(name) for name in FILES])
    ran = subprocess.run(["dciodvfy", tmp_path / "DICOMDIR"], capture_output=True, check=False)
    errors = [line for line in ran.stderr.splitlines() if line.startswith(b"Error")]
    assert all(b"Empty attribute (no value) Type 1" in line for line in errors), errors
