"""RLE Lossless frames (PS3.5 Annex G)."""

import struct

import numpy as np
import pytest

from service.dicom.pixels.rle import decode_rle, unpack_bits
from service.errors import NotRenderable


def frame(*segments):
    places, at = [], 64
    for part in segments:
        places.append(at)
        at += len(part)
    return struct.pack("<16I", len(segments), *places, *[0] * (15 - len(segments))) + b"".join(segments)


def test_the_example_of_runs_and_literals():
    assert unpack_bits(b"\x02\x01\x02\x03\xfe\x07\x80\x00\x09", 100) == b"\x01\x02\x03\x07\x07\x07\x09"


def test_no_more_bytes_come_out_than_were_asked_for():
    assert unpack_bits(b"\x81\x07" * 1000, 130) == b"\x07" * 130
    assert unpack_bits(b"\xff", 10) == b""


def test_the_most_significant_byte_comes_first():
    data = frame(b"\x01\x01\x02", b"\x01\x03\x04")
    assert decode_rle(data, 1, 2, 1, 16, []).tolist() == [[[0x0103, 0x0204]]]


def test_the_samples_of_a_pixel_are_planes():
    data = frame(b"\x00\x0a", b"\x00\x0b", b"\x00\x0c")
    assert decode_rle(data, 1, 1, 3, 8, []).tolist() == [[[10]], [[11]], [[12]]]


def test_a_short_segment_is_padded_and_noted():
    warnings = []
    decoded = decode_rle(frame(b"\x01\x05\x06"), 2, 2, 1, 8, warnings)
    assert decoded.tolist() == [[[5, 6], [0, 0]]]
    assert warnings == ["The RLE frame is short; the rest was taken to be zero."]


def test_a_missing_segment_is_noted():
    warnings = []
    assert decode_rle(frame(b"\x00\x01"), 1, 1, 1, 16, warnings).tolist() == [[[256]]]
    assert "number of segments" in warnings[0]


def test_a_segment_that_goes_on_is_cut():
    assert decode_rle(frame(b"\x81\x07" * 1000), 2, 2, 1, 8, []).tolist() == [[[7, 7], [7, 7]]]


def test_single_bits():
    assert decode_rle(frame(b"\x01\x05\x01"), 3, 3, 1, 1, []).tolist() == [[[1, 0, 1], [0, 0, 0], [0, 0, 1]]]


@pytest.mark.parametrize("data", [b"", bytes(63), bytes(64), struct.pack("<I", 16) + bytes(60)])
def test_a_broken_header_is_refused(data):
    with pytest.raises(NotRenderable, match="RLE frame"):
        decode_rle(data, 1, 1, 1, 8, [])


def test_offsets_that_lead_nowhere_give_zeros():
    data = struct.pack("<16I", 1, 0xFFFFFFF0, *[0] * 14)
    assert decode_rle(data, 1, 2, 1, 8, []).tolist() == [[[0, 0]]]


def test_broken_segments_never_raise():
    chance = np.random.default_rng(5)
    for _ in range(200):
        body = chance.integers(0, 256, 60, dtype=np.uint8).tobytes()
        assert decode_rle(frame(body[:20], body[20:]), 5, 5, 1, 16, []).shape == (1, 5, 5)
