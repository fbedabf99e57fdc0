"""What real files give, value by value; and what is left in a file that a document cannot hold."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import bson
import pytest
from bson.raw_bson import RawBSONDocument
from pydicom import data as wheel

from service.dicom.extract import Extraction, extract, extract_packed, read_tree, unpack
from service.dicom.limits import Limits
from service.errors import LimitExceeded
from tests.dicom.written import EXPLICIT, IMPLICIT, explicit, implicit, item, part10, plain, sequence

ROOT = Path(wheel.__file__).parent


def value_at(dataset: Any, path: str) -> Any:
    """Give an element by keywords or hex digits and item numbers, as A.0.B."""
    found = dataset
    for step in path.split("."):
        found = found["Value"][int(step)] if step.isdigit() and len(step) < 8 else found[step]
    return found


def from_wheel(name: str) -> Extraction:
    path = next(path for folder in ("test_files", "charset_files") for path in (ROOT / folder).rglob(name))
    return extract(path.read_bytes(), Limits())


CHOSEN: dict[str, tuple[int, dict[str, dict[str, Any]]]] = {
    "CT_small.dcm": (
        266,
        {
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "CompressedSamples^CT1"}]},
            "PixelSpacing": {"vr": "DS", "Value": [0.661468, 0.661468]},
            "PixelData": {"vr": "OW", "length": 32768, "offset": 6300},
            "00090010": {"vr": "LO", "Value": ["GEMS_IDEN_01"]},
            "00091001": {"vr": "LO", "Value": ["GE_GENESIS_FF"]},
        },
    ),
    "MR_small.dcm": (81, {"PixelSpacing": {"vr": "DS", "Value": [0.3125, 0.3125]}}),
    "MR_small_bigendian.dcm": (
        80,
        {
            "SmallestImagePixelValue": {"vr": "SS", "Value": [0]},
            "Rows": {"vr": "US", "Value": [64]},
            "PixelData": {"vr": "OW", "length": 8192},
        },
    ),
    "MR_small_padded.dcm": (81, {"PixelData": {"vr": "OW", "length": 8320, "offset": 1500}}),
    "MR_truncated.dcm": (
        80,
        {
            "PixelData": {
                "vr": "OW",
                "length": 8130,
                "offset": 1500,
                "problem": "the file ends within the value",
            }
        },
    ),
    "rtplan_truncated.dcm": (
        38,
        {
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "Last^First^mid^pre"}]},
            "BeamSequence.0.ControlPointSequence.0.ControlPointIndex": {"vr": "IS", "Value": [0]},
        },
    ),
    "badVR.dcm": (
        52,
        {
            "NumberOfFrames": {
                "vr": "IS",
                "raw": "1A",
                "problem": "the text is not a number that its VR can hold",
            },
            "PixelSpacing": {
                "vr": "DS",
                "Value": [10.0, 10.0],
                "raw": "10.0000000000000\\10.0000000000000",
            },
        },
    ),
    "UN_sequence.dcm": (
        9,
        {
            "4453100C.0.ReferencedSeriesSequence.0.SeriesInstanceUID": {
                "vr": "UI",
                "Value": ["1.2.840.113619.2.327.3.185221411.476.1398588726.276"],
            }
        },
    ),
    "nested_priv_SQ.dcm": (
        8,
        {
            "00010001.0.00010002": {"vr": "UN", "InlineBinary": b"Nested SQ"},
            "00010001.0.00010001.0.00010001": {"vr": "UN", "InlineBinary": b"Double Nested SQ"},
        },
    ),
    "priv_SQ.dcm": (9, {"3F030010": {"vr": "LO", "Value": ["aaabbbccc MEDICAL SYSTEMS"]}}),
    "meta_missing_tsyntax.dcm": (7, {"PixelData": {"vr": "OW", "length": 2, "offset": 315}}),
    "no_meta_group_length.dcm": (
        10,
        {
            "ImageType": {"vr": "CS", "Value": ["ORIGINAL", "PRIMARY", "PORTAL"]},
            "InstanceCreationTime": {"vr": "TM", "Value": ["125601.140000"]},
        },
    ),
    "no_meta.dcm": (258, {"PixelData": {"vr": "OW", "length": 32768, "offset": 5965}}),
    "ExplVR_BigEndNoMeta.dcm": (24, {"InstanceNumber": {"vr": "IS", "Value": [1]}}),
    "ExplVR_LitEndNoMeta.dcm": (24, {"InstanceNumber": {"vr": "IS", "Value": [1]}}),
    "image_dfl.dcm": (
        37,
        {
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "^^^^"}]},
            "PixelData": {"vr": "OB", "length": 262144},
        },
    ),
    "empty_charset_LEI.dcm": (8, {"SpecificCharacterSet": {"vr": "CS"}, "ImplementationVersionName": {"vr": "SH"}}),
    "JPEG2000-embedded-sequence-delimiter.dcm": (
        159,
        {"PixelData": {"vr": "OB", "length": 266, "offset": 3034, "encapsulated": True}},
    ),
    "SC_rgb_jpeg.dcm": (41, {"PixelData": {"vr": "OB", "length": 3514, "offset": 942, "encapsulated": True}}),
    "waveform_ecg.dcm": (
        73,
        {"WaveformSequence.0.SamplingFrequency": {"vr": "DS", "Value": [1000.0], "raw": "1000"}},
    ),
    "DICOMDIR": (
        12,
        {"DirectoryRecordSequence.0.DirectoryRecordType": {"vr": "CS", "Value": ["PATIENT"]}},
    ),
    "chrH32.dcm": (
        41,
        {
            "PatientName": {
                "vr": "PN",
                "Value": [{"Alphabetic": "ﾔﾏﾀﾞ^ﾀﾛｳ", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
            }
        },
    ),
    "chrSQEncoding.dcm": (
        11,
        {
            "RequestedProcedureCodeSequence.0.PatientName": {
                "vr": "PN",
                "Value": [{"Alphabetic": "ﾔﾏﾀﾞ^ﾀﾛｳ", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう"}],
            }
        },
    ),
}
"""File -> how many elements stand at its top level, and some of them."""


@pytest.mark.parametrize("name", CHOSEN)
def test_a_chosen_file_gives_exactly_what_stands_in_it(name: str) -> None:
    count, expected = CHOSEN[name]
    dataset = from_wheel(name).dataset
    for path, element in expected.items():
        assert value_at(dataset, path) == element
    assert len(dataset) == count


@pytest.mark.parametrize(("name", "offset"), [("MR_truncated.dcm", 1488), ("rtplan_truncated.dcm", 2092)])
def test_a_cut_file_says_where_it_stopped(name: str, offset: int) -> None:
    extraction = from_wheel(name)
    assert extraction.truncated_at == offset
    assert extraction.warnings[0] == {
        "path": None,
        "problem": f"the file is cut off: reading stopped at byte {offset}",
    }
    assert extraction.problems == len(extraction.warnings)


def test_a_proper_file_has_no_problems_and_is_found_by_its_uids() -> None:
    extraction = from_wheel("CT_small.dcm")
    assert (extraction.problems, extraction.warnings, extraction.truncated_at, extraction.spilled) == (
        0,
        [],
        None,
        False,
    )
    assert extraction.identifiers == {
        "study_instance_uid": "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322",
        "series_instance_uid": "1.3.6.1.4.1.5962.1.3.1.1.20040119072730.12322",
        "sop_instance_uid": "1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322",
        "sop_class_uid": "1.2.840.10008.5.1.4.1.1.2",
        "transfer_syntax_uid": EXPLICIT,
    }
    assert extraction.index["tags"]["PatientName"] == ["CompressedSamples^CT1"]
    assert extraction.series is not None
    assert extraction.series["Modality"] == {"vr": "CS", "Value": ["CT"]}


def test_a_bare_file_has_no_uids_and_no_series() -> None:
    extraction = extract(part10(explicit(0x00100010, "PN", b"Doe^Jane"), None), Limits())
    assert extraction.series is None
    assert set(extraction.identifiers.values()) == {None, "1.2.840.10008.5.1.4.1.1.7"}


def test_a_worker_gives_the_same_as_bson(tmp_path: Path) -> None:
    path = ROOT / "test_files" / "CT_small.dcm"
    here = extract(path.read_bytes(), Limits())
    for source in (path.read_bytes(), str(path)):
        there = unpack(extract_packed(source, Limits()))
        assert isinstance(there.dataset, RawBSONDocument)
        assert bson.decode(there.dataset.raw) == here.dataset
        assert bson.decode(there.index.raw) == here.index
        assert there.identifiers == here.identifiers
        assert (there.problems, there.warnings) == (here.problems, here.warnings)
    empty = tmp_path / "empty"
    empty.write_bytes(b"")
    with pytest.raises(Exception, match="not DICOM"):
        extract_packed(str(empty), Limits())


@pytest.mark.parametrize("path", sorted((ROOT / "test_files").glob("*.dcm")), ids=lambda path: path.name)
def test_every_bytes_element_of_a_real_file_can_be_read_from_the_tree(path: Path) -> None:
    data = path.read_bytes()
    tree = read_tree(data, Limits())
    assert bson.encode(tree.dataset)
    for element in tree.dataset.values():
        if "length" in element:
            read = tree.read_bytes(element)
            assert len(read) == element["length"]
            if "offset" in element:
                assert data[element["offset"] : element["offset"] + element["length"]] == read


# --- what a document cannot hold ---------------------------------------------------------------------------------


def nested(levels: int) -> bytes:
    content = explicit(0x00100020, "LO", b"DEEP")
    for _ in range(levels):
        content = sequence(0x00081140, [item(content)])
    return part10(content)


@pytest.mark.parametrize("levels", [30, 31, 60, 64])
def test_sequences_deeper_than_a_document_keeps_are_left_in_the_file(levels: int) -> None:
    extraction = extract(nested(levels), Limits())
    assert extraction.spilled == (levels > 30)
    level: Any = extraction.dataset
    for _ in range(min(levels, 30)):
        level = level["ReferencedImageSequence"]["Value"][0]
    if levels > 30:
        assert level["ReferencedImageSequence"] == {"vr": "SQ", "items": 1, "spilled": True}
    path = "/".join(["ReferencedImageSequence"] * levels) + "/PatientID"
    assert extraction.index["tags"][path] == ["DEEP"]
    whole: Any = read_tree(nested(levels), Limits()).dataset
    for _ in range(levels):
        whole = whole["ReferencedImageSequence"]["Value"][0]
    assert whole["PatientID"]["Value"] == ["DEEP"]


def test_five_hundred_levels_are_refused() -> None:
    with pytest.raises(LimitExceeded, match="nests more than 64"):
        extract(nested(500), Limits())


def filled(count: int, size: int) -> bytes:
    text = b"x" * size
    return b"".join(
        item(explicit(0x00081155, "UI", b"1.2.%d" % number) + explicit(0x00104000, "LT", text))
        for number in range(count)
    )


def test_the_largest_sequence_of_a_large_file_is_left_in_it_and_found_all_the_same() -> None:
    data = part10(
        plain()[:-20] + explicit(0x00400275, "SQ", filled(10, 100)) + explicit(0x00409096, "SQ", filled(4000, 10_000)),
    )
    assert len(data) > 40_000_000
    extraction = unpack(extract_packed(data, Limits()))
    assert extraction.spilled
    assert dict(extraction.dataset["RealWorldValueMappingSequence"]) == {"vr": "SQ", "items": 4000, "spilled": True}
    assert len(extraction.dataset["RequestAttributesSequence"]["Value"]) == 10
    assert len(extraction.dataset["ReferencedImageSequence"]["Value"]) == 2
    assert len(extraction.index["tags"]["RealWorldValueMappingSequence/ReferencedSOPInstanceUID"]) == 1000
    whole = read_tree(data, Limits()).dataset["RealWorldValueMappingSequence"]["Value"]
    assert whole[3999]["ReferencedSOPInstanceUID"]["Value"] == ["1.2.3999"]
    assert len(bson.encode(extraction.dataset)) < 1 << 20


def test_of_nested_sequences_only_the_inner_one_that_is_large_is_left_in_the_file() -> None:
    inner = explicit(0x00100020, "LO", b"KEPT") + explicit(0x00409096, "SQ", filled(2000, 10_000))
    extraction = extract(
        part10(sequence(0x00081140, [item(inner), item(explicit(0x00100020, "LO", b"TOO "))])), Limits()
    )
    first, second = extraction.dataset["ReferencedImageSequence"]["Value"]
    assert first["PatientID"]["Value"] == ["KEPT"]
    assert first["RealWorldValueMappingSequence"] == {"vr": "SQ", "items": 2000, "spilled": True}
    assert second["PatientID"]["Value"] == ["TOO"]


def test_a_long_text_is_left_in_the_file_by_its_length() -> None:
    data = part10(explicit(0x0040A160, "UT", b"x" * (20 << 20)) + explicit(0x0040A161, "LO", b"LAST"))
    extraction = extract(data, Limits())
    assert extraction.dataset["TextValue"] == {
        "vr": "UT",
        "length": 20 << 20,
        "offset": data.index(b"xxxx"),
        "spilled": True,
    }
    assert extraction.spilled
    assert "TextValue" in extraction.index["truncated"]
    assert read_tree(data, Limits()).dataset["TextValue"]["Value"] == ["x" * (20 << 20)]


def test_many_texts_that_are_too_much_together_are_left_in_the_file_longest_first() -> None:
    texts = b"".join(explicit(0x00091001 + n, "UT", b"x" * (900_000 + n)) for n in range(20))
    extraction = extract(part10(explicit(0x00090010, "LO", b"ACME") + texts), Limits())
    kept = [key for key in extraction.dataset if "Value" in extraction.dataset[key] and key.startswith("000910")]
    left = [key for key in extraction.dataset if "spilled" in extraction.dataset[key]]
    assert len(bson.encode(extraction.dataset)) < 15 << 20
    assert kept == [f"{0x00091001 + n:08X}" for n in range(len(kept))]
    assert len(kept) + len(left) == 20
    assert 14 < len(kept) < 18


@pytest.mark.parametrize(
    ("vr", "value", "last"),
    [
        ("DS", b"\\".join(b"%d.5" % number for number in range(3000)), 2999.5),
        ("LO", b"\\".join(b"text %d" % number for number in range(3000)), "text 2999"),
        ("FL", struct.pack("<3000f", *range(3000)), 2999.0),
        ("UV", struct.pack("<3000Q", *range(3000)), 2999),
        ("AT", struct.pack("<6000H", *range(6000)), "176E176F"),
    ],
)
def test_lists_past_a_documents_number_of_values_are_left_in_the_file(vr: str, value: bytes, last: Any) -> None:
    """Also where the dictionary leaves the VR open, as for the long list in implicit VR below."""
    value += b" " * (len(value) % 2)
    elements = b"".join(explicit(0x00091001 + number, vr, value) for number in range(4))
    data = part10(explicit(0x00090010, "LO", b"ACME") + elements + explicit(0x00280010, "US", b"\2\0"))
    extraction = extract(data, Limits(max_values=6500))
    assert len(extraction.dataset["00091002"]["Value"]) == 3000
    assert extraction.dataset["00091003"]["spilled"]
    assert extraction.dataset["00091004"]["length"] == len(value)
    assert extraction.dataset["Rows"]["Value"] == [2]
    assert extraction.spilled
    assert "ACME:0009xx03" in extraction.index["truncated"]
    whole = read_tree(data, Limits()).dataset["00091004"]["Value"]
    assert (len(whole), whole[-1]) == (3000, last)
    with pytest.raises(LimitExceeded, match="more values"):
        read_tree(data, Limits(max_tree_values=6500))


def test_a_long_list_whose_vr_is_settled_late_is_left_in_the_file_too() -> None:
    data = part10(implicit(0x00280120, bytes(400)) + implicit(0x00281101, bytes(400)), IMPLICIT)
    dataset = extract(data, Limits(max_values=250)).dataset
    assert len(dataset["PixelPaddingValue"]["Value"]) == 200
    assert dataset["RedPaletteColorLookupTableDescriptor"]["spilled"]


def test_more_small_elements_beside_each_other_than_a_document_holds_are_refused() -> None:
    elements = b"".join(explicit(0x00091000 + n, "LO", b"abcdef") for n in range(4000))
    assert not extract(part10(elements), Limits()).spilled
    with pytest.raises(LimitExceeded, match="beside each other"):
        extract(part10(elements), Limits(max_document_bytes=100_000))
