"""The Image Pixel Module, its defaults and its refusals (PS3.3 C.7.6.3)."""

import pytest

from service.dicom.pixels.header import read_header
from service.dicom.pixels.limits import PixelLimits
from service.errors import LimitExceeded, NotRenderable


def dataset(**changes):
    found = {
        "Rows": 4,
        "Columns": 6,
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": 16,
        "BitsStored": 12,
        "HighBit": 11,
        "PixelRepresentation": 1,
        **changes,
    }
    elements = {key: {"vr": "US", "Value": [value]} for key, value in found.items() if value is not None}
    return {"PixelData": {"vr": "OW", "length": 48, "offset": 0}, **elements}


def header(**changes):
    return read_header(dataset(**changes), PixelLimits())


def test_what_is_there_is_taken():
    found = header(NumberOfFrames=1)
    assert (found.rows, found.columns, found.frames, found.samples) == (4, 6, 1, 1)
    assert (found.bits_allocated, found.bits_stored, found.high_bit, found.signed) == (16, 12, 11, True)
    assert found.warnings == ()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"BitsStored": None, "HighBit": None, "PixelRepresentation": None}, (16, 16, 15, False)),
        ({"HighBit": None}, (16, 12, 11, True)),
        ({"BitsStored": 20, "HighBit": 19}, (16, 16, 15, True)),
        ({"BitsStored": 0}, (16, 16, 15, True)),
        ({"HighBit": 3}, (16, 12, 11, True)),
        ({"HighBit": 15}, (16, 12, 15, True)),
        ({"BitsAllocated": None}, (16, 12, 11, True)),
        ({"BitsAllocated": None, "BitsStored": None, "HighBit": None, "Rows": 8}, (8, 8, 7, True)),
    ],
)
def test_missing_and_impossible_precisions_get_their_default(changes, expected):
    found = header(**changes)
    assert (found.bits_allocated, found.bits_stored, found.high_bit, found.signed) == expected


@pytest.mark.parametrize(
    ("changes", "photometric", "samples"),
    [
        ({"PhotometricInterpretation": None}, "MONOCHROME2", 1),
        ({"PhotometricInterpretation": None, "SamplesPerPixel": 3}, "RGB", 3),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": None}, "RGB", 3),
        ({"PhotometricInterpretation": " palette color "}, "PALETTE COLOR", 1),
        ({"PhotometricInterpretation": "RGB", "SamplesPerPixel": 1}, "MONOCHROME2", 1),
        ({"PhotometricInterpretation": "MONOCHROME1", "SamplesPerPixel": 3}, "RGB", 3),
    ],
)
def test_a_colour_model_that_is_missing_or_does_not_fit_is_guessed(changes, photometric, samples):
    found = header(**changes)
    assert (found.photometric, found.samples) == (photometric, samples)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"Rows": None}, r"\(0028,0010\) Rows is missing or not a number"),
        ({"Rows": "many"}, r"\(0028,0010\) Rows is missing or not a number"),
        ({"Columns": 1.5}, r"\(0028,0011\) Columns is missing or not a number"),
        ({"Rows": 0}, r"\(0028,0010\) Rows is not from 1 to 65535"),
        ({"Columns": -5}, r"\(0028,0011\) Columns is not from 1 to 65535"),
        ({"SamplesPerPixel": 0}, "Samples per Pixel"),
        ({"SamplesPerPixel": 200}, "Samples per Pixel"),
        ({"BitsAllocated": 24}, "24 bits"),
        ({"BitsAllocated": -3}, "-3 bits"),
    ],
)
def test_what_pixels_cannot_do_without_is_refused(changes, says):
    with pytest.raises(NotRenderable, match=says):
        header(**changes)


def test_an_object_without_pixels_says_so():
    with pytest.raises(NotRenderable, match="no pixels"):
        read_header({"Rows": {"Value": [4]}}, PixelLimits())
    with pytest.raises(NotRenderable, match="no pixels"):
        read_header({**dataset(), "PixelData": {"vr": "OW"}}, PixelLimits())


@pytest.mark.parametrize("number", ["100", "101", "102.1", "104", "107"])
def test_video_says_so(number):
    with pytest.raises(NotRenderable, match="video"):
        header(TransferSyntaxUID=f"1.2.840.10008.1.2.4.{number}")


def test_a_frame_past_the_limit_is_refused():
    with pytest.raises(LimitExceeded, match="1000 samples"):
        read_header(dataset(Rows=1001, Columns=1), PixelLimits(max_frame_pixels=1000))
    with pytest.raises(LimitExceeded):
        header(Rows=65535, Columns=65535)


def test_frames_that_are_no_number_are_one():
    assert header(NumberOfFrames="1A").frames == 1
    assert header(NumberOfFrames=0).warnings != ()
    assert header(NumberOfFrames="7 ").frames == 7


def test_pixels_said_to_share_their_colour_may_have_one_each():
    shared = {"PhotometricInterpretation": "YBR_FULL_422", "SamplesPerPixel": 3, "BitsAllocated": 8, "BitsStored": 8}
    assert header(**shared).is_halved
    full = dataset(**shared)
    full["PixelData"] = {"vr": "OB", "length": 72, "offset": 0}
    found = read_header(full, PixelLimits())
    assert (found.photometric, found.is_halved) == ("YBR_FULL", False)
