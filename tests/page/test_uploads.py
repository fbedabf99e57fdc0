"""Uploads: what became of each file, and what one should know."""

import asyncio

import pytest

from tests.page import looking
from tests.page.made import ct_slices

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def send(tab, files, field="#choose-files"):
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    await tab.choose(field, files)
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 60)


def put(folder, files):
    folder.mkdir(exist_ok=True)
    paths = []
    for name, content in files:
        (folder / name).write_bytes(content)
        paths.append(folder / name)
    return paths


async def test_what_became_of_each_file_is_a_table_that_can_be_saved(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-upload")
    files = put(tmp_path / "one", [*ct_slices(3, 800), ("letter.txt", b"Dear doctor, " * 40), ("=1+1.dcm", b"")])
    await send(tab, files)
    assert await looking.text_of(tab, "#upload-progress") == "3 stored, 2 refused"
    first = await tab.evaluate("[...document.querySelectorAll('#upload-rows tr')].map(e => e.children[1].innerText)")
    assert first == ["Refused", "Refused", "Stored", "Stored", "Stored"]
    reasons = await tab.evaluate(
        "[...document.querySelectorAll('#upload-rows .refused td:last-child')].map(e => e.innerText)"
    )
    assert all(reasons)
    await tab.evaluate("URL.createObjectURL = (blob) => { window.saved = blob; return ''; }")
    await tab.click("#upload-save")
    table = (await tab.evaluate("window.saved.text()")).splitlines()
    assert table[0].endswith("file,bytes,outcome,reason,dicom_id")
    assert len(table) == 6
    assert any(line.startswith("'=1+1.dcm") for line in table)
    await asyncio.sleep(1.1)  # the service's clock tells seconds
    await send(tab, files[:3])
    await tab.wait_for("document.querySelector('#upload-progress').innerText === '3 already there'")


async def test_files_that_name_another_patient_are_pointed_at(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-other")
    mine = put(tmp_path / "mine", ct_slices(4, 801, PatientName="Muster^Maria", PatientID="1"))
    theirs = [
        path.rename(path.with_name("other.dcm"))
        for path in put(tmp_path / "theirs", ct_slices(1, 802, PatientName="Doe^John", PatientID="2"))
    ]
    await send(tab, mine + theirs)
    warning = await looking.text_of(tab, "#upload-warning")
    assert warning.startswith("1 file names another patient than the rest, who is Muster, Maria, 1.")
    assert "Doe, John, 2" in await looking.text_of(tab, "#upload-rows tr:first-child")


async def test_a_folder_is_chosen_and_an_upload_is_cancelled(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-cancel")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    put(tmp_path / "many", ct_slices(60, 803))
    await tab.call(
        "Network.emulateNetworkConditions", offline=False, latency=50, downloadThroughput=-1, uploadThroughput=200_000
    )
    await tab.choose("#choose-folder", [tmp_path / "many"])
    await tab.wait_for("document.querySelector('#upload-progress').innerText.includes('of 60 files')")
    leaving = "!dispatchEvent(new Event('beforeunload', { cancelable: true }))"
    assert await tab.evaluate(leaving)
    await tab.wait_for("document.querySelector('#upload-progress').innerText.includes('left')", 30)
    await tab.click("#upload-cancel")
    await tab.wait_for("!document.querySelector('#upload-result').hidden")
    assert "not sent" in await looking.text_of(tab, "#upload-progress")
    assert not await tab.evaluate(leaving)
    # What was cut off is what was asked for, and no complaint.
    tab.complaints.clear()
