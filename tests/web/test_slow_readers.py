"""An answer that its reader takes slowly, or gives up, holds a file and no memory, and nothing once it is over."""

import asyncio
import gc
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import pytest_asyncio

from tests.dicom.pixels.build import build_file
from tests.web.service import SECRET, Service, mint_token

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-slow"
SIDE = 3000
FRAME_BYTES = SIDE * SIDE * 2
EXPLICIT = "1.2.840.10008.1.2.1"
UIDS = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.3.4", "SOPInstanceUID": "1.2.3.4.5"}
INSTANCE = "studies/1.2.3/series/1.2.3.4/instances/1.2.3.4.5"


def rle_of_zeros() -> bytes:
    """A frame of SIDE by SIDE words of zero, which takes 1/60 of its bytes."""
    count, rest = divmod(SIDE * SIDE, 128)
    segment = b"\x81\0" * count + (bytes([257 - rest, 0]) if rest > 1 else b"\0\0" * rest)
    segment += b"\0" * (len(segment) % 2)
    offsets = (2, 64, 64 + len(segment), *[0] * 13)
    return b"".join(number.to_bytes(4, "little") for number in offsets) + segment * 2


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def large(start) -> Service:
    """A service in which a patient has two large frames that take few bytes."""
    service: Service = await start(max_upload_bytes=8 << 20)
    content = build_file(
        np.zeros((2, SIDE, SIDE), np.uint16),
        frames=[rle_of_zeros()] * 2,
        syntax="1.2.840.10008.1.2.5",
        NumberOfFrames=2,
        **UIDS,
    )
    assert (await service.upload(PATIENT, content)).status == 200
    return service


def waiting_files(service: Service) -> int:
    """Files without a name in which something waits."""
    folder = str(service.settings.spool_dir)
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(descriptor.readlink()).startswith(folder)
        except OSError:
            continue
    return found


async def begin(service: Service, path: str, accept: str) -> asyncio.StreamWriter:
    """Ask, read the head of the answer and some of its body, and no more."""
    reader, writer = await asyncio.open_connection("127.0.0.1", service.port, limit=1 << 16)
    token = mint_token(SECRET, PATIENT, lifetime=600)
    lines = f"GET /patient/{PATIENT}/dicomweb/{path} HTTP/1.1", "Host: x", f"access-token: {token}", f"Accept: {accept}"
    writer.write("\r\n".join((*lines, "", "")).encode())
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 60)
    assert head.startswith(b"HTTP/1.1 200"), head
    await reader.readexactly(1 << 15)
    return writer


@pytest.mark.parametrize(
    ("path", "accept"),
    [
        (f"{INSTANCE}/frames/1,2,1", f'multipart/related; type="application/octet-stream"; transfer-syntax={EXPLICIT}'),
        (f"{INSTANCE}/frames/2", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        (f"{INSTANCE}/bulkdata/7FE00010", f"application/octet-stream; transfer-syntax={EXPLICIT}"),
        (INSTANCE, "application/dicom"),
        ("studies/1.2.3", 'multipart/related; type="application/dicom"'),
        ("studies/1.2.3", "application/zip"),
    ],
)
async def test_what_nobody_takes_waits_in_a_file_and_is_gone_with_its_reader(large, path, accept):
    (await begin(large, path, accept)).close()  # what is loaded once is loaded now
    await asyncio.sleep(0.2)
    gc.collect()
    gc.disable()  # whatever is freed only by looking for cycles is not freed
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        readers = [await begin(large, path, accept) for _ in range(2)]
        held, _ = tracemalloc.get_traced_memory()
        assert waiting_files(large) >= 2
        # A slice for each reader and what the worker's pipe brought last, which is at most one frame.
        assert held - before < 2 * FRAME_BYTES + (4 << 20)
        for reader in readers:
            reader.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.05)
            if waiting_files(large) == 0:
                break
        assert waiting_files(large) == 0
        after, _ = tracemalloc.get_traced_memory()
        assert after - before < FRAME_BYTES // 2
    finally:
        tracemalloc.stop()
        gc.enable()
