"""Every element of real and of generated files is what DCMTK's dcm2json says it is."""

from __future__ import annotations

import json
import math
import os
import re
import shutil
import subprocess
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import data as wheel

from service.dicom.dictionary import tag_of_key
from service.dicom.extract import read_tree
from service.dicom.jsonmodel import bulk_data, dicom_json
from service.dicom.limits import Limits
from service.dicom.tree import Tree
from service.errors import NotDicom
from tests.dicom.kinds import KINDS, SYNTAXES, written
from tests.dicom.written import explicit, part10

DCM2JSON = shutil.which("dcm2json")
pytestmark = pytest.mark.skipif(DCM2JSON is None, reason="dcm2json (DCMTK) is not installed")

ROOT = Path(wheel.__file__).parent
FILES = sorted(
    path
    for folder in ("test_files", "charset_files")
    for path in (ROOT / folder).rglob("*")
    if path.is_file() and path.suffix not in (".py", ".pyc", ".dump", ".json", ".gz", ".icc", ".txt")
    if not path.name.startswith("README")
)

NOT_READ = {
    "MR_truncated.dcm": "dcm2json refuses a file that ends within its pixel data",
    "rtplan_truncated.dcm": "dcm2json refuses a file that ends within a value",
    "SC_rgb_jpeg.dcm": "it says explicit VR and is implicit: dcm2json reads two elements of it",
    "chrH31.dcm": "no ISO 2022 IR 87 in DCMTK's iconv; test_charset.py has the names of PS3.5 annex H",
    "chrH32.dcm": "as chrH31.dcm",
    "chrJapMulti.dcm": "as chrH31.dcm",
    "chrJapMultiExplicitIR6.dcm": "as chrH31.dcm",
    "chrSQEncoding.dcm": "as chrH31.dcm",
    "chrSQEncoding1.dcm": "as chrH31.dcm",
}
"""Files that dcm2json cannot read, each with the reason."""

NOT_THE_SAME = {
    ("nested_priv_SQ.dcm", "00010001[0].00010002"): "dcm2json pads a value of odd length; ours is the file's own",
    ("meta_missing_tsyntax.dcm", "00010001[0].00010002"): "as nested_priv_SQ.dcm",
}
"""Elements that differ, each with the reason."""

_NO_CONTEXT = (
    "dcm2json looks for the element that settles the VR in the same item only; in implicit VR it is OW (PS3.5 A.1)"
)
GENERATED_NOT_THE_SAME = {
    (
        "PR implicit",
        "00283000[0].00283002",
    ): "the data set around the item has Pixel Representation 1, hence SS (PS3.3 C.11.1.1)",
    ("PR implicit", "00283000[0].00283006"): _NO_CONTEXT,
    ("waveform implicit", "54000100[0].003A0200[0].54000110"): _NO_CONTEXT,
    ("waveform implicit", "54000100[0].003A0200[1].54000110"): _NO_CONTEXT,
}

LAYOUT = re.compile(r"^(0002....|....0000|00080005|FFFCFFFC)$")
"""File meta, group lengths and padding are layout, and dcm2json writes its own Specific Character Set."""

LEADING_SPACES = {"LT", "ST", "UT", "UC"}
INTEGERS = {"IS", "US", "SS", "UL", "SL", "UV", "SV"}
FLOATS = {"DS": 1e-13, "FD": 1e-13, "FL": 1e-6}
_NOT_FINITE = re.compile(r"^(\s*)(-?)(nan|inf)(?:\([^)]*\))?(,?)\s*$", re.MULTILINE)


def dcmtk(path: Path) -> dict[str, Any] | None:
    """The data set as dcm2json has it; None where it cannot read the file."""
    environment = os.environ | {"LC_ALL": "C.UTF-8"}
    for options in ([], ["-f"]):
        command = [str(DCM2JSON), "-q", "-ee", *options, str(path)]
        result = subprocess.run(command, capture_output=True, check=False, env=environment, timeout=60)
        if result.returncode == 0:
            text = result.stdout.decode("utf-8", "surrogateescape")
            found = json.loads(_NOT_FINITE.sub(_python_number, text), strict=False)
            if found:
                return dict(found)
    return None


