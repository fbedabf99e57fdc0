"""What is installed is pinned, by version and by hash, and is what the .in files ask for."""

import re

import pytest

from tests.running_service import ROOT

NAMES = ("requirements", "requirements-dev", "requirements-local")
WANTED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;]+)", re.MULTILINE)


def canonical(name):
    """The form in which two spellings of a package's name are equal (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def packages(text):
    """Each requirement with its versions."""
    found = {}
    for name, version in WANTED.findall(text):
        found.setdefault(canonical(name), set()).add(version)
    return found


@pytest.mark.parametrize("name", NAMES)
def test_every_package_that_is_asked_for_is_settled_in_that_version(name):
    wanted = packages((ROOT / f"{name}.in").read_text())
    settled = packages((ROOT / f"{name}.txt").read_text())
    assert wanted
    assert {package: settled.get(package) for package in wanted} == wanted


@pytest.mark.parametrize("name", NAMES)
def test_every_package_has_hashes_and_no_other_source(name):
    text = (ROOT / f"{name}.txt").read_text()
    blocks = re.split(r"^(?=[A-Za-z0-9])", text, flags=re.MULTILINE)[1:]
    assert len(blocks) > 5
    assert [block.split()[0] for block in blocks if "--hash=sha256:" not in block] == []
    assert "://" not in text


def test_a_package_has_one_version_in_all_files():
    versions = {}
    for name in NAMES:
        for package, settled in packages((ROOT / f"{name}.txt").read_text()).items():
            versions.setdefault(package, set()).update(settled)
    assert {package: each for package, each in versions.items() if len(each) > 1} == {}
