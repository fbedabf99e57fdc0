"""Files to pictures, end to end."""

import numpy as np
import pytest
from pydicom.dataset import Dataset

from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.render import RENDERER_VERSION, RenderRequest, render
from service.errors import Invalid, LimitExceeded, NotDicom, NotRenderable
from tests.dicom.pixels.build import GREY_8, GREY_16, build_file, lut_item, palette, picture, stream

RAMP = np.arange(0, 4096, 273, dtype=np.uint16).reshape(4, 4)  # 0, 273, ... 4095: 16 equal steps


def shades(file, **request):
    return picture(render(file, RenderRequest(**request)).data).tolist()


def first_row(file, **request):
    return shades(file, **request)[0]


def test_the_version_is_a_number():
    assert RENDERER_VERSION == 2


def test_without_a_window_the_extremes_are_black_and_white():
    found = render(build_file(RAMP), RenderRequest())
    assert picture(found.data).reshape(-1).tolist() == list(range(0, 256, 17))
    assert (found.window, found.window_function, found.window_source) == ((2048, 4096), "LINEAR", "min-max")
    assert (found.width, found.height, found.frame, found.frames) == (4, 4, 0, 1)
    assert (found.media_type, found.warnings) == ("image/png", ())


def test_the_window_that_is_told_gives_the_same_picture_again():
    file = build_file(GREY_16)
    found = render(file, RenderRequest())
    assert render(file, RenderRequest(window=found.window)).data == found.data


def test_the_first_window_is_applied_and_another_can_be_chosen():
    table = lut_item([4096, 0, 12], np.arange(4096)[::-1])
    file = build_file(RAMP, WindowCenter=[2048, 273.5], WindowWidth=[4096, 2], VOILUTSequence=[table])
    assert first_row(file) == [0, 17, 34, 51]
    assert first_row(file, voi=1) == [0, 128, 255, 255]
    found = render(file, RenderRequest(voi=2))
    assert picture(found.data)[0].tolist() == [255, 238, 221, 204]
    assert (found.window, found.window_source) == (None, "voi-lut")
    with pytest.raises(Invalid, match="this frame has 3 of them"):
        render(file, RenderRequest(voi=3))


def test_a_window_that_is_asked_for_wins_and_takes_the_files_function():
    file = build_file(RAMP, WindowCenter=1, WindowWidth=2, VOILUTFunction="SIGMOID")
    found = render(file, RenderRequest(window=(546, 273)))
    assert (found.window_source, found.window_function) == ("request", "SIGMOID")
    assert picture(found.data)[0].tolist() == [0, 5, 128, 250]  # 1 / (1 + e^4) = 0.018
    found = render(file, RenderRequest(window=(546, 546), function="LINEAR_EXACT"))
    assert picture(found.data)[0].tolist() == [0, 0, 128, 255]
    found = render(build_file(RAMP), RenderRequest(window=(273, 0.5)))
    assert (found.window_function, picture(found.data)[0].tolist()) == ("LINEAR_EXACT", [0, 128, 255, 255])


@pytest.mark.parametrize("width", [0, -5])
def test_a_window_without_a_width_is_left_out_and_noted(width):
    found = render(build_file(RAMP, WindowCenter=5, WindowWidth=width), RenderRequest())
    assert found.window_source == "min-max"
    assert found.warnings == ("A window or VOI LUT that cannot be used was left out.",)


def test_an_empty_voi_lut_is_left_out():
    empty = lut_item([0, 0, 0], [])
    assert render(build_file(RAMP, VOILUTSequence=[empty]), RenderRequest()).window_source == "min-max"


def test_rescale_windows_and_functional_groups_of_the_frame():
    def group(center):
        transformation, voi, functional = Dataset(), Dataset(), Dataset()
        transformation.RescaleSlope, transformation.RescaleIntercept = "2", "-100"
        voi.WindowCenter, voi.WindowWidth = center, 100
        voi.VOILUTFunction = "LINEAR_EXACT"
        functional.PixelValueTransformationSequence = [transformation]
        functional.FrameVOILUTSequence = [voi]
        return functional

    cube = np.array([[[50, 75, 100]], [[50, 75, 100]]], np.uint16)
    file = build_file(cube, NumberOfFrames=2, PerFrameFunctionalGroupsSequence=[group(50), group(100)])
    assert first_row(file) == [0, 128, 255]
    assert first_row(file, frame=1) == [0, 0, 128]
    assert render(file, RenderRequest(frame=1)).window == (100, 100)


