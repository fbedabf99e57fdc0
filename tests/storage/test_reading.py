"""What is read is the patient's own, in order, and no more of it than was asked for."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import pytest

from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, make_bytes, make_instance

KEYS = ("Modality", "PatientName", "00091001", "ReferencedImageSequence", "ContentSequence", "0009100A")


async def store_tree(store: Store, clock: Clock, dataset: dict[str, Any], seed: int = 0) -> str:
    made = make_instance(store, clock, make_bytes(20, seed))
    tree = extraction()
    tree.dataset = dataset
    assert await store.uploads.store(made, tree, make_bytes(20, seed))
    return str(made["_id"])


@pytest.fixture(params=["as the server does", "by its index"], autouse=True)
def listing(request: pytest.FixtureRequest, store: Store) -> None:
    """How lists are read: every server also knows the way of those that stop an index early, if slowly."""
    if request.param == "by its index":
        store.instances = replace(store.instances, lists_by_index=True)


async def test_the_list_is_newest_first_in_pages(store: Store, clock: Clock) -> None:
    made = [make_instance(store, clock, make_bytes(9, seed)) for seed in range(7)]
    together = clock()
    made[2]["received_at"] = made[3]["received_at"] = together  # a tie is settled by the id
    for seed in (3, 0, 6, 1, 5, 2, 4):
        assert await store.uploads.store(made[seed], extraction(), make_bytes(9, seed))
    await store.uploads.store(make_instance(store, clock, b"other", patient_id="p-2"), extraction(), b"other")
    expected = sorted(sorted(made, key=lambda each: each["_id"]), key=lambda each: each["received_at"], reverse=True)
    assert await store.instances.list_newest(Visible("p-1"), 100) == (expected, False)
    assert await store.instances.list_newest(Visible("p-1"), 7) == (expected, False)
    assert await store.instances.list_newest(Visible("p-1"), 3) == (expected[:3], True)
    assert await store.instances.list_newest(Visible("p-1"), 3, 3) == (expected[3:6], True)
    assert await store.instances.list_newest(Visible("p-1"), 3, 6) == (expected[6:], False)
    assert await store.instances.list_newest(Visible("p-1"), 3, 60) == ([], False)
    assert await store.instances.list_newest(Visible("nobody"), 3) == ([], False)


async def test_pages_are_the_same_however_series_come_together(store: Store, clock: Clock) -> None:
    series = ["1.1", "1.1", "1.2", "1.3", None, "1.3", "1.1", "1.4", "1.5", "1.6", "1.6", "1.7"]
    made = [make_instance(store, clock, make_bytes(9, seed), series=uid) for seed, uid in enumerate(series)]
    for seed, each in enumerate(made):
        extracted = extraction()
        extracted.series = extracted.series if each["series_instance_uid"] else None
        await store.uploads.store(each, extracted, make_bytes(9, seed))
    for limit in (1, 2, 5, 11, 12):
        for offset in range(0, 13, 3):
            expected = made[::-1][offset : offset + limit]
            assert await store.instances.list_newest(Visible("p-1"), limit, offset) == (
                expected,
                offset + limit < len(made),
            )


async def test_originals_without_an_instance_do_not_shorten_the_list(store: Store, clock: Clock) -> None:
    made = [make_instance(store, clock, make_bytes(9, seed)) for seed in range(6)]
    for seed, each in enumerate(made):
        await store.uploads.store(each, extraction(), make_bytes(9, seed))
    for seed in range(20, 35):
        await store.originals.write(make_instance(store, clock, make_bytes(9, seed)), make_bytes(9, seed))
    assert await store.instances.list_newest(Visible("p-1"), 4) == (made[:1:-1], True)
    assert await store.instances.list_newest(Visible("p-1"), 4, 4) == (made[1::-1], False)


async def test_a_list_counts_the_newest_of_the_same_moment(store: Store, clock: Clock) -> None:
    moment = clock()
    made = [make_instance(store, clock, make_bytes(9, seed), received_at=moment) for seed in range(5)]
    for seed, each in enumerate(made):
        await store.uploads.store(each, extraction(), make_bytes(9, seed))
    made.sort(key=lambda each: each["_id"])
    for offset in range(5):
        assert await store.instances.list_newest(Visible("p-1"), 1, offset) == ([made[offset]], offset < 4)


async def test_another_patients_instance_is_not_there(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes")
    await store.uploads.store(made, extraction(), b"bytes")
    dicom_id = made["_id"]
    assert await store.instances.find(Visible("p-2"), dicom_id) is None
    assert await store.instances.read_whole(Visible("p-2"), dicom_id) is None
    assert await store.instances.read_elements(Visible("p-2"), dicom_id, [], ["Modality"]) is None
    assert await store.instances.read_elements(Visible("p-2"), dicom_id, [("ContentSequence", 0)], ["Modality"]) is None
    assert await store.originals.open(Visible("p-2"), made["original_id"]) is None
    assert not await store.deletion.delete("p-2", dicom_id)
    assert not await store.uploads.replace_derived({**made, "patient_id": "p-2"}, extraction())
    assert not await store.instances.set_extraction({**made, "patient_id": "p-2"}, made["extraction"])
    assert await store.instances.find(Visible("p-1"), dicom_id) == made


async def test_top_level_elements_come_alone(store: Store, clock: Clock) -> None:
    dicom_id = await store_tree(
        store, clock, {"Modality": {"vr": "CS", "Value": ["CT"]}, "00091001": {"vr": "UN", "InlineBinary": b"\x00"}}
    )
    found = await store.instances.read_elements(Visible("p-1"), dicom_id, [], ["00091001", "PatientName"])
    assert found is not None
    assert found["elements"] == {"00091001": {"vr": "UN", "InlineBinary": b"\x00"}}
    assert found["spilled"] is False
    assert found["extraction"]["state"] == "done"


async def test_elements_of_items_are_what_plain_python_finds(store: Store, clock: Clock) -> None:
    rng = random.Random(7)

    def make_item(depth: int) -> dict[str, Any]:
        item: dict[str, Any] = {}
        for key in rng.sample(KEYS, rng.randint(0, len(KEYS))):
            if depth < 4 and key.endswith("Sequence"):
                item[key] = {"vr": "SQ", "Value": [make_item(depth + 1) for _ in range(rng.randint(1, 3))]}
                if rng.random() < 0.15:
                    item[key] = rng.choice(
                        [{"vr": "SQ"}, {"vr": "SQ", "Value": []}, {"vr": "SQ", "items": 3, "spilled": True}]
                    )
            elif key == "PatientName":
                item[key] = {"vr": "PN", "Value": [{"Alphabetic": f"A^{rng.random()}"}]}
            else:
                item[key] = {"vr": "LO", "Value": [None, str(rng.random())][: rng.randint(1, 2)]}
        return item

    def look_up(dataset: dict[str, Any], parents: list[tuple[str, int]], keys: list[str]) -> dict[str, Any]:
        here: Any = dataset
        for key, item in parents:
            items = here.get(key, {}).get("Value") or []
            here = items[item] if item < len(items) and isinstance(items[item], dict) else {}
        return {key: here[key] for key in keys if key in here}

    found_some = 0
    for seed in range(6):
        dataset = make_item(0) | {"ContentSequence": {"vr": "SQ", "Value": [make_item(1) for _ in range(4)]}}
        dicom_id = await store_tree(store, clock, dataset, seed)
        for _ in range(25):
            parents = [("ContentSequence", rng.randint(0, 4))]
            parents += [(rng.choice(KEYS), rng.choice([0, 0, 1, 2])) for _ in range(rng.randint(0, 3))]
            keys = rng.sample(KEYS, rng.randint(1, 4))
            found = await store.instances.read_elements(Visible("p-1"), dicom_id, parents, keys)
            assert found is not None
            expected = look_up(dataset, parents, keys)
            assert found["elements"] == expected, (parents, keys)
            found_some += bool(expected)
    assert found_some > 20


async def test_one_item_of_many_comes_alone(store: Store, clock: Clock) -> None:
    items = [{"InstanceNumber": {"vr": "IS", "Value": [number]}} for number in range(300)]
    dicom_id = await store_tree(store, clock, {"ContentSequence": {"vr": "SQ", "Value": items}})
    for number in (0, 117, 299):
        found = await store.instances.read_elements(
            Visible("p-1"), dicom_id, [("ContentSequence", number)], ["InstanceNumber"]
        )
        assert found is not None
        assert found["elements"] == items[number]


@pytest.mark.parametrize("key", ["", "a.b", "$where", "dataset.x", "Modality ", "Überschrift", "a\x00"])
async def test_what_is_no_key_never_becomes_a_query(store: Store, key: str) -> None:
    with pytest.raises(ValueError, match="key"):
        await store.instances.read_elements(Visible("p-1"), "id", [], [key])
    with pytest.raises(ValueError, match="key"):
        await store.instances.read_elements(Visible("p-1"), "id", [(key, 0)], ["Modality"])


async def test_items_do_not_count_from_the_end(store: Store) -> None:
    with pytest.raises(ValueError, match="from 0"):
        await store.instances.read_elements(Visible("p-1"), "id", [("ContentSequence", -1)], ["Modality"])
