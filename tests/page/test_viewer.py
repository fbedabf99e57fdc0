"""The picture: its order, sizes, windows and values, by pointer and by keys."""

import copy
import io
import zipfile

import pydicom
import pytest
from chromium import CONTROL, SHIFT

from tests.page import looking
from tests.page.made import ROOT_UID, ct_slices, enhanced, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-viewer"
CT = f"{PATIENT}/{ROOT_UID}.3/{ROOT_UID}.3.300"
WINDOWS = {"WindowCenter": [40, -600], "WindowWidth": [400, 1500], "WindowCenterWidthExplanation": ["SOFT", "LUNG"]}

HOLD_AN_ANSWER = """(ending) => {
  const ask = window.fetch;
  const passed = new Promise((resolve) => { window.letPass = resolve; });
  window.fetch = async (path, ...given) => {
    const answer = ask(path, ...given);
    if (window.isHeld || !new URL(path, location).pathname.endsWith(ending)) return answer;
    window.isHeld = true;
    await passed;
    return answer;
  };
}"""
"""Holds the first answer to a path of that ending until `letPass()`."""


@pytest.fixture(scope="module")
def stored(service):
    """A series of 12 slices, three frames, a picture in colour, and what has no pixels."""
    for _, content in ct_slices(12, 300, **WINDOWS):
        service.upload(content, PATIENT)
    for number, dataset in enumerate(
        (enhanced(read("CT_small.dcm")), read("examples_rgb_color.dcm"), read("rtplan.dcm")), 400
    ):
        service.upload(written(placed(dataset, number, 1)), PATIENT)
    return service


async def open_ct(tab, service, number=1):
    await looking.open_at(tab, service, f"#{CT}/{ROOT_UID}.3.300.{number}/1")
    await looking.see(tab, f"{ROOT_UID}.3.300.{number}")
    await tab.wait_for("document.querySelector('#slice').max === '12'")


async def shown(tab, name):
    await tab.evaluate(looking.TWO_PAINTS)
    return await tab.evaluate(f"document.querySelector('#canvas').dataset.{name}")


async def test_letters_values_and_a_scale_bar_say_what_one_sees(stored, tab):
    await open_ct(tab, stored)
    letters = await tab.evaluate(
        "['left', 'right', 'top', 'bottom'].map(e => document.querySelector(`#letter-${e}`).innerText)"
    )
    assert letters == ["R", "L", "A", "P"]
    left, top, width, height = await tab.place_of("#stage")
    await tab.point("mouseMoved", left + width / 2, top + height / 2)
    place, _, value = (await looking.text_of(tab, "#value")).partition(": ")
    column, row = map(int, place.split(", "))
    assert {column, row} <= {63, 64}
    pixels = pydicom.dcmread(io.BytesIO(next(ct_slices(1, 300))[1])).pixel_array
    assert value == f"{pixels[row, column] - 1024:,} HU"
    assert (await looking.text_of(tab, "#scale-bar")).endswith(("mm", "cm"))


async def test_the_files_own_windows_are_offered_by_their_explanations(stored, tab):
    await open_ct(tab, stored)
    options = await tab.evaluate("[...document.querySelectorAll('#voi option')].filter(e => e.value).map(e => e.label)")
    assert options[:4] == ["SOFT", "LUNG", "Soft tissue", "Lung"]
    assert await shown(tab, "window") == "40,400"
    await tab.press("2")
    assert await shown(tab, "window") == "-600,1500"
    await tab.press("ArrowDown")
    assert await shown(tab, "window") == "-600,1500"
    await tab.press("ArrowRight", modifiers=SHIFT)
    assert await shown(tab, "window") == "-600,1650"
    assert await tab.evaluate("document.querySelector('#voi').selectedOptions[0].label") == "By hand"
    await tab.press("r")
    assert await shown(tab, "window") == "40,400"


