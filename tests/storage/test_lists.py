"""Lists made of what stands beside originals say what the instances say."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from bson import ObjectId

from service.storage import newest
from service.storage.settled import Committed
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, make_bytes, make_instance, pending

PARTS = (
    Visible("p-1"),
    Visible("p-2"),
    Visible("p-1", studies=frozenset(["1.2.1"])),
    Visible("p-1", series=frozenset(["1.2.3"])),
)
HORIZON = timedelta(seconds=3600)


def another(store: Store) -> Store:
    """The same database as another process has it, which has seen nothing yet."""
    other = Store(store._database, store._clock)
    other.namespaces = store.namespaces
    return other


async def check(*stores: Store) -> None:
    """Compare pages of all, and the last of many, with what the index of the instances says."""
    by_index = replace(stores[0].instances, lists_by_index=True)
    for visible in PARTS:
        everything, more = await by_index.list_newest(visible, 1000)
        assert not more
        for store in stores:
            for limit, offset in ((1, 0), (3, 0), (3, 4), (50, 0), (2, len(everything) - 1), (5, 40)):
                found = await store.instances.list_newest(visible, limit, max(offset, 0))
                page = everything[max(offset, 0) :]
                assert found == (page[:limit], len(page) > limit), (visible, limit, offset)


@pytest.mark.parametrize("seed", range(2))
async def test_they_are_those_by_the_index_whatever_was_done_and_by_whom(
    store: Store, clock: Clock, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    stores = [store, another(store), another(store)]
    stores[2].instances = replace(stores[2].instances, committed=Committed(2))
    monkeypatch.setattr(newest, "MAX_FILES", rng.choice((8, 1000)))
    made: list[dict[str, Any]] = []

    def new(**changes: Any) -> tuple[dict[str, Any], bytes]:
        content = make_bytes(9, rng.randrange(10**9))
        patient = rng.choice(("p-1", "p-1", "p-2"))
        series = rng.choice(("1.2.2", "1.2.3", None))
        each = make_instance(store, clock, content, patient, series, **changes)
        if made and rng.random() < 0.3:
            each["received_at"] = made[-1]["received_at"]
        made.append(each)
        return each, content

    async def upload(by: Store) -> None:
        warnings = [{"path": f"{number}", "problem": "strange"} for number in range(rng.choice((0, 0, 1, 40)))]
        each, content = new(warnings=warnings, problems=len(warnings))
        await by.uploads.store(each, extraction(), content)

    async def upload_pending(by: Store) -> None:
        each, content = new()
        await by.uploads.store_pending(pending(each), content)

    async def extract(by: Store) -> None:
        if made:
            each = rng.choice(made)
            each = {**each, "extraction": {**each["extraction"], "at": clock()}, "problems": 1, "spilled": True}
            await by.uploads.replace_derived(each, extraction("Neck"))

    async def fail(by: Store) -> None:
        if made:
            each = rng.choice(made)
            there = await by.instances.find(Visible(each["patient_id"]), each["_id"])
            if there is not None:
                await by.instances.set_extraction(there, {**there["extraction"], "state": "failed", "error": "why"})

    async def delete(by: Store) -> None:
        if made:
            each = rng.choice(made)
            await by.deletion.delete(each["patient_id"], each["_id"])

    async def begin_to_delete(by: Store) -> None:
        if made:
            each = rng.choice(made)
            await by.deletion.mark_study(each["patient_id"], "1.2.1", None, [each["_id"]])

    async def leave_an_original(by: Store) -> None:
        each, content = new()
        made.pop()
        await by.originals.write(each, content)

    async def sweep(by: Store) -> None:
        clock.now += 2 * HORIZON
        await by.leftovers.sweep(timedelta(0))

    steps: list[Callable[[Store], Any]] = [upload, upload, upload, upload_pending, extract, fail, delete]
    steps += [begin_to_delete, leave_an_original, sweep]
    for number in range(30):
        await rng.choice(steps)(rng.choice(stores))
        if number % 5 == 4:
            await check(*stores)
    await check(*stores)
    for other in stores[1:]:
        other.close()


async def test_one_that_has_been_seen_is_not_looked_at_again(store: Store, clock: Clock) -> None:
    other = another(store)
    made = [make_instance(store, clock, make_bytes(9, seed)) for seed in range(3)]
    for seed, each in enumerate(made):
        await store.uploads.store(each, extraction(), make_bytes(9, seed))
    instances = store._database["instances"]

    async def names(by: Store) -> list[str | None]:
        return [each["file_name"] for each in (await by.instances.list_newest(Visible("p-1"), 5))[0]]

    if store.instances.lists_by_index:
        pytest.skip("this server lists by its index")
    await instances.update_many({}, {"$set": {"file_name": "of the instance"}})
    assert await names(store) == ["slice.dcm"] * 3  # it was stored here
    assert await names(other) == ["of the instance"] * 3  # nobody has said here that it is there
    assert await names(other) == ["slice.dcm"] * 3
    assert await store.instances.set_extraction(made[1], {**made[1]["extraction"], "state": "failed"})
    assert await names(store) == ["slice.dcm", "of the instance", "slice.dcm"]
    other.close()


def test_what_was_seen_first_is_forgotten_first() -> None:
    ids = [ObjectId() for _ in range(5)]
    committed = Committed(3)
    committed.add(ids[:2])
    committed.add(ids[2:])
    assert [each in committed for each in ids] == [False, False, True, True, True]
