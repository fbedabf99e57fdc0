"""Uploads: what became of each file, and what one should know."""

import asyncio
import csv
import io
import json
import zipfile

import pytest

from tests.page import looking
from tests.page.made import content_of, ct_slices

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def send(tab, files, field="#choose-files"):
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    await tab.choose(field, files)
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 60)


async def catch_table(tab):
    """Have the page keep the table that it would save; thumbnails that come meanwhile are none."""
    await tab.evaluate(
        "URL.createObjectURL = (blob) => { if (blob.type === 'text/csv') window.saved = blob; return ''; }"
    )


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
    await catch_table(tab)
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
    assert warning.startswith("1 file names a different patient from the rest, who is Muster, Maria, 1.")
    assert "Doe, John, 2" in await looking.text_of(tab, "#upload-rows tr:first-child")


def pack(path, members):
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


async def outcomes_of(tab):
    """What the table says, by the names of files."""
    rows = await tab.evaluate(
        "[...document.querySelectorAll('#upload-rows tr')].map(row => [...row.children].map(e => e.innerText))"
    )
    return {name: (outcome, reason) for name, outcome, reason in rows}


async def test_of_a_zip_each_member_has_its_line_beside_the_files_that_came_alone(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-zip")
    slices = dict(ct_slices(4, 804))
    names = list(slices)
    damaged = bytearray(pack(tmp_path / "disc.zip", [("DICOM/a.dcm", slices[names[0]])]).read_bytes())
    disc = pack(
        tmp_path / "disc.zip",
        [
            ("DICOMDIR", content_of("DICOMDIR")),
            *((f"DICOM/{name}", slices[name]) for name in names[:3]),
            ("autorun.exe", b"MZ" + bytes(500)),
            ("DICOM/empty.dcm", b""),
        ],
    )
    damaged[len(damaged) // 3] ^= 0xFF
    broken = tmp_path / "broken.zip"
    broken.write_bytes(damaged)
    false = tmp_path / "false.zip"
    false.write_bytes(b"no ZIP at all" * 50)
    single = put(tmp_path / "single", [(names[3], slices[names[3]])])
    await send(tab, [disc, broken, false, *single])
    assert await looking.text_of(tab, "#upload-progress") == "4 stored, 3 refused, 2 left out"
    outcomes = await outcomes_of(tab)
    assert {name: outcome for name, (outcome, _) in outcomes.items()} == {
        "disc.zip/DICOMDIR": "Left out",
        **{f"disc.zip/DICOM/{name}": "Stored" for name in names[:3]},
        "disc.zip/autorun.exe": "Left out",
        "disc.zip/DICOM/empty.dcm": "Refused",
        "broken.zip/DICOM/a.dcm": "Refused",
        "false.zip": "Refused",
        names[3]: "Stored",
    }
    assert "checksum" in outcomes["broken.zip/DICOM/a.dcm"][1]
    assert all(reason for outcome, reason in outcomes.values() if outcome != "Stored")
    await tab.wait_for("document.querySelector('.series')?.textContent.includes('4 images')")
    await catch_table(tab)
    await tab.click("#upload-save")
    table = list(csv.reader(io.StringIO((await tab.evaluate("window.saved.text()")).lstrip("\ufeff"))))
    assert table[0] == ["file", "bytes", "outcome", "reason", "dicom_id"]
    assert {row[0]: row[2] for row in table[1:]} == {name: outcome for name, (outcome, _) in outcomes.items()}
    assert all(len(row[4]) == 36 for row in table[1:] if row[2] == "Stored")
    tab.complaints.clear()

    await send(tab, [disc])
    await tab.wait_for("document.querySelector('#upload-progress').innerText.startsWith('3 already there')")


async def test_a_zip_that_ends_early_is_not_called_stored(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-zip-cut")
    disc = pack(tmp_path / "disc.zip", ct_slices(3, 805))
    disc.write_bytes(disc.read_bytes()[:-50_000])
    await send(tab, [disc])
    outcomes = await outcomes_of(tab)
    assert outcomes["disc.zip"][0] == "Not complete"
    assert "Send the ZIP again" in outcomes["disc.zip"][1]
    assert outcomes["disc.zip/slice-001.dcm"][0] == "Stored"
    assert "1 ZIP not complete" in await looking.text_of(tab, "#upload-progress")
    await tab.wait_for("document.querySelector('.series')")


async def test_members_that_name_another_patient_are_pointed_at(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-zip-other")
    mine = ct_slices(3, 806, PatientName="Muster^Maria", PatientID="1")
    theirs = [(f"other-{name}", content) for name, content in ct_slices(1, 807, PatientName="Doe^John", PatientID="2")]
    await send(tab, [pack(tmp_path / "both.zip", [*mine, *theirs])])
    assert "1 file names a different patient from the rest" in await looking.text_of(tab, "#upload-warning")
    assert "Doe, John, 2" in (await outcomes_of(tab))["both.zip/other-slice-001.dcm"][1]


async def test_what_lies_beside_the_images_on_a_disc_is_left_out(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-disc")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    disc = tmp_path / "disc"
    put(disc, [
        *ct_slices(2, 811), ("DICOMDIR", content_of("DICOMDIR")), ("LIST.BIN", content_of("DICOMDIR")),
        ("VIEWER.EXE", b"MZ" * 100), ("AUTORUN.INF", b"[autorun]"), ("README", b"Dear patient"), ("IM000003", b""),
    ])  # fmt: skip
    await tab.choose("#choose-folder", [disc])
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 60)
    assert await looking.text_of(tab, "#upload-progress") == "2 stored, 1 refused, 5 left out"
    outcomes = {path: outcome for path, (outcome, _) in (await outcomes_of(tab)).items()}
    assert outcomes["disc/IM000003"] == "Refused"
    assert outcomes["disc/DICOMDIR"] == "Left out"
    _, _, body = service.request("GET", "/patient/p-disc/dicom", patient="p-disc")
    assert {each["file_name"] for each in json.loads(body)["instances"]} == {"slice-001.dcm", "slice-002.dcm"}


async def test_nothing_of_one_patient_is_shown_beside_another(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-beside")
    await send(tab, put(tmp_path / "beside", ct_slices(1, 808)))
    await tab.click(".series")
    await looking.see(tab)
    await tab.wait_for("document.querySelector('#tree .tag')")
    await tab.click("#pin")
    await tab.wait_for("!document.querySelector('#pinned').hidden")
    await tab.evaluate("location.hash = '#p-beside-other'")
    await tab.wait_for("document.querySelector('#patient').value === 'p-beside-other'")
    assert not await looking.is_visible(tab, "#uploads")
    assert await tab.evaluate("document.querySelector('#pinned').hidden")


async def test_files_of_two_patients_are_not_uploaded_together(service, tab, tmp_path):
    await looking.open_at(tab, service, "#p-one")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    slow = {"latency": 50, "downloadThroughput": -1, "uploadThroughput": 200_000}
    await tab.call("Network.emulateNetworkConditions", offline=False, **slow)
    await tab.choose("#choose-files", put(tmp_path / "one", ct_slices(12, 809)))
    await tab.wait_for("document.querySelector('#upload-progress').innerText.includes('of 12 files')")
    await tab.evaluate("location.hash = '#p-two'")
    await tab.wait_for("document.querySelector('#patient').value === 'p-two'")
    await tab.choose("#choose-files", put(tmp_path / "two", ct_slices(1, 810)))
    await tab.wait_for("document.querySelector('#notice').innerText.includes('still being uploaded for p-one')")
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 60)
    assert await looking.text_of(tab, "#upload-progress") == "12 stored"
    for patient, count in (("p-one", 12), ("p-two", 0)):
        _, _, body = service.request("GET", f"/patient/{patient}/dicom", patient=patient)
        assert len(json.loads(body)["instances"]) == count


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
