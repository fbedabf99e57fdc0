"""A service that is killed between any two writes: what it acknowledged is there, the rest goes or is finished."""

import hashlib
import json
import threading
import time
from contextlib import suppress
from http.client import HTTPException

import pytest

from tests.faults.stores import CLEAN, RECOVERING, faults, is_whole, look, make_file, sweep, uri_of, wait_until_done
from tests.running_service import RunningService

SOME = [("async", 7), ("small", 5)]
WRITES = {"small": 5, "small, by collection": 8, "large": 9, "async": 11, "delete": 9}
ALL = [(kind, number) for kind, count in WRITES.items() for number in range(1, count + 1)]
CASES = [*SOME, *(pytest.param(*case, marks=pytest.mark.long) for case in ALL if case not in SOME)]


def send(service, content, prefer=""):
    return service.request("POST", "/patient/p-1/dicom", content, content_type="application/dicom", Prefer=prefer)


@pytest.mark.parametrize(("kind", "number"), CASES)
def test_a_kill_between_two_writes_loses_nothing_and_leaves_nothing(tmp_path, kind, number):
    data, armed = tmp_path / "data", tmp_path / "armed"
    content = make_file(40 if kind == "large" else 1)
    sha256 = hashlib.sha256(content).hexdigest()
    doomed = {"module": "tests.faults.doomed_service", "EXIT_BEFORE_WRITE": str(number), "ARMED": str(armed)}
    if kind.endswith("by collection"):
        doomed["NO_BULK_WRITE"] = "1"
    acknowledged = None
    with RunningService(data, **doomed, **RECOVERING) as service:
        service.token("p-1")
        if kind == "delete":
            acknowledged = service.upload(content)
        armed.touch()
        with suppress(OSError, HTTPException):
            if kind == "delete":
                service.request("DELETE", f"/patient/p-1/dicom/{acknowledged}")
            else:
                status, _, body = send(service, content, "respond-async" if kind == "async" else "")
                assert status in {200, 202}, body
                acknowledged = json.loads(body)
        assert service.process.wait(20) == -9
    armed.unlink()
    with RunningService(data, **RECOVERING) as service:
        if kind == "delete" and number > 1:  # it was marked: it goes, whatever happens
            deadline = time.monotonic() + 20
            while look(uri_of(service))["states"] and time.monotonic() < deadline:
                time.sleep(0.1)
            assert not look(uri_of(service))["states"]
            acknowledged = None
        elif acknowledged is not None:
            assert wait_until_done(service, acknowledged) == "done"
            assert is_whole(service, acknowledged, sha256)
        sweep(uri_of(service))
        assert faults(uri_of(service)) == CLEAN
        again = service.upload(content)
        assert acknowledged in {None, again}
        assert wait_until_done(service, again) == "done"
        assert is_whole(service, again, sha256)
        assert sum(look(uri_of(service))["states"].values()) == 1
        assert service.stop() == 0


def test_a_worker_that_dies_in_extraction_costs_nothing_but_time(tmp_path):
    content = make_file()
    with RunningService(tmp_path / "data", IN_PROCESS_BYTES="0", POOL_PROCESSES="1", RECOVERY_INTERVAL="1") as service:
        service.upload(make_file())
        worker = next(each for each in service.family() if "service.workers.child" in each.cmdline())
        worker.suspend()
        killer = threading.Timer(1, worker.kill)
        killer.start()
        status, headers, body = send(service, content)
        killer.join()
        assert status == 202
        dicom_id = json.loads(body)
        assert headers["Location"] == f"/patient/p-1/dicom/{dicom_id}"
        assert wait_until_done(service, dicom_id) == "done"
        assert is_whole(service, dicom_id, hashlib.sha256(content).hexdigest())
        assert faults(uri_of(service)) == CLEAN
        assert service.stop() == 0
