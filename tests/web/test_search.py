"""Searching over a real socket, on real files."""

from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio
from pydicom.data import get_testdata_file

from schemas.http import CatalogueList, HitList

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "searches"
PATH = f"/patient/{PATIENT}"
NAMES = ("CT_small.dcm", "MR_small.dcm", "rtplan.dcm", "examples_rgb_color.dcm")


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def ids(service):
    found = {}
    for name in NAMES:
        content = Path(str(get_testdata_file(name, download=False))).read_bytes()
        found[(await service.upload(PATIENT, content, name=name)).json()] = name
    return found


@pytest.fixture
def ask(service, ids):
    async def go(query, who=PATIENT):
        answer = await service.ask("GET", f"/patient/{who}/dicom?{query}", patient=who)
        assert answer.status == 200, answer.body
        assert HitList().validate(answer.json()) == {}
        return [ids[hit["dicom_id"]] for hit in answer.json()["instances"]], answer

    return go


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("Modality=CT", ["CT_small.dcm"]),
        ("00080060=CT&SliceThickness=4..6", ["CT_small.dcm"]),
        ("SliceThickness=..1", ["MR_small.dcm"]),
        ("GEMS_IDEN_01:0009xx01=GE_GENESIS_FF", ["CT_small.dcm"]),
        ("OtherPatientIDsSequence.PatientID=ABCD1234", ["CT_small.dcm"]),
        ("OtherPatientIDsSequence.PatientID=ABCD1234&OtherPatientIDsSequence.TypeOfPatientID=TEXT", ["CT_small.dcm"]),
        ("PatientName=compressed&fuzzymatching=true&Modality=CT", ["CT_small.dcm"]),
        ("BeamSequence=!!", ["rtplan.dcm"]),
        ("Modality=XX", []),
        ("Modality=C*&limit=1&offset=5", []),
    ],
)
async def test_a_search_finds_these_files(ask, query, found):
    assert (await ask(query))[0] == found


async def test_pages_and_order(ask):
    assert (await ask("Modality=!!"))[0] == list(reversed(NAMES))
    names, answer = await ask("Modality=!!&limit=3")
    assert names == list(reversed(NAMES))[:3]
    assert answer.headers["Link"] == f'<{PATH}/dicom?Modality=%21%21&limit=3&offset=3>; rel="next"'
    assert (await ask("SliceThickness=!!&orderby=SliceThickness"))[0] == ["MR_small.dcm", "CT_small.dcm"]
    assert (await ask("SliceThickness=!!&orderby=-SliceThickness"))[0] == ["CT_small.dcm", "MR_small.dcm"]


async def test_fields_come_with_the_hits(ask):
    _, answer = await ask("Modality=CT&fields=0008,0060,OtherPatientIDsSequence.PatientID&fields=GEMS_IDEN_01:0009xx01")
    fields = answer.json()["instances"][0]["fields"]
    assert fields["0008,0060"]["value"] == "CT"
    assert [tag["value"] for tag in fields["OtherPatientIDsSequence.PatientID"]] == ["ABCD1234", "1234ABCD"]
    assert fields["GEMS_IDEN_01:0009xx01"]["value"] == "GE_GENESIS_FF"


async def test_a_path_with_values_left_out_says_so(ask):
    _, answer = await ask("PixelData=x")
    assert answer.json()["incomplete"] is True
    assert answer.headers["Warning"].startswith("299 - ")


@pytest.mark.parametrize("query", ["Modallity=CT", "fields=Nope", "orderby=Nope", "fuzzymatching=maybe"])
async def test_what_is_no_tag_is_refused_by_its_name_and_without_its_value(service, query):
    answer = await service.ask("GET", f"{PATH}/dicom?{query}", patient=PATIENT)
    assert answer.status == 422
    name, _, value = query.partition("=")
    assert name in answer.detail
    assert value not in answer.detail


