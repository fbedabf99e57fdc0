"""The search over files, as one types it."""

import csv
import io
import zipfile

import duckdb
import pytest

from tests.page import looking
from tests.page.made import ct_slices, placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "p-search"


@pytest.fixture(scope="module")
def stored(service):
    for _, content in ct_slices(8, 500, PatientName="Müller^Änne", SpecificCharacterSet="ISO_IR 192"):
        service.upload(content, PATIENT)
    service.upload(written(placed(read("MR_small.dcm"), 600, 1)), PATIENT)
    return service


async def open_search(tab, service, query=""):
    await looking.open_at(tab, service, f"#{PATIENT}{query}")
    await tab.wait_for("!document.querySelector('#workplace').hidden")
    await tab.press("/")
    await tab.wait_for("document.activeElement.id === 'search'")


async def hits(tab):
    await tab.wait_for("document.querySelector('#hits-count').innerText.match(/file|matches/)")
    return await looking.count_of(tab, "#hits-table tbody tr")


async def test_a_keyword_and_a_value_are_completed(stored, tab):
    await open_search(tab, stored)
    await tab.write("modali")
    await tab.wait_for("document.querySelectorAll('#completions li').length > 0")
    await tab.press("ArrowDown")
    await tab.press("Enter")
    assert await tab.evaluate("document.querySelector('#search').value") == "Modality="
    await tab.wait_for(
        "[...document.querySelectorAll('#completions li')].map(e => e.innerText.trim()).sort().join() === 'CT,MR'"
    )
    await tab.write("M")
    await tab.wait_for("document.querySelectorAll('#completions li').length === 1")
    await tab.press("ArrowDown")
    await tab.press("Enter")
    assert await tab.evaluate("document.querySelector('#search').value") == "Modality=MR "
    await tab.press("Enter")
    await tab.wait_for("location.hash === '#p-search?Modality=MR'")
    assert await hits(tab) == 1


async def test_names_with_a_wildcard_and_a_range_are_found_together(stored, tab):
    await open_search(tab, stored)
    await tab.write("PatientName=mül* SliceThickness=..2")
    await tab.press("Enter")
    await tab.wait_for("document.querySelectorAll('#hits-table tbody tr').length === 4")
    assert await looking.count_of(tab, "#conditions .chip") == 2


async def test_what_is_wrong_is_said_at_its_word(stored, tab):
    await open_search(tab, stored)
    await tab.write("Modality=CT SliceThick=..2")
    await tab.press("Enter")
    await tab.wait_for("document.querySelectorAll('#conditions .wrong').length === 1")
    assert await looking.text_of(tab, "#conditions .wrong code") == "SliceThick=..2"
    assert "Unknown parameter or DICOM keyword" in await looking.text_of(tab, "#conditions .sentence")
    assert await tab.evaluate("document.querySelector('#search').ariaInvalid") == "true"


async def test_what_was_wrong_is_not_held_against_another_patients_search(stored, tab):
    await open_search(tab, stored, "?SliceThick=2")
    await tab.wait_for("document.querySelectorAll('#conditions .wrong').length === 1")
    await tab.evaluate("location.hash = '#p-search-other'")
    await tab.wait_for("document.querySelector('#patient').value === 'p-search-other'")
    assert await tab.evaluate("document.querySelector('#search').ariaInvalid") == "false"
    assert await looking.count_of(tab, "#conditions li") == 0


async def test_the_field_says_what_the_address_asks_for_even_while_the_keyboard_is_in_it(stored, tab):
    await open_search(tab, stored)
    await tab.write("Modality=CT  SliceThickness=..2")
    await tab.press("Enter")
    await tab.wait_for("document.querySelectorAll('#hits-table tbody tr').length === 4")
    assert await tab.evaluate("document.querySelector('#search').value") == "Modality=CT  SliceThickness=..2"
    await tab.evaluate("location.hash = '#p-search?Modality=MR'")
    await tab.wait_for("document.querySelector('#search').value === 'Modality=MR'")
    assert await hits(tab) == 1


async def test_a_word_without_a_value_is_refused_before_anything_is_asked(stored, tab):
    await open_search(tab, stored)
    await tab.write("Modality")
    await tab.press("Escape")
    await tab.press("Enter")
    await tab.wait_for("document.querySelector('#conditions .wrong')")
    assert await tab.evaluate("location.hash") == f"#{PATIENT}"


