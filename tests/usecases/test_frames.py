"""Frames as a use case: one of a small file that nobody must decode comes without a worker, and is the same."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path

import pydicom
import pytest
from mongomock_motor import AsyncMongoMockClient

from service.dicom.limits import Limits
from service.dicom.pixels.frames import ITEM
from service.dicom.pixels.limits import PixelLimits
from service.errors import NoSuchInstance, NotFound
from service.settings import Settings
from service.storage.connection import CODEC
from service.storage.store import Store
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.dicomweb.frames import MAX_ITEMS_HERE, iter_frames, read_frames
from service.usecases.ingest import store_upload
from service.workers.messages import Stretch
from tests.usecases.uploads import CT, Clock, once

OURS = Visible("p-1")
WHEEL = sorted(Path(pydicom.__file__).parent.joinpath("data", "test_files").rglob("*.dcm"))
SMALL = [path for path in WHEEL if path.stat().st_size <= 200_000]


@dataclass
class Workers:
    """Reads frames in this process, as a worker would."""

    jobs: int = 0

    async def run(self, function, *arguments, timeout, caller, sink=None, returns=None):  # noqa: ARG002, ASYNC109
        self.jobs += 1
        if function is not read_frames:
            return function(*arguments)
        found, start = [], 0
        for data, syntax in function(*arguments):
            sink(start, data)
            found.append((Stretch(start, len(data)), syntax))
            start += len(data)
        return found


@pytest.fixture
async def context(tmp_path):
    database = AsyncMongoMockClient(tz_aware=True).get_database("frames", codec_options=CODEC)
    store = Store(database, Clock())
    await store.prepare()
    yield Context(store, Workers(), Settings(data_dir=tmp_path, spool_dir=tmp_path), Clock())
    store.close()


async def read(context, dicom_id, numbers=(0,), *, decoded=False, visible=OURS):
    frames = []
    async with aclosing(iter_frames(context, visible, dicom_id, numbers, decoded=decoded)) as found:
        async for frame in found:
            frames.append((b"".join([piece async for piece in frame.pieces]), frame.syntax))
            assert len(frames[-1][0]) == frame.size
    return frames


async def keep(context, content):
    return (await store_upload(context, "p-1", "a.dcm", once(content))).dicom_id


@pytest.mark.parametrize("decoded", [False, True])
async def test_a_frame_of_a_small_file_is_the_one_that_a_worker_finds(context, decoded):
    here = 0
    for path in SMALL:
        content = path.read_bytes()
        dicom_id = await keep(context, content)
        for number in (0, 1, 7):
            try:
                expected = read_frames(content, [number], decoded, Limits(), PixelLimits())
            except Exception as error:  # noqa: BLE001 - whatever a worker says is said
                with pytest.raises(type(error)):
                    await read(context, dicom_id, (number,), decoded=decoded)
                continue
            context.workers.jobs = 0
            assert await read(context, dicom_id, (number,), decoded=decoded) == expected, path.name
            here += not context.workers.jobs
    assert here > (10 if decoded else 50)


async def test_several_frames_and_large_files_go_to_a_worker(context, monkeypatch):
    dicom_id = await keep(context, CT)
    for numbers, jobs in (((0,), 0), ((0, 0), 1)):
        context.workers.jobs = 0
        assert len(await read(context, dicom_id, numbers)) == len(numbers)
        assert context.workers.jobs == jobs
    monkeypatch.setattr("service.usecases.dicomweb.frames.IN_MEMORY_BYTES", len(CT) - 1)
    assert len(await read(context, dicom_id)) == 1
    assert context.workers.jobs == 2


async def test_what_could_be_very_many_fragments_is_not_walked_here(context):
    content = Path(str(pydicom.data.get_testdata_file("JPEG2000.dcm", download=False))).read_bytes()
    whole = await read(context, await keep(context, content))
    assert context.workers.jobs == 0
    end = content.rindex(b"\xfe\xff\xdd\xe0")
    many = content[:end] + (ITEM + bytes(4)) * MAX_ITEMS_HERE + content[end:]
    assert await read(context, await keep(context, many)) == whole
    assert context.workers.jobs > 0


async def test_nobody_else_gets_a_frame_and_there_is_none_of_an_instance_that_is_deleted(context):
    dicom_id = await keep(context, CT)
    with pytest.raises(NoSuchInstance):
        await read(context, dicom_id, visible=Visible("p-2"))
    with pytest.raises(NotFound, match="has 1 frame"):
        await read(context, dicom_id, (1,))
    await context.store.deletion.delete("p-1", dicom_id)
    with pytest.raises(NoSuchInstance):
        await read(context, dicom_id)
