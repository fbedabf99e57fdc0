"""Every compressed syntax, decoded from streams that another encoder made of known pixels."""

import struct
import sys
import types
import zlib

import numpy as np
import pytest

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels import decode
from service.dicom.pixels.decode import decode_codestream, inflate_frame
from service.dicom.pixels.header import ImageHeader, read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.stored import decode_frame
from service.errors import LimitExceeded, NotRenderable
from tests.dicom.pixels.build import (
    COLOUR,
    GREY_8,
    GREY_16,
    SIGNED_16,
    SMOOTH_12,
    SMOOTH_COLOUR,
    build_file,
    stream,
)

LIMITS = PixelLimits()


def described(pixels, *, photometric=None, **changes):
    samples = pixels.shape[2] if pixels.ndim == 3 else 1
    bits = pixels.dtype.itemsize * 8
    fields = {
        "keyword": "PixelData",
        "transfer_syntax_uid": "1.2.840.10008.1.2.4.70",
        "rows": pixels.shape[0],
        "columns": pixels.shape[1],
        "frames": 1,
        "samples": samples,
        "photometric": photometric or ("RGB" if samples == 3 else "MONOCHROME2"),
        "planar_configuration": 0,
        "bits_allocated": bits,
        "bits_stored": bits,
        "high_bit": bits - 1,
        "signed": pixels.dtype.kind == "i",
    }
    return ImageHeader(**{**fields, **changes})


def decoded(data, header, warnings=None):
    return decode_codestream(data, header, LIMITS, [] if warnings is None else warnings)


@pytest.mark.parametrize(
    ("name", "pixels"),
    [
        ("grey.j2k", GREY_16),
        ("grey.htj2k", GREY_16),
        ("grey.jls", GREY_16),
        ("lossless_12_bit.jpg", GREY_16),
        ("lossless_bare.jpg", GREY_16),
        ("lossless_predictor_4.jpg", GREY_16),
        ("lossless_predictor_7.jpg", GREY_16),
        ("lossless_8_bit.jpg", GREY_8),
        ("signed.j2k", SIGNED_16),
        ("signed.htj2k", SIGNED_16),
        ("colour.j2k", COLOUR),
        ("colour.jp2", COLOUR),
        ("colour.htj2k", COLOUR),
        ("colour_untransformed.j2k", COLOUR),
        ("colour.jls", COLOUR),
        ("lossless_colour.jpg", COLOUR),
    ],
)
def test_lossless_streams_give_back_every_value(name, pixels):
    found = decoded(stream(name), described(pixels))
    assert found.samples.shape == pixels.shape
    assert (found.samples == pixels).all()
    assert found.photometric == ("RGB" if pixels.ndim == 3 else "MONOCHROME2")


@pytest.mark.parametrize(
    ("name", "pixels", "mean"),
    [
        ("smooth_12_bit.jpg", SMOOTH_12, 0.5),
        ("colour_jfif.jpg", SMOOTH_COLOUR, 1),
        ("colour_adobe_rgb.jpg", SMOOTH_COLOUR, 0.5),
        ("colour_420.jpg", SMOOTH_COLOUR, 2),
    ],
)
@pytest.mark.parametrize("photometric", ["RGB", "YBR_FULL", "YBR_FULL_422"])
def test_lossy_streams_are_near_and_their_markers_tell_the_colours(name, pixels, mean, photometric):
    header = described(pixels, photometric=photometric if pixels.ndim == 3 else "MONOCHROME2")
    found = decoded(stream(name), header)
    assert found.photometric in ("RGB", "MONOCHROME2")
    assert np.abs(found.samples.astype(int) - pixels).mean() < mean


def without_markers(data):
    """Take the JFIF and Adobe segments out, so that the stream does not say which colours it holds."""
    place = 2
    while data[place + 1] in (0xE0, 0xEE):
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    data = data[:2] + data[place:]
    at = data.index(b"\xff\xc0")
    names = {place: n + 1 for n, place in enumerate((at + 10, at + 13, at + 16))}
    scan = data.index(b"\xff\xda")
    names |= {place: n + 1 for n, place in enumerate((scan + 5, scan + 7, scan + 9))}
    return bytes(names.get(n, byte) for n, byte in enumerate(data))


def test_a_stream_that_does_not_tell_its_colours_holds_what_the_dataset_says():
    for name, photometric in (("colour_jfif.jpg", "YBR_FULL"), ("colour_adobe_rgb.jpg", "RGB")):
        found = decoded(without_markers(stream(name)), described(SMOOTH_COLOUR, photometric=photometric))
        assert np.abs(found.samples.astype(int) - SMOOTH_COLOUR).mean() < 1


def test_subsampled_components_are_ycbcr_whatever_the_dataset_says():
    found = decoded(without_markers(stream("colour_420.jpg")), described(SMOOTH_COLOUR, photometric="RGB"))
    assert np.abs(found.samples.astype(int) - SMOOTH_COLOUR).mean() < 2


def test_12_bit_colour_is_left_as_it_is_stored():
    found = decoded(stream("colour_12_bit.jpg"), described(SMOOTH_COLOUR.astype(np.uint16)))
    assert (found.photometric, found.bits) == ("YBR_FULL", 12)


@pytest.mark.parametrize("photometric", ["YBR_RCT", "YBR_ICT", "RGB"])
def test_jpeg_2000_undoes_its_own_transformation(photometric):
    found = decoded(stream("colour.j2k"), described(COLOUR, photometric=photometric))
    assert found.photometric == "RGB"
    assert (found.samples == COLOUR).all()


