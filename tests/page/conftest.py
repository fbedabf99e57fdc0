"""A real service, a real Chromium, and pages in it."""

import os
import shutil
import sys
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.running_service import ROOT, RunningService

# The driver is a program's module, not of a package: `scripts/dev` holds what only developers run.
sys.path[:0] = [
    str(folder) for folder in (ROOT / "scripts" / "dev", ROOT / "scripts") if (folder / "chromium.py").is_file()
]
from chromium import find_program, running_browser  # noqa: E402

HERE = Path(__file__).resolve().parent
SHOTS = os.environ.get("PAGE_SHOTS")
"""A folder in which the tests leave pictures of what they saw, where it is named."""


def find_module(name):
    """A file of an npm package that the tests of the page need."""
    module = HERE / "node_modules" / name
    if shutil.which("node") and module.exists():
        return module
    reason = f"{name} is not here: ./scripts/test installs it where Node.js 20 is"
    if os.environ.get("REQUIRE_CONTRACT_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("page") / "data") as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory):
    if find_program() is None:
        reason = "there is no Chromium: Debian has it as `chromium`"
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with (
        aiohttp.ClientSession() as session,
        running_browser(session, tmp_path_factory.mktemp("profile")) as running,
    ):
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def tab(browser):
    """A page 1,400 pixels wide; what it complains of fails the test."""
    async with browser.open_tab() as page:
        await page.resize(1400, 900)
        yield page
        assert page.complaints == []


@pytest.fixture
def shoot():
    """Leave a picture of a page, where somebody wants to look at it."""

    async def keep(page, name):
        if SHOTS:
            (await page.screenshot()).save(Path(SHOTS) / f"{name}.png")

    return keep
