"""Files with broken pixels: a picture or a refusal, within bounds, and nothing else."""

import random
import time

import numpy as np
import pytest

from service.dicom.pixels.render import RenderRequest, render
from service.errors import Invalid
from tests.dicom.pixels.build import (
    COLOUR,
    GREY_8,
    GREY_16,
    SIGNED_16,
    WHEEL,
    build_file,
    fragments,
    lut_item,
    palette,
    picture,
    stream,
)

JPEG_2000, JPEG, JPEG_LS = (f"1.2.840.10008.1.2.4.{n}" for n in (90, 70, 80))
FILES = [
    build_file(SIGNED_16, WindowCenter=5, WindowWidth=900, RescaleSlope="2", RescaleIntercept="-7"),
    build_file(GREY_16, VOILUTSequence=[lut_item([64, 0, 12], range(64))], BitsStored=12, HighBit=11),
    build_file(GREY_8, PhotometricInterpretation="PALETTE COLOR", **palette([9, 0, 16], *[range(0, 63000, 7000)] * 3)),
    build_file(np.stack([COLOUR] * 3), NumberOfFrames=3, PlanarConfiguration=1),
    build_file(COLOUR, encapsulated=fragments(stream("colour.j2k")), syntax=JPEG_2000),
    build_file(SIGNED_16, encapsulated=fragments(stream("signed.htj2k")), syntax=JPEG_2000),
    build_file(GREY_16, encapsulated=fragments(stream("lossless_12_bit.jpg")), syntax=JPEG),
    build_file(COLOUR, encapsulated=fragments(stream("lossless_colour.jpg")), syntax=JPEG),
    build_file(GREY_16, encapsulated=fragments(stream("smooth_12_bit.jpg")), syntax=JPEG),
    build_file(COLOUR, encapsulated=fragments(stream("colour_420.jpg")), syntax=JPEG),
    build_file(GREY_16, encapsulated=fragments(stream("grey.jls")), syntax=JPEG_LS),
    build_file(COLOUR, encapsulated=fragments(stream("colour.jxl")), syntax="1.2.840.10008.1.2.4.110"),
    build_file(GREY_16, encapsulated=fragments(stream("grey_12.jxl")), syntax="1.2.840.10008.1.2.4.112"),
    build_file(GREY_16, encapsulated=fragments(GREY_16.tobytes()), syntax="1.2.840.10008.1.2.1.98"),
    (WHEEL / "MR_small_RLE.dcm").read_bytes(),
    (WHEEL / "liver_1frame.dcm").read_bytes(),
]


def mutate(file: bytes, chance: random.Random) -> bytes:
    changed = bytearray(file)
    kind = chance.random()
    place = chance.randrange(300, len(changed))
    if kind < 0.6:
        for _ in range(chance.randint(1, 6)):
            changed[chance.randrange(300, len(changed))] = chance.randrange(256)
    elif kind < 0.75:
        del changed[place:]
    elif kind < 0.85:
        changed[place : place + 4] = b"\xff\xff\xff\xff"
    else:
        source = chance.randrange(300, len(changed))
        changed[place : place + 20] = changed[source : source + 20]
    return bytes(changed)


def try_mutations(seed: int, count: int) -> None:
    chance = random.Random(seed)
    rendered = 0
    for _ in range(count):
        file = mutate(chance.choice(FILES), chance)
        started = time.process_time()
        try:
            found = render(file, RenderRequest())
        except Invalid as error:
            assert error.detail
        else:
            rendered += 1
            assert picture(found.data).shape[:2] == (found.height, found.width)
        assert time.process_time() - started < 20
    assert count / 4 < rendered < count


def test_mutated_files_are_rendered_or_refused():
    try_mutations(seed=1, count=250)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_mutated_files_are_rendered_or_refused(seed):
    try_mutations(seed, count=500)
