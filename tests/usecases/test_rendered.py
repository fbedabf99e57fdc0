"""Pictures as a use case: made once at a time, and never at the price of a worker a request."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from mongomock_motor import AsyncMongoMockClient

from service.dicom.pixels.render import RenderRequest, Rendition
from service.errors import DatabaseUnavailable, LimitExceeded, NotRenderable, NoWorker, WorkerLost
from service.settings import Settings
from service.storage.connection import CODEC
from service.storage.store import Store
from service.storage.visible import Visible
from service.usecases.behind import Behind
from service.usecases.context import Context
from service.usecases.ingest import store_upload
from service.usecases.rendered import rendition
from service.usecases.tags import read_original, read_tag_of
from service.workers.pool import OutOfTime
from tests.usecases.uploads import CT, Clock, once

OURS = Visible("p-1")


@dataclass
class Workers:
    """Gives one picture for everything, after what it was told to raise."""

    faults: list[Exception] = field(default_factory=list)
    callers: list[str] = field(default_factory=list)
    jobs: int = 0

    async def run(self, *_arguments, timeout, caller, **_):  # noqa: ASYNC109
        assert timeout > 0
        self.callers.append(caller)
        self.jobs += 1
        await asyncio.sleep(0.05)
        if self.faults:
            raise self.faults.pop(0)
        return Rendition(b"png", "image/png", 1, 1, 0, 1, None, None, "none", ())


@pytest.fixture
async def stored(tmp_path):
    database = AsyncMongoMockClient(tz_aware=True).get_database("rendered", codec_options=CODEC)
    store = Store(database, Clock())
    await store.prepare()
    context = Context(store, Workers(), Settings(data_dir=tmp_path, spool_dir=tmp_path), Clock())
    made = await store_upload(context, "p-1", "a.dcm", once(CT))
    yield context, made.dicom_id
    store.close()


async def test_ten_who_ask_for_one_picture_at_once_have_it_made_once(stored):
    context, dicom_id = stored
    asked = [rendition(context, OURS, dicom_id, RenderRequest()) for _ in range(10)]
    assert {made.data for made in await asyncio.gather(*asked)} == {b"png"}
    assert context.workers.jobs == 1
    assert context.workers.callers == ["p-1"]
    assert context.renderings == {}


async def test_a_patient_does_not_wait_for_the_turn_of_their_shares(stored):
    context, dicom_id = stored
    shares = [Visible("p-1", dicom_ids=frozenset({dicom_id, other})) for other in ("one", "two")]
    asked = [rendition(context, visible, dicom_id, RenderRequest()) for visible in (*shares, OURS)]
    assert {made.data for made in await asyncio.gather(*asked)} == {b"png"}
    assert sorted(context.workers.callers) == ["p-1", "p-1\nshares"]
    await asyncio.gather(*(read_original(context, each, dicom_id, read_tag_of, "Modality") for each in (OURS, *shares)))
    assert context.workers.callers[2:] == ["p-1", "p-1\nshares", "p-1\nshares"]


async def test_a_picture_is_answered_first_and_kept_behind_the_answer(stored, monkeypatch):
    context, dicom_id = stored
    put, may_put = type(context.store.renditions).put, asyncio.Event()

    async def waiting(*arguments):
        await may_put.wait()
        return await put(*arguments)

    monkeypatch.setattr(type(context.store.renditions), "put", waiting)
    assert (await rendition(context, OURS, dicom_id, RenderRequest())).data == b"png"
    assert (await rendition(context, OURS, dicom_id, RenderRequest())).data == b"png"
    assert context.workers.jobs == 2
    may_put.set()
    await context.behind.finish()
    assert (await rendition(context, OURS, dicom_id, RenderRequest())).data == b"png"
    assert context.workers.jobs == 2


async def test_a_picture_that_cannot_be_kept_is_answered_all_the_same(stored, monkeypatch):
    context, dicom_id = stored

    async def away(*_):
        raise DatabaseUnavailable("gone")

    monkeypatch.setattr(type(context.store.renditions), "put", away)
    assert (await rendition(context, OURS, dicom_id, RenderRequest())).data == b"png"
    await context.behind.finish()


async def test_work_behind_answers_is_bounded():
    behind, may_end, ran = Behind(limit=2), asyncio.Event(), []

    async def work(number):
        await may_end.wait()
        ran.append(number)
        raise ValueError  # nobody is there to be told

    assert [behind.start(work(number)) for number in range(3)] == [True, True, False]
    may_end.set()
    await behind.finish()
    assert ran == [0, 1]
    assert behind.start(work(3))
    await behind.finish()


async def test_who_goes_away_takes_no_picture_from_others(stored):
    context, dicom_id = stored
    first = asyncio.create_task(rendition(context, OURS, dicom_id, RenderRequest()))
    await asyncio.sleep(0.03)
    second = asyncio.create_task(rendition(context, OURS, dicom_id, RenderRequest()))
    await asyncio.sleep(0.03)
    first.cancel()
    assert (await second).data == b"png"
    assert context.workers.jobs == 1


@pytest.mark.parametrize(
    ("faults", "jobs"), [([WorkerLost(), WorkerLost()], 2), ([OutOfTime()], 1)], ids=["it kills", "it takes too long"]
)
async def test_a_file_that_costs_its_workers_has_no_picture(stored, faults, jobs):
    context, dicom_id = stored
    context.workers.faults = faults
    with pytest.raises(NotRenderable):
        await rendition(context, OURS, dicom_id, RenderRequest())
    assert context.workers.jobs == jobs


async def test_a_worker_that_was_lost_by_chance_costs_nobody_a_picture(stored):
    context, dicom_id = stored
    context.workers.faults = [WorkerLost()]
    assert (await rendition(context, OURS, dicom_id, RenderRequest())).data == b"png"


async def test_that_there_is_no_worker_is_not_held_against_the_file(stored):
    context, dicom_id = stored
    context.workers.faults = [NoWorker()]
    with pytest.raises(NoWorker):
        await rendition(context, OURS, dicom_id, RenderRequest())


async def test_a_file_that_costs_its_workers_when_its_tags_are_read_from_it_is_refused(stored):
    context, dicom_id = stored
    context.workers.faults = [WorkerLost(), WorkerLost()]
    with pytest.raises(LimitExceeded):
        await read_original(context, OURS, dicom_id, read_tag_of, "Modality")
    assert context.workers.jobs == 2
