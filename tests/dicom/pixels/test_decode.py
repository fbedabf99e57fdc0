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
from service.dicom.pixels.render import RenderRequest, render
from service.dicom.pixels.stored import decode_frame, native_bytes, stored_frame
from service.errors import LimitExceeded, NotRenderable
from tests.dicom.pixels.build import (
    BARS,
    COLOUR,
    FULL_16,
    GREY_8,
    GREY_16,
    JPEG_XL_SYNTAXES,
    SIGNED_16,
    SMOOTH_8,
    SMOOTH_12,
    SMOOTH_COLOUR,
    build_file,
    fragments,
    picture,
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
        ("grey_8.jxl", GREY_8),
        ("grey_12.jxl", GREY_16),
        ("grey_16.jxl", FULL_16),
        ("colour.jxl", COLOUR),
        ("container.jxl", COLOUR),
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
    "name",
    [
        "grey.j2k",
        "grey.htj2k",
        "grey.jls",
        "lossless_12_bit.jpg",
        "smooth_12_bit.jpg",
        "colour_jfif.jpg",
        "grey_12.jxl",
    ],
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
    if data.startswith(b"\xff\x0a"):
        # ISO 18181-1 D.2: two sizes of 9 bits, one less than they are, become ones of 30.
        bits = int.from_bytes(data[2:], "little")
        assert (bits & 7, bits >> 12 & 31) == (0, 0)
        sizes = 3 << 1 | rows - 1 << 3 | 3 << 36 | columns - 1 << 38
        return data[:2] + (sizes | bits >> 26 << 68).to_bytes(len(data) + 8, "little")
    at = min(place for place in (data.find(bytes([0xFF, sof])) for sof in (0xC0, 0xC1, 0xC3, 0xF7)) if place > 0)
    return data[: at + 5] + struct.pack(">HH", rows, columns) + data[at + 9 :]


@pytest.mark.parametrize(
    "name", ["grey.j2k", "grey.htj2k", "grey.jls", "lossless_12_bit.jpg", "colour_jfif.jpg", "colour.jxl"]
)
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
        decoded(b"\x0a\xff no stream at all", described(GREY_16))


def test_the_optional_decoder_is_used_where_gdcm_gives_up(monkeypatch):
    monkeypatch.setattr(decode, "run_isolated", lambda *_: b"")
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


JPEG_XL_LOSSLESS, JPEG_XL_OF_JPEG, JPEG_XL = JPEG_XL_SYNTAXES


@pytest.mark.parametrize("photometric", ["XYB", "RGB", "YBR_FULL_422"])
def test_a_lossy_jpeg_xl_is_rgb_whatever_it_was_encoded_in(photometric):
    header = described(SMOOTH_COLOUR, photometric=photometric, transfer_syntax_uid=JPEG_XL)
    found = decoded(stream("smooth_colour_xyb.jxl"), header)
    assert found.photometric == "RGB"
    assert np.abs(found.samples.astype(int) - SMOOTH_COLOUR).mean() < 3


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_FULL"])
def test_a_recompressed_jpeg_is_what_the_jpeg_was(photometric):
    header = described(SMOOTH_COLOUR, photometric=photometric, transfer_syntax_uid=JPEG_XL_OF_JPEG)
    found = decoded(stream("colour_420_recompressed.jxl"), header)
    assert found.photometric == "RGB"
    jpeg = decoded(stream("colour_420.jpg"), described(SMOOTH_COLOUR, photometric=photometric))
    assert np.abs(found.samples.astype(int) - jpeg.samples).max() <= 2
    grey = decoded(stream("grey_recompressed.jxl"), described(SMOOTH_8, transfer_syntax_uid=JPEG_XL_OF_JPEG))
    assert np.abs(grey.samples.astype(int) - SMOOTH_8).max() <= 4


def test_ycbcr_that_was_encoded_as_it_was_stays_ycbcr():
    header = described(COLOUR, photometric="YBR_FULL", transfer_syntax_uid=JPEG_XL_LOSSLESS)
    found = decoded(stream("colour.jxl"), header)
    assert found.photometric == "YBR_FULL"
    assert (found.samples == COLOUR).all()


def test_signed_values_in_jpeg_xl_are_twos_complement():
    header = described(FULL_16.view(np.int16), transfer_syntax_uid=JPEG_XL_LOSSLESS)
    assert (decoded(stream("grey_16.jxl"), header).samples == FULL_16.view(np.int16)).all()


def test_frames_of_jpeg_xl_are_drawn_and_given():
    parts = [stream("grey_12.jxl"), stream("grey_16.jxl")]
    whole = np.stack([GREY_16, FULL_16])
    file = build_file(whole, NumberOfFrames=2, frames=parts, syntax=JPEG_XL_LOSSLESS)
    tree = read_tree(file, Limits())
    assert [stored_frame(file, tree, n, LIMITS)[0][: len(part)] for n, part in enumerate(parts)] == parts
    header = read_header(tree.dataset, LIMITS)
    assert native_bytes(decode_frame(file, tree, header, 1, LIMITS, []), header) == FULL_16.tobytes()
    plain = build_file(whole, NumberOfFrames=2)
    for frame in (0, 1):
        drawn, expected = (render(each, RenderRequest(frame=frame)) for each in (file, plain))
        assert (picture(drawn.data) == picture(expected.data)).all()
    # Cut into pieces that no table names: a frame begins where a stream does.
    pieces = [part[n : n + 50] for part in parts for n in range(0, len(part), 50)]
    cut = build_file(whole, NumberOfFrames=2, encapsulated=fragments(*pieces), syntax=JPEG_XL_LOSSLESS)
    assert (
        picture(render(cut, RenderRequest(frame=1)).data) == picture(render(file, RenderRequest(frame=1)).data)
    ).all()


@pytest.mark.parametrize("name", ["bars_lossy.j2k", "bars_near.jls", "bars_cut.j2k"])
def test_what_a_lossy_stream_says_beyond_bits_stored_is_the_largest_value_not_a_small_one(name):
    header = described(BARS, bits_stored=12, high_bit=11, transfer_syntax_uid="1.2.840.10008.1.2.4.91")
    found = decoded(stream(name), header)
    unbounded = decoded(stream(name), described(BARS, transfer_syntax_uid="1.2.840.10008.1.2.4.91"))
    assert unbounded.samples.max() > 4095
    assert (found.samples == np.minimum(unbounded.samples, 4095)).all()
    assert found.samples[16, 16] > 3000


def test_a_lossy_signed_stream_keeps_to_bits_stored_too(monkeypatch):
    signed = (BARS.astype(np.int16) - 2048) + np.int16(40)
    monkeypatch.setitem(decode._DECODERS, "jpeg-2000", lambda *_: signed)
    lossy = described(signed, bits_stored=12, high_bit=11, transfer_syntax_uid="1.2.840.10008.1.2.4.91")
    assert (decoded(stream("signed.j2k"), lossy).samples == np.clip(signed, -2048, 2047)).all()


def test_bits_above_those_stored_are_left_out_of_a_lossless_stream():
    overlaid = described(GREY_16, bits_stored=8, high_bit=7, transfer_syntax_uid="1.2.840.10008.1.2.4.90")
    assert (decoded(stream("grey.j2k"), overlaid).samples == GREY_16 % 256).all()


@pytest.mark.parametrize(
    ("pixels", "elements"),
    [
        (GREY_16, {}),
        (np.stack([SIGNED_16, SIGNED_16[::-1]]), {"NumberOfFrames": 2}),
        (COLOUR, {"PlanarConfiguration": 1}),
        (np.stack([GREY_8, GREY_8 // 2]), {"NumberOfFrames": 2}),
    ],
)
def test_encapsulated_uncompressed_frames_are_native_ones(pixels, elements):
    frames = [each.tobytes() for each in (pixels if "NumberOfFrames" in elements else pixels[None])]
    syntax = "1.2.840.10008.1.2.1.98"
    file = build_file(pixels, encapsulated=fragments(*frames), syntax=syntax, **elements)
    plain = build_file(pixels, **elements)
    for frame, data in enumerate(frames):
        assert render(file, RenderRequest(frame=frame)).data == render(plain, RenderRequest(frame=frame)).data
        assert stored_frame(file, read_tree(file, Limits()), frame, LIMITS) == (data, syntax)


def test_encapsulated_uncompressed_single_bits_begin_at_a_byte_of_their_own():
    bits = (np.arange(2 * 3 * 5).reshape(2, 3, 5) % 3 == 0).astype(np.uint8)
    single = {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0, "NumberOfFrames": 2}
    frames = [np.packbits(each.reshape(-1), bitorder="little").tobytes() for each in bits]
    file = build_file(bits, encapsulated=fragments(*frames), syntax="1.2.840.10008.1.2.1.98", **single)
    for frame in (0, 1):
        assert (picture(render(file, RenderRequest(frame=frame)).data) == bits[frame] * 255).all()
