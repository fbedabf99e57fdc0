"""A large study as one answer: it comes piece by piece, for several callers at once, whatever one of them does."""

import asyncio
import time

import aiohttp
import pytest

from tests.load.sizes import make_slice
from tests.running_service import RunningService

SLICES = 400


async def take(session, url, token, accept, most):
    async with session.get(url, headers={"access-token": token, "Accept": accept}) as answer:
        assert answer.status == 200
        taken = 0
        async for piece in answer.content.iter_any():
            taken += len(piece)
        most.append(taken)


async def take_all(service, url, token):
    """Have four callers take the study at once; give the bytes that each took, and the most memory meanwhile."""
    taken, most = [], 0
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(120)) as session:
        kinds = ['multipart/related; type="application/dicom"', "application/zip"] * 2
        working = asyncio.gather(*(take(session, url, token, kind, taken) for kind in kinds))
        while not working.done():
            most = max(most, service.memory())
            await asyncio.wait({working}, timeout=0.2)
        await working
    return taken, most


@pytest.mark.long
def test_a_study_of_two_hundred_megabytes_comes_to_four_callers_in_bounded_memory(tmp_path):
    with RunningService(tmp_path / "data") as service:
        for number in range(SLICES):
            service.upload(make_slice(number))
        token = service.token("p-1")
        size = SLICES * len(make_slice(1))
        instance = service.request("GET", "/patient/p-1/dicom?limit=1")[2]
        study = instance.decode().split('"study_instance_uid":"')[1].split('"')[0]
        url = f"{service.url}/patient/p-1/dicomweb/studies/{study}"
        before, began = service.memory(), time.monotonic()
        taken, most = asyncio.run(take_all(service, url, token))
        print(f"memory {before >> 20} -> {most >> 20} MB, {time.monotonic() - began:.1f} s for {4 * size >> 20} MB")
        assert all(size < each < size * 1.01 for each in taken)
        assert most - before < 60 << 20
