"""Rows beside originals: a walk gives each file once and in order, and a row stands for nothing that is not there."""

from __future__ import annotations

import random
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from bson import ObjectId

from service.storage import tables
from service.storage.collections import Collections
from service.storage.store import Store
from service.storage.tables import Page
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, in_parts, make_bytes, make_instance, pending

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
MS = timedelta(milliseconds=1)
ALL = Visible("p-1")


def put_files(collections: Collections, dates: list[datetime], patient: str = "p-1") -> list[tuple[datetime, str]]:
    """Put the documents of originals there, and give what they tell of, the newest first."""
    files = [
        {
            "_id": ObjectId(),
            "uploadDate": date,
            "metadata": {"patient_id": patient, "dicom_id": str(uuid.uuid4()), "row": b"%d" % number},
        }
        for number, date in enumerate(dates)
    ]
    if files:
        collections.originals.files.insert_many(files)
    told: list[tuple[datetime, str]] = [(file["uploadDate"], file["metadata"]["dicom_id"]) for file in files]  # type: ignore[index]
    return sorted(told, key=lambda each: (-each[0].timestamp(), each[1]))


def put_series(collections: Collections, *ends: datetime) -> None:
    for end in ends:
        names = dict.fromkeys(("_id", "dicom_id", "study_instance_uid", "series_instance_uid"), str(uuid.uuid4()))
        shown = {"patient_id": "p-1", "received_at": end, "original_id": ObjectId(), "attributes": {}}
        collections.series.insert_one({**names, **shown})


def settle_all(store: Store) -> None:
    """Let the last sweep have looked at all that is there."""
    later = datetime.now(UTC) + timedelta(hours=1)
    store._collections.meta.update_one({"_id": "store"}, {"$set": {"swept_until": later}})


async def walk_through(store: Store, visible: Visible = ALL) -> list[Page]:
    walk, pages = await store.tables.begin_walk(visible), []
    while (page := await store.tables.next_page(walk)) is not None:
        pages.append(page)
    return pages


def order_of(pages: list[Page]) -> list[str]:
    return [each for page in pages for each in page.listing.dicom_ids]


def steadily(count: int, step: timedelta, begin: datetime = BEGIN) -> list[datetime]:
    return [begin + step * number for number in range(count)]


TIMES = {
    "nothing": ([], 0),
    "one file": ([BEGIN], 1),
    "one a second": (steadily(60, timedelta(seconds=1)), 1),
    "one a day": (steadily(60, timedelta(days=1)), 1),
    "one a millisecond": (steadily(60, MS), 1),
    "all at once": ([BEGIN] * 30, 1),
    "all at once, and others around": ([BEGIN] * 30 + [BEGIN - MS, BEGIN + MS, BEGIN + 2 * MS], 1),
    "two visits, ten years apart": (steadily(40, MS * 20) + steadily(40, MS, BEGIN + timedelta(days=3650)), 2),
    "a pause within a series": (steadily(30, MS) + steadily(30, MS, BEGIN + timedelta(hours=3)), 1),
    "none of a series": (steadily(30, timedelta(hours=1)), 0),
    "none of a series, and long ago": (steadily(30, MS, datetime(1971, 1, 1, tzinfo=UTC)), 0),
    "before all clocks": ([datetime(1969, 1, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), BEGIN], 1),
}


