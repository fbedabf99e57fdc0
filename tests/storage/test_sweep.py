"""What crashes leave without an instance is found and removed; what belongs to somebody, or is young, stays."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from service.storage import sweep
from service.storage.gridfs_documents import insert_chunks
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.store import Store
from service.storage.sweep import Swept
from tests.storage.samples import ONE_STORED, Clock, counts, extraction, make_bytes, make_instance, pending

HOUR = timedelta(hours=1)
NOTHING = Swept()


@pytest.fixture(autouse=True)
async def in_three_hours(clock: Clock, store: Store) -> None:
    """The store is made first. ObjectIds are of the real time: the store lives three hours later."""
    assert store.namespaces.own_id("p", "hash")
    clock.now = datetime.now(UTC) + 3 * HOUR


async def leave_behind(store: Store, clock: Clock, content: bytes, series: str) -> dict:
    """Store an instance with a picture, and take away the document that everything hangs on."""
    made = make_instance(store, clock, content, series=series)
    assert await store.uploads.store(made, extraction(), content)
    assert await store.renditions.put("p-1", made["_id"], RenditionKey(0, 1), StoredRendition(b"png", {}))
    store._collections.instances.delete_one({"_id": made["_id"]})
    return made


async def test_what_no_instance_names_goes_and_nothing_else(store: Store, clock: Clock) -> None:
    kept = make_instance(store, clock, b"kept", series="1")
    assert await store.uploads.store(kept, extraction(), b"kept")
    await leave_behind(store, clock, b"left", "2")
    lost = ObjectId()
    insert_chunks(store._collections.originals, lost, make_bytes(2_500_000))  # an upload that did not come to its end
    assert await store.leftovers.sweep(HOUR) == Swept(originals=2, indexes=1, series=1, renditions=1)
    assert await counts(store) == ONE_STORED
    assert await store.leftovers.sweep(HOUR) == NOTHING


async def test_what_is_young_stays(store: Store, clock: Clock) -> None:
    await leave_behind(store, clock, b"left", "2")
    before = await counts(store)
    assert await store.leftovers.sweep(4 * HOUR) == NOTHING
    assert await counts(store) == before
    assert (await store.leftovers.sweep(HOUR)).total == 4


async def test_what_is_unfinished_keeps_its_original(store: Store, clock: Clock) -> None:
    for state in ("pending", "failed", "deleting"):
        made = pending(make_instance(store, clock, state.encode()))
        assert await store.uploads.store_pending(made, state.encode())
        store._collections.instances.update_one({"_id": made["_id"]}, {"$set": {"extraction.state": state}})
    assert await store.leftovers.sweep(HOUR) == NOTHING
    assert (await counts(store))["originals.files"] == 3


async def test_a_series_left_by_its_newest_shows_the_one_before(store: Store, clock: Clock) -> None:
    older = make_instance(store, clock, b"older", series="2")
    assert await store.uploads.store(older, extraction("Older"), b"older")
    await leave_behind(store, clock, b"left", "2")
    assert (await store.leftovers.sweep(HOUR)).series == 0
    shown = await store._database["series"].find_one({})
    assert shown["original_id"] == older["original_id"]
    assert await counts(store) == ONE_STORED


async def test_many_are_swept_in_steps_without_a_gap(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "BATCH", 7)
    for number in range(20):
        content = b"%d" % number
        made = make_instance(store, clock, content)
        assert await store.uploads.store(made, extraction(), content)
        insert_chunks(store._collections.originals, ObjectId(), content)
        if number % 2:
            store._collections.instances.delete_one({"_id": made["_id"]})
    assert await store.leftovers.sweep(HOUR) == Swept(originals=30, indexes=10)
    assert await store._database["instances"].count_documents({}) == 10
    assert await store._database["originals.files"].count_documents({}) == 10


async def test_one_process_at_a_time_sweeps(store: Store, clock: Clock) -> None:
    now = clock()
    assert await store.leases.take_sweep(now, now + HOUR)
    assert not await store.leases.take_sweep(now + HOUR / 2, now + 2 * HOUR)
    assert await store.leases.take_sweep(now + HOUR, now + 2 * HOUR)