async def test_zoom_move_invert_and_texts_have_keys_and_buttons(stored, tab):
    await open_ct(tab, stored)
    fitting = await looking.text_of(tab, "#corner-window")
    await tab.press("+")
    await tab.evaluate(looking.TWO_PAINTS)
    assert await looking.text_of(tab, "#corner-window") != fitting
    await tab.wheel("#stage", -2, modifiers=CONTROL)
    await tab.click("#fit")
    await tab.evaluate(looking.TWO_PAINTS)
    assert await looking.text_of(tab, "#corner-window") == fitting
    middle = (
        "[...document.querySelector('#canvas').getContext('2d').getImageData(300, 300, 1, 1).data].slice(0, 3).join()"
    )
    await looking.see_finely(tab)
    before = await tab.evaluate(middle)
    await tab.press("i")
    await looking.see_finely(tab)
    assert await tab.evaluate(middle) == ",".join(str(255 - int(part)) for part in before.split(","))
    assert await tab.evaluate("document.querySelector('#invert').ariaPressed") == "true"
    await tab.press("i")
    await tab.drag("#stage", 120, 0, button="middle")
    await looking.see_finely(tab)
    assert await tab.evaluate(middle) != before
    await tab.press("o")
    assert await tab.evaluate("getComputedStyle(document.querySelector('#corner-patient')).display") == "none"


async def test_two_fingers_zoom_and_one_scrolls(stored, tab):
    await tab.resize(390, 780, phone=True)
    await open_ct(tab, stored, 6)
    fitting = await looking.text_of(tab, "#corner-window")
    left, top, width, height = await tab.place_of("#stage")
    x, y = left + width / 2, top + height / 2

    async def touch(kind, *points):
        await tab.call(
            "Input.dispatchTouchEvent",
            type=kind,
            touchPoints=[{"x": a, "y": b, "id": n} for n, (a, b) in enumerate(points)],
        )

    await touch("touchStart", (x - 20, y), (x + 20, y))
    await touch("touchMove", (x - 60, y), (x + 60, y))
    await touch("touchEnd")
    await tab.evaluate(looking.TWO_PAINTS)
    assert await looking.text_of(tab, "#corner-window") != fitting
    await touch("touchStart", (x, y))
    for step in range(1, 4):
        await touch("touchMove", (x, y + 10 * step))
    await touch("touchEnd")
    await looking.see(tab, f"{ROOT_UID}.3.300.4")


async def test_frames_have_windows_of_their_own_and_play(stored, tab):
    await looking.open_at(tab, stored, f"#{PATIENT}/{ROOT_UID}.4/{ROOT_UID}.4.400")
    instance = f"{ROOT_UID}.4.400.1"
    await looking.see(tab, instance, 1)
    assert await shown(tab, "window") == "100,500"
    await tab.press("ArrowDown")
    await looking.see(tab, instance, 2)
    assert await shown(tab, "window") == "150,900"
    assert "Frame 2 of 3" in await looking.text_of(tab, "#corner-slice")
    await tab.click("#play")
    for frame in (3, 1, 2):
        await looking.see(tab, instance, frame)
    await tab.press("Escape")
    await tab.click("#play")
    assert await tab.evaluate("document.querySelector('#play').ariaPressed") == "false"


async def test_an_image_its_series_and_its_study_are_downloaded_as_they_came(stored, tab):
    await open_ct(tab, stored, 2)
    await looking.catch_downloads(tab)
    originals = {content for _, content in ct_slices(12, 300, **WINDOWS)}

    async def download(does, level):
        await tab.click("#more-menu summary")
        await tab.click(f"[data-does={does}][data-level={level}]")
        return await looking.downloaded(tab)

    name, content = await download("download", "image")
    assert name == "unnamed.dcm"
    assert content in originals
    for does, level, expected in (
        ("download", "series", "series.zip"), ("download", "study", "study.zip"), ("disc", "series", "disc.zip"),
    ):  # fmt: skip
        name, content = await download(does, level)
        assert name == expected
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            assert originals <= {archive.read(entry) for entry in archive.namelist()}
            assert ("DICOMDIR" in archive.namelist()) == (does == "disc")


async def test_colour_has_no_window_and_what_has_no_pixels_says_so(stored, tab):
    await looking.open_at(tab, stored, f"#{PATIENT}/{ROOT_UID}.4/{ROOT_UID}.4.401")
    await looking.see(tab, f"{ROOT_UID}.4.401.1")
    assert await tab.evaluate("document.querySelector('#voi').disabled")
    await tab.evaluate(f"location.hash = '#{PATIENT}/{ROOT_UID}.4/{ROOT_UID}.4.402'")
    await tab.wait_for("document.querySelector('#stage-message').innerText.startsWith('This file has no picture.')")
    await tab.wait_for("document.querySelector('#tree').innerText.includes('RTPlanLabel')")


async def test_a_series_without_a_description_is_called_by_its_number(service, tab):
    service.upload(written(placed(read("MR_small.dcm"), 410, 1)), "p-untitled")
    await looking.open_at(tab, service, f"#p-untitled/{ROOT_UID}.4/{ROOT_UID}.4.410")
    await looking.see(tab)
    assert (await looking.text_of(tab, "#corner-series")).splitlines()[0] == "Series 410"


