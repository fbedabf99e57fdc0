"""Documents and video in their own type, byte for byte."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.encaps import generate_fragments

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.payloads import VIDEO_TYPES, Payload, encapsulated_document, media_type_of, video
from service.dicom.pixels import frames
from service.errors import LimitExceeded
from tests.dicom.pixels.build import build_file, fragments
from tests.dicom.written import explicit, part10

DEFLATED = "1.2.840.10008.1.2.1.99"


def document(content: bytes, mime: str | None = "application/pdf", length: int | None = None) -> bytes:
    """The elements of an encapsulated document."""
    written = explicit(0x00420011, "OB", content + b"\0" * (len(content) % 2))
    if mime is not None:
        written += explicit(0x00420012, "LO", mime.encode().ljust(len(mime) + len(mime) % 2))
    if length is not None:
        written += explicit(0x00420015, "UL", length.to_bytes(4, "little"))
    return written


def found(file: bytes) -> Payload | None:
    tree = read_tree(file, Limits())
    return encapsulated_document(tree.dataset, tree.read_bytes)


def content(payload: Payload | None, file: bytes) -> bytes:
    assert payload is not None
    joined = b"".join(file[start:stop] for start, stop in payload.ranges) + payload.content
    assert len(joined) == payload.length
    return joined


@pytest.mark.parametrize("size", [1, 2, 999, 1024, 1025, 5001])
def test_a_document_is_as_long_as_it_says(size):
    pdf = bytes(range(1, 256)) * 20
    file = part10(document(pdf[:size], length=size))
    payload = found(file)
    assert payload is not None
    assert payload.media_type == "application/pdf"
    assert content(payload, file) == pdf[:size]
    assert bool(payload.ranges) == (size + size % 2 > 1024)  # a long one is read from the original


@pytest.mark.parametrize("length", [None, 0, 5003, 2**32 - 1])
def test_without_a_length_that_can_be_right_a_document_is_the_whole_value(length):
    file = part10(document(b"x" * 5001, length=length))
    assert content(found(file), file) == b"x" * 5001 + b"\0"


def test_a_deflated_document_comes_inflated():
    file = part10(document(b"y" * 5001, length=5001), DEFLATED)
    assert b"yyyy" not in file
    assert found(file) == Payload("application/pdf", content=b"y" * 5001)


@pytest.mark.parametrize(
    ("named", "media_type"),
    [
        ("application/pdf", "application/pdf"),
        ("Application/PDF ", "application/pdf"),
        ("text/XML; charset=utf-8", "text/xml"),
        ("model/stl", "model/stl"),
        ("application/sla", "application/sla"),
        ("image/svg+xml", "image/svg+xml"),
        ("application/vnd.ms-excel.12", "application/vnd.ms-excel.12"),
        ("pdf", "application/octet-stream"),
        ("application/", "application/octet-stream"),
        ("/pdf", "application/octet-stream"),
        ("a b/pdf", "application/octet-stream"),
        ("text/html\r\nX-Evil: 1", "application/octet-stream"),
        ("text/\u00e9", "application/octet-stream"),
        ("application/" + "x" * 128, "application/octet-stream"),
        ("multipart/related", "application/octet-stream"),
        ("message/rfc822", "application/octet-stream"),
        ("*/*", "application/octet-stream"),
        ("", "application/octet-stream"),
    ],
)
def test_the_type_is_what_the_file_says_where_that_is_one(named, media_type):
    assert media_type_of({"MIMETypeOfEncapsulatedDocument": {"vr": "LO", "Value": [named]}}) == media_type


@pytest.mark.parametrize("element", [{"vr": "LO"}, {"vr": "LO", "Value": [None]}, {"vr": "IS", "Value": [1]}])
def test_no_type_at_all_is_that_of_bytes(element):
    assert media_type_of({"MIMETypeOfEncapsulatedDocument": element}) == "application/octet-stream"
    assert media_type_of({}) == "application/octet-stream"


def test_what_has_no_document_has_none():
    assert found(part10(explicit(0x00080060, "CS", b"CT"))) is None
    assert found(part10(document(b""))) is None


def moving(*parts: bytes, syntax: str, table: bytes = b"") -> bytes:
    pixels = np.zeros((3, 2, 2), np.uint8)
    return build_file(pixels, NumberOfFrames=3, encapsulated=fragments(*parts, table=table), syntax=syntax)


@pytest.mark.parametrize(("number", "media_type"), [
    ("100", "video/mpeg"), ("101", "video/mpeg"), ("101.1", "video/mpeg"),
    ("102", "video/mp4"), ("103", "video/mp4"), ("104", "video/mp4"), ("105.1", "video/mp4"), ("106", "video/mp4"),
    ("107", "video/H265"), ("108", "video/H265"),
])  # fmt: skip
def test_a_video_is_its_fragments_without_their_headers(number, media_type):
    clip = bytes(range(256)) * 40
    syntax = f"1.2.840.10008.1.2.4.{number}"
    for parts in ([clip], [clip[:100], clip[100:5000], clip[5000:]]):
        for table in (b"", bytes(4)):
            file = moving(*parts, syntax=syntax, table=table)
            payload = video(read_tree(file, Limits()).dataset, file)
            assert payload is not None
            assert payload.media_type == media_type
            assert content(payload, file) == clip
            if not table:
                pydicoms = pydicom.dcmread(pydicom.filebase.DicomBytesIO(file)).PixelData
                assert b"".join([*generate_fragments(pydicoms)][1:]) == clip


def test_every_syntax_of_a_video_has_a_type():
    named = [uid for uid, entry in pydicom._uid_dict.UID_dictionary.items() if "MPEG" in entry[0] or "HEVC" in entry[0]]
    assert {uid for uid in named if uid.startswith("1.2.840.10008.1.2.4.")} <= VIDEO_TYPES.keys()


def test_what_is_no_video_is_none():
    file = moving(b"abcd", syntax="1.2.840.10008.1.2.4.90")
    assert video(read_tree(file, Limits()).dataset, file) is None
    file = moving(syntax="1.2.840.10008.1.2.4.102")
    assert video(read_tree(file, Limits()).dataset, file) is None
    file = Path(str(pydicom.data.get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    assert video(read_tree(file, Limits()).dataset, file) is None


def test_a_video_of_too_many_fragments_is_refused(monkeypatch):
    monkeypatch.setattr("service.dicom.payloads.MAX_FRAGMENTS", 3)
    assert frames.MAX_FRAGMENTS > 1000
    file = moving(*[b"ab"] * 4, syntax="1.2.840.10008.1.2.4.102")
    with pytest.raises(LimitExceeded):
        video(read_tree(file, Limits()).dataset, file)


def test_a_cut_video_is_as_much_of_it_as_is_there():
    whole = moving(b"x" * 1000, b"y" * 1000, syntax="1.2.840.10008.1.2.4.102")
    file = whole[: whole.index(b"y" * 1000) + 300]
    assert content(video(read_tree(file, Limits()).dataset, file), file) == b"x" * 1000 + b"y" * 300
