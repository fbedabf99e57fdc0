"""One store over each backend: the in-memory double, the local database over the wire, and a real MongoDB."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import uuid
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from mongomock_motor import AsyncMongoMockClient
from pymongo.errors import OperationFailure, WriteError

from service.storage.connection import CODEC, Client, Database, connect, open_database
from service.storage.local.database import LocalDatabase
from service.storage.store import Store
from tests.storage.samples import Clock

WIRE = ("local", "mongodb")


def skip_mongodb(reason: str) -> None:
    """Skip, unless a real MongoDB is required here."""
    if os.environ.get("REQUIRE_MONGODB") == "1":
        pytest.fail(f"REQUIRE_MONGODB is set, and {reason}")
    pytest.skip(reason)


@contextlib.contextmanager
def running_database(data_dir: Path, files: str) -> Iterator[str]:
    """Keep a local database for the session; `files` chooses which program makes its files."""
    (data_dir / "database" / files).mkdir(parents=True)
    database = LocalDatabase(data_dir)
    with asyncio.Runner() as runner:
        uri = runner.run(database.start())
        try:
            yield uri
        finally:
            runner.run(database.stop())


@pytest.fixture(scope="session")
def local_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_database(tmp_path_factory.mktemp("local"), "secantusdb") as uri:
        yield uri


@pytest.fixture(scope="session")
def mongodb_uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    uri = os.environ.get("MONGODB_URI")
    if uri:
        yield uri
    elif shutil.which("mongod"):
        with running_database(tmp_path_factory.mktemp("mongod"), "mongod") as uri:
            yield uri
    else:
        skip_mongodb("there is no MongoDB: no mongod on PATH, and MONGODB_URI is not set")


@pytest.fixture(params=["mongomock", *WIRE])
def backend_uri(request: pytest.FixtureRequest) -> str | None:
    """Where the backend answers; None for the double. Synchronous, so that no event loop runs while it starts."""
    if request.param == "mongomock":
        return None
    return str(request.getfixturevalue(f"{request.param}_uri"))


@pytest.fixture
async def database(backend_uri: str | None) -> AsyncIterator[Database]:
    """An empty database with a random name."""
    name = f"test_{uuid.uuid4().hex[:12]}"
    if backend_uri is None:
        yield AsyncMongoMockClient(tz_aware=True).get_database(name, codec_options=CODEC)
        return
    client: Client = connect(backend_uri)
    try:
        yield open_database(client, name)
    finally:
        await client.drop_database(name)
        client.close()


@pytest.fixture
async def validators(database: Database, backend_uri: str | None) -> None:
    """Skip where the server has no validators: they guard against our own mistakes, and the service goes without."""
    if backend_uri is None:
        pytest.skip("the double has no validators")
    try:
        await database.create_collection("guarded", validator={"$jsonSchema": {"required": ["patient_id"]}})
    except OperationFailure as error:
        pytest.skip(f"this server refuses validators (code {error.code})")
    with contextlib.suppress(WriteError):
        await database["guarded"].insert_one({})
        pytest.skip("this server takes validators and does not apply them")
    await database["guarded"].drop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(database: Database, clock: Clock) -> AsyncIterator[Store]:
    store = Store(database, clock)
    await store.prepare()
    yield store
    store.close()