@pytest.mark.parametrize("times", TIMES)
async def test_a_walk_gives_each_file_once_the_newest_first_and_few_at_once(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: str
) -> None:
    monkeypatch.setattr(tables, "WINDOW", 4)
    monkeypatch.setattr(tables, "MAX_WINDOW", 8)
    dates, series = TIMES[times]
    wanted = put_files(store._collections, dates)
    put_files(store._collections, dates, "p-2")
    put_series(store._collections, *(sorted(dates, reverse=True)[:: max(1, len(dates) // max(1, series))][:series]))
    pages = await walk_through(store)
    assert order_of(pages) == [dicom_id for _, dicom_id in wanted]
    if "all at once" not in times:
        assert all(len(page.listing.dicom_ids) <= 8 for page in pages)


@pytest.mark.parametrize("seed", range(8))
async def test_so_it_is_for_any_times(store: Store, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(tables, "WINDOW", 4)
    monkeypatch.setattr(tables, "MAX_WINDOW", 8)
    chance = random.Random(seed)
    dates: list[datetime] = []
    ends: list[datetime] = []
    for _ in range(chance.randrange(1, 8)):
        begin = BEGIN + MS * round(10 ** chance.uniform(0, 12))
        visit = steadily(chance.randrange(1, 40), MS * round(10 ** chance.uniform(0, 6)), begin)
        dates += visit
        if chance.random() < 0.7:
            ends.append(visit[-1])
    wanted = put_files(store._collections, dates)
    put_series(store._collections, *ends)
    assert order_of(await walk_through(store)) == [dicom_id for _, dicom_id in wanted]


async def test_a_walk_asks_for_no_file_twice_and_seldom_for_none(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    steps = 20
    dates = [date for step in range(steps) for date in steadily(100, MS * 30, BEGIN + step * timedelta(days=9))]
    put_files(store._collections, dates)
    put_series(store._collections, *dates[99::100])
    read: list[int] = []
    came_within = tables._came_within

    def counted(*arguments: Any, **options: Any) -> Any:
        found = came_within(*arguments, **options)
        read.append(len(found[0]))
        return found

    monkeypatch.setattr(tables, "_came_within", counted)
    pages = await walk_through(store)
    assert sum(read) == len(order_of(pages)) == len(dates)
    assert len(read) <= 4 * steps


async def test_an_instance_with_two_originals_is_given_once_and_neither_is_believed(store: Store) -> None:
    settle_all(store)
    wanted = put_files(store._collections, steadily(5, timedelta(days=400)))
    twin = {"patient_id": "p-1", "dicom_id": wanted[0][1], "row": b"twin"}
    for date in (wanted[0][0], wanted[4][0]):  # within one window, and in another
        store._collections.originals.files.insert_one({"_id": ObjectId(), "uploadDate": date, "metadata": dict(twin)})
    pages = await walk_through(store)
    assert sorted(order_of(pages)) == sorted(dicom_id for _, dicom_id in wanted)
    assert all(wanted[0][1] not in (page.rows or {}) for page in pages)


async def test_a_part_is_not_walked_through(store: Store) -> None:
    with pytest.raises(ValueError, match="all that a patient has"):
        await store.tables.begin_walk(Visible("p-1", studies=frozenset(["1.2.1"])))


# --- what stands beside an original -------------------------------------------------------------------------------


def kept_row(store: Store, made: dict[str, Any]) -> Any:
    file = store._collections.originals.files.find_one({"_id": made["original_id"]})
    return None if file is None else file["metadata"].get("row", "none")


@pytest.mark.parametrize("way", ["small", "large"])
async def test_an_upload_keeps_its_row_beside_its_original_and_a_delete_takes_it(
    store: Store, clock: Clock, way: str
) -> None:
    content = make_bytes(3000)
    made, says = make_instance(store, clock, content), extraction()
    says.row = b"what it says"
    assert await store.uploads.store(made, says, content if way == "small" else in_parts(content, 1000))  # type: ignore[arg-type]
    assert kept_row(store, made) == b"what it says"
    settle_all(store)
    listing = await store.tables.list_ids(ALL, {})
    found = await store.tables.read_rows(ALL, listing, 0, 1)
    assert {each: row.row for each, row in found.items()} == {made["_id"]: b"what it says"}
    assert await store.deletion.delete("p-1", made["_id"])
    assert kept_row(store, made) is None
    assert await store.tables.read_rows(ALL, listing, 0, 1) == {}
    assert await walk_through(store) == []


async def test_a_row_comes_with_a_late_extraction_and_is_replaced_by_the_next(store: Store, clock: Clock) -> None:
    made = make_instance(store, clock, b"bytes")
    assert await store.uploads.store_pending(pending(made), b"bytes")  # type: ignore[arg-type]
    assert kept_row(store, made) == "none"
    for row in (b"first", b"second", None):
        says = extraction()
        says.row = row
        assert await store.uploads.replace_derived(made, says)  # type: ignore[arg-type]
        assert kept_row(store, made) == (row or "none")


async def test_the_row_of_an_upload_that_lost_a_race_goes_with_its_original(store: Store, clock: Clock) -> None:
    first, second = (make_instance(store, clock, b"bytes") for _ in range(2))
    for made, row in ((first, b"first"), (second, b"second")):
        says = extraction()
        says.row = row
        await store.uploads.store(made, says, b"bytes")  # type: ignore[arg-type]
    assert kept_row(store, first) == b"first"
    assert kept_row(store, second) is None


async def test_rows_without_an_instance_that_may_be_shown_are_unsettled(store: Store, clock: Clock) -> None:
    stored = []
    for number in range(4):
        made, says = make_instance(store, clock, b"%d" % number), extraction()
        says.row = b"%d" % number
        await store.uploads.store(made, says, b"%d" % number)  # type: ignore[arg-type]
        stored.append(made)
    ids = [made["_id"] for made in stored]
    pages = await walk_through(store)
    assert [page.rows for page in pages] == [{}] * len(pages)  # no sweep has looked at them
    settle_all(store)
    instances = store._collections.instances
    instances.update_one({"_id": ids[1]}, {"$set": {"extraction.state": "deleting"}})
    instances.update_one({"_id": ids[2]}, {"$set": {"extraction.state": "failed"}})
    (page,) = await walk_through(store)
    assert page.listing.dicom_ids == ids[::-1]
    assert page.rows is not None
    assert set(page.rows) == {ids[0], ids[3]}
    listing = await store.tables.list_ids(ALL, {})
    assert set(await store.tables.read_rows(ALL, listing, 0, 4)) == {ids[0], ids[3]}
    originals, kept = await store.tables.list_originals(None, None, 10)
    assert len(kept) == 4
    assert set((await store.tables.settle(originals, kept)).rows or ()) == {ids[0], ids[3]}
    assert (await store.tables.list_originals(None, None, 10, rows=False))[1] == {}


@pytest.mark.parametrize("visible", [None, ALL], ids=["everybody's", "a patient's"])
async def test_all_originals_are_listed_in_their_order_a_page_at_a_time(store: Store, visible: Visible | None) -> None:
    dates = steadily(25, MS)
    random.Random(1).shuffle(dates)
    wanted = {dicom_id for _, dicom_id in put_files(store._collections, dates)}
    if visible is None:
        wanted |= {dicom_id for _, dicom_id in put_files(store._collections, dates, "p-2")}
    else:
        put_files(store._collections, dates, "p-2")
    listed: list[tuple[ObjectId, str]] = []
    while True:
        page, kept = await store.tables.list_originals(visible, listed[-1][0] if listed else None, 7)
        assert len(page) == len(kept) <= 7
        if not page:
            break
        listed += page
    assert listed == sorted(listed)
    assert {dicom_id for _, dicom_id in listed} == wanted
    assert len(listed) == len(wanted)
