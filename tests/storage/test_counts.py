"""How often a request asks the database, and how often it changes to a thread: figures that nobody shall lose again.

Processor time depends on the machine; these counts do not, and they are what it goes into
(``python -m tests.load.profile`` measures it).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from motor.frameworks import asyncio as motor_threads
from pymongo.monitoring import CommandListener, CommandStartedEvent

from service.app import create_app
from service.auth.tokens import mint_token
from service.errors import NotFound
from service.resources import now
from service.settings import Settings
from service.storage import group_commit, namespaces
from service.storage.connection import open_database
from service.storage.gathering import Gathering
from service.storage.store import Store
from service.storage.threads import Threads
from service.usecases import audit, sharing, sharing_sessions
from service.usecases.context import Context
from service.web.app_keys import CONTEXT
from service.web.server import DiscreetRunner, listen
from tests.load.profile import NESTED, make_series

SECRET = "a secret of the tests, with more than 32 bytes"
AT_ONCE = 8


class Commands(CommandListener):
    """Counts commands by their names, and keeps what is asked of shares and of instances."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.of_shares: list[Any] = []
        self.of_instances: list[Any] = []

    def started(self, event: CommandStartedEvent) -> None:
        if event.command.get(event.command_name) != "audit":  # written by the second, not by the request
            self.sent[event.command_name] += 1
        if event.command.get(event.command_name) == "shares":
            self.of_shares.append(event.command)
        if event.command.get(event.command_name) == "instances":
            self.of_instances.append(event.command.get("filter"))

    def succeeded(self, event: Any) -> None: ...

    def failed(self, event: Any) -> None: ...


@dataclass
class Asked:
    """A service, and what its requests cost."""

    store: Store
    commands: Commands
    send: Callable[..., Awaitable[bytes]]
    contents: Iterator[bytes]
    context: Context
    near: Path
    hops: list[int] = field(default_factory=lambda: [0])

    async def cost(
        self, *requests: Awaitable[Any], expected: type[Exception] | tuple[()] = ()
    ) -> tuple[dict[str, int], int]:
        """Commands by name, and hops, of requests at the same time; they may end with what is expected."""
        self.commands.sent.clear()
        self.commands.of_shares.clear()
        self.commands.of_instances.clear()
        self.hops[0] = 0
        with contextlib.suppress(expected):
            await asyncio.gather(*requests)
        return dict(self.commands.sent), self.hops[0]

    def upload(self) -> Awaitable[bytes]:
        return self.send("POST", "", data=next(self.contents), headers={"Content-Type": "application/dicom"})


