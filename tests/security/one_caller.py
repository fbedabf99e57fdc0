"""One token against a service, while a second patient works: ``python -m tests.security.one_caller``.

It starts a service of its own. One patient's token holds 32 slow readers of the largest frames, asks for 32 thumbnails
of a dear JPEG 2000 file and for 530 private elements, and sends an awkward `Accept`, all at once and again and again. A
second patient uploads, asks for tags and for pictures. It prints what the second one waited, and the service's memory.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import openjpeg
import pydicom

from tests.dicom.pixels.build import build_file
from tests.faults.stores import make_file
from tests.running_service import RunningService

J2K = "1.2.840.10008.1.2.4.90"
HOSTILE, OTHER = "hostile", "p-2"
READERS = THUMBNAILS = 32
PRIVATE_NAMES = 530
AFTER_SECONDS = 60.0


def large_frame(side):
    """Make a small file whose one frame is large."""
    return compressed(np.zeros((side, side), np.uint16), "1.2.3.1")


def dear_frame(side):
    """Make a file that takes long to decode."""
    noise = np.random.default_rng(1).integers(0, 1 << 12, (side, side), np.uint16)
    return compressed(noise, "1.2.3.2")


def compressed(pixels, uid):
    stream = bytes(openjpeg.encode(pixels, photometric_interpretation=2, codec_format=0))
    empty = {"Rows": pixels.shape[0], "Columns": pixels.shape[1], "BitsAllocated": 16, "BitsStored": 16, "HighBit": 15}
    content = build_file(frames=[stream], syntax=J2K, StudyInstanceUID="1.2.1", SeriesInstanceUID="1.2.2", **empty)
    dataset = pydicom.dcmread(io.BytesIO(content))
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


class Hostile:
    """What one token can ask for.

    Parameters
    ----------
    service : RunningService
        Whom it asks.
    ends : float
        When it stops, on the monotonic clock.
    """

    def __init__(self, service, ends):
        self.service, self.ends = service, ends
        self.answers = Counter()
        self._token = service.token(HOSTILE)
        self._root = f"/patient/{HOSTILE}/dicomweb"

    async def run(self):
        """Do all of it at once until the end."""
        frames = f"{self._root}/studies/1.2.1/series/1.2.2/instances/1.2.3.1/frames/1,1,1,1"
        thumbnail = f"{self._root}/studies/1.2.1/series/1.2.2/instances/1.2.3.2/thumbnail?viewport=%d,128"
        names = ",".join(f"A:0009xx{number % 256:02x}" for number in range(PRIVATE_NAMES))
        decoded = 'multipart/related; type="application/octet-stream"; transfer-syntax=1.2.840.10008.1.2.1'
        awkward = '"' + '\\"' * 3900
        await asyncio.gather(
            *(self._again("frames", frames, [f"Accept: {decoded}"], slow=True) for _ in range(READERS)),
            *(
                self._again("thumbnails", thumbnail % (64 + number), ["Accept: image/png"])
                for number in range(THUMBNAILS)
            ),
            *(self._again("private names", f"{self._root}/instances?includefield={names}", []) for _ in range(4)),
            *(self._again("accept", f"{self._root}/studies", [f"Accept: {awkward}"] * 4) for _ in range(4)),
        )

    async def _again(self, kind, path, lines, *, slow=False):
        while (left := self.ends - time.monotonic()) > 0:
            status = "no answer"
            with contextlib.suppress(OSError, asyncio.IncompleteReadError, TimeoutError):
                async with asyncio.timeout(left):
                    status = await self._ask(path, lines, slow=slow)
            self.answers[kind, status] += 1
            await asyncio.sleep(0.05)

    async def _ask(self, path, lines, *, slow):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.service.port, limit=1 << 12)
        try:
            head = [
                f"GET {path} HTTP/1.1",
                "Host: x",
                "Connection: close",
                f"access-token: {self._token}",
                *lines,
                "",
                "",
            ]
            writer.write("\r\n".join(head).encode())
            status = int((await reader.readuntil(b"\r\n")).split()[1])
            while await reader.read(4096):
                if slow and status == 200:
                    await asyncio.sleep(0.5)
            return status
        finally:
            writer.transport.abort()


class Second:
    """A patient who works while the other one attacks."""

    def __init__(self, service, ends):
        self.service, self.ends = service, ends
        self.seconds = {"upload": [], "tag": [], "picture": []}
        self.unexpected = Counter()

    def run(self):
        """Upload, ask for a tag, ask for the picture, until the end."""
        path = f"/patient/{OTHER}/dicom"
        while time.monotonic() < self.ends:
            body = self._ask("upload", "POST", path, make_file(), content_type="application/dicom")
            if body is None:
                continue
            this = f"{path}/{json.loads(body)}"
            self._ask("tag", "GET", f"{this}/tag/Modality")
            self._ask("picture", "GET", this, Accept="image/png")
            time.sleep(0.1)

    def _ask(self, kind, method, path, body=None, **headers):
        began = time.monotonic()
        try:
            status, _, answer = self.service.request(method, path, body, OTHER, **headers)
        except OSError as error:
            status, answer = type(error).__name__, None
        self.seconds[kind].append(time.monotonic() - began)
        if status != 200:
            self.unexpected[kind, status] += 1
            return None
        return answer


class Memory:
    """The resident memory of a service's own process, in MB."""

    def __init__(self, service):
        self._process, self.most = service.process, 0

    def now(self):
        """Look, and remember the most."""
        held = self._process.memory_info().rss >> 20
        self.most = max(self.most, held)
        return held

    async def watch(self):
        """Look five times a second."""
        while True:
            self.now()
            await asyncio.sleep(0.2)


