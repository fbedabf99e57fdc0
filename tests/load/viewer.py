"""Viewers that scroll through a CT series by WADO-RS: frames per second and the slowest of a hundred answers.

``python -m tests.load.viewer`` starts a service with its local database. ``--beside NAME=ROOT`` measures another
WADO-RS server in the same run, phase by phase, and ``--only`` leaves the own service out. Each viewer goes through all
slices from a place of its own and keeps some requests under way, as viewers do that load ahead. It asks for `frames/1`
decoded, for `frames/1` as it is stored (the slices are JPEG-LS), and for the rendered slice as PNG: the first time it
is made, the second time it may be kept somewhere.
"""

import argparse
import asyncio
import io
import itertools
import json
import os
import tempfile
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import jpeg_ls
import numpy as np
import psutil
import pydicom
from pydicom.encaps import encapsulate

from tests.load.profile import UID
from tests.running_service import RunningService

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG_LS_LOSSLESS = "1.2.840.10008.1.2.4.80"
EXPLICIT = "1.2.840.10008.1.2.1"
PATIENT = "p-viewer"
PARTS = 'multipart/related; type="{}"; transfer-syntax={}'
PHASES = {
    "frames/1, decoded": ("/frames/1", PARTS.format("application/octet-stream", EXPLICIT)),
    "frames/1, as stored": ("/frames/1", PARTS.format("image/jls", JPEG_LS_LOSSLESS)),
    "PNG, first": ("/rendered", "image/png"),
    "PNG, again": ("/rendered", "image/png"),
}


@dataclass
class Server:
    """A WADO-RS server: its name and root, the headers that it wants, and its processes where they are known."""

    name: str
    root: str
    headers: dict = field(default_factory=dict)
    processes: list = field(default_factory=list)

    def seconds(self):
        """The processor time that it has taken, with its children's."""
        family = [each for process in self.processes for each in (process, *process.children(recursive=True))]
        return sum(sum(each.cpu_times()[:2]) for each in family)


def make_slices(count, size=512):
    """A CT series as JPEG-LS: a body with noise in it, a little different in each slice."""
    chance = np.random.default_rng(1)
    y, x = np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]
    noise = chance.normal(0, 14, (size, size))
    for number in range(count):
        pixels = np.where((x / 0.85) ** 2 + (y / 0.6) ** 2 < 1, 1064, 24) + np.roll(noise, 7 * number, 0)
        pixels[(x - 0.4) ** 2 + y**2 < 0.05 + number / 20_000] = 180
        frame = jpeg_ls.encode_array(np.clip(pixels, 0, 4095).astype("<u2"))
        yield encode(number, size, bytes(frame))