def test_jpeg_ls_and_lossless_jpeg_hold_what_the_dataset_says():
    assert decoded(stream("colour.jls"), described(COLOUR, photometric="YBR_FULL")).photometric == "YBR_FULL"


def test_jpeg_2000_of_another_sign():
    warnings = []
    as_unsigned = decoded(stream("signed.j2k"), described(GREY_16), warnings)
    assert (as_unsigned.samples == SIGNED_16).all()
    header = described(SIGNED_16, bits_stored=12, high_bit=11)
    as_signed = decoded(stream("grey.j2k"), header, warnings)
    assert (as_signed.samples == (GREY_16.astype(np.int16) ^ 0x800) - 0x800).all()
    assert len(warnings) == 2


def test_unsigned_streams_hold_twos_complement():
    header = described(SIGNED_16, bits_stored=12, high_bit=11)
    found = decoded(stream("lossless_12_bit.jpg"), header)
    assert (found.samples == (GREY_16.astype(np.int16) ^ 0x800) - 0x800).all()


def test_the_stream_has_its_own_size_and_samples():
    warnings = []
    found = decoded(stream("grey.j2k"), described(np.zeros((10, 10), np.uint16)), warnings)
    assert found.samples.shape == (24, 20)
    found = decoded(stream("colour.j2k"), described(GREY_8, photometric="PALETTE COLOR"), warnings)
    assert found.photometric == "RGB"
    found = decoded(stream("lossless_8_bit.jpg"), described(COLOUR), warnings)
    assert found.photometric == "MONOCHROME2"
    assert ["size" in text for text in warnings] == [True, False, False]
    assert all("its own was used" in text for text in warnings)


def test_a_cut_jpeg_is_decoded_as_far_as_it_goes():
    data = stream("colour_jfif.jpg")
    found = decoded(data[: len(data) * 4 // 5], described(SMOOTH_COLOUR))
    assert np.abs(found.samples[:8].astype(int) - SMOOTH_COLOUR[:8]).mean() < 1


@pytest.mark.parametrize(
    "name", ["grey.j2k", "grey.htj2k", "grey.jls", "lossless_12_bit.jpg", "smooth_12_bit.jpg", "colour_jfif.jpg"]
)
def test_a_broken_stream_is_refused_or_decoded_and_nothing_else(name):
    data = stream(name)
    start = len(data) // 3
    for filler in (b"\0", b"\xff"):
        broken = data[:start] + filler * (len(data) - start)
        try:
            decoded(broken, described(GREY_16))
        except NotRenderable:
            continue


def claim(data, rows, columns):
    """Let a stream claim another size in its own header."""
    if data.startswith(b"\xff\x4f"):
        return data[:8] + struct.pack(">II", columns, rows) + data[16:]
    at = min(place for place in (data.find(bytes([0xFF, sof])) for sof in (0xC0, 0xC1, 0xC3, 0xF7)) if place > 0)
    return data[: at + 5] + struct.pack(">HH", rows, columns) + data[at + 9 :]


@pytest.mark.parametrize("name", ["grey.j2k", "grey.htj2k", "grey.jls", "lossless_12_bit.jpg", "colour_jfif.jpg"])
def test_a_bomb_is_refused_before_it_is_decoded(name, monkeypatch):
    monkeypatch.setattr(decode, "_DECODERS", {})  # a decoder that were called would be a KeyError
    with pytest.raises(LimitExceeded, match="samples that are allowed"):
        decoded(claim(stream(name), 60000, 60000), described(GREY_16))
    with pytest.raises(LimitExceeded, match="several times larger"):
        decoded(claim(stream(name), 2000, 3000), described(GREY_16))


@pytest.mark.parametrize("name", ["grey.jls", "colour_jfif.jpg"])
def test_a_stream_without_a_size_is_refused(name):
    with pytest.raises(NotRenderable, match="how large"):
        decoded(claim(stream(name), 0, 20), described(GREY_16))


def test_what_no_decoder_knows_is_refused():
    with pytest.raises(NotRenderable, match="not one that can be decoded here"):
        decoded(b"\xff\x0a a jpeg xl stream", described(GREY_16))


def test_the_optional_decoder_is_used_where_gdcm_gives_up(monkeypatch):
    monkeypatch.setattr(decode, "run_isolated", lambda _: b"")
    monkeypatch.setitem(sys.modules, "libjpeg", None)
    with pytest.raises(NotRenderable):
        decoded(stream("smooth_12_bit.jpg"), described(SMOOTH_12))
    extra = types.SimpleNamespace(decode=lambda _data, colour_transform: SMOOTH_12 + colour_transform)
    monkeypatch.setitem(sys.modules, "libjpeg", extra)
    assert (decoded(stream("smooth_12_bit.jpg"), described(SMOOTH_12)).samples == SMOOTH_12).all()


def deflated(data):
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


def test_deflated_frames():
    cube = np.stack([GREY_16, GREY_16[::-1]])
    frames = [deflated(frame.tobytes()) for frame in cube]
    # pydicom does not write this syntax yet
    file = build_file(cube, frames=frames, syntax="1.2.840.10008.1.2.4.90", NumberOfFrames=2)
    file = file.replace(b"1.2.840.10008.1.2.4.90", b"1.2.840.10008.1.2.8.1\0")
    tree = read_tree(file, Limits())
    found = decode_frame(file, tree, read_header(tree.dataset, LIMITS), 1, LIMITS, [])
    assert (found.samples == cube[1]).all()


def test_a_deflated_bomb_makes_no_more_than_a_frame():
    assert inflate_frame(deflated(bytes(10_000_000)), 100) == bytes(100)
    with pytest.raises(NotRenderable, match="inflated"):
        inflate_frame(b"\xff\xff\xff", 100)
