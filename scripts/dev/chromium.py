"""A headless Chromium and its pages, spoken to by the DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Sequence
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
)  # fmt: skip
WEBGL = ("--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--ignore-gpu-blocklist")
"""WebGL without a GPU: SwiftShader computes it, and everything else too, which is slow."""

START_SECONDS = 60
SHIFT, CONTROL = 8, 2
"""Modifiers of keys and of the pointer, to be added."""

KEYS = {
    "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35, "Home": 36, "ArrowLeft": 37,
    "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40, "Tab": 9,
}  # fmt: skip
"""Keys that write nothing, with their codes; space and Enter do both."""


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

    async def wait_for(self, expression: str, seconds: float = 15) -> Any:
        """Return the value of an expression as soon as it is one that counts as true; of an element that is true.

        Raises
        ------
        AssertionError
            It is none in time.
        """
        end = asyncio.get_running_loop().time() + seconds
        asked = f"(value => value instanceof Node ? true : value)({expression})"
        while not (value := await self.evaluate(asked)):
            if asyncio.get_running_loop().time() > end:
                raise AssertionError(f"not so within {seconds} s: {expression}\n{self.complaints}")
            await asyncio.sleep(0.02)
        return value

    async def press(self, key: str, code: int = 0, modifiers: int = 0) -> None:
        """Press a key and let it go."""
        pressed = {"key": key, "code": key, "windowsVirtualKeyCode": code or KEYS.get(key) or ord(key.upper())}
        written = {"text": "\r" if key == "Enter" else key} if key not in KEYS or key in ("Enter", " ") else {}
        kind = "keyDown" if written else "rawKeyDown"
        await self.call("Input.dispatchKeyEvent", type=kind, modifiers=modifiers, **pressed, **written)
        await self.call("Input.dispatchKeyEvent", type="keyUp", modifiers=modifiers, **pressed)

    async def write(self, text: str) -> None:
        """Write a text where the keyboard's focus is."""
        await self.call("Input.insertText", text=text)

    async def place_of(self, selector: str) -> tuple[float, float, float, float]:
        """Return where an element is: its left and upper edge, its width and height. It is scrolled into sight."""
        box = await self.wait_for(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            "e.scrollIntoView({ block: 'nearest' }); const b = e.getBoundingClientRect();"
            "return b.width > 0 && [b.left, b.top, b.width, b.height]; })()"
        )
        return box[0], box[1], box[2], box[3]

    async def point(self, kind: str, x: float, y: float, **more: Any) -> None:
        """Do something with the mouse: `mouseMoved`, `mousePressed`, `mouseReleased`, `mouseWheel`."""
        await self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    async def click(self, selector: str) -> None:
        """Click the middle of an element."""
        left, top, width, height = await self.place_of(selector)
        at = (left + width / 2, top + height / 2)
        await self.point("mouseMoved", *at)
        await self.point("mousePressed", *at, button="left", clickCount=1)
        await self.point("mouseReleased", *at, button="left", clickCount=1)

    async def drag(self, selector: str, across: float, down: float, button: str = "left", modifiers: int = 0) -> None:
        """Drag from the middle of an element."""
        left, top, width, height = await self.place_of(selector)
        x, y = left + width / 2, top + height / 2
        held = {"button": button, "modifiers": modifiers}
        await self.point("mousePressed", x, y, clickCount=1, **held)
        for part in (0.25, 0.5, 0.75, 1):
            await self.point("mouseMoved", x + across * part, y + down * part, **held)
        await self.point("mouseReleased", x + across, y + down, clickCount=1, **held)

    async def wheel(self, selector: str, notches: int, modifiers: int = 0) -> None:
        """Turn the wheel over an element, away from oneself where it is below 0."""
        left, top, width, height = await self.place_of(selector)
        for _ in range(abs(notches)):
            turned = {"deltaX": 0, "deltaY": 120 if notches > 0 else -120, "modifiers": modifiers}
            await self.point("mouseWheel", left + width / 2, top + height / 2, **turned)

    async def drop(self, files: Sequence[Path]) -> None:
        """Drop files or folders in the middle of the page."""
        data = {"items": [], "files": [str(file) for file in files], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            await self.call("Input.dispatchDragEvent", type=kind, x=400, y=300, data=data)

    async def choose(self, selector: str, files: Sequence[Path]) -> None:
        """Choose files, or a folder, in a field for files."""
        root = (await self.call("DOM.getDocument"))["root"]["nodeId"]
        node = (await self.call("DOM.querySelector", nodeId=root, selector=selector))["nodeId"]
        await self.call("DOM.setFileInputFiles", nodeId=node, files=[str(file) for file in files])

    async def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """Give the page a size; a phone has fingers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        await self.call("Emulation.setDeviceMetricsOverride", **size)
        await self.call("Emulation.setTouchEmulationEnabled", enabled=phone)

    async def prefer(self, scheme: str) -> None:
        """Have the page think that somebody prefers `light` or `dark`."""
        wanted = [{"name": "prefers-color-scheme", "value": scheme}]
        await self.call("Emulation.setEmulatedMedia", features=wanted)

    async def screenshot(self) -> Image.Image:
        """Return what the page looks like."""
        data = (await self.call("Page.captureScreenshot", format="png"))["data"]
        return Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")


class Browser:
    """A browser without pages of its own."""

    def __init__(self, session: aiohttp.ClientSession, port: str) -> None:
        self._session, self._root = session, f"http://127.0.0.1:{port}/json"

    @asynccontextmanager
    async def open_tab(self) -> AsyncIterator[Page]:
        """Open an empty page, which is closed again."""
        async with self._session.put(f"{self._root}/new?about:blank") as answer:
            target = json.loads(await answer.text())
        async with self._session.ws_connect(target["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            page = Page(socket)
            listening = asyncio.create_task(page.listen())
            for domain in ("Page", "Network", "Runtime"):
                await page.call(f"{domain}.enable")
            try:
                yield page
            finally:
                listening.cancel()
                async with self._session.get(f"{self._root}/close/{target['id']}"):
                    pass


@asynccontextmanager
async def running_page(session: aiohttp.ClientSession, profile: Path) -> AsyncIterator[Page]:
    """Start a browser that has WebGL with one empty page; parameters and errors are those of `running_browser`."""
    async with running_browser(session, profile, webgl=True) as browser, browser.open_tab() as page:
        yield page


@asynccontextmanager
async def running_browser(
    session: aiohttp.ClientSession, profile: Path, *, webgl: bool = False
) -> AsyncIterator[Browser]:
    """Start a browser.

    Parameters
    ----------
    session : aiohttp.ClientSession
        What it is spoken to with.
    profile : Path
        An empty folder for what it keeps.
    webgl : bool
        Whether it has WebGL.

    Raises
    ------
    SystemExit
        There is no browser, or it does not start.
    """
    program = find_program()
    if program is None:
        raise SystemExit("There is no Chromium on PATH. Debian has it as `chromium`: apt-get install chromium")
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()  # its sandbox does not work for root
    process = await asyncio.create_subprocess_exec(
        program, *FLAGS, *(WEBGL if webgl else ("--disable-gpu",)), *root, f"--user-data-dir={profile}", "about:blank",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield Browser(session, await _told_port(process, profile / "DevToolsActivePort"))
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), 10)
        except TimeoutError:
            process.kill()
            await process.wait()


def find_program() -> str | None:
    """Return the path of a Chromium, where there is one."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


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
