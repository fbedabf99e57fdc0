"""Whatever pydicom can write comes back: bytes -> tree -> DICOM JSON -> pydicom's `from_json` gives the same values."""

from __future__ import annotations

import io
import json
import struct
from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filewriter import dcmwrite
from pydicom.sequence import Sequence

from service.dicom.dictionary import tag_of_key
from service.dicom.extract import extract, read_tree
from service.dicom.jsonmodel import bulk_data, dicom_json
from service.dicom.limits import Limits
from service.dicom.values import BYTE_VRS, to_little
from tests.dicom.kinds import SYNTAXES

TAGS = {
    "AE": 0x00080054,
    "AS": 0x00101010,
    "AT": 0x00280009,
    "CS": 0x00080008,
    "DA": 0x00080020,
    "DS": 0x00200032,
    "DT": 0x0008002A,
    "FD": 0x00720074,
    "FL": 0x00720076,
    "IS": 0x00720064,
    "LO": 0x00101000,
    "LT": 0x00104000,
    "OB": 0x00420011,
    "OD": 0x00720073,
    "OF": 0x00720067,
    "OL": 0x00720075,
    "OV": 0x00720081,
    "OW": 0x00720069,
    "PN": 0x00081070,
    "SH": 0x00081010,
    "SL": 0x0072007C,
    "SS": 0x0072007E,
    "ST": 0x00080081,
    "SV": 0x00720082,
    "TM": 0x00080030,
    "UC": 0x00080119,
    "UI": 0x00080018,
    "UL": 0x00720078,
    "UN": 0x00091001,
    "UR": 0x00080120,
    "US": 0x0072007A,
    "UT": 0x0040A160,
    "UV": 0x00720083,
}
"""A tag of each VR, one whose VR the dictionary does not leave open and that may have many values."""

CHARSETS = {
    "ISO_IR 192": st.characters(codec="utf-8", exclude_categories=("Cc", "Cs"), exclude_characters="\\^=\ufeff"),
    "ISO_IR 100": st.characters(
        min_codepoint=0x20, max_codepoint=0xFF, exclude_categories=("Cc",), exclude_characters="\\^="
    ),
    "GB18030": st.characters(codec="gb18030", exclude_categories=("Cc", "Cs", "Co", "Cn"), exclude_characters="\\^="),
    "ISO_IR 144": st.sampled_from("АБВГДабвгд abcXYZ"),
    "ISO_IR 166": st.sampled_from("กขฃคฅฆง abc"),
}


def trimmed(text: str) -> str:
    return text.strip(" \0")


def texts(alphabet: st.SearchStrategy[str], size: int) -> st.SearchStrategy[str]:
    return st.text(alphabet, min_size=1, max_size=size).map(trimmed).filter(bool)


def words(size: int, letters: str = "ABCXYZ0189 _") -> st.SearchStrategy[str]:
    return texts(st.sampled_from(letters), size)


