"""Colour models and palettes (PS3.3 C.7.6.3.1.2, C.7.6.3.1.5)."""

import numpy as np
import pytest

from service.dicom.pixels.colour import (
    apply_palette,
    cmyk_to_rgb,
    convert_by_rows,
    hsv_to_rgb,
    reduce_to_8_bits,
    ybr_full_to_rgb,
    ybr_partial_to_rgb,
)


def pixel(convert, *samples):
    return convert(np.array([[samples]], np.uint8))[0, 0].tolist()


@pytest.mark.parametrize(
    ("ybr", "rgb"),
    [
        ((0, 128, 128), [0, 0, 0]),
        ((255, 128, 128), [255, 255, 255]),
        ((76, 85, 255), [254, 0, 0]),
        ((150, 44, 21), [0, 255, 1]),
        ((29, 255, 107), [0, 0, 254]),
        ((100, 50, 200), [201, 75, 0]),  # 100 + 1.402 * 72; 100 + 0.344136 * 78 - 0.714136 * 72; 100 - 138
    ],
)
def test_ybr_full(ybr, rgb):
    assert pixel(ybr_full_to_rgb, *ybr) == rgb


@pytest.mark.parametrize(
    ("ybr", "rgb"), [((16, 128, 128), [0, 0, 0]), ((235, 128, 128), [255, 255, 255]), ((81, 90, 240), [254, 0, 0])]
)
def test_ybr_partial_has_its_black_at_16_and_its_white_at_235(ybr, rgb):
    assert pixel(ybr_partial_to_rgb, *ybr) == rgb


@pytest.mark.parametrize(
    ("hsv", "rgb"),
    [
        ((0, 0, 200), [200, 200, 200]),
        ((0, 255, 255), [255, 0, 0]),
        ((128, 255, 255), [0, 255, 255]),
        ((0, 255, 0), [0, 0, 0]),
    ],
)
def test_hsv(hsv, rgb):
    assert pixel(hsv_to_rgb, *hsv) == rgb


@pytest.mark.parametrize(
    ("cmyk", "rgb"), [((0, 0, 0, 0), [255] * 3), ((0, 0, 0, 255), [0] * 3), ((255, 0, 0, 0), [0, 255, 255])]
)
def test_cmyk(cmyk, rgb):
    assert pixel(cmyk_to_rgb, *cmyk) == rgb


@pytest.mark.parametrize(
    ("bits", "dtype", "values", "reduced"),
    [
        (8, np.uint8, [0, 7, 255], [0, 7, 255]),
        (1, np.uint8, [0, 1], [0, 255]),
        (12, np.uint16, [0, 2048, 4095], [0, 128, 255]),
        (16, np.uint16, [0, 32768, 65535], [0, 128, 255]),
        (32, np.uint32, [0, 1 << 31, (1 << 32) - 1], [0, 128, 255]),
        (1, np.uint8, [0, 1, 9, 255], [0, 255, 255, 255]),  # what a file says beyond Bits Stored is the largest
        (12, np.uint16, [2048, 4096, 65535], [128, 255, 255]),
        (20, np.uint32, [1 << 19, 1 << 20, 1 << 31], [128, 255, 255]),
    ],
)
def test_the_largest_sample_of_any_precision_is_full_colour(bits, dtype, values, reduced):
    assert reduce_to_8_bits(np.array(values, dtype), bits).tolist() == reduced


def test_a_palette_continues_beyond_its_ends():
    tables = [np.array(table, np.uint8) for table in ([1, 2, 3], [4, 5, 6], [7, 8])]
    coloured = apply_palette(np.array([[0, 10, 11, 12, 200]], np.uint8), 10, tables)
    assert coloured.tolist() == [[[1, 4, 7], [1, 4, 7], [2, 5, 8], [3, 6, 8], [3, 6, 8]]]


def test_a_palette_maps_negative_values():
    table = [np.array([10, 20], np.uint8)] * 3
    assert apply_palette(np.array([[-1, 0]], np.int16), -1, table)[0, :, 0].tolist() == [10, 20]


def test_bands_of_rows_leave_no_seam():
    image = np.random.default_rng(1).integers(0, 256, (3000, 1000, 3), dtype=np.uint8)
    assert (convert_by_rows(image, ybr_full_to_rgb)[::500] == ybr_full_to_rgb(image[::500])).all()
