"""Near originals: bounded, right or not there, and gone with their instances."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from bson import ObjectId
from mongomock_motor import AsyncMongoMockClient

from service.errors import NoSuchInstance
from service.settings import Settings
from service.storage.connection import CODEC
from service.storage.originals import StoredOriginal
from service.storage.store import Store
from service.storage.visible import Visible
from service.usecases import deletion
from service.usecases.audit import AuditEntry
from service.usecases.context import Context
from service.usecases.ingest import store_upload
from service.usecases.instances import LOOK_BYTES, find_instance, open_original
from service.usecases.near import Near, NearOriginal
from service.usecases.originals import local_original
from service.usecases.recovery import NEAR_BATCH, keep_near_true
from tests.usecases.uploads import CT, Clock, once


def sha256_of(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def in_pieces(content: bytes, size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


async def put(near: Near, content: bytes) -> ObjectId:
    original_id = ObjectId()
    await near.put(original_id, sha256_of(content), content)
    return original_id


async def read(near: Near, original_id: ObjectId) -> bytes | None:
    opened = await near.open(original_id)
    return None if opened is None else await opened.read_range()


def files(folder: Path) -> list[Path]:
    return sorted(folder.iterdir())


@pytest.fixture
def near(tmp_path: Path) -> Near:
    near = Near(tmp_path / "near", 10_000_000)
    near.load()
    return near


async def test_what_passes_by_is_near_afterwards_for_its_owner_alone(near: Near, tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    original_id = ObjectId()
    passed = near.filling(original_id, sha256_of(content), len(content), in_pieces(content, 999_999))
    assert b"".join([piece async for piece in passed]) == content
    assert await read(near, original_id) == content
    (file,) = files(tmp_path / "near")
    assert file.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "near").stat().st_mode & 0o777 == 0o700


async def test_any_range_can_be_read(near: Near) -> None:
    content = os.urandom(2_100_000)
    opened = await near.open(await put(near, content))
    assert opened is not None
    for start, stop in [(0, 1), (5, 5), (9, 3), (100, None), (2_000_000, 9**9), (1_048_575, 1_048_577)]:
        assert await opened.read_range(start, stop) == content[start:stop]


async def test_what_does_not_pass_whole_or_as_it_was_is_not_near(near: Near, tmp_path: Path) -> None:
    content = os.urandom(2_500_000)
    broken, other = ObjectId(), ObjectId()
    passing = near.filling(broken, sha256_of(content), len(content), in_pieces(content, 1 << 20))
    await anext(passing)
    await anext(passing)
    await passing.aclose()  # type: ignore[attr-defined]
    await near.put(other, sha256_of(content), content[:-1] + b"x")
    assert (await read(near, broken), await read(near, other)) == (None, None)
    assert files(tmp_path / "near") == []


async def test_beyond_the_bound_the_one_that_was_not_used_for_longest_goes(tmp_path: Path) -> None:
    near = Near(tmp_path, 4000)
    near.load()
    first, second, third, fourth = [await put(near, os.urandom(1000)) for _ in range(4)]
    assert await read(near, first) is not None
    fifth = await put(near, os.urandom(900))
    assert [await read(near, each) is not None for each in (first, second, third, fourth, fifth)] == [
        *(True, False, True, True),
        True,
    ]
    assert near.held_bytes == 3900 == sum(path.stat().st_size for path in files(tmp_path))
    await put(near, os.urandom(1001))  # over a quarter of all
    assert near.held_bytes == 3900


@pytest.mark.parametrize("change", ["bytes", "length", "gone", "link"])
async def test_a_file_that_changed_while_no_process_ran_is_never_served(
    near: Near, tmp_path: Path, change: str
) -> None:
    content = os.urandom(5000)
    original_id, kept = await put(near, content), await put(near, content)
    path = next(path for path in files(tmp_path / "near") if path.name.startswith(str(original_id)))
    if change == "bytes":  # what a file system may leave of one that was not on the disk yet
        path.write_bytes(bytes(5000))
    elif change == "length":
        path.write_bytes(content + b"x")
    else:
        path.unlink()
        if change == "link":
            (tmp_path / "elsewhere").write_bytes(content)
            path.symlink_to(tmp_path / "elsewhere")
    again = Near(tmp_path / "near", 10_000_000)
    again.load()
    assert await read(again, original_id) is None
    assert await read(again, kept) == content
    assert str(original_id) not in " ".join(path.name for path in files(tmp_path / "near") if not path.is_symlink())


async def test_a_file_that_becomes_shorter_in_use_is_not_served(near: Near, tmp_path: Path) -> None:
    original_id = await put(near, os.urandom(5000))
    os.truncate(files(tmp_path / "near")[0], 100)
    assert await read(near, original_id) is None


async def test_a_start_keeps_to_a_smaller_bound_and_removes_what_was_never_finished(near: Near, tmp_path: Path) -> None:
    for _ in range(3):
        await put(near, os.urandom(1000))
    (tmp_path / "near" / "incoming-999999999-x").write_bytes(b"left")
    (tmp_path / "near" / f"incoming-{os.getppid()}-x").write_bytes(b"of another process")
    again = Near(tmp_path / "near", 2500)
    again.load()
    assert again.held_bytes == 2000
    assert [path.name for path in files(tmp_path / "near") if path.stat().st_size != 1000] == [
        f"incoming-{os.getppid()}-x"
    ]


async def test_a_full_disk_leaves_nothing_and_stops_nobody(tmp_path: Path) -> None:
    near = Near(tmp_path, 10_000_000, min_free_bytes=1 << 60)
    near.load()
    content = os.urandom(2_500_000)
    original_id = ObjectId()
    passed = near.filling(original_id, sha256_of(content), len(content), in_pieces(content, 1 << 20))
    assert b"".join([piece async for piece in passed]) == content
    assert await read(near, original_id) is None
    assert files(tmp_path) == []


async def test_near_files_make_room_for_an_upload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    near = Near(tmp_path, 10_000_000, min_free_bytes=1000)
    near.load()
    disk = 5000

    def usage(_: Path) -> SimpleNamespace:
        return SimpleNamespace(free=disk - sum(path.stat().st_size for path in tmp_path.iterdir()))

    monkeypatch.setattr("service.usecases.near.shutil.disk_usage", usage)
    first, second, third, fourth = [await put(near, os.urandom(1000)) for _ in range(4)]
    assert [await read(near, each) is not None for each in (first, second, third, fourth)] == [True, True, True, False]
    near.make_room()
    assert near.held_bytes == 3000
    disk = 4500  # something else takes the rest
    near.make_room()
    assert [await read(near, each) is not None for each in (first, second, third)] == [False, True, True]


async def test_one_that_is_deleted_while_it_passes_does_not_come_back(near: Near, tmp_path: Path) -> None:
    content = os.urandom(100)
    original_id = ObjectId()
    passing = near.filling(original_id, sha256_of(content), 100, once(content))
    await anext(passing)
    near.forget(original_id, sha256_of(content))
    assert [piece async for piece in passing] == []
    assert await read(near, original_id) is None
    assert files(tmp_path / "near") == []


async def test_without_room_for_any_nothing_is_kept(tmp_path: Path) -> None:
    near = Near(tmp_path / "near", 0)
    near.load()
    assert await read(near, await put(near, b"x")) is None
    assert not (tmp_path / "near").exists()


# --- beside the store


LARGE = CT + bytes(6 << 20)


class Left:
    """Workers who lose every file, so that an upload is stored without its tags."""

    async def run(self, *_: object, **__: object) -> None:
        from service.errors import WorkerLost

        raise WorkerLost("lost")


@pytest.fixture
async def context(tmp_path: Path) -> AsyncIterator[Context]:
    database = AsyncMongoMockClient(tz_aware=True).get_database("near", codec_options=CODEC)
    store = Store(database, Clock())
    await store.prepare()
    spool = tmp_path / "spool"
    spool.mkdir()
    near = Near(tmp_path / "near", 100_000_000)
    near.load()
    settings = Settings(data_dir=tmp_path, spool_dir=spool)
    yield Context(store, Left(), settings, Clock(), near=near)  # type: ignore[arg-type]
    store.close()


INTENT = AuditEntry(
    *(Clock()(), "delete", "intended", None, "DELETE", "/", "r", "p-1", None, None),
    dicom_ids=(),
)


async def test_a_large_upload_is_near_by_its_own_spool_file(context: Context, tmp_path: Path) -> None:
    stored = await store_upload(context, "p-1", "a.dcm", in_pieces(LARGE, 1 << 20))
    instance = await find_instance(context, Visible("p-1"), stored.dicom_id)
    original = (await open_original(context, Visible(instance["patient_id"]), instance)).content
    assert isinstance(original, NearOriginal)
    assert await original.read_range() == LARGE
    assert files(tmp_path / "spool") == []
    assert files(tmp_path / "near")[0].stat().st_mode & 0o777 == 0o600


async def test_a_worker_reads_a_large_near_file_itself_even_if_it_is_removed(context: Context, tmp_path: Path) -> None:
    stored = await store_upload(context, "p-1", "a.dcm", in_pieces(LARGE, 1 << 20))
    instance = await find_instance(context, Visible("p-1"), stored.dicom_id)
    (near,) = files(tmp_path / "near")
    async with local_original(context, Visible(instance["patient_id"]), instance) as path:
        assert isinstance(path, Path)
        assert path.samefile(near)
        context.near.forget(instance["original_id"], instance["sha256"])
        assert path.read_bytes() == LARGE
    assert files(tmp_path / "spool") == files(tmp_path / "near") == []


async def test_a_small_original_is_near_once_a_worker_has_read_it(context: Context) -> None:
    stored = await store_upload(context, "p-1", "a.dcm", once(CT))
    instance = await find_instance(context, Visible("p-1"), stored.dicom_id)
    assert isinstance((await open_original(context, Visible(instance["patient_id"]), instance)).content, StoredOriginal)
    async with local_original(context, Visible(instance["patient_id"]), instance) as content:
        assert content == CT
    await context.behind.finish()
    original = (await open_original(context, Visible(instance["patient_id"]), instance)).content
    assert isinstance(original, NearOriginal)
    assert await original.read_range() == CT


async def test_a_delete_takes_the_near_file_along(context: Context, tmp_path: Path) -> None:
    stored = await store_upload(context, "p-1", "a.dcm", in_pieces(LARGE, 1 << 20))
    assert len(files(tmp_path / "near")) == 1
    await deletion.delete(context, "p-1", stored.dicom_id, INTENT)
    assert files(tmp_path / "near") == []


async def test_a_delete_by_way_of_another_machine_is_found_out(context: Context, tmp_path: Path) -> None:
    kept = await store_upload(context, "p-1", "a.dcm", in_pieces(LARGE, 1 << 20))
    gone = await store_upload(context, "p-2", "a.dcm", in_pieces(LARGE, 1 << 20))
    assert NEAR_BATCH > 1
    assert await context.store.deletion.delete("p-2", gone.dicom_id)
    keeping = asyncio.create_task(keep_near_true(context))
    for _ in range(100):
        await asyncio.sleep(0.01)
        if len(files(tmp_path / "near")) == 1:
            break
    keeping.cancel()
    instance = await find_instance(context, Visible("p-1"), kept.dicom_id)
    assert [path.name.partition(".")[0] for path in files(tmp_path / "near")] == [str(instance["original_id"])]


async def test_a_delete_ends_an_answer_that_is_under_way(context: Context) -> None:
    stored = await store_upload(context, "p-1", "a.dcm", in_pieces(LARGE, 1 << 20))
    instance = await find_instance(context, Visible("p-1"), stored.dicom_id)
    original = await open_original(context, Visible(instance["patient_id"]), instance)
    pieces = original.read(0, original.length)
    taken = len(await anext(pieces))
    await deletion.delete(context, "p-1", stored.dicom_id, INTENT)
    with pytest.raises(NoSuchInstance):
        while True:
            taken += len(await anext(pieces))
    assert taken <= LOOK_BYTES