@pytest.mark.parametrize("query", ["Miller^Anna=1", "M%C3%BCller=1", "Anna%20Miller=CT", "ACME%20Miller:0009xx=1"])
async def test_of_a_parameter_nothing_is_repeated_that_is_neither_a_word_nor_hex(service, query):
    answer = await service.ask("GET", f"{PATH}/dicom?{query}", patient=PATIENT)
    assert answer.status == 422
    assert "ller" not in answer.detail


@pytest.mark.usefixtures("ids")
async def test_nobody_else_finds_anything(service):
    other = await service.ask("GET", "/patient/other/dicom?Modality=CT", patient="other")
    assert other.json()["instances"] == []
    for path in ("dicom?Modality=CT", "tags"):
        assert (await service.ask("GET", f"{PATH}/{path}", patient="other")).status == 401
        assert (await service.ask("GET", f"{PATH}/{path}")).status == 401
    assert (await service.ask("GET", "/patient/other/tags", patient="other")).json()["tags"] == []


@pytest.mark.usefixtures("ids")
async def test_the_catalogue_has_every_path(service):
    answer = await service.ask("GET", f"{PATH}/tags", patient=PATIENT)
    assert CatalogueList().validate(answer.json()) == {}
    rows = {row["path"]: row for row in answer.json()["tags"]}
    assert rows["Modality"]["files"] == len(NAMES)
    assert set(rows["Modality"]["values"]) >= {"CT", "MR", "RTPLAN"}
    assert (rows["SliceThickness"]["min"], rows["SliceThickness"]["max"]) == (0.8, 5.0)
    assert rows["GEMS_IDEN_01:0009xx01"]["vrs"] == ["LO"]
    part = await service.ask("GET", f"{PATH}/tags?path={quote('BeamSequence.')}&limit=2", patient=PATIENT)
    assert [row["path"].startswith("BeamSequence.") for row in part.json()["tags"]] == [True, True]
    assert 'rel="next"' in part.headers["Link"]


@pytest.mark.usefixtures("ids")
@pytest.mark.parametrize(
    "query",
    [
        "StudyDescription=" + "*a" * 500,
        "PatientComments=" + "?" * 500,
        "PatientName=" + "\\".join(f"A{n}*" for n in range(500)),
    ],
)
async def test_what_no_database_takes_as_an_expression_is_refused(service, query):
    answer = await service.ask(
        "GET", f"{PATH}/dicom?multiplevaluematching=true&{quote(query, safe='=')}", patient=PATIENT
    )
    assert answer.status == 422
    assert "wildcards" in answer.detail


@pytest.mark.parametrize(
    "narrow", ["", "&OtherPatientIDsSequence.PatientID=!!&OtherPatientIDsSequence.TypeOfPatientID=!!"]
)
async def test_a_page_of_large_elements_ends_early_and_the_next_goes_on(ask, monkeypatch, narrow):
    asked = f"fields=OtherPatientIDsSequence,PatientName&Modality=!!{narrow}"
    everything, _ = await ask(asked)
    monkeypatch.setattr("service.storage.search.MAX_PAGE_BYTES", 1)
    found, offset = [], 0
    while True:
        page, answer = await ask(f"{asked}&offset={offset}")
        assert len(page) <= 1
        found += page
        if "Link" not in answer.headers:
            break
        offset += len(page)
    assert found == everything


@pytest.mark.usefixtures("ids")
async def test_a_page_of_large_elements_for_dicomweb_says_how_many_are_behind_it(service, monkeypatch):
    path = f"{PATH}/dicomweb/instances?includefield=all"
    everything = (await service.ask("GET", path, patient=PATIENT)).json()
    monkeypatch.setattr("service.usecases.dicomweb.search.MAX_PAGE_BYTES", 1)
    for number, dataset in enumerate(everything, start=1):
        answer = await service.ask("GET", f"{path}&offset={number - 1}", patient=PATIENT)
        assert answer.json() == [dataset]
        left = len(everything) - number
        assert answer.headers.get("Warning", "").startswith(f'299 dicomweb "There are {left} ' if left else "")
        assert ("Warning" in answer.headers) == bool(left)
