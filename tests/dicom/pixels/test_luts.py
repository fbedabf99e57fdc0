"""Lookup tables, plain and segmented (PS3.3 C.11.1, C.7.9.2)."""

import numpy as np
import pytest

from service.dicom.pixels.luts import Lut, expand_segments, read_lut, read_segmented_lut


def read(item, *, signed_input=False):
    return read_lut(item, "LUTDescriptor", "LUTData", lambda _: b"", signed_input=signed_input)


def element(descriptor, data=None, **rest):
    data = {"vr": "OW", "InlineBinary": np.asarray(data, "<u2").tobytes()} if data is not None else rest
    return {"LUTDescriptor": {"vr": "US", "Value": descriptor}, "LUTData": data}


def test_what_is_outside_a_table_takes_its_ends():
    lut = Lut(10, np.array([5, 6, 7], np.uint16), 8)
    assert lut.apply(np.array([-100, 9, 10, 11, 12, 13, 1e9])).tolist() == [5, 5, 5, 6, 7, 7, 7]


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_what_is_below_a_table_takes_its_first_entry_in_every_type(dtype):
    lut = Lut(10, np.array([5, 6, 7], np.uint16), 8)
    assert lut.apply(np.array([5, 9, 10, 11, 127], dtype)).tolist() == [5, 5, 5, 6, 7]
    assert Lut(65535, lut.entries, 8).apply(np.array([0, 127], dtype)).tolist() == [5, 5]
    assert Lut(-32768, lut.entries, 8).apply(np.array([0, 127], dtype)).tolist() == [7, 7]


def test_the_ends_of_64_bits_take_the_ends_of_a_table():
    lut = Lut(10, np.array([5, 6, 7], np.uint16), 8)
    assert lut.apply(np.array([0, 11, 2**63, 2**64 - 1], np.uint64)).tolist() == [5, 6, 7, 7]
    assert lut.apply(np.array([-(2**63), 11, 2**63 - 1], np.int64)).tolist() == [5, 6, 7]


def test_numbers_are_rounded_to_entries_and_what_is_no_number_takes_the_first():
    lut = Lut(0, np.array([5, 6, 7], np.uint16), 8)
    assert lut.apply(np.array([0.4, 0.5, 1.4, np.nan])).tolist() == [5, 6, 6, 5]


def test_zero_entries_mean_65536():
    lut = read(element([0, 0, 16], range(65536)))
    assert (len(lut.entries), lut.bits, lut.apply(np.array([65535]))[0]) == (65536, 16, 65535)


@pytest.mark.parametrize(("first", "signed", "expected"), [(-2, True, -2), (65534, True, -2), (65534, False, 65534)])
def test_the_first_value_is_signed_where_its_input_may_be(first, signed, expected):
    assert read(element([3, first, 8], [1, 2, 3]), signed_input=signed).first == expected


def test_entries_stand_in_bytes_in_words_in_values_or_in_the_file():
    packed = {"LUTDescriptor": {"Value": [4, 0, 8]}, "LUTData": {"vr": "OW", "InlineBinary": b"\x01\x02\x03\x04"}}
    assert read(packed).entries.tolist() == [1, 2, 3, 4]
    assert read(element([4, 0, 8], [1, 2, 3, 4])).entries.tolist() == [1, 2, 3, 4]
    assert read(element([2, 0, 16], vr="SS", Value=[-1, 7])).entries.tolist() == [65535, 7]
    far = element([2, 0, 16], vr="OW", length=4)
    found = read_lut(far, "LUTDescriptor", "LUTData", lambda _: b"\x01\x00\x02\x00", signed_input=False)
    assert found.entries.tolist() == [1, 2]


def test_an_odd_table_of_bytes_is_read_with_its_padding():
    packed = {"LUTDescriptor": {"Value": [3, 0, 8]}, "LUTData": {"vr": "OW", "InlineBinary": b"\x01\x02\x03\x00"}}
    assert read(packed).entries.tolist() == [1, 2, 3]


def test_a_table_is_used_as_far_as_it_goes():
    assert read(element([10, 0, 16], [1, 2, 3])).entries.tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    "item", [{}, element([], [1]), element([4, 0], [1]), element([4, 0, 8]), element([4, 0, 8], [])]
)
def test_an_absent_or_empty_table_is_none(item):
    assert read(item) is None


def test_a_precision_that_cannot_be_is_taken_from_the_entries():
    assert read(element([3, 0, 8], [0, 500, 1000])).bits == 10
    assert read(element([3, 0, 0], [0, 1, 3])).bits == 2
    assert read(element([3, 0, 99], [0, 0, 0])).bits == 1


def test_segments_are_discrete_linear_and_repeated():
    words = [0, 2, 10, 20, 1, 4, 40, 2, 1, 0, 0]
    assert expand_segments(words, 2, 100).tolist() == [10, 20, 25, 30, 35, 40, 10, 20]


def test_a_repetition_is_placed_by_its_byte_offset_and_may_repeat_a_line_from_where_it_is():
    words = [0, 1, 100, 1, 2, 200, 2, 1, 6, 0]
    assert expand_segments(words, 2, 100).tolist() == [100, 150, 200, 200, 200]


def test_segments_of_bytes_have_an_offset_of_four():
    words = [0, 2, 7, 8, 2, 1, 0, 0, 0, 0]
    assert expand_segments(words, 1, 100).tolist() == [7, 8, 7, 8]


@pytest.mark.parametrize(
    ("words", "entries"),
    [
        ([0, 2, 7, 8, 99, 1, 1], [7, 8]),
        ([0, 200, 7, 8], [7, 8]),
        ([2, 5, 0, 0], []),
        ([2, 5, 999, 0], []),
        ([], []),
        ([1], []),
        ([0, 1, 5, 1, 0, 9], [5]),
    ],
)
def test_broken_segments_end_the_table(words, entries):
    assert expand_segments(words, 2, 100).tolist() == entries


def test_segments_make_no_more_entries_than_the_descriptor_says():
    assert len(expand_segments([0, 1, 0, 1, 65535, 65535, 2, 65535, 6, 0], 2, 256)) == 256


def test_a_segmented_table_is_read_by_its_descriptor():
    item = {
        "LUTDescriptor": {"Value": [8, 0, 8]},
        "LUTData": {"vr": "OW", "InlineBinary": bytes([0, 2, 7, 8, 2, 1, 0, 0, 0, 0])},
    }
    lut = read_segmented_lut(item, "LUTDescriptor", "LUTData", lambda _: b"", signed_input=False)
    assert (lut.entries.tolist(), lut.bits) == ([7, 8, 7, 8], 8)
