"""ZIPs on a real socket: a service that is killed while one arrives, and its memory while a large one does."""

import hashlib
import io
import itertools
import json
import random
import shutil
import subprocess
import time
import zipfile
from contextlib import closing

import psutil
import pytest

from tests.faults.stores import CLEAN, RECOVERING, faults, look, sweep, uri_of, wait_until_done
from tests.running_service import RunningService, wait_for
from tests.web.zips import END, dicom, member, packed

PATH = "/patient/p-1/dicom"
MEMORY = 100 << 20


def sent(service, pieces, patient="p-1"):
    """Send a ZIP piece by piece, and give the members' lines and the summary."""
    headers = {"access-token": service.token(patient), "Content-Type": "application/zip"}
    with closing(service.connect()) as connection:
        connection.timeout = 600
        connection.request("POST", PATH.replace("p-1", patient), iter(pieces), headers, encode_chunked=True)
        response = connection.getresponse()
        *lines, last = [json.loads(line) for line in response.read().splitlines()]
    assert response.status == 200
    return lines, last["summary"]


def listed(service):
    """The instances of the patient by their SHA-256, with their states; none is there twice."""
    _, _, body = service.request("GET", f"{PATH}?limit=1000")
    found = json.loads(body)["instances"]
    by_sum = {each["sha256"]: each for each in found}
    assert len(by_sum) == len(found)
    return by_sum


def kill_within(service, members, sends):
    """Send so many members of a ZIP, no more, and kill the service before it has stored all of them."""
    with closing(service.connect()) as connection:
        connection.putrequest("POST", PATH)
        connection.putheader("access-token", service.token("p-1"))
        connection.putheader("Content-Type", "application/zip")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        piece = b"".join(members[:sends]) + members[sends][:-1000]
        connection.send(f"{len(piece):x}\r\n".encode() + piece)
        wait_for(lambda: len(listed(service)) >= sends // 2)
        service.kill()


def test_a_zip_that_a_kill_broke_off_is_sent_again_and_nothing_is_lost_or_there_twice(tmp_path):
    contents = [dicom(number) + b"\0" * 2000 for number in range(40)]
    members = [member(f"IM{number:04}".encode(), content) for number, content in enumerate(contents)]
    sums = {hashlib.sha256(content).hexdigest() for content in contents}
    service = RunningService(tmp_path / "data", **RECOVERING)
    kept = set()
    for sends in (11, 27):
        kill_within(service, members, sends)
        service = RunningService(tmp_path / "data", **RECOVERING)
        there = listed(service)
        assert kept <= set(there) < sums
        kept = set(there)
    with service:
        lines, summary = sent(service, [*members, END])
        assert [line["name"] for line in lines] == [f"IM{number:04}" for number in range(40)]
        assert summary["complete"]
        assert summary["present"] >= len(kept) > 0
        assert (summary["stored"] + summary["present"], summary["refused"]) == (40, 0)
        there = listed(service)
        assert set(there) == sums
        for content, line in zip(contents, lines, strict=True):
            assert wait_until_done(service, line["dicom_id"]) == "done"
            assert service.request("GET", f"{PATH}/{line['dicom_id']}", Accept="application/dicom")[2] == content
        assert look(uri_of(service))["duplicates"] == 0
        sweep(uri_of(service))
        assert faults(uri_of(service)) == CLEAN
        assert len(listed(service)) == 40
        assert [line["new"] for line in sent(service, [packed(("a.dcm", contents[0]))])[0]] == [False]
        service.stop()


@pytest.mark.long
def test_a_zip_of_two_gigabytes_takes_less_than_a_hundred_megabytes_of_memory(tmp_path):
    if shutil.disk_usage(tmp_path).free < 12 << 30:
        pytest.skip("it takes 12 GB of disk")
    noise = random.Random(1).randbytes(24 << 20)
    whole = 0

    def members():
        nonlocal whole
        for number in itertools.count():
            if whole >= 2 << 30:
                break
            # Every third is deflated, with its sizes behind it; what does not compress is the dearest.
            start = number * 7919 % (16 << 20)
            content = pixels(dicom(number), noise[start : start + (8 << 20)])
            whole += len(content)
            yield member(
                f"IM{number:06}".encode(), content, method=0 if number % 3 else 8, flags=0 if number % 3 else 8
            )
        yield END

    with RunningService(tmp_path / "data", MIN_FREE_BYTES="0", POOL_PROCESSES="1") as service:
        sent(service, [packed(("warm.dcm", dicom(10**6)))])
        before = service.memory()
        watched = Watch(service)
        with watched:
            lines, summary = sent(service, watched.through(members()))
        grown, largest = watched.most - before, psutil.Process(service.process.pid).memory_info().rss
        print(f"{whole >> 20} MB, {len(lines)} members: +{grown / 1e6:.0f} MB, {largest / 1e6:.0f} MB at the end")
        assert summary["complete"]
        assert summary["stored"] == len(lines) >= 250
        assert grown < MEMORY
        service.stop()


def pixels(header, content):
    """A file with so many bytes of pixel data: of a class whose pixels nobody decodes on the way in."""
    return header + b"\xe0\x7f\x10\x00OW\0\0" + len(content).to_bytes(4, "little") + content


class Watch:
    """What the service's processes hold at most, looked at with every piece that is sent."""

    def __init__(self, service):
        self.service = service
        self.most = 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.look()

    def look(self):
        self.most = max(self.most, self.service.memory())

    def through(self, pieces):
        for piece in pieces:
            for start in range(0, len(piece), 1 << 20):
                yield piece[start : start + (1 << 20)]
            self.look()


@pytest.mark.long
def test_five_hundred_slices_come_back_from_a_medium_byte_for_byte(tmp_path):
    slices = {dicom(number) for number in range(500)}
    with RunningService(tmp_path / "data") as service:
        _, summary = sent(service, [packed(*[(f"{number}", each) for number, each in enumerate(slices)])])
        assert summary["stored"] == 500
        began = time.monotonic()
        medium = fetch(service, "p-1")
        print(f"500 slices, {len(medium) >> 20} MB, in {time.monotonic() - began:.1f} s")
        _, summary = sent(service, [medium], "p-2")
        assert (summary["stored"], summary["refused"]) == (500, 0)
        for patient, found in (("p-1", medium), ("p-2", fetch(service, "p-2"))):
            archive = zipfile.ZipFile(io.BytesIO(found))
            assert {archive.read(name) for name in archive.namelist() if name.startswith("DICOM/")} == slices
            archive.extractall(tmp_path / patient)
            judge(tmp_path / patient / "DICOMDIR")
        service.stop()


def fetch(service, patient):
    status, _, body = service.request(
        "GET", f"/patient/{patient}/dicom", patient=patient, Accept="application/zip; media=dicomdir"
    )
    assert status == 200
    return body


def judge(directory):
    """Have other programs judge a DICOMDIR, where they are installed."""
    if shutil.which("dciodvfy"):
        said = subprocess.run(["dciodvfy", directory], capture_output=True, check=False)
        errors = {line for line in said.stderr.splitlines() if line.startswith(b"Error")}
        print("dciodvfy:", errors or "no error")
        # What the files themselves lack: their type 1 attributes that are empty.
        assert all(b"Empty attribute" in line for line in errors), errors
    if shutil.which("dcmdump"):
        assert subprocess.run(["dcmdump", directory], capture_output=True, check=True).stderr == b""
