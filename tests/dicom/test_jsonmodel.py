"""The DICOM JSON Model: PS3.18 Annex F, and a form that typed readers can load."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from bson.decimal128 import Decimal128
from pydicom import Dataset

from service.dicom.jsonmodel import bulk_data, dicom_json
from service.dicom.paths import BelowSpilled, locate, parse_tag_path

UNKNOWN_BULK = {"vr": "UN", "BulkDataURI": "bulk/MREchoSequence"}


def written(dataset: dict[str, Any]) -> dict[str, Any]:
    """The object as a reader gets it, after a strict JSON encoder."""
    answer: dict[str, Any] = json.loads(json.dumps(dicom_json(dataset, "bulk/".__add__), allow_nan=False))
    Dataset.from_json(answer, bulk_data_uri_handler=lambda *_: None)
    return answer


def written_element(element: dict[str, Any], key: str = "SliceThickness") -> dict[str, Any]:
    (answer,) = written({key: element}).values()
    return answer


def test_elements_stand_by_ascending_tag_in_upper_case_hex():
    dataset = {
        "PixelSpacing": {"vr": "DS", "Value": [0.5, 0.5]},
        "7FE00001": {"vr": "OV"},
        "0009ABCD": {"vr": "LO", "Value": ["x"]},
        "Modality": {"vr": "CS", "Value": ["CT"]},
    }
    assert list(written(dataset)) == ["00080060", "0009ABCD", "00280030", "7FE00001"]


def test_group_lengths_file_meta_and_stray_delimiters_are_left_out():
    dataset = {
        "FileMetaInformationGroupLength": {"vr": "UL", "Value": [1]},
        "TransferSyntaxUID": {"vr": "UI", "Value": ["1.2"]},
        "00080000": {"vr": "UL", "Value": [1]},
        "FFFEE00D": {"vr": "UN"},
        "StudyID": {"vr": "SH", "Value": ["1"]},
        "MREchoSequence": {"vr": "SQ", "Value": [{"00080000": {"vr": "UL", "Value": [1]}}]},
    }
    assert written(dataset) == {"00189114": {"vr": "SQ", "Value": [{}]}, "00200010": {"vr": "SH", "Value": ["1"]}}


def test_the_character_set_is_that_of_the_json_at_every_level():
    latin = {"SpecificCharacterSet": {"vr": "CS", "Value": [None, "ISO 2022 IR 87"]}}
    answer = written(latin | {"MREchoSequence": {"vr": "SQ", "Value": [latin]}})
    assert answer["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert answer["00189114"]["Value"][0]["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert "00080005" not in written({"StudyID": {"vr": "SH", "Value": ["1"]}})


def test_an_empty_element_has_a_vr_alone():
    for vr in ("LO", "PN", "DS", "OB", "SQ", "UN", "AT", "FD"):
        assert written_element({"vr": vr}) == {"vr": vr}
        assert written_element({"vr": vr, "Value": []}) == {"vr": vr}
    assert written_element({"vr": "OB", "InlineBinary": b""}) == {"vr": "OB"}
    assert written_element({"vr": "OB", "length": 0}) == {"vr": "OB"}


def test_items_of_a_sequence_are_objects_and_empty_ones_stay():
    items = [{}, {"EchoTime": {"vr": "DS", "Value": [1.5]}}]
    assert written_element({"vr": "SQ", "Value": items}, "MREchoSequence") == {
        "vr": "SQ",
        "Value": [{}, {"00180081": {"vr": "DS", "Value": [1.5]}}],
    }


def test_empty_values_among_others_are_null():
    assert written_element({"vr": "LO", "Value": [None, "x"]}, "StudyDescription")["Value"] == [None, "x"]
    assert written_element({"vr": "DS", "Value": [1.0, None]})["Value"] == [1.0, None]
    name = {"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山"}, None, {"Phonetic": "p"}]}
    assert written_element(name, "PatientName")["Value"] == name["Value"]


@pytest.mark.parametrize(
    ("element", "values"),
    [
        ({"vr": "DS", "Value": [1.5], "raw": "1.50"}, [1.5]),
        ({"vr": "DS", "Value": [0.1], "raw": "0.1000000000000000"}, [0.1]),
        ({"vr": "DS", "Value": [1e22], "raw": "10000000000000000000000"}, [1e22]),
        ({"vr": "DS", "Value": [28.8], "raw": "002.880000E+01"}, [28.8]),
        ({"vr": "IS", "Value": [28.8], "raw": "002.880000E+01"}, [28.8]),
        ({"vr": "IS", "Value": [7], "raw": "+007"}, [7]),
        (
            {"vr": "DS", "Value": [3.141592653589793, 1.0], "raw": "3.14159265358979323846 \\1.0"},
            ["3.14159265358979323846", 1.0],
        ),
        ({"vr": "DS", "Value": [math.inf, None], "raw": "1e999\\"}, ["1e999", None]),
        ({"vr": "IS", "Value": [9007199254740993]}, ["9007199254740993"]),
        ({"vr": "IS", "Value": [9007199254740992]}, [9007199254740992]),
    ],
)
def test_a_decimal_is_a_number_unless_its_text_has_another_value(element, values):
    assert written_element(element) == {"vr": element["vr"], "Value": values}


def test_64_bit_integers_that_a_double_does_not_hold_are_text():
    assert written_element({"vr": "SV", "Value": [-(2**53) - 1, 1]})["Value"] == ["-9007199254740993", "1"]
    assert written_element({"vr": "UV", "Value": [Decimal128("18446744073709551615")]})["Value"] == [
        "18446744073709551615"
    ]
    assert written_element({"vr": "UV", "Value": [2**53]})["Value"] == [2**53]


@pytest.mark.parametrize("vr", ["FL", "FD"])
@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_floats_that_are_not_finite_are_bulk_data_and_the_bytes_are_there(vr, odd):
    element = {"vr": vr, "Value": [1.0, odd]}
    assert written_element(element) == {"vr": vr, "BulkDataURI": "bulk/SliceThickness"}
    stored = struct.unpack("<2" + {"FL": "f", "FD": "d"}[vr], bulk_data(element) or b"")
    assert [str(value) for value in stored] == ["1.0", str(odd)]


def test_bytes_to_1_kib_are_inline_and_longer_ones_have_a_uri():
    assert written_element({"vr": "OB", "InlineBinary": b"\0\1"}) == {"vr": "OB", "InlineBinary": "AAE="}
    assert "InlineBinary" in written_element({"vr": "UN", "InlineBinary": b"x" * 1024})
    assert written_element({"vr": "UN", "InlineBinary": b"x" * 1025}) == {
        "vr": "UN",
        "BulkDataURI": "bulk/SliceThickness",
    }
    assert written_element({"vr": "OW", "length": 2048}, "PixelData") == {"vr": "OW", "BulkDataURI": "bulk/PixelData"}


def test_a_bulk_uri_names_a_path_that_leads_back_to_the_element():
    dataset = {
        "WaveformSequence": {"vr": "SQ", "Value": [{}, {"00091001": {"vr": "OB", "length": 4000}}]},
    }
    uri = written(dataset)["54000100"]["Value"][1]["00091001"]["BulkDataURI"]
    assert uri == "bulk/WaveformSequence[1].00091001"
    assert locate(dataset, parse_tag_path(uri.removeprefix("bulk/"))).element["length"] == 4000


@pytest.mark.parametrize(
    ("key", "element", "expected"),
    [
        ("Rows", {"vr": "US", "raw": b"\1", "problem": "p"}, {"vr": "UN", "BulkDataURI": "bulk/Rows"}),
        ("00091001", {"vr": "US", "raw": b"\1", "problem": "p"}, {"vr": "UN", "InlineBinary": "AQ=="}),
        ("00091001", {"vr": "FD", "raw": b"x" * 2000, "problem": "p"}, {"vr": "UN", "BulkDataURI": "bulk/00091001"}),
        ("MREchoSequence", {"vr": "SQ", "raw": b"!", "problem": "p"}, UNKNOWN_BULK),
        ("InstanceNumber", {"vr": "IS", "raw": "9" * 30, "problem": "p"}, {"vr": "IS", "Value": ["9" * 30]}),
        ("SliceThickness", {"vr": "DS", "raw": "NaN\\1", "problem": "p"}, {"vr": "DS", "Value": ["NaN", 1.0]}),
        ("Rows", {"vr": "US", "length": 5001, "problem": "p"}, {"vr": "UN", "BulkDataURI": "bulk/Rows"}),
        ("PixelData", {"vr": "OW", "length": 9, "problem": "p"}, {"vr": "OW", "BulkDataURI": "bulk/PixelData"}),
        ("TextValue", {"vr": "UT", "length": 9000, "spilled": True}, {"vr": "UT", "BulkDataURI": "bulk/TextValue"}),
        ("StudyID", {"vr": "SH", "raw": b"\xff", "problem": "p"}, {"vr": "UN", "InlineBinary": "/w=="}),
        ("StudyID", {"vr": "SH", "raw": "a\\b", "problem": "p"}, {"vr": "SH", "Value": ["a", "b"]}),
        ("PatientComments", {"vr": "LT", "raw": "a\\b", "problem": "p"}, {"vr": "LT", "Value": ["a\\b"]}),
        ("StudyID", {"vr": "SH", "Value": ["ab"], "raw": b"ab", "problem": "p"}, {"vr": "SH", "Value": ["ab"]}),
        ("StudyInstanceUID", {"vr": "UI", "problem": "p"}, {"vr": "UI"}),
        ("PixelData", {"vr": "OB", "InlineBinary": b"\1", "problem": "p"}, {"vr": "OB", "InlineBinary": "AQ=="}),
    ],
)  # fmt: skip
def test_what_could_not_be_converted_is_kept_in_a_form_that_loads(key, element, expected):
    assert written_element(element, key) == expected


@pytest.mark.parametrize(
    ("vr", "raw", "values"),
    [
        ("DS", "0,5", ["0,5"]),
        ("DS", "0.66\\0,5", [0.66, "0,5"]),
        ("DS", "1.50 \\\\ abc ", [1.5, None, "abc"]),
        ("DS", "nan\\inf", ["nan", "inf"]),
        ("DS", "1e400\\1", ["1e400", 1]),
        ("DS", "12345678901234567890.5\\x", ["12345678901234567890.5", "x"]),
        ("DS", "5 mm", ["5 mm"]),
        ("IS", "1A", ["1A"]),
        ("IS", "3,0", ["3,0"]),
        ("IS", "+01\\2A\\-3", [1, "2A", -3]),
        ("IS", "99999999999999999999\\1", ["99999999999999999999", 1]),
        ("IS", "1e300\\2.5E+01", ["1e300", 25]),
        ("IS", "0x10\\-\\1 2", ["0x10", "-", "1 2"]),
    ],
)
@pytest.mark.parametrize("key", ["SliceThickness", "00091001"])
def test_a_ds_or_is_that_is_no_number_is_its_text_and_the_good_values_beside_it_stay(key, vr, raw, values):
    element = {"vr": vr, "raw": raw, "problem": "p"}
    (answer,) = json.loads(json.dumps(dicom_json({key: element}, str), allow_nan=False)).values()
    assert answer == {"vr": vr, "Value": values}


def test_a_number_that_is_not_ascii_is_bytes():
    element = {"vr": "DS", "raw": b"1\xb5", "problem": "p"}
    assert written_element(element) == {"vr": "UN", "BulkDataURI": "bulk/SliceThickness"}
    assert bulk_data(element) == b"1\xb5"


def test_a_person_name_that_could_not_be_converted_keeps_its_groups():
    element = {"vr": "PN", "raw": "A^B=山\\\\=C", "problem": "p"}
    assert written_element(element, "PatientName")["Value"] == [
        {"Alphabetic": "A^B", "Ideographic": "山"},
        None,
        {"Ideographic": "C"},
    ]


def test_a_tree_that_left_a_sequence_in_the_original_is_not_written_in_part():
    with pytest.raises(BelowSpilled):
        dicom_json({"MREchoSequence": {"vr": "SQ", "items": 2, "spilled": True}}, str)


def test_bulk_data_that_only_the_original_has_is_none():
    assert bulk_data({"vr": "OW", "length": 4}) is None
    assert bulk_data({"vr": "US", "raw": b"\1", "problem": "p"}) == b"\1"
    assert bulk_data({"vr": "OB", "InlineBinary": b"\2"}) == b"\2"
    assert bulk_data({"vr": "DS", "raw": "5 mm", "problem": "p"}) == b"5 mm"
