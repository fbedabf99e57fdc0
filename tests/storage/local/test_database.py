"""The local database lives exactly as long as its service, and keeps what was acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from service.errors import DatabaseUnavailable
from service.storage.connection import connect, open_database
from service.storage.local import database as module
from service.storage.local.database import LocalDatabase, choose_program, find_running
from service.storage.local.lock import LocalDatabaseError
from service.storage.local.running import Running, is_alive, read_running, start_time, stop, write_running
from service.storage.store import Store
from service.storage.visible import Visible
from tests.storage.samples import Clock, extraction, make_bytes, make_instance

SERVICE = """
import asyncio, sys
from pathlib import Path
from service.storage.local.database import LocalDatabase

async def main():
    async with LocalDatabase(Path(sys.argv[1])) as database:
        print(database.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True)


async def wait_until(done: Callable[[], object], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


async def test_it_is_found_while_it_runs_and_gone_afterwards(tmp_path: Path) -> None:
    assert find_running(tmp_path) is None
    database = LocalDatabase(tmp_path)
    uri = await database.start()
    assert find_running(tmp_path) == uri
    assert database.pid is not None
    assert os.getsid(database.pid) != os.getsid(0)  # Ctrl-C in the service's terminal does not reach it
    home = tmp_path / "database"
    assert home.stat().st_mode & 0o777 == 0o700
    assert (home / "running.json").stat().st_mode & 0o777 == 0o600
    with pytest.raises(LocalDatabaseError, match="Another service is using the data directory"):
        await LocalDatabase(tmp_path).start()
    assert find_running(tmp_path) == uri
    pid = database.pid
    await database.stop()
    assert start_time(pid) is None
    assert find_running(tmp_path) is None


async def test_acknowledged_writes_survive_its_kill_and_it_comes_back_on_the_same_port(
    tmp_path: Path, clock: Clock
) -> None:
    async with LocalDatabase(tmp_path) as database:
        client = connect(database.uri)
        store = Store(open_database(client, "test"), clock)
        await store.prepare()
        acknowledged = []

        first = database.pid
        assert first is not None

        async def upload() -> None:
            while database.pid == first:
                seed = len(acknowledged) + 1000 * id(asyncio.current_task())
                content = make_bytes(40_000, seed)
                made = make_instance(store, clock, content)
                await store.uploads.store(made, extraction(), content)
                acknowledged.append((made, content))

        uploads = [asyncio.create_task(upload()) for _ in range(4)]
        await wait_until(lambda: len(acknowledged) >= 30)
        os.kill(first, signal.SIGKILL)
        ended = await asyncio.gather(*uploads, return_exceptions=True)
        assert {type(each) for each in ended} <= {type(None), DatabaseUnavailable}
        uri = database.uri
        await wait_until(lambda: database.pid != first and find_running(tmp_path) == uri)
        for made, content in acknowledged:
            assert await store.instances.find(Visible("p-1"), made["_id"]) == made
            original = await store.originals.open(Visible("p-1"), made["original_id"])
            assert original is not None
            assert await original.read_range() == content
        assert (await store.instances.list_newest(Visible("p-1"), 1000))[0]
        store.close()
        client.close()


async def test_it_ends_with_a_service_that_is_killed(tmp_path: Path) -> None:
    service = start([sys.executable, "-c", SERVICE, str(tmp_path)])
    try:
        assert service.stdout is not None
        pid = int(await asyncio.to_thread(service.stdout.readline))
        assert start_time(pid) is not None
    finally:
        service.kill()
        service.communicate()
    if sys.platform == "linux":
        await wait_until(lambda: start_time(pid) is None)
    async with LocalDatabase(tmp_path):  # and a restart works at once
        pass


async def test_a_leftover_is_stopped_at_the_next_start(tmp_path: Path) -> None:
    home = tmp_path / "database"
    home.mkdir()
    left = start(["sleep", "60"])
    started = start_time(left.pid)
    assert started is not None
    write_running(home / "running.json", Running("mongodb://127.0.0.1:1/", left.pid, started, "mongod", ready=True))
    assert find_running(tmp_path) is not None
    async with LocalDatabase(tmp_path):
        assert left.poll() == -signal.SIGTERM
        left.communicate()


def test_a_process_that_ignores_the_request_is_ended() -> None:
    script = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(1, flush=True); time.sleep(60)"
    child = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert child.stdout is not None
    child.stdout.readline()
    stop(Running("", child.pid, start_time(child.pid) or "", "", ready=True), grace=0.1)
    assert child.wait(1) == -signal.SIGKILL
    child.stdout.close()


def test_a_pid_that_was_given_out_again_is_not_the_database(tmp_path: Path) -> None:
    other = Running("mongodb://127.0.0.1:1/", os.getpid(), "long ago", "mongod", ready=True)
    assert not is_alive(other)
    (tmp_path / "database").mkdir()
    write_running(tmp_path / "database" / "running.json", other)
    assert find_running(tmp_path) is None
    stop(other, grace=0)  # or this test would end here


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', '{"uri": "x", "color": 3}'])
def test_a_broken_file_tells_of_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "running.json").write_text(text)
    assert read_running(tmp_path / "running.json") is None


async def test_a_database_that_does_not_come_up_shows_its_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "mongod"
    program.write_text("#!/bin/sh\necho the disk is full\nexit 14\n")
    program.chmod(0o700)
    monkeypatch.setattr(module, "choose_program", lambda _: ("mongod", str(program)))
    with pytest.raises(LocalDatabaseError, match=r"(?s)ended with status 14 .*the disk is full"):
        await LocalDatabase(tmp_path).start()
    assert find_running(tmp_path) is None
    with pytest.raises(LocalDatabaseError, match="the disk is full"):  # the directory is not held any longer
        await LocalDatabase(tmp_path).start()


def test_the_program_that_made_the_files_is_chosen_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"mongod": "/bin/mongod", "secantusd-py": "/bin/secantusd-py"}
    monkeypatch.setattr(module.shutil, "which", found.get)
    monkeypatch.setattr(module.sys, "executable", str(tmp_path / "python"))
    assert choose_program(tmp_path) == ("mongod", "/bin/mongod")
    (tmp_path / "secantusdb").mkdir()
    assert choose_program(tmp_path) == ("secantusd-py", "/bin/secantusd-py")
    del found["secantusd-py"]
    with pytest.raises(LocalDatabaseError, match="made by secantusd-py, which is not installed"):
        choose_program(tmp_path)
    (tmp_path / "secantusdb").rmdir()
    found.clear()
    with pytest.raises(LocalDatabaseError, match="set MONGODB_URI"):
        choose_program(tmp_path)


def test_the_child_collects_cycles_seldom_and_sees_nothing_of_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JWT_SECRET", "x" * 32)
    environment = module.child_environment()
    assert "JWT_SECRET" not in environment
    asked = subprocess.run(
        [sys.executable, "-c", "import gc; print(gc.get_threshold()[0])"],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert int(asked.stdout) >= 10_000