def encode(number, size, frame):
    """One slice as a file, and its UID."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, f"{UID}.7.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{UID}.5", f"{UID}.6"
    dataset.PatientID, dataset.PatientName, dataset.Modality = "VIEWER", "Viewer", "CT"
    dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber, dataset.StudyID = "20240101", "120000", "", "1"
    dataset.PatientBirthDate, dataset.PatientSex, dataset.SeriesNumber = "", "", 1
    dataset.InstanceNumber = number + 1
    dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
    dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = size
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 16, 15, 0
    dataset.WindowCenter, dataset.WindowWidth = 1064, 400
    dataset.RescaleIntercept, dataset.RescaleSlope = 0, 1
    dataset.PixelData = encapsulate([frame])
    dataset["PixelData"].is_undefined_length = True
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = JPEG_LS_LOSSLESS
    written = io.BytesIO()
    pydicom.dcmwrite(written, dataset, enforce_file_format=True)
    return dataset.SOPInstanceUID, written.getvalue()


async def store(session, server, content):
    """Store a file by STOW-RS."""
    boundary = uuid.uuid4().hex  # some servers end a part wherever these characters stand
    body = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode() + content
    body += f"\r\n--{boundary}--\r\n".encode()
    kind = f'multipart/related; type="application/dicom"; boundary={boundary}'
    headers = {**server.headers, "Content-Type": kind, "Accept": "application/dicom+json"}
    async with session.post(f"{server.root}/studies", data=body, headers=headers) as response:
        assert response.status == 200, await response.text()


async def scroll(server, uids, path, accept, ahead):
    """One viewer: ask for all slices in turn with so many requests under way; give the seconds that each took."""
    series = f"{server.root}/studies/{UID}.5/series/{UID}.6/instances"
    headers = {**server.headers, "Accept": accept, "Accept-Encoding": "identity"}
    waiting, took = iter(uids), []

    async def ask(session):
        for uid in waiting:
            began = time.perf_counter()
            async with session.get(f"{series}/{uid}{path}", headers=headers) as response:
                body = await response.read()
                assert response.status == 200, body[:500]
            took.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=ahead)) as session:
        await asyncio.gather(*(ask(session) for _ in range(ahead)))
    return took


async def measure(server, uids, phase, viewers, ahead):
    """Have all viewers scroll; give frames a second, percentiles in ms, and processor time for a frame in ms."""
    path, accept = PHASES[phase]
    before, began = server.seconds(), time.perf_counter()
    starts = [len(uids) * number // viewers for number in range(viewers)]
    scrolling = (scroll(server, [*uids[start:], *uids[:start]], path, accept, ahead) for start in starts)
    took = sorted(itertools.chain.from_iterable(await asyncio.gather(*scrolling)))
    seconds = time.perf_counter() - began
    return {
        "per second": round(len(took) / seconds, 1),
        "p50 ms": round(took[len(took) // 2] * 1000, 1),
        "p99 ms": round(took[int(len(took) * 0.99)] * 1000, 1),
        "cpu ms": round((server.seconds() - before) * 1000 / len(took), 2),
    }


async def run(servers, slices, viewers, ahead):
    """Store the slices on each server, and measure phase by phase; give the figures by phase and server."""
    uids = []
    async with aiohttp.ClientSession() as session:
        for uid, content in make_slices(slices):
            uids.append(uid)
            for server in servers:
                await store(session, server, content)
    figures = {}
    for number, phase in enumerate(PHASES):
        for server in servers if number % 2 else servers[::-1]:
            figures[phase, server.name] = await measure(server, uids, phase, viewers, ahead)
    return figures


def another(text):
    """A server from ``NAME=ROOT`` or ``NAME=ROOT,PID``."""
    name, _, rest = text.partition("=")
    root, _, pid = rest.partition(",")
    return Server(name, root.rstrip("/"), processes=[psutil.Process(int(pid))] if pid else [])


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.viewer", description=__doc__)
    parser.add_argument("--beside", action="append", type=another, default=[], metavar="NAME=ROOT[,PID]")
    parser.add_argument("--only", action="store_true", help="measure only what is beside")
    parser.add_argument("--slices", type=int, default=500)
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--ahead", type=int, default=4, help="requests that a viewer has under way")
    parser.add_argument("--json", action="store_true", help="print an object instead of a table")
    asked = parser.parse_args()

    def measured(servers):
        return asyncio.run(run(servers, asked.slices, asked.viewers, asked.ahead))

    if asked.only:
        figures = measured(asked.beside)
    else:
        with tempfile.TemporaryDirectory() as folder, RunningService(Path(folder) / "data") as service:
            root = f"{service.url}/patient/{PATIENT}/dicomweb"
            own = Server("this", root, {"access-token": service.token(PATIENT)}, [service.process])
            figures = measured([own, *asked.beside])
            service.stop()
    if asked.json:
        print(json.dumps({f"{phase}, {name}": took for (phase, name), took in figures.items()}, indent=2))
        return
    print(f"{os.cpu_count()} processors, load average {os.getloadavg()[0]:.1f}; {asked.viewers} viewers\n")
    print("| | server | frames/s | p50 ms | p99 ms | processor ms |\n|---|---|---|---|---|---|")
    for (phase, name), took in figures.items():
        print(f"| {phase} | {name} | " + " | ".join(str(each) for each in took.values()) + " |")


if __name__ == "__main__":
    main()
