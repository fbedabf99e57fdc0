"""The cache of pictures: bounded, and never left behind."""

from __future__ import annotations

from service.storage.renditions import MAX_RENDITION_BYTES, RenditionKey, StoredRendition
from service.storage.store import Store
from tests.storage.samples import Clock, counts, envelope, extraction, make_bytes


async def store_one(store: Store, clock: Clock) -> str:
    made = envelope(store, clock, b"bytes")
    assert await store.store_instance(made, extraction(), b"bytes")
    return str(made["_id"])


async def test_a_picture_comes_back_with_what_was_said_about_it(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    kept = StoredRendition(make_bytes(3_000_000), {"media_type": "image/png", "window": [40.0, 400.0]})
    assert await store.put_rendition("p-1", dicom_id, RenditionKey(3, 1), kept)
    assert await store.find_rendition("p-1", dicom_id, RenditionKey(3, 1)) == kept
    assert await store.find_rendition("p-1", dicom_id, RenditionKey(2, 1)) is None
    assert await store.find_rendition("p-2", dicom_id, RenditionKey(3, 1)) is None


async def test_another_version_of_the_renderer_evicts(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    for frame in range(3):
        await store.put_rendition("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(b"old", {}))
    await store.put_rendition("p-1", dicom_id, RenditionKey(0, 2), StoredRendition(b"new", {}))
    assert await store.find_rendition("p-1", dicom_id, RenditionKey(0, 1)) is None
    assert (await counts(store))["rendered.files"] == 1


async def test_a_picture_that_lost_a_chunk_is_not_there(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    await store.put_rendition("p-1", dicom_id, RenditionKey(0, 1), StoredRendition(make_bytes(2_000_000), {}))
    await store._database["rendered.chunks"].delete_one({"n": 1})
    assert await store.find_rendition("p-1", dicom_id, RenditionKey(0, 1)) is None


async def test_a_very_large_picture_is_not_kept(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    large = StoredRendition(bytes(MAX_RENDITION_BYTES + 1), {})
    assert not await store.put_rendition("p-1", dicom_id, RenditionKey(0, 1), large)
    assert "rendered.files" not in await counts(store)


async def test_all_pictures_of_an_instance_can_be_dropped(store: Store, clock: Clock) -> None:
    dicom_id = await store_one(store, clock)
    for frame in range(3):
        await store.put_rendition("p-1", dicom_id, RenditionKey(frame, 1), StoredRendition(b"png", {}))
    await store.drop_renditions("p-1", dicom_id)
    assert not [name for name in await counts(store) if name.startswith("rendered")]
