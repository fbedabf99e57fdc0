"""A real service, a real Chromium, and pages in it."""

import os
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from tests.running_service import ROOT, RunningService

# The driver is a module of a program, not of a package.
sys.path.insert(0, str(ROOT / "scripts" / "dev"))
from chromium import find_program, running_browser

HERE = Path(__file__).resolve().parent
SHOTS = os.environ.get("PAGE_SHOTS")
"""A folder in which the tests leave pictures of what they saw, where it is named."""


@pytest.fixture(scope="session")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("page") / "data") as running:
        yield running


@asynccontextmanager
async def browser_of(profile):
    """A browser with a profile of its own."""
    if find_program() is None:
        reason = "there is no Chromium: Debian has it as `chromium`"
        if os.environ.get("REQUIRE_CHROMIUM"):
            pytest.fail(reason)
        pytest.skip(reason)
    async with aiohttp.ClientSession() as session, running_browser(session, profile) as running:
        yield running


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(tmp_path_factory):
    async with browser_of(tmp_path_factory.mktemp("profile")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def other_browser(tmp_path_factory):
    """Somebody else's."""
    async with browser_of(tmp_path_factory.mktemp("other-profile")) as running:
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
