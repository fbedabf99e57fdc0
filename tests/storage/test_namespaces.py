"""Ids that came from another database are known to every running service before a file is stored under them."""

from __future__ import annotations

import asyncio
import hashlib
import uuid
from collections.abc import AsyncIterator

import pytest

from service.storage import namespaces
from service.storage.connection import Database
from service.storage.store import Store
from tests.storage.samples import Clock, extraction, make_bytes, make_instance

CONTENT = make_bytes(100)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
async def service(database: Database, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Store]:
    """A second process on the same database, which looks at the namespaces every 0.1 s."""
    monkeypatch.setattr(namespaces, "NAMESPACE_SECONDS", 0.1)
    other = Store(database, clock)
    await other.prepare()
    yield other
    other.close()


async def test_an_empty_database_takes_over_the_namespace_of_an_archive(store: Store, service: Store) -> None:
    archive = str(uuid.uuid4())
    before = await service.namespaces.settle_id("p-1", SHA256)
    assert await store.namespaces.take(archive, [])
    expected = str(uuid.uuid5(uuid.UUID(archive), f"{SHA256}/p-1"))
    assert await service.namespaces.settle_id("p-1", SHA256) == expected != before
    assert (await store.maintenance.read_meta()).get("other_namespaces", []) == []


async def test_one_with_files_keeps_its_own_and_finds_the_same_bytes_under_both(
    store: Store, service: Store, clock: Clock
) -> None:
    archive = uuid.uuid4()
    own = service.namespaces.own_id("p-1", SHA256)
    other = make_bytes(100, seed=1)
    await store.uploads.store(make_instance(store, clock, other), extraction(), other)
    assert not await store.namespaces.take(str(archive), [])
    imported = str(uuid.uuid5(archive, f"{SHA256}/p-1"))
    assert await service.namespaces.settle_id("p-1", SHA256) == own
    await store.uploads.store(make_instance(store, clock, CONTENT, _id=imported), extraction(), CONTENT)
    assert await service.namespaces.settle_id("p-1", SHA256) == imported


async def test_a_file_that_came_while_the_namespace_was_taken_over_keeps_its_id(
    store: Store, service: Store, clock: Clock
) -> None:
    own = service.namespaces.own_id("p-1", SHA256)

    async def upload_meanwhile() -> None:
        await asyncio.sleep(0.05)  # the service has not looked again yet
        await service.uploads.store(make_instance(service, clock, CONTENT), extraction(), CONTENT)

    archive = str(uuid.uuid4())
    taken, _ = await asyncio.gather(store.namespaces.take(archive, []), upload_meanwhile())
    assert taken
    await asyncio.sleep(0.2)
    assert await service.namespaces.settle_id("p-1", SHA256) == own


async def test_an_archive_that_is_known_already_is_not_waited_for(
    store: Store, service: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive, others = str(uuid.uuid4()), [str(uuid.uuid4())]
    await store.namespaces.take(archive, others)
    monkeypatch.setattr(namespaces, "NAMESPACE_SECONDS", 60.0)
    async with asyncio.timeout(5):
        assert await store.namespaces.take(archive, others)
    assert await service.namespaces.settle_id("p-1", SHA256)
