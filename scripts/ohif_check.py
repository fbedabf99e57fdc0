"""Have the real OHIF viewer list a study of this service, open it, and draw a CT slice.

Needs npm (for the viewer's own build, `@ohif/app`) and Chromium. The viewer runs on an origin of its own, so CORS is
part of what is checked. The token goes with its XMLHttpRequests only: its one streamed `fetch` of a frame is refused,
the viewer says so, and draws the slice from the others. With the token there too its viewport stayed black, without a
GPU at least, though each request was answered; why is not known.

The screenshots are left in the folder that is named at the end; the viewer's build is kept in ~/.cache.

    .venv/bin/python scripts/ohif_check.py [folder for the screenshots]
"""

from __future__ import annotations

import asyncio
import base64
import io
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import aiohttp
import numpy as np
import pydicom
from aiohttp import web
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import UID

ROOT = Path(__file__).resolve().parent.parent
OHIF = "@ohif/app@3.13.2"
PATIENT = "p-ohif"
STUDY = "1.2.826.0.1.3680043.9.7.1"
SLICES = 5
CACHE = Path.home() / ".cache" / "dicom-document-store"

SKIP_TOUR = "[...document.querySelectorAll('button')].find(each => each.innerText.trim() === 'Skip all')?.click()"

CONFIG = """
const TOKEN = %(token)s, SERVICE = %(service)s;
const open = XMLHttpRequest.prototype.open;
XMLHttpRequest.prototype.open = function (method, url, ...rest) {
  open.call(this, method, url, ...rest);
  if (String(url).startsWith(SERVICE)) this.setRequestHeader('Authorization', 'Bearer ' + TOKEN);
};
window.config = {
  routerBasename: null, extensions: [], modes: [], showStudyList: true, maxNumberOfWebWorkers: 1,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false,
  useCPURendering: true, // a headless browser has no GPU
  investigationalUseDialog: { option: 'never' },
  defaultDataSourceName: 'ours',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'ours',
    configuration: {
      friendlyName: 'ours', name: 'ours', qidoRoot: SERVICE, wadoRoot: SERVICE, wadoUriRoot: SERVICE,
      qidoSupportsIncludeField: true, imageRendering: 'wadors', thumbnailRendering: 'wadors', enableStudyLazyLoad: true,
      supportsFuzzyMatching: true, supportsWildcard: true, bulkDataURI: { enabled: true },
    },
  }],
};
"""


def fetch_viewer() -> Path:
    """Give the folder of the viewer's build, from the cache or from npm."""
    folder = CACHE / OHIF.replace("/", "-")
    if not (folder / "package" / "dist" / "index.html").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "pack", OHIF, "--silent"], cwd=folder, check=True)
        archive = next(folder.glob("*.tgz"))
        subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
        archive.unlink()
    return folder / "package" / "dist"


def make_slices() -> list[bytes]:
    """Give the slices of a small CT series, made of pydicom's own test file."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    made = []
    for number in range(1, SLICES + 1):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, f"{STUDY}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{STUDY}.1.{number}")
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient[2] = 5 * number
        target = io.BytesIO()
        dataset.save_as(target)
        made.append(target.getvalue())
    return made


@asynccontextmanager
async def running_service(folder: Path, origin: str) -> AsyncIterator[str]:
    """Have the service with a database of its own; gives its URL."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "service", "--dev", "--port", "0", "--data-dir", str(folder),
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        env={**os.environ, "CORS_ORIGINS": origin, "MONGODB_URI": "", "JWT_SECRET": ""},
    )  # fmt: skip
    try:
        log = cast(asyncio.StreamReader, process.stdout)
        while line := (await log.readline()).decode():
            if "listening on " in line:
                break
        else:
            raise SystemExit("The service did not start.")
        reading = asyncio.create_task(log.read())  # so that its log never blocks it
        yield "http" + line.partition("listening on http")[2].split()[0].rstrip("/")
        reading.cancel()
    finally:
        process.terminate()
        await process.wait()


