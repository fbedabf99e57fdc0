"""Files compressed by DCMTK and GDCM: lossless syntaxes give back the picture of the uncompressed file."""

import numpy as np
import pytest

from service.dicom.pixels.render import RenderRequest, render
from tests.dicom.pixels.build import build_file, picture
from tests.dicom.pixels.encoders import IMAGES, LOSSLESS, convert


@pytest.mark.parametrize("command", LOSSLESS, ids=" ".join)
@pytest.mark.parametrize("image", IMAGES)
def test_a_lossless_syntax_changes_no_pixel(image, command, tmp_path):
    plain = IMAGES[image]
    if image == "high bit at the top" and command[0] == "gdcmconv":
        pytest.skip("gdcmconv lowers (0028,0102) High Bit and leaves the samples where they are")
    compressed = convert(command, plain, tmp_path)
    assert compressed != plain
    expected = render(plain, RenderRequest())
    for frame in range(expected.frames):
        ours = render(compressed, RenderRequest(frame=frame))
        assert ours.data == render(plain, RenderRequest(frame=frame)).data
    assert render(compressed, RenderRequest()).window == expected.window


@pytest.mark.parametrize(
    "command",
    [
        ["dcmcjpeg", "+eb"],
        ["dcmcjpeg", "+ee"],
        ["dcmcjpeg", "+es"],
        ["dcmcjpeg", "+ep"],
        ["dcmcjpls", "+en", "+md", "2"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("image", ["8 bits", "12 of 16 bits", "colour"])
def test_a_lossy_syntax_changes_little(image, command, tmp_path):
    smooth = np.add.outer(np.arange(32), np.arange(32))
    plain = {
        "8 bits": build_file((smooth * 4).astype(np.uint8), vr="OB"),
        "12 of 16 bits": build_file((smooth * 64).astype(np.uint16), BitsStored=12, HighBit=11),
        "colour": build_file(np.stack([smooth, smooth * 2, smooth * 4], axis=-1).astype(np.uint8), vr="OB"),
    }[image]
    theirs = picture(render(plain, RenderRequest()).data).astype(int)
    ours = picture(render(convert(command, plain, tmp_path), RenderRequest()).data)
    assert np.abs(ours - theirs).mean() < 4
