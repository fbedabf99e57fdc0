"""A folder of slices from the first look to the last, with a real pointer and keys."""

import asyncio
import json

import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-journey"
SERIES = f"{ROOT_UID}.1/{ROOT_UID}.1.100"


@pytest.mark.parametrize("count", [24, pytest.param(200, marks=pytest.mark.long)])
async def test_a_folder_is_dropped_looked_at_searched_compared_and_deleted(
    service, browser, tab, tmp_path, shoot, count
):
    folder = tmp_path / "scan"
    folder.mkdir()
    for name, content in ct_slices(count):
        (folder / name).write_bytes(content)
    await tab.open(service.url)
    await tab.wait_for("document.activeElement.id === 'patient'")
    await tab.write(PATIENT)
    await tab.press("Enter")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    assert "no files yet" in await looking.text_of(tab, "#no-files")

    await tab.drop([folder])
    await tab.wait_for("!document.querySelector('#uploads').hidden")
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 120)
    assert await looking.text_of(tab, "#upload-progress") == f"{count} stored"
    assert await looking.count_of(tab, "#upload-rows tr") == count
    await tab.wait_for("document.querySelectorAll('.series').length === 1")
    await tab.wait_for(f"document.querySelector('.series').textContent.includes('{count} images')")
    await tab.click("#upload-close")

    # Position, not number, is the order: the slice with the last number lies first.
    await tab.click(".series")
    await looking.see(tab)
    await tab.wait_for(f"document.querySelector('#slice').max === '{count}'")
    await tab.press("Home")
    await looking.see(tab, f"{ROOT_UID}.1.100.{count}")
    await tab.wheel("#stage", 3)
    await looking.see(tab, f"{ROOT_UID}.1.100.{count - 3}")
    await tab.press("ArrowUp")
    await looking.see(tab, f"{ROOT_UID}.1.100.{count - 2}")
    await tab.press("End")
    await looking.see(tab, f"{ROOT_UID}.1.100.1")
    await tab.wait_for(f"location.hash === {json.dumps(f'#{PATIENT}/{SERIES}/{ROOT_UID}.1.100.1/1')}")

    before = await tab.evaluate("document.querySelector('#canvas').dataset.window")
    await tab.drag("#stage", 80, 40)
    await tab.evaluate(looking.TWO_PAINTS)
    after = await tab.evaluate("document.querySelector('#canvas').dataset.window")
    assert float(after.split(",")[1]) > float(before.split(",")[1])
    assert float(after.split(",")[0]) > float(before.split(",")[0])
    await shoot(tab, "viewer")

    await tab.press("/")
    await tab.write("SliceThickness=..2")
    await tab.press("Enter")
    await tab.wait_for(f"document.querySelectorAll('#hits-table tbody tr').length === {count // 2}")
    cells = await tab.evaluate(
        "[...new Set([...document.querySelectorAll('#hits-table td:nth-child(2)')].map(e => e.innerText))]"
    )
    assert cells == ["1.5"]
    link = await tab.evaluate("document.querySelector('#hits-table tbody a').href")

    async with browser.open_tab() as fresh:
        await fresh.resize(1400, 900)
        await fresh.open(link)
        instance = link.split("/")[-2]
        await looking.see(fresh, instance)
        await fresh.wait_for(f"document.querySelector('#slice').max === '{count}'")
        await fresh.wait_for("document.querySelector('#tree .tag')")

        await fresh.press("c")
        await fresh.wait_for("!document.querySelector('#pinned').hidden")
        await fresh.press("ArrowDown")
        await fresh.wait_for("document.querySelectorAll('.differences tbody tr').length > 3")
        different = await fresh.evaluate(
            "[...document.querySelectorAll('.differences tbody th')].map(e => e.innerText)"
        )
        assert {"SOPInstanceUID", "InstanceNumber", "ImagePositionPatient", "SliceLocation"} <= set(different)
        assert "PatientName" not in different
        await shoot(fresh, "compare")

        await fresh.click("#more-menu summary")
        await fresh.click("[data-does=delete][data-level=series]")
        await fresh.wait_for("document.querySelector('#sure').open")
        assert f"{count} files will be removed for good" in await looking.text_of(fresh, "#sure-meaning")
        await fresh.click("#sure-no")
        await asyncio.sleep(0.2)
        assert await looking.count_of(fresh, ".series") == 1
        await fresh.click("#more-menu summary")
        await fresh.click("[data-does=delete][data-level=series]")
        await fresh.wait_for("document.querySelector('#sure').open")
        await fresh.click("#sure-yes")
        await fresh.wait_for("!document.querySelector('#no-files').hidden", 60)
        assert await looking.text_of(fresh, "#notice") == f"{count} files deleted."
        assert fresh.complaints == []
    _, _, body = service.request("GET", f"/patient/{PATIENT}/dicom", patient=PATIENT)
    assert json.loads(body)["instances"] == []
