"""A search, a study or a series as a DICOM medium: others open it, and every byte is as it came."""

from __future__ import annotations

import asyncio
import io
import shutil
import subprocess
import warnings
import zipfile
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.fileset import FileInstance, FileSet

from tests.web.service import Service
from tests.web.zips import CT, dicom, packed

pytestmark = pytest.mark.asyncio(loop_scope="session")
MEDIUM = {"Accept": "application/zip; media=dicomdir"}
NAMES = ("CT_small.dcm", "MR_small.dcm", "test-SR.dcm", "rtplan.dcm", "no_meta.dcm", "examples_palette.dcm")


def content(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


async def fetch(service: Service, patient: str, path: str = "dicom", **headers: str) -> zipfile.ZipFile:
    answer = await service.ask("GET", f"/patient/{patient}/{path}", patient=patient, headers=headers or MEDIUM)
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/zip"
    archive = zipfile.ZipFile(io.BytesIO(answer.body))
    assert archive.testzip() is None
    return archive


def files_of(archive: zipfile.ZipFile, folder: str) -> list[bytes]:
    return [archive.read(name) for name in archive.namelist() if name.startswith(folder)]


def open_set(archive: zipfile.ZipFile, folder: Path) -> list[FileInstance]:
    archive.extractall(folder)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        opened = FileSet(folder / "DICOMDIR")
    found = list(opened)
    opened._stage["t"].cleanup()  # else it is complained of when it is collected
    return found


async def test_a_medium_has_every_file_byte_for_byte_and_a_directory_that_finds_them(service, patient, tmp_path):
    for name in NAMES:
        await service.upload(patient, content(name), name)
    archive = await fetch(service, patient)
    listed = {content(name) for name in NAMES if name != "no_meta.dcm"}
    assert set(files_of(archive, "DICOM/")) == listed
    assert files_of(archive, "OTHER/") == [content("no_meta.dcm")]
    assert {Path(str(each.path)).read_bytes() for each in open_set(archive, tmp_path)} == listed
    assert b"no_meta.dcm" in archive.read("README.TXT")


async def test_its_page_shows_a_picture_of_each_series_and_no_markup_of_a_file(service, patient):
    await service.upload(patient, CT)
    await service.upload(patient, dicom(1, "<script>", "<b>^x"))
    archive = await fetch(service, patient)
    page = archive.read("INDEX.HTM").decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page
    assert "<td>CompressedSamples, CT1<br>1CT1</td><td>2004-01-19 e+1</td>" in page
    pictures = [name for name in archive.namelist() if name.startswith("PREVIEW/")]
    assert pictures
    assert all(archive.read(name).startswith(b"\x89PNG") and name in page for name in pictures)


async def test_a_search_a_study_and_a_series_choose_what_is_on_it(service, patient):
    for name in ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm"):
        await service.upload(patient, content(name), name)
    assert files_of(await fetch(service, patient, "dicom?Modality=MR"), "DICOM/") == [content("MR_small.dcm")]
    known = pydicom.dcmread(io.BytesIO(CT))
    study = f"dicomweb/studies/{known.StudyInstanceUID}"
    assert set(files_of(await fetch(service, patient, study), "DICOM/")) == {CT}
    assert set(files_of(await fetch(service, patient, f"{study}/series/{known.SeriesInstanceUID}"), "DICOM/")) == {CT}


async def test_a_plain_zip_of_a_study_is_what_it_was(service, patient):
    await service.upload(patient, CT)
    study = f"dicomweb/studies/{pydicom.dcmread(io.BytesIO(CT)).StudyInstanceUID}"
    archive = await fetch(service, patient, study, Accept="application/zip")
    assert "DICOMDIR" not in archive.namelist()


async def test_who_asks_for_anything_else_gets_the_list(service, patient):
    await service.upload(patient, CT)
    for accept in ("*/*", "application/json", "application/json, application/zip;q=0.5", "*/*, application/zip;q=0"):
        path = f"/patient/{patient}/dicom"
        assert "instances" in (await service.ask("GET", path, patient=patient, headers={"Accept": accept})).json()


@pytest.mark.parametrize(
    ("query", "accept", "kind"),
    [
        ("", "text/csv;q=0.5, application/zip; media=dicomdir", "application/zip"),
        ("", "application/zip, text/csv", "application/zip"),
        ("", "text/csv, application/zip", "text/csv"),
        ("", "application/x-ndjson, application/zip;q=0.9", "application/x-ndjson"),
        ("&format=csv", "application/zip; media=dicomdir", "text/csv"),
        ("&format=parquet", "application/zip", "application/vnd.apache.parquet"),
        ("&format=json", "application/zip", "application/json"),
    ],
)
async def test_a_medium_is_chosen_beside_tables_by_accept_and_not_against_format(service, patient, query, accept, kind):
    await service.upload(patient, CT)
    path = f"/patient/{patient}/dicom?fields=Modality{query}"
    answer = await service.ask("GET", path, patient=patient, headers={"Accept": accept})
    assert (answer.status, answer.headers["Content-Type"].partition(";")[0]) == (200, kind)


async def test_who_takes_nothing_that_there_is_gets_no_medium(service, patient):
    for path, accept in (("dicom", "application/zip;q=0"), ("tags", "application/zip")):
        answer = await service.ask("GET", f"/patient/{patient}/{path}", patient=patient, headers={"Accept": accept})
        assert (answer.status, answer.json()["code"]) == (406, "not-acceptable")


async def test_no_instances_are_no_medium(service, patient):
    answer = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient, headers=MEDIUM)
    assert answer.status == 404


