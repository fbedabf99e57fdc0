"""The real OHIF viewer in a real browser."""

import shutil
import subprocess
import sys

import pytest

from tests.running_service import ROOT


@pytest.mark.long
@pytest.mark.skipif(shutil.which("npm") is None, reason="there is no npm, which fetches the viewer")
@pytest.mark.skipif(
    not any(map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), reason="there is no Chromium"
)
@pytest.mark.parametrize("flags", [[], ["--share"]], ids=["own token", "share"])
def test_ohif_draws_every_picture_as_the_service_renders_it(tmp_path, flags):
    check = [sys.executable, "scripts/dev/ohif_check.py", "--screenshots", str(tmp_path), *flags]
    done = subprocess.run(check, cwd=ROOT, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "list.png").is_file()
    assert "NOT SEEN" not in done.stdout
