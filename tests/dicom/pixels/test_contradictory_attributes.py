"""Files whose attributes contradict their pixels: a picture or a refusal of the domain's own, and nothing else."""

import io
import random

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels import encode
from service.dicom.pixels.header import read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.render import RenderRequest, render
from service.dicom.pixels.stored import decode_frame, native_bytes, stored_frame
from service.errors import Invalid, NotRenderable, ServiceError
from tests.dicom.pixels.build import GREY_8, GREY_16, WHEEL, build_file, fragments, lut_item, palette, picture, stream

FILES = (
    "CT_small.dcm",
    "MR_small_RLE.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_jp2klossless.dcm",
    "JPGExtended.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "JPEGLSNearLossless_08.dcm",
    "examples_palette.dcm",
    "liver_1frame.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEG2000.dcm",
)
LIMITS = PixelLimits(max_frame_pixels=4 * 1024 * 1024, max_side=1024)
MODELS = (
    "MONOCHROME1",
    "MONOCHROME2",
    "PALETTE COLOR",
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
    "HSV",
    "ARGB",
    "CMYK",
    "XYB",
    "NONSENSE",
    "",
)
WORDS = (0, 1, 2, 3, 4, 7, 8, 9, 10, 12, 15, 16, 17, 24, 31, 32, 33, 63, 64, 65, 128, 255, 256, 512, 65500, 65535)
NUMBERS = ("0", "1", "-1", "0.5", "1e-300", "1e300", "-1e308", "1e308", "3.4e38", "65536", "-32768", "abc", "NaN", "")
DESCRIPTORS = (0, 1, 2, 3, 16, 255, 256, 4096, 32767, 32768, 65534, 65535)
PRIMARIES = ("Red", "Green", "Blue")


def write(dataset):
    target = io.BytesIO()
    syntax = dataset.file_meta.TransferSyntaxUID
    dataset.save_as(target, little_endian=syntax != "1.2.840.10008.1.2.2", implicit_vr=syntax == "1.2.840.10008.1.2")
    return target.getvalue()


def lut(chance):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [chance.choice(DESCRIPTORS) for _ in range(chance.choice((3, 3, 3, 2)))])
    count = chance.choice((0, 1, 2, 16, 256, 4096))
    item.add_new("LUTData", "OW", np.arange(count, dtype="<u2").tobytes())
    return item


def mutate_attribute(dataset, chance):
    """Change one thing that the Image Pixel, Modality LUT, VOI LUT or palette modules say."""
    kind = chance.randrange(9)
    if kind == 0:
        name = chance.choice(("Rows", "Columns"))
        setattr(dataset, name, chance.choice((0, 1, 2, 3, 5, 127, 65500, 65501, 65535)))
    elif kind == 1:
        for name in chance.sample(("BitsAllocated", "BitsStored", "HighBit"), chance.randint(1, 3)):
            setattr(dataset, name, chance.choice(WORDS))
    elif kind == 2:
        dataset.SamplesPerPixel = chance.choice((0, 1, 2, 3, 4, 5, 65535))
    elif kind == 3:
        dataset.PhotometricInterpretation = chance.choice(MODELS)
        if chance.random() < 0.5:
            dataset.SamplesPerPixel = chance.choice((1, 2, 3, 4))
    elif kind == 4:
        name = chance.choice(("PixelRepresentation", "PlanarConfiguration"))
        setattr(dataset, name, chance.choice((0, 1, 2, 65535)))
    elif kind == 5:
        dataset.NumberOfFrames = chance.choice((0, 1, 2, 3, 1000, 2**31 - 1, -1))
    elif kind == 6:
        if chance.random() < 0.5:
            dataset.ModalityLUTSequence = Sequence([lut(chance)])
        else:
            dataset.add_new("RescaleSlope", "LO", chance.choice(NUMBERS))
            dataset.add_new("RescaleIntercept", "LO", chance.choice(NUMBERS))
    elif kind == 7:
        if chance.random() < 0.5:
            dataset.VOILUTSequence = Sequence([lut(chance)])
            dataset.pop("WindowCenter", None)
        else:
            for name in ("WindowCenter", "WindowWidth"):
                dataset.add_new(name, "LO", chance.choice(NUMBERS))
            dataset.VOILUTFunction = chance.choice(("LINEAR", "LINEAR_EXACT", "SIGMOID", "OTHER"))
    else:
        dataset.PhotometricInterpretation = chance.choice(("PALETTE COLOR", "PALETTE COLOR", "MONOCHROME2"))
        dataset.PixelPresentation = chance.choice(("COLOR", "MIXED", "MONOCHROME"))
        for primary in PRIMARIES:
            if chance.random() < 0.9:
                item = lut(chance)
                segmented = chance.choice(("", "Segmented"))
                name = f"{primary}PaletteColorLookupTable"
                dataset.add_new(f"{name}Descriptor", "US", list(item.LUTDescriptor))
                dataset.add_new(f"{segmented}{name}Data", "OW", item.LUTData)


