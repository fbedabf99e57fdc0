"""A delete takes everything of one instance, in an order that a crash or a race cannot corrupt."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.errors import Unavailable
from service.storage import deletion, series, uploads
from service.storage.group_commit import SmallUpload
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import ONE_STORED, Clock, counts, extraction, in_parts, make_bytes, make_instance

KEY = RenditionKey(frame=0, renderer=1)


async def store_one(store: Store, clock: Clock, content: bytes, description: str = "Head", **changes: Any) -> dict:
    made = make_instance(store, clock, content, **changes)
    assert await store.uploads.store(made, extraction(description), content)
    return made


async def shown(store: Store) -> tuple[str, str] | None:
    """Tell which instance the one series shows, and its description."""
    found = await store._database["series"].find_one({"patient_id": "p-1"})
    return found and (found["dicom_id"], found["attributes"]["SeriesDescription"]["Value"][0])


async def test_everything_of_an_instance_goes_and_nothing_else(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, make_bytes(3 * 1024 * 1024))
    await store.renditions.put("p-1", made["_id"], KEY, StoredRendition(b"png", {}))
    other = await store_one(store, clock, b"other", series="1.2.9")
    await store.renditions.put("p-1", other["_id"], KEY, StoredRendition(b"png", {}))
    assert await store.deletion.delete("p-1", made["_id"])
    assert not await store.deletion.delete("p-1", made["_id"])
    assert await counts(store) == {**ONE_STORED, "rendered.chunks": 1, "rendered.files": 1}
    assert await store.instances.find(Visible("p-1"), other["_id"]) == other
    _, picture = await store.renditions.find(Visible("p-1"), other["_id"], KEY)
    assert picture is not None


async def test_an_original_of_many_chunks_goes_whole(store: Store, clock: Clock, monkeypatch: Any) -> None:
    monkeypatch.setattr("service.storage.gridfs_documents.CHUNK_BYTES", 1000)
    made = await store_one(store, clock, make_bytes(150_500))
    assert (await counts(store))["originals.chunks"] == 151
    assert await store.deletion.delete("p-1", made["_id"])
    assert await counts(store) == {}


async def test_an_instance_that_is_being_deleted_is_not_seen(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes")
    dicom_id = made["_id"]
    assert deletion.mark_deleting(store._collections, "p-1", dicom_id) is not None
    assert await store.instances.find(Visible("p-1"), dicom_id) is None
    assert await store.instances.list_newest(Visible("p-1"), 10) == ([], False)
    assert await store.instances.read_whole(Visible("p-1"), dicom_id) is None
    assert await store.instances.read_elements(Visible("p-1"), dicom_id, [], ["Modality"]) is None
    assert await store.instances.read_elements(Visible("p-1"), dicom_id, [("ContentSequence", 0)], ["Modality"]) is None
    assert not await store.renditions.put("p-1", dicom_id, KEY, StoredRendition(b"png", {}))
    assert not await store.uploads.replace_derived(made, extraction())
    assert not await store.instances.set_extraction(made, made["extraction"])
    assert not await store.deletion.delete("p-1", dicom_id)


async def test_a_delete_can_be_finished_after_every_step(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes")
    marked = deletion.mark_deleting(store._collections, "p-1", made["_id"])
    assert marked is not None
    store._collections.tag_index.delete_one({"_id": made["_id"]})
    store._collections.originals.files.delete_one({"_id": made["original_id"]})
    await store.deletion.finish(marked)
    assert await counts(store) == {}
    await store.deletion.finish(marked)


async def test_an_upload_of_bytes_being_deleted_finishes_the_delete_first(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes")
    deletion.mark_deleting(store._collections, "p-1", made["_id"])
    again = await store_one(store, clock, b"bytes")
    assert again["_id"] == made["_id"]
    assert await store.instances.find(Visible("p-1"), made["_id"]) == again
    assert await counts(store) == ONE_STORED


async def test_a_delete_that_ends_late_takes_nothing_of_the_same_bytes_stored_anew(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes")
    marked = deletion.mark_deleting(store._collections, "p-1", made["_id"])
    assert marked is not None
    again = await store_one(store, clock, b"bytes")
    await store.deletion.finish(marked)  # the slow one, which had only set its mark
    assert await counts(store) == ONE_STORED
    assert await store.instances.read_whole(Visible("p-1"), again["_id"]) is not None
    original = await store.originals.open(Visible("p-1"), again["original_id"])
    assert original is not None
    assert await original.read_range() == b"bytes"


async def test_uploads_and_deletes_of_the_same_bytes_at_once_end_whole(store: Store, clock: Clock) -> None:
    content = make_bytes(2000)
    dicom_id = make_instance(store, clock, content)["_id"]

    async def upload() -> None:
        await store.uploads.store(make_instance(store, clock, content), extraction(), content)

    async def delete() -> None:
        await store.deletion.delete("p-1", dicom_id)

    for _ in range(5):
        await asyncio.gather(*(upload() if number % 2 else delete() for number in range(8)))
        there = await store.instances.find(Visible("p-1"), dicom_id)
        if there is None:
            continue
        original = await store.originals.open(Visible("p-1"), there["original_id"])
        assert original is not None
        assert await original.read_range() == content
        index = await store._database["tag_index"].find_one({"_id": dicom_id})
        assert index is not None
        assert index["original_id"] == there["original_id"]
        assert await shown(store) is not None
    await delete()
    found = await counts(store)
    assert "instances" not in found
    assert "originals.files" not in found


async def test_a_series_shows_its_newest_instance(store: Store, clock: Clock) -> None:
    early = make_instance(store, clock, b"early")
    newest = await store_one(store, clock, b"late", "late")
    assert await store.uploads.store(early, extraction("early"), b"early")
    assert await shown(store) == (newest["_id"], "late")
    assert (await counts(store))["series"] == 1


async def test_a_new_series_shows_the_newest_of_many_at_once(
    store: Store, clock: Clock, backend_uri: str | None
) -> None:
    if backend_uri is None:
        pytest.skip("the double looks at a document and changes it in two steps")
    for number in range(4):
        made = [make_instance(store, clock, f"{number}/{each}".encode(), series=f"1.{number}") for each in range(8)]
        await asyncio.gather(
            *(store.uploads.store(each, extraction(str(n)), f"{number}/{n}".encode()) for n, each in enumerate(made))
        )
        found = await store._database["series"].find_one({"series_instance_uid": f"1.{number}"})
        assert found is not None
        assert found["dicom_id"] == made[-1]["_id"]
        assert found["attributes"]["SeriesDescription"]["Value"] == ["7"]


async def test_a_series_shows_the_next_newest_after_a_delete_and_goes_with_the_last(store: Store, clock: Clock) -> None:
    first, second, third = [await store_one(store, clock, text.encode(), text) for text in ("one", "two", "three")]
    await store.deletion.delete("p-1", third["_id"])
    assert await shown(store) == (second["_id"], "two")
    await store.deletion.delete("p-1", first["_id"])
    assert await shown(store) == (second["_id"], "two")
    await store.deletion.delete("p-1", second["_id"])
    assert await counts(store) == {}


async def test_the_next_newest_of_a_series_may_be_long_ago(store: Store, clock: Clock) -> None:
    first = await store_one(store, clock, b"first", "first")
    for number in range(40):
        await store_one(store, clock, f"other {number}".encode(), series="1.2.9")
    last = await store_one(store, clock, b"last", "last")
    await store.deletion.delete("p-1", last["_id"])
    found = await store._database["series"].find_one({"series_instance_uid": "1.2.2"})
    assert found is not None
    assert found["dicom_id"] == first["_id"]


async def test_deletes_of_the_newest_two_at_once_leave_the_third_shown(store: Store, clock: Clock) -> None:
    for round_number in range(4):
        made = [await store_one(store, clock, f"{round_number}{text}".encode(), text) for text in ("a", "b", "c")]
        await asyncio.gather(*(store.deletion.delete("p-1", each["_id"]) for each in made[1:]))
        assert await shown(store) == (made[0]["_id"], "a")
        await store.deletion.delete("p-1", made[0]["_id"])
    assert await counts(store) == {}


async def test_an_instance_without_uids_has_no_series(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes", series=None)
    tree = extraction()
    tree.series = None
    assert await store.uploads.store(made, tree, b"bytes")
    assert "series" not in await counts(store)
    assert await store.deletion.delete("p-1", made["_id"])
    assert await counts(store) == {}


async def test_derived_data_that_comes_after_a_delete_leaves_nothing(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes", series=None)
    await store.deletion.delete("p-1", made["_id"])
    tree = extraction()
    tree.series = None
    assert not await store.uploads.replace_derived(made, tree)
    assert not await store.renditions.put("p-1", made["_id"], KEY, StoredRendition(b"png", {}))
    assert await counts(store) == {}


async def test_a_reindex_that_meets_a_delete_brings_nothing_back(store: Store, clock: Clock, monkeypatch: Any) -> None:
    made = await store_one(store, clock, b"bytes")

    def put_series_late(collections: Any, instance: Any, attributes: Any) -> None:
        store._collections.instances.update_one({"_id": made["_id"]}, {"$set": {"extraction.state": "deleting"}})
        deletion.finish_at_once(store._collections, made)
        series.put_series(collections, instance, attributes)

    monkeypatch.setattr(uploads, "put_series", put_series_late)
    assert not await store.uploads.replace_derived(made, extraction())
    assert await counts(store) == {}


async def test_a_late_writer_leaves_its_index_to_the_same_bytes_stored_anew(
    store: Store, clock: Clock, monkeypatch: Any
) -> None:
    made = await store_one(store, clock, b"bytes")
    anew = make_instance(store, clock, b"bytes")
    put_series = series.put_series

    def put_series_late(collections: Any, shown: Any, attributes: Any) -> None:
        monkeypatch.setattr(uploads, "put_series", put_series)
        store._collections.instances.update_one({"_id": made["_id"]}, {"$set": {"extraction.state": "deleting"}})
        deletion.finish_at_once(store._collections, made)
        assert uploads._store_alone(store._collections, SmallUpload(anew, extraction(), b"bytes"))
        # The late writer's index and series come after those of the new upload.
        late = {"$set": {"original_id": made["original_id"]}}
        store._collections.tag_index.update_one({"_id": made["_id"]}, late)
        put_series(collections, shown, attributes)

    monkeypatch.setattr(uploads, "put_series", put_series_late)
    assert not await store.uploads.replace_derived(made, extraction())
    assert await counts(store) == ONE_STORED
    for name in ("tag_index", "series"):
        shown = await store._database[name].find_one({})
        assert shown["original_id"] == anew["original_id"]


@pytest.mark.parametrize("how", ["whole", "streamed", "pending"])
async def test_an_upload_that_gives_up_against_deletes_without_end_leaves_no_original(
    store: Store, clock: Clock, monkeypatch: Any, how: str
) -> None:
    content = make_bytes(1000)
    await store_one(store, clock, content)
    dicom_id = make_instance(store, clock, content)["_id"]
    deletion.mark_deleting(store._collections, "p-1", dicom_id)
    monkeypatch.setattr(uploads, "finish_at_once", lambda *_: None)  # another one begins as soon as it is done
    again = make_instance(store, clock, content)
    with pytest.raises(Unavailable):
        if how == "pending":
            await store.uploads.store_pending(again, content)
        else:
            await store.uploads.store(again, extraction(), content if how == "whole" else in_parts(content, 100))
    assert (await counts(store))["originals.files"] == 1
    assert (await counts(store))["originals.chunks"] == 1
