"""The instances of studies and series, from documents that hold no tree."""

from __future__ import annotations

from typing import Any

import pytest

from service.storage import deletion
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, in_parts, make_bytes, make_instance, pending


async def store_one(
    store: Store, clock: Clock, content: bytes, patient_id: str = "p-1", **changes: Any
) -> dict[str, Any]:
    made = make_instance(store, clock, content, patient_id, **changes)
    assert await store.uploads.store(made, extraction(), content)
    return made


async def test_members_are_listed_by_study_series_and_instance(store: Store, clock: Clock) -> None:
    made = [
        await store_one(store, clock, f"{series} {sop}".encode(), series=series, sop_instance_uid=sop)
        for series, sop in (("1.2.2", "1.1"), ("1.2.2", "1.2"), ("1.2.9", "1.3"))
    ]
    await store_one(store, clock, b"another's", "p-2")
    await store_one(store, clock, b"without UIDs", series=None)

    async def listed(*uids: str) -> list[str]:
        return [member.dicom_id for member in await store.studies.list_members(Visible("p-1"), *uids)]

    ids = [each["_id"] for each in made]
    assert await listed() == ids
    assert await listed("1.2.1") == ids
    assert await listed("1.2.1", "1.2.2") == ids[:2]
    assert await listed("1.2.1", "1.2.2", "1.2") == ids[1:2]
    assert await listed("1.2.1", "1.2.9", "1.2") == []
    assert await listed("1.2.7") == []
    (member,) = await store.studies.list_members(Visible("p-1"), "1.2.1", "1.2.9")
    assert member.original_id == made[2]["original_id"]
    assert member.length == made[2]["size"]
    assert member.received_at == made[2]["received_at"]
    assert member.transfer_syntax_uid == "1.2.840.10008.1.2.1"


async def test_of_several_with_the_same_uids_the_newest_is_listed(store: Store, clock: Clock) -> None:
    await store_one(store, clock, b"first")
    second = await store_one(store, clock, b"second")
    third = make_instance(store, clock, make_bytes(20))
    assert await store.uploads.store(third, extraction(), in_parts(make_bytes(20), 7))
    assert [member.dicom_id for member in await store.studies.list_members(Visible("p-1"))] == [third["_id"]]
    assert await store.deletion.delete("p-1", third["_id"])
    assert [member.dicom_id for member in await store.studies.list_members(Visible("p-1"))] == [second["_id"]]


async def test_what_is_being_deleted_is_no_member(store: Store, clock: Clock) -> None:
    made = await store_one(store, clock, b"bytes")
    assert deletion.mark_deleting(store._collections, "p-1", made["_id"]) is not None
    assert await store.studies.list_members(Visible("p-1")) == []
    assert await store.instances.find_many(Visible("p-1"), [made["_id"]]) == {}


async def test_what_was_pending_becomes_a_member(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes")
    waiting = {name: value for name, value in pending(made).items() if not name.endswith("_uid")}
    assert await store.uploads.store_pending(waiting, b"bytes")
    assert await store.studies.list_members(Visible("p-1")) == []
    assert await store.uploads.replace_derived(made, extraction())
    assert [member.dicom_id for member in await store.studies.list_members(Visible("p-1"))] == [made["_id"]]


async def test_instances_come_with_the_elements_that_are_asked_for(store: Store, clock: Clock) -> None:
    made = [await store_one(store, clock, content) for content in (b"one", b"two")]
    others = await store_one(store, clock, b"three", "p-2")
    ids = [each["_id"] for each in made]
    found = await store.instances.find_many(Visible("p-1"), [*ids, others["_id"]], ["Modality"])
    assert set(found) == set(ids)
    assert found[ids[0]] == {**made[0], "dataset": {"Modality": {"vr": "CS", "Value": ["CT"]}}}
    assert await store.instances.find_many(Visible("p-1"), ids[:1]) == {ids[0]: made[0]}
    with pytest.raises(ValueError, match="key"):
        await store.instances.find_many(Visible("p-1"), ids, ["$where"])


async def test_series_are_listed_newest_first(store: Store, clock: Clock) -> None:
    for series in ("1.2.2", "1.2.9"):
        await store_one(store, clock, series.encode(), series=series)
    await store_one(store, clock, b"study", series="1.3.1", study_instance_uid="1.3")
    await store_one(store, clock, b"another's", "p-2")
    assert [each["series_instance_uid"] for each in await store.studies.list_series(Visible("p-1"))] == [
        "1.3.1",
        "1.2.9",
        "1.2.2",
    ]
    assert [each["series_instance_uid"] for each in await store.studies.list_series(Visible("p-1"), "1.3")] == ["1.3.1"]
