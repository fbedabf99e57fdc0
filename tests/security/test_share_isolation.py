"""What somebody with a share tries, in order to have more than it shows."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import pydicom
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from service.dicom.limits import Limits
from service.usecases.context import Context
from service.web.app_keys import ADMISSIONS
from tests.security.links import make_share, revoke
from tests.web.routes import all_routes
from tests.web.service import Answer, Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

STUDY = "1.2.826.0.1.3680043.9.7.40"
INSTANCE = f"dicomweb/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.9.1"


def ct(study: str = STUDY, number: int = 1, **elements: Any) -> bytes:
    """A CT of pydicom's test files with UIDs of its own, and other elements."""
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{study}.9.{number}"
    for keyword, value in elements.items():
        setattr(dataset, keyword, value)
    written = BytesIO()
    dataset.save_as(written)
    return written.getvalue()


# --- small originals that stand in the tags ---------------------------------------------------------------------------

DOCUMENT = b"a letter of two words"
PIXELS = b"SMALL PIXELS"
SHOWING = {
    # path: the media type
    "dicom/{id}/tags": "application/json",
    "dicom/{id}/tags?": "application/dicom+json",
    "dicom/{id}/tag/EncapsulatedDocument": "application/json",
    "dicom/{id}/tag/00420011": "application/json",
    "dicom/{id}/tag/PixelData": "application/json",
    "dicom/{id}/tag/IconImageSequence": "application/json",
    "dicom/{id}/tag/IconImageSequence[0].PixelData": "application/json",
    "dicom/{id}/tag/IconImageSequence.PixelData": "application/json",
    "dicom?fields=EncapsulatedDocument,PixelData,IconImageSequence": "application/json",
    "dicom?fields=IconImageSequence.PixelData,00420011": "application/json",
    "dicom?Modality=CT&fields=EncapsulatedDocument,PixelData,IconImageSequence": "application/json",
    "dicom?fields=EncapsulatedDocument,PixelData,IconImageSequence.PixelData": "text/csv",
    "dicom?fields=EncapsulatedDocument,IconImageSequence,PixelData&format=ndjson": "*/*",
    "tags": "application/json",
    "tags?format=csv": "*/*",
    "dicomweb/instances?includefield=all": "application/dicom+json",
    "dicomweb/instances?includefield=EncapsulatedDocument,PixelData,IconImageSequence": "application/dicom+json",
    "dicomweb/instances?includefield=00420011&includefield=7FE00010": "application/dicom+json",
    "dicomweb/series?includefield=EncapsulatedDocument,IconImageSequence": "application/dicom+json",
    "dicomweb/studies?includefield=all&includefield=EncapsulatedDocument": "application/dicom+json",
    f"dicomweb/studies/{STUDY}/metadata": "application/dicom+json",
    f"{INSTANCE}/metadata": "application/json",
}


@pytest_asyncio.fixture(scope="module", loop_scope="session", params=["whole", "left in the original"])
async def small(request: pytest.FixtureRequest, service: Service) -> AsyncIterator[tuple[str, str, Service]]:
    """A patient whose one file has a document, pixels and an icon that are small enough to stand in its tags."""
    patient = str(next(service.patients))
    icon = Dataset()
    icon.Rows, icon.Columns, icon.BitsAllocated, icon.PixelData = 3, 4, 8, PIXELS
    elements = {
        "EncapsulatedDocument": DOCUMENT + b"\0",
        "MIMETypeOfEncapsulatedDocument": "text/plain",
        "IconImageSequence": [icon],
        "PixelData": PIXELS,
        "Rows": 3,
        "Columns": 2,
    }
    with pytest.MonkeyPatch.context() as patched:
        if request.param != "whole":
            patched.setattr(Context, "limits", Limits(kept_depth=0))  # it has no room for sequences
        answer = await service.upload(patient, ct(**elements))
    yield patient, answer.json(), service


def held(body: bytes) -> list[bytes]:
    """Which of the small originals stand in an answer, as they are or as base64."""
    shapes = {value: (value, base64.b64encode(value), base64.b64encode(value + b"\0")) for value in (DOCUMENT, PIXELS)}
    return [value for value, written in shapes.items() if any(each in body for each in written)]


@pytest.mark.parametrize("path", SHOWING)
async def test_a_small_original_is_in_no_tag_that_a_share_without_downloads_shows(small, path):
    patient, dicom_id, service = small
    headers = {"Accept": SHOWING[path], "Accept-Encoding": "identity"}
    asked = f"/patient/{patient}/{path.replace('{id}', dicom_id)}"
    mine = await service.ask("GET", asked, patient=patient, headers=headers)
    if path.startswith("dicom/") and not path.endswith(("PixelData", "Sequence")):
        assert held(mine.body) == [DOCUMENT]
    for download, expected in ((True, held(mine.body)), (False, [])):
        _, session = await make_share(service, patient, studies=[STUDY], download=download)
        shown = await service.ask("GET", asked, headers={**session, **headers})
        assert shown.status == mine.status == 200, shown.body
        assert held(shown.body) == expected
        for name in (b'"00420011"', b'"EncapsulatedDocument"', b'"IconImageSequence"', b'"7FE00010"'):
            assert (name in shown.body) == (name in mine.body)