async def test_a_medium_has_a_bound(service, patient, monkeypatch):
    monkeypatch.setattr("service.usecases.medium.MAX_FILES", 1)
    await service.upload(patient, dicom(1))
    await service.upload(patient, dicom(2))
    answer = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient, headers=MEDIUM)
    assert (answer.status, answer.json()["code"]) == (413, "too-large")


async def test_head_gives_the_headers(service, patient):
    await service.upload(patient, CT)
    answer = await service.ask("HEAD", f"/patient/{patient}/dicom", patient=patient, headers=MEDIUM)
    assert (answer.status, answer.body) == (200, b"")


async def test_a_medium_uploaded_again_for_another_patient_is_the_same(service, patient):
    originals = {dicom(number) for number in range(40)} | {content("no_meta.dcm")}
    await service.ask(
        "POST",
        f"/patient/{patient}/dicom",
        patient=patient,
        data=packed(*[(f"{number}", each) for number, each in enumerate(originals)]),
        headers={"Content-Type": "application/zip"},
    )
    first = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient, headers=MEDIUM)
    other = next(service.patients)
    answer = await service.ask(
        "POST", f"/patient/{other}/dicom", patient=other, data=first.body, headers={"Content-Type": "application/zip"}
    )
    assert b'"stored":41,"present":0,"refused":0' in answer.body
    again = await fetch(service, other)
    assert set(files_of(again, "DICOM/") + files_of(again, "OTHER/")) == originals


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dicom3tools is not installed")
async def test_dicom3tools_and_dcmtk_take_its_directory(service, patient, tmp_path):
    for number in range(3):
        await service.upload(patient, dicom(number, "1CT1", "Doe^Jane"))
    (await fetch(service, patient)).extractall(tmp_path)
    said = await asyncio.to_thread(
        subprocess.run, ["dciodvfy", tmp_path / "DICOMDIR"], capture_output=True, check=False
    )
    errors = [line for line in said.stderr.splitlines() if line.startswith(b"Error")]
    assert all(b"Empty attribute" in line for line in errors), errors
    dumped = await asyncio.to_thread(
        subprocess.run, ["dcmdump", tmp_path / "DICOMDIR"], capture_output=True, check=True
    )
    assert dumped.stderr == b""