def _python_number(match: re.Match[str]) -> str:
    number = "NaN" if match[3] == "nan" else match[2] + "Infinity"
    return match[1] + number + match[4]


def ours(tree: Tree) -> dict[str, Any]:
    """The data set as we write it, with the bytes behind every BulkDataURI in its place."""
    found = dicom_json(tree.dataset, lambda path: path)
    _inline(found, tree.dataset, tree)
    return found


def _inline(found: dict[str, Any], dataset: Any, tree: Tree) -> None:
    elements = {f"{tag_of_key(key):08X}": element for key, element in dataset.items()}
    for tag, element in found.items():
        if "BulkDataURI" in element:
            held = bulk_data(elements[tag])
            element["bytes"] = tree.read_bytes(elements[tag]) if held is None else held
        elif "InlineBinary" in element:
            element["bytes"] = b64decode(element["InlineBinary"])
        elif element["vr"] == "SQ":
            for item, below in zip(element.get("Value", ()), elements[tag].get("Value", ()), strict=True):
                _inline(item, below, tree)


def differences(theirs: dict[str, Any], own: dict[str, Any], path: str = "") -> list[tuple[str, str]]:
    """What is not the same, as (path, how)."""
    found = []
    for tag in sorted(theirs.keys() | own.keys()):
        if LAYOUT.match(tag):
            continue
        if tag not in theirs or tag not in own:
            found.append((path + tag, "missing" if tag in theirs else "extra"))
            continue
        one, other = theirs[tag], own[tag]
        vr = one["vr"]
        if vr != other["vr"]:
            # A private dictionary may know what DCMTK does not, and the other way round; and DCMTK keeps UN as UN.
            if "UN" not in (vr, other["vr"]) and not int(tag[:4], 16) % 2:
                found.append((path + tag, f"{vr} is {other['vr']}"))
        elif vr == "SQ":
            items, others = one.get("Value") or [], other.get("Value") or []
            if len(items) != len(others):
                found.append((path + tag, f"{len(items)} items are {len(others)}"))
            for number, (item, item_of_ours) in enumerate(zip(items, others, strict=False)):
                found += differences(item, item_of_ours, f"{path}{tag}[{number}].")
        elif not _same(vr, one, other):
            found.append((path + tag, f"{vr} differs"))
    return found


def _same(vr: str, one: dict[str, Any], other: dict[str, Any]) -> bool:
    if "InlineBinary" in one or "bytes" in other:
        held = one.get("InlineBinary", "")
        held = b64decode((held or [""])[0] if isinstance(held, list) else held)
        if "bytes" in other and "Value" in one:  # numbers that JSON has no words for
            return len(other["bytes"]) > 0
        return bool(held == other.get("bytes", b""))
    values, others = _values(vr, one), _values(vr, other)
    return len(values) == len(others) and all(_equal(vr, *pair) for pair in zip(values, others, strict=True))


def _values(vr: str, element: dict[str, Any]) -> list[Any]:
    values = [None if value in ("", {}) else value for value in element.get("Value") or []]
    if vr == "PN":
        values = [value and {group: text.rstrip("^ ") for group, text in value.items()} for value in values]
        values = [(value and {group: text for group, text in value.items() if text}) or None for value in values]
    elif vr not in FLOATS and vr not in INTEGERS:
        strip = str.rstrip if vr in LEADING_SPACES else str.strip
        values = [strip(value, " \0") or None if isinstance(value, str) else value for value in values]
    return [] if values == [None] else values


def _equal(vr: str, one: Any, other: Any) -> bool:
    if vr in INTEGERS and None not in (one, other):
        try:
            return int(one) == int(other)
        except ValueError:
            return str(one).strip() == str(other).strip() or float(one) == float(other)
    if vr in FLOATS and None not in (one, other):
        try:
            return math.isclose(float(one), float(other), rel_tol=FLOATS[vr]) or float(one) == float(other)
        except ValueError:
            return str(one).strip() == str(other).strip()
    return bool(one == other)


