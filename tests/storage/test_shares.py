"""Shares in the database: what opens, what counts, what ends, and the room of inboxes, on every backend."""

from __future__ import annotations

import asyncio
import uuid
from datetime import timedelta
from typing import Any

import pytest
from pymongo.errors import DuplicateKeyError, WriteError

from schemas.database import SHARE, Share
from service.storage.audit import AuditEntry
from service.storage.layout import SHARES_VIEW
from service.storage.shares import MAX_SESSIONS, MAX_WRONG, TRY_SECONDS
from service.storage.store import Store
from tests.storage.samples import Clock, extraction, make_bytes, make_instance

HOUR = timedelta(hours=1)
INBOX = {"max_files": 3, "max_bytes": 1000, "files": 0, "bytes": 0, "reserved": {}}


def make_share(clock: Clock, **changes: Any) -> Share:
    now = clock()
    share: Any = {
        "_id": str(uuid.uuid4()),
        "patient_id": "p-1",
        "kind": "inbox" if changes.get("inbox") else "view",
        "secret_hash": uuid.uuid4().hex * 2,
        "passcode": None,
        "studies": None if changes.get("inbox") else ["1.2.1"],
        "series": None,
        "dicom_ids": None,
        "instances": None,
        "frozen": False,
        "download": False,
        "inbox": None,
        "answered": {},
        "label": None,
        "made_at": now,
        "made_by": {"subject": "s", "token_id": None},
        "expires_at": now + HOUR,
        "ended_at": None,
        "ended_by": None,
        "max_opens": None,
        "opens": 0,
        "opened_at": None,
        "tries": 0,
        "wrong": 0,
        "tried_at": None,
        "sessions": [],
        "forget_at": now + timedelta(days=36_500),  # the double removes what is over by its own clock
        **changes,
    }
    return share


def make_session(clock: Clock, seconds: float = 600) -> Any:
    return {
        "id": str(uuid.uuid4()),
        "hash": uuid.uuid4().hex * 2,
        "expires_at": clock() + timedelta(seconds=seconds),
    }


async def put(store: Store, clock: Clock, **changes: Any) -> Share:
    share = make_share(clock, **changes)
    await store.shares.insert(share)
    return share


async def read(store: Store, share: Share) -> Any:
    return await store.shares.find("p-1", share["_id"])


# --- opening -------------------------------------------------------------------------------------------------------


async def test_a_share_is_found_by_its_secret_and_its_session_while_neither_has_ended(
    store: Store, clock: Clock
) -> None:
    share, session = await put(store, clock), make_session(clock)
    assert await store.shares.add_session(share, session, clock())
    assert (await store.shares.find_by_secret(share["secret_hash"], clock()))["_id"] == share["_id"]
    assert await store.shares.find_by_secret("0" * 64, clock()) is None
    found = await store.shares.find_by_session(share["_id"], session["hash"], clock())
    assert found["sessions"][0]["id"] == session["id"]
    assert await store.shares.find_by_session(share["_id"], "0" * 64, clock()) is None
    later = clock() + timedelta(seconds=601)
    assert await store.shares.find_by_session(share["_id"], session["hash"], later) is None
    assert await store.shares.find_by_secret(share["secret_hash"], later) is not None
    assert await store.shares.find_by_secret(share["secret_hash"], clock() + 2 * HOUR) is None
    assert await store.shares.revoke("p-1", share["_id"], clock())
    assert await store.shares.find_by_secret(share["secret_hash"], clock()) is None
    assert await store.shares.find_by_session(share["_id"], session["hash"], clock()) is None


async def test_two_shares_cannot_have_one_secret(store: Store, clock: Clock) -> None:
    share = await put(store, clock)
    with pytest.raises(DuplicateKeyError):
        await put(store, clock, secret_hash=share["secret_hash"])


async def test_openings_at_once_are_no_more_than_the_share_allows(store: Store, clock: Clock) -> None:
    share = await put(store, clock, max_opens=5)
    tries = (store.shares.add_session(share, make_session(clock), clock()) for _ in range(20))
    opened = await asyncio.gather(*tries)
    assert sum(opened) == 5
    kept = await read(store, share)
    assert (kept["opens"], len(kept["sessions"])) == (5, 5)


async def test_a_share_keeps_so_many_sessions_those_that_end_last(store: Store, clock: Clock) -> None:
    share = await put(store, clock)
    sessions = [make_session(clock, 600 + number) for number in range(MAX_SESSIONS + 2)]
    for session in reversed(sessions):
        assert await store.shares.add_session(share, session, clock())
    kept = await read(store, share)
    assert {each["id"] for each in kept["sessions"]} == {each["id"] for each in sessions[2:]}
    assert kept["opens"] == MAX_SESSIONS + 2


