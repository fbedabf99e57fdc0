"""`pip wheel .` makes a wheel with all that the service needs to run."""

import shutil
import subprocess
import sys
import zipfile

import pytest

from service import __version__
from tests.running_service import ROOT

PACKAGES = ("service", "schemas")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    pytest.importorskip("setuptools", minversion="77", reason="./scripts/test installs a setuptools that can do it")
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("made")
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.in"):
        shutil.copy(ROOT / name, source)
    for name in (*PACKAGES, "tests", "scripts"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--no-build-isolation", "--quiet"]
    done = subprocess.run(
        [*command, "--disable-pip-version-check", "--wheel-dir", made],
        cwd=source,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return zipfile.ZipFile(next(made.glob("*.whl")))


def test_the_wheel_has_every_file_of_the_service_and_nothing_else(wheel):
    expected = {
        str(path.relative_to(ROOT))
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in wheel.namelist() if ".dist-info/" not in name} == expected


def test_its_name_version_and_requirements_are_those_of_the_project(wheel):
    information = f"dicom_document_store-{__version__}.dist-info"
    lines = wheel.read(f"{information}/METADATA").decode().splitlines()
    required = {line.removeprefix("Requires-Dist: ") for line in lines if line.startswith("Requires-Dist: ")}
    wanted = {line for line in (ROOT / "requirements.in").read_text().splitlines() if line and not line.startswith("#")}
    assert f"Version: {__version__}" in lines
    assert required == wanted