def test_monochrome1_is_turned_over_once():
    file = build_file(RAMP, PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE")
    assert first_row(file) == [255, 238, 221, 204]


def test_a_constant_picture_is_black_and_of_monochrome1_white():
    flat = np.full((2, 2), 7, np.uint16)
    assert first_row(build_file(flat)) == [0, 0]
    assert first_row(build_file(flat, PhotometricInterpretation="MONOCHROME1")) == [255, 255]


def test_a_slope_near_zero_keeps_its_shades():
    found = render(build_file(RAMP, RescaleSlope="0.0001", RescaleIntercept="0"), RenderRequest())
    assert picture(found.data)[0].tolist() == [0, 17, 34, 51]
    assert found.window_function == "LINEAR_EXACT"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point_pixels(dtype):
    values = np.array([[0, 0.25, 0.5, 1], [np.nan, 0, 0, 0]], dtype)
    bits = values.dtype.itemsize * 8
    assert shades(build_file(values, BitsAllocated=bits))[0] == [0, 64, 128, 255]


def test_32_bits_signed_and_unsigned():
    assert first_row(build_file(np.array([[0, 1 << 31, (1 << 32) - 1]], np.uint32))) == [0, 128, 255]
    assert first_row(build_file(np.array([[-(1 << 31), 0, (1 << 31) - 1]], np.int32))) == [0, 128, 255]


def test_what_stands_beside_the_stored_bits_is_no_part_of_the_picture():
    file = build_file(RAMP | 0xA000, BitsStored=12, HighBit=11)
    assert first_row(file) == [0, 17, 34, 51]


def test_overlays_are_left_out():
    overlay = {0x60000010: 4, 0x60000011: 4, 0x60000040: "G", 0x60000050: [1, 1], 0x60000100: 1, 0x60000102: 0}
    assert first_row(build_file(RAMP, tags={**overlay, 0x60003000: b"\xff\xff"})) == [0, 17, 34, 51]


def test_the_aspect_ratio_does_not_stretch():
    found = render(build_file(RAMP, PixelAspectRatio=[1, 2]), RenderRequest())
    assert (found.width, found.height) == (4, 4)


COLOURS = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [10, 20, 30]]], np.uint8)


def test_colour_by_pixel_and_by_plane():
    assert shades(build_file(COLOURS)) == COLOURS.tolist()
    planes = build_file(COLOURS, data=COLOURS.transpose(2, 0, 1).tobytes(), PlanarConfiguration=1)
    assert shades(planes) == COLOURS.tolist()


def test_colour_has_no_window():
    found = render(build_file(COLOURS, WindowCenter=5, WindowWidth=1), RenderRequest(window=(1, 2)))
    assert (picture(found.data) == COLOURS).all()
    assert (found.window, found.window_source) == (None, "none")
    assert found.warnings == ("A picture in colour has no window; the one asked for was left out.",)


def test_colour_of_12_bits():
    wide = np.array([[[4095, 2048, 0]]], np.uint16)
    assert shades(build_file(wide, BitsStored=12, HighBit=11)) == [[[255, 128, 0]]]


@pytest.mark.parametrize(
    ("photometric", "stored", "rgb"),
    [
        ("YBR_FULL", [76, 85, 255], [254, 0, 0]),
        ("YBR_PARTIAL_420", [81, 90, 240], [254, 0, 0]),
        ("HSV", [0, 255, 255], [255, 0, 0]),
        ("YBR_RCT", [1, 2, 3], [1, 2, 3]),
        ("SOMETHING", [1, 2, 3], [1, 2, 3]),
    ],
)
def test_colour_models(photometric, stored, rgb):
    file = build_file(np.array([[stored]], np.uint8), PhotometricInterpretation=photometric)
    assert shades(file) == [[rgb]]


def test_retired_models_of_four_samples():
    four = np.array([[[200, 1, 2, 3]]], np.uint8)
    assert shades(build_file(four, PhotometricInterpretation="ARGB")) == [[[1, 2, 3]]]
    assert shades(build_file(four, PhotometricInterpretation="CMYK")) == [[[54, 251, 250]]]


def test_neighbours_that_share_their_colour():
    file = build_file(
        np.zeros((1, 2, 3), np.uint8), data=bytes([76, 0, 85, 255]), PhotometricInterpretation="YBR_FULL_422"
    )
    assert shades(file)[0][0] == [254, 0, 0]


INDEX = np.array([[0, 1, 2, 3]], np.uint8)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"])
@pytest.mark.parametrize(("bits", "scale"), [(8, 1), (16, 257)])
def test_palettes_of_8_and_16_bits_in_either_byte_order(syntax, bits, scale):
    tables = [np.array(table) * scale for table in ([10, 20, 30], [40, 50, 60], [70, 80, 90])]
    elements = palette([3, 1, bits], *tables, dtype=("<" if syntax.endswith(".1") else ">") + "u2")
    file = build_file(INDEX, PhotometricInterpretation="PALETTE COLOR", syntax=syntax, vr="OB", **elements)
    assert shades(file) == [[[10, 40, 70], [10, 40, 70], [20, 50, 80], [30, 60, 90]]]


def test_a_palette_said_to_have_16_bits_that_has_8():
    file = build_file(
        INDEX, PhotometricInterpretation="PALETTE COLOR", **palette([4, 0, 16], [0, 9, 99, 255], [0] * 4, [7] * 4)
    )
    found = render(file, RenderRequest())
    assert picture(found.data)[0].tolist() == [[0, 0, 7], [9, 0, 7], [99, 0, 7], [255, 0, 7]]
    assert "entries of 8 bits" in found.warnings[0]


