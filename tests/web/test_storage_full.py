"""A patient's files have a bound in bytes, on every way in."""

from __future__ import annotations

import json

import pytest
import pytest_asyncio

from schemas.http import HitList, InstanceList
from tests.web.zips import packed

pytestmark = pytest.mark.asyncio(loop_scope="session")

RAW = {"Content-Type": "application/dicom"}
ZIP = {"Content-Type": "application/zip"}
STOW = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=b0undary'}


def related(*files):
    parts = [b"--b0undary\r\nContent-Type: application/dicom\r\n\r\n" + content + b"\r\n" for content in files]
    return b"".join(parts) + b"--b0undary--\r\n"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def full(start, ct):
    """A service where a patient may keep two files, or so."""
    service = await start(max_patient_bytes=2 * len(ct) + 100)
    yield service
    await service.stop()


async def fill(service, ct):
    patient = str(next(service.patients))
    ids = [(await service.upload(patient, ct + bytes(number))).json() for number in range(2)]
    return patient, ids


async def used(service, patient, query=""):
    answer = await service.ask("GET", f"/patient/{patient}/dicom{query}", patient=patient)
    assert (HitList if query else InstanceList)().validate(answer.json()) == {}
    return answer.json()["storage"]


WAYS = {
    "form": lambda service, patient, content: service.upload(patient, content),
    "raw": lambda service, patient, content: service.ask(
        "POST", f"/patient/{patient}/dicom", patient=patient, data=content, headers=RAW
    ),
    "async": lambda service, patient, content: service.ask(
        "POST", f"/patient/{patient}/dicom", patient=patient, data=content, headers=RAW | {"Prefer": "respond-async"}
    ),
    "stow": lambda service, patient, content: service.ask(
        "POST", f"/patient/{patient}/dicomweb/studies", patient=patient, data=related(content), headers=STOW
    ),
    "stow, one file": lambda service, patient, content: service.ask(
        "POST", f"/patient/{patient}/dicomweb/studies", patient=patient, data=content, headers=RAW
    ),
    "stow, a zip": lambda service, patient, content: service.ask(
        "POST", f"/patient/{patient}/dicomweb/studies", patient=patient, data=packed(("a.dcm", content)), headers=ZIP
    ),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_file_too_many_is_507_and_says_what_is_used_and_allowed(full, ct, way):
    patient, ids = await fill(full, ct)
    answer = await WAYS[way](full, patient, ct + bytes(200))
    assert (answer.status, answer.json()["code"]) == (507, "storage-full")
    held, allowed = 2 * len(ct) + 1, 2 * len(ct) + 100
    assert f"{held} of the {allowed} bytes" in answer.detail
    assert await used(full, patient) == {"used_bytes": held, "allowed_bytes": allowed}
    assert await used(full, patient, "?Modality=CT") == {"used_bytes": held, "allowed_bytes": allowed}
    # What is there is still given, the same file again too; and a delete makes room.
    assert (await WAYS[way](full, patient, ct)).status in (200, 202)
    assert (await full.ask("DELETE", f"/patient/{patient}/dicom/{ids[0]}", patient=patient)).status == 204
    assert (await WAYS[way](full, patient, ct + bytes(9))).status in (200, 202)
    assert (await used(full, patient))["used_bytes"] == held + 9


async def test_of_several_files_those_that_have_room_are_stored_and_the_others_named(full, ct):
    patient = str(next(full.patients))
    files = [ct + bytes(number) for number in (60, 70, 80)]
    body = related(*files)
    answer = await full.ask("POST", f"/patient/{patient}/dicomweb/studies", patient=patient, data=body, headers=STOW)
    assert answer.status == 202
    failed = answer.json()["00081198"]["Value"]
    assert [item["00081197"]["Value"] for item in failed] == [[0xA700], [0xA700]]
    assert all(item["00081155"]["Value"] for item in failed)
    assert (await used(full, patient))["used_bytes"] == len(files[0])


async def test_members_of_a_zip_that_have_no_room_are_refused_and_counted(full, ct):
    patient = str(next(full.patients))
    body = packed(*[(f"{number}.dcm", ct + bytes(number)) for number in (60, 70, 80)])
    answer = await full.ask("POST", f"/patient/{patient}/dicom", patient=patient, data=body, headers=ZIP)
    assert answer.status == 200
    first, *others, last = [json.loads(line) for line in answer.body.splitlines()]
    assert first["new"]
    assert [line["refused"] for line in others] == ["storage-full", "storage-full"]
    assert all(f"of the {2 * len(ct) + 100} bytes allowed" in line["detail"] for line in others)
    assert (last["summary"]["stored"], last["summary"]["refused"], last["summary"]["complete"]) == (1, 2, True)
    assert (await used(full, patient))["used_bytes"] == len(ct) + 60


async def test_of_a_zip_by_stow_those_that_have_room_are_stored_and_the_others_named(full, ct):
    patient = str(next(full.patients))
    body = packed(*[(f"{number}.dcm", ct + bytes(number)) for number in (60, 70, 80)])
    answer = await full.ask("POST", f"/patient/{patient}/dicomweb/studies", patient=patient, data=body, headers=ZIP)
    assert answer.status == 202
    assert [item["00081197"]["Value"] for item in answer.json()["00081198"]["Value"]] == [[0xA700], [0xA700]]
    assert (await used(full, patient))["used_bytes"] == len(ct) + 60


async def test_without_a_bound_there_is_none(start, ct):
    service = await start(max_patient_bytes=0)
    await service.upload("p-1", ct)
    assert await used(service, "p-1") == {"used_bytes": len(ct), "allowed_bytes": None}
    await service.stop()
