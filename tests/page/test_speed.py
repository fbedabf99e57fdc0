"""How fast a CT series of 500 slices of 512 by 512 is there, how fast it scrolls, and what it takes."""

import asyncio
import io
import json
import zipfile
from contextlib import asynccontextmanager

import numpy as np
import psutil
import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, placed, read, written

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.long]

PATIENT = "p-speed"
SERIES = f"#{PATIENT}/{ROOT_UID}.12/{ROOT_UID}.12.1200"
COUNT = 500
STEPS = 100
ROUNDS = 5
MANY = 2000
MEGABIT = 1_000_000 / 8
WATCH = """(() => {
  window.painted = [];
  if (window.watched) return;
  window.watched = true;
  let began = 0;
  addEventListener("wheel", () => { began = performance.now(); }, { capture: true });
  // The canvas is drawn in a frame of the browser; what is posted then comes when that frame has been painted.
  const after = new MessageChannel();
  after.port1.onmessage = () => painted.push(performance.now() - began);
  new MutationObserver(() => after.port2.postMessage(0))
    .observe(document.querySelector("#canvas"), { attributeFilter: ["data-at"] });
})()"""


SCROLL = """(async () => {
  const list = document.querySelector(".images");
  const taken = [];
  for (let at = 0; at < 60; at += 1) {
    const began = performance.now();
    list.scrollBy(0, 150);
    await new Promise(requestAnimationFrame);
    taken.push(performance.now() - began);
  }
  return taken.sort((one, other) => one - other);
})()"""


@pytest.fixture(scope="module")
def stored(service):
    dataset = read("CT_small.dcm")
    pixels = np.kron(dataset.pixel_array, np.ones((4, 4), np.int16))
    dataset.Rows = dataset.Columns = 512
    for number in range(1, COUNT + 1):
        placed(dataset, 1200, number)
        dataset.ImagePositionPatient[2] = number
        dataset.PixelData = np.roll(pixels, number, axis=1).tobytes()
        service.upload(written(dataset), PATIENT)
    return service


@asynccontextmanager
async def fresh_telephone(browser):
    """A tab with an empty cache, by a telephone's network (4G)."""
    async with browser.open_tab() as fresh:
        await fresh.resize(1400, 900)
        await fresh.call("Network.setCacheDisabled", cacheDisabled=True)
        speed = {"downloadThroughput": 9 * MEGABIT, "uploadThroughput": 9 * MEGABIT}
        await fresh.call("Network.emulateNetworkConditions", offline=False, latency=60, **speed)
        yield fresh


async def turn_the_wheel(tab, first):
    """Milliseconds from each turn of the wheel to its picture, the least first."""
    await tab.evaluate(WATCH)
    for step in range(STEPS):
        await tab.wheel("#stage", 1)
        await tab.wait_for(f"document.querySelector('#canvas').dataset.at === '{first + step + 1}'")
    await tab.evaluate(looking.TWO_PAINTS)
    times = await tab.evaluate("painted")
    assert len(times) == STEPS
    return sorted(times)


def megabytes_of_tabs():
    """What the largest tab has for itself, without the program that all tabs share."""
    return max(
        each.memory_full_info().uss / 1e6
        for each in psutil.Process().children(recursive=True)
        if "--type=renderer" in " ".join(each.cmdline())
    )


async def test_by_a_telephones_network_the_first_picture_is_there_in_two_seconds_and_the_wheel_paints_at_once(
    stored, browser
):
    pictures, steps = [], []
    for _ in range(ROUNDS):  # the best counts: what else the machine does is not measured
        async with fresh_telephone(browser) as fresh:
            await looking.open_at(fresh, stored, f"{SERIES}/{ROOT_UID}.12.1200.1/1")
            await looking.see(fresh)
            pictures.append(await fresh.evaluate("performance.now()") / 1000)
            await asyncio.sleep(3)
            await fresh.wait_for(f"document.querySelector('#slice').max === '{COUNT}'")
            steps.append(await turn_the_wheel(fresh, 1))
            # Where one rests, the frame itself follows.
            await looking.see(fresh, f"{ROOT_UID}.12.1200.{STEPS + 1}")
        if min(pictures) < 2 and steps[-1][-1] < 50:
            break
    best = min(steps, key=max)
    print(
        f"first picture after {min(pictures):.2f} s; a step paints after {best[50]:.1f} ms, at most {best[-1]:.1f} ms"
    )
    assert min(pictures) < 2
    assert best[-1] < 50


async def test_a_hundred_steps_of_the_wheel_paint_at_once_and_the_tab_stays_small(stored, tab):
    best = [60_000.0]
    for number in range(ROUNDS):
        first = 1 + number % 3 * 150  # each time slices that were not there yet, as long as there are any
        await looking.open_at(tab, stored, f"{SERIES}/{ROOT_UID}.12.1200.{first}/1")
        await looking.see(tab, f"{ROOT_UID}.12.1200.{first}")
        await tab.wait_for(f"document.querySelector('#slice').max === '{COUNT}'")
        await asyncio.sleep(3)
        best = min(best, await turn_the_wheel(tab, first), key=max)
        if best[-1] < 50:
            break
    await tab.press("End")
    await looking.see(tab, f"{ROOT_UID}.12.1200.{COUNT}")
    await tab.press("Home")
    await looking.see(tab, f"{ROOT_UID}.12.1200.1")
    megabytes = megabytes_of_tabs()
    print(f"a step paints after {best[50]:.1f} ms, at most {best[-1]:.1f} ms; the tab has {megabytes:.0f} MB")
    assert best[-1] < 50
    assert megabytes < 500


async def test_a_patient_with_2000_images_opens_in_a_second_and_scrolls(service, tab):
    archive = io.BytesIO()
    dataset = read("CT_small.dcm")
    dataset.PixelData, dataset.Rows, dataset.Columns = bytes(2 * 16 * 16), 16, 16
    with zipfile.ZipFile(archive, "w") as packed:
        for number in range(MANY):
            packed.writestr(f"{number}.dcm", written(placed(dataset, 1500 + number // 500, number)))
    path = "/patient/p-many/dicom"
    status, _, told = service.request("POST", path, archive.getvalue(), "p-many", content_type="application/zip")
    assert status == 200
    assert json.loads(told.splitlines()[-1])["summary"]["stored"] == MANY
    opened = []
    for _ in range(ROUNDS):
        await tab.open("about:blank")
        await looking.open_at(tab, service, "#p-many")
        await tab.wait_for("document.querySelectorAll('.series').length === 4")
        opened.append(await tab.evaluate("performance.now()") / 1000)
        if opened[-1] < 1:
            break
    await tab.click(".fold")
    await tab.wait_for("document.querySelectorAll('.images [data-instance]').length === 500")
    frames = await tab.evaluate(SCROLL)
    print(
        f"2,000 images are listed after {min(opened):.2f} s; scrolling takes {frames[len(frames) // 2]:.0f} ms a frame"
    )
    assert min(opened) < 1
    assert frames[len(frames) // 2] < 50
