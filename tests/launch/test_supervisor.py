"""Several service processes on one port: one address, one database, and nothing left behind."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys

import psutil
import pytest
from pydicom.data import get_testdata_file

from service.launch import children, supervisor
from service.launch.supervisor import GaveUp, ServiceProcesses, share
from service.web.server import listen
from tests.running_service import ROOT, RunningService, wait_for, wait_until_gone


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("two") / "data", "--workers", "2") as running:
        yield running


def service_processes(running):
    return [child for child in running.process.children() if "service.launch.server_process" in child.cmdline()]


def content():
    with open(get_testdata_file("CT_small.dcm", download=False), "rb") as file:  # noqa: PTH123
        return file.read()


def test_two_processes_answer_on_one_port_from_one_database(two):
    assert len(service_processes(two)) == 2
    assert len(re.findall("listening on", two.log.read_text())) == 1
    assert len(re.findall("mongosh", two.log.read_text())) == 1
    databases = [child for child in two.process.children() if child not in service_processes(two)]
    assert len(databases) == 1
    dicom_id = two.upload(content())
    # Each request comes on a connection of its own, so both processes get some.
    for _ in range(20):
        status, _, body = two.request("GET", f"/patient/p-1/dicom/{dicom_id}/tag/Modality")
        assert (status, b'"CT"' in body) == (200, True)
    assert two.request("GET", f"/patient/p-1/dicom/{dicom_id}", Accept="image/png")[0] == 200
    took = [sum(part for part in process.cpu_times()[:2]) for process in service_processes(two)]
    assert min(took) > 0


def test_a_process_that_dies_is_replaced_and_the_others_go_on(two):
    dicom_id = two.upload(content())
    before = service_processes(two)
    before[0].kill()
    # What comes in meanwhile waits for the successor, or is answered by the other.
    for _ in range(10):
        assert two.request("GET", f"/patient/p-1/dicom/{dicom_id}/tag/Modality")[0] == 200
    after = wait_for(lambda: len(now := service_processes(two)) == 2 and now)
    assert before[1] in after
    assert before[0] not in after
    assert "it is started again" in two.log.read_text()


def test_sigterm_ends_all_of_them_with_status_0(tmp_path):
    with RunningService(tmp_path / "data", "--workers", "2") as running:
        family = running.family()
        assert running.stop() == 0
        assert wait_until_gone(family) == []


def test_a_supervisor_that_is_killed_leaves_no_process_behind(two):
    """The last test of this service."""
    family = two.family()
    assert len(family) >= 5  # the database, two service processes, and a worker of each
    two.kill()
    assert wait_until_gone(family) == []


async def test_who_cannot_be_kept_is_given_up_with_a_sentence(monkeypatch):
    monkeypatch.setattr(supervisor, "ATTEMPTS", 3)
    monkeypatch.setattr(children, "BACK_OFF_SECONDS", (0.01,))
    # It says that it answers, and dies.
    command = (sys.executable, "-S", "-c", "import os, sys; os.write(int(sys.argv[2]), b'.'); os._exit(7)")
    ended = []
    processes = ServiceProcesses(b"", os.environ, command, ended.append)
    with listen("127.0.0.1", 0, shared=True) as listener:
        await processes.start([listener])
        with pytest.raises(GaveUp, match="3 times in a row, the last time with status 7"):
            await asyncio.wait_for(processes.failed, 20)
        await processes.stop(1)
    assert processes.process_ids == []
    assert len(set(ended)) == 3


async def test_who_never_answers_keeps_the_service_from_starting():
    processes = ServiceProcesses(b"", os.environ, (sys.executable, "-S", "-c", "import os; os._exit(1)"))
    with listen("127.0.0.1", 0, shared=True) as listener:
        with pytest.raises(GaveUp, match="while it started"):
            await asyncio.wait_for(processes.start([listener]), 20)
        await processes.stop(1)


async def test_a_system_without_room_for_a_process_is_no_reason_to_wait_for_it(monkeypatch):
    def no_room(*_, **__):
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr("asyncio.create_subprocess_exec", no_room)
    processes = ServiceProcesses(b"", os.environ)
    with listen("127.0.0.1", 0, shared=True) as listener:
        with pytest.raises(GaveUp):
            await asyncio.wait_for(processes.start([listener]), 20)
        await processes.stop(1)


async def test_who_does_not_stop_when_asked_is_ended():
    deaf = "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN);"
    deaf += "os.write(int(sys.argv[2]), b'.'); time.sleep(60)"
    processes = ServiceProcesses(b"", os.environ, (sys.executable, "-S", "-c", deaf))
    with listen("127.0.0.1", 0, shared=True) as listener:
        await processes.start([listener])
        process = psutil.Process(processes.process_ids[0])
        await processes.stop(0.1)
    assert wait_until_gone([process], 2) == []


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere one socket serves all")
def test_sockets_on_one_address_share_it_and_nobody_else_joins_unasked():
    first = listen("127.0.0.1", 0)
    address = first.getsockname()
    shared = share(first, 3)
    try:
        assert {each.getsockname() for each in shared} == {address}
        for each in shared:
            each.listen()
        with pytest.raises(OSError, match="in use"):
            listen(*address)
        connections = [socket.create_connection(address) for _ in range(60)]
        taken = []
        for each in shared:
            taken.append(0)
            while True:
                try:
                    each.accept()[0].close()
                except BlockingIOError:
                    break
                taken[-1] += 1
        for each in connections:
            each.close()
        assert sum(taken) == 60
        assert min(taken) > 3
    finally:
        for each in shared:
            each.close()


@pytest.mark.long
def test_ctrl_c_in_a_terminal_stops_it_as_sigterm_does(tmp_path):
    with RunningService(tmp_path / "data", "--workers", "2") as running:
        family = running.family()
        assert running.stop(signal.SIGINT) == 0
        assert wait_until_gone(family) == []


@pytest.mark.long
def test_what_keeps_a_process_from_starting_is_told_once_with_its_exit_status(tmp_path):
    environment = os.environ | {"MONGODB_URI": "mongodb://127.0.0.1:1/"}
    started = subprocess.run(
        [sys.executable, "-m", "service", "--dev", "--port", "0", "--data-dir", str(tmp_path), "--workers", "3"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 1
    assert started.stderr.count("Is it running, and is MONGODB_URI right?") == 1
    assert "Traceback" not in started.stderr
