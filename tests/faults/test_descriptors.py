"""File descriptors are used up: requests are told to come again, the log stays small, and all is well afterwards."""

import socket
import sys
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psutil
import pytest

from tests.faults.stores import make_file
from tests.running_service import RunningService


def highest_descriptor(process):
    """The highest number of a file descriptor that a process has open."""
    return max(int(each.name) for each in Path(f"/proc/{process.pid}/fd").iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="the limit of another process can be set on Linux alone")
def test_without_file_descriptors_requests_are_503_and_the_log_stays_small(tmp_path):
    with (
        RunningService(tmp_path / "data", POOL_PROCESSES="1") as service,
        closing(service.connect()) as kept,
        ExitStack() as waiting,
    ):
        headers = {"connection": kept, "content_type": "application/dicom"}
        assert service.request("POST", "/patient/p-1/dicom", make_file(40), **headers)[0] == 200
        logged = service.log.stat().st_size
        before = service.process.rlimit(psutil.RLIMIT_NOFILE)
        service.process.rlimit(psutil.RLIMIT_NOFILE, (1 + highest_descriptor(service.process), before[1]))
        for _ in range(50):
            waiting.enter_context(socket.create_connection(("127.0.0.1", service.port), timeout=5))
        time.sleep(3)
        status, answered, _ = service.request("POST", "/patient/p-1/dicom", make_file(40), **headers)
        assert (status, answered["Retry-After"] is not None) == (503, True)
        assert service.log.stat().st_size - logged < 100_000
        waiting.close()
        service.process.rlimit(psutil.RLIMIT_NOFILE, before)
        time.sleep(1.5)
        assert service.request("POST", "/patient/p-1/dicom", make_file(40), content_type="application/dicom")[0] == 200
        assert service.stop() == 0
