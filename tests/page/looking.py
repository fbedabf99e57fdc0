"""What the tests do at the page again and again."""

import base64
import io
import json
from contextlib import asynccontextmanager

import numpy as np
from PIL import Image

from tests.page.modules import find_module

SHOWN = "document.querySelector('#canvas').dataset.shown"
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
VISIBLE = "[...document.querySelectorAll({})].some(e => e.checkVisibility())"
TWO_PAINTS = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"


async def open_at(tab, service, address):
    """Go to an address of the page."""
    await tab.open(f"{service.url}/{address}")
    await tab.wait_for("document.readyState === 'complete'")


async def reload(tab):
    """Load the page again, and come back when the new document is there: the old one may show what is awaited."""
    await tab.evaluate("window.isOld = true")
    await tab.call("Page.reload")
    await tab.wait_for("!window.isOld && document.readyState === 'complete'")


async def see(tab, instance="", frame=1):
    """Wait until the canvas shows a frame of an instance, or anything."""
    wanted = f" === {f'{instance}/{frame}'!r}" if instance else ""
    await tab.wait_for(f"{SHOWN}{wanted}")
    await tab.evaluate(TWO_PAINTS)


async def see_finely(tab):
    """Wait until nothing moves any more, and the picture is drawn as finely as it can be."""
    await tab.evaluate(TWO_PAINTS)
    await tab.wait_for("document.querySelector('#canvas').dataset.drawn === 'finely'")


async def text_of(tab, selector):
    return await tab.evaluate(f"document.querySelector({selector!r})?.innerText ?? null")


async def count_of(tab, selector):
    return await tab.evaluate(f"document.querySelectorAll({selector!r}).length")


async def apart_from(tab, expected, canvas="document.querySelector('#canvas').toDataURL('image/png')"):
    """How far the canvas, in actual size, is from a picture: the mean and the largest difference."""
    data = await tab.evaluate(f"{canvas}.split(',')[1]")
    whole = np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"), np.int16)
    parts = []
    for shown, there in zip(whole.shape[:2], expected.shape[:2], strict=True):
        first = int(np.floor((shown - there) / 2 + 0.5))  # of the canvas, where the picture begins
        begin, end = max(first, 0), min(first + there, shown)
        parts.append((slice(begin, end), slice(begin - first, end - first)))
    (rows, own_rows), (columns, own_columns) = parts
    apart = np.abs(whole[rows, columns] - expected[own_rows, own_columns])
    return float(apart.mean()), int(apart.max())


async def catch_downloads(tab):
    """Have the page keep what it would save."""
    await tab.evaluate(
        "window.saved = []; const blobs = new Map(); const make = URL.createObjectURL;"
        "URL.createObjectURL = (blob) => { const url = make(blob); blobs.set(url, blob); return url; };"
        "HTMLAnchorElement.prototype.click = function () { saved.push([this.download, blobs.get(this.href)]); }"
    )


async def downloaded(tab):
    """The name and the bytes of what was saved next."""
    await tab.wait_for("saved.length === 1", 30)
    content = await tab.evaluate("saved[0][1].bytes().then((bytes) => bytes.toBase64())")
    return await tab.evaluate("saved.pop()[0]"), base64.b64decode(content)


async def check(tab, within="html"):
    """Ask axe-core, of the whole page or only of what is new in it."""
    if not await tab.evaluate("!!window.axe"):
        await tab.evaluate((find_module("axe-core") / "axe.min.js").read_text() + ";true")
    found = await tab.evaluate(
        f"axe.run({json.dumps(within)}, {{ resultTypes: ['violations'] }}).then(({{ violations }}) =>"
        "JSON.stringify(violations.map(({ id, nodes }) =>"
        "[id, ...nodes.slice(0, 3).map((node) => node.html.slice(0, 160) +"
        "node.any.map((e) => e.message).join())])))"
    )
    assert json.loads(found) == []
    assert await tab.evaluate(OVERFLOW) == 0


async def check_everywhere(tab, shoot, name, within="html"):
    """Ask axe-core in light, and in dark on a phone; and leave a picture of each."""
    await check(tab, within)
    await shoot(tab, name)
    await tab.prefer("dark")
    await shoot(tab, f"{name}-dark")
    await tab.resize(360, 760, phone=True)
    await tab.evaluate(TWO_PAINTS)
    await check(tab, within)
    await shoot(tab, f"{name}-phone")
    await tab.prefer("light")
    await tab.resize(1400, 900)
    await tab.evaluate(TWO_PAINTS)


async def fill(tab, selector, written_text):
    await tab.evaluate(f"document.querySelector({selector!r}).focus()")
    await tab.write(written_text)


async def is_visible(tab, selector):
    return await tab.evaluate(VISIBLE.format(json.dumps(selector)))


@asynccontextmanager
async def guest_at(other_browser, link):
    """Somebody else's tab at a link."""
    async with other_browser.open_tab() as guest:
        await guest.resize(1400, 900)
        await guest.open(link)
        yield guest
        refused = ("401", "404", "status of 401", "status of 404")
        assert [each for each in guest.complaints if not any(word in each for word in refused)] == []
