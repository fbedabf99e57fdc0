"""What a patient's originals take is counted as they come and go, and bounded; what a crash leaves is set right."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from service.errors import StorageFull
from service.storage import usage
from service.storage.store import Store
from tests.storage.samples import Clock, counts, extraction, in_parts, make_bytes, make_instance, pending

HOUR = timedelta(hours=1)


def bounded(store: Store, clock: Clock, max_bytes: int) -> Store:
    """Open the same database as another process does."""
    other = Store(store._database, clock, max_patient_bytes=max_bytes)
    other.namespaces = store.namespaces
    return other


async def put(store: Store, clock: Clock, content: bytes, way: str = "small", patient: str = "p-1") -> dict:
    made = make_instance(store, clock, content, patient_id=patient)
    if way == "async":
        await store.uploads.store_pending(pending(made), content)
    else:
        sent = in_parts(content, 700) if way == "large" else content
        await store.uploads.store(made, extraction(), sent)
    return made


@pytest.mark.parametrize("way", ["small", "large", "async"])
async def test_bytes_are_counted_as_they_come_and_given_back_as_they_go(store: Store, clock: Clock, way: str) -> None:
    first = await put(store, clock, make_bytes(3000), way)
    await put(store, clock, make_bytes(500, seed=1), way)
    await put(store, clock, make_bytes(700, seed=2), way, patient="p-2")
    assert await store.usage.read("p-1") == 3500
    await put(store, clock, make_bytes(3000), way)  # the same bytes again
    assert await store.usage.read("p-1") == 3500
    await store.deletion.delete("p-1", first["_id"])
    await store.deletion.delete("p-1", first["_id"])
    assert await store.usage.read("p-1") == 500
    assert await store.usage.read("p-2") == 700
    assert await store.usage.read("nobody") == 0


async def test_a_number_of_lately_knows_what_this_process_did_at_once_and_others_soon(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = bounded(store, clock, 0)
    first = await put(store, clock, make_bytes(3000))
    assert [await each.usage.read_lately("p-1") for each in (store, other)] == [3000, 3000]
    await put(store, clock, make_bytes(500, seed=1))
    assert [await each.usage.read_lately("p-1") for each in (store, other)] == [3500, 3000]
    await store.deletion.delete("p-1", first["_id"])
    assert [await each.usage.read_lately("p-1") for each in (store, other)] == [500, 3000]
    monkeypatch.setattr(usage, "LATELY_SECONDS", 0.0)
    assert await other.usage.read_lately("p-1") == 500


async def test_of_so_many_patients_at_most_a_number_is_remembered(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(usage, "REMEMBERED", 2)
    for number in range(5):
        await put(store, clock, make_bytes(number + 1), patient=f"p-{number}")
        assert await store.usage.read_lately(f"p-{number}") == number + 1
        assert len(store.usage._lately) <= 2


@pytest.mark.parametrize("way", ["small", "large", "async"])
async def test_what_has_no_room_is_refused_and_leaves_nothing(store: Store, clock: Clock, way: str) -> None:
    narrow = bounded(store, clock, 4000)
    await put(narrow, clock, make_bytes(3000), way)
    before = await counts(store)
    with pytest.raises(StorageFull, match=r"take 3000 of the 4000 bytes allowed, and this file has 1001"):
        await put(narrow, clock, make_bytes(1001, seed=1), way)
    assert await counts(store) == before
    assert await narrow.usage.read("p-1") == 3000
    await put(narrow, clock, make_bytes(1000, seed=2), way)
    await put(narrow, clock, make_bytes(3000), way)  # what is there already needs no room
    assert await narrow.usage.read("p-1") == 4000
    await put(narrow, clock, make_bytes(4000, seed=3), way, patient="p-2")  # another patient's room is another
    narrow.close()


async def test_two_processes_cannot_pass_the_bound_together(store: Store, clock: Clock) -> None:
    processes = [bounded(store, clock, 5000) for _ in range(2)]
    uploads = [put(processes[number % 2], clock, make_bytes(1000, seed=number)) for number in range(12)]
    came = await asyncio.gather(*uploads, return_exceptions=True)
    refused = [each for each in came if isinstance(each, BaseException)]
    assert all(isinstance(each, StorageFull) for each in refused)
    assert len(refused) == 7
    assert [await each.usage.read("p-1") for each in processes] == [5000, 5000]
    assert (await counts(store))["originals.files"] == 5
    for each in processes:
        each.close()


async def test_of_ten_at_once_with_the_same_bytes_one_is_counted(store: Store, clock: Clock) -> None:
    await asyncio.gather(*(put(store, clock, make_bytes(1000), way) for way in ("small", "large", "async") * 3))
    assert await store.usage.read("p-1") == 1000


async def test_files_that_came_before_there_were_counters_count(store: Store, clock: Clock) -> None:
    first = await put(store, clock, make_bytes(3000))
    store._collections.usage.delete_many({})
    assert await store.usage.read("p-1") == 3000
    narrow = bounded(store, clock, 4000)
    with pytest.raises(StorageFull):
        await put(narrow, clock, make_bytes(2000, seed=1))
    await store.deletion.delete("p-1", first["_id"])
    assert await narrow.usage.read("p-1") == 0
    narrow.close()


async def test_what_a_crash_left_counted_is_set_right_once_nothing_can_be_under_way(store: Store, clock: Clock) -> None:
    clock.now = datetime.now(UTC) + 3 * HOUR  # the counters are of the real time
    await put(store, clock, make_bytes(3000))
    store.usage.reserve(make_instance(store, clock, make_bytes(400, seed=1)))  # and the process ends
    store.usage.reserve(make_instance(store, clock, make_bytes(500), patient_id="p-2"))
    assert await store.usage.read("p-1") == 3400
    await store.leftovers.sweep(4 * HOUR)
    assert await store.usage.read("p-1") == 3400  # it might still come
    await store.leftovers.sweep(HOUR)
    assert await store.usage.read("p-1") == 3000
    assert await store.usage.read("p-2") == 0
    assert [each["_id"] for each in store._collections.usage.find({})] == ["p-1"]


async def test_originals_that_no_instance_names_are_given_back_as_they_are_swept(store: Store, clock: Clock) -> None:
    clock.now = datetime.now(UTC) + 3 * HOUR
    made = await put(store, clock, make_bytes(3000))
    await put(store, clock, make_bytes(200, seed=1))
    store._collections.instances.delete_one({"_id": made["_id"]})
    await store.leftovers.sweep(HOUR)
    assert await store.usage.read("p-1") == 200
