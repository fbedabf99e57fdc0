"""What somebody with a share tries, in order to have more than it shows."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pydicom
import pytest
import pytest_asyncio
from pydicom.dataset import Dataset

from service.dicom.limits import Limits
from service.usecases.context import Context
from tests.security.links import make_share
from tests.web.service import Service

pytestmark = pytest.mark.asyncio(loop_scope="session")

STUDY = "1.2.826.0.1.3680043.9.7.40"
INSTANCE = f"dicomweb/studies/{STUDY}/series/{STUDY}.1/instances/{STUDY}.9.1"


def ct(number: int = 1, **elements: Any) -> bytes:
    """A CT of pydicom's test files with UIDs of its own, and other elements."""
    dataset = pydicom.dcmread(str(pydicom.data.get_testdata_file("CT_small.dcm")))
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = STUDY, f"{STUDY}.1"
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{STUDY}.9.{number}"
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