def test_segmented_palettes():
    words = [0, 1, 0, 1, 3, 65535]  # 0, then a line to 65535 in three steps
    file = build_file(
        INDEX, PhotometricInterpretation="PALETTE COLOR", **palette([4, 0, 16], words, words, words, segmented=True)
    )
    assert [pixel[0] for pixel in shades(file)[0]] == [0, 85, 170, 255]


def test_a_palette_image_without_its_palette_is_refused():
    with pytest.raises(NotRenderable, match="palette"):
        render(build_file(INDEX, PhotometricInterpretation="PALETTE COLOR"), RenderRequest())


def test_a_supplemental_palette_colours_the_values_from_its_first_on():
    values = np.array([[0, 50, 100, 101]], np.uint16)
    file = build_file(values, PixelPresentation="COLOR", **palette([2, 100, 8], [255, 1], [0, 2], [0, 3]))
    assert shades(file) == [[[0, 0, 0], [255, 255, 255], [255, 0, 0], [1, 2, 3]]]


def test_size_is_the_longest_side():
    file = build_file(np.zeros((10, 40), np.uint8))
    assert picture(render(file, RenderRequest(size=20)).data).shape == (5, 20)
    found = render(file, RenderRequest(size=80))
    assert (found.width, found.height) == (80, 20)


def test_jpeg():
    found = render(build_file(GREY_8), RenderRequest(format="jpeg", quality=100))
    assert found.media_type == "image/jpeg"
    assert (
        np.abs(picture(found.data).astype(int) - picture(render(build_file(GREY_8), RenderRequest()).data)).max() < 12
    )


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (RenderRequest(frame=1), "this object has 1 frame"),
        (RenderRequest(frame=-1), "There is no frame 0"),
        (RenderRequest(window=(1, 0)), "above 0"),
        (RenderRequest(window=(float("nan"), 5)), "above 0"),
        (RenderRequest(window=(1, float("inf"))), "above 0"),
        (RenderRequest(window=(1, 2), function="LOG"), "LINEAR, LINEAR_EXACT, SIGMOID"),
        (RenderRequest(voi=0), "this frame has 0 of them"),
        (RenderRequest(size=0), "at least 1"),
        (RenderRequest(size=4097), "at most 4096"),
        (RenderRequest(format="gif"), "png or a jpeg"),
        (RenderRequest(quality=0), "from 1 to 100"),
    ],
)
def test_an_absurd_request_is_refused(request_, says):
    with pytest.raises(Invalid, match=says):
        render(build_file(RAMP), request_)


def test_a_picture_may_be_as_large_as_its_frame():
    file = build_file(np.zeros((2, 50), np.uint8))
    limits = PixelLimits(max_side=10)
    assert render(file, RenderRequest(size=50), limits).width == 50
    with pytest.raises(Invalid, match="at most 50"):
        render(file, RenderRequest(size=51), limits)


def test_what_is_no_dicom_or_has_no_pixels_is_refused(tmp_path):
    with pytest.raises(NotDicom):
        render(b"plain text, and rather a lot of it" * 10, RenderRequest())
    with pytest.raises(NotRenderable, match="no pixels"):
        render(build_file(), RenderRequest())
    empty = tmp_path / "empty.dcm"
    empty.touch()
    with pytest.raises(NotDicom):
        render(str(empty), RenderRequest())


def test_too_large_a_frame_is_refused():
    with pytest.raises(LimitExceeded):
        render(build_file(RAMP), RenderRequest(), PixelLimits(max_frame_pixels=15))


def test_a_frame_that_takes_too_much_memory_is_refused(monkeypatch):
    def exhausted(*_):
        raise MemoryError

    monkeypatch.setattr("service.dicom.pixels.render.decode_frame", exhausted)
    with pytest.raises(LimitExceeded, match="memory"):
        render(build_file(RAMP), RenderRequest())


def test_one_frame_of_many_is_read_alone(tmp_path):
    path = tmp_path / "many.dcm"
    frame = np.add.outer(np.arange(256), np.arange(256)).astype(np.uint16)
    path.write_bytes(build_file(np.stack([frame + n for n in range(200)]), NumberOfFrames=200))
    found = render(str(path), RenderRequest(frame=150, size=64))
    assert (found.frame, found.frames) == (150, 200)
    assert found.window == ((150 + 660 + 1) / 2, 511)


def test_a_compressed_frame_without_the_items_around_it():
    native = build_file(GREY_16)
    at = native.index(GREY_16.tobytes())
    uid = native.index(b"\x02\0\x10\0UI")
    length = int.from_bytes(native[140:144], "little") + 2  # of the file meta group, whose UID gets longer
    head = native[:140] + length.to_bytes(4, "little") + native[144:uid]
    head += b"\x02\0\x10\0UI\x16\x001.2.840.10008.1.2.4.90" + native[uid + 8 + 20 : at]
    assert render(head + stream("grey.j2k").ljust(GREY_16.nbytes, b"\0"), RenderRequest()).width == 20
