"""An upload is stored whole, once, or not at all."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import io
from collections.abc import AsyncIterator
from pathlib import Path

import bson
import gridfs
import pytest
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument
from mongomock_motor import enabled_gridfs_integration

from service.errors import NotFound, ServiceError
from service.storage import gridfs_documents, uploads
from service.storage.connection import Database
from service.storage.gridfs_documents import CHUNK_BYTES, STEP_CHUNKS
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import ONE_STORED, Clock, counts, extraction, in_parts, make_bytes, make_instance, pending


async def test_what_is_stored_comes_back_whole(store: Store, clock: Clock) -> None:
    content = make_bytes(5000)
    made = make_instance(store, clock, content)
    tree = extraction(Big={"vr": "UV", "Value": [Decimal128("18446744073709551615"), 2**63 - 1, -(2**31)]})
    assert await store.uploads.store(made, tree, content)
    assert await store.instances.find(Visible("p-1"), made["_id"]) == made
    assert await store.instances.read_whole(Visible("p-1"), made["_id"]) == {
        **made,
        "series": tree.series,
        "dataset": tree.dataset,
    }
    original = await store.originals.open(Visible("p-1"), made["original_id"])
    assert original is not None
    assert original.length == 5000
    assert await original.read_range() == content
    assert await counts(store) == ONE_STORED


async def test_the_same_bytes_are_stored_once(store: Store, clock: Clock) -> None:
    first, again = (make_instance(store, clock, b"bytes") for _ in range(2))
    assert await store.uploads.store(first, extraction(), b"bytes")
    assert not await store.uploads.store(again, extraction(), b"bytes")
    assert not await store.uploads.store(again, extraction(), in_parts(b"bytes", 2))
    assert await counts(store) == ONE_STORED
    assert await store.instances.find(Visible("p-1"), first["_id"]) == first


@pytest.mark.parametrize("streamed", [False, True])
async def test_of_ten_at_once_one_is_stored(store: Store, clock: Clock, streamed: bool) -> None:
    content = make_bytes(3000)
    made = [make_instance(store, clock, content) for _ in range(10)]
    won = await asyncio.gather(
        *(store.uploads.store(each, extraction(), in_parts(content, 700) if streamed else content) for each in made)
    )
    assert sorted(won) == [False] * 9 + [True]
    winner = made[won.index(True)]
    assert await store.instances.find(Visible("p-1"), winner["_id"]) == winner
    assert await counts(store) == ONE_STORED
    index = await store._database["tag_index"].find_one({"_id": winner["_id"]})
    assert index is not None
    assert (index["original_id"], index["received_at"]) == (winner["original_id"], winner["received_at"])
    series = await store._database["series"].find_one({"patient_id": "p-1"})
    assert series is not None
    assert series["original_id"] == winner["original_id"]


async def test_two_patients_with_the_same_bytes_never_meet(store: Store, clock: Clock) -> None:
    one, other = (make_instance(store, clock, b"bytes", patient_id=patient) for patient in ("p-1", "p-2"))
    assert one["_id"] != other["_id"]
    assert await store.uploads.store(one, extraction(), b"bytes")
    assert await store.uploads.store(other, extraction(), b"bytes")
    assert await store.deletion.delete("p-1", one["_id"])
    assert await counts(store) == ONE_STORED
    assert await store.instances.find(Visible("p-2"), other["_id"]) == other


async def test_a_commit_whose_answer_was_lost_can_be_tried_again(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes")
    await store.originals.write(made, b"bytes")
    assert await store.uploads.commit(made, extraction())
    assert await store.uploads.commit(made, extraction())
    assert await counts(store) == ONE_STORED


async def test_an_index_that_a_crash_left_gives_way(store: Store, clock: Clock) -> None:
    crashed, made = (make_instance(store, clock, b"bytes") for _ in range(2))
    old = extraction()
    old.index = {"tags": {"Modality": ["MR"]}, "names": {}, "vrs": {}, "truncated": []}
    uploads._put_index(store._collections, crashed, old)
    assert await store.uploads.store(made, extraction(), b"bytes")
    index = await store._database["tag_index"].find_one({"_id": made["_id"]})
    assert index is not None
    assert index["tags"] == {"Modality": ["CT"]}
    assert index["original_id"] == made["original_id"]


async def test_who_loses_late_leaves_index_and_series_to_the_winner(store: Store, clock: Clock) -> None:
    winner, loser = (make_instance(store, clock, b"bytes") for _ in range(2))
    uploads._put_index(store._collections, winner, extraction())
    uploads._put_index(store._collections, loser, extraction())
    assert uploads._commit(store._collections, winner, extraction())
    assert not uploads._commit(store._collections, loser, extraction())
    for name in ("tag_index", "series"):
        found = await store._database[name].find_one({"patient_id": "p-1"})
        assert found is not None
        assert found["original_id"] == winner["original_id"], name
        assert found["received_at"] == winner["received_at"], name


async def test_an_instance_can_wait_for_its_tree(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes")
    assert await store.uploads.store_pending(pending(made), b"bytes")
    assert not await store.uploads.store_pending({**pending(made), "original_id": bson.ObjectId()}, b"bytes")
    waiting = await store.instances.read_elements(Visible("p-1"), made["_id"], [], ["Modality"])
    assert waiting is not None
    assert waiting["extraction"]["state"] == "pending"
    assert waiting["elements"] == {}
    failed = {"state": "failed", "version": 1, "at": clock(), "attempts": 3, "error": "It ends in the middle."}
    assert await store.instances.set_extraction(pending(made), failed)
    there = await store.instances.find(Visible("p-1"), made["_id"])
    assert there is not None
    assert there["extraction"] == failed
    assert await store.uploads.replace_derived(made, extraction())
    assert await store.instances.read_whole(Visible("p-1"), made["_id"]) == {
        **made,
        "series": extraction().series,
        "dataset": extraction().dataset,
    }
    assert await counts(store) == ONE_STORED


async def test_an_original_is_readable_by_the_drivers_bucket(
    store: Store, database: Database, backend_uri: str | None, clock: Clock
) -> None:
    content = make_bytes(CHUNK_BYTES * 2 + 17)
    made = make_instance(store, clock, content)
    await store.originals.write(made, in_parts(content, 100_000))
    with enabled_gridfs_integration() if backend_uri is None else contextlib.nullcontext():
        bucket = gridfs.GridFSBucket(database.delegate, "originals")
        target = io.BytesIO()
        bucket.download_to_stream(made["original_id"], target)
        assert target.getvalue() == content
        stream = bucket.open_download_stream(made["original_id"])
        assert (
            stream.metadata.items() >= {"patient_id": "p-1", "dicom_id": made["_id"], "sha256": made["sha256"]}.items()
        )
        assert stream.filename == made["_id"]


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, STEP_CHUNKS * CHUNK_BYTES, 5 * CHUNK_BYTES - 1])
async def test_an_original_has_as_many_chunks_as_it_needs(
    store: Store, clock: Clock, tmp_path: Path, size: int
) -> None:
    content = make_bytes(size)
    (tmp_path / "file").write_bytes(content)
    for given in (content, in_parts(content, 65536), tmp_path / "file"):
        made = make_instance(store, clock, content)
        await store.originals.write(made, given)
        original = await store.originals.open(Visible("p-1"), made["original_id"])
        assert original is not None
        assert await original.read_range() == content
        chunks = await store._database["originals.chunks"].count_documents({"files_id": made["original_id"]})
        assert chunks == -(-size // CHUNK_BYTES)


@pytest.mark.parametrize("chunk_bytes", [1000, 4096, 4 << 20])
async def test_a_small_original_with_chunks_of_another_size_is_read_as_well(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, chunk_bytes: int
) -> None:
    content = make_bytes(4096)
    made = make_instance(store, clock, content)
    with monkeypatch.context() as earlier:
        earlier.setattr(gridfs_documents, "CHUNK_BYTES", chunk_bytes)
        await store.originals.write(made, content)
    original = await store.originals.open_of(Visible("p-1"), made)
    assert original is not None
    assert await original.read_range() == content
    assert await original.read_range(999, 3001) == content[999:3001]


async def test_a_small_original_that_lost_its_chunk_is_said_to_be_damaged_and_one_that_is_gone_is_not_there(
    store: Store, clock: Clock
) -> None:
    made = make_instance(store, clock, b"bytes")
    await store.originals.write(made, b"bytes")
    original = await store.originals.open_of(Visible("p-1"), made)
    assert original is not None
    await store._database["originals.chunks"].delete_many({})
    with pytest.raises(ServiceError, match="missing"):
        await original.read_range()
    await store.originals.remove(made["original_id"])
    with pytest.raises(NotFound):
        await original.read_range()


async def test_any_range_of_an_original_can_be_read(store: Store, clock: Clock) -> None:
    content = make_bytes(3 * CHUNK_BYTES - 100)
    made = make_instance(store, clock, content)
    await store.originals.write(made, content)
    original = await store.originals.open(Visible("p-1"), made["original_id"])
    assert original is not None
    edge = CHUNK_BYTES
    for start, stop in [(0, 1), (edge - 1, edge + 1), (edge, 2 * edge), (5, 5), (9, 3), (100, None), (2 * edge, 9**9)]:
        assert await original.read_range(start, stop) == content[start:stop]


async def test_a_range_reads_only_the_chunks_it_lies_in(store: Store, clock: Clock) -> None:
    content = make_bytes(3 * CHUNK_BYTES)
    made = make_instance(store, clock, content)
    await store.originals.write(made, content)
    await store._database["originals.chunks"].delete_many({"n": {"$ne": 1}})
    original = await store.originals.open(Visible("p-1"), made["original_id"])
    assert original is not None
    assert await original.read_range(CHUNK_BYTES, 2 * CHUNK_BYTES) == content[CHUNK_BYTES : 2 * CHUNK_BYTES]
    with pytest.raises(ServiceError, match="missing"):
        await original.read_range(CHUNK_BYTES, 2 * CHUNK_BYTES + 1)


async def test_an_original_that_is_deleted_while_it_is_read_is_not_there(store: Store, clock: Clock) -> None:
    content = make_bytes(2 * CHUNK_BYTES)
    made = make_instance(store, clock, content)
    await store.originals.write(made, content)
    original = await store.originals.open(Visible("p-1"), made["original_id"])
    assert original is not None
    await store.originals.remove(made["original_id"])
    with pytest.raises(NotFound):
        await original.read_range()


async def test_a_stream_that_fails_leaves_nothing(store: Store, clock: Clock) -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield make_bytes(CHUNK_BYTES + 5)
        raise ConnectionResetError

    made = make_instance(store, clock, b"")
    with pytest.raises(ConnectionResetError):
        await store.uploads.store(made, extraction(), breaking())
    assert await counts(store) == {}


async def test_a_stream_that_is_cancelled_leaves_nothing(store: Store, clock: Clock) -> None:
    reached = asyncio.Event()

    async def stalling() -> AsyncIterator[bytes]:
        yield make_bytes(CHUNK_BYTES + 5)
        reached.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(store.uploads.store(make_instance(store, clock, b""), extraction(), stalling()))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await counts(store) == {}


async def test_a_cancelled_upload_is_stored_whole_or_not_at_all(store: Store, clock: Clock) -> None:
    content = make_bytes(2 * CHUNK_BYTES)
    made = make_instance(store, clock, content)
    task = asyncio.create_task(store.uploads.store(made, extraction(), content))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    found = await counts(store)
    assert found in ({}, {**ONE_STORED, "originals.chunks": 2})


async def test_an_id_is_of_this_database_patient_and_bytes(store: Store) -> None:
    sha256 = hashlib.sha256(b"").hexdigest()
    assert store.namespaces.own_id("p-1", sha256) == store.namespaces.own_id("p-1", sha256)
    assert store.namespaces.own_id("p-1", sha256) != store.namespaces.own_id("p-2", sha256)
    other = Store(store._database, Clock())
    with pytest.raises(ServiceError, match="prepared"):
        other.namespaces.own_id("p-1", sha256)
    other.close()


async def test_a_tree_may_come_as_bson_bytes(store: Store, backend_uri: str | None, clock: Clock) -> None:
    if backend_uri is None:
        pytest.skip("the double keeps documents as Python objects and does not look into BSON")
    made = make_instance(store, clock, b"bytes")
    plain = extraction()
    packed = extraction()
    packed.dataset = RawBSONDocument(bson.encode(plain.dataset))
    packed.index = RawBSONDocument(bson.encode(plain.index))
    assert plain.series is not None
    packed.series = RawBSONDocument(bson.encode(plain.series))
    assert await store.uploads.store(made, packed, b"bytes")
    found = await store.instances.read_whole(Visible("p-1"), made["_id"])
    assert found is not None
    assert found["dataset"] == plain.dataset
    assert (await store.instances.read_elements(Visible("p-1"), made["_id"], [], ["Modality"]) or {})["elements"] == {
        "Modality": plain.dataset["Modality"]
    }
