"""Stored bytes to stored values (PS3.5 section 8)."""

import numpy as np
import pytest

from service.dicom.pixels.native import arrange_planes, expand_422, extract_samples, swap_words, unpack_cells


def test_words_are_swapped_and_an_incomplete_last_one_is_kept():
    assert swap_words(b"\x01\x02\x03\x04\x05", 2) == b"\x02\x01\x04\x03\x05"
    assert swap_words(b"\x01\x02\x03\x04", 4) == b"\x04\x03\x02\x01"


@pytest.mark.parametrize(
    ("bits", "data", "cells"),
    [
        (8, b"\x01\xff", [1, 255]),
        (16, b"\x01\x02\xff\xff", [0x0201, 0xFFFF]),
        (32, b"\x01\x00\x00\x80", [0x80000001]),
        (64, b"\x01\x00\x00\x00\x00\x00\x00\x80", [0x8000000000000001]),
        (1, b"\x05", [1, 0, 1, 0, 0, 0, 0, 0]),
        (12, b"\x23\x61\x45", [0x123, 0x456]),
        (4, b"\x21\x43", [1, 2, 3, 4]),
    ],
)
def test_cells_of_any_width_are_unpacked_least_significant_bit_first(bits, data, cells):
    assert unpack_cells(data, len(cells), bits).tolist() == cells


def test_single_bits_may_begin_within_a_byte():
    assert unpack_cells(b"\b\x01", 6, 1, first_bit=3).tolist() == [1, 0, 0, 0, 0, 1]


@pytest.mark.parametrize(
    ("cell", "stored", "high", "signed", "value"),
    [
        (0xF123, 12, 11, False, 0x123),  # what stands above the high bit is no part of the sample
        (0x1235, 12, 15, False, 0x123),  # nor what stands below
        (0x3FFF, 12, 12, False, 0xFFF),
        (0x0FFF, 12, 11, True, -1),
        (0x07FF, 12, 11, True, 2047),
        (0x8000, 16, 15, True, -32768),
        (0x8000, 16, 15, False, 32768),
    ],
)
def test_a_sample_is_cut_out_of_its_cell_and_its_sign_is_spread(cell, stored, high, signed, value):
    assert extract_samples(np.array([cell], "<u2"), stored, high, signed).tolist() == [value]


def test_single_bits_keep_their_value_and_their_width():
    assert extract_samples(np.array([0, 1], np.uint8), 1, 0, signed=False).tolist() == [0, 1]


def test_planes_are_brought_together():
    by_pixel = arrange_planes(np.arange(12), 2, 2, 3, 0)
    by_plane = arrange_planes(np.arange(12), 2, 2, 3, 1)
    assert by_pixel[0, 1].tolist() == [3, 4, 5]
    assert by_plane[0, 1].tolist() == [1, 5, 9]
    assert arrange_planes(np.arange(4), 2, 2, 1, 1).tolist() == [[0, 1], [2, 3]]


def test_neighbours_share_their_colour():
    expanded = expand_422(np.array([10, 20, 100, 200], np.uint8), 1, 2)
    assert expanded.tolist() == [[[10, 100, 200], [20, 100, 200]]]