@asynccontextmanager
async def serving_viewer(dist: Path) -> AsyncIterator[tuple[str, Callable[[str], None]]]:
    """Serve the viewer; gives its origin and a function that sets its configuration."""
    config = {"text": ""}

    async def answer(request: web.Request) -> web.StreamResponse:
        name = request.path.lstrip("/")
        if name == "app-config.js":
            return web.Response(text=config["text"], content_type="text/javascript")
        file = (dist / name).resolve()
        return web.FileResponse(file if file.is_file() and file.is_relative_to(dist) else dist / "index.html")

    app = web.Application()
    app.router.add_get("/{name:.*}", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        yield f"http://127.0.0.1:{port}", lambda text: config.update(text=text)
    finally:
        await runner.cleanup()


class Browser:
    """One page of a headless Chromium, spoken to by the DevTools protocol."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and give its result."""
        number = next(self._numbers)
        await self._socket.send_json({"id": number, "method": method, "params": parameters})
        while True:
            message = await asyncio.wait_for(self._socket.receive_json(), 60)
            if message.get("id") == number:
                result: dict[str, Any] = message.get("result", {})
                return result

    async def evaluate(self, expression: str) -> Any:
        """Give the value of a JavaScript expression."""
        result = await self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        return result.get("result", {}).get("value")

    async def wait_for(self, what: str, expression: str, seconds: float = 90) -> Any:
        """Wait until an expression is true.

        Raises
        ------
        SystemExit
            Where it is not in time.
        """
        for _ in range(int(seconds * 2)):
            if value := await self.evaluate(expression):
                print(f"seen: {what}")
                return value
            await asyncio.sleep(0.5)
        print((await self.evaluate("document.body.innerText") or "")[:2000])
        raise SystemExit(f"not seen: {what}")

    async def screenshot(self, target: Path) -> Image.Image:
        """Write what the page looks like."""
        data = base64.b64decode((await self.call("Page.captureScreenshot", format="png"))["data"])
        await asyncio.to_thread(target.write_bytes, data)
        return Image.open(io.BytesIO(data))


@asynccontextmanager
async def running_browser(session: aiohttp.ClientSession, profile: Path) -> AsyncIterator[Browser]:
    """Have a browser with one empty page."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise SystemExit("There is no Chromium on PATH.")
    process = await asyncio.create_subprocess_exec(
        program, "--headless=new", "--no-sandbox", "--remote-debugging-port=0", f"--user-data-dir={profile}",
        "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader", "--window-size=1400,900",
        "--no-first-run", "--disable-dev-shm-usage", "about:blank",
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        told = profile / "DevToolsActivePort"
        for _ in range(120):
            if told.is_file() and told.read_text():
                break
            await asyncio.sleep(0.25)
        port = told.read_text().split()[0]
        async with session.get(f"http://127.0.0.1:{port}/json") as answer:
            page = next(each for each in await answer.json() if each["type"] == "page")
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            yield Browser(socket)
    finally:
        process.terminate()
        await process.wait()


async def check(target: Path) -> None:
    """Store a study, and have the viewer show it.

    Raises
    ------
    SystemExit
        Where it does not.
    """
    dist = await asyncio.to_thread(fetch_viewer)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        async with (
            aiohttp.ClientSession() as session,
            serving_viewer(dist) as (origin, configure),
            running_service(folder / "data", origin) as service,
        ):
            async with session.get(f"{service}/patient/{PATIENT}/token") as answer:
                token = (await answer.json())["access_token"]
            parts = b"".join(
                b"--b\r\nContent-Type: application/dicom\r\n\r\n" + each + b"\r\n" for each in make_slices()
            )
            root = f"{service}/patient/{PATIENT}/dicomweb"
            kind = 'multipart/related; type="application/dicom"; boundary=b'
            headers = {"Authorization": f"Bearer {token}", "Content-Type": kind}
            async with session.post(f"{root}/studies", data=parts + b"--b--\r\n", headers=headers) as answer:
                if answer.status != 200:
                    raise SystemExit(await answer.text())
            configure(CONFIG % {"token": json.dumps(token), "service": json.dumps(root)})
            async with running_browser(session, folder / "profile") as browser:
                await browser.call("Page.navigate", url=origin)
                await browser.wait_for("the study in the list", "document.body.innerText.includes('CompressedSamples')")
                await browser.screenshot(target / "ohif-list.png")
                await browser.call("Page.navigate", url=f"{origin}/viewer?StudyInstanceUIDs={STUDY}")
                await browser.wait_for("a viewport", "document.querySelector('.cornerstone-canvas') !== null")
                for _ in range(30):
                    await asyncio.sleep(1)
                    await browser.evaluate(SKIP_TOUR)
                    picture = await browser.screenshot(target / "ohif-slice.png")
                    # The middle of the window is the viewport: black until a slice is drawn, then many shades.
                    shades = np.unique(np.asarray(picture.convert("L"))[250:650, 500:900])
                    if shades.size > 60:
                        print(f"seen: a slice, of {shades.size} shades")
                        return
                raise SystemExit("not seen: a slice")


def main() -> None:
    """Run the check."""
    target = Path(sys.argv[1] if len(sys.argv) > 1 else tempfile.mkdtemp(prefix="ohif-"))
    target.mkdir(parents=True, exist_ok=True)
    asyncio.run(check(target))
    print(f"screenshots: {target}")


if __name__ == "__main__":
    main()
