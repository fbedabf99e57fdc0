"""Scaling, PNG and JPEG."""

import io
import zlib

import numpy as np
import pytest
from PIL import Image

from service.dicom.pixels.encode import encode_jpeg, encode_png, scale_to
from tests.dicom.pixels.build import picture

NOISE = np.random.default_rng(7).integers(0, 256, (37, 53, 3), dtype=np.uint8)


@pytest.mark.parametrize("image", [NOISE, NOISE[..., 0].copy(), NOISE[:1, :1], np.zeros((1, 1), np.uint8)])
def test_a_png_gives_back_every_pixel(image):
    content = encode_png(image)
    read = Image.open(io.BytesIO(content))
    read.verify()
    assert read.mode == ("RGB" if image.ndim == 3 else "L")
    assert (picture(content) == image).all()


def test_a_png_of_a_transposed_array_is_right_too():
    assert (picture(encode_png(NOISE.transpose(1, 0, 2))) == NOISE.transpose(1, 0, 2)).all()


def test_every_chunk_of_a_png_has_its_checksum():
    content = encode_png(NOISE)
    place, names = 8, []
    while place < len(content):
        length = int.from_bytes(content[place : place + 4], "big")
        body = content[place + 4 : place + 8 + length]
        assert zlib.crc32(body) == int.from_bytes(content[place + 8 + length : place + 12 + length], "big")
        names.append(body[:4])
        place += 12 + length
    assert names == [b"IHDR", b"IDAT", b"IEND"]


def test_a_jpeg_is_near_and_nearer_with_quality():
    smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8)
    error = {q: np.abs(picture(encode_jpeg(smooth, q)).astype(int) - smooth).mean() for q in (20, 95)}
    assert error[95] < error[20] < 10
    assert picture(encode_jpeg(NOISE, 90)).shape == NOISE.shape


@pytest.mark.parametrize(
    ("shape", "size", "scaled"),
    [((100, 50), 10, (10, 5)), ((50, 100), 10, (5, 10)), ((10, 20), 40, (20, 40)), ((1, 1000), 10, (1, 10))],
)
def test_the_longest_side_gets_the_size(shape, size, scaled):
    assert scale_to(np.zeros(shape, np.uint8), size).shape == scaled
    assert scale_to(np.zeros((*shape, 3), np.uint8), size).shape == (*scaled, 3)


def test_the_same_size_is_the_same_picture():
    image = NOISE[..., 0]
    assert scale_to(image, 53) is image


def test_shrinking_averages_what_it_leaves_out():
    board = (np.indices((64, 64)).sum(axis=0) % 2 * 255).astype(np.uint8)
    assert set(np.unique(scale_to(board, 8))) <= {127, 128}
