"""One frame found among many (PS3.5 8.2, A.4)."""

import struct

import numpy as np
import pytest

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels import frames
from service.dicom.pixels.header import read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.stored import decode_frame, native_bytes, stored_frame
from service.errors import Invalid, LimitExceeded, NotRenderable
from service.usecases.dicomweb.frames import read_frames
from tests.dicom.pixels.build import GREY_16, build_file, fragments, stream

LIMITS = PixelLimits()
JPEG_2000 = "1.2.840.10008.1.2.4.90"
A, B, C = stream("grey.j2k"), stream("signed.j2k"), stream("grey.htj2k")


def stored(file, frame):
    return stored_frame(file, read_tree(file, Limits()), frame, LIMITS)


def decoded(file, frame):
    tree = read_tree(file, Limits())
    header = read_header(tree.dataset, LIMITS)
    return decode_frame(file, tree, header, frame, LIMITS, [])


def compressed(encapsulated, frames=3, syntax=JPEG_2000, **elements):
    return (
        build_file(GREY_16, encapsulated=encapsulated, syntax=syntax, **elements)
        if frames == 1
        else build_file(
            np.stack([GREY_16] * frames), encapsulated=encapsulated, syntax=syntax, NumberOfFrames=frames, **elements
        )
    )


def even(data):
    return data + b"\0" * (len(data) % 2)


def offsets(*parts):
    places, at = [], 0
    for group in parts:
        places.append(at)
        at += sum(8 + len(even(part)) for part in group)
    return struct.pack(f"<{len(places)}I", *places)


def halves(data):
    middle = len(data) // 4 * 2
    return data[:middle], data[middle:]


SPLIT = [halves(part) for part in (A, B, C)]
FLAT = [half for pair in SPLIT for half in pair]


@pytest.mark.parametrize(
    "encapsulated",
    [
        fragments(A, B, C),
        fragments(A, B, C, table=offsets([A], [B], [C])),
        fragments(A, B, C, table=struct.pack("<3I", 0, 4, 8)),
        fragments(A, B, C, table=struct.pack("<3I", 0, 0, 0)),
        fragments(A, B, C, table=struct.pack("<2I", 0, 9)),
        fragments(A, B, C, table=struct.pack("<3I", 0, 10**9, 2 * 10**9)),
        fragments(*FLAT, table=offsets(*SPLIT)),
        fragments(*FLAT),
        fragments(*FLAT, table=struct.pack("<3I", 8, 300, 600)),
    ],
    ids=[
        "one fragment a frame",
        "with an offset table",
        "offsets that lead to no item",
        "offsets that stand still",
        "too few offsets",
        "offsets past the end",
        "several fragments a frame",
        "several without a table",
        "several with a wrong table",
    ],
)
def test_a_frame_is_found_whatever_the_offset_table_says(encapsulated):
    file = compressed(encapsulated)
    assert [stored(file, n)[0].rstrip(b"\0") for n in range(3)] == [part.rstrip(b"\0") for part in (A, B, C)]
    assert stored(file, 0)[1] == JPEG_2000


def test_the_extended_offset_table_is_used():
    table = np.frombuffer(offsets(*SPLIT), "<u4").astype("<u8").tobytes()
    lengths = struct.pack("<3Q", len(A), len(B), len(C))
    file = compressed(fragments(*FLAT), ExtendedOffsetTable=table, ExtendedOffsetTableLengths=lengths)
    assert stored(file, 1)[0].rstrip(b"\0") == B.rstrip(b"\0")


def test_of_one_frame_every_fragment_is_part():
    assert stored(compressed(fragments(*SPLIT[0]), frames=1), 0)[0].rstrip(b"\0") == A.rstrip(b"\0")


def test_more_streams_than_frames_are_not_run_together():
    assert stored(compressed(fragments(A, B), frames=1), 0)[0].rstrip(b"\0") == A.rstrip(b"\0")


def test_a_frame_that_is_not_there_is_said_to_be_missing():
    with pytest.raises(NotRenderable, match="Frame 3 is missing: the pixel data ends after frame 2"):
        stored(compressed(fragments(A, B)), 2)


def test_fragments_that_begin_no_stream_and_do_not_count_up_are_refused():
    with pytest.raises(NotRenderable, match="do not tell where a frame begins"):
        stored(compressed(fragments(b"ab", b"cd", b"ef", b"gh")), 1)


def test_no_fragments_at_all_are_refused():
    with pytest.raises(NotRenderable, match="no fragments"):
        stored(compressed(fragments(), frames=1), 0)


def test_a_compressed_frame_of_absurd_length_is_refused():
    with pytest.raises(LimitExceeded, match="several times the bytes"):
        stored(compressed(fragments(bytes(17 << 20)), frames=1), 0)


