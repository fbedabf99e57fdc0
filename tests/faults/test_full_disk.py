"""The disk under the local database is full: the service says so, and all is well when there is room again."""

import os
import subprocess
import time
from contextlib import closing

import pytest

from tests.faults.stores import RECOVERING, make_file
from tests.running_service import RunningService

SMALL, LARGE = "size=80m", "size=400m"


@pytest.fixture
def disk(tmp_path):
    """A disk of 80 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", SMALL, "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not mounted or mounted.returncode:
        pytest.skip("a small disk is a tmpfs, and this user may not mount one")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def ask(service, dicom_id):
    """What every kind of request gets: its status, and whether there is a Retry-After."""
    path = "/patient/p-1/dicom"
    asked = [
        ("GET", "/readyz", None),
        ("GET", path, None),
        ("GET", f"{path}?Modality=CT", None),
        ("GET", f"{path}/{dicom_id}/tag/Modality", None),
        ("POST", path, make_file()),
    ]
    with closing(service.connect()) as connection:
        answers = [
            service.request(method, target, body, connection=connection, content_type="application/dicom")
            for method, target, body in asked
        ]
    return [(status, headers["Retry-After"] is not None) for status, headers, _ in answers]


@pytest.mark.long
def test_a_full_disk_under_the_database_is_503_and_heals_when_there_is_room(disk):
    seen = set()
    with RunningService(disk / "data", MIN_FREE_BYTES="0", POOL_PROCESSES="1", **RECOVERING) as service:
        dicom_id = service.upload(make_file())
        filled = 0
        while filled < 10:
            status, headers, _ = service.request(
                "POST", "/patient/p-1/dicom", make_file(20), content_type="application/dicom"
            )
            seen.add((status, headers["Retry-After"] is not None))
            filled += status != 200
        until = time.monotonic() + 15
        while time.monotonic() < until:
            seen.update(ask(service, dicom_id))
            time.sleep(0.2)
        assert seen <= {(200, False), (503, True)}
        assert (503, True) in seen
        subprocess.run(["mount", "-o", f"remount,{LARGE}", str(disk)], check=True)
        until = time.monotonic() + 60
        while (answers := ask(service, dicom_id)) != [(200, False)] * 5:
            assert set(answers) <= {(200, False), (503, True)}
            assert time.monotonic() < until
            time.sleep(0.2)
        assert service.stop() == 0


def test_uploads_are_refused_before_the_disk_of_the_database_is_full(disk, tmp_path):
    spool = tmp_path / "spool"
    spool.mkdir()
    with RunningService(disk / "data", "--spool-dir", str(spool), MIN_FREE_BYTES=str(40 << 20)) as service:
        statuses = []
        while 503 not in statuses:
            status, headers, _ = service.request(
                "POST", "/patient/p-1/dicom", make_file(20), content_type="application/dicom"
            )
            statuses.append(status)
            assert status == 200 or headers["Retry-After"]
        assert 200 in statuses
        assert service.request("GET", "/readyz")[0] == 200
        assert service.request("GET", "/patient/p-1/dicom")[0] == 200
        assert service.stop() == 0
