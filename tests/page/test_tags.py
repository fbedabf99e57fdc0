"""The tags of what is shown."""

import json

import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, content_of, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-tags"


@pytest.fixture(scope="module")
def stored(service):
    service.upload(written(placed(read("CT_small.dcm"), 700, 1)), PATIENT)
    service.upload(written(placed(read("rtplan.dcm"), 701, 1)), PATIENT)
    return service


async def open_tags(tab, service, series=700):
    await looking.open_at(tab, service, f"#{PATIENT}/{ROOT_UID}.7/{ROOT_UID}.7.{series}")
    await tab.wait_for("document.querySelector('#tree .tag')")


async def found(tab, typed):
    await tab.evaluate(
        "(e => { e.value = ''; e.dispatchEvent(new Event('input')); })(document.querySelector('#tag-search'))"
    )
    await tab.wait_for("!document.querySelector('#tag-count').innerText.includes(' of ')")
    await tab.click("#tag-search")
    await tab.write(typed)
    await tab.wait_for("document.querySelector('#tag-count').innerText.includes(' of ')")
    return await tab.evaluate("[...document.querySelectorAll('#tree .keyword')].map(e => e.textContent)")


@pytest.mark.parametrize("typed", ["0018,0050", "(0018,0050)", "00180050", "slice thick"])
async def test_a_tag_is_found_by_its_number_in_any_form_and_by_words(stored, tab, typed):
    await open_tags(tab, stored)
    assert "SliceThickness" in await found(tab, typed)
    assert await looking.count_of(tab, "#tree .tag") < 4


async def test_a_value_finds_its_tag(stored, tab):
    await open_tags(tab, stored)
    assert "PatientName" in await found(tab, "CompressedSamples^CT1")


async def test_uids_have_names_and_dates_are_for_people_with_the_files_own_text_on_hover(stored, tab):
    await open_tags(tab, stored)
    await found(tab, "StudyDate")
    value = "document.querySelector('#tree .value span')"
    assert await tab.evaluate(f"[{value}.innerText, {value}.title].join('|')") == "Jan 19, 2004|20040119"
    await found(tab, "0008,0016")
    assert (await looking.text_of(tab, "#tree .value")).startswith("CT Image Storage")


async def test_a_sequence_unfolds_and_its_paths_are_there_to_copy(stored, tab):
    await open_tags(tab, stored, 701)
    await tab.evaluate(
        "[...document.querySelectorAll('.sequence')].find(e => e.innerText.includes('BeamSequence')).open = true"
    )
    await tab.wait_for("document.querySelector('.sequence[open] .item')")
    await found(tab, "BeamSequence[0].BeamName")
    await tab.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    await tab.click("#tree .more")
    written_as = await tab.evaluate("[...document.querySelectorAll('.paths code')].map(e => e.innerText)")
    assert written_as == [
        "BeamSequence[0].BeamName", "BeamSequence.BeamName", '"dataset.BeamSequence.Value.0.BeamName.Value"',
    ]  # fmt: skip
    await tab.click(".paths button")
    assert await tab.wait_for("window.copied") == "BeamSequence[0].BeamName"


async def test_every_path_that_is_copied_is_one_that_the_service_takes(stored, tab):
    _, _, body = stored.request("GET", f"/patient/{PATIENT}/dicom", patient=PATIENT)
    await open_tags(tab, stored)
    for instance in json.loads(body)["instances"]:
        tags = f"/patient/{PATIENT}/dicom/{instance['dicom_id']}/tags"
        listed = json.loads(stored.request("GET", tags, patient=PATIENT)[2])
        paths = await tab.evaluate(
            "import('/static/page/elements.js').then(({ flatten, pathsFor }) =>"
            f"flatten({json.dumps(listed)}).map(({{ path }}) => pathsFor(path)))"
        )
        assert len(paths) > 50
        for path in paths[:: len(paths) // 25] + [path for path in paths if ":" in path["api"]][:5]:
            quoted = path["api"].replace("%", "%25").replace(" ", "%20").replace("[", "%5B").replace("]", "%5D")
            assert stored.request("GET", f"{tags[:-1]}/{quoted}", patient=PATIENT)[0] == 200, path
            query = path["search"].replace("%", "%25").replace(" ", "%20").replace(":", "%3A")
            status, _, hits = stored.request("GET", f"/patient/{PATIENT}/dicom?{query}=!!", patient=PATIENT)
            assert status == 200, path
            assert json.loads(hits)["instances"], path


async def test_what_is_wrong_with_a_file_is_told_with_its_paths(service, tab):
    content = written(placed(read("CT_small.dcm"), 702, 1))
    service.upload(content[: len(content) - 9000], "p-cut")
    broken = read("badVR.dcm")
    service.upload(content_of("badVR.dcm"), "p-cut")
    await looking.open_at(tab, service, f"#p-cut/{ROOT_UID}.7/{ROOT_UID}.7.702")
    await tab.wait_for("!document.querySelector('#warnings').hidden")
    await tab.click("#warnings summary")
    assert "cut off at byte" in await looking.text_of(tab, "#warnings-list")
    uids = "/".join((broken.StudyInstanceUID, broken.SeriesInstanceUID, broken.SOPInstanceUID))
    await tab.evaluate(f"location.hash = '#p-cut/{uids}/1'")
    await tab.wait_for("document.querySelector('#warnings-list .link')")
    path = await looking.text_of(tab, "#warnings-list .link")
    await tab.click("#warnings-list .link")
    assert path.split(".")[-1] in await tab.evaluate("document.querySelector('#tree').textContent")