@pytest.mark.parametrize("path", ["dicom?{}", "dicom?fields=Modality&format=csv&{}", "dicomweb/instances?{}"])
async def test_a_search_does_not_tell_what_a_small_original_says(small, path):
    patient, _, service = small
    _, session = await make_share(service, patient, studies=[STUDY])
    answers = []
    for guess in ("a%20letter*", "b%20letter*", base64.b64encode(DOCUMENT).decode().replace("=", "%3D"), "*two*"):
        for name in ("EncapsulatedDocument", "00420011"):
            asked = f"/patient/{patient}/{path.format(f'{name}={guess}')}"
            answer = await service.ask("GET", asked, headers={**session, "Accept-Encoding": "identity"})
            answers.append((answer.status, answer.body if answer.status == 200 else answer.detail))
    assert len(set(answers)) == 1


# --- what lies outside, asked for in every way ------------------------------------------------------------------------

OUTSIDE, NOWHERE = "1.2.826.0.1.3680043.9.7.41", "1.2.826.0.1.3680043.9.7.42"
NOBODYS = "5b1f0000-0000-5000-8000-000000000001"


@dataclass
class World:
    """A patient with a study that is shared and one that is not.

    Parameters
    ----------
    service : Service
        The service.
    patient : str
        The patient.
    ids : mapping of str to str
        The files by the study that they are of.
    """

    service: Service
    patient: str
    ids: Mapping[str, str]

    async def ask(self, method: str, path: str, session: Mapping[str, str], **headers: str) -> Answer:
        """Ask with some headers, whose names have underscores for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.service.ask(method, f"/patient/{self.patient}/{path}", headers={**session, **named})

    def paths(self, study: str) -> dict[str, str]:
        """Every route to something of a study, by its template."""
        dicom_id = self.ids.get(study, NOBODYS)
        names = {"patient_id": self.patient, "dicom_id": dicom_id, "tag": "Modality", "path": "DataSetTrailingPadding"}
        names |= {"study": study, "series": f"{study}.1", "instance": f"{study}.9.1", "frames": "1"}
        found = {}
        for method, template, public in all_routes(self.service):
            if method == "GET" and not public and "/shares" not in template:
                path = template
                for name, value in names.items():
                    path = path.replace(f"{{{name}}}", value)
                found[template] = path.removeprefix(f"/patient/{self.patient}/")
        return found


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def world(service: Service) -> World:
    patient = str(next(service.patients))
    ids = {study: (await service.upload(patient, ct(study))).json() for study in (STUDY, OUTSIDE)}
    return World(service, patient, ids)


def told(answer: Answer, study: str, dicom_id: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """All that an answer tells of a study, but for what was asked and the marks of the request itself."""
    request_id = answer.headers["X-Request-ID"].encode()
    body = answer.body.replace(study.encode(), b"-").replace(dicom_id.encode(), b"-").replace(request_id, b"-")
    unlike = {"date", "x-request-id"}
    headers = sorted((name.lower(), value) for name, value in answer.headers.items() if name.lower() not in unlike)
    return answer.status, headers, body


ASKED: dict[str, dict[str, str]] = {
    "anything": {},
    "the file": {"Accept": "application/dicom"},
    "a picture": {"Accept": "image/png"},
    "JSON": {"Accept": "application/json"},
    "the model": {"Accept": "application/dicom+json"},
    "a part of a multipart": {"Accept": 'multipart/related; type="application/octet-stream"'},
    "a medium": {"Accept": "application/zip; media=dicomdir"},
    "what there is none of": {"Accept": "text/x-nothing"},
    "what I have": {"Accept": "application/dicom", "If_None_Match": "*"},
    "what I have since": {"Accept": "application/dicom", "If_Modified_Since": "Fri, 01 Jan 2100 00:00:00 GMT"},
    "a range": {"Accept": "application/dicom", "Range": "bytes=0-0"},
    "a range that is none": {"Accept": "application/dicom", "Range": "bytes=99999999-"},
    "a part of what I have": {"Range": "bytes=0-9", "If_Range": '"x"'},
    "an upload": {"Expect": "100-continue"},
}


@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST", "PUT", "OPTIONS"])
@pytest.mark.parametrize("what", ASKED)
async def test_outside_and_nowhere_are_told_alike_however_they_are_asked_for(world, method, what):
    _, session = await make_share(world.service, world.patient, studies=[STUDY], download=True)
    outside, nowhere = world.paths(OUTSIDE), world.paths(NOWHERE)
    for template, path in outside.items():
        if OUTSIDE not in path and world.ids[OUTSIDE] not in path:
            continue
        one = await world.ask(method, path, session, **ASKED[what])
        other = await world.ask(method, nowhere[template], session, **ASKED[what])
        assert told(one, OUTSIDE, world.ids[OUTSIDE]) == told(other, NOWHERE, NOBODYS), (template, one.body)
        assert one.status not in {206, 304, 412, 416}


async def test_the_entity_tag_of_what_lies_outside_is_worth_nothing(world):
    """It was had before, with the patient's own token."""
    share_id, session = await make_share(world.service, world.patient, studies=[STUDY], download=True)
    owner = {"access-token": world.service.token(world.patient)}
    seen = 0
    inside, outside = world.paths(STUDY), world.paths(OUTSIDE)
    for template in inside:
        for accept in ("application/dicom", "image/png", "*/*"):
            for path, there in ((inside[template], True), (outside[template], False)):
                tag = (await world.ask("GET", path, owner, Accept=accept)).headers.get("ETag")
                if tag is None:
                    continue
                for method in ("GET", "HEAD"):
                    answer = await world.ask(method, path, session, Accept=accept, If_None_Match=tag)
                    assert answer.status == (304 if there else 404), (path, accept)
                    assert ("ETag" in answer.headers) is there
                seen += 1
    assert seen >= 8
    await revoke(world.service, world.patient, share_id)
    for path in (f"dicom/{world.ids[STUDY]}", f"dicom/{world.ids[OUTSIDE]}"):
        for headers in ({"Accept": "image/png"}, {"Accept": "application/dicom", "If_None_Match": "*"}):
            assert (await world.ask("GET", path, session, **headers)).status == 401


