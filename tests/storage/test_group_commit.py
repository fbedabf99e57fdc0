"""Uploads that are committed together: each is stored whole or not at all, whatever the others of its group meet."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo.errors import AutoReconnect, BulkWriteError

from service.errors import StorageFull
from service.storage import group_commit, uploads
from service.storage.group_commit import SmallUpload
from service.storage.originals import put_original
from service.storage.store import Store
from service.storage.usage import Usage
from service.storage.visible import Visible
from tests.storage.samples import ONE_STORED, Clock, Extraction, counts, extraction, make_bytes, make_instance


@pytest.fixture(params=["by one bulkWrite", "by collection"], autouse=True)
def way(request: pytest.FixtureRequest, backend_uri: str | None, monkeypatch: pytest.MonkeyPatch) -> str:
    """How the server is written to. The double has no `bulkWrite`; a MongoDB has it from 8.0 on."""
    if request.param == "by collection":
        monkeypatch.setattr(group_commit, "takes_bulk_writes", lambda _: False)
    elif backend_uri is None:
        pytest.skip("the double has no bulkWrite over several collections")
    return str(request.param)


def make_upload(
    store: Store, clock: Clock, content: bytes, tree: Extraction | None = None, **changes: Any
) -> SmallUpload:
    return SmallUpload(make_instance(store, clock, content, **changes), tree or extraction(), content)


def store_all(store: Store, *some: SmallUpload) -> list[bool | Exception]:
    return uploads._store_small(store._collections, store.usage, some)


async def is_whole(store: Store, upload: SmallUpload) -> bool:
    found = await store.instances.read_whole(Visible("p-1"), upload.instance["_id"])
    original = await store.originals.open(Visible("p-1"), upload.instance["original_id"])
    index = store._collections.tag_index.find_one({"_id": upload.instance["_id"]})
    return (
        found == upload.whole
        and original is not None
        and await original.read_range() == upload.content
        and index is not None
        and index["original_id"] == upload.instance["original_id"]
    )


async def test_a_group_is_stored_whole_and_its_series_shows_the_newest(store: Store, clock: Clock, way: str) -> None:
    assert group_commit.takes_bulk_writes(store._collections) == (way == "by one bulkWrite")
    group = [make_upload(store, clock, make_bytes(3000, number)) for number in range(9)]
    assert store_all(store, *group) == [True] * 9
    assert all([await is_whole(store, each) for each in group])
    assert await counts(store) == {**dict.fromkeys(ONE_STORED, 9), "series": 1}
    series = store._collections.series.find_one({})
    assert series is not None
    assert series["original_id"] == group[-1].instance["original_id"]


async def test_of_a_group_what_waits_in_an_inbox_is_not_shown_by_a_series_that_has_something_else(
    store: Store, clock: Clock
) -> None:
    inbox = "11111111-1111-4111-8111-111111111111"
    own = make_upload(store, clock, b"own")
    waiting = [make_upload(store, clock, content, inbox=inbox) for content in (b"a", b"b")]
    assert store_all(store, own, *waiting) == [True] * 3
    alone = [make_upload(store, clock, content, series="1.2.9", inbox=inbox) for content in (b"c", b"d")]
    assert store_all(store, *alone) == [True] * 2
    late = make_upload(store, clock, b"e", inbox=inbox)
    assert store_all(store, late) == [True]
    shown = {each["series_instance_uid"]: each["original_id"] for each in store._collections.series.find()}
    assert shown == {"1.2.2": own.instance["original_id"], "1.2.9": alone[1].instance["original_id"]}


async def test_an_empty_file_and_one_of_many_chunks_go_together(store: Store, clock: Clock) -> None:
    group = [make_upload(store, clock, b""), make_upload(store, clock, make_bytes(2_500_000))]
    assert store_all(store, *group) == [True, True]
    assert all([await is_whole(store, each) for each in group])


async def test_of_the_same_bytes_one_is_stored_and_the_others_are(store: Store, clock: Clock) -> None:
    there = make_upload(store, clock, b"there")
    assert store_all(store, there) == [True]
    group = [make_upload(store, clock, content) for content in (b"a", b"there", b"b", b"a", b"c")]
    assert store_all(store, *group) == [True, False, True, False, True]
    assert all([await is_whole(store, each) for each in (there, group[0], group[2], group[4])])
    assert await store.usage.read("p-1") == len(b"there") + 3
    assert await counts(store) == {**dict.fromkeys(ONE_STORED, 4), "series": 1}
    series = store._collections.series.find_one({})
    assert series is not None
    assert series["original_id"] == group[4].instance["original_id"]


async def test_where_the_one_that_its_series_would_show_is_there_already_the_next_newest_is_shown(
    store: Store, clock: Clock
) -> None:
    there = make_upload(store, clock, b"there", series="1.2.9")
    assert store_all(store, there) == [True]
    group = [make_upload(store, clock, b"a"), make_upload(store, clock, b"there")]
    assert store_all(store, *group) == [True, False]
    shown = {each["series_instance_uid"]: each["original_id"] for each in store._collections.series.find()}
    assert shown == {"1.2.9": there.instance["original_id"], "1.2.2": group[0].instance["original_id"]}


async def test_a_series_that_shows_a_newer_instance_goes_on_showing_it(store: Store, clock: Clock) -> None:
    older = [
        make_upload(store, clock, content, series=series) for content, series in ((b"a", "1.2.2"), (b"b", "1.2.3"))
    ]
    newer = make_upload(store, clock, b"newer")
    assert store_all(store, newer) == [True]
    assert store_all(store, *older) == [True, True]
    assert all([await is_whole(store, each) for each in (*older, newer)])
    shown = {each["series_instance_uid"]: each["original_id"] for each in store._collections.series.find()}
    assert shown == {"1.2.2": newer.instance["original_id"], "1.2.3": older[1].instance["original_id"]}


@pytest.mark.parametrize("where", ["index", "instance"])
async def test_one_that_the_server_refuses_costs_the_others_nothing(
    store: Store, clock: Clock, backend_uri: str | None, where: str
) -> None:
    if backend_uri is None:
        pytest.skip("the double has no validators")
    bad = extraction()
    if where == "index":
        bad.index = {**bad.index, "truncated": "not a list"}
    changes = {"problems": -1} if where == "instance" else {}
    group = [
        make_upload(store, clock, b"a"),
        make_upload(store, clock, b"b", bad, **changes),
        make_upload(store, clock, b"c"),
    ]
    answers = store_all(store, *group)
    assert answers[::2] == [True, True]
    assert isinstance(answers[1], Exception)
    assert all([await is_whole(store, each) for each in group[::2]])
    assert await store.instances.find(Visible("p-1"), group[1].instance["_id"]) is None


async def test_one_that_cannot_be_written_at_all_costs_the_others_nothing(
    store: Store, clock: Clock, backend_uri: str | None
) -> None:
    if backend_uri is None:
        pytest.skip("the double keeps Python's objects as they are")
    bad = extraction(Odd={"vr": "LO", "Value": [object()]})
    group = [make_upload(store, clock, b"a"), make_upload(store, clock, b"b", bad), make_upload(store, clock, b"c")]
    answers = store_all(store, *group)
    assert answers[::2] == [True, True]
    assert isinstance(answers[1], Exception)
    assert all([await is_whole(store, each) for each in group[::2]])
    bad_index = extraction()
    bad_index.index = {**bad_index.index, "names": {"Odd": object()}}
    again = [make_upload(store, clock, content) for content in (b"d", b"e")]
    again.insert(1, make_upload(store, clock, b"f", bad_index))
    answers = store_all(store, *again)
    assert answers[::2] == [True, True]
    assert isinstance(answers[1], Exception)


async def test_chunks_that_are_there_already_are_written_anew(store: Store, clock: Clock) -> None:
    group = [make_upload(store, clock, content) for content in (b"a", b"b")]
    store._collections.originals.chunks.insert_one(
        {"files_id": group[0].instance["original_id"], "n": 0, "data": b"of another attempt"}
    )
    assert store_all(store, *group) == [True, True]
    assert all([await is_whole(store, each) for each in group])
    assert await store.usage.read("p-1") == 2


async def test_a_file_that_is_there_already_is_written_anew_and_counted_once(store: Store, clock: Clock) -> None:
    group = [make_upload(store, clock, make_bytes(300, seed)) for seed in range(2)]
    there = group[1].instance
    store.usage.reserve(there)
    put_original(store._collections.originals, there, group[1].content)
    group[1].original_begun = True
    assert uploads._store_alone(store._collections, group[1])
    assert store_all(store, group[0]) == [True]
    assert all([await is_whole(store, each) for each in group])
    assert await store.usage.read("p-1") == 600


async def test_what_of_a_group_has_no_room_is_refused_and_the_rest_is_stored(store: Store, clock: Clock) -> None:
    usage = Usage(store._collections, store._threads, 5000)
    group = [
        make_upload(store, clock, make_bytes(3000)),
        make_upload(store, clock, make_bytes(3000)),  # there already, once the first is stored
        make_upload(store, clock, make_bytes(2001, seed=1)),
        make_upload(store, clock, make_bytes(4000, seed=2), patient_id="p-2"),
        make_upload(store, clock, make_bytes(2000, seed=3)),
    ]
    answers = uploads._store_small(store._collections, usage, group)
    assert [answer for answer in answers if isinstance(answer, bool)] == [True, False, True, True]
    assert isinstance(answers[2], StorageFull)
    assert all([await is_whole(store, group[number]) for number in (0, 4)])
    assert await counts(store) == {**dict.fromkeys(ONE_STORED, 3), "series": 2}
    assert [await usage.read(patient) for patient in ("p-1", "p-2")] == [5000, 4000]


class Interrupted:
    """Lets so many documents through, and then the database is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, count: int) -> None:
        self._left = count
        self._send, self._insert_many = group_commit._send, group_commit._insert_many
        self._put_series = group_commit.put_series
        monkeypatch.setattr(group_commit, "_send", self.send)
        monkeypatch.setattr(group_commit, "_insert_many", self.insert_many)
        monkeypatch.setattr(group_commit, "put_series", self.put_series)

    def _take(self, wanted: int) -> int:
        taken = min(wanted, self._left)
        self._left -= taken
        return taken

    def send(self, collections: Any, models: Any) -> int | None:
        taken = self._take(len(models))
        failed = self._send(collections, models[:taken]) if taken else None
        if taken < len(models):
            raise AutoReconnect
        return failed

    def insert_many(self, collection: Any, documents: Any) -> list[int]:
        taken = self._take(len(documents))
        refused = self._insert_many(collection, documents[:taken]) if taken else []
        if taken < len(documents):
            raise AutoReconnect
        return refused

    def put_series(self, *arguments: Any) -> None:
        if not self._take(1):
            raise AutoReconnect
        self._put_series(*arguments)