def draw(file, **request):
    """Draw a file as PNG and as JPEG, and give its frame stored and decoded; return how many pictures there were."""
    drawn = 0
    for form in ("png", "jpeg"):
        try:
            found = render(file, RenderRequest(format=form, **request), LIMITS)
        except ServiceError as error:
            assert error.detail
        else:
            assert picture(found.data).shape[:2] == (found.height, found.width)
            drawn += 1
    frame = request.get("frame", 0)
    tree = read_tree(file, Limits())
    try:
        stored_frame(file, tree, frame, LIMITS)
        header = read_header(tree.dataset, LIMITS)
        native_bytes(decode_frame(file, tree, header, frame, LIMITS, []), header)
    except ServiceError as error:
        assert error.detail
    return drawn


def try_attributes(seed, count):
    chance = random.Random(seed)
    drawn = 0
    for _ in range(count):
        dataset = pydicom.dcmread(WHEEL / chance.choice(FILES))
        for _ in range(chance.randint(1, 3)):
            mutate_attribute(dataset, chance)
        request = {}
        if chance.random() < 0.2:
            center, width = chance.choice((-1e308, 0.0, 40.0, 1e308)), chance.choice((1e-300, 0.5, 1.0, 400.0, 1e308))
            request["window"] = center, width
            request["function"] = chance.choice((None, "LINEAR", "LINEAR_EXACT", "SIGMOID"))
        if chance.random() < 0.2:
            request["size"] = chance.choice((1, 2, 64, 1024, 65535))
        if chance.random() < 0.2:
            request["frame"] = chance.choice((1, 2, 999, 2**31 - 2))
        drawn += draw(write(dataset), **request)
    assert count / 4 < drawn < 2 * count


def test_attributes_that_contradict_the_pixels_are_drawn_or_refused():
    try_attributes(seed=1, count=300)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 8))
def test_many_attributes_that_contradict_the_pixels_are_drawn_or_refused(seed):
    try_attributes(seed, count=500)


# --- the first of each kind ---------------------------------------------------------------------------------------


def test_a_picture_that_is_too_long_for_a_jpeg_is_a_png_or_smaller():
    file = build_file(np.arange(65501, dtype=np.uint16).reshape(1, -1))
    assert render(file, RenderRequest()).width == 65501
    assert render(file, RenderRequest(format="jpeg", size=4096)).width == 4096
    with pytest.raises(NotRenderable, match="65500"):
        render(file, RenderRequest(format="jpeg"))
    assert render(build_file(np.zeros((65500, 1), np.uint8)), RenderRequest(format="jpeg")).height == 65500


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_two_samples_a_pixel_are_no_picture(form):
    file = build_file(np.stack([GREY_8, GREY_8], axis=-1))
    with pytest.raises(NotRenderable):
        render(file, RenderRequest(format=form))


