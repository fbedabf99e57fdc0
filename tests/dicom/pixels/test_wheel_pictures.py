"""Exact pictures of real files, from pydicom's wheel. Each was compared with DCMTK's, and looked at."""

import hashlib

import numpy as np
import pytest

from service.dicom.pixels.render import RenderRequest, render
from service.errors import LimitExceeded, NotRenderable
from tests.dicom.pixels.build import WHEEL, picture

SHORT = "The pixel data is short; the rest of the frame was taken to be zero."
ONE_FRAME = "(0028,0008) Number of Frames is not a number above 0, and was taken to be 1."
SIGN = "The compressed frame and (0028,0103) Pixel Representation disagree on the sign."


@pytest.mark.parametrize(
    ("name", "frame", "shape", "digest", "source", "window", "warnings"),
    [
        ("CT_small.dcm", 0, (128, 128), "93a18f934884c6cf", "min-max", (136, 2064), ()),
        ("no_meta.dcm", 0, (128, 128), "93a18f934884c6cf", "min-max", (136, 2064), ()),
        ("MR_small.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_RLE.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_bigendian.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_implicit.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_jp2klossless.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_jpeg_ls_lossless.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_small_padded.dcm", 0, (64, 64), "38ab8d87e706bf8d", "window", (600, 1600), ()),
        ("MR_truncated.dcm", 0, (64, 64), "bcb40241d33f2b73", "window", (600, 1600), (SHORT,)),
        ("ExplVR_BigEnd.dcm", 0, (60, 80, 3), "1583c4339dd36e91", "none", None, ()),
        ("J2K_pixelrep_mismatch.dcm", 0, (512, 512), "dbe3bc187588e8c3", "window", (40, 100), (SIGN,)),
        ("SC_rgb_jpeg_gdcm.dcm", 0, (100, 100, 3), "169e619557b12114", "none", None, ()),
        ("SC_rgb_rle_32bit.dcm", 0, (100, 100, 3), "169e619557b12114", "none", None, ()),
        ("SC_rgb_rle_16bit_2frame.dcm", 1, (100, 100, 3), "d9d849600989153e", "none", None, ()),
        ("SC_rgb_small_odd.dcm", 0, (3, 3, 3), "ef2df252ba3cd066", "none", None, ()),
        ("SC_rgb_small_odd_big_endian.dcm", 0, (3, 3, 3), "ef2df252ba3cd066", "none", None, ()),
        ("badVR.dcm", 0, (10, 10), "5b7e140d2f4dce0a", "min-max", (1024500.5, 459001), (ONE_FRAME,)),
        ("dicomdirtests/77654033/CR1/6154", 0, (16, 16), "330ab73ff48faa36", "window", (1600, 2800), ()),
        ("dicomdirtests/98892001/CT2N/6293", 0, (16, 16), "0d5bbe1bd631a7d9", "window", (50, 500), ()),
        ("examples_overlay.dcm", 0, (300, 484), "d8f02f59401c24f2", "window", (450, 790), ()),
        ("examples_palette.dcm", 0, (350, 800, 3), "db93767ae86874a9", "none", None, ()),
        ("examples_rgb_color.dcm", 0, (240, 320, 3), "a64f021b9093684b", "none", None, ()),
        ("examples_jpeg2k.dcm", 0, (480, 640, 3), "e16892020c73095e", "none", None, ()),
        ("image_dfl.dcm", 0, (512, 512), "1f5f1b1c1a57606a", "min-max", (128, 256), ()),
        ("liver_1frame.dcm", 0, (512, 512), "7d0e38255050eac1", "min-max", (1, 2), ()),
        ("liver_expb_1frame.dcm", 0, (512, 512), "7d0e38255050eac1", "min-max", (1, 2), ()),
        ("rtdose.dcm", 7, (10, 10), "a9aa80ce77a524ae", "min-max", (1026000.5, 456001), ()),
        ("rtdose_expb.dcm", 7, (10, 10), "a9aa80ce77a524ae", "min-max", (1026000.5, 456001), ()),
        ("rtdose_rle.dcm", 7, (10, 10), "a9aa80ce77a524ae", "min-max", (1026000.5, 456001), ()),
    ],
)
def test_a_picture_is_exactly_this_one(name, frame, shape, digest, source, window, warnings):
    found = render(str(WHEEL / name), RenderRequest(frame=frame))
    pixels = picture(found.data)
    assert (found.window_source, found.window, found.warnings) == (source, window, warnings)
    assert pixels.shape == shape
    assert hashlib.sha256(pixels.tobytes()).hexdigest()[:16] == digest


