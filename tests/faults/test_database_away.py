"""The database is paused, killed or gone under load; the disk of the spool files is full."""

import json
import resource
import threading
import time
from http.client import HTTPException

import psutil
import pytest

from tests.faults.rounds import Uploaders
from tests.faults.stores import CLEAN, RECOVERING, faults, is_whole, make_file, sweep, uri_of, wait_until_done
from tests.running_service import RunningService


def wait_until_ready(service, seconds):
    """Seconds until the service is ready again."""
    began = time.monotonic()
    while service.request("GET", "/readyz")[0] != 200:
        assert time.monotonic() - began < seconds
        time.sleep(0.1)
    return time.monotonic() - began


def ask_everything(service, dicom_id):
    """Ask every kind of route at once; give (path, status, Retry-After, seconds) of each."""
    path = f"/patient/p-1/dicom/{dicom_id}"
    asked = [
        ("GET", "/readyz", None, {}),
        ("GET", "/patient/p-1/dicom", None, {}),
        ("GET", "/patient/p-1/dicom?Modality=CT", None, {}),
        ("GET", "/patient/p-1/tags", None, {}),
        ("GET", "/patient/p-1/dicomweb/instances?includefield=all", None, {}),
        ("GET", path, None, {"Accept": "application/json"}),
        ("GET", path, None, {"Accept": "application/dicom"}),
        ("GET", path, None, {"Accept": "image/png"}),
        ("GET", f"{path}/tag/Modality", None, {}),
        ("GET", f"{path}/tags", None, {}),
        ("GET", "/patient/p-1/dicomweb/studies", None, {}),
        ("POST", "/patient/p-1/dicom", make_file(), {"content_type": "application/dicom"}),
        ("POST", "/patient/p-1/dicom", make_file(40), {"content_type": "application/dicom"}),
        ("POST", "/patient/p-1/dicom", make_file(), {"content_type": "application/dicom", "Prefer": "respond-async"}),
        ("DELETE", f"{path[:-1]}0", None, {}),
    ]
    answers = []

    def ask(method, target, body, headers):
        began = time.monotonic()
        status, got, _ = service.request(method, target, body, **headers)
        answers.append((f"{method} {target}", status, got["Retry-After"], time.monotonic() - began))

    threads = [threading.Thread(target=ask, args=each) for each in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(answers) == len(asked)
    return answers


# Five on a machine that has the time; on a busy one at least in the end.
@pytest.mark.parametrize("seconds", [30, pytest.param(5, marks=pytest.mark.long)])
def test_a_paused_database_is_told_within_seconds_on_every_route(tmp_path, seconds):
    with RunningService(tmp_path / "data", **RECOVERING) as service:
        dicom_id = service.upload(make_file())
        database = service.database()
        database.suspend()
        try:
            answers = ask_everything(service, dicom_id)
        finally:
            database.resume()
        assert [answer for answer in answers if answer[1] != 503 or not answer[2] or answer[3] >= seconds] == []
        wait_until_ready(service, 2 * seconds)
        # Killed, it is started again.
        service.database().kill()
        wait_until_ready(service, 20)
        assert wait_until_done(service, dicom_id) == "done"
        assert service.stop() == 0


@pytest.mark.long
@pytest.mark.parametrize("how", ["paused", "killed again and again"])
def test_a_database_that_is_away_for_thirty_seconds_under_load_loses_nothing(tmp_path, how):
    with RunningService(tmp_path / "data", **RECOVERING) as service:
        uploaders = Uploaders(how)
        uploaders.start(service)
        time.sleep(3)
        before = len(uploaders.acknowledged)
        until = time.monotonic() + 30
        if how == "paused":
            database = service.database()
            database.suspend()
            time.sleep(30)
            database.resume()
        while time.monotonic() < until:
            for each in service.process.children():
                if "secantusd" in " ".join(each.cmdline()) or "mongod" in " ".join(each.cmdline()):
                    each.kill()
            time.sleep(0.5)
        back = time.monotonic()
        wait_until_ready(service, 20)
        at_back = len(uploaders.acknowledged)
        while len(uploaders.acknowledged) == at_back and time.monotonic() - back < 20:
            time.sleep(0.05)
        normal = time.monotonic() - back
        time.sleep(3)
        uploaders.stop()
        figures = f"{before} and {len(uploaders.acknowledged)} acknowledged, normal after {normal:.1f} s"
        print(figures)
        assert uploaders.unexpected == []
        assert normal < 10 or how != "paused"
        assert len(uploaders.acknowledged) > before
        for dicom_id, (patient, sha256) in list(uploaders.acknowledged.items()):
            assert wait_until_done(service, dicom_id, patient) == "done"
            assert is_whole(service, dicom_id, sha256, patient)
        sweep(uri_of(service))
        assert faults(uri_of(service)) == CLEAN
        assert service.stop() == 0


def test_a_full_disk_of_spool_files_refuses_what_is_large_and_nothing_else(tmp_path):
    with RunningService(tmp_path / "data", **RECOVERING) as service:
        service.upload(make_file())
        small = 1 << 19  # no file of the service's own grows beyond that any more
        service.process.rlimit(psutil.RLIMIT_FSIZE, (small, resource.RLIM_INFINITY))
        status, headers, body = service.request(
            "POST", "/patient/p-1/dicom", make_file(80), content_type="application/dicom"
        )
        assert (status, json.loads(body)["status"]) == (503, 503)
        assert int(headers["Retry-After"]) > 0
        service.upload(make_file())
        assert list((tmp_path / "data" / "spool").iterdir()) == []
        service.process.rlimit(psutil.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        service.upload(make_file(80))
        assert service.stop() == 0


def test_a_service_that_is_told_to_stop_answers_what_it_has_begun(tmp_path):
    answers = []
    with RunningService(tmp_path / "data", **RECOVERING) as service:
        service.token("p-1")
        database = service.database()
        database.suspend()

        def send():
            try:
                answers.append(service.upload(make_file()))
            except (OSError, HTTPException) as error:
                answers.append(error)

        thread = threading.Thread(target=send)
        thread.start()
        time.sleep(0.5)
        service.process.terminate()
        time.sleep(0.5)
        database.resume()
        thread.join(20)
        assert service.stop() == 0
    assert isinstance(answers[0], str), answers
    with RunningService(tmp_path / "data") as service:
        assert wait_until_done(service, answers[0]) == "done"
        assert service.stop() == 0
