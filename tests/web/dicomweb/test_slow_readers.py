"""Readers who take frames slowly cannot fill the service's memory."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest
import pytest_asyncio

from tests.dicom.pixels.build import build_file
from tests.web.service import plain_documents, starting
from tests.web.sharing import Sharing

pytestmark = pytest.mark.asyncio(loop_scope="session")

SIDE = 1500
FRAME = 2 * SIDE * SIDE
TOTAL = 4 * FRAME


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def begun(tmp_path_factory):
    with plain_documents():
        async with starting(tmp_path_factory.mktemp) as start:
            yield await start(
                max_outgoing_bytes=TOTAL,
                request_wait=0.5,
                max_upload_bytes=64 << 20,
                public_url="https://images.example",
            )


async def ask_slowly(service, path, token):
    """Send a request, and take nothing of its answer beyond what comes by itself."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 12)
    lines = (
        "Host: x",
        f"access-token: {token}",
        'Accept: multipart/related; type="application/octet-stream"',
    )
    writer.write("\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n"), 30)
    return int(head.split()[1]), writer


async def stored(service, patient):
    uids = {"StudyInstanceUID": "1.2.1", "SeriesInstanceUID": "1.2.2"}
    content = build_file(np.zeros((SIDE, SIDE), np.uint16), **uids)
    return (await service.upload(patient, content)).json()


async def path_of(service, patient, numbers):
    await stored(service, patient)
    plain = {"Accept-Encoding": "identity"}
    listed = await service.ask("GET", f"/patient/{patient}/dicomweb/instances", patient=patient, headers=plain)
    found = listed.json()[0]
    study, series, instance = (found[tag]["Value"][0] for tag in ("0020000D", "0020000E", "00080018"))
    return f"/patient/{patient}/dicomweb/studies/{study}/series/{series}/instances/{instance}/frames/{numbers}"


async def leave(service, answers):
    """Close the connections, and wait until nothing is held for them any more."""
    for _, writer in answers:
        writer.close()
    ends = time.monotonic() + 20
    while service.context.outgoing.held:
        assert time.monotonic() < ends, "what readers left is not given back"
        await asyncio.sleep(0.05)


async def test_slow_readers_hold_no_more_than_the_budget_and_the_next_one_is_told_to_wait(begun):
    paths = {patient: await path_of(begun, patient, "1,1,1,1") for patient in ("a", "b", "c")}
    asked = [(patient, paths[patient]) for patient in ("a", "b", "c") for _ in range(4)]
    answers = await asyncio.gather(*(ask_slowly(begun, path, begun.token(patient)) for patient, path in asked))
    statuses = [status for status, _ in answers]
    assert begun.context.outgoing.held <= TOTAL
    assert statuses.count(200) >= 2
    assert set(statuses) <= {200, 429, 503}
    assert {429, 503} & set(statuses)
    await leave(begun, answers)
    again = await begun.ask("GET", paths["a"], patient="a")
    assert again.status == 200
    assert len(again.body) > 4 * FRAME


async def test_slow_readers_by_shares_leave_their_patient_and_others_room(begun):
    path = await path_of(begun, "d", "1,1,1,1")
    other = await path_of(begun, "e", "1,1,1,1")
    shares = Sharing(begun, "d")
    made = [await shares.make(studies=["1.2.1"], download=True) for _ in range(3)]
    tokens = [(await shares.session(each))["access-token"] for each in made for _ in range(2)]
    answers = await asyncio.gather(*(ask_slowly(begun, path, token) for token in tokens))
    assert {status for status, _ in answers} == {200, 429}
    assert 0 < begun.context.outgoing.held <= FRAME
    for patient, own in (("d", path), ("e", other)):
        answer = await begun.ask("GET", own, patient=patient)
        assert answer.status == 200
        assert len(answer.body) > 4 * FRAME
    await leave(begun, answers)
