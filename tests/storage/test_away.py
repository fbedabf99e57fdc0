"""A database that is paused, gone or back again: every call ends within 5 s, and says what it met."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest
from bson import ObjectId
from pymongo import errors

from service.errors import DatabaseUnavailable
from service.storage.connection import answering, connect, is_passing, open_database
from service.storage.local.database import LocalDatabase, find_free_port
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, make_bytes, make_instance


# Five on a machine that has the time; on a busy one at least in the end.
@pytest.mark.parametrize("seconds", [30, pytest.param(5, marks=pytest.mark.long)])
async def test_a_database_that_is_paused_or_not_there_fails_every_call_within_seconds(
    tmp_path: Path, clock: Clock, seconds: float
) -> None:
    async with LocalDatabase(tmp_path) as local:
        client = connect(local.uri)
        store = Store(open_database(client, "test"), clock)
        await store.prepare()
        content = make_bytes(1_500_000)
        made = make_instance(store, clock, content)
        assert await store.uploads.store(made, extraction(), content)
        original = await store.originals.open(Visible("p-1"), made["original_id"])
        assert original is not None
        assert local.pid is not None

        nowhere = connect(f"mongodb://127.0.0.1:{find_free_port()}/")
        unreachable = Store(open_database(nowhere, "test"), clock)

        async def timed(call: object) -> float:
            began = time.monotonic()
            with pytest.raises(DatabaseUnavailable):
                await call  # type: ignore[misc]
            return time.monotonic() - began

        os.kill(local.pid, signal.SIGSTOP)
        try:
            dicom_id = made["_id"]
            key = RenditionKey(0, 1)
            fresh = [make_instance(store, clock, make_bytes(10, seed)) for seed in range(60)]
            calls = [
                unreachable.prepare(),
                unreachable.originals.write(made, content),
                store.check(),
                store.instances.find(Visible("p-1"), dicom_id),
                store.instances.list_newest(Visible("p-1"), 5),
                store.instances.read_whole(Visible("p-1"), dicom_id),
                store.instances.read_elements(Visible("p-1"), dicom_id, [], ["Modality"]),
                store.instances.read_elements(Visible("p-1"), dicom_id, [("ContentSequence", 1)], ["Modality"]),
                store.originals.open(Visible("p-1"), ObjectId()),
                original.read_range(),
                store.renditions.find(Visible("p-1"), dicom_id, key),
                store.renditions.put("p-1", dicom_id, key, StoredRendition(b"png", {})),
                store.deletion.delete("p-1", dicom_id),
                *(store.uploads.store(each, extraction(), make_bytes(10, seed)) for seed, each in enumerate(fresh)),
            ]
            took = await asyncio.gather(*(timed(call) for call in calls))
            assert max(took) < seconds
        finally:
            os.kill(local.pid, signal.SIGCONT)

        began = time.monotonic()
        while True:
            try:
                assert await store.instances.find(Visible("p-1"), "none") is None
                break
            except DatabaseUnavailable:
                assert time.monotonic() - began < seconds
        for each in (store, unreachable):
            each.close()
        for each in (client, nowhere):
            each.close()


@pytest.mark.parametrize(
    "error",
    [
        errors.AutoReconnect("x"),
        errors.NetworkTimeout("x"),
        errors.ServerSelectionTimeoutError("x"),
        errors.NotPrimaryError("x"),
        errors.WaitQueueTimeoutError("x"),
        errors.ExecutionTimeout("x", 50),
        errors.WTimeoutError("x", 64),
        errors.WriteConcernError("x", 100),
        errors.OperationFailure("x", 91),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_passes_is_told_as_unavailable(error: errors.PyMongoError) -> None:
    assert is_passing(error)
    with pytest.raises(DatabaseUnavailable) as caught, answering():
        raise error
    assert caught.value.__cause__ is error
    assert caught.value.retry_after > 0


@pytest.mark.parametrize(
    "error", [errors.DuplicateKeyError("x", 11000), errors.OperationFailure("x", 121), errors.InvalidDocument("x")]
)
def test_what_is_our_own_mistake_is_not_hidden(error: errors.PyMongoError) -> None:
    with pytest.raises(type(error)), answering():
        raise error


def test_a_uri_that_cannot_be_used_is_not_repeated() -> None:
    with pytest.raises(DatabaseUnavailable) as caught:
        connect("mongodb://user:pass/word@host/")
    assert "word" not in str(caught.value)


async def test_a_uri_whose_name_cannot_be_resolved_is_told_as_one_that_cannot_be_used() -> None:
    with pytest.raises(DatabaseUnavailable, match="URI cannot be used") as told, answering():
        raise errors.ConfigurationError("mongodb+srv://user:hidden@nowhere.invalid/")
    assert "hidden" not in str(told.value)