async def test_no_answer_through_a_share_is_kept_by_anybody(world):
    _, session = await make_share(world.service, world.patient, studies=[STUDY])
    statuses = set()
    for study in (STUDY, OUTSIDE):
        for path in world.paths(study).values():
            for method in ("GET", "HEAD", "DELETE", "POST", "PATCH"):
                for accept in ("*/*", "image/png", "application/dicom", "application/json", "text/x-nothing"):
                    answer = await world.ask(method, path, session, Accept=accept)
                    assert "no-store" in answer.headers["Cache-Control"], (method, path, answer.status)
                    assert "public" not in answer.headers["Cache-Control"]
                    statuses.add(answer.status)
    assert {200, 403, 404, 405, 406} <= statuses


async def test_what_was_cached_for_its_patient_is_looked_at_again_for_a_share(world):
    """Pictures, near originals and places of payloads are kept by the process, whoever made it keep them."""
    owner = {"access-token": world.service.token(world.patient)}
    _, session = await make_share(world.service, world.patient, studies=[STUDY], download=True)
    for path in world.paths(OUTSIDE).values():
        for accept in ("image/png", "application/dicom", "*/*"):
            await world.ask("GET", path, owner, Accept=accept)
            answer = await world.ask("GET", path, session, Accept=accept)
            assert world.ids[OUTSIDE].encode() not in answer.body
            assert f"{OUTSIDE}.9".encode() not in answer.body


async def test_a_study_that_leaves_a_share_is_gone_from_it_with_the_next_request(world):
    """What a share shows is asked anew each time: an instance is deleted, and sent again."""
    service, content = world.service, ct(STUDY, 7)
    dicom_id = (await service.upload(world.patient, content)).json()
    _, session = await make_share(service, world.patient, studies=[STUDY])
    _, frozen = await make_share(service, world.patient, studies=[STUDY], frozen=True)
    path = f"dicom/{dicom_id}"
    png = {"Accept": "image/png"}
    for each in (session, frozen):
        assert (await world.ask("GET", path, each, **png)).status == 200
    assert (await service.ask("DELETE", f"/patient/{world.patient}/{path}", patient=world.patient)).status == 204
    for each in (session, frozen):
        assert (await world.ask("GET", path, each, **png)).status == 404
    assert (await service.upload(world.patient, content)).json() == dicom_id
    added = (await service.upload(world.patient, ct(STUDY, 8))).json()
    for each, sees_added in ((session, 200), (frozen, 404)):
        assert (await world.ask("GET", path, each, **png)).status == 200  # it is the same instance
        assert (await world.ask("GET", f"dicom/{added}", each, **png)).status == sees_added
    for each in (dicom_id, added):
        await service.ask("DELETE", f"/patient/{world.patient}/dicom/{each}", patient=world.patient)


async def test_whoever_has_a_share_takes_no_slot_for_tables_that_is_its_patients_own(world):
    _, session = await make_share(world.service, world.patient, studies=[STUDY])
    table = "dicom?fields=Modality&format=csv"
    owner = {"access-token": world.service.token(world.patient)}
    async with world.service.app[ADMISSIONS].tables.admit(world.patient, shared=True):
        for path in (table, "tags?format=csv"):
            assert (await world.ask("GET", path, session)).status == 429
            assert (await world.ask("GET", path, owner)).status == 200
    assert (await world.ask("GET", table, session)).status == 200
