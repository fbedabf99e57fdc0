"""The grayscale transformation sequence (PS3.4 N.2)."""

import numpy as np
import pytest

from service.dicom.pixels.grey import (
    Modality,
    Presentation,
    find_extremes,
    read_modality,
    read_presentation,
    to_grey,
)
from service.dicom.pixels.luts import Lut
from service.dicom.pixels.voi import Voi, Window, from_extremes

PLAIN = Presentation()


def modality(dataset, *, frame=0, signed=False, warnings=None):
    return read_modality(dataset, frame, lambda _: b"", [] if warnings is None else warnings, signed=signed)


def test_rescale_then_window_then_rounding():
    samples = np.array([[0, 1024, 1064, 1104, 4095]], np.uint16)
    shaded = to_grey(samples, Modality(1, -1024), Voi("window", Window(40, 81)), PLAIN)
    # HU -1024, 0, 40, 80, 3071; (0 - 39.5) / 80 + 0.5 = 0.00625 -> 1.6 -> 2; (40 - 39.5) / 80 + 0.5 -> 129.1
    assert shaded.tolist() == [[0, 2, 129, 255, 255]]


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32, np.int64])
def test_every_integer_type_spans_black_to_white(dtype):
    ends = np.iinfo(dtype)
    samples = np.array([[ends.min, 0, ends.max]], dtype)
    shaded = to_grey(samples, Modality(), from_extremes(*find_extremes(samples, Modality())), PLAIN)
    assert (shaded[0, 0], shaded[0, 2]) == (0, 255)
    if ends.min:
        assert shaded[0, 1] in (127, 128)


def test_floats_that_are_no_numbers_are_black_and_do_not_count():
    samples = np.array([[np.nan, -np.inf, 0.0, 0.25, 1.0, np.inf]], np.float32)
    lowest, highest = find_extremes(samples, Modality())
    assert (lowest, highest) == (0, 1)
    shaded = to_grey(samples, Modality(), from_extremes(lowest, highest), PLAIN)
    assert shaded.tolist() == [[0, 0, 0, 64, 255, 255]]
    assert find_extremes(np.array([[np.nan]]), Modality()) == (0, 0)


def test_a_falling_slope_turns_the_picture_over():
    samples = np.array([[0, 10]], np.uint8)
    falling = Modality(-2, 5)
    assert find_extremes(samples, falling) == (-15, 5)
    assert to_grey(samples, falling, from_extremes(-15, 5), PLAIN).tolist() == [[255, 0]]


def test_a_modality_lut_gives_the_values_that_the_window_sees():
    table = Modality(lut=Lut(1, np.array([100, 0, 50], np.uint16), 16))
    samples = np.array([[0, 1, 2, 3, 9]], np.uint8)
    assert find_extremes(samples, table) == (0, 100)
    assert to_grey(samples, table, from_extremes(0, 100), PLAIN).tolist() == [[255, 255, 0, 128, 128]]


def test_large_frames_are_done_in_blocks_without_a_seam():
    samples = np.arange(3 * (1 << 20), dtype=np.uint32).reshape(3, -1)
    shaded = to_grey(samples, Modality(), from_extremes(0, samples.size - 1), PLAIN)
    expected = np.floor(samples * (255 / (samples.size - 1)) + 0.5)
    assert (shaded == expected).all()


def test_the_frame_has_its_own_rescale_before_that_of_the_dataset():
    def group(slope):
        values = {"RescaleSlope": {"Value": [slope]}, "RescaleIntercept": {"Value": [1]}}
        return {"PixelValueTransformationSequence": {"Value": [values]}}

    dataset = {"RescaleSlope": {"Value": [9]}, "PerFrameFunctionalGroupsSequence": {"Value": [group(2), group(3)]}}
    assert modality(dataset, frame=1) == Modality(3, 1)
    assert modality(dataset, frame=5) == Modality(9, 0)


def test_a_modality_lut_comes_before_the_rescale_and_an_empty_one_is_left_out():
    item = {"LUTDescriptor": {"Value": [2, 0, 8]}, "LUTData": {"InlineBinary": b"\x00\xff"}}
    dataset = {"ModalityLUTSequence": {"Value": [item]}, "RescaleSlope": {"Value": [9]}}
    assert modality(dataset).lut is not None
    warnings = []
    dataset["ModalityLUTSequence"] = {"Value": [{}]}
    assert modality(dataset, warnings=warnings) == Modality(9, 0)
    assert len(warnings) == 1


@pytest.mark.parametrize("element", [{"vr": "DS", "Value": [0]}, {"vr": "DS", "raw": "steep", "problem": "no number"}])
def test_a_slope_that_is_none_is_left_out_and_noted(element):
    warnings = []
    assert modality({"RescaleSlope": element, "RescaleIntercept": {"Value": [5]}}, warnings=warnings) == Modality(1, 5)
    assert warnings == ["(0028,1053) Rescale Slope is not a number other than 0, and was left out."]


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", None, False),
        ("MONOCHROME1", None, True),
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "LIN OD", True),
    ],
)
def test_monochrome1_and_the_shape_inverse_are_one_inversion(photometric, shape, inverted):
    dataset = {"PresentationLUTShape": {"Value": [shape]}} if shape else {}
    assert read_presentation(dataset, photometric, lambda _: b"") == Presentation(inverted=inverted)


def test_a_presentation_lut_maps_the_whole_range():
    item = {"LUTDescriptor": {"Value": [3, 0, 8]}, "LUTData": {"InlineBinary": b"\xff\x00\x80\x00"}}
    presentation = read_presentation({"PresentationLUTSequence": {"Value": [item]}}, "MONOCHROME2", lambda _: b"")
    shaded = to_grey(np.array([[0, 1, 2]], np.uint8), Modality(), from_extremes(0, 2), presentation)
    assert shaded.tolist() == [[255, 0, 128]]


def test_doubles_at_the_end_of_their_range_are_shaded_without_a_complaint():
    samples = np.array([[-1e308, 0, 1e308]])
    shaded = to_grey(samples, Modality(10, 0), Voi("window", Window(0, 1e-300, "SIGMOID")), PLAIN)
    assert shaded.tolist() == [[0, 128, 255]]
