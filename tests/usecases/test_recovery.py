"""What was begun is finished: extractions that wait, lost workers, deletes that met a crash, several processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from mongomock_motor import AsyncMongoMockClient

from service.dicom.extract import extract
from service.errors import DatabaseUnavailable, Overloaded, WorkerLost
from service.settings import Settings
from service.storage import deletion
from service.storage import leases as module
from service.storage.connection import CODEC
from service.storage.store import Store
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.ingest import store_upload
from service.usecases.recovery import MAX_ATTEMPTS, recover
from tests.dicom.written import item, part10, plain, sequence
from tests.running_service import RunningService
from tests.usecases.uploads import CT, Clock, once


def too_deep() -> bytes:
    inner = b""
    for _ in range(70):
        inner = sequence(0x00081140, [item(inner)])
    return part10(plain() + inner)


@dataclass
class Workers:
    """Runs jobs at once, in this process, after what it was told to raise."""

    faults: list[Exception] = field(default_factory=list)
    jobs: int = 0

    async def run(
        self,
        function: Callable[..., Any],
        *arguments: Any,
        timeout: float,  # noqa: ASYNC109
        **_: Any,
    ) -> Any:
        assert timeout > 0
        self.jobs += 1
        await asyncio.sleep(0)
        if self.faults:
            raise self.faults.pop(0)
        return extract(*arguments) if function.__name__ == "extract_packed" else function(*arguments)


@pytest.fixture
async def context(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Context]:
    # The double keeps trees as they are, not as BSON, so extractions are not packed for it.
    monkeypatch.setattr("service.usecases.ingest.unpack", lambda extraction: extraction)
    clock = Clock()
    database = AsyncMongoMockClient(tz_aware=True).get_database("recovery", codec_options=CODEC)
    store = Store(database, clock)
    await store.prepare()
    settings = Settings(data_dir=tmp_path, spool_dir=tmp_path)
    yield Context(store, Workers(), settings, clock)  # type: ignore[arg-type]
    store.close()


async def upload_pending(context: Context, content: bytes = CT, patient: str = "p-1") -> str:
    stored = await store_upload(context, patient, "a.dcm", once(content), respond_async=True)
    assert (stored.state, stored.created) == ("pending", True)
    return stored.dicom_id


async def state_of(context: Context, dicom_id: str, patient: str = "p-1") -> dict[str, Any]:
    instance = await context.store.instances.find(Visible(patient), dicom_id)
    assert instance is not None
    extraction: dict[str, Any] = instance["extraction"]
    return extraction


async def test_a_pending_upload_calls_recovery_and_is_finished_by_it(context: Context) -> None:
    dicom_id = await upload_pending(context)
    assert context.unfinished.is_set()
    assert (await state_of(context, dicom_id))["state"] == "pending"
    assert await recover(context) == 1
    extraction = await state_of(context, dicom_id)
    assert (extraction["state"], extraction["attempts"], extraction["error"]) == ("done", 1, None)
    read = await context.store.instances.read_elements(Visible("p-1"), dicom_id, [], ["Modality"])
    assert read is not None
    assert read["elements"]["Modality"]["Value"] == ["CT"]
    assert await recover(context) == 0


def pid_that_is_gone() -> int:
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        return process.pid


async def test_a_lease_of_a_process_that_is_gone_is_released_and_no_other(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases, here = context.store.leases, module.name_process(os.getpid())
    if here is None:
        pytest.skip("this system does not say which process is meant")
    machine, pid, started = here.split(" ")
    ended = pid_that_is_gone()
    holders = {
        "gone": f"{machine} {ended} {started}",
        "another with its pid": f"{machine} {pid} {int(started) - 1}",
        "alive": here,
        "elsewhere": f"another-boot/pid:[1] {ended} {started}",
        "nobody knows": None,
    }
    until = context.clock() + timedelta(seconds=120)
    ids = {}
    for number, (name, holder) in enumerate(holders.items()):
        ids[name] = await upload_pending(context, CT + bytes(number))
        with monkeypatch.context() as patch:
            patch.setattr(module, "name_process", lambda _, holder=holder: holder)
            assert await leases.take_unfinished("pending", context.clock(), until)
    assert await leases.release_lost(context.clock()) == 2
    assert await recover(context) == 2
    states = {name: (await state_of(context, dicom_id))["state"] for name, dicom_id in ids.items()}
    assert {name for name, state in states.items() if state == "done"} == {"gone", "another with its pid"}


def test_after_a_crash_what_was_begun_goes_on_at_the_next_start(tmp_path: Path) -> None:
    # Not done at once, for a worker that does not answer.
    with RunningService(tmp_path / "data", POOL_PROCESSES="1", IN_PROCESS_BYTES="0") as service:
        service.upload(CT)
        worker = next(each for each in service.family() if "service.workers.child" in each.cmdline())
        worker.suspend()
        path = "/patient/p-1/dicom"
        sent = {"content_type": "application/dicom", "Prefer": "respond-async"}
        dicom_id = json.loads(service.request("POST", path, CT + b"\0", **sent)[2])
        time.sleep(1)
        service.kill()
    with RunningService(tmp_path / "data", POOL_PROCESSES="1") as service:
        ends = time.monotonic() + 30
        while True:
            _, _, body = service.request("GET", f"{path}/{dicom_id}", Accept="application/json")
            if json.loads(body)["extraction"]["state"] == "done":
                break
            assert time.monotonic() < ends
            time.sleep(0.2)
        assert service.stop() == 0


async def test_a_file_that_cannot_be_extracted_fails_with_its_reason_and_blocks_nobody(context: Context) -> None:
    broken, sound = await upload_pending(context, too_deep()), await upload_pending(context)
    assert await recover(context) == 2
    extraction = await state_of(context, broken)
    assert extraction["state"] == "failed"
    assert extraction["error"]
    assert (await state_of(context, sound))["state"] == "done"


async def test_a_file_that_ends_its_worker_is_tried_later_and_fails_in_the_end(context: Context) -> None:
    dicom_id = await upload_pending(context)
    context.workers.faults.extend(WorkerLost() for _ in range(MAX_ATTEMPTS))  # type: ignore[attr-defined]
    rests = []
    for attempt in range(1, MAX_ATTEMPTS + 1):
        assert await recover(context) == 1
        assert await recover(context) == 0, "it is not tried again at once"
        extraction = await state_of(context, dicom_id)
        assert extraction["attempts"] == attempt
        if attempt < MAX_ATTEMPTS:
            rests.append(extraction["retry_at"] - context.clock())
            context.clock.time = extraction["retry_at"]  # type: ignore[attr-defined]
    assert rests[1] > 1.5 * rests[0]
    assert extraction["state"] == "failed"
    # The same bytes once more queue it again, and now its worker lives.
    stored = await store_upload(context, "p-1", "a.dcm", once(CT), respond_async=True)
    assert (stored.dicom_id, stored.created, stored.state) == (dicom_id, False, "pending")
    assert await recover(context) == 1
    assert (await state_of(context, dicom_id))["state"] == "done"


@pytest.mark.parametrize("fault", [Overloaded("full"), DatabaseUnavailable("away")])
async def test_what_is_not_the_files_fault_is_none_of_its_attempts(context: Context, fault: Exception) -> None:
    dicom_id = await upload_pending(context)
    context.workers.faults.append(fault)  # type: ignore[attr-defined]
    with pytest.raises(type(fault)):
        await recover(context)
    extraction = await state_of(context, dicom_id)
    assert (extraction["state"], extraction["attempts"]) == ("pending", 0)
    context.clock.time = extraction["retry_at"]  # type: ignore[attr-defined]
    assert await recover(context) == 1
    assert (await state_of(context, dicom_id))["state"] == "done"


async def test_a_claim_holds_until_it_runs_out(context: Context) -> None:
    dicom_id = await upload_pending(context)
    now = context.clock()
    claimed = await context.store.leases.take_unfinished("pending", now, now + timedelta(seconds=60))
    assert claimed is not None
    assert claimed["_id"] == dicom_id
    assert await recover(context) == 0, "another process works on it"
    context.clock.time += timedelta(seconds=61)  # type: ignore[attr-defined]
    assert await recover(context) == 1, "that process is gone"


async def test_two_processes_share_the_work(context: Context) -> None:
    ids = [await upload_pending(context, CT, f"p-{number}") for number in range(10)]
    assert sum(await asyncio.gather(recover(context), recover(context))) == 10
    assert context.workers.jobs == 10  # type: ignore[attr-defined]
    for number, dicom_id in enumerate(ids):
        assert (await state_of(context, dicom_id, f"p-{number}"))["state"] == "done"


async def test_a_delete_that_met_a_crash_is_finished(context: Context) -> None:
    dicom_id = await upload_pending(context)
    await recover(context)
    collections = context.store._collections
    instance = deletion.mark_deleting(collections, "p-1", dicom_id)
    assert instance is not None
    assert await recover(context) == 1
    for name in ("instances", "tag_index", "series"):
        assert getattr(collections, name).count_documents({}) == 0, name
    assert collections.originals.files.count_documents({}) == collections.originals.chunks.count_documents({}) == 0


async def test_a_delete_beside_an_extraction_wins(context: Context) -> None:
    dicom_id = await upload_pending(context)
    run = context.workers.run

    async def delete_meanwhile(*arguments: Any, **options: Any) -> Any:
        answer = await run(*arguments, **options)
        assert await context.store.deletion.delete("p-1", dicom_id)
        return answer

    context.workers.run = delete_meanwhile  # type: ignore[assignment,method-assign]
    assert await recover(context) == 1
    collections = context.store._collections
    for name in ("instances", "tag_index"):
        assert getattr(collections, name).count_documents({}) == 0, name


def test_an_early_answer_is_followed_by_the_tags(tmp_path: Path) -> None:
    with RunningService(tmp_path) as service:
        status, headers, body = service.request(
            "POST", "/patient/p-1/dicom", CT, Content_Type="application/dicom", Prefer="respond-async"
        )
        assert (status, headers["Preference-Applied"]) == (202, "respond-async")
        path = headers["Location"]
        assert path.endswith(json.loads(body))
        assert service.request("GET", path)[2] == CT, "the original is there from the start"
        deadline = time.monotonic() + 20
        while (answer := service.request("GET", f"{path}/tag/Modality"))[0] == 503:
            assert answer[1]["Retry-After"]
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert (answer[0], json.loads(answer[2])["value"]) == (200, "CT")
        status, _, body = service.request("GET", path, Accept="application/json")
        assert json.loads(body)["extraction"]["state"] == "done"


async def test_a_fault_of_the_extractor_is_one_files_and_given_up_in_the_end(context: Context) -> None:
    faulty = await upload_pending(context)
    context.workers.faults.append(RuntimeError("a value of the file"))  # type: ignore[attr-defined]
    sound = await upload_pending(context, CT, "p-2")
    assert await recover(context) == 2
    assert (await state_of(context, sound, "p-2"))["state"] == "done"
    for _ in range(MAX_ATTEMPTS - 1):
        context.clock.time = (await state_of(context, faulty))["retry_at"]  # type: ignore[attr-defined]
        context.workers.faults.append(RuntimeError("a value of the file"))  # type: ignore[attr-defined]
        assert await recover(context) == 1
    extraction = await state_of(context, faulty)
    assert extraction["state"] == "failed"
    assert "value" not in extraction["error"]


async def test_what_a_stopping_service_was_at_is_free_at_once(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    dicom_id = await upload_pending(context)
    begun = asyncio.Event()

    async def extract_for_ever(*_: Any, **__: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    with monkeypatch.context() as patched:
        patched.setattr("service.usecases.recovery.extract_in_worker", extract_for_ever)
        recovering = asyncio.create_task(recover(context))
        await begun.wait()
        recovering.cancel()
        await asyncio.wait([recovering])
    assert (await state_of(context, dicom_id))["attempts"] == 0
    assert await recover(context) == 1
    assert (await state_of(context, dicom_id))["state"] == "done"


async def test_who_comes_back_after_its_claim_has_run_out_changes_nothing(context: Context) -> None:
    dicom_id = await upload_pending(context)
    now = context.clock()
    late = await context.store.leases.take_unfinished("pending", now, now)
    assert late is not None
    context.clock.time += timedelta(seconds=1)  # type: ignore[attr-defined]
    assert await recover(context) == 1
    assert not await context.store.instances.set_extraction(late, {**late["extraction"], "state": "failed"})
    assert (await state_of(context, dicom_id))["state"] == "done"
