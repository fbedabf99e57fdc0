"""A frame can be rendered from the parts of the file that are named for it, the rest being zeros."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.ranges import HEADER_KEYS, frame_ranges
from service.dicom.pixels.render import RenderRequest, render
from tests.dicom.pixels.build import build_file


def sparse(data: bytes, ranges: list[tuple[int, int]]) -> bytes:
    kept = bytearray(len(data))
    for start, stop in ranges:
        kept[start:stop] = data[start:stop]
    return bytes(kept)


def ranges_of(data: bytes, frame: int) -> list[tuple[int, int]] | None:
    whole = read_tree(data, Limits()).dataset
    dataset = {key: whole[key] for key in HEADER_KEYS if key in whole}
    return frame_ranges(dataset, frame, len(data), PixelLimits())


def read(name: str) -> bytes:
    return Path(str(get_testdata_file(name, download=False))).read_bytes()


@pytest.mark.parametrize("frame", [0, 1, 7, 14])
def test_a_frame_of_many_is_rendered_from_its_own_bytes(frame: int) -> None:
    data = read("rtdose.dcm")
    ranges = ranges_of(data, frame)
    assert ranges is not None
    kept = sparse(data, ranges)
    assert kept != data
    assert render(kept, RenderRequest(frame=frame)) == render(data, RenderRequest(frame=frame))


@pytest.mark.parametrize("frame", [0, 1, 33, 63])
def test_frames_of_single_bits_that_begin_within_a_byte_are_covered(frame: int) -> None:
    bits = np.random.default_rng(7).integers(0, 2, (64, 5, 3), dtype=np.uint8)
    packed = np.packbits(bits, bitorder="little").tobytes()
    data = build_file(bits, data=packed, NumberOfFrames=64, BitsAllocated=1, BitsStored=1, HighBit=0)
    ranges = ranges_of(data, frame)
    assert ranges is not None
    kept = sparse(data, ranges)
    assert kept != data
    assert render(kept, RenderRequest(frame=frame)) == render(data, RenderRequest(frame=frame))


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "image_dfl.dcm", "rtplan.dcm"])
def test_what_does_not_stand_in_the_file_as_it_is_needs_the_whole_file(name: str) -> None:
    assert ranges_of(read(name), 0) is None


def test_a_frame_that_is_not_there_has_no_parts() -> None:
    assert ranges_of(read("rtdose.dcm"), 15) is None
    assert ranges_of(read("rtdose.dcm"), -1) is None