async def test_passcodes_at_once_are_no_more_than_ten_and_the_last_closes(store: Store, clock: Clock) -> None:
    share = await put(store, clock)
    taken = await asyncio.gather(*(store.shares.take_try(share["_id"], clock()) for _ in range(15)))
    assert (taken.count("taken"), taken.count("busy")) == (MAX_WRONG, 5)
    closed = [await store.shares.note_wrong(share["_id"], clock()) for _ in range(MAX_WRONG)]
    assert closed == [False] * (MAX_WRONG - 1) + [True]
    assert (await read(store, share))["ended_by"] == "closed"
    assert await store.shares.take_try(share["_id"], clock()) == "ended"


async def test_tries_that_nobody_settled_count_as_wrong_after_a_while(store: Store, clock: Clock) -> None:
    share = await put(store, clock)
    for _ in range(MAX_WRONG):
        await store.shares.take_try(share["_id"], clock())
    assert await store.shares.take_try(share["_id"], clock()) == "busy"
    later = clock() + timedelta(seconds=TRY_SECONDS + 1)
    assert await store.shares.take_try(share["_id"], later) == "ended"


async def test_revoking_all_ends_those_of_one_patient_and_names_those_that_were_open(
    store: Store, clock: Clock
) -> None:
    shares = [await put(store, clock) for _ in range(3)]
    theirs = await put(store, clock, patient_id="p-2")
    await store.shares.revoke("p-1", shares[0]["_id"], clock())
    assert set(await store.shares.revoke_all("p-1", clock())) == {shares[1]["_id"], shares[2]["_id"]}
    assert await store.shares.revoke_all("p-1", clock()) == []
    assert {(await read(store, each))["ended_by"] for each in shares} == {"revoked"}
    assert await store.shares.find_by_secret(theirs["secret_hash"], clock()) is not None


# --- inboxes -------------------------------------------------------------------------------------------------------


async def reserve(store: Store, clock: Clock, share: Share, upload: str, files: int, size: int) -> bool:
    bounds = share["inbox"]
    assert bounds is not None
    now = clock()
    return await store.inboxes.reserve(share["_id"], upload, bounds, files, size, now + HOUR, now)


async def use(store: Store, share: Share) -> tuple[int, int, int]:
    inbox = (await read(store, share))["inbox"]
    return inbox["files"], inbox["bytes"], len(inbox["reserved"])


async def test_uploads_at_once_take_no_more_room_than_there_is(store: Store, clock: Clock) -> None:
    share = await put(store, clock, inbox=dict(INBOX))
    taken = await asyncio.gather(*(reserve(store, clock, share, uuid.uuid4().hex, 1, 10) for _ in range(12)))
    assert sum(taken) == 3
    assert await use(store, share) == (3, 30, 3)


async def test_room_is_taken_step_by_step_and_what_was_not_used_comes_back(store: Store, clock: Clock) -> None:
    share = await put(store, clock, inbox=dict(INBOX))
    for size, there in ((400, True), (500, True), (101, False), (100, True)):
        assert await reserve(store, clock, share, "a", 0, size) is there
    assert await use(store, share) == (0, 1000, 1)
    assert not await reserve(store, clock, share, "b", 1, 1)
    await store.inboxes.settle(share["_id"], "a", 1, 300)
    assert await use(store, share) == (1, 300, 0)


async def test_room_that_nobody_gave_back_comes_back_when_its_time_is_over(store: Store, clock: Clock) -> None:
    share = await put(store, clock, inbox=dict(INBOX))
    await reserve(store, clock, share, "dead", 2, 900)
    await store.inboxes.end_reservations(share["_id"], clock())
    assert await use(store, share) == (2, 900, 1)
    await reserve(store, clock, share, "living", 1, 100)
    late = clock() + HOUR
    await store.inboxes.reserve(share["_id"], "living", INBOX, 0, 0, late + HOUR, clock())
    await store.inboxes.end_reservations(share["_id"], late)
    assert await use(store, share) == (1, 100, 1)
    await store.inboxes.settle(share["_id"], "dead", 1, 50)  # it was only slow
    assert await use(store, share) == (2, 150, 1)


async def test_an_inbox_that_has_ended_has_no_room(store: Store, clock: Clock) -> None:
    share = await put(store, clock, inbox=dict(INBOX))
    assert await reserve(store, clock, share, "a", 1, 10)
    await store.shares.revoke("p-1", share["_id"], clock())
    assert not await reserve(store, clock, share, "a", 1, 10)
    await store.inboxes.settle(share["_id"], "a", 1, 10)
    assert await use(store, share) == (1, 10, 0)