async def attack(service, seconds, after):
    """Have both patients ask, and give the figures."""
    ends = time.monotonic() + seconds
    hostile, second, memory = Hostile(service, ends), Second(service, ends), Memory(service)
    idle = memory.now()
    watching = asyncio.create_task(memory.watch())
    await asyncio.gather(hostile.run(), asyncio.to_thread(second.run))
    at_end, until = memory.now(), time.monotonic() + after
    while time.monotonic() < until and memory.now() > 1.2 * idle:
        await asyncio.to_thread(time.sleep, 1)
    watching.cancel()
    taken = sorted(each for kind in second.seconds.values() for each in kind)
    return {
        "second patient": {kind: figures_of(sorted(each)) for kind, each in second.seconds.items()},
        "second patient, all": figures_of(taken),
        "second patient, unexpected": {f"{kind} {status}": n for (kind, status), n in second.unexpected.items()},
        "hostile answers": {f"{kind} {status}": n for (kind, status), n in sorted(hostile.answers.items(), key=str)},
        "memory MB": {"idle": idle, "most": memory.most, "at the end": at_end, "after": memory.now()},
    }


def figures_of(taken):
    """How many there were, and what the median, the 99th percentile and the slowest took, in seconds."""
    if not taken:
        return {"requests": 0}
    at = {"p50": 0.5, "p99": 0.99, "slowest": 1.0}
    return {"requests": len(taken)} | {
        name: round(taken[min(int(part * len(taken)), len(taken) - 1)], 3) for name, part in at.items()
    }


def run_attack(data_dir, seconds=60.0, side=10_000, after=AFTER_SECONDS, **variables):
    """Run a service, attack it, and give the figures."""
    with RunningService(data_dir, **variables) as service:
        for content in (large_frame(side), dear_frame(min(side, 512))):
            service.upload(content, HOSTILE)
        for _ in range(3):  # what is loaded once is loaded
            dicom_id = service.upload(make_file(), OTHER)
            service.request("GET", f"/patient/{OTHER}/dicom/{dicom_id}", patient=OTHER, Accept="image/png")
        figures = asyncio.run(attack(service, seconds, after))
        figures["ready afterwards"] = service.request("GET", "/readyz")[0]
        figures["exit status"] = service.stop()
        return figures


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.security.one_caller", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--side", type=int, default=10_000, help="rows and columns of the largest frame")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(run_attack(Path(folder) / "data", asked.seconds, asked.side), indent=2))


if __name__ == "__main__":
    main()
