"""The programs that people use, and a real service for them."""

import os
import shutil
from pathlib import Path

import pytest

from tests.running_service import RunningService

HERE = Path(__file__).resolve().parent


def find_program(name):
    program = HERE / "node_modules" / ".bin" / name
    if shutil.which("node") and program.exists():
        return str(program)
    reason = f"{name} is not here: ./scripts/test installs it where Node.js 20 is"
    if os.environ.get("REQUIRE_CONTRACT_TOOLS"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def newman():
    return find_program("newman")


@pytest.fixture(scope="session")
def mongosh():
    return find_program("mongosh")


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    with RunningService(tmp_path_factory.mktemp("contract") / "data") as running:
        yield running
        assert running.stop() == 0
