"""What aiohttp's parser rejects has the same shape, and neither the answer nor the log repeats what was sent."""

import asyncio
import logging
import re
from pathlib import Path

import pytest
from aiohttp import web

from service.errors import DatabaseUnavailable
from service.web.app_keys import AUDIT
from service.web.server import waits_for_request

pytestmark = pytest.mark.asyncio(loop_scope="session")

MARK = "MARK7KRAM"


async def halting(*_):
    for _ in range(20):
        yield bytes(1000)
        await asyncio.sleep(0.1)


@pytest.fixture
def everything_logged(caplog):
    caplog.set_level(logging.DEBUG)
    return caplog


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /patient/" + MARK.encode() + b"\xff\xfe/dicom HTTP/1.1\r\nHost: x\r\n\r\n", {400, 401, 422}),
        (b"GET /patient/" + MARK.encode() + b" x/dicom HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        (b"GET /patient/" + MARK.encode() + b"\x00/dicom HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        (b"GET /" + MARK.encode() * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", {414}),
        (b"GET / HTTP/1.1\r\nHost: x\r\naccess-token: " + MARK.encode() * 2000 + b"\r\n\r\n", {431}),
        (b"GET / HTTP/1.1\r\nHost: x\r\naccess-token: " + MARK.encode() + b"\x00\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\naccess-token: " + MARK.encode() + b"\x01\r\n\r\n", {200, 400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nacc ess: " + MARK.encode() + b"\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + MARK.encode() + b"\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\naccess-token: " + MARK.encode() + b"\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: " + MARK.encode() + b"\r\n\r\n", {400}),
        (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\nX: " + MARK.encode() + b"\r\n\r\n", {400}),
        (
            b"GET / HTTP/1.1\r\nHost: x\r\n"
            + b"".join(b"X-%d: %s\r\n" % (n, MARK.encode()) for n in range(200))
            + b"\r\n",
            {400},
        ),
        (b"GET / HTTP/1.1\r\nHost: x\r\n" + MARK.encode() * 2000 + b": x\r\n\r\n", {431}),
        (b"GET /" + MARK.encode() + b" HTTP/3.0\r\nHost: x\r\n\r\n", {505}),
        (b"GET /" + MARK.encode() + b" HTTP/2.0\r\nHost: x\r\n\r\n", {505}),
        (b"GET /" + MARK.encode() + b" HTTP/0.9\r\nHost: x\r\n\r\n", {505}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + MARK.encode(), {505}),
        (MARK.encode() + b" / HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        (b"GET / " + MARK.encode() + b"/1.1\r\nHost: x\r\n\r\n", {400}),
        (MARK.encode() + b"\r\n\r\n", {400}),
        (b"\x16\x03\x01" + MARK.encode() + b"\r\n\r\n", {400}),
        (b"GET http://[" + MARK.encode() + b"/ HTTP/1.1\r\nHost: x\r\n\r\n", {400}),
        (b"GET http://x:99999/" + MARK.encode() + b" HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
        (b"CONNECT " + MARK.encode() + b":80 HTTP/1.1\r\nHost: x\r\n\r\n", {400, 404}),
        (b"OPTIONS * HTTP/1.1\r\nHost: x\r\nX: " + MARK.encode() + b"\r\n\r\n", {400, 404}),
        (
            b"GET /patient/" + MARK.encode() + b"/dicom HTTP/1.1\r\nHost: x\r\nExpect: " + MARK.encode() + b"\r\n\r\n",
            {401},
        ),
        (b"GET /no/" + MARK.encode() + b" HTTP/1.1\r\nHost: x\r\nExpect: " + MARK.encode() + b"\r\n\r\n", {404, 417}),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: " + MARK.encode() + b"\r\n\r\n", {400}),
    ],
)
async def test_a_request_that_cannot_be_read(service, everything_logged, request_bytes, status):
    answer = await service.raw(request_bytes)
    assert answer.status in status, answer.body
    shown = answer.body.decode() + str(answer.headers) + everything_logged.text
    assert MARK.lower() not in shown.lower()
    assert "Traceback" not in shown
    assert answer.headers["Server"] == "dicom-document-store"
    if answer.status in {400, 414, 431}:
        assert answer.headers["Connection"] == "close"


async def test_ordinary_requests_leave_no_trace_of_the_patient_in_the_log(service, everything_logged, ct):
    marked = ct.replace(b"CompressedSamples^CT1", MARK.encode().ljust(21))
    assert marked != ct
    path = (await service.upload(MARK, marked, name=f"{MARK}.dcm")).headers["Location"]
    for suffix, accept in (
        ("", "*/*"),
        ("", "image/png"),
        ("/tags", "*/*"),
        (f"/tag/{MARK}", "*/*"),
        ("/tag/PatientName", "*/*"),
    ):
        await service.ask("GET", path + suffix, patient=MARK, headers={"Accept": accept})
    await service.ask("GET", f"/patient/{MARK}/dicom?{MARK}={MARK}", patient=MARK)
    await service.ask("GET", f"/patient/{MARK}/dicom", headers={"access-token": MARK})
    await service.ask("GET", f"/{MARK}")
    await service.ask("DELETE", path, patient=MARK)
    text = everything_logged.text
    assert "GET /patient/{patient_id}/dicom/{dicom_id}/tag/{tag} 200" in text
    assert "GET (no route) 404" in text
    assert MARK not in text


async def test_each_request_has_one_line_with_its_figures_and_a_level_that_fits(
    service, everything_logged, patient, ct, monkeypatch
):
    uploaded = await service.upload(patient, ct)

    async def away(*_):
        raise DatabaseUnavailable("The database does not answer.")

    async def broken(*_):
        raise ValueError

    for failing in (away, broken):
        with monkeypatch.context() as patch:
            patch.setattr(type(service.store.instances), "list_newest", failing)
            url = f"{service.url}/patient/{patient}/dicom"
            async with service.session.get(url, headers={"access-token": service.token(patient)}) as response:
                assert response.status >= 500
    lines = [record for record in everything_logged.records if record.name == "service.access"]
    assert [record.levelname for record in lines] == ["INFO", "WARNING", "ERROR"]
    first = lines[0].fields
    assert first["request_id"] == uploaded.headers["X-Request-ID"]
    assert (first["method"], first["route"], first["status"]) == ("POST", "/patient/{patient_id}/dicom", 200)
    assert first["bytes_in"] > len(ct)
    assert 0 < len(uploaded.body) < first["bytes_out"] < 1000
    assert 0 < first["duration_ms"] < 20_000


async def test_a_caller_that_goes_away_in_the_middle_of_an_answer_is_written_down(service, patient, ct, monkeypatch):
    uploaded = await service.upload(patient, ct)
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    monkeypatch.setattr("service.storage.originals.StoredOriginal.iter_range", halting)
    token = service.token(patient)
    writer.write(f"GET {uploaded.headers['Location']} HTTP/1.1\r\nHost: x\r\naccess-token: {token}\r\n\r\n".encode())
    await reader.readexactly(1000)
    writer.transport.abort()
    for _ in range(100):
        await asyncio.sleep(0.05)
        await service.app[AUDIT].write()
        found = await service.store._database["audit"].find_one({"patient_id": patient, "status": 499})
        if found:
            break
    assert (found["action"], found["outcome"]) == ("read_original", "done")


async def test_a_connection_goes_on_after_a_refusal_without_a_body(service):
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    for _ in range(3):
        writer.write(b"GET /patient/p-1/dicom HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
        assert head.startswith(b"HTTP/1.1 401")
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        await reader.readexactly(length)
    writer.close()


async def test_requests_on_one_connection_are_answered_in_order(service):
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port)
    writer.write(
        b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    )
    both = await asyncio.wait_for(reader.read(), 5)
    assert both.index(b"200 OK") < both.index(b"404 Not Found")
    writer.close()


@pytest.mark.parametrize("host", [b"", b" ", b"\xff\xfe", b"a b", b'"><script>', b"[::1", b"x/y", b"x:y"])
@pytest.mark.parametrize("path", [b"/healthz", b"/patient/p-1/dicomweb/studies"])
async def test_a_host_that_is_none_is_refused(service, host, path):
    headers = b"Host: " + host + b"\r\naccess-token: " + service.token("p-1").encode()
    answer = await service.raw(b"GET " + path + b" HTTP/1.1\r\n" + headers + b"\r\n\r\n")
    assert answer.status == 400, answer.body


async def test_aiohttp_tells_by_one_private_name_whether_a_connection_waits_for_a_request():
    """The only private name of aiohttp that the service uses."""
    changed = "aiohttp keeps no future in RequestHandler._waiter while it waits for a request: see waits_for_request"
    during = []

    async def look(request):
        during.append(waits_for_request(request.protocol))
        return web.Response()

    runner = web.ServerRunner(web.Server(look))
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    reader, writer = await asyncio.open_connection(*runner.addresses[0])
    for _ in range(2):
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    await asyncio.sleep(0.05)
    waiting = [waits_for_request(each) for each in runner.server.connections]
    writer.close()
    await runner.cleanup()
    assert (during, waiting) == ([False, False], [True]), changed


async def test_no_other_private_name_of_aiohttp_is_used():
    names = set()
    for module in ("server", "connections"):
        source = (Path(__file__).resolve().parents[2] / "service" / "web" / f"{module}.py").read_text()
        names |= set(re.findall(r"\b(?:handler|server|request|response|runner|web)\._(\w+)", source))
        assert not re.search(r"^from aiohttp[^\n]* import [^\n]*\b_\w", source, re.MULTILINE)
    assert names == {"waiter"}
