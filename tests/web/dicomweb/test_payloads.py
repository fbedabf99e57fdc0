"""Videos and documents as bulk data: files of their own kind, of their own length (PS3.18 8.7.3, PS3.3 C.24.2)."""

import io
from urllib.parse import quote

import pydicom
import pytest
from pydicom.encaps import encapsulate

from tests.dicom.kinds import KINDS, written
from tests.web.dicomweb.patient import STREAM, content_of, numbered, video
from tests.web.dicomweb.retrieved import parts_of

INSTANCE = "/studies/1.2.826.0.1.3680043.9.1.0/series/1.2.826.0.1.3680043.9.2.1/instances/1.2.826.0.1.3680043.9.3.1.1"
OCTETS = "application/octet-stream"
PDF = b"%PDF-1.4 a document of 31 bytes"


def clip(syntax, fragments):
    dataset = pydicom.dcmread(io.BytesIO(video()))
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate(fragments, has_bot=False)
    target = io.BytesIO()
    dataset.save_as(target)
    return numbered(target.getvalue(), 1, 1)


def document(media_type, content, syntax="explicit", length=True):
    dataset = KINDS["PDF"]()
    dataset.MIMETypeOfEncapsulatedDocument = media_type
    dataset.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    if length:
        dataset.EncapsulatedDocumentLength = len(content)
    elif "EncapsulatedDocumentLength" in dataset:
        del dataset.EncapsulatedDocumentLength
    return numbered(written(dataset, syntax), 1, 1)


@pytest.mark.parametrize(
    ("syntax", "kind"),
    [
        ("1.2.840.10008.1.2.4.100", "video/mpeg"),
        ("1.2.840.10008.1.2.4.102", "video/mp4"),
        ("1.2.840.10008.1.2.4.106", "video/mp4"),
        ("1.2.840.10008.1.2.4.107", "video/H265"),
    ],
)
def test_a_video_is_its_stream_without_the_headers_of_fragments(patient, syntax, kind):
    patient.upload(clip(syntax, [STREAM[:40], STREAM[40:90], STREAM[90:]]))
    there = f"{INSTANCE}/bulkdata/7FE00010"
    for accept in (None, "*/*", kind, "video/*", f"{kind}; transfer-syntax={syntax}"):
        answer = patient.get(there, headers={"Accept": accept})
        assert (answer.status_code, answer.headers["Content-Type"], answer.content) == (200, kind, STREAM)
    assert patient.get(f"{there}?accept={quote(kind)}").headers["Content-Type"] == kind
    assert patient.get(there, headers={"Accept": OCTETS}).content == STREAM
    ((headers, content),) = parts_of(patient.get(there, headers={"Accept": f'multipart/related; type="{kind}"'}))
    assert (headers["Content-Type"], content) == (f"{kind}; transfer-syntax={syntax}", STREAM)
    assert patient.get(there, headers={"Accept": "image/png"}).status_code == 406
    (uri,) = (each["7FE00010"]["BulkDataURI"] for each in patient.get(f"{INSTANCE}/metadata").json())
    assert patient.session.get(uri, timeout=30).content == STREAM


def test_a_player_may_ask_for_ranges_across_fragments(patient):
    patient.upload(clip("1.2.840.10008.1.2.4.102", [STREAM[:40], STREAM[40:90], STREAM[90:]]))
    whole = patient.get(f"{INSTANCE}/bulkdata/7FE00010")
    for start, stop in ((0, 1), (0, 40), (39, 41), (40, 90), (30, 100), (95, len(STREAM))):
        part = patient.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Range": f"bytes={start}-{stop - 1}"})
        assert (part.status_code, part.content) == (206, STREAM[start:stop])
        assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{len(STREAM)}"
        assert part.headers["ETag"] == whole.headers["ETag"]


@pytest.mark.parametrize("syntax", ["explicit", "implicit", "big", "deflated"])
@pytest.mark.parametrize("padding", [b"", b" and more of it, so that it does not stand in the tag tree" * 40])
@pytest.mark.parametrize(
    ("named", "kind"),
    [
        ("application/pdf", "application/pdf"),
        ("text/xml", "text/xml"),
        ("model/stl", "model/stl"),
        ("no media type", OCTETS),
        ("multipart/mixed", OCTETS),
    ],
)
def test_a_document_is_what_it_says_it_is(patient, named, kind, padding, syntax):
    content = PDF + padding + b"!" * (1 - (len(PDF) + len(padding)) % 2)  # of odd length
    patient.upload(document(named, content, syntax))
    answer = patient.get(f"{INSTANCE}/bulkdata/00420011")
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, kind)
    assert answer.content == content + (b"\0" if kind == OCTETS else b"")
    assert answer.headers["Content-Disposition"] == "attachment"
    assert "sandbox" in answer.headers["Content-Security-Policy"]
    if kind != OCTETS:
        assert patient.get(f"{INSTANCE}/bulkdata/00420011?accept={quote(kind)}").content == content
        ((headers, part),) = parts_of(
            patient.get(f"{INSTANCE}/bulkdata/00420011", headers={"Accept": f'multipart/related; type="{kind}"'})
        )
        assert (headers["Content-Type"], part) == (kind, content)
    as_value = patient.get(f"{INSTANCE}/bulkdata/EncapsulatedDocument", headers={"Accept": OCTETS})
    assert (as_value.headers["Content-Type"], as_value.content) == (OCTETS, content + b"\0")


def test_a_document_that_does_not_say_how_long_it_is_is_the_whole_value(patient):
    patient.upload(document("application/pdf", PDF, length=False))
    assert patient.get(f"{INSTANCE}/bulkdata/00420011").content == PDF + b"\0"


def test_other_bulk_data_is_bytes_as_before(patient):
    patient.upload(numbered(content_of("CT_small.dcm"), 1, 1))
    answer = patient.get(f"{INSTANCE}/bulkdata/7FE00010")
    assert answer.headers["Content-Type"] == OCTETS
    assert patient.get(f"{INSTANCE}/bulkdata/00420011").status_code == 404
    assert patient.get(f"{INSTANCE}/bulkdata/7FE00010", headers={"Accept": "video/mp4"}).status_code == 406
