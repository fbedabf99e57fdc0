"""A headless Chromium with one page, spoken to by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
from PIL import Image

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless=new", "--remote-debugging-port=0", "--window-size=1400,900", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-quic",
    "--disable-dev-shm-usage",
    # WebGL without a GPU: SwiftShader computes it.
    "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist",
)  # fmt: skip
START_SECONDS = 60


class Page:
    """The page, and what was asked for on it.

    Attributes
    ----------
    answers : list of (int, str, str)
        Status, method and URL of every answer that came.
    complaints : list of str
        What failed before an answer, or was written to the console as an error.
    """

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._methods: dict[str, str] = {}
        self.answers: list[tuple[int, str, str]] = []
        self.complaints: list[str] = []

    async def listen(self) -> None:
        """Take what the browser says, until it says no more."""
        async for message in self._socket:
            said = message.json()
            if (number := said.get("id")) in self._waiting:
                self._waiting.pop(number).set_result(said.get("result", {}))
            else:
                self._note(said.get("method", ""), said.get("params", {}))

    def _note(self, event: str, said: dict[str, Any]) -> None:
        match event:
            case "Network.requestWillBeSent":
                self._methods[said["requestId"]] = said["request"]["method"]
            case "Network.responseReceived":
                method = self._methods.get(said["requestId"], "?")
                self.answers.append((said["response"]["status"], method, said["response"]["url"]))
            case "Network.loadingFailed" if not said.get("canceled"):
                self.complaints.append(f"loading failed: {said.get('errorText')} {said.get('corsErrorStatus', '')}")
            case "Runtime.consoleAPICalled" if said["type"] == "error":
                texts = [str(each.get("value", each.get("description", ""))) for each in said["args"]]
                self.complaints.append(" ".join(texts)[:500])
            case "Runtime.exceptionThrown":
                details = said["exceptionDetails"]
                self.complaints.append(str(details.get("exception", {}).get("description", details["text"]))[:500])

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        self._waiting[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        return await asyncio.wait_for(self._waiting[number], 60)

    async def evaluate(self, expression: str) -> Any:
        """Return the value of a JavaScript expression."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result.get("result", {}).get("value")

    async def open(self, url: str) -> None:
        """Go to a page."""
        await self.call("Page.navigate", url=url)

    async def press(self, key: str, code: int) -> None:
        """Press a key and let it go."""
        for kind in ("rawKeyDown", "keyUp"):
            await self.call("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code)

    async def screenshot(self) -> Image.Image:
        """Return what the page looks like."""
        data = (await self.call("Page.captureScreenshot", format="png"))["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


@asynccontextmanager
async def running_page(session: aiohttp.ClientSession, profile: Path) -> AsyncIterator[Page]:
    """Start a browser with one empty page.

    Parameters
    ----------
    session : aiohttp.ClientSession
        What it is spoken to with.
    profile : Path
        An empty folder for what it keeps.

    Raises
    ------
    SystemExit
        There is no browser, or it does not start.
    """
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise SystemExit("There is no Chromium on PATH. Debian has it as `chromium`: apt-get install chromium")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # its sandbox does not work for root
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, *root, f"--user-data-dir={profile}", "about:blank",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        port = await _told_port(process, profile / "DevToolsActivePort")
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            target = next(each for each in await answer.json() if each["type"] == "page")
        async with session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            for domain in ("Page", "Network", "Runtime"):
                await page.call(f"{domain}.enable")
            yield page
            listening.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


async def _told_port(process: asyncio.subprocess.Process, told: Path) -> str:
    for _ in range(START_SECONDS * 4):
        if lines := _lines_of(told):
            return lines[0]
        if process.returncode is not None:
            break
        await asyncio.sleep(0.25)
    raise SystemExit("The browser did not start.")


def _lines_of(file: Path) -> list[str]:
    return file.read_text().split() if file.is_file() else []
