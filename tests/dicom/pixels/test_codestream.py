"""What compressed frames say of themselves."""

import struct

import pytest

from service.dicom.pixels.codestream import Codestream, begins_codestream, jpeg_2000_part, read_codestream
from service.errors import NotRenderable
from tests.dicom.pixels.build import STREAMS, stream


def segment(marker, body):
    return b"\xff" + bytes([marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg(*segments, sof=0xC0, precision=8, rows=2, columns=3, components=((1, 0x11), (2, 0x11), (3, 0x11))):
    body = struct.pack(">BHHB", precision, rows, columns, len(components))
    body += b"".join(bytes([number, factors, 0]) for number, factors in components)
    return b"\xff\xd8" + b"".join(segments) + segment(sof, body) + segment(0xDA, b"")


JFIF = segment(0xE0, b"JFIF\0\1\1\0\0\1\0\1\0\0")


def adobe(transform):
    return segment(0xEE, b"Adobe\0\x64\0\0\0\0" + bytes([transform]))


RGB_NAMES = ((82, 0x11), (71, 0x11), (66, 0x11))


@pytest.mark.parametrize(
    ("segments", "components", "transformed"),
    [
        ((), None, None),
        ((JFIF,), None, True),
        ((adobe(0),), None, False),
        ((adobe(1),), None, True),
        ((JFIF, adobe(0)), None, False),
        ((), RGB_NAMES, False),
        ((segment(0xE0, b"other"),), None, None),
        ((segment(0xFE, b"\xff\xc0 a comment"),), None, None),
    ],
)
def test_jpeg_says_by_its_markers_whether_it_is_ycbcr(segments, components, transformed):
    data = jpeg(*segments, components=components) if components else jpeg(*segments)
    found = read_codestream(data)
    assert (found.kind, found.columns, found.rows, found.samples, found.precision) == ("jpeg", 3, 2, 3, 8)
    assert found.transformed is transformed
    assert not found.subsampled


def test_jpeg_says_that_it_is_subsampled():
    assert read_codestream(jpeg(components=((1, 0x22), (2, 0x11), (3, 0x11)))).subsampled


def test_fill_bytes_and_lone_markers_are_passed_over():
    data = jpeg()
    assert read_codestream(data[:2] + b"\xff\xff\xff\x01" + data[2:]).columns == 3


@pytest.mark.parametrize(("sof", "kind"), [(0xC1, "jpeg"), (0xC2, "jpeg"), (0xC3, "jpeg-lossless"), (0xF7, "jpeg-ls")])
def test_the_frame_header_tells_the_kind(sof, kind):
    assert read_codestream(jpeg(sof=sof)).kind == kind


def test_jpeg_2000_tells_sign_precision_and_transformation():
    assert read_codestream(stream("signed.j2k")) == Codestream("jpeg-2000", 20, 24, 1, 16, True, False)
    assert read_codestream(stream("colour.j2k")) == Codestream("jpeg-2000", 20, 24, 3, 8, False, True)
    assert read_codestream(stream("colour_untransformed.j2k")).transformed is False
    assert read_codestream(stream("grey.htj2k")) == Codestream("jpeg-2000", 20, 24, 1, 16, False, False)


def test_a_wrapped_jpeg_2000_stream_is_found():
    wrapped = stream("colour.jp2")
    assert begins_codestream(wrapped)
    assert read_codestream(wrapped).columns == 20
    assert jpeg_2000_part(wrapped)[:4] == b"\xff\x4f\xff\x51"
    assert read_codestream(wrapped[:40]) is None


def test_what_is_no_such_stream_is_none():
    assert read_codestream(b"") is None
    assert read_codestream(b"\x01\0\0\0" + bytes(60)) is None


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (jpeg()[:10], "within its own header"),
        (b"\xff\xd8\xff\xd9\0\0", "no frame header"),
        (b"\xff\xd8\xff\xe0\0\x04ab\0\0\0\0", "no marker"),
        (jpeg(sof=0xC5), "hierarchical"),
        (jpeg(precision=182, sof=0xC3), "182 bits"),
        (jpeg(precision=16), "16 bits"),
        (stream("grey.j2k")[:20], "within its own header"),
    ],
)
def test_a_broken_header_is_refused(data, says):
    with pytest.raises(NotRenderable, match=says):
        read_codestream(data)


@pytest.mark.parametrize("path", sorted(STREAMS.iterdir()), ids=lambda path: path.name)
def test_no_cut_of_a_header_is_more_than_a_refusal(path):
    data = path.read_bytes()
    for length in range(0, 120, 3):
        try:
            read_codestream(data[:length])
        except NotRenderable:
            continue
