"""A study or a series is deleted in one request: all of it, written down before, and finished whatever happens."""

from __future__ import annotations

import asyncio
import io
from typing import Any

import pydicom
import pytest
import pytest_asyncio

from service.errors import Unavailable
from service.usecases import deletion
from service.usecases.recovery import recover
from tests.web.service import Answer, Service
from tests.web.zips import CT

pytestmark = pytest.mark.asyncio(loop_scope="session")
STUDY, OTHER = "1.2.840.1", "1.2.840.2"


def file_of(study: str, series: str, number: int) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(CT), stop_before_pixels=True)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series}.{number}"
    made = io.BytesIO()
    dataset.save_as(made)
    return made.getvalue()


@pytest_asyncio.fixture(loop_scope="session")
async def library(service: Service, patient: str) -> str:
    """A patient with a study of two series of three instances, and another study."""
    for study, series in ((STUDY, f"{STUDY}.1"), (STUDY, f"{STUDY}.2"), (OTHER, f"{OTHER}.1")):
        for number in range(1, 4):
            assert (await service.upload(patient, file_of(study, series, number))).status == 200
    return patient


async def delete(service: Service, patient: str, path: str, **options: Any) -> Answer:
    return await service.ask("DELETE", f"/patient/{patient}/dicomweb/studies/{path}", patient=patient, **options)


async def left(service: Service, patient: str) -> list[str]:
    answer = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient)
    return sorted(each["sop_instance_uid"] for each in answer.json()["instances"])


async def rows(service: Service, collection: str, **wanted: Any) -> int:
    return int(await service.store._database[collection].count_documents(wanted))


async def test_a_series_is_deleted_and_nothing_else(service, library):
    assert (await delete(service, library, f"{STUDY}/series/{STUDY}.1")).status == 204
    assert await left(service, library) == [
        f"{series}.{number}" for series in (f"{STUDY}.2", f"{OTHER}.1") for number in (1, 2, 3)
    ]


async def test_a_study_is_deleted_with_everything_that_came_from_it(service, library):
    assert (await delete(service, library, STUDY)).status == 204
    assert await left(service, library) == [f"{OTHER}.1.{number}" for number in (1, 2, 3)]
    assert await rows(service, "instances", patient_id=library) == 3
    assert await rows(service, "tag_index", patient_id=library) == 3
    assert await rows(service, "series", patient_id=library) == 1
    assert await rows(service, "originals.files", **{"metadata.patient_id": library}) == 3
    found = await service.ask("GET", f"/patient/{library}/dicomweb/studies", patient=library)
    assert len(found.json()) == 1
    assert (await delete(service, library, STUDY)).status == 404


@pytest.mark.parametrize("path", [STUDY, f"{STUDY}/series/{STUDY}.1"])
async def test_the_bytes_of_what_is_deleted_are_given_back(service, library, path):
    numbers = (1, 2) if path == STUDY else (1,)
    gone = sum(len(file_of(STUDY, f"{STUDY}.{series}", number)) for series in numbers for number in (1, 2, 3))
    before = await service.store.usage.read(library)
    assert (await delete(service, library, path)).status == 204
    assert await service.store.usage.read(library) == before - gone


async def test_every_file_of_one_sop_instance_is_deleted(service, library):
    again = file_of(STUDY, f"{STUDY}.1", 1) + b"\0\0"
    assert (await service.upload(library, again)).status == 200
    assert (await delete(service, library, f"{STUDY}/series/{STUDY}.1")).status == 204
    assert await rows(service, "instances", patient_id=library) == 6


@pytest.mark.parametrize("path", ["9.9.9", f"{STUDY}/series/9.9.9", f"{OTHER}/series/{STUDY}.1"])
async def test_what_is_not_there_is_404(service, library, path):
    assert (await delete(service, library, path)).status == 404
    assert len(await left(service, library)) == 9


async def test_another_patients_study_of_that_uid_stays(service, library):
    other = next(service.patients)
    await service.upload(other, file_of(STUDY, f"{STUDY}.1", 1))
    assert (await delete(service, library, STUDY)).status == 204
    assert len(await left(service, other)) == 1


async def test_a_parameter_is_refused_because_a_delete_must_not_mean_more_than_was_thought(service, library):
    assert (await delete(service, library, f"{STUDY}?Modality=CT")).status == 400
    assert len(await left(service, library)) == 9


async def test_a_delete_that_is_meant_for_a_version_deletes_no_study_because_that_has_none(service, library):
    answer = await delete(service, library, STUDY, headers={"If-Match": '"abc"'})
    assert (answer.status, answer.json()["code"]) == (412, "precondition-failed")
    assert len(await left(service, library)) == 9
    assert (await delete(service, library, STUDY, headers={"If-Match": "*"})).status == 204


async def test_a_token_that_may_not_delete_deletes_nothing(service, library):
    headers = {"access-token": service.token(library, scope="dicom:read dicom:write")}
    path = f"/patient/{library}/dicomweb/studies/{STUDY}"
    assert (await service.ask("DELETE", path, headers=headers)).status == 403
    assert len(await left(service, library)) == 9


async def test_it_is_written_down_with_every_instance_before_it_is_done(service, library, monkeypatch):
    await delete(service, library, STUDY)
    await service.ask("GET", "/healthz")
    intents = [
        each
        async for each in service.store._database["audit"].find(
            {"patient_id": library, "action": "delete", "outcome": "intended"}
        )
    ]
    assert sum(len(each["dicom_ids"]) for each in intents) == 6

    async def append(_trail: Any, _entries: Any) -> int:
        raise Unavailable("The audit cannot be written.")

    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.audit), "append", append)
        assert (await delete(service, library, OTHER)).status == 503
    assert len(await left(service, library)) == 3


@pytest.mark.parametrize("stop", [0, 1, 4])
async def test_what_a_delete_that_stops_in_the_middle_leaves_is_unseen_and_finished(
    service, library, monkeypatch, stop
):
    real, calls = type(service.store.deletion).finish, []

    async def stopping(self: Any, instance: Any) -> None:
        calls.append(1)
        if len(calls) > stop:
            raise Unavailable("The database is away.")
        await real(self, instance)

    with monkeypatch.context() as patch:
        patch.setattr(type(service.store.deletion), "finish", stopping)
        answer = await delete(service, library, STUDY)
    assert (answer.status, answer.json()["deleted"]) == (202, 6)
    assert answer.json()["left"] >= 6 - stop - 1
    assert await left(service, library) == [f"{OTHER}.1.{number}" for number in (1, 2, 3)]
    found = await service.ask("GET", f"/patient/{library}/dicomweb/studies", patient=library)
    assert len(found.json()) == 1
    await recover(service.context)
    # The service looks by itself too, and may be in the midst of one.
    for _ in range(100):
        if await rows(service, "instances", patient_id=library) == 3:
            break
        await asyncio.sleep(0.05)
    assert await rows(service, "instances", patient_id=library) == 3
    assert await rows(service, "originals.files", **{"metadata.patient_id": library}) == 3


async def test_a_delete_of_very_many_answers_before_all_bytes_are_gone(service, library, monkeypatch):
    monkeypatch.setattr(deletion, "FINISH_SECONDS", -1.0)
    answer = await delete(service, library, STUDY)
    assert (answer.status, answer.json()) == (202, {"deleted": 6, "left": 6})
    assert len(await left(service, library)) == 3
