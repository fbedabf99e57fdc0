"""Have the real OHIF viewer list a patient's studies, open them, and draw their pictures."""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import aiohttp
import numpy as np
import pydicom
from aiohttp import web
from chromium import Page, running_page
from PIL import Image
from pydicom.data import get_testdata_file
from pydicom.uid import UID

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "ohif"
OHIF = "@ohif/app@3.13.2"
INTEGRITY = "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA=="
PATIENT = "p-ohif"
UIDS = "1.2.826.0.1.3680043.9.7"
SLICES = 10
ALIKE = 0.98
"""The correlation of grey values from which on two pictures show the same: the viewer interpolates."""

VISIBLE = 0.9
"""The same for a screenshot, where the viewer's texts and controls lie over the picture."""

FILES = {
    "a CT slice in JPEG 2000": "693_J2KI.dcm",
    "an MR slice in JPEG-LS": "MR_small_jpeg_ls_lossless.dcm",
    "an MR slice in RLE": "MR_small_RLE.dcm",
    "an MR slice in big endian": "MR_small_bigendian.dcm",
    "30 ultrasound frames in JPEG": "examples_ybr_color.dcm",
}
"""Files of pydicom's that are shown too."""

CONFIG = """
const TOKEN = %(token)s, ROOT = %(root)s;
window.config = {
  routerBasename: null, modes: [], showStudyList: true, maxNumberOfWebWorkers: 1,
  showWarningMessageForCrossOrigin: false, showCPUFallbackMessage: false, investigationalUseDialog: { option: 'never' },
  // The token goes with every request of the viewer, of its data source as of its image loader.
  extensions: [{
    id: 'token',
    preRegistration: ({ servicesManager }) => servicesManager.services.userAuthenticationService
      .setServiceImplementation({ getAuthorizationHeader: () => ({ Authorization: `Bearer ${TOKEN}` }) }),
  }],
  defaultDataSourceName: 'dicomweb',
  dataSources: [{
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb', sourceName: 'dicomweb',
    configuration: {
      friendlyName: 'DICOM document store', name: 'store', qidoRoot: ROOT, wadoRoot: ROOT, wadoUriRoot: ROOT,
      qidoSupportsIncludeField: true, supportsFuzzyMatching: true, supportsWildcard: true, enableStudyLazyLoad: true,
      imageRendering: 'wadors', thumbnailRendering: 'wadors', bulkDataURI: { enabled: true },
    },
  }],
};
"""
VIEWPORT = """(() => {
  const canvas = document.querySelector('.cornerstone-canvas'), place = canvas?.getBoundingClientRect();
  return place && place.width > 100
    ? { box: [place.left, place.top, place.right, place.bottom], drawn: canvas.toDataURL() } : null;
})()"""
SKIP_TOUR = "[...document.querySelectorAll('button')].find(each => each.innerText.trim() === 'Skip all')?.click()"
THUMBNAIL = "[...document.querySelectorAll('img')].some(each => each.src.startsWith('data:image') && each.naturalWidth)"


@dataclass(frozen=True, slots=True)
class Study:
    """A study that the viewer has to show.

    Parameters
    ----------
    name : str
        What it is, in words.
    uid : str
        Its Study Instance UID.
    files : sequence of bytes
        Its instances.
    """

    name: str
    uid: str
    files: Sequence[bytes]


def fetch_viewer() -> Path:
    """Return the folder of the viewer's build, from npm where it is not there yet.

    Raises
    ------
    SystemExit
        It cannot be had, or npm has other bytes under that version than these.
    """
    folder = BUILD / OHIF.rpartition("@")[2]
    if not folder.is_dir():
        if shutil.which("npm") is None:
            raise SystemExit("There is no npm on PATH, which fetches the viewer. Debian has it as `npm`.")
        BUILD.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=BUILD) as scratch:
            if subprocess.run(["npm", "pack", OHIF, "--silent"], cwd=scratch, stdout=subprocess.DEVNULL).returncode:
                raise SystemExit(f"npm could not fetch {OHIF}.")
            archive = next(Path(scratch).glob("*.tgz"))
            digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
            if f"sha512-{digest}" != INTEGRITY:
                raise SystemExit(f"What npm has as {OHIF} is not what it was.")
            with tarfile.open(archive) as packed:
                packed.extractall(scratch, filter="data")
            (Path(scratch) / "package").rename(folder)  # whole, or not at all
    return folder / "dist"


def make_studies() -> list[Study]:
    """Return a CT series made of pydicom's test file, and files of its as they are under a study of their own."""
    made = [Study(f"a CT series of {SLICES} slices", f"{UIDS}.1", make_slices(f"{UIDS}.1"))]
    for number, (name, file) in enumerate(FILES.items(), 2):
        dataset = pydicom.dcmread(str(get_testdata_file(file, download=False)))
        dataset.StudyInstanceUID = f"{UIDS}.{number}"
        made.append(Study(name, dataset.StudyInstanceUID, [bytes_of(dataset)]))
    return made


