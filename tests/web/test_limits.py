"""What one caller may take of the service: slots, connections, time, and bytes that nobody reads."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import time
import tracemalloc

import pydicom
import pytest

from service.errors import Overloaded, TooManyRequests
from service.web.admission import Admission
from service.web.connections import room_for
from tests.web.service import ask_and_read_nothing, head_of, large_original, until

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def begin_upload(service, patient, length=1000):
    """Send the headers of an upload and the beginning of its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = ("Content-Type: application/dicom", f"Content-Length: {length}")
    writer.write(head_of(service, "POST", f"/patient/{patient}/dicom", patient, *lines) + b"\0" * 200)
    return reader, writer


async def answer_of(reader, seconds=5):
    """Give the status, the headers and the problem."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), seconds)
    lines = head.decode("ascii").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines[1:-2])
    body = await asyncio.wait_for(reader.readexactly(int(headers["content-length"])), seconds)
    return int(lines[0].split()[1]), headers, json.loads(body)


def admissions_of(service):
    from service.web.app_keys import ADMISSIONS

    return service.app[ADMISSIONS]


# --- slots


async def test_more_uploads_than_there_are_slots_are_refused_and_told_when_to_come_again(begin, ct):
    service = await begin(max_uploads=3, max_uploads_per_patient=2)
    stalled = [await begin_upload(service, "p-1") for _ in range(2)]
    await until(lambda: admissions_of(service).uploads.admitted == 2)
    answer = await service.upload("p-1", ct)
    assert (answer.status, answer.headers["Retry-After"], answer.json()["code"]) == (429, "2", "too-many-requests")
    stow = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    assert (
        await service.ask("POST", "/patient/p-1/dicomweb/studies", patient="p-1", headers=stow, data=b"--x--")
    ).status == 429
    assert (await service.upload("p-2", ct)).status == 200
    stalled.append(await begin_upload(service, "p-2"))
    await until(lambda: admissions_of(service).uploads.admitted == 3)
    answer = await service.upload("p-3", ct)
    assert (answer.status, answer.json()["code"]) == (503, "overloaded")
    # Reading is not uploading.
    assert (await service.ask("GET", "/patient/p-1/dicom", patient="p-1")).status == 200
    for _, writer in stalled:
        writer.close()
    await until(lambda: admissions_of(service).uploads.admitted == 0)
    assert (await service.upload("p-1", ct)).status == 200


async def test_a_slot_is_waited_for_by_the_same_patient_and_by_nobody_else():
    admission = Admission(limit=20, per_patient=1, wait=0.1)
    order = []

    async def work(patient, number, seconds):
        async with admission.admit(patient):
            order.append(number)
            await asyncio.sleep(seconds)

    await asyncio.gather(work("a", 1, 0.02), work("a", 2, 0.02), work("b", 3, 0), work("a", 4, 0))
    assert order == [1, 3, 2, 4]
    slow = asyncio.create_task(work("a", 5, 0.5))
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        await work("a", 6, 0)
    slow.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await slow
    await work("a", 7, 0)
    assert admission.admitted == 0
    assert admission._lanes == {}


async def test_who_waits_is_bounded_too():
    admission = Admission(limit=10, per_patient=1, wait=5)
    of_one = [admission.admit("a") for _ in range(4)]
    held = [asyncio.create_task(each.__aenter__()) for each in of_one]
    await asyncio.sleep(0)
    with pytest.raises(TooManyRequests):
        async with admission.admit("a"):
            pass
    many = [admission.admit(f"p-{number}") for number in range(6)]
    for each in many:
        await each.__aenter__()
    with pytest.raises(Overloaded):
        async with admission.admit("z"):
            pass
    for each in held:
        each.cancel()
    for each in many:
        await each.__aexit__(None, None, None)
    await asyncio.gather(*held, return_exceptions=True)
    assert admission.admitted == 1  # the first one did not wait, and is admitted


async def test_all_shares_of_a_patient_together_have_half_of_the_patients_slots(begin):
    service = await begin(max_requests_per_patient=4, max_uploads_per_patient=2, request_wait=0.05)
    for admission, shares, own in ((admissions_of(service).others, 2, 2), (admissions_of(service).uploads, 1, 1)):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(shares):
                await stack.enter_async_context(admission.admit("a", shared=True))
            with pytest.raises(TooManyRequests):
                async with admission.admit("a", shared=True):
                    pass
            for _ in range(own):
                await stack.enter_async_context(admission.admit("a"))
            with pytest.raises(TooManyRequests):
                async with admission.admit("a"):
                    pass
            await stack.enter_async_context(admission.admit("b", shared=True))
        assert (admission.admitted, admission._lanes) == (0, {})
        assert (admission.of_shares.admitted, admission.of_shares._lanes) == (0, {})


async def test_what_a_handler_runs_out_of_time_for_is_not_taken_for_a_full_slot():
    admission = Admission(limit=1, per_patient=1, wait=1)
    with pytest.raises(TimeoutError):
        async with admission.admit("a"):
            raise TimeoutError
    assert admission.admitted == 0


# --- callers that are slow, or do nothing


async def test_a_body_that_comes_a_byte_at_a_time_is_given_up_however_regular_it_is(begin):
    service = await begin(body_timeout=0.4, min_rate=1000)
    reader, writer = await begin_upload(service, "p-1")

    async def trickle():
        with contextlib.suppress(ConnectionError):
            while True:
                writer.write(b"\0")
                await asyncio.sleep(0.1)

    trickling = asyncio.create_task(trickle())
    status, _, problem = await answer_of(reader, 20)  # the whole body would take 80 seconds
    assert (status, problem["status"]) == (408, 408)
    trickling.cancel()
    writer.close()
    await until(lambda: admissions_of(service).uploads.admitted == 0)


async def test_a_body_that_is_slow_and_fast_enough_is_taken(begin, ct):
    service = await begin(body_timeout=0.4, min_rate=10_000)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = ("Content-Type: application/dicom", f"Content-Length: {len(ct)}", "Connection: close")
    writer.write(head_of(service, "POST", "/patient/p-1/dicom", "p-1", *lines))
    for begin in range(0, len(ct), 8000):
        await asyncio.sleep(0.2)
        writer.write(ct[begin : begin + 8000])
    assert (await asyncio.wait_for(reader.read(), 5)).startswith(b"HTTP/1.1 200")
    writer.close()


@pytest.mark.parametrize("sent", [b"GET /heal", b"GET / HTTP/1.1\r\nHost: x\r\nAccess-Tok"], ids=["line", "headers"])
async def test_a_request_whose_head_does_not_come_whole_is_given_up(begin, sent):
    service = await begin(header_timeout=0.3)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(sent)
    await asyncio.sleep(0.2)
    writer.write(b"t")  # one byte more buys no time
    status, headers, problem = await answer_of(reader, 1)
    assert (status, headers["connection"], problem["request_id"]) == (408, "close", headers["x-request-id"])
    writer.close()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "without an end"])
async def test_headers_that_are_too_much_together_are_refused(begin, whole):
    service = await begin()
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
    for number in range(5):
        writer.write(b"X-%d: " % number + b"x" * 8000 + b"\r\n")
    if whole:
        writer.write(b"\r\n")
    status, headers, _ = await answer_of(reader)
    assert (status, headers["connection"]) == (431, "close")
    writer.close()


async def test_a_connection_that_sends_nothing_ends_and_so_does_one_that_is_kept_for_nothing(begin):
    service = await begin(keepalive_timeout=0.3)
    silent = await asyncio.open_connection("127.0.0.1", service.port)
    used = await asyncio.open_connection("127.0.0.1", service.port)
    used[1].write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /heal")
    assert await asyncio.wait_for(silent[0].read(), 2) == b""
    assert (await asyncio.wait_for(used[0].read(), 2)).startswith(b"HTTP/1.1 200")
    for _, writer in (silent, used):
        writer.close()


NEAR_OR_NOT = pytest.mark.parametrize("near", [1 << 30, 0], ids=["near", "from the database"])


@NEAR_OR_NOT
async def test_an_answer_that_nobody_takes_holds_its_slot_for_a_bounded_time(begin, ct, monkeypatch, near):
    monkeypatch.setattr("service.web.connections.LOOK_SECONDS", 0.1)
    service = await begin(
        max_upload_bytes=64 << 20,
        max_requests_per_patient=1,
        request_wait=0.1,
        answer_timeout=1,
        min_rate=10_000,
        max_near_bytes=near,
    )
    path = await large_original(service, ct)
    connection = ask_and_read_nothing(service, path)
    await until(lambda: admissions_of(service).others.admitted == 1)
    await asyncio.sleep(0.2)
    answer = await service.ask("GET", path, patient="p-1", headers={"Accept": "application/json"})
    assert (answer.status, answer.headers["Retry-After"]) == (429, "2")
    await until(lambda: admissions_of(service).others.admitted == 0, 6)
    assert (await service.ask("GET", path, patient="p-1", headers={"Accept": "application/json"})).status == 200
    connection.close()


@NEAR_OR_NOT
async def test_an_answer_that_is_taken_slowly_is_given_whole(begin, ct, near):
    service = await begin(max_upload_bytes=64 << 20, answer_timeout=1, min_rate=10_000, max_near_bytes=near)
    path = await large_original(service, ct)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 16)
    lines = ("Accept: application/dicom", "Connection: close")
    writer.write(head_of(service, "GET", path, "p-1", *lines))
    taken, began = 0, time.monotonic()
    while piece := await reader.read(1 << 20):
        taken += len(piece)
        await asyncio.sleep(0.025)
    assert taken > 12 << 20
    assert time.monotonic() - began > 1.2  # longer than an answer that nobody takes has
    writer.close()


async def test_too_much_that_nobody_takes_is_given_up_sooner(begin, ct, monkeypatch):
    monkeypatch.setattr("service.web.connections.LOOK_SECONDS", 0.1)
    monkeypatch.setattr("service.web.connections.MAX_UNTAKEN_BYTES", 100_000)
    monkeypatch.setattr("service.web.connections.STALLED_SECONDS", 0.5)
    # Where an answer has 30 s, and is held in memory.
    service = await begin(max_upload_bytes=64 << 20, max_near_bytes=0)
    path = await large_original(service, ct)
    connections = [ask_and_read_nothing(service, path) for _ in range(3)]
    await until(lambda: admissions_of(service).others.admitted == 3)
    await until(lambda: admissions_of(service).others.admitted == 0, 6)
    for each in connections:
        each.close()


# --- connections


async def test_the_connection_that_was_idle_longest_makes_room_for_a_new_one(begin):
    service = await begin(max_connections=3)
    idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(3)]
    await asyncio.sleep(0.05)
    fourth = await asyncio.open_connection("127.0.0.1", service.port)
    assert await asyncio.wait_for(idle[0][0].read(), 2) == b""
    for _, writer in (*idle, fourth):
        writer.close()


async def test_a_connection_beyond_those_that_work_is_refused_with_a_problem(begin):
    service = await begin(max_connections=2)
    busy = [await begin_upload(service, "p-1") for _ in range(2)]
    await until(lambda: admissions_of(service).uploads.admitted == 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    status, headers, problem = await answer_of(reader)
    assert (status, headers["retry-after"], problem["status"]) == (503, "2", 503)
    for each in (*(other for _, other in busy), writer):
        each.close()


# --- disk


async def test_uploads_leave_room_on_the_disk(begin, ct):
    service = await begin(min_free_bytes=1 << 60)
    answer = await service.upload("p-1", ct)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "30")
    assert (await service.ask("GET", "/patient/p-1/dicom", patient="p-1")).status == 200


# --- many files at once


async def test_one_store_request_has_a_bound_of_files_and_of_bytes(begin, ct):
    service = await begin(max_store_parts=2, max_store_bytes=1 << 20)
    kind = {"Content-Type": 'multipart/related; type="application/dicom"; boundary=x'}
    part = b"--x\r\nContent-Type: application/dicom\r\n\r\n" + ct + b"\r\n"

    async def store(count):
        return await service.ask(
            "POST", "/patient/p-1/dicomweb/studies", patient="p-1", headers=kind, data=part * count + b"--x--\r\n"
        )

    assert (await store(2)).status == 200
    beyond = await store(3)
    assert beyond.status == 202  # two were stored before the third was one too many
    assert len(beyond.json()["00081199"]["Value"]) == 2
    assert len(beyond.json()["0008119A"]["Value"]) == 1
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    lines = (f"Content-Type: {kind['Content-Type']}", f"Content-Length: {2 << 20}")
    writer.write(head_of(service, "POST", "/patient/p-1/dicomweb/studies", "p-1", *lines))
    assert (await answer_of(reader))[0] == 413
    writer.close()


@pytest.mark.parametrize(
    ("allowed", "most", "room", "asked_for"),
    [(20_000, 20_000, 1000, None), (1024, 20_000, 1000, 1256), (1024, 1024, 768, 1024), (256, 256, 128, 256)],
    ids=["enough", "enough when asked for", "less", "very few"],
)
async def test_there_are_no_more_connections_than_the_system_has_descriptors_for(
    monkeypatch, allowed, most, room, asked_for
):
    set_to = []
    monkeypatch.setattr("resource.getrlimit", lambda _: (allowed, most))
    monkeypatch.setattr("resource.setrlimit", lambda _, limits: set_to.append(limits[0]))
    assert room_for(1000) == room
    assert set_to[-1:] == ([] if asked_for is None else [asked_for])


async def test_a_file_that_says_it_has_millions_of_frames_costs_no_memory_for_them(service, patient, ct):
    dataset = pydicom.dcmread(io.BytesIO(ct))
    dataset.NumberOfFrames = 2_000_000
    made = io.BytesIO()
    dataset.save_as(made)
    assert (await service.upload(patient, made.getvalue())).status == 200
    instance = f"series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    tracemalloc.start()
    for kind in ("rendered", "thumbnail"):
        path = f"/patient/{patient}/dicomweb/studies/{dataset.StudyInstanceUID}/{instance}/{kind}"
        answer = await service.ask("GET", path, patient=patient, headers={"Accept": "image/png"})
        assert answer.status in {200, 406}
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 30 << 20