async def test_columns_are_added_sorted_and_part_of_the_link(stored, tab, browser):
    await open_search(tab, stored, "?Modality=CT")
    assert await hits(tab) == 8
    await tab.click("#column")
    await tab.write("InstanceNumber")
    await tab.press("Enter")
    await tab.wait_for("location.hash.includes('fields=InstanceNumber')")
    await tab.wait_for("document.querySelectorAll('#hits-table td:nth-child(3)').length === 8")
    await tab.click("[aria-label='Sort by InstanceNumber']")
    await tab.wait_for("document.querySelector('#hits-table tbody td:nth-child(3)')?.innerText === '1'")
    await tab.click("[aria-label='Sort by InstanceNumber']")
    await tab.wait_for("document.querySelector('#hits-table tbody td:nth-child(3)')?.innerText === '8'")
    assert await looking.count_of(tab, "th[aria-sort=descending]") == 1
    link = await tab.evaluate("location.href")
    async with browser.open_tab() as fresh:
        await fresh.open(link)
        await fresh.wait_for("document.querySelector('#hits-table tbody td:nth-child(3)')?.innerText === '8'")
        assert await fresh.evaluate("document.querySelector('#search').value") == "Modality=CT"


async def test_the_search_is_there_to_take_along(stored, tab):
    await open_search(tab, stored, "?PatientName=mül*&SliceThickness=..2")
    await hits(tab)
    await tab.evaluate("navigator.clipboard.writeText = async (text) => { window.copied = text; }")
    await tab.click("#copy-curl")
    curl = await tab.wait_for("window.copied?.startsWith('curl') && window.copied")
    assert curl.startswith("curl -s -G -H \"access-token: $TOKEN\" --data-urlencode 'PatientName=mül*'")
    assert curl.endswith(f"'{stored.url}/patient/{PATIENT}/dicom'")
    await tab.click("#copy-mongosh")
    mongosh = await tab.wait_for("window.copied?.startsWith('db') && window.copied")
    assert mongosh == (
        'db.tag_index.find({patient_id: "p-search", "tags.PatientName": {$regex: "^mül.*$", $options: "i"}, '
        '"tags.SliceThickness": {$elemMatch: {$lte: 2}}})'
    )
    await tab.click("#copy-link")
    assert await tab.wait_for("window.copied?.startsWith('http') && window.copied") == await tab.evaluate(
        "location.href"
    )


async def test_all_hits_are_downloaded_as_a_table_or_as_a_disc(stored, tab, tmp_path):
    await open_search(tab, stored, "?Modality=CT&fields=InstanceNumber&orderby=InstanceNumber")
    assert await hits(tab) == 8
    await looking.catch_downloads(tab)

    async def download(kind):
        await tab.click("#hits-menu summary")
        await tab.click(f"#hits-menu [data-format={kind}]")
        return await looking.downloaded(tab)

    name, table = await download("csv")
    assert name == "hits.csv"
    rows = list(csv.DictReader(io.StringIO(table.decode())))
    assert [row["InstanceNumber"] for row in rows] == [str(number) for number in range(1, 9)]
    assert {row["Modality"] for row in rows} == {"CT"}
    name, table = await download("parquet")
    assert name == "hits.parquet"
    (tmp_path / name).write_bytes(table)
    numbers = duckdb.sql(f"select InstanceNumber from '{tmp_path / name}'").fetchall()
    assert numbers == [(number,) for number in range(1, 9)]
    name, disc = await download("disc")
    assert name == "disc.zip"
    with zipfile.ZipFile(io.BytesIO(disc)) as archive:
        assert "DICOMDIR" in archive.namelist()
        assert len([entry for entry in archive.namelist() if entry.startswith("DICOM/")]) == 8


async def test_a_table_that_cannot_be_made_says_why(stored, tab):
    await open_search(tab, stored, "?fields=NoSuchTag")
    await tab.wait_for("document.querySelector('#hits-count').innerText.includes('NoSuchTag')")
    await tab.click("#hits-menu summary")
    await tab.click("#hits-menu [data-format=csv]")
    await tab.wait_for("document.querySelector('#notice').innerText.includes('NoSuchTag')")


async def test_a_condition_is_taken_away_again(stored, tab):
    await open_search(tab, stored, "?Modality=CT&SliceThickness=..2")
    assert await hits(tab) == 4
    await tab.click("[aria-label='Remove SliceThickness=..2']")
    await tab.wait_for("document.querySelectorAll('#hits-table tbody tr').length === 8")