def make_slices(study: str) -> list[bytes]:
    """Return the slices of a series, each the picture of the one before moved by some pixels."""
    dataset = pydicom.dcmread(str(get_testdata_file("CT_small.dcm", download=False)))
    pixels = dataset.pixel_array
    made = []
    for number in range(1, SLICES + 1):
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"{study}.1.{number}")
        dataset.InstanceNumber = number
        dataset.ImagePositionPatient[2] = dataset.SliceLocation = 5 * number
        dataset.PixelData = np.roll(pixels, 4 * (number - SLICES), axis=1).tobytes()
        made.append(bytes_of(dataset))
    return made


def bytes_of(dataset: pydicom.Dataset) -> bytes:
    """Return a dataset as a file."""
    target = io.BytesIO()
    dataset.save_as(target)
    return target.getvalue()


@asynccontextmanager
async def running_service(folder: Path, origin: str) -> AsyncIterator[str]:
    """Start the service with a database of its own, and yield its URL."""
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
async def serving_viewer(dist: Path) -> AsyncIterator[tuple[str, dict[str, str]]]:
    """Serve the viewer; returns its origin, and where its configuration is put."""
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
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", config
    finally:
        await runner.cleanup()


class Store:
    """The patient's DICOMweb root, asked by this script."""

    def __init__(self, session: aiohttp.ClientSession, root: str, token: str) -> None:
        self._session, self.root = session, root
        self._headers = {"Authorization": f"Bearer {token}"}

    async def store(self, studies: Sequence[Study]) -> None:
        """Store the studies."""
        head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
        body = b"".join(head + file + b"\r\n" for study in studies for file in study.files) + b"--b--\r\n"
        headers = {**self._headers, "Content-Type": 'multipart/related; type="application/dicom"; boundary=b'}
        async with self._session.post(f"{self.root}/studies", data=body, headers=headers) as answer:
            if answer.status != 200:
                raise SystemExit(f"Storing gave {answer.status}: {await answer.text()}")

    async def pictures(self, study: Study) -> list[Image.Image]:
        """Return the service's own picture of every frame of a study."""
        made: list[Image.Image] = []
        async with self._session.get(f"{self.root}/studies/{study.uid}/instances", headers=self._headers) as answer:
            instances: list[dict[str, Any]] = await answer.json(content_type="application/dicom+json")
        for instance in instances:
            url = instance["00081190"]["Value"][0]
            for frame in range(1, int(instance.get("00280008", {}).get("Value", [1])[0]) + 1):
                headers = {**self._headers, "Accept": "image/png"}
                async with self._session.get(f"{url}/frames/{frame}/rendered", headers=headers) as picture:
                    picture.raise_for_status()
                    made.append(Image.open(io.BytesIO(await picture.read())))
        return made


def likeness(seen: Image.Image, picture: Image.Image) -> float:
    """Return the correlation of a picture with what a viewport shows, which has it centred and as large as fits."""
    scale = min(seen.width / picture.width, seen.height / picture.height)
    left, top = ((seen.width - picture.width * scale) / 2, (seen.height - picture.height * scale) / 2)
    box = (left, top, seen.width - left, seen.height - top)
    there = np.asarray(seen.convert("L").resize(picture.size, Image.Resampling.BOX, box), np.float64).ravel()
    ours = np.asarray(picture.convert("L"), np.float64).ravel()
    return float(np.corrcoef(there, ours)[0, 1]) if there.std() > 1 and ours.std() > 1 else 0.0


async def wait_for(page: Page, what: str, expression: str, seconds: int = 60) -> Any:
    """Return the value of an expression as soon as it has one, or say that it had none in time."""
    for _ in range(seconds * 2):
        if value := await page.evaluate(expression):
            return value
        await asyncio.sleep(0.5)
    print(f"NOT SEEN: {what}")
    return None


async def see(page: Page, pictures: Sequence[Image.Image], seconds: int) -> tuple[int, float]:
    """Wait until the viewport shows one of these pictures; gives which it is most like, and how much."""
    best, alike = 0, 0.0
    for _ in range(seconds * 2):
        await page.evaluate(SKIP_TOUR)
        if viewport := await page.evaluate(VIEWPORT):
            drawn = Image.open(io.BytesIO(base64.b64decode(viewport["drawn"].partition(",")[2])))
            rated = [likeness(drawn, picture) for picture in pictures]
            best, alike = int(np.argmax(rated)), max(rated)
            if alike >= ALIKE:
                break
        await asyncio.sleep(0.5)
    return best, alike


