"""The canvas shows what the service itself renders."""

import io
import json

import numpy as np
import pytest
from chromium import SHIFT
from PIL import Image

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices, pictures, placed, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-pixels"
KEEP_PREVIEW = """(() => {
  const canvas = document.querySelector("#canvas");
  new MutationObserver(() => { if (!canvas.dataset.shown) window.preview ??= canvas.toDataURL("image/png"); })
    .observe(canvas, { attributeFilter: ["data-at"] });
})()"""


def as_pixels(picture):
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"), np.int16)


@pytest.fixture(scope="module")
def stored(service):
    """The pictures by name: their UIDs, their ids, and the frames to look at."""
    places = {}
    for number, (name, dataset, frames) in enumerate(pictures(), 1):
        placed(dataset, 200 + number, 1)
        uids = (dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
        places[name] = (uids, service.upload(written(dataset), PATIENT), frames)
    return places


async def test_in_actual_size_each_pixel_of_the_canvas_is_the_services_own(service, stored, tab):
    await looking.open_at(tab, service, f"#{PATIENT}")
    kinds, worst = {}, {}
    for name, frame in [(name, frame) for name, (_, _, frames) in stored.items() for frame in frames]:
        uids, dicom_id, _ = stored[name]
        path = f"/patient/{PATIENT}/dicom/{dicom_id}?frame={frame}"
        status, _, png = service.request("GET", path, patient=PATIENT, accept="image/png")
        assert status == 200, (name, png)
        expected = as_pixels(png)
        await tab.evaluate(f"location.hash = {json.dumps('#' + '/'.join([PATIENT, *uids, str(frame)]))}")
        await looking.see(tab, uids[2], frame)
        await tab.press("a")
        await tab.evaluate(looking.TWO_PAINTS)
        kinds[name] = await tab.evaluate("document.querySelector('#stage').dataset.kind")
        worst[f"{name}, frame {frame}"] = await looking.apart_from(tab, expected)
    rendered = {name for name, kind in kinds.items() if kind != "grey"}
    assert rendered == {name for name in kinds if any(word in name for word in ("rgb", "ybr", "palette"))}
    assert {name: apart for name, apart in worst.items() if apart[0] > 1 or apart[1] > 3} == {}
    assert len(worst) >= 20


async def test_by_a_slow_network_a_small_picture_stands_for_a_frame_until_it_comes(service, tab):
    series = f"{ROOT_UID}.14.1400"
    ids = [service.upload(content, PATIENT) for _, content in ct_slices(40, 1400)]
    await looking.open_at(tab, service, f"#{PATIENT}")
    await tab.wait_for("document.querySelector('.series')")
    speed = {"downloadThroughput": 200_000, "uploadThroughput": -1}
    await tab.call("Network.emulateNetworkConditions", offline=False, latency=150, **speed)
    await tab.evaluate(f"location.hash = '#{PATIENT}/{ROOT_UID}.14/{series}/{series}.1/1'")
    await looking.see(tab, f"{series}.1")
    await tab.wait_for("document.querySelector('#slice').max === '40'", 30)
    await tab.press("a")
    await tab.press("ArrowRight", modifiers=SHIFT)  # a window of one's own, which the pictures have too
    await tab.evaluate(looking.TWO_PAINTS)
    window = await tab.evaluate("document.querySelector('#canvas').dataset.window")
    asked = f"{series}.40/frames/1/rendered?viewport=256,256&quality=70&window={window},linear"
    await tab.wait_for(f"performance.getEntriesByType('resource').some(({{ name }}) => name.endsWith('{asked}'))", 30)
    await tab.evaluate(KEEP_PREVIEW)
    await tab.press("Home")
    preview = await tab.wait_for("window.preview")
    await looking.see(tab, f"{series}.40")
    path = f"/patient/{PATIENT}/dicom/{ids[39]}?window={window}"
    expected = as_pixels(service.request("GET", path, patient=PATIENT, accept="image/png")[2])
    assert preview.startswith("data:image/png")
    assert 0 < (await looking.apart_from(tab, expected, "window.preview"))[0] < 8
    assert (await looking.apart_from(tab, expected))[1] <= 1


async def test_a_window_that_somebody_drags_is_the_services_own_too(service, stored, tab):
    uids, dicom_id, _ = stored["CT_small.dcm"]
    await looking.open_at(tab, service, f"#{'/'.join([PATIENT, *uids])}")
    await looking.see(tab)
    await tab.press("a")
    await tab.drag("#stage", 60, -25)
    await tab.evaluate(looking.TWO_PAINTS)
    window = await tab.evaluate("document.querySelector('#canvas').dataset.window")
    path = f"/patient/{PATIENT}/dicom/{dicom_id}?window={window}"
    _, headers, png = service.request("GET", path, patient=PATIENT, accept="image/png")
    assert headers["Dicom-Window-Source"] == "request"
    expected = as_pixels(png)
    assert (await looking.apart_from(tab, expected))[1] <= 1
    assert await looking.text_of(tab, "#corner-window") != ""
