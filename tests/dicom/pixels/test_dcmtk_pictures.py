"""Every picture of pydicom's wheel beside that of DCMTK's dcmj2pnm, a reader that shares no code with ours.

A picture agrees where the mean difference is at most 1 grey level and the largest at most 3; of a lossy frame the mean
alone counts, as decoders may differ. JPEG 2000 is beyond DCMTK: GDCM's gdcmconv decodes it first, where it is there.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pydicom
import pytest

from service.dicom.pixels.render import RenderRequest, render
from service.errors import Invalid, NotDicom
from tests.dicom.pixels.build import picture

DATA = Path(pydicom.__file__).parent / "data"
NO_DICOM = {".py", ".pyc", ".json", ".txt", ".md", ".zip", ".icc", ".gz", ".sh", ".html", ".xsd"}
FILES = sorted(
    path
    for path in DATA.rglob("*")
    if path.is_file() and path.suffix not in NO_DICOM and "__pycache__" not in path.parts
)

# Where DCMTK 3.6.7 is wrong, why we say so.
FAULTS = {
    "MR_truncated.dcm": "dcmdump finds no window in a file that is cut, so the reference shows its minimum to maximum",
    "rtdose_expb.dcm": "big-endian samples of 32 bits: their words come in the wrong order; rtdose.dcm has the same",
    "rtdose_expb_1frame.dcm": "the same as rtdose_expb.dcm",
}
# Where it gives no picture, and we give one: they are looked at in test_wheel_pictures.py.
ONLY_OURS = {"no_meta.dcm": "neither preamble nor file meta, and dcmj2pnm takes its first bytes for something else"}
LOSSY = ("1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.81", "1.2.840.10008.1.2.4.91")

# python-gdcm installs a gdcmconv of its own, which is the decoder that we use ourselves.
_PATH = os.pathsep.join(
    part for part in os.environ.get("PATH", "").split(os.pathsep) if not part.startswith(sys.prefix)
)
DCMJ2PNM, GDCMCONV, DCMDUMP = (shutil.which(tool, path=_PATH) for tool in ("dcmj2pnm", "gdcmconv", "dcmdump"))

pytestmark = pytest.mark.skipif(DCMJ2PNM is None, reason="DCMTK (dcmj2pnm) is not installed")


def run(*command: str | Path) -> bool:
    done = subprocess.run([str(part) for part in command], capture_output=True, timeout=60, check=False)
    return done.returncode == 0


def window_options(path: Path) -> list[str]:
    """Ask for the first window of the file, else its VOI LUT, else the extremes."""
    command = [DCMDUMP, "-q", "+P", "0028,1050", "+P", "0028,3010", "-s", str(path)]
    text = subprocess.run(command, capture_output=True, timeout=60, check=False).stdout.decode("latin-1")
    if re.search(r"^\(0028,1050\) DS \[\s*[-+0-9.]", text, re.MULTILINE):
        return ["+Wi", "1"]
    return ["+Wl", "1"] if re.search(r"^\(0028,3010\)", text, re.MULTILINE) else ["+Wm"]


def reference(path: Path, frame: int, folder: Path) -> np.ndarray | None:
    """Return DCMTK's picture, frames counted from 0; None where it has none."""
    target = folder / "reference.png"
    sources = [path]
    if GDCMCONV is not None and run(GDCMCONV, "--raw", path, folder / "raw.dcm"):
        sources.append(folder / "raw.dcm")
    for source in sources:
        options = ["+on", "+F", str(frame + 1), "-O", "+cp", *window_options(path)]
        if run(DCMJ2PNM, *options, source, target) and target.exists() and target.stat().st_size:
            return picture(target.read_bytes())
    return None


def differences(ours: np.ndarray, theirs: np.ndarray) -> tuple[float, int]:
    if ours.ndim != theirs.ndim:
        ours, theirs = (np.stack([a] * 3, axis=-1) if a.ndim == 2 else a for a in (ours, theirs))
    assert ours.shape == theirs.shape
    apart = np.abs(ours.astype(int) - theirs.astype(int))
    return float(apart.mean()), int(apart.max())


def is_lossy(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(2048)
    return any(uid.encode() + b"\0" in head or uid.encode() + b"\x02" in head for uid in LOSSY)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(DATA)))
def test_a_picture_is_that_of_dcmtk(path: Path, tmp_path: Path) -> None:
    try:
        first = render(str(path), RenderRequest())
    except (Invalid, NotDicom):
        assert reference(path, 0, tmp_path) is None
        return
    middle = first.frames // 2
    for frame, ours in [(0, first), (middle, render(str(path), RenderRequest(frame=middle)))][: 1 + (middle > 0)]:
        theirs = reference(path, frame, tmp_path)
        if theirs is None:
            # Without GDCM nothing else here decodes JPEG 2000.
            assert path.name in ONLY_OURS or GDCMCONV is None
            continue
        mean, largest = differences(picture(ours.data), theirs)
        agrees = mean <= 1 and (largest <= 3 or is_lossy(path))
        assert agrees != (path.name in FAULTS), f"frame {frame}: mean {mean:.2f}, largest {largest}"
