"""The canvas shows what the service itself renders."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from tests.page import looking
from tests.page.made import pictures, placed, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-pixels"


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
        expected = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)
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
    expected = np.asarray(Image.open(io.BytesIO(png)).convert("RGB"), np.int16)
    assert (await looking.apart_from(tab, expected))[1] <= 1
    assert await looking.text_of(tab, "#corner-window") != ""