@pytest.mark.parametrize("frame", [-1, 3, 10**9])
def test_a_frame_out_of_range_is_refused_with_their_number(frame):
    with pytest.raises(Invalid, match="this object has 3 frames"):
        stored(compressed(fragments(A, B, C)), frame)


CUBE = np.arange(3 * 5 * 7, dtype=np.uint8).reshape(3, 5, 7)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
def test_native_frames_of_odd_length_are_cut_out(syntax):
    file = build_file(CUBE, NumberOfFrames=3, syntax=syntax, vr="OB")
    for n in range(3):
        assert stored(file, n)[0] == CUBE[n].tobytes()
        assert (decoded(file, n).samples == CUBE[n]).all()


@pytest.mark.parametrize("table", [b"", b"wrong table!"])
@pytest.mark.parametrize("split", [False, True])
def test_many_frames_without_an_offset_table_take_one_walk(monkeypatch, table, split):
    count = 1000
    parts = [half for _ in range(count) for half in halves(A)] if split else [A] * count
    file = compressed(fragments(*parts, table=table), frames=2).replace(b"IS\x02\x002 ", b"IS\x04\x001000")
    walked = 0
    walk = frames.walk_items

    def counted(*arguments):
        nonlocal walked
        for part in walk(*arguments):
            walked += 1
            yield part

    monkeypatch.setattr(frames, "walk_items", counted)
    found = read_frames(file, range(count), False, Limits(), LIMITS)
    assert len(found) == count
    assert {data for data, _ in found} == {even(A)}
    assert walked < 4 * len(parts)  # once to find them all, and each once as it is read


def test_a_table_that_leads_past_the_file_is_not_believed():
    far = struct.pack("<3Q", 0, 2**63 - 2, 2**63 - 1)
    file = compressed(fragments(A, B, C), tags={"ExtendedOffsetTable": far})
    assert [stored(file, n)[0] for n in range(3)] == [even(A), even(B), even(C)]


def test_what_is_compressed_in_an_unnamed_way_is_given_decoded():
    nameless = compressed(fragments(A), frames=1).replace(b"1.2.840.10008.1.2.4.90", b"nothing that is a UID!")
    for decoding in (False, True):
        assert read_frames(nameless, [0], decoding, Limits(), LIMITS) == [(GREY_16.tobytes(), "1.2.840.10008.1.2.1")]


def test_big_endian_words_of_bytes_are_swapped_back():
    data = CUBE.tobytes() + b"\0"
    file = build_file(
        CUBE,
        data=np.frombuffer(data, ">u2").astype("<u2").tobytes(),
        NumberOfFrames=3,
        syntax="1.2.840.10008.1.2.2",
    )
    assert stored(file, 1)[0] == CUBE[1].tobytes()


@pytest.mark.parametrize("dtype", ["u2", "i2", "u4", "i4"])
def test_big_endian_samples(dtype):
    values = np.array([[1, 2, 3], [100, 200, 30000]], dtype=f"<{dtype}")
    file = build_file(values, data=values.astype(f">{dtype}").tobytes(), syntax="1.2.840.10008.1.2.2")
    assert (decoded(file, 0).samples == values).all()
    assert stored(file, 0) == (values.tobytes(), "1.2.840.10008.1.2.1")


def test_frames_of_single_bits_begin_anywhere():
    bits = (np.random.default_rng(2).random((4, 3, 7)) > 0.5).astype(np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    file = build_file(bits, data=packed, NumberOfFrames=4, BitsAllocated=1, BitsStored=1, HighBit=0)
    for n in range(4):
        assert (decoded(file, n).samples == bits[n]).all()
        assert stored(file, n)[0] == np.packbits(bits[n].reshape(-1), bitorder="little").tobytes()


def test_short_native_data_is_padded_with_zeros_and_a_missing_frame_is_missing():
    file = build_file(CUBE, data=CUBE.tobytes()[:50], NumberOfFrames=3, vr="OB")
    tree = read_tree(file, Limits())
    warnings = []
    found = decode_frame(file, tree, read_header(tree.dataset, LIMITS), 1, LIMITS, warnings).samples.reshape(-1)
    assert found.tolist() == [*range(35, 50), *[0] * 20]
    assert warnings == ["The pixel data is short; the rest of the frame was taken to be zero."]
    with pytest.raises(NotRenderable, match="ends before it"):
        decoded(file, 2)


def test_a_decoded_frame_goes_out_as_little_endian_bytes():
    file = compressed(fragments(A), frames=1)
    tree = read_tree(file, Limits())
    header = read_header(tree.dataset, LIMITS)
    frame = decode_frame(file, tree, header, 0, LIMITS, [])
    assert native_bytes(frame, header) == GREY_16.tobytes()
