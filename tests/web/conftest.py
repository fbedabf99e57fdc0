"""One running service for all tests that ask over a real socket, and files to store there."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from pydicom.data import get_testdata_file

from service.workers.pool import WorkerPool
from tests.web.service import Service, plain_documents, starting
from tests.web.sharing import Sharing


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def start(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Callable[..., Any]]:
    """Start services; each stops when the tests are over."""
    with plain_documents():
        async with starting(tmp_path_factory.mktemp) as go:
            yield go


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def service(start: Callable[..., Any]) -> AsyncIterator[Service]:
    """The service that the tests of a module share, in dev mode.

    The double looks at each document it has: what all modules store in one takes minutes.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.resources.WorkerPool", partial(WorkerPool, warm=0))
        running: Service = await start(dev_mode=True)
    yield running
    await running.stop()


@pytest.fixture
def patient(service: Service) -> str:
    """A patient whom no other test knows."""
    return str(next(service.patients))


@pytest.fixture(scope="session")
def ct() -> bytes:
    """A small CT of pydicom's own test files."""
    return Path(str(get_testdata_file("CT_small.dcm"))).read_bytes()


@pytest.fixture(scope="session")
def multiframe() -> bytes:
    """A palette colour ultrasound of several frames."""
    return Path(str(get_testdata_file("examples_palette.dcm"))).read_bytes()


@pytest_asyncio.fixture(loop_scope="session")
async def shares(service: Service, patient: str, ct: bytes) -> Sharing:
    """A patient with one file."""
    made = Sharing(service, patient)
    answer = await service.upload(patient, ct)
    made.dicom_id = answer.json()
    described = await service.ask(
        "GET", answer.headers["Location"], patient=patient, headers={"Accept": "application/json"}
    )
    made.known = described.json()
    return made


@pytest_asyncio.fixture(loop_scope="session")
async def turned(service: Service) -> AsyncIterator[Callable[[float], None]]:
    """What turns the service's clock."""
    real = service.context.clock

    def turn(seconds: float) -> None:
        object.__setattr__(service.context, "clock", lambda: real() + timedelta(seconds=seconds))

    yield turn
    object.__setattr__(service.context, "clock", real)


@pytest_asyncio.fixture(loop_scope="session")
async def begin(start: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Callable[..., Any]]:
    """Start services that end with the test, and have a worker process when they need one."""
    monkeypatch.setattr("service.resources.WorkerPool", partial(WorkerPool, warm=0))
    begun: list[Service] = []

    async def go(**options: Any) -> Service:
        begun.append(await start(**options))
        return begun[-1]

    yield go
    for service in begun:
        await service.stop()