@pytest.mark.parametrize("count", range(10))
async def test_whatever_a_crash_leaves_is_stored_by_the_next_attempt_or_swept(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch, count: int
) -> None:
    """Two uploads are nine writes: two indexes, two chunks, two files, a series, and two instances."""
    clock.now = datetime.now(UTC).replace(microsecond=0)
    group = [make_upload(store, clock, content) for content in (b"a", b"b")]
    with monkeypatch.context() as patching:
        Interrupted(patching, count)
        if count < 9:
            with pytest.raises(AutoReconnect):
                store_all(store, *group)
        else:
            assert store_all(store, *group) == [True, True]
    there = [await store.instances.find(Visible("p-1"), each.instance["_id"]) is not None for each in group]
    assert there == [count > 7, count > 8]
    for upload, is_there in zip(group, there, strict=True):
        assert not is_there or await is_whole(store, upload)
    again = make_upload(store, clock, b"a")
    assert store_all(store, again) == [not there[0]]
    clock.now += timedelta(hours=3)
    await store.leftovers.sweep(timedelta(hours=1))
    stored = [group[0] if there[0] else again, *group[1:][: there[1]]]
    assert all([await is_whole(store, each) for each in stored])
    assert await counts(store) == {**dict.fromkeys(ONE_STORED, len(stored)), "series": 1}
    assert await store.usage.read("p-1") == len(stored)


async def test_what_is_written_and_perhaps_not_durably_is_not_told_of_as_stored(
    store: Store, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def not_durable(*_: Any, **__: Any) -> None:
        raise BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64, "errmsg": "waiting timed out"}]})

    upload = make_upload(store, clock, b"a")
    monkeypatch.setattr(type(store._collections.instances), "insert_many", not_durable)
    with pytest.raises(BulkWriteError):
        store_all(store, upload)
