"""Files compressed by DCMTK and GDCM, which share no code with the decoders."""

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from tests.dicom.pixels.build import COLOUR, GREY_8, GREY_16, SIGNED_16, build_file

_PATH = os.pathsep.join(
    part for part in os.environ.get("PATH", "").split(os.pathsep) if not part.startswith(sys.prefix)
)

IMAGES = {
    "8 bits": build_file(GREY_8, vr="OB"),
    "odd frames": build_file(
        np.stack([GREY_8[:5, :7]] * 3) + np.uint8([[[0]], [[9]], [[99]]]), NumberOfFrames=3, vr="OB"
    ),
    "12 of 16 bits": build_file(GREY_16, BitsStored=12, HighBit=11),
    "high bit at the top": build_file(GREY_16 << 4, BitsStored=12, HighBit=15),
    "signed": build_file(SIGNED_16, RescaleSlope="2", RescaleIntercept="-5"),
    "signed 12 bits": build_file(SIGNED_16.view(np.uint16) & 0xFFF, BitsStored=12, HighBit=11, PixelRepresentation=1),
    "turned over": build_file(GREY_16, PhotometricInterpretation="MONOCHROME1"),
    "colour": build_file(COLOUR, vr="OB"),
}
LOSSLESS = [
    *[["dcmcjpeg", "+el", "+sv", str(predictor)] for predictor in range(1, 8)],
    ["dcmcjpeg", "+e1"],
    ["dcmcjpeg", "+e1", "+fs", "1"],
    ["dcmcjpeg", "+e1", "+fs", "1", "-ot"],
    ["dcmcjpls", "+el"],
    ["dcmcjpls", "+el", "+il"],
    ["dcmcrle"],
    ["dcmconv", "+td"],
    ["dcmconv", "+tb"],
    ["dcmconv", "+ti"],
    ["gdcmconv", "--j2k"],
    ["gdcmconv", "--jpegls"],
    ["gdcmconv", "--jpeg"],
    ["gdcmconv", "--rle"],
]


def convert(command, file, folder):
    tool = shutil.which(command[0], path=_PATH)
    if tool is None:
        pytest.skip(f"{command[0]} (DCMTK, GDCM) is not installed")
    (folder / "in.dcm").write_bytes(file)
    run = [tool, *command[1:], str(folder / "in.dcm"), str(folder / "out.dcm")]
    if subprocess.run(run, capture_output=True, timeout=60, check=False).returncode:
        pytest.skip("the encoder does not take this image")
    return (folder / "out.dcm").read_bytes()
