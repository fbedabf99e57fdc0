"""Look-ups that wait together are one query, and each is answered as if it were alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from service.storage.lookups import Lookup, look_up
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, make_bytes, make_instance

OURS = Visible("p-1")
THEIRS = Visible("p-2")


@pytest.fixture
def queries(store: Store, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The filters of all queries on instances."""
    seen: list[Any] = []
    kind = type(store._collections.instances)
    find = kind.find

    def noted(self: Any, *arguments: Any, **options: Any) -> Any:
        if self.name == "instances":
            seen.append(arguments[0])
        return find(self, *arguments, **options)

    monkeypatch.setattr(kind, "find", noted)
    return seen


async def store_some(store: Store, clock: Clock, count: int, patient_id: str = "p-1", **elements: Any) -> list[str]:
    ids = []
    for number in range(count):
        made = make_instance(store, clock, make_bytes(9, number), patient_id=patient_id)
        tree = extraction(str(number), **elements)
        assert await store.uploads.store(made, tree, make_bytes(9, number))
        ids.append(str(made["_id"]))
    return ids


async def test_what_waits_together_is_one_query_and_each_answer_has_what_was_asked_for(
    store: Store, clock: Clock, queries: list[Any]
) -> None:
    ids = await store_some(store, clock, 3)
    queries.clear()
    first = asyncio.create_task(store.instances.read_elements(OURS, ids[0], [], ["Modality"]))
    await asyncio.sleep(0)
    await asyncio.sleep(0)  # it is under way
    some = await asyncio.gather(
        store.instances.read_elements(OURS, ids[0], [], ["SeriesDescription"]),
        store.instances.read_elements(OURS, ids[1], [], ["SliceThickness", "PatientName"]),
        store.instances.find(OURS, ids[2]),
        store.instances.find(OURS, "5b1f0a1c-0000-5000-8000-000000000000"),
    )
    alone = await first
    assert alone is not None
    assert list(alone["elements"]) == ["Modality"]
    assert some[0]["elements"] == {"SeriesDescription": {"vr": "LO", "Value": ["0"]}}
    assert some[1]["elements"] == {"SliceThickness": {"vr": "DS", "Value": [5.0]}}
    assert some[2] == await store.instances.find(OURS, ids[2])
    assert some[2].keys().isdisjoint({"dataset", "series"})
    assert some[3] is None
    # The first, those that gathered, and the one just now: six of them without gathering. Where the first is answered
    # before the others come, the next one goes alone too.
    assert len(queries) in {3, 4}
    assert all(query["patient_id"] == "p-1" and "extraction.state" in query for query in queries)


async def test_a_query_never_brings_what_only_another_caller_may_see(
    store: Store, clock: Clock, queries: list[Any]
) -> None:
    (ours,), (theirs,) = await store_some(store, clock, 1), await store_some(store, clock, 1, "p-2")
    queries.clear()
    fields = frozenset(["patient_id"])
    asked = [Lookup(visible, dicom_id, fields) for visible in (OURS, THEIRS) for dicom_id in (ours, theirs)]
    answers = look_up(store._collections, asked)
    assert [answer and answer["patient_id"] for answer in answers] == ["p-1", None, None, "p-2"]
    assert [query["patient_id"] for query in queries] == ["p-1", "p-2"]


async def test_one_that_is_being_deleted_is_not_seen_among_others(store: Store, clock: Clock) -> None:
    ids = await store_some(store, clock, 3)
    store._collections.instances.update_one({"_id": ids[1]}, {"$set": {"extraction.state": "deleting"}})
    found = await asyncio.gather(*(store.instances.find(OURS, each) for each in ids))
    assert [each and each["_id"] for each in found] == [ids[0], None, ids[2]]


async def test_what_one_reply_of_the_server_does_not_hold_comes_all_the_same(
    store: Store, clock: Clock, backend_uri: str | None
) -> None:
    if backend_uri is None:
        pytest.skip("the double has no replies")
    ids = await store_some(store, clock, 3, Long={"vr": "UT", "Value": ["x" * (7 << 20)]})
    answers = look_up(store._collections, [Lookup(OURS, each, frozenset(["dataset.Long"])) for each in ids])
    assert [len(answer["dataset"]["Long"]["Value"][0]) for answer in answers if answer] == [7 << 20] * 3
