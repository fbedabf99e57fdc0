"""An answer that is on its way when its share is revoked ends within a few MiB, and looks cut and not whole."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any

import pydicom
import pytest
import pytest_asyncio

from service.usecases.instances import LOOK_BYTES
from service.web import streams
from tests.security.links import make_share, revoke
from tests.web.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-revoking"
STUDY = "1.2.826.0.1.3680043.9.7.30"
SIDE = 3000
FRAME_BYTES = SIDE * SIDE * 2
RECEIVED_BYTES = 1 << 16
BUFFERED_BYTES = 1 << 20
"""What may lie in the buffers of the kernel and of the connection when the share ends."""

ON_DISK, FROM_DATABASE = "near", "far"
INSTANCE = f"dicomweb/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.9.1"
ANSWERS = {
    # what: where the original is, the path, what is accepted
    "an original near by": (ON_DISK, "dicom/{id}", "application/dicom"),
    "a range of one near by": (ON_DISK, "dicom/{id}", "application/dicom"),
    "an original from the database": (FROM_DATABASE, "dicom/{id}", "application/dicom"),
    "an instance by DICOMweb": (ON_DISK, INSTANCE, "application/dicom; transfer-syntax=*"),
    "an instance that is converted": (FROM_DATABASE, INSTANCE, "application/dicom"),
    "a multipart of a study": (
        ON_DISK,
        f"dicomweb/studies/{STUDY}",
        'multipart/related; type="application/dicom"; transfer-syntax=*',
    ),
    "a ZIP of a study": (ON_DISK, f"dicomweb/studies/{STUDY}", "application/zip; transfer-syntax=*"),
    "a medium of a study": (ON_DISK, f"dicomweb/studies/{STUDY}", "application/zip; media=dicomdir"),
    "a medium of what is found": (FROM_DATABASE, "dicom?Modality=CT", "application/zip; media=dicomdir"),
    "frames": (FROM_DATABASE, f"{INSTANCE}/frames/1", 'multipart/related; type="application/octet-stream"'),
    "a frame alone": (FROM_DATABASE, f"{INSTANCE}/frames/1", "application/octet-stream"),
    "bulk data": (ON_DISK, "dicom/{id}/bulkdata/PixelData", "*/*"),
    "bulk data by DICOMweb": (FROM_DATABASE, f"{INSTANCE}/bulkdata/PixelData", "application/octet-stream"),
    "all tags": (ON_DISK, "dicom/{id}/tags", "application/json"),
    "one tag": (ON_DISK, "dicom/{id}/tag/TextValue", "application/json"),
    "tags as a model": (ON_DISK, "dicom/{id}/tags", "application/dicom+json"),
    "metadata of a study": (ON_DISK, f"dicomweb/studies/{STUDY}/metadata", "application/dicom+json"),
    "a table": (FROM_DATABASE, "dicom?fields=TextValue&format=csv", "*/*"),
}


def large_file() -> bytes:
    """A CT in implicit VR, with one large frame and a text of some megabytes."""
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.9.1"
    dataset.Rows = dataset.Columns = SIDE
    dataset.PixelData = bytes(FRAME_BYTES)
    dataset.TextValue = "words " * (FRAME_BYTES // 6)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    written = BytesIO()
    dataset.save_as(written, implicit_vr=True, little_endian=True)
    return written.getvalue()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def services(start: Any) -> AsyncIterator[Mapping[str, Service]]:
    """A service that keeps originals near and one that does not, each with the large file."""
    made = {}
    for name, near in ((ON_DISK, 1 << 30), (FROM_DATABASE, 0)):
        made[name] = await start(max_near_bytes=near, max_upload_bytes=64 << 20, public_url="https://images.example")
        answer = await made[name].ask(
            "POST",
            f"/patient/{PATIENT}/dicom",
            patient=PATIENT,
            headers={"Content-Type": "application/dicom"},
            data=large_file(),
        )
        assert answer.status == 200, answer.body
    yield made
    for each in made.values():
        await each.stop()


class Download:
    """A download that is read by hand, of which little lies in buffers."""

    def __init__(self, service: Service, path: str, headers: Mapping[str, str]) -> None:
        lines = [
            f"GET /patient/{PATIENT}/{path} HTTP/1.1",
            "Host: x",
            *(f"{each[0]}: {each[1]}" for each in headers.items()),
        ]
        self._request = "\r\n".join([*lines, "", ""]).encode()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVED_BYTES)
        self._socket.setblocking(False)
        self._port = service.port
        self.received = b""

    async def begin(self) -> None:
        """Send the request, and read until some hundred kilobytes have come."""
        loop = asyncio.get_running_loop()
        await loop.sock_connect(self._socket, ("127.0.0.1", self._port))
        await loop.sock_sendall(self._socket, self._request)
        while len(self.received) < 1 << 19:
            piece = await asyncio.wait_for(loop.sock_recv(self._socket, 1 << 16), 15)
            assert piece, self.received[-500:]
            self.received += piece

    async def read_to_end(self) -> int:
        """Read until the service ends the connection, and return how many bytes came."""
        loop, came = asyncio.get_running_loop(), 0
        with self._socket:
            while True:
                try:
                    piece = await asyncio.wait_for(loop.sock_recv(self._socket, 1 << 16), 20)
                except ConnectionResetError:
                    return came
                if not piece:
                    return came
                came += len(piece)
                self.received += piece


@pytest.mark.parametrize("what", ANSWERS)
@pytest.mark.parametrize("seconds", [3600.0, streams.LOOK_SECONDS])
async def test_an_answer_ends_within_4_mib_of_the_end_of_its_share(services, monkeypatch, what, seconds):
    monkeypatch.setattr(streams, "LOOK_SECONDS", seconds)
    place, path, accept = ANSWERS[what]
    service = services[place]
    found = await service.ask("GET", f"/patient/{PATIENT}/dicom", patient=PATIENT)
    dicom_id = found.json()["instances"][0]["dicom_id"]
    share_id, headers = await make_share(service, PATIENT, studies=[STUDY], download=True)
    if "range" in what:
        headers = {**headers, "Range": "bytes=100-"}
    download = Download(service, path.replace("{id}", dicom_id), {**headers, "Accept": accept})
    await download.begin()
    assert download.received.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 206 ")), download.received[:500]
    await revoke(service, PATIENT, share_id)
    if seconds < 60:
        await asyncio.sleep(seconds * 1.1)
    after = await download.read_to_end()
    assert after <= (LOOK_BYTES if seconds > 60 else 0) + BUFFERED_BYTES
    head, _, body = download.received.partition(b"\r\n\r\n")
    if b"Content-Length: " in head:
        assert len(body) < int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    else:
        assert not body.endswith(b"\r\n0\r\n\r\n")


@pytest.mark.parametrize("what", ["an original near by", "a ZIP of a study", "all tags"])
async def test_an_answer_goes_on_to_its_end_while_its_share_lasts(services, monkeypatch, what):
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.0)
    place, path, accept = ANSWERS[what]
    service = services[place]
    found = await service.ask("GET", f"/patient/{PATIENT}/dicom", patient=PATIENT)
    path = path.replace("{id}", found.json()["instances"][0]["dicom_id"])
    _, headers = await make_share(service, PATIENT, studies=[STUDY], download=True)
    mine = await service.ask(
        "GET", f"/patient/{PATIENT}/{path}", patient=PATIENT, headers={"Accept": accept, "Accept-Encoding": "identity"}
    )
    shown = await service.ask(
        "GET", f"/patient/{PATIENT}/{path}", headers={**headers, "Accept": accept, "Accept-Encoding": "identity"}
    )
    assert (shown.status, shown.headers["Content-Type"]) == (200, mine.headers["Content-Type"])
    assert len(shown.body) == len(mine.body) > 4 * LOOK_BYTES - (1 << 20)


async def test_what_was_revoked_while_it_was_made_is_401(services, monkeypatch):
    service = services[ON_DISK]
    share_id, headers = await make_share(service, PATIENT, studies=[STUDY])
    begun, ended = asyncio.Event(), asyncio.Event()
    from service.usecases import tags

    read = tags.read_tag

    async def slowly(*arguments: Any) -> bytes:
        body = await read(*arguments)
        begun.set()
        await ended.wait()
        return body

    monkeypatch.setattr(tags, "read_tag", slowly)
    monkeypatch.setattr(streams, "LOOK_SECONDS", 0.05)
    found = await service.ask("GET", f"/patient/{PATIENT}/dicom", patient=PATIENT)
    path = f"/patient/{PATIENT}/dicom/{found.json()['instances'][0]['dicom_id']}/tag/Modality"
    asking = asyncio.create_task(service.ask("GET", path, headers=headers))
    await begun.wait()
    await revoke(service, PATIENT, share_id)
    await asyncio.sleep(0.1)
    ended.set()
    answer = await asking
    assert (answer.status, answer.json()["code"]) == (401, "unauthorized")