@pytest.fixture
async def asked(local_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    from motor.motor_asyncio import AsyncIOMotorClient

    monkeypatch.setattr(audit, "INTERVAL_SECONDS", 3600.0)  # what belongs to no request waits
    monkeypatch.setattr(namespaces, "NAMESPACE_SECONDS", 3600.0)
    commands = Commands()
    client: Any = AsyncIOMotorClient(local_uri, tz_aware=True, event_listeners=[commands])
    database = open_database(client, f"test_{tmp_path.name[:40]}")
    store = Store(database, now)
    await store.prepare()
    settings = Settings(
        data_dir=tmp_path,
        spool_dir=tmp_path / "spool",
        jwt_secret=SECRET,
        pool_processes=1,
        recovery_interval=3600.0,
    )
    app = create_app(settings, store=store)
    runner = DiscreetRunner(app)
    await runner.setup()
    listener = listen("127.0.0.1", 0)
    await web.SockSite(runner, listener).start()
    root = f"http://127.0.0.1:{listener.getsockname()[1]}/patient/p-1/dicom"
    token = {"access-token": mint_token(SECRET, "p-1", lifetime=600)}
    async with aiohttp.ClientSession() as session:

        async def send(method: str, path: str, **options: Any) -> bytes:
            headers = {**token, **options.pop("headers", {})}
            async with session.request(method, root + path, headers=headers, **options) as response:
                assert response.status == 200, await response.text()
                return await response.read()

        found = Asked(store, commands, send, make_series(1000), app[CONTEXT], tmp_path / "near")
        loop = asyncio.get_running_loop()
        run = loop.run_in_executor

        def counted(executor: Any, function: Any, *arguments: Any) -> Any:
            found.hops[0] += executor is motor_threads._EXECUTOR
            return run(executor, function, *arguments)

        def started(threads: Threads, *arguments: Any) -> Any:
            found.hops[0] += 1
            return start(threads, *arguments)

        start = Threads.start
        monkeypatch.setattr(loop, "run_in_executor", counted)
        monkeypatch.setattr(Threads, "start", started)
        await found.upload()
        try:
            yield found
        finally:
            await runner.cleanup()
            store.close()
            await client.drop_database(database.name)
            client.close()


def hold_up_the_first(gathering: Gathering[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Hold the first batch up until all the others wait for it."""
    work, first = gathering._work, threading.Lock()

    def held(items: Sequence[Any]) -> Sequence[Any]:
        if first.acquire(blocking=False):
            all_wait = threading.Event()
            for _ in range(1000):
                if len(gathering._waiting) >= AT_ONCE - 1:
                    break
                all_wait.wait(0.01)
        return work(items)

    monkeypatch.setattr(gathering, "_work", held)


async def test_an_upload_is_three_commands_in_one_hop(asked: Asked) -> None:
    assert await asked.cost(asked.upload()) == ({"update": 1, "bulkWrite": 1, "insert": 1}, 1)


async def test_uploads_at_the_same_time_share_their_commands_and_hops(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_up_the_first(asked.store.uploads.together, monkeypatch)
    cost = await asked.cost(*(asked.upload() for _ in range(AT_ONCE)))
    assert cost == ({"update": 2, "bulkWrite": 2, "insert": 2}, 2)  # less than one for each of the eight


async def test_where_there_is_no_bulk_write_they_share_those_of_each_collection(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(group_commit, "takes_bulk_writes", lambda _: False)
    assert await asked.cost(asked.upload()) == ({"insert": 4, "update": 2}, 1)
    hold_up_the_first(asked.store.uploads.together, monkeypatch)
    cost = await asked.cost(*(asked.upload() for _ in range(AT_ONCE)))
    assert cost == ({"insert": 8, "update": 4}, 2)


async def test_a_tag_is_one_command_in_one_hop(asked: Asked) -> None:
    dicom_id = (await asked.upload()).decode().strip('"')
    assert await asked.cost(asked.send("GET", f"/{dicom_id}/tag/Modality")) == ({"find": 1}, 1)
    assert await asked.cost(asked.send("GET", f"/{dicom_id}/tag/{NESTED}")) == ({"aggregate": 1}, 1)
    assert await asked.cost(asked.send("GET", f"/{dicom_id}/tags")) == ({"find": 1}, 1)


async def test_tags_at_the_same_time_share_a_command(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [(await asked.upload()).decode().strip('"') for _ in range(AT_ONCE)]
    hold_up_the_first(asked.store.instances.lookups, monkeypatch)
    cost = await asked.cost(*(asked.send("GET", f"/{each}/tag/Modality") for each in ids))
    assert cost == ({"find": 2}, 2)


async def test_the_token_of_a_share_is_one_read_by_the_shares_id_and_any_other_token_is_none(asked: Asked) -> None:
    dicom_id = (await asked.upload()).decode().strip('"')
    wanted = {"instances": [dicom_id], "expires_in": 600, "frozen": False, "download": False, "upload": False}
    share, _ = await sharing.make_share(asked.context, sharing.Maker("p-1", None, None), wanted)
    for _ in range(3):  # it has others beside it
        await sharing_sessions.open_session(asked.context, share, None)
    token = (await sharing_sessions.open_session(asked.context, share, None)).token
    path = f"/{dicom_id}/tag/Modality"
    assert await asked.cost(asked.send("GET", path)) == ({"find": 1}, 1)
    assert asked.commands.of_shares == []
    for _ in range(2):  # nothing of it is kept from one request to the next
        assert await asked.cost(asked.send("GET", path, headers={"access-token": token})) == ({"find": 2}, 2)
        (read,) = asked.commands.of_shares
        assert read["filter"]["_id"] == share["_id"]
    # And a link is one by the secret's hash, which has an index.
    assert await asked.cost(sharing_sessions.find_link(asked.context, "A" * 43), expected=NotFound) == ({"find": 1}, 1)
    assert "secret_hash" in asked.commands.of_shares[0]["filter"]
    indexed = await asked.store._database["shares"].index_information()
    assert [("secret_hash", 1)] in [each["key"] for each in indexed.values()]


async def test_a_list_is_one_command_where_the_server_reads_it_in_the_order_of_its_index_and_the_counter_is_known(
    asked: Asked, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(5):
        await asked.upload()
    assert await asked.cost(asked.send("GET", "?limit=3")) == ({"find": 4}, 2)  # the local database
    await asked.upload()
    monkeypatch.setattr(asked.store, "instances", replace(asked.store.instances, lists_by_index=True))
    assert await asked.cost(asked.send("GET", "?limit=3")) == ({"find": 2}, 2)  # the counter changed
    assert await asked.cost(asked.send("GET", "?limit=3")) == ({"find": 1}, 1)


async def test_elsewhere_a_list_reads_what_stands_beside_the_originals_and_no_instance(asked: Asked) -> None:
    for _ in range(3):
        await asked.upload()
    await asked.send("GET", "")
    cost = await asked.cost(asked.send("GET", ""))
    assert cost == ({"find": 3}, 1)  # the last sweep, the series, the originals
    assert asked.commands.of_instances == []


async def test_a_picture_that_is_there_is_two_commands_in_one_hop(asked: Asked) -> None:
    dicom_id = (await asked.upload()).decode().strip('"')
    picture = {"headers": {"Accept": "image/png"}}
    await asked.send("GET", f"/{dicom_id}", **picture)
    await asked.context.behind.finish()
    assert await asked.cost(asked.send("GET", f"/{dicom_id}", **picture)) == ({"find": 2}, 1)


async def test_a_small_download_is_two_commands_and_one_once_the_original_is_near(asked: Asked) -> None:
    dicom_id = (await asked.upload()).decode().strip('"')
    assert await asked.cost(asked.send("GET", f"/{dicom_id}")) == ({"find": 2}, 2)
    for _ in range(200):
        if any(asked.near.glob("*.*")):
            break
        await asyncio.sleep(0.01)
    assert await asked.cost(asked.send("GET", f"/{dicom_id}")) == ({"find": 1}, 1)


async def test_a_stored_frame_and_a_rendered_one_by_dicomweb_take_few_commands(asked: Asked) -> None:
    await asked.upload()
    (instance,) = json.loads(await asked.send("GET", "web/instances?limit=1"))
    study, series, uid = (instance[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    there = f"web/studies/{study}/series/{series}/instances/{uid}"
    await asked.send("GET", f"{there}/frames/1")
    picture = {"headers": {"Accept": "image/png"}}
    await asked.send("GET", f"{there}/rendered", **picture)
    await asked.context.behind.finish()
    assert await asked.cost(asked.send("GET", f"{there}/frames/1")) == ({"find": 2}, 2)  # its original is near
    assert await asked.cost(asked.send("GET", f"{there}/rendered", **picture)) == ({"find": 4}, 3)