async def test_a_patient_without_files_is_not_told_to_choose_a_series(service, tab):
    await looking.open_at(tab, service, "#p-nobody")
    await tab.wait_for("document.querySelector('#no-files').checkVisibility()")
    assert not await looking.is_visible(tab, "#nothing-chosen")


async def test_the_question_mark_shows_the_keys(stored, tab):
    await open_ct(tab, stored)
    await tab.press("?")
    await tab.wait_for("document.querySelector('#help').open")
    assert "Next image" in await looking.text_of(tab, "#help-body")
    await tab.press("Escape")
    await tab.wait_for("!document.querySelector('#help').open")


async def test_a_file_without_uids_has_a_list_and_a_picture(service, tab):
    dataset = copy.deepcopy(read("CT_small.dcm"))
    del dataset.StudyInstanceUID
    dicom_id = service.upload(written(dataset), "p-alone")
    await looking.open_at(tab, service, "#p-alone")
    await tab.click("#files a")
    await looking.see(tab, dicom_id, 1)
    await tab.wait_for(f"location.hash === '#p-alone/{dicom_id}/1'")
    await tab.wait_for("document.querySelector('#tree .tag')")
    assert await tab.evaluate("document.querySelector('[data-does=delete][data-level=series]').hidden")


async def test_back_and_a_reload_come_to_the_same_picture(stored, tab):
    await open_ct(tab, stored, 5)
    await tab.evaluate(f"location.hash = '#{PATIENT}/{ROOT_UID}.4/{ROOT_UID}.4.401'")
    await looking.see(tab, f"{ROOT_UID}.4.401.1")
    await tab.evaluate("history.back()")
    await looking.see(tab, f"{ROOT_UID}.3.300.5")
    await looking.reload(tab)
    await looking.see(tab, f"{ROOT_UID}.3.300.5")


@pytest.mark.parametrize("late", ["/token", "/series"])
@pytest.mark.parametrize("other", [PATIENT, "p-nobody"])
async def test_an_answer_that_comes_after_one_has_gone_elsewhere_changes_nothing(stored, tab, late, other):
    wanted = f"{ROOT_UID}.3.300.7"
    if other == PATIENT:
        await looking.open_at(tab, stored, "")
    else:
        await open_ct(tab, stored)
    await tab.evaluate(f"({HOLD_AN_ANSWER})({late!r})")
    await tab.evaluate(f"location.hash = '#{other}'")
    await tab.wait_for("window.isHeld")
    await tab.evaluate(f"location.hash = '#{CT}/{wanted}/1'")
    await looking.see(tab, wanted)
    await tab.evaluate("letPass(); new Promise(done => setTimeout(() => done(true), 300))")
    assert await shown(tab, "shown") == f"{wanted}/1"
    assert await tab.evaluate("location.hash") == f"#{CT}/{wanted}/1"
    assert await looking.count_of(tab, f"[data-series='{ROOT_UID}.3.300'] [aria-current]") == 1
    assert await tab.evaluate("document.querySelector('#patient').value") == PATIENT


async def test_series_unfold_by_instance_number(stored, tab):
    await looking.open_at(tab, stored, f"#{PATIENT}/{ROOT_UID}.3")
    await looking.see(tab)
    await tab.click(f"[data-series='{ROOT_UID}.3.300'] .fold")
    await tab.wait_for("document.querySelectorAll('.images [data-instance]').length === 12")
    names = await tab.evaluate(
        "[...document.querySelectorAll('.images [data-instance] span:first-child')].map(e => e.textContent)"
    )
    assert names == [f"Image {number}" for number in range(1, 13)]
    # A thumbnail that comes moves the rows below it, and a click would meet another one.
    await tab.wait_for("[...document.images].every(image => image.complete)")
    await tab.click(f"[data-instance='{ROOT_UID}.3.300.9']")
    await looking.see(tab, f"{ROOT_UID}.3.300.9")


async def test_a_patient_id_with_outer_spaces_is_refused_with_a_word(service, tab):
    await tab.open(service.url)
    await tab.wait_for("document.activeElement.id === 'patient'")
    await tab.write(" p-17")
    await tab.press("Enter")
    await tab.wait_for("document.querySelector('#notice').innerText.includes('with a space')")
    assert await tab.evaluate("document.querySelector('#workplace').hidden")
