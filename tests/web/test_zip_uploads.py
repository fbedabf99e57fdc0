"""A ZIP as the body of an upload: a line for each member, whatever the others are."""

from __future__ import annotations

import asyncio
import io
import itertools
import json
import struct
import time
from typing import Any

import aiohttp
import pytest
from pydicom.uid import generate_uid

from service.usecases import zip_reading
from service.usecases.zip_reading import BadZip, ZipBounds, ZipReader
from tests.web.service import Answer, Service
from tests.web.zips import CT, END, Case, cases, dicom, member, packed, piped

pytestmark = pytest.mark.asyncio(loop_scope="session")

CASES = cases()
UPLOAD = "/patient/{}/dicom"
ZIP = {"Content-Type": "application/zip"}


def told(answer: Answer) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The members' lines, and the summary."""
    assert answer.status == 200, answer.body
    assert answer.headers["Content-Type"] == "application/x-ndjson"
    *lines, last = [json.loads(line) for line in answer.body.splitlines()]
    return lines, last["summary"]


def fate(line: dict[str, Any]) -> str:
    if "dicom_id" in line:
        return "new" if line["new"] else "again"
    if line.get("refused") == "not-dicom":
        return "not-dicom!"
    return str(line.get("refused") or line["skipped"])


async def send(service: Service, patient: str, content: Any, query: str = "", path: str = UPLOAD) -> Answer:
    return await service.ask("POST", path.format(patient) + query, patient=patient, data=content, headers=ZIP)


async def stored(service: Service, patient: str) -> list[dict[str, Any]]:
    answer = await service.ask("GET", UPLOAD.format(patient) + "?limit=1000", patient=patient)
    listed: list[dict[str, Any]] = answer.json()["instances"]
    return listed


async def dribble(content: bytes, size: int) -> Any:
    for start in range(0, len(content), size):
        yield content[start : start + size]
        await asyncio.sleep(0)


def check(case: Case, answer: Answer) -> None:
    lines, summary = told(answer)
    assert [(line["name"], fate(line)) for line in lines] == case.lines
    assert summary["complete"] is case.complete
    assert summary["members"] == len(case.lines)
    assert len(summary["warnings"]) == case.warnings
    if case.people:
        assert {person["PatientID"]: person["files"] for person in summary["patients"]} == case.people


@pytest.mark.parametrize("name", CASES)
async def test_each_member_has_its_line_and_none_costs_the_others(service, patient, name):
    case = CASES[name]
    check(case, await send(service, patient, case.content))
    new = [name for name, became in case.lines if became == "new"]
    assert len(await stored(service, patient)) == len(new)


@pytest.mark.parametrize("name", [name for name in CASES if name != "a bomb"])
@pytest.mark.parametrize("size", [1, 7, 4096])
async def test_it_is_the_same_in_pieces_of_any_size(name, size):
    whole = [found async for found in _read(CASES[name].content, len(CASES[name].content) or 1)]
    assert [found async for found in _read(CASES[name].content, size)] == whole


async def _read(content: bytes, size: int) -> Any:
    reader = ZipReader(dribble(content, size), ZipBounds(100, 1 << 30, 60))
    try:
        while (found := await reader.next_member()) is not None:
            try:
                yield found.name, b"".join([piece async for piece in found.content])
            except zip_reading.BadMember as error:
                yield found.name, error.reason
    except BadZip as error:
        yield None, error.detail


async def test_what_is_stored_is_byte_for_byte_what_was_packed(service, patient):
    lines, _ = told(await send(service, patient, piped(("folder/CT.dcm", CT), ("b.dcm", dicom(7)))))
    for line, content in zip(lines, (CT, dicom(7)), strict=True):
        original = await service.ask("GET", f"{UPLOAD.format(patient)}/{line['dicom_id']}", patient=patient)
        assert original.body == content
    assert {each["file_name"] for each in await stored(service, patient)} == {"CT.dcm", "b.dcm"}


