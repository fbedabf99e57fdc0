"""Originals that are near are given as those from the database are."""

import asyncio
import os
from pathlib import Path

import aiohttp
import pytest

from service.storage.visible import Visible
from service.usecases.near import NearOriginal
from service.web.app_keys import CONTEXT
from service.web.streams import SMALL_BYTES
from tests.web.service import ask_and_read_nothing, large_original, until

pytestmark = pytest.mark.asyncio(loop_scope="session")

COMPARED = ("Content-Type", "Content-Length", "Content-Range", "ETag", "Content-Disposition")


def open_files():
    return len(list(Path("/proc/self/fd").iterdir()))


async def is_near(service, path):
    instance = await service.store.instances.find(Visible("p-1"), path.rpartition("/")[2])
    opened = await service.app[CONTEXT].near.open(instance["original_id"])
    return isinstance(opened, NearOriginal)


ASKED = [("GET", None), ("HEAD", None), *(("GET", each) for each in ("5-9", "100-2000000", "-70000"))]


@pytest.mark.parametrize("size", [1, SMALL_BYTES + 100, 900_000, 2_900_000])
async def test_an_answer_is_the_same_near_and_from_the_database(begin, ct, size):
    content = ct + os.urandom(size)
    answers = []
    for near in (0, 1 << 30):
        service = await begin(max_near_bytes=near)
        path = (await service.upload("p-1", content)).headers["Location"]
        assert (await service.ask("GET", path, patient="p-1")).body == content  # brings a small one near, a bit later
        for _ in range(100 if near else 1):
            if came := await is_near(service, path):
                break
            await asyncio.sleep(0.02)
        assert came is bool(near)
        for method, part in ASKED:
            headers = {} if part is None else {"Range": f"bytes={part}"}
            answers.append(await service.ask(method, path, patient="p-1", headers=headers))
    for (_, part), far, close in zip(ASKED, answers[: len(ASKED)], answers[len(ASKED) :], strict=True):
        assert (far.status, far.body) == (close.status, close.body)
        assert far.status == (200 if part is None else 206)
        assert far.headers.keys() == close.headers.keys()
        assert [far.headers.get(name) for name in COMPARED] == [close.headers.get(name) for name in COMPARED]


async def test_a_connection_goes_on_after_an_answer_from_near(begin, ct):
    service = await begin(max_upload_bytes=64 << 20)
    path = await large_original(service, ct)
    assert await is_near(service, path)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    head = f"GET {path} HTTP/1.1\r\nHost: x\r\naccess-token: {service.token('p-1')}\r\nAccept: application/dicom"
    writer.write(f"{head}\r\n\r\n{head}\r\nConnection: close\r\n\r\n".encode())
    taken = await asyncio.wait_for(reader.read(), 20)
    first = taken.index(b"\r\n\r\n") + 4
    size = len(ct) + (12 << 20)
    assert taken[first : first + size] == ct + bytes(12 << 20)
    assert taken[first + size :].startswith(b"HTTP/1.1 200")
    assert taken.endswith(ct + bytes(12 << 20))
    writer.close()


async def test_a_delete_cuts_an_answer_that_is_under_way(begin, ct):
    service = await begin(max_upload_bytes=64 << 20)
    path = await large_original(service, ct)
    async with service.session.get(service.url + path, headers={"access-token": service.token("p-1")}) as answer:
        assert answer.status == 200
        assert (await service.ask("DELETE", path, patient="p-1")).status == 204
        with pytest.raises(aiohttp.ClientPayloadError):
            await answer.read()
    assert list((service.settings.data_dir / "near").iterdir()) == []


async def test_what_was_sent_from_near_is_counted(begin, ct, caplog):
    service = await begin(max_upload_bytes=64 << 20)
    path = await large_original(service, ct)
    caplog.set_level("INFO", "service.access")
    await service.ask("GET", path, patient="p-1", headers={"Accept": "application/dicom"})
    await asyncio.sleep(0.05)
    sent = [record.fields["bytes_out"] for record in caplog.records if record.name == "service.access"]
    assert (12 << 20) + len(ct) < sent[-1] < (12 << 20) + len(ct) + 2000


async def test_a_caller_that_goes_away_leaves_no_file_open(begin, ct):
    service = await begin(max_upload_bytes=64 << 20)
    path = await large_original(service, ct)
    before = open_files()
    connections = [ask_and_read_nothing(service, path) for _ in range(5)]
    await asyncio.sleep(0.3)
    for each in connections:
        each.close()
    await until(lambda: open_files() <= before, 6)