async def test_what_waits_is_listed_the_newest_first_until_it_is_deleted(store: Store, clock: Clock) -> None:
    share, other = await put(store, clock, inbox=dict(INBOX)), await put(store, clock, inbox=dict(INBOX))
    waiting = []
    for seed, inbox in ((1, share), (2, share), (3, other), (4, share), (5, None)):
        changes: Any = {} if inbox is None else {"inbox": inbox["_id"]}
        instance = make_instance(store, clock, make_bytes(100, seed=seed), **changes)
        await store.uploads.store(instance, extraction(), make_bytes(100, seed=seed))
        if inbox is share:
            waiting.insert(0, instance["_id"])
    found, more = await store.inboxes.list_waiting("p-1", share["_id"], 2, 0)
    assert ([each["_id"] for each in found], more) == (waiting[:2], True)
    assert "dataset" not in found[0]
    found, more = await store.inboxes.list_waiting("p-1", share["_id"], 2, 2)
    assert ([each["_id"] for each in found], more) == (waiting[2:], False)
    assert await store.inboxes.list_waiting("p-2", share["_id"], 2, 0) == ([], False)
    assert await store.inboxes.count_waiting("p-1", share["_id"]) == 3
    assert (await store.inboxes.find_waiting("p-1", other["_id"], waiting)) == {}
    await store.deletion.delete("p-1", waiting[0])
    assert (await store.inboxes.find_waiting("p-1", share["_id"], waiting)).keys() == set(waiting[1:])
    assert await store.inboxes.count_waiting("p-1", share["_id"]) == 2


async def test_what_becomes_of_a_file_is_noted_unless_somebody_else_has_answered_otherwise(
    store: Store, clock: Clock
) -> None:
    share, view = await put(store, clock, inbox=dict(INBOX)), await put(store, clock)
    one, two, own = (str(uuid.uuid4()) for _ in range(3))
    note = store.inboxes.note_answer
    assert await note(share["_id"], one, {}, None)
    assert await note(share["_id"], two, {}, own)
    assert not await note(share["_id"], one, {}, own)  # who decides has not seen that it was declined
    assert await note(share["_id"], one, {}, None)  # twice the same
    assert (await read(store, share))["answered"] == {one: None, two: own}
    assert await note(share["_id"], one, {one: None}, own)
    assert (await read(store, share))["answered"] == {one: own, two: own}
    await store.inboxes.take_back_answer(share["_id"], two, {}, None)  # which is no longer its answer
    await store.inboxes.take_back_answer(share["_id"], one, {one: None}, own)
    assert (await read(store, share))["answered"] == {one: None, two: own}
    assert await note(view["_id"], one, {}, own)
    assert (await read(store, view))["answered"] == {}
    listed, _ = await store.shares.list_of("p-1", 10, 0)
    assert all("answered" not in each for each in listed)


# --- the audit of one share ----------------------------------------------------------------------------------------


async def test_the_lines_of_a_share_are_its_own_the_latest_first(store: Store, clock: Clock) -> None:
    one, other = str(uuid.uuid4()), str(uuid.uuid4())

    def entry(action: str, share_id: str | None, patient_id: str = "p-1") -> AuditEntry:
        return AuditEntry(
            clock(), action, "done", 200, "GET", "/", "r", patient_id, subject="s", token_id="t", share_id=share_id
        )

    await store.audit.append(
        [
            entry("share", one),
            entry("open_share", one),
            entry("read_share", one),
            entry("open_share", other),
            entry("search", None),
            entry("read_tag", one),
            entry("read_tag", one, "p-2"),
        ]
    )
    lines, more = await store.audit.list_of_share("p-1", one, 2, 0)
    assert ([line["action"] for line in lines], more) == (["read_tag", "open_share"], True)
    assert not {"token_id", "request_id"} & lines[0].keys()
    lines, more = await store.audit.list_of_share("p-1", one, 2, 2)
    assert ([line["action"] for line in lines], more) == (["share"], False)


# --- what the database holds ---------------------------------------------------------------------------------------


@pytest.mark.usefixtures("validators")
@pytest.mark.parametrize(
    "changes",
    [
        {"secret": "x"},
        {"secret_hash": "the secret itself"},
        {"passcode": "123456"},
        {"kind": "both"},
        {"dicom_ids": ["x"]},
        {"inbox": {**INBOX, "token": "x"}},
        {"inbox": {**INBOX, "reserved": {"a": {"files": 1}}}},
        {"answered": {"x": 7}},
    ],
)
async def test_a_share_that_is_not_as_it_should_be_is_refused(store: Store, clock: Clock, changes: Any) -> None:
    await put(store, clock, inbox=dict(INBOX))
    with pytest.raises(WriteError):
        await put(store, clock, **changes)


async def test_the_view_of_analysts_has_no_hash_and_no_session(store: Store, clock: Clock, database: Any) -> None:
    share = await put(store, clock, passcode={"salt": b"s", "hash": b"h"})
    await store.shares.take_try(share["_id"], clock())
    await store.shares.add_session(share, make_session(clock), clock())
    if SHARES_VIEW not in await database.list_collection_names():
        pytest.skip("this server has no views")
    (shown,) = await database[SHARES_VIEW].find().to_list(None)
    assert shown.keys() == SHARE["properties"].keys() - {"secret_hash", "passcode", "sessions"}
    assert shown["_id"] == share["_id"]