async def test_a_zip_sent_again_names_what_is_there(service, patient):
    content = packed(("a.dcm", dicom(1)), ("b.dcm", dicom(2)))
    first, _ = told(await send(service, patient, content[: len(content) // 2 + 200]))
    again, summary = told(await send(service, patient, content))
    assert [(line["new"]) for line in again] == [False, True]
    assert again[0]["dicom_id"] == first[0]["dicom_id"]
    assert (summary["stored"], summary["present"]) == (1, 1)
    assert summary["patients"] == [{"PatientID": "1CT1", "PatientName": "CompressedSamples^CT1", "files": 2}]


@pytest.mark.parametrize(
    ("name", "kind"),
    [("cd.zip", "application/zip"), ("cd.zip", "application/octet-stream"), ("x", "application/x-zip-compressed")],
)
async def test_a_zip_can_be_the_file_of_a_form(service, patient, name, kind):
    form = aiohttp.FormData()
    form.add_field("body", io.BytesIO(packed(("a.dcm", CT))), filename=name, content_type=kind)
    lines, _ = told(await service.ask("POST", UPLOAD.format(patient), patient=patient, data=form))
    assert [fate(line) for line in lines] == ["new"]


async def test_files_of_another_patient_are_refused_where_one_is_expected(service, patient):
    content = packed(("a.dcm", dicom(1)), ("b.dcm", dicom(2, "OTHER", "Somebody^Else")), ("c.dcm", dicom(3)))
    lines, summary = told(await send(service, patient, content, "?expect_patient_id=1CT1"))
    assert [fate(line) for line in lines] == ["new", "other-patient", "new"]
    assert summary["warnings"] == []
    lines, _ = told(await send(service, patient, content, "?expect_patient_id=OTHER"))
    assert [fate(line) for line in lines] == ["other-patient", "new", "other-patient"]


async def test_a_single_file_of_another_patient_is_refused_too(service, patient):
    path = f"{UPLOAD.format(patient)}?expect_patient_id="
    options = {"patient": patient, "data": CT, "headers": {"Content-Type": "application/dicom"}}
    assert (await service.ask("POST", f"{path}OTHER", **options)).status == 422
    assert await stored(service, patient) == []
    assert (await service.ask("POST", f"{path}1CT1", **options)).status == 200
    assert (await service.ask("POST", f"{path}OTHER", **options)).status == 422


@pytest.mark.parametrize("query", ["?expect_patient_id=", "?expect=1", "?expect_patient_id=a&expect_patient_id=b"])
async def test_a_parameter_that_is_none_is_refused(service, patient, query):
    assert (await send(service, patient, packed(("a.dcm", CT)), query)).status == 422


@pytest.mark.parametrize("content", [b"", b"P", b"hello, this is no ZIP", CT, b"\x1f\x8b\x08" + b"\x00" * 900])
async def test_what_is_no_zip_is_refused(service, patient, content):
    answer = await send(service, patient, content)
    assert (answer.status, answer.detail) == (422, "The body is not a ZIP.")


async def test_lines_come_while_the_body_is_still_sent(service, patient):
    first, rest = member(b"a.dcm", dicom(1)), member(b"b.dcm", dicom(2)) + END
    more = asyncio.Event()

    async def body() -> Any:
        yield first
        await asyncio.wait_for(more.wait(), 10)
        yield rest

    url = service.url + UPLOAD.format(patient)
    headers = {**ZIP, "access-token": service.token(patient)}
    async with service.session.post(url, data=body(), headers=headers) as answer:
        line = json.loads(await asyncio.wait_for(answer.content.readline(), 10))
        assert line["name"] == "a.dcm"
        more.set()
        assert json.loads(await answer.content.readline())["name"] == "b.dcm"


async def test_a_caller_that_reads_only_when_it_has_sent_everything_is_waited_for(start):
    service = await start(answer_timeout=0.5, body_timeout=20)
    patient = next(service.patients)
    refused = [member(f"{number:04}-{'x' * 900}".encode(), b"no", method=0) for number in range(3000)]
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 16)
    head = (
        f"POST {UPLOAD.format(patient)} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/zip\r\n"
    )
    head += f"Access-Token: {service.token(patient)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    writer.write(head.encode())
    for begin in range(0, 3000, 500):
        piece = b"".join(refused[begin : begin + 500])
        writer.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0.8)  # longer than an answer may wait; nothing of it is read
    writer.write(f"{len(END):x}\r\n".encode() + END + b"\r\n0\r\n\r\n")
    answer = await asyncio.wait_for(reader.read(-1), 30)
    writer.close()
    assert answer.count(b'"refused"') == 3001  # each, and the summary
    assert b'"complete":true' in answer


async def test_a_zip_has_its_bounds(start):
    service = await start(max_zip_members=3, max_store_bytes=200_000)
    patient = next(service.patients)
    lines, summary = told(await send(service, patient, packed(*[(f"{n}.dcm", dicom(n)) for n in range(5)])))
    assert len(lines) == 3
    assert "at most 3 members" in summary["detail"]
    assert summary["complete"] is False
    lines, summary = told(
        await send(service, patient, member(b"a.dcm", dicom(1)) + member(b"big.dcm", dicom(2) + b"\0" * 400_000))
    )
    assert [fate(line) for line in lines] == ["again", "broken-off"]
    assert "at most 200000 bytes" in summary["detail"]


async def test_a_bomb_that_is_no_file_ends_by_its_ratio(monkeypatch):
    monkeypatch.setattr(zip_reading, "FREE_BYTES", 1 << 20)
    reader = ZipReader(dribble(member(b"bomb", b"\0" * (8 << 20), flags=8) + END, 4096), ZipBounds(9, 1 << 40, 60))
    found = await reader.next_member()
    with pytest.raises(zip_reading.BadMember, match="200 times"):
        async for _ in found.content:
            pass
    assert await reader.next_member() is None
    assert reader.unpacked < 2 << 20


STORED = member(b"a", b"", method=0, flags=8)[:31]
LOST = member(b"a", b"x", crc=1, flags=8)
FITTING = b"".join(struct.pack("<4sIII", b"PK\x07\x08", 0, 16 * number, 16 * number) for number in range(1 << 16))


@pytest.mark.parametrize(
    "content",
    [
        STORED + b"PK\x07\x08" * (1 << 18),
        STORED + FITTING,
        member(b"a", b"", method=0, flags=9)[:31] + b"PK\x07\x08" * (1 << 18),
        LOST + b"PK" * (1 << 19),
        LOST + b"PK\x03\x04" * (1 << 18),
    ],
    ids=["descriptors", "descriptors that fit", "descriptors in a locked member", "beginnings", "headers"],
)
async def test_a_body_of_nothing_but_signatures_holds_nobody_up(content):
    longest = 0.0

    async def tick() -> None:
        nonlocal longest
        while True:
            began = time.thread_time()
            await asyncio.sleep(0)
            longest = max(longest, time.thread_time() - began)

    ticking = asyncio.create_task(tick())
    found = [each async for each in _read(content, len(content))]
    ticking.cancel()
    assert found
    assert longest < 0.1  # of the thread's own time, whatever else the machine does


async def test_a_zip_that_takes_too_long_is_given_up():
    times = iter([0.0, *[11.0] * 99])
    reader = ZipReader(dribble(packed(("a.dcm", CT)), 999), ZipBounds(9, 1 << 40, 10), lambda: next(times))
    with pytest.raises(BadZip, match="longer"):
        await reader.next_member()


async def test_a_member_that_inflates_to_nothing_is_given_up_too():
    """Blocks without content (RFC 1951, 3.2.4) can follow each other for ever."""
    times = itertools.count()
    nothing = (
        member(b"a", b"", method=0, flags=8)[:31].replace(b"\x08\0\0\0", b"\x08\0\x08\0") + b"\0\0\0\xff\xff" * 50_000
    )
    reader = ZipReader(dribble(nothing, 1000), ZipBounds(9, 1 << 40, 20), lambda: next(times))
    found = await reader.next_member()
    with pytest.raises(BadZip, match="longer"):
        async for _ in found.content:
            pass


@pytest.mark.parametrize("length", [(1 << 16) + 1, (1 << 17) + 1, (1 << 18) + 1, (1 << 18) + 259])
async def test_a_member_whose_bytes_were_all_taken_before_the_last_it_makes_is_whole(length):
    for content in (bytes(length), b"ab" * (length // 2) + b"c"):
        for archive in (packed(("a", content), ("b", CT)), piped(("a", content), ("b", CT))):
            assert [found async for found in _read(archive, 1 << 20)] == [("a", content), ("b", CT)]


async def test_three_members_that_cannot_be_stored_now_end_it(service, patient, monkeypatch):
    from service.errors import Overloaded

    real = service.context.store.uploads.__class__.store
    calls: list[int] = []

    async def failing(self: Any, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) > 1:
            raise Overloaded("The service is busy.")
        return await real(self, *arguments)

    monkeypatch.setattr(service.context.store.uploads.__class__, "store", failing)
    content = packed(*[(f"{n}.dcm", dicom(n)) for n in range(9)])
    lines, summary = told(await send(service, patient, content))
    assert [fate(line) for line in lines] == ["new", "overloaded", "overloaded", "overloaded"]
    assert summary["complete"] is False
    monkeypatch.undo()
    lines, summary = told(await send(service, patient, content))
    assert (summary["stored"], summary["present"]) == (8, 1)


async def test_a_zip_that_cannot_be_stored_at_all_is_503(service, patient, monkeypatch):
    from service.errors import Overloaded

    async def failing(*_: Any) -> Any:
        raise Overloaded("The service is busy.")

    monkeypatch.setattr(service.context.store.uploads.__class__, "store", failing)
    answer = await send(service, patient, packed(("a.dcm", CT)))
    assert answer.status == 503


async def test_random_damage_never_ends_in_anything_but_lines_or_a_refusal(service, patient):
    import random

    whole = packed(("a.dcm", dicom(1)), ("b.dcm", dicom(2))) + piped(("c.dcm", dicom(3)), ("d.dcm", dicom(4)))
    for seed in range(60):
        dice = random.Random(seed)
        damaged = bytearray(whole[: dice.randrange(len(whole))] if dice.random() < 0.3 else whole)
        for _ in range(dice.randrange(1, 30)):
            if damaged:
                damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        answer = await send(service, patient, bytes(damaged))
        if answer.status != 422:
            told(answer)


# --- by DICOMweb ---------------------------------------------------------------------------------------------------


async def test_a_zip_can_be_stored_by_stow(service, patient):
    content = packed(("DICOMDIR", b"x"), ("a.dcm", dicom(1)), ("setup.exe", b"MZ" * 99), ("b.dcm", dicom(2)))
    answer = await send(service, patient, content, path="/patient/{}/dicomweb/studies")
    assert answer.status == 200
    assert len(answer.json()["00081199"]["Value"]) == 2


async def test_what_of_a_zip_cannot_be_stored_by_stow_is_a_failure(service, patient):
    content = packed(("a.dcm", dicom(1)), ("b.dcm", b"hello" * 999))[:-22]
    answer = await send(service, patient, member(b"x", b"y", flags=1) + content, path="/patient/{}/dicomweb/studies")
    assert answer.status == 202
    assert len(answer.json()["0008119A"]["Value"]) == 2
    nothing = await send(service, patient, packed(("README.TXT", b"x")), path="/patient/{}/dicomweb/studies")
    assert nothing.status == 400


async def test_a_zip_for_another_study_is_refused_by_stow(service, patient):
    path = f"/patient/{{}}/dicomweb/studies/{generate_uid()}"
    headers = {**ZIP, "access-token": service.token(patient)}
    url = service.url + path.format(patient)
    async with service.session.post(url, data=packed(("a.dcm", dicom(1))), headers=headers) as answer:
        assert answer.status == 409
    assert await stored(service, patient) == []


@pytest.mark.long
async def test_three_thousand_members_have_three_thousand_lines(service, patient):
    content = packed(*[(f"IM{n:06}", dicom(n)) for n in range(3000)])
    url, headers = service.url + UPLOAD.format(patient), {**ZIP, "access-token": service.token(patient)}
    patiently = aiohttp.ClientTimeout(900)
    async with service.session.post(url, data=io.BytesIO(content), headers=headers, timeout=patiently) as answer:
        *lines, last = [json.loads(line) for line in (await answer.read()).splitlines()]
    assert [fate(line) for line in lines] == ["new"] * 3000
    assert last["summary"]["stored"] == 3000
