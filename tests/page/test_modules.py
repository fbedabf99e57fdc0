"""Single modules of the page, in the browser that runs them."""

import json

import pytest
import pytest_asyncio

from tests.page import looking
from tests.page.made import placed, read, written

pytestmark = pytest.mark.asyncio(loop_scope="session")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def open_page(service, browser):
    """The page, opened once: what a module computes leaves nothing behind."""
    async with browser.open_tab() as page:
        await looking.open_at(page, service, "")
        yield page
        assert page.complaints == []


async def call(tab, module, expression):
    """Import a module, and give the value of an expression of what it exports."""
    return await tab.evaluate(f"import('/static/page/{module}.js').then((m) => {expression})")


@pytest.mark.parametrize(
    ("typed", "read"),
    [
        ("Modality=CT  SliceThickness=..2", [["Modality", "CT"], ["SliceThickness", "..2"]]),
        ('PatientName="Mül Ann*" KVP=!', [["PatientName", "Mül Ann*"], ["KVP", "!"]]),
        ('AccessionNumber=""', [["AccessionNumber", '""']]),
        ("0018,0050=1..2", [["0018,0050", "1..2"]]),
        ("a=b=c", [["a", "b=c"]]),
        ("Modality", [["Modality", ""]]),
        ('PatientName="open', [["PatientName", "open"]]),
        ("", []),
    ],
)
async def test_a_search_is_read_as_it_is_typed(open_page, typed, read):
    expression = f"m.readQuery({json.dumps(typed)}).map(({{ name, value }}) => [name, value])"
    assert await call(open_page, "query", expression) == read


@pytest.mark.parametrize(
    ("value", "vrs", "line"),
    [
        ("CT", ["CS"], '"tags.A": "CT"'),
        ("M?l*", ["LO"], '"tags.A": {$regex: "^M.l.*$"}'),
        ("a.b*", ["LO"], '"tags.A": {$regex: "^a\\\\.b.*$"}'),
        ("1..2", ["DS"], '"tags.A": {$elemMatch: {$gte: 1, $lte: 2}}'),
        ("5", ["IS"], '"tags.A": 5'),
        ("20240101-20240131", ["DA"], '"tags.A": {$elemMatch: {$gte: "20240101", $lt: "20240131\uffff"}}'),
        ("1.2,1.3", ["UI"], '"tags.A": {$in: ["1.2","1.3"]}'),
        ("!", ["CS"], '"tags.A": {$exists: false}'),
    ],
)
async def test_a_search_is_written_for_mongosh(open_page, value, vrs, line):
    rows = [{"path": "A", "vrs": vrs, "files": 1, "values": [], "more_values": False}]
    given = ", ".join(map(json.dumps, ("p", [["A", value]], rows)))
    assert (
        await call(open_page, "query", f"m.writeMongosh({given}).line")
        == f'db.tag_index.find({{patient_id: "p", {line}}})'
    )


async def test_an_unknown_path_is_not_written_wrongly(open_page):
    assert await call(open_page, "query", "m.writeMongosh('p', [['0018,0050', '1']], [])") == {
        "line": "",
        "unknown": "0018,0050",
    }


@pytest.mark.parametrize(
    "address",
    [
        "#p-17", "#p-17/1.2/1.3/1.4/7", "#p-17/1.2", "#p-17?Modality=CT&fields=KVP",
        "#p-17/125e0c40-310d-5ee7-af5d-ec6671ee33dc/2", "#M%C3%BCller%20%2F%20x/1.2/1.3",
    ],
)  # fmt: skip
async def test_an_address_is_read_and_written_again(open_page, address):
    assert await call(open_page, "address", f"m.writeAddress(m.readAddress({json.dumps(address)}))") == address


@pytest.mark.parametrize(
    ("body", "content"),
    [
        ("--b\r\nContent-Type: x\r\nContent-Length: 3\r\n\r\nabc\r\n--b--", "abc"),
        ("--b\r\nContent-Type: x\r\n\r\nabc\r\n--b--", "abc"),
        ("--b\r\nContent-Length: 99\r\n\r\nabc\r\n--b--", None),
        ("nothing", None),
    ],
)
async def test_a_part_is_taken_out_of_a_multipart_answer(open_page, body, content):
    bytes_of = f"new TextEncoder().encode({json.dumps(body)}).buffer"
    taken = f"new TextDecoder().decode(m.multipartContent({bytes_of}, 'multipart/related; boundary=b'))"
    assert await call(open_page, "multipart", f"{{ try {{ return {taken} }} catch {{ return null }} }}") == content


async def test_markup_in_a_file_stays_text(service, tab):
    evil = placed(read("CT_small.dcm"), 1100, 1)
    evil.SeriesDescription = evil.StudyDescription = "<img src=x onerror=window.hit=1>"
    service.upload(written(evil), "p-evil")
    await looking.open_at(tab, service, f"#p-evil/{evil.StudyInstanceUID}/{evil.SeriesInstanceUID}")
    await looking.see(tab)
    await tab.wait_for("document.querySelector('#tree .tag')")
    await tab.wait_for("document.querySelector('.series').innerText.includes('<img')")
    assert await tab.evaluate("window.hit ?? 'nothing'") == "nothing"
    assert await looking.count_of(tab, "img[src=x]") == 0
