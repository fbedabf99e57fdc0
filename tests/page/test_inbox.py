"""Inboxes: images asked for by a link, dropped by somebody else, and accepted or declined."""

import json

import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-inbox"
SERIES = f"{ROOT_UID}.18.1800"


def files_of(service):
    _, _, body = service.request("GET", f"/patient/{PATIENT}/dicom?fields=SOPInstanceUID", patient=PATIENT)
    return {each["sop_instance_uid"] for each in json.loads(body)["instances"]}


async def ask_for_images(tab, service):
    """Make an inbox, and give its link."""
    await looking.open_at(tab, service, f"#{PATIENT}")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    await tab.click("#shares-button")
    await tab.wait_for("document.querySelector('#no-shares').checkVisibility()")
    await tab.click("#ask-images")
    await tab.wait_for("document.querySelector('#share').open")


async def test_images_are_asked_for_dropped_by_the_link_accepted_and_declined(
    service, tab, other_browser, tmp_path, shoot
):
    await ask_for_images(tab, service)
    await tab.evaluate("document.querySelector('#share-files').value = ''")
    await looking.fill(tab, "#share-files", "5")
    meaning = await looking.text_of(tab, "#share-meaning")
    assert "can send up to 5 files, 5.0 GiB in all" in meaning
    assert "They see nothing of what is here." in meaning
    await looking.fill(tab, "#share-label", "from the clinic")
    await looking.check_everywhere(tab, shoot, "ask", "#share")
    await tab.click("#share-make")
    link = await tab.wait_for("document.querySelector('#share-link').value")
    await tab.click("#share-done")

    folder = tmp_path / "scan"
    folder.mkdir()
    for name, content in ct_slices(2, 1800):
        (folder / name).write_bytes(content)
    (folder / "other.dcm").write_bytes(written(placed(read("MR_small.dcm"), 1801, 1)))
    (folder / "letter.txt").write_text("Dear doctor")
    async with looking.guest_at(other_browser, link) as guest:
        await guest.wait_for("document.querySelector('#inbox').checkVisibility()")
        assert await guest.evaluate("location.href") == f"{service.url}/s"
        for hidden in ("#workplace", "#sign-in", "#shares-button", "#upload-menu", "#welcome"):
            assert not await looking.is_visible(guest, hidden), hidden
        await looking.check_everywhere(guest, shoot, "inbox")
        await guest.drop([folder])
        await guest.wait_for("!document.querySelector('#upload-result').hidden", 60)
        assert await looking.text_of(guest, "#upload-progress") == "3 sent, 1 left out"
        rows = await guest.evaluate("[...document.querySelectorAll('#upload-rows tr')].map(e => e.innerText)")
        assert [*sorted(row.split("\t")[:2] for row in rows[:-1]), rows[-1].split("\t")[:2]] == [
            *([f"scan/{name}", "Sent"] for name in ("other.dcm", "slice-001.dcm", "slice-002.dcm")),
            ["scan/letter.txt", "Left out"],
        ]
        # What came before stays in the table, and nothing says that it is there already.
        await guest.click("#upload-close")
        await guest.choose("#inbox-files", [folder / "slice-001.dcm"])
        await guest.wait_for("document.querySelectorAll('#upload-rows tr').length === 5")
        await looking.check_everywhere(guest, shoot, "inbox-sent")
        # A reload uses no other opening; the inbox is full by now.
        await looking.reload(guest)
        await guest.wait_for("document.querySelector('#inbox')?.checkVisibility()")
        (folder / "second.dcm").write_bytes(written(placed(read("MR_small.dcm"), 1801, 2)))
        (folder / "third.dcm").write_bytes(written(placed(read("MR_small.dcm"), 1801, 3)))
        await guest.choose("#inbox-files", [folder / "second.dcm"])
        await guest.wait_for("document.querySelectorAll('#upload-rows tr.sent').length === 1")
        await guest.choose("#inbox-files", [folder / "third.dcm"])
        await guest.wait_for("document.querySelectorAll('#upload-rows tr.refused').length === 1")
        assert "takes no more files" in await looking.text_of(guest, "#upload-rows tr.refused")

    # The list was there before anything came: it learns of it with the files.
    assert "0 of 5 files received" in await looking.text_of(tab, ".share")
    await tab.click(".share .answers button")
    await tab.wait_for("document.querySelectorAll('.came [data-file]').length === 4")
    said = await looking.text_of(tab, ".share")
    assert "from the clinic" in said
    assert "5 of 5 files received" in said
    assert "Opened once" in said
    assert "4 files wait for you to accept or decline them" in await looking.text_of(tab, ".came")
    await tab.wait_for("document.querySelector('.came').innerText.includes('Muster, Maria')")
    await tab.click(".share > .answers button:nth-child(2)")
    await tab.wait_for("document.querySelector('.uses').innerText.includes('Files sent')")
    await looking.check_everywhere(tab, shoot, "came", "#shares")

    # The series of two is accepted, one of the others declined, and the last looked at.
    of_series = ".came details:has([aria-label*=slice-001])"
    slow = {"latency": 500, "downloadThroughput": -1, "uploadThroughput": -1}
    await tab.call("Network.emulateNetworkConditions", offline=False, **slow)
    await tab.click(f"{of_series} > .answers button")
    await tab.wait_for("document.querySelector('.came').innerText.includes('Accepting: 2 files left')")
    assert await tab.evaluate("[...document.querySelectorAll('.came button:not(.link)')].every(e => e.disabled)")
    await tab.call("Network.emulateNetworkConditions", offline=False, **{**slow, "latency": 0})
    await tab.wait_for("document.querySelectorAll('.came [data-file]').length === 2")
    await tab.click(".came [data-file]:has([aria-label*=other]) .danger")
    await tab.wait_for("document.querySelector('#sure').open")
    assert "Decline 1 file?" in await looking.text_of(tab, "#sure-title")
    await tab.click("#sure-yes")
    await tab.wait_for("document.querySelectorAll('.came [data-file]').length === 1")
    assert "1 file waits for you to accept or decline it, 2 accepted, 1 declined" in await looking.text_of(tab, ".came")
    assert files_of(service) == {f"{SERIES}.1", f"{SERIES}.2", f"{ROOT_UID}.18.1801.2"}
    waits = await tab.evaluate("document.querySelector('.came [data-file]').dataset.file")
    await tab.click(".came [data-file] .link")
    await looking.see(tab, waits)
    await tab.wait_for("document.querySelectorAll('.series').length >= 1")
