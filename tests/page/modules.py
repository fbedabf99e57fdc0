"""The npm packages that the tests of the page use."""

import os
import shutil
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent


def find_module(name):
    """A file of an npm package that the tests of the page need."""
    module = HERE / "node_modules" / name
    if shutil.which("node") and module.exists():
        return module
    reason = f"{name} is not here: ./scripts/test installs it where Node.js 20 is"
    if os.environ.get("REQUIRE_CONTRACT_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)