async def look_at(page: Page, origin: str, store: Store, study: Study, target: Path) -> bool:
    """Open a study, and go through its first pictures; tells whether each was drawn."""
    pictures = (await store.pictures(study))[:SLICES]
    await page.open(f"{origin}/viewer?StudyInstanceUIDs={study.uid}")
    viewport = await wait_for(page, f"a viewport for {study.name}", VIEWPORT)
    if viewport is None:
        return False
    first, alike = await see(page, pictures, 30)
    thumbnail = await wait_for(page, f"a thumbnail of {study.name}", THUMBNAIL)
    screenshot = await page.screenshot()
    screenshot.save(target / f"{study.name.replace(' ', '-')}.png")
    visible = likeness(screenshot.crop(tuple(viewport["box"])), pictures[first])
    drawn = {first: alike} if alike >= ALIKE and visible >= VISIBLE else {}
    for _ in range(len(pictures) - 1 if drawn else 0):
        await page.press("ArrowDown", 40)
        await asyncio.sleep(0.3)
        which, alike = await see(page, pictures, 10)
        if alike >= ALIKE:
            drawn[which] = alike
    whole = len(drawn) == len(pictures) and bool(thumbnail)
    print(
        f"{'seen' if whole else 'NOT SEEN'}: {study.name}: {len(drawn)} of {len(pictures)} pictures, "
        f"correlation {min(drawn.values(), default=alike):.4f}, {visible:.4f} in the screenshot"
    )
    return whole


async def open_share(session: aiohttp.ClientSession, service: str, token: str, studies: Sequence[Study]) -> str:
    """Share studies for looking at, open the link, and return the token of its session."""
    wanted = {"studies": [study.uid for study in studies], "expires_in": 3600}
    headers = {"Authorization": f"Bearer {token}"}
    async with session.post(f"{service}/patient/{PATIENT}/shares", json=wanted, headers=headers) as answer:
        answer.raise_for_status()
        secret = (await answer.json())["link"].rpartition("#")[2]
    async with session.post(f"{service}/shares/session", json={"secret": secret}) as answer:
        answer.raise_for_status()
        return str((await answer.json())["access_token"])


async def check(target: Path, *, share: bool) -> bool:
    """Store the studies, and have the viewer show them, or those that are shared with it."""
    dist = await asyncio.to_thread(fetch_viewer)
    studies = make_studies()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as scratch:
        folder = Path(scratch)
        async with (
            aiohttp.ClientSession() as session,
            serving_viewer(dist) as (origin, config),
            running_service(folder / "data", origin) as service,
        ):
            async with session.get(f"{service}/patient/{PATIENT}/token") as answer:
                token = (await answer.json())["access_token"]
            store = Store(session, f"{service}/patient/{PATIENT}/dicomweb", token)
            await store.store(studies)
            if share:
                studies = studies[:-1]  # the last is not listed
                token = await open_share(session, service, token, studies)
            config["text"] = CONFIG % {"token": json.dumps(token), "root": json.dumps(store.root)}
            async with running_page(session, folder / "profile") as page:
                await page.open(origin)
                count = f"1-{len(studies)} of {len(studies)}"
                listed = f"document.body.innerText.includes({json.dumps(count)})"
                shown = [bool(await wait_for(page, f"a list of {len(studies)} studies", listed))]
                (await page.screenshot()).save(target / "list.png")
                shown += [await look_at(page, origin, store, study, target) for study in studies]
                refused = [each for each in page.answers if each[2].startswith(service) and each[0] >= 400]
                for text in [*(f"{status} {method} {url}" for status, method, url in refused), *page.complaints]:
                    print(f"the viewer met: {text}")
    return all(shown) and not refused


def main() -> int:
    """Run the check."""
    parser = argparse.ArgumentParser(
        prog="ohif_check",
        description="Starts the service with a database of its own, stores a CT series and files of several transfer "
        "syntaxes of pydicom's, serves the OHIF viewer on another origin, and has a headless Chromium list the "
        "studies, open each and go through its pictures. Each must be drawn as the service itself renders it "
        f"(correlation of the grey values at least {ALIKE}), and no request may be refused; else the exit status is 1. "
        "With --share the viewer has the token of a share of all studies but one, and must list no other. "
        f"Needs npm, which fetches {OHIF} into build/ohif once, and Chromium (Debian: apt-get install chromium).",
    )
    parser.add_argument("--screenshots", type=Path, default=BUILD / "screenshots", help="where they are left")
    parser.add_argument("--share", action="store_true", help="have the viewer see what a share shows, by its token")
    asked = parser.parse_args()
    target: Path = asked.screenshots
    target.mkdir(parents=True, exist_ok=True)
    shown = asyncio.run(check(target, share=asked.share))
    print(f"screenshots: {target}")
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
