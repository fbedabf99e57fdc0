"""The instances of studies and series, from documents that hold no tree."""

from __future__ import annotations

from typing import Any

import pytest

from service.storage import deletion
from service.storage.series import series_update
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


# --- what waits in an inbox ----------------------------------------------------------------------------------------

INBOX = "11111111-1111-4111-8111-111111111111"


def strangers(store: Store, clock: Clock, content: bytes, **changes: Any) -> dict[str, Any]:
    return make_instance(store, clock, content, inbox=INBOX, **changes)


async def test_what_waits_in_an_inbox_does_not_take_the_place_of_what_has_the_same_uids(
    store: Store, clock: Clock
) -> None:
    older, own = await store_one(store, clock, b"older"), await store_one(store, clock, b"own")
    waiting = await store_one(store, clock, b"waiting", inbox=INBOX)
    only = await store_one(store, clock, b"only", inbox=INBOX, sop_instance_uid="1.9")
    for uids in ((), ("1.2.1", "1.2.2", "1.2.3")):
        members = {each.sop_instance_uid: each for each in await store.studies.list_members(Visible("p-1"), *uids)}
        assert (members["1.2.3"].dicom_id, members["1.2.3"].waits) == (own["_id"], False)
        if not uids:
            assert (members["1.9"].dicom_id, members["1.9"].waits) == (only["_id"], True)
    for gone, left in ((own, older), (older, waiting)):
        assert await store.deletion.delete("p-1", gone["_id"])
        (member,) = await store.studies.list_members(Visible("p-1"), "1.2.1", "1.2.2", "1.2.3")
        assert (member.dicom_id, member.waits) == (left["_id"], left is waiting)


@pytest.mark.parametrize("changes", [{}, {"inbox": INBOX}])
async def test_a_series_is_written_by_its_id_alone(store: Store, clock: Clock, changes: dict[str, str]) -> None:
    """With an operator beside the fields the local database reads every series of every patient."""
    update = series_update(make_instance(store, clock, b"bytes", **changes), {})
    assert update is not None
    assert "_id" in update[0]
    assert not any(name.startswith("$") for name in update[0])


@pytest.mark.parametrize("small", [True, False])
async def test_a_series_shows_what_waits_only_while_it_has_nothing_else(
    store: Store, clock: Clock, small: bool
) -> None:
    async def put(made: dict[str, Any], content: bytes, description: str) -> None:
        body = content if small else in_parts(content, 7)
        assert await store.uploads.store(made, extraction(description), body)

    async def shown() -> tuple[str, str | None]:
        (document,) = await store.studies.list_series(Visible("p-1"))
        (description,) = document["attributes"]["SeriesDescription"]["Value"]
        assert (await store.instances.find(Visible("p-1"), document["dicom_id"])) is not None
        return description, document.get("inbox")

    own = [make_instance(store, clock, name, sop_instance_uid=uid) for name, uid in ((b"own 1", "1"), (b"own 2", "2"))]
    first = strangers(store, clock, b"stranger 1", sop_instance_uid="3")
    await put(first, b"stranger 1", "stranger 1")
    assert await shown() == ("stranger 1", INBOX)
    await put(own[0], b"own 1", "own 1")  # which came before, and takes its place all the same
    assert await shown() == ("own 1", None)
    second = strangers(store, clock, b"stranger 2", sop_instance_uid="4")
    await put(second, b"stranger 2", "stranger 2")
    assert await shown() == ("own 1", None)
    await put(own[1], b"own 2", "own 2")
    assert await shown() == ("own 2", None)
    assert await store.uploads.replace_derived(second, extraction("stranger 2, read anew"))
    assert await shown() == ("own 2", None)
    for gone, left in (
        (own[1], ("own 1", None)),
        (own[0], ("stranger 2, read anew", INBOX)),
        (second, ("stranger 1", INBOX)),
    ):
        assert await store.deletion.delete("p-1", gone["_id"])
        assert await shown() == left
    assert await store.deletion.delete("p-1", first["_id"])
    assert await store.studies.list_series(Visible("p-1")) == []