# The colour bars of the SC_rgb files from the top, as the samples of SC_rgb_rle.dcm have them.
BARS = [(255, 0, 0), (255, 128, 128), (0, 255, 0), (128, 255, 128), (0, 0, 255)]
BARS += [(128, 128, 255), (0, 0, 0), (64, 64, 64), (192, 192, 192), (255, 255, 255)]


@pytest.mark.parametrize(
    ("name", "apart"),
    [
        ("SC_rgb_rle.dcm", 0),
        ("SC_rgb_gdcm_KY.dcm", 0),
        ("SC_rgb_dcmtk_+eb+cr.dcm", 1),
        ("SC_rgb_dcmtk_+eb+cy+n1.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+n2.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+np.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+s2.dcm", 6),
        ("SC_rgb_dcmtk_+eb+cy+s4.dcm", 6),
        ("SC_rgb_jls_lossy_line.dcm", 10),
        ("SC_rgb_jls_lossy_sample.dcm", 10),
        ("SC_rgb_jpeg_dcmtk.dcm", 6),
        ("SC_rgb_jpeg_lossy_gdcm.dcm", 6),
        ("SC_ybr_full_422_uncompressed.dcm", 6),
    ],
)
def test_the_bars_have_their_colours_however_they_are_compressed(name, apart):
    pixels = picture(render(str(WHEEL / name), RenderRequest()).data)
    middles = pixels[5::10, 50].astype(int)
    assert np.abs(middles - BARS).max() <= apart


def test_words_in_their_colours():
    # The file's own words say which colour each pixel must have.
    pixels = picture(render(str(WHEEL / "GDCMJ2K_TextGBR.dcm"), RenderRequest()).data)
    found = {tuple(pixel) for pixel in pixels.reshape(-1, 3)[::7].tolist()}
    assert {(255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)} <= found


def test_a_jpeg_labelled_rgb_shows_the_colours_of_its_stream():
    plain = picture(render(str(WHEEL / "SC_rgb_jpeg_dcmd.dcm"), RenderRequest()).data)
    for name in ("SC_rgb_jpeg.dcm", "SC_jpeg_no_color_transform.dcm"):
        compressed = picture(render(str(WHEEL / name), RenderRequest()).data)
        assert np.abs(compressed.astype(int) - plain).mean() < 1


@pytest.mark.parametrize("name", ["JPGExtended.dcm", "JPEG-lossy.dcm"])
def test_12_bit_jpeg_is_decoded(name):
    found = render(str(WHEEL / name), RenderRequest())
    assert (found.width, found.height, found.window) == (256, 1024, (132.5, 265))


def test_a_multi_frame_cine_gives_each_of_its_frames():
    first, last = (render(str(WHEEL / "examples_ybr_color.dcm"), RenderRequest(frame=n)) for n in (0, 29))
    assert (first.frames, first.data != last.data) == (30, True)


def test_what_has_no_pixels_says_so():
    for name in ("rtplan.dcm", "reportsi.dcm", "dicomdirtests/DICOMDIR"):
        with pytest.raises(NotRenderable, match="no pixels"):
            render(str(WHEEL / name), RenderRequest())


def test_a_stream_whose_size_is_overwritten_is_refused():
    with pytest.raises(LimitExceeded):
        render(str(WHEEL / "JPEG2000-embedded-sequence-delimiter.dcm"), RenderRequest())
