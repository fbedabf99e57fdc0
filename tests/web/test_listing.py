"""GET /patient/{patient_id}/dicom: a page of what a patient has."""

import re

import pytest
import pytest_asyncio

from schemas.http import InstanceList

pytestmark = pytest.mark.asyncio(loop_scope="session")

PATIENT = "lists"
PATH = f"/patient/{PATIENT}/dicom"


@pytest_asyncio.fixture(scope="module", loop_scope="session", autouse=True)
async def ids(service, ct):
    """Five instances, the newest first."""
    found = []
    for number in range(5):
        answer = await service.upload(PATIENT, ct + bytes(number), name=f"{number}.dcm")
        found.insert(0, answer.json())
    return found


async def page(service, query=""):
    answer = await service.ask("GET", PATH + query, patient=PATIENT)
    assert answer.status == 200, answer.body
    assert InstanceList().validate(answer.json()) == {}
    return [each["dicom_id"] for each in answer.json()["instances"]], answer.headers.get("Link")


async def test_the_newest_come_first(service, ids):
    assert await page(service) == (ids, None)


async def test_pages_lead_from_one_to_the_next_and_then_end(service, ids):
    seen, query = [], "?limit=2"
    for _ in range(3):
        found, link = await page(service, query)
        seen += found
        if link is None:
            break
        match = re.fullmatch(rf'<{PATH}(\?limit=2&offset=\d+)>; rel="next"', link)
        query = match[1]
    assert seen == ids
    assert link is None


async def test_past_the_end_the_list_is_empty(service):
    assert await page(service, "?offset=5") == ([], None)
    assert await page(service, "?offset=9999999999") == ([], None)


async def test_more_than_a_thousand_is_a_thousand(service, ids):
    assert (await page(service, "?limit=999999999"))[0] == ids


async def test_a_patient_without_files_has_an_empty_list(service, patient):
    answer = await service.ask("GET", f"/patient/{patient}/dicom", patient=patient)
    assert answer.json() == {"instances": [], "storage": {"used_bytes": 0, "allowed_bytes": 256 << 30}}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=-1",
        "limit=ten",
        "limit=",
        "offset=-1",
        "offset=1.5",
        "offset=99999999999999999999",
        "limit=1&limit=2",
        "token=abc",
    ],
)
async def test_parameters_that_cannot_be_used_are_422(service, query):
    answer = await service.ask("GET", f"{PATH}?{query}", patient=PATIENT)
    assert answer.status == 422


async def test_head_has_the_headers_of_get(service):
    answer = await service.ask("HEAD", f"{PATH}?limit=1", patient=PATIENT)
    assert (answer.status, answer.body) == (200, b"")
    assert 'rel="next"' in answer.headers["Link"]