def test_colour_of_single_bits_is_drawn():
    bits = np.array([[[1, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]], np.uint8)
    packed = np.packbits(bits.reshape(-1), bitorder="little").tobytes()
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    file = build_file(bits, data=packed, vr="OB", **single)
    assert (picture(render(file, RenderRequest()).data) == bits * 255).all()
    assert picture(render(file, RenderRequest(format="jpeg", quality=100)).data).shape == (2, 2, 3)


@pytest.mark.parametrize("form", ["png", "jpeg"])
def test_rle_of_single_bits_has_one_sample(form):
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    one_segment = (1).to_bytes(4, "little") + (64).to_bytes(4, "little") + bytes(56) + b"\x01\xff\xff"
    pixels = np.zeros((2, 2, 3), np.uint8)
    file = build_file(pixels, encapsulated=fragments(one_segment), syntax="1.2.840.10008.1.2.5", **single)
    with pytest.raises(NotRenderable):
        render(file, RenderRequest(format=form))


def test_a_modality_lut_may_begin_above_what_8_bits_hold():
    file = build_file(GREY_8, ModalityLUTSequence=[lut_item([3, 65535, 16], [7, 8, 9])])
    drawn = render(file, RenderRequest())
    assert drawn.window == (7.5, 1.0)  # every value lies below the first one mapped, and takes the first entry
    assert (picture(drawn.data) == 0).all()


def test_values_below_a_modality_lut_do_not_wrap_to_its_end():
    pixels = np.array([[5, 9, 10, 11]], np.uint8)
    file = build_file(pixels, ModalityLUTSequence=[lut_item([3, 10, 16], [100, 200, 300])])
    drawn = render(file, RenderRequest())
    assert drawn.window == (150.5, 101.0)
    assert picture(drawn.data).tolist() == [[0, 0, 0, 255]]


def test_values_below_a_palette_take_its_first_entry_in_every_width():
    for dtype in (np.uint8, np.uint16, np.uint32, np.uint64):
        pixels = np.array([[0, 10, 11, np.iinfo(dtype).max]], dtype)
        tables = [[10, 20, 30]] * 3
        file = build_file(pixels, PhotometricInterpretation="PALETTE COLOR", **palette([3, 10, 8], *tables))
        assert picture(render(file, RenderRequest()).data)[0, :, 0].tolist() == [10, 10, 20, 30]


def test_a_rescale_that_leads_out_of_what_floats_hold_is_drawn():
    file = build_file(GREY_16, RescaleSlope="1e308", RescaleIntercept="1e308")
    drawn = render(file, RenderRequest())
    assert np.isfinite(drawn.window).all()


def test_a_jpeg_whose_dataset_says_single_bits_is_drawn_or_refused():
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
    for name in ("colour_420.jpg", "lossless_8_bit.jpg"):
        file = build_file(GREY_8, encapsulated=fragments(stream(name)), syntax="1.2.840.10008.1.2.4.50", **single)
        for form in ("png", "jpeg"):
            try:
                assert render(file, RenderRequest(format=form)).width == 20
            except Invalid as error:
                assert error.detail


def test_what_is_small_is_not_enlarged_to_the_side_that_the_dataset_claims(monkeypatch):
    monkeypatch.setattr(encode, "scale_to", None)  # what were scaled would be a TypeError
    claims = {"Rows": 65535, "Columns": 1, "syntax": "1.2.840.10008.1.2.4.50"}
    small = build_file(GREY_8, encapsulated=fragments(stream("colour_420.jpg")), **claims)
    with pytest.raises(Invalid, match="at most 4096"):
        render(small, RenderRequest(size=65535))
    long = build_file(np.zeros((65535, 1), np.uint8))
    with pytest.raises(Invalid, match="at most 4096"):
        render(long, RenderRequest(size=65535, region=(0, 0, 1, 1)))
