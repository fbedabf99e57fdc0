"""The cache of pictures: bounded, and never left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from functools import partial

import pytest

from service.storage.renditions import MAX_RENDITION_BYTES, RenditionKey, StoredRendition, bytes_held
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, counts, extraction, make_bytes, make_instance


async def store_one(store: Store, clock: Clock) -> str:
    made = make_instance(store, clock, b"bytes")
    assert await store.uploads.store(made, extraction(), b"bytes")
    return str(made["_id"])


async def find(store: Store, patient_id: str, dicom_id: str, key: RenditionKey) -> StoredRendition | None:
    instance, picture = await store.renditions.find(Visible(patient_id), dicom_id, key)
    assert (instance is None) == (patient_id != "p-1")
    return picture


async def test_a_picture_comes_back_with_what_was_said_about_it(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    kept = StoredRendition(make_bytes(3_000_000), {"media_type": "image/png", "window": [40.0, 400.0]})
    assert await store.renditions.put("p-1", dicom_id, RenditionKey(3, 1), kept)
    assert await find(store, "p-1", dicom_id, RenditionKey(3, 1)) == kept
    assert await find(store, "p-1", dicom_id, RenditionKey(2, 1)) is None
    assert await find(store, "p-2", dicom_id, RenditionKey(3, 1)) is None


async def test_another_version_of_the_renderer_evicts(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    for frame in range(3):
        await store.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(b"old", {}))
    await store.renditions.put("p-1", dicom_id, RenditionKey(0, 2), StoredRendition(b"new", {}))
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) is None
    assert (await counts(store))["rendered.files"] == 1


async def test_a_picture_that_lost_a_chunk_is_not_there(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), StoredRendition(make_bytes(2_000_000), {}))
    await store._database["rendered.chunks"].delete_one({"n": 1})
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) is None


async def test_of_two_that_were_made_at_the_same_time_a_whole_one_is_given(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    kept = StoredRendition(make_bytes(2_000_000), {"media_type": "image/png"})
    for _ in range(2):
        assert await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), kept)
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) == kept
    await store._database["rendered.chunks"].delete_one({"n": 1})
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) == kept


async def test_a_picture_from_before_there_were_names_is_made_again(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), StoredRendition(b"png", {}))
    await store._database["rendered.chunks"].update_many({}, {"$unset": {"picture": "", "length": "", "about": ""}})
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) is None
    again = StoredRendition(b"png", {"media_type": "image/png"})
    assert await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), again)
    assert await find(store, "p-1", dicom_id, RenditionKey(0, 1)) == again


async def test_a_picture_of_an_instance_that_is_being_deleted_is_not_seen(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), StoredRendition(b"png", {}))
    seen, _ = await store.renditions.find(Visible("p-1"), dicom_id, RenditionKey(0, 1))
    assert seen is not None
    assert "dataset" not in seen
    await store._database["instances"].update_one({"_id": dicom_id}, {"$set": {"extraction.state": "deleting"}})
    assert await store.renditions.find(Visible("p-1"), dicom_id, RenditionKey(0, 1)) == (None, None)


async def test_a_very_large_picture_is_not_kept(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    large = StoredRendition(bytes(MAX_RENDITION_BYTES + 1), {})
    assert not await store.renditions.put("p-1", dicom_id, RenditionKey(0, 1), large)
    assert "rendered.files" not in await counts(store)


async def test_all_pictures_of_an_instance_go_with_it(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    for frame in range(3):
        await store.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(b"png", {}))
    assert await held(store) == 9
    await store.deletion.delete("p-1", dicom_id)
    assert await counts(store) == {}
    assert await held(store) == 0


# --- the bound of bytes


async def held(store: Store) -> int:
    return await store._threads.run(partial(bytes_held, store._collections))


async def frames_kept(store: Store) -> list[int]:
    files = await store._database["rendered.files"].find({}, {"metadata.frame": 1}).to_list(None)
    return sorted(file["metadata"]["frame"] for file in files)


async def other_process(store: Store, clock: Clock, max_rendered_bytes: int) -> Store:
    other = Store(store._database, clock, max_rendered_bytes=max_rendered_bytes)
    await other.prepare()
    return other


@pytest.fixture
async def small(store: Store, clock: Clock) -> AsyncIterator[Store]:
    """A store on the same database whose pictures may take 10,000 bytes."""
    other = await other_process(store, clock, 10_000)
    yield other
    other.close()


async def test_beyond_the_bound_the_oldest_pictures_go(small: Store, clock: Clock) -> None:
    dicom_id = await store_one(small, clock)
    for frame in range(7):
        assert await small.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(bytes(3000), {}))
    assert await frames_kept(small) == [4, 5, 6]
    assert await held(small) == 9000
    assert (await counts(small))["rendered.chunks"] == 3
    assert await find(small, "p-1", dicom_id, RenditionKey(3, 1)) is None
    assert await find(small, "p-1", dicom_id, RenditionKey(4, 1)) == StoredRendition(bytes(3000), {})


async def test_what_alone_is_beyond_the_bound_costs_no_other_its_place(small: Store, clock: Clock) -> None:
    dicom_id = await store_one(small, clock)
    assert await small.renditions.put("p-1", dicom_id, RenditionKey(0, 1), StoredRendition(b"png", {}))
    assert not await small.renditions.put("p-1", dicom_id, RenditionKey(1, 1), StoredRendition(bytes(10_001), {}))
    assert await frames_kept(small) == [0]


async def test_several_processes_hold_one_bound(small: Store, clock: Clock) -> None:
    dicom_id = await store_one(small, clock)
    other = await other_process(small, clock, 10_000)

    async def put(store: Store, frames: Iterable[int]) -> None:
        for frame in frames:
            await store.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(bytes(3000), {}))

    await asyncio.gather(*(put((small, other)[turn % 2], range(turn * 5, turn * 5 + 5)) for turn in range(4)))
    kept = await frames_kept(small)
    assert 1 <= len(kept) <= 3
    assert await held(small) == 3000 * len(kept)
    assert (await counts(small))["rendered.chunks"] == len(kept)
    other.close()


async def test_a_sweep_sets_the_count_right_and_holds_a_bound_that_was_lowered(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    for frame in range(30):
        await store.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(bytes(3000), {}))
    # A crash between a picture and its count, and a database from before there was one.
    await store._database["meta"].update_one({"_id": "store"}, {"$unset": {"rendered_bytes": ""}})
    lower = await other_process(store, clock, 10_000)
    await lower.leftovers.sweep(timedelta(hours=1))
    assert await frames_kept(store) == [27, 28, 29]
    assert await held(store) == 9000
    lower.close()


async def test_a_count_that_is_too_high_empties_the_cache_at_most(small: Store, clock: Clock) -> None:
    dicom_id = await store_one(small, clock)
    await small._database["meta"].update_one({"_id": "store"}, {"$set": {"rendered_bytes": 1_000_000}})
    for frame in range(2):
        assert await small.renditions.put("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(bytes(3000), {}))
    assert await frames_kept(small) == []
    await small.leftovers.sweep(timedelta(hours=1))
    assert await small.renditions.put("p-1", dicom_id, RenditionKey(3, 1), StoredRendition(bytes(3000), {}))
    assert await frames_kept(small) == [3]