def _compare(path: Path, tmp_path: Path, expected: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    data = path.read_bytes()
    tree = read_tree(data, Limits())
    for readable in _copies(data, tree):
        copy = tmp_path / "copy.dcm"
        copy.write_bytes(readable)
        theirs = dcmtk(copy)
        if theirs is not None:
            break
    assert theirs is not None, "dcm2json cannot read it"
    own = ours(tree)
    if "7FE00010" not in theirs:
        own.pop("7FE00010", None)
    return [found for found in differences(theirs, own) if (path.name, found[0]) not in expected]


def _copies(data: bytes, tree: Tree) -> Iterator[bytes]:
    """The file, and then without what dcm2json 3.6.7 stumbles over, none of which touches another element."""
    yield data
    pixels = tree.dataset.get("PixelData", {})
    if pixels.get("encapsulated"):
        # Compressed pixel data cannot go into its JSON. In these files nothing stands behind them.
        implicit = data[pixels["offset"] - 8 : pixels["offset"] - 4] == b"\xe0\x7f\x10\0"
        data = data[: pixels["offset"] - (8 if implicit else 12)]
        yield data
    yield data[132:] if data[128:132] == b"DICM" else data[1:]  # what stands before a bare data set
    # Two character sets that iconv does not have, where the text is ASCII all the same.
    yield data.replace(b"ISO 2022 IR 13\\ISO 2022 IR 87 ", b"ISO_IR 100".ljust(30))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_element_of_a_file_of_pydicoms_wheel_is_what_dcm2json_says(path: Path, tmp_path: Path) -> None:
    if path.name in NOT_READ:
        pytest.skip(NOT_READ[path.name])
    assert _compare(path, tmp_path, NOT_THE_SAME) == []


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_element_of_a_generated_file_is_what_dcm2json_says(kind: str, syntax: str, tmp_path: Path) -> None:
    path = tmp_path / f"{kind} {syntax}"
    path.write_bytes(written(KINDS[kind](), syntax))
    assert _compare(path, tmp_path, GENERATED_NOT_THE_SAME) == []


def test_what_dcm2json_refuses_as_not_dicom_is_refused_here_too() -> None:
    for path in (ROOT / "test_files").rglob("*"):
        if path.is_file() and path not in FILES and path.suffix != ".pyc":
            with pytest.raises(NotDicom):
                read_tree(path.read_bytes(), Limits())


@pytest.mark.parametrize("text", [
    "0,5", r"0.66\0,5", "1A", r"1\2A\3", "abc\\", "nan", "inf", "1.5", r"+01\1", "9" * 20, "1\\\\3", "-", "0x10", "1 2",
    r"1.50\2,5", r"12345678901234567890.5\1",
])  # fmt: skip
@pytest.mark.parametrize(("vr", "tag"), [("DS", 0x00181164), ("IS", 0x00200013)])
def test_a_number_and_what_is_none_are_what_dcm2json_says(vr: str, tag: int, text: str, tmp_path: Path) -> None:
    padded = text.encode() + b" " * (len(text) % 2)
    (tmp_path / "copy.dcm").write_bytes(part10(explicit(tag, vr, padded)))
    theirs = dcmtk(tmp_path / "copy.dcm")
    own = ours(read_tree((tmp_path / "copy.dcm").read_bytes(), Limits()))
    assert theirs is not None
    one, other = theirs[f"{tag:08X}"], own[f"{tag:08X}"]
    assert one["vr"] == other["vr"] == vr
    assert len(one["Value"]) == len(other["Value"])
    for value, value_of_ours in zip(one["Value"], other["Value"], strict=True):
        if vr == "IS" and isinstance(value_of_ours, float):  # a fraction, which dcm2json has as text
            assert float(value) == value_of_ours
        else:
            assert value == value_of_ours
