"""axe-core finds nothing to say, in each of the page's states; and nothing is wider than a phone."""

import pytest

from tests.page import looking
from tests.page.made import ROOT_UID, content_of, ct_slices, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-axe"
SERIES = f"#{PATIENT}/{ROOT_UID}.9/{ROOT_UID}.9.900"


@pytest.fixture(scope="module")
def stored(service):
    for _, content in ct_slices(6, 900):
        service.upload(content, PATIENT)
    for number, name in enumerate(("MR_small.dcm", "examples_rgb_color.dcm", "rtplan.dcm"), 1000):
        service.upload(written(placed(read(name), number, 1)), PATIENT)
    service.upload(content_of("badVR.dcm"), PATIENT)
    alone = read("CT_small.dcm")
    del alone.SOPInstanceUID
    service.upload(written(alone), PATIENT)
    return service


async def see_series(tab, service):
    await looking.open_at(tab, service, SERIES)
    await looking.see(tab)
    await tab.wait_for("document.querySelector('#tree .tag')")


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.long)])
async def test_list_viewer_tags_and_search(stored, tab, shoot, scheme):
    await tab.prefer(scheme)
    await tab.open(stored.url)
    await tab.wait_for("document.activeElement.id === 'patient'")
    await looking.check(tab)
    await looking.open_at(tab, stored, f"#{PATIENT}")
    await tab.wait_for("document.querySelectorAll('.series').length >= 3 && document.querySelector('#files a')")
    await tab.wait_for("document.querySelector('.thumbnail img')?.naturalWidth > 0")
    await looking.check(tab)
    await shoot(tab, f"list-{scheme}")
    await see_series(tab, stored)
    await looking.check(tab)
    await shoot(tab, f"viewer-{scheme}")
    await tab.click("#tree .more")
    await tab.press("c")
    await tab.press("Home")
    await tab.wait_for("document.querySelector('.differences')")
    await looking.check(tab, "#tags")
    await shoot(tab, f"compare-{scheme}")
    await looking.open_at(
        tab, stored, f"#{PATIENT}?Modality=CT&SliceThickness=..2&fields=PatientName,ImagePositionPatient"
    )
    await tab.wait_for("document.querySelectorAll('#hits-table tbody tr').length >= 3")
    await looking.check(tab)
    await shoot(tab, f"search-{scheme}")
    await tab.click("#hits-menu summary")
    await looking.check(tab, "#hits")


@pytest.mark.long
async def test_menus_dialogs_completions_and_mistakes(stored, tab, shoot):
    await see_series(tab, stored)
    await tab.click("#more-menu summary")
    await looking.check(tab)
    await shoot(tab, "menu")
    await tab.click("[data-does=delete][data-level=study]")
    await tab.wait_for("document.querySelector('#sure').open")
    await looking.check(tab)
    await shoot(tab, "delete")
    await tab.press("Escape")
    await tab.wait_for("!document.querySelector('#sure').open")
    await tab.evaluate("document.querySelector('#stage').focus()")
    await tab.press("?")
    await looking.check(tab)
    await shoot(tab, "help")
    await tab.press("Escape")
    await tab.press("/")
    await tab.write("Slice")
    await tab.wait_for("document.querySelectorAll('#completions li').length > 2")
    await looking.check(tab)
    await shoot(tab, "completion")
    await tab.write("Thickness=..2 Modalit=CT")
    await tab.press("Escape")
    await tab.press("Enter")
    await tab.wait_for("document.querySelector('#conditions .wrong')")
    await looking.check(tab)
    await shoot(tab, "search-wrong")


async def test_an_upload_with_errors(stored, tab, shoot, tmp_path):
    await see_series(tab, stored)
    (tmp_path / "letter.txt").write_text("Dear doctor")
    for name, content in [
        *ct_slices(3, 901),
        *((f"other-{name}", each) for name, each in ct_slices(1, 902, PatientName="Doe^John")),
    ]:
        (tmp_path / name).write_bytes(content)
    await tab.choose("#choose-files", sorted(tmp_path.iterdir()))
    await tab.wait_for("!document.querySelector('#upload-result').hidden", 60)
    await looking.check(tab, "#uploads")
    await shoot(tab, "upload")


async def test_a_phone(stored, tab, shoot):
    await tab.resize(360, 760, phone=True)
    await looking.open_at(tab, stored, f"#{PATIENT}")
    await tab.wait_for("document.querySelectorAll('.series').length >= 3")
    await looking.check(tab)
    await shoot(tab, "phone-list")
    await see_series(tab, stored)
    picture, library = [
        await tab.evaluate(f"document.querySelector('{each}').getBoundingClientRect().top")
        for each in ("#stage", "#library")
    ]
    assert picture < library
    await looking.check(tab)
    await shoot(tab, "phone-viewer")
    await looking.open_at(tab, stored, f"#{PATIENT}?Modality=CT&SliceThickness=..2")
    await tab.wait_for("document.querySelectorAll('#hits-table tbody tr').length >= 3")
    await looking.check(tab)
    await shoot(tab, "phone-search")
    await tab.click("#hits-menu summary")
    assert await tab.evaluate("document.querySelector('#hits-menu .menu-body').getBoundingClientRect().left") >= 0
    await looking.check(tab, "#hits")


async def test_the_keyboard_reaches_everything(stored, tab):
    await see_series(tab, stored)
    reached = set()
    await tab.evaluate("document.querySelector('#patient').focus()")
    for _ in range(60):
        await tab.press("Tab")
        reached.add(await tab.evaluate("document.activeElement.id || document.activeElement.className"))
    assert {
        "search",
        "series",
        "fold",
        "voi",
        "fit",
        "invert",
        "stage",
        "slice",
        "play",
        "pin",
        "tag-search",
    } <= reached