def values_of(vr: str, alphabet: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Values that pydicom writes for a VR; a list where it may have several."""
    integers = {
        "US": (0, 2**16 - 1), "SS": (-(2**15), 2**15 - 1), "UL": (0, 2**32 - 1), "SL": (-(2**31), 2**31 - 1),
        "UV": (0, 2**64 - 1), "SV": (-(2**63), 2**63 - 1),
    }  # fmt: skip
    single: st.SearchStrategy[Any]
    if vr in integers:
        single = st.integers(*integers[vr])
    elif vr in ("FL", "FD"):
        single = st.floats(width=32 if vr == "FL" else 64, allow_nan=False, allow_infinity=False)
    elif vr == "IS":
        single = st.integers(-(2**31), 2**31 - 1).map(str)
    elif vr == "DS":
        single = st.one_of(
            st.floats(-1e6, 1e6).map(lambda number: f"{number:.6g}"), st.sampled_from(("1.50", "-0", "+3.", "1E-7"))
        )
    elif vr == "AT":
        single = st.integers(0, 2**32 - 1)
    elif vr in ("OB", "OW", "OF", "OL", "OD", "OV", "UN"):
        return st.binary(max_size=200).map(lambda data: data[: len(data) // 8 * 8])
    elif vr == "PN":
        group = texts(alphabet, 16)
        single = st.lists(group, min_size=1, max_size=3).map("=".join)
    elif vr in ("LT", "ST", "UT"):
        return texts(alphabet, 60)
    elif vr == "UR":
        return words(40, "abc:/.?&=-_")
    elif vr == "UI":
        single = st.lists(st.integers(1, 99999), min_size=2, max_size=8).map(lambda parts: ".".join(map(str, parts)))
    elif vr == "DA":
        single = st.dates().map(lambda date: date.strftime("%Y%m%d").rjust(8, "0"))
    elif vr == "TM":
        single = st.times().map(lambda time: time.strftime("%H%M%S.%f"))
    elif vr == "DT":
        single = st.datetimes().map(lambda moment: moment.strftime("%Y%m%d%H%M%S").rjust(14, "0"))
    elif vr == "AS":
        single = st.integers(0, 999).map(lambda years: f"{years:03}Y")
    elif vr in ("AE", "CS"):
        single = words(16)
    else:
        single = texts(alphabet, {"SH": 16, "LO": 60, "UC": 60}[vr])
    return st.lists(single, min_size=1, max_size=4)


@st.composite
def datasets(draw: st.DrawFn, alphabet: st.SearchStrategy[str], depth: int = 2) -> Dataset:
    """A data set over every VR, with sequences in it."""
    dataset = Dataset()
    for vr in sorted(draw(st.sets(st.sampled_from(sorted(TAGS)), max_size=8))):
        dataset.add_new(TAGS[vr], vr, draw(values_of(vr, alphabet)))
    if depth and draw(st.booleans()):
        items = draw(st.lists(datasets(alphabet, depth - 1), max_size=3))
        sequence = Sequence(items)
        dataset.add_new(0x00081140, "SQ", sequence)
        dataset[0x00081140].is_undefined_length = draw(st.booleans())
        for item in items:
            item.is_undefined_length_sequence_item = draw(st.booleans())
    return dataset


@st.composite
def files(draw: st.DrawFn) -> tuple[Dataset, bytes]:
    """A data set, and the file that pydicom makes of it."""
    charset = draw(st.sampled_from(sorted(CHARSETS)))
    dataset = draw(datasets(CHARSETS[charset]))
    dataset.SpecificCharacterSet = charset
    dataset.SOPClassUID, dataset.StudyInstanceUID = "1.2.3", "1.2.4"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = SYNTAXES[draw(st.sampled_from(sorted(SYNTAXES)))]
    out = io.BytesIO()
    dcmwrite(out, dataset, enforce_file_format=False)
    return dataset, out.getvalue()


def plain_values(element: Any, big: bool = False) -> Any:
    """The values of an element of pydicom in a form that can be compared; `big`: its bytes are big endian."""
    if element.VR == "SQ":
        return [{below.tag: plain_values(below, big) for below in item} for item in element.value]
    value = element.value
    if value is None or value == "" or value == b"":
        return []
    if isinstance(value, bytes):
        return to_little(value, BYTE_VRS[element.VR]) if big else value
    several = list(value) if element.VM != 1 and not isinstance(value, str) else [value]
    if element.VR == "DS":
        return [float(number) for number in several]
    if element.VR in ("IS", "SV", "UV", "US", "SS", "UL", "SL", "AT"):
        return [int(number) for number in several]
    if element.VR in ("FL", "FD"):
        return [float(number) for number in several]
    return [
        str(text).rstrip(" ") if element.VR in ("LT", "ST", "UT", "UC", "UR") else trimmed(str(text))
        for text in several
    ]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(files())
def test_what_pydicom_writes_comes_back_by_way_of_dicom_json(made: tuple[Dataset, bytes]) -> None:
    dataset, data = made
    extraction = extract(data, Limits())
    assert extraction.problems == 0
    tree = read_tree(data, Limits())

    def fetch(tag: str, vr: str, uri: str) -> bytes:
        level: Any = tree.dataset
        *around, key = uri.split(".")
        for step in around:
            name, index = step[:-1].split("[")
            level = level[name]["Value"][int(index)]
        held = bulk_data(level[key])
        found = tree.read_bytes(level[key]) if held is None else held
        assert f"{tag_of_key(key):08X}" == tag
        if vr in ("FL", "FD"):
            return list(struct.unpack(f"<{len(found) // (4 if vr == 'FL' else 8)}{'f' if vr == 'FL' else 'd'}", found))  # type: ignore[return-value]
        return found

    written = json.loads(orjson.dumps(dicom_json(tree.dataset, lambda path: path)))
    back = Dataset.from_json(written, fetch)
    back.SpecificCharacterSet = dataset.SpecificCharacterSet
    assert {element.tag: plain_values(element) for element in back} == {
        element.tag: plain_values(element, dataset.file_meta.TransferSyntaxUID == SYNTAXES["big"])
        for element in dataset
    }
