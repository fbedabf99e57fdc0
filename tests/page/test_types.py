"""The page's scripts hold what their JSDoc says, as TypeScript sees it."""

import subprocess
from pathlib import Path

from tests.page.modules import find_module

HERE = Path(__file__).resolve().parent


def test_the_types_of_the_page_fit():
    compiler = find_module("typescript") / "bin" / "tsc"
    done = subprocess.run(["node", compiler, "-p", HERE], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout
