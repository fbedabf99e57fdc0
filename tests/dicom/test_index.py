"""The flat index: what is found where, in a form in which equal things are equal."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import bson
import pydicom
import pytest
from bson.decimal128 import Decimal128
from hypothesis import given
from hypothesis import strategies as st
from pydicom.data import get_testdata_file

from service.dicom import index_bounds
from service.dicom.extract import read_tree
from service.dicom.index import (
    index_entries,
    name_words,
    normalised_date,
    normalised_date_time,
    normalised_time,
)
from service.dicom.limits import Limits


def index_of_one(vr: str, *values: Any, key: str = "PatientComments") -> list[Any]:
    return index_entries({key: {"vr": vr, "Value": list(values)}})["tags"][key]


def test_the_index_of_a_small_file_is_the_one_of_the_documentation():
    dataset = {
        "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "CompressedSamples^CT1"}]},
        "Modality": {"vr": "CS", "Value": ["CT"]},
        "SliceThickness": {"vr": "DS", "Value": [5.0], "raw": "5.000"},
        "ReferencedImageSequence": {
            "vr": "SQ",
            "Value": [
                {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3"]}},
                {"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.4"]}},
            ],
        },
        "00090010": {"vr": "LO", "Value": ["GEMS_IDEN_01"]},
        "00091001": {"vr": "LO", "Value": ["GE_GENESIS_FF"]},
    }
    assert index_entries(dataset) == {
        "tags": {
            "PatientName": ["CompressedSamples^CT1"],
            "Modality": ["CT"],
            "SliceThickness": [5.0],
            "ReferencedImageSequence": [2],
            "ReferencedImageSequence/ReferencedSOPInstanceUID": ["1.2.3", "1.2.4"],
            "00090010": ["GEMS_IDEN_01"],
            "GEMS_IDEN_01:0009xx01": ["GE_GENESIS_FF"],
        },
        "names": {"PatientName": ["compressedsamples", "ct1"]},
        "vrs": {"00090010": "LO", "GEMS_IDEN_01:0009xx01": "LO"},
        "truncated": [],
        "exact": {},
    }


def test_values_are_distinct_over_all_items_and_keep_their_type():
    items = [{"EchoTime": {"vr": "DS", "Value": [value]}} for value in (1.5, 2.0, 1.5)]
    index = index_entries({"MREchoSequence": {"vr": "SQ", "Value": items}})
    assert index["tags"] == {"MREchoSequence": [3], "MREchoSequence/EchoTime": [1.5, 2.0]}


def test_a_sequence_lists_every_number_of_items_that_occurs():
    inner = {"vr": "SQ", "Value": [{}, {}]}
    items = [{"MREchoSequence": inner}, {"MREchoSequence": {"vr": "SQ"}}, {"MREchoSequence": inner}]
    index = index_entries({"SharedFunctionalGroupsSequence": {"vr": "SQ", "Value": items}})
    assert index["tags"]["SharedFunctionalGroupsSequence/MREchoSequence"] == [2, 0]


def test_an_empty_element_has_its_path_and_an_empty_list():
    dataset = {"StudyID": {"vr": "SH"}, "PixelData": {"vr": "OW"}, "MREchoSequence": {"vr": "SQ"}}
    index = index_entries(dataset)
    assert index["tags"] == {"StudyID": [], "PixelData": [], "MREchoSequence": [0]}
    assert index["truncated"] == []


def of_items(vr: str, *values: Any) -> list[Any]:
    items = [{"PatientComments": {"vr": vr, "Value": list(values)}}]
    return index_entries({"MREchoSequence": {"vr": "SQ", "Value": items}})["tags"]["MREchoSequence/PatientComments"]


@pytest.mark.parametrize(
    ("vr", "values", "listed", "distinct"),
    [
        ("DS", [0.66, 0.66], [0.66, 0.66], [0.66]),
        ("DS", [-100.0, -100.0, 2.0], [-100.0, -100.0, 2.0], [-100.0, 2.0]),
        ("IS", [1, 2, 1, 2], [1, 2, 1, 2], [1, 2]),
        ("US", [0, 0, 0], [0, 0, 0], [0]),
        ("FD", [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0, 0.0, 0.0, 1.0, 0.0], [1.0, 0.0]),
        ("CS", ["DERIVED", "A", "A", "B"], ["DERIVED", "A", "A", "B"], ["DERIVED", "A", "B"]),
        ("UI", ["1.2", "1.2"], ["1.2", "1.2"], ["1.2"]),
        ("AT", ["00100010", "00100010"], ["00100010", "00100010"], ["00100010"]),
        ("DA", ["2024.01.31", "20240131"], ["20240131", "20240131"], ["20240131"]),
        ("TM", ["10:15", "1015", "10"], ["1015", "1015", "10"], ["1015", "10"]),
        ("PN", [{"Alphabetic": "A^B^"}, {"Alphabetic": "A^B"}], ["A^B", "A^B"], ["A^B"]),
        ("UV", [Decimal128("18446744073709551615")] * 2, [Decimal128("18446744073709551615")] * 2,
         [Decimal128("18446744073709551615")]),
    ],
)  # fmt: skip
def test_an_element_outside_sequences_keeps_all_its_values_in_order(vr, values, listed, distinct):
    assert index_of_one(vr, *values) == listed
    assert of_items(vr, *values) == distinct
    assert index_entries({"PatientComments": {"vr": vr, "Value": values}})["truncated"] == []


def test_empty_values_among_others_keep_their_places_outside_sequences_and_are_not_listed_in_them():
    assert index_of_one("LO", None, "A", "") == [None, "A", None]
    assert index_of_one("DS", 1.0, None, 3.0) == [1.0, None, 3.0]
    assert index_of_one("IS", None, 4) == [None, 4]
    assert index_of_one("PN", None, {"Alphabetic": "A"}) == [None, "A"]
    assert index_of_one("DA", None, "20240101") == [None, "20240101"]
    assert index_of_one("CS", None, None) == []
    assert of_items("LO", None, "A", "") == ["A"]
    assert of_items("DS", 1.0, None, 3.0) == [1.0, 3.0]
    assert of_items("PN", None, {"Alphabetic": "A"}) == ["A"]


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "rtdose.dcm", "examples_palette.dcm"])
def test_a_row_of_numbers_is_what_pydicom_reads(name):
    path = get_testdata_file(name, download=False)
    tags = index_entries(read_tree(Path(str(path)).read_bytes(), Limits()).dataset)["tags"]
    compared = 0
    for element in pydicom.dcmread(str(path)):
        if element.VR in ("DS", "IS", "US", "FD", "CS", "UI") and not element.tag.is_private and element.VM:
            values = list(element.value) if element.VM > 1 else [element.value]
            assert tags[element.keyword] == [value or None if isinstance(value, str) else value for value in values]
            compared += 1
    assert compared > 20


def test_an_element_of_two_blocks_of_one_creator_has_the_values_of_both():
    dataset = {
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00090011": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "IS", "Value": [1, 1]},
        "00091101": {"vr": "IS", "Value": [1, 2]},
    }
    assert index_entries(dataset)["tags"]["ACME:0009xx01"] == [1, 1, 1, 2]


def test_a_sequence_that_was_left_in_the_original_still_has_its_number_of_items():
    index = index_entries({"MREchoSequence": {"vr": "SQ", "items": 7, "spilled": True}})
    assert index["tags"] == {"MREchoSequence": [7]}


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "OB", "InlineBinary": b"\0\1"},
        {"vr": "OW", "length": 524288},
        {"vr": "SQ", "raw": b"\xfe\xff", "problem": "it is no sequence"},
        {"vr": "SQ", "length": 5000, "problem": "it is no sequence"},
        {"vr": "UT", "length": 5000, "spilled": True},
        {"vr": "LT", "Value": ["x" * 257]},
        {"vr": "US", "raw": b"\1", "problem": "half a number"},
    ],
)
def test_bytes_and_long_text_are_left_out_and_said_to_be(element):
    index = index_entries({"PixelData": element})
    assert index["tags"] == {"PixelData": []}
    assert index["truncated"] == ["PixelData"]


def test_text_of_256_characters_is_still_listed_and_longer_ones_beside_it_are_not():
    index = index_entries({"ImageComments": {"vr": "UC", "Value": ["é" * 256, "é" * 257, "z"]}})
    assert index["tags"]["ImageComments"] == ["é" * 256, None, "z"]
    assert index["truncated"] == ["ImageComments"]


def test_what_could_not_be_converted_is_its_raw_text():
    index = index_entries({"SliceThickness": {"vr": "DS", "raw": "5 mm", "problem": "it is no number"}})
    assert index["tags"] == {"SliceThickness": ["5 mm"]}


def test_nan_is_one_value_and_equal_numbers_are_one_value_in_items():
    first, second = float("nan"), float("inf") - float("inf")
    values = of_items("FD", first, 1.0, second, 1, -0.0, 0.0, math.inf, -math.inf)
    assert [str(value) for value in values] == ["nan", "1.0", "-0.0", "inf", "-inf"]


def test_nan_of_many_items_is_one_value():
    items = [{"EchoTime": {"vr": "FD", "Value": [float("nan")] * 600}} for _ in range(3)]
    index = index_entries({"MREchoSequence": {"vr": "SQ", "Value": items}})
    assert len(index["tags"]["MREchoSequence/EchoTime"]) == 1
    assert index["truncated"] == []


def test_unsigned_numbers_beyond_64_bits_signed_are_decimals_once_each():
    large = Decimal128("18446744073709551615")
    assert of_items("UV", 5, large, large, Decimal128("9223372036854775808")) == [
        5,
        large,
        Decimal128("9223372036854775808"),
    ]


def test_a_name_lists_the_text_of_each_component_group_and_its_words():
    name = {"Alphabetic": "Müller ^Änne-Marie^^^", "Ideographic": "山田^太郎", "Phonetic": "やまだ^たろう^"}
    index = index_entries({"PatientName": {"vr": "PN", "Value": [name, {"Alphabetic": "O'Neil"}]}})
    assert index["tags"] == {"PatientName": ["Müller^Änne-Marie", "山田^太郎", "やまだ^たろう", "O'Neil"]}
    assert index["names"] == {
        "PatientName": ["muller", "anne", "marie", "山田", "太郎", "やまた", "たろう", "o", "neil"]
    }


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("MILLER^Anna", ("miller", "anna")),
        ("Straße^Ægir", ("strasse", "ægir")),
        ("\uff21\uff22\uff23^ﬁne", ("abc", "fine")),
        ("홍^길동", ("홍", "길동")),
        ("İstanbul", ("istanbul",)),
        ("Ανδρέας", ("ανδρεασ",)),
        ("हिन्दी", ("हिनदी",)),
        ("A^^B  C,D=E_F", ("a", "b", "c", "d", "e", "f")),
        ("Anna^anna", ("anna",)),
        ("^^", ()),
    ],
)
def test_the_words_of_a_name_have_neither_case_nor_accents(text, words):
    assert name_words(text) == words


@given(st.text())
def test_words_are_stable_under_their_own_rule(text):
    words = name_words(text)
    assert name_words(" ".join(words)) == words


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240131", "20240131"),
        ("2024.01.31", "20240131"),
        ("2024-01-31", "20240131"),
        (" 20240131 ", "20240131"),
        ("unknown", "unknown"),
        ("2024", "2024"),
        ("", ""),
        (None, None),
    ],
)
def test_a_date_is_eight_digits_in_the_old_form_too(text, expected):
    assert normalised_date(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("101530.120000", "101530.120000"),
        ("10:15:30.12", "101530.12"),
        ("10:15", "1015"),
        ("10", "10"),
        ("noon", "noon"),
        (None, None),
    ],
)
def test_a_time_has_no_colons(text, expected):
    assert normalised_time(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("20240101003000.5+0100", "20231231233000.5"),
        ("20240101003000-0530", "20240101060000"),
        ("20240101003060+0000", "20240101003060"),
        ("20240229120000+0000", "20240229120000"),
        ("202401010030+0100", "202312312330"),
        ("2024010100+0530", "202312311830"),
        ("20240101+0100", "202312312300"),
        ("2024+0000", "202401010000"),
        ("20240101003000", "20240101003000"),
        ("2024", "2024"),
        ("20230229120000+0100", "20230229120000+0100"),
        ("00010101000000+0100", "00010101000000+0100"),
        ("99991231233000-0100", "99991231233000-0100"),
        ("yesterday+0100", "yesterday+0100"),
        ("2024\u0660\u0661\u0660\u0661+0100", "2024\u0660\u0661\u0660\u0661+0100"),
        (None, None),
    ],
)
def test_a_date_time_with_an_offset_is_utc(text, expected):
    assert normalised_date_time(text) == expected


def test_dates_times_and_date_times_of_a_file_are_listed_in_that_form():
    assert index_of_one("DA", "2024.01.31") == ["20240131"]
    assert index_of_one("TM", "10:15:30") == ["101530"]
    assert index_of_one("DT", "20240101000000+0100") == ["20231231230000"]
    assert of_items("DT", "20240101000000+0100", "20231231230000") == ["20231231230000"]


def test_a_private_element_is_found_whatever_block_its_creator_has_in_each_item():
    items = [
        {"00090010": {"vr": "LO", "Value": ["ACME 1.0/X "]}, "00091001": {"vr": "IS", "Value": [1]}},
        {
            "00090010": {"vr": "LO", "Value": ["OTHER"]},
            "00090011": {"vr": "LO", "Value": ["ACME 1.0/X"]},
            "00091001": {"vr": "LO", "Value": ["x"]},
            "00091101": {"vr": "IS", "Value": [2]},
        },
    ]
    index = index_entries({"MREchoSequence": {"vr": "SQ", "Value": items}})
    assert index["tags"]["MREchoSequence/ACME 1%2E0%2FX:0009xx01"] == [1, 2]
    assert index["tags"]["MREchoSequence/OTHER:0009xx01"] == ["x"]
    assert index["tags"]["MREchoSequence/00090010"] == ["ACME 1.0/X ", "OTHER"]
    assert index["vrs"]["MREchoSequence/ACME 1%2E0%2FX:0009xx01"] == "IS"


@pytest.mark.parametrize(
    "creator",
    [None, {"vr": "LO"}, {"vr": "LO", "Value": ["  "]}, {"vr": "LO", "Value": ["x" * 65]}, {"vr": "OB", "length": 9}],
)
def test_a_private_element_without_a_valid_creator_is_its_hex_digits(creator):
    dataset = {"00091001": {"vr": "LO", "Value": ["v"]}} | ({"00090010": creator} if creator else {})
    assert index_entries(dataset)["tags"]["00091001"] == ["v"]


@pytest.mark.parametrize("key", ["00090000", "00090001", "00090010", "000900FF", "00090100", "00090FFF"])
def test_elements_of_an_odd_group_outside_every_block_are_their_hex_digits(key):
    dataset = {"00090000": {"vr": "LO", "Value": ["NO"]}, "00090001": {"vr": "LO", "Value": ["NO"]}}
    dataset[key] = {"vr": "LO", "Value": ["v"]}
    assert index_entries(dataset)["tags"][key] == ["v"]


def test_vrs_names_what_the_dictionary_does_not_settle():
    dataset = {
        "Rows": {"vr": "US", "Value": [1]},
        "SmallestImagePixelValue": {"vr": "SS", "Value": [-1]},
        "PixelData": {"vr": "OW", "length": 1},
        "StudyID": {"vr": "UN", "Value": ["1"]},
        "60000010": {"vr": "US", "Value": [1]},
        "60003000": {"vr": "OW", "length": 1},
        "00189999": {"vr": "LO", "Value": ["1"]},
    }
    assert index_entries(dataset)["vrs"] == {
        "SmallestImagePixelValue": "SS",
        "PixelData": "OW",
        "StudyID": "UN",
        "60003000": "OW",
        "00189999": "LO",
    }


def test_a_path_has_at_most_a_thousand_values_whether_of_one_element_or_of_many():
    one = index_entries({"ContourData": {"vr": "DS", "Value": [float(n) for n in range(1500)]}})
    items = [{"InstanceNumber": {"vr": "IS", "Value": [n]}} for n in range(1500)]
    many = index_entries({"MREchoSequence": {"vr": "SQ", "Value": items}})
    assert one["tags"]["ContourData"] == [float(n) for n in range(1000)]
    assert one["truncated"] == ["ContourData"]
    assert many["tags"]["MREchoSequence/InstanceNumber"] == list(range(1000))
    assert many["truncated"] == ["MREchoSequence/InstanceNumber"]


def test_exactly_a_thousand_values_are_not_truncated_and_in_items_however_often_they_are_repeated():
    once = {"vr": "DS", "Value": [float(n) for n in range(1000)]}
    twice = {"vr": "DS", "Value": once["Value"] * 2}
    index = index_entries({"ContourData": once, "MREchoSequence": {"vr": "SQ", "Value": [{"ContourData": twice}]}})
    assert index["tags"]["ContourData"] == once["Value"]
    assert len(index["tags"]["MREchoSequence/ContourData"]) == 1000
    assert index["truncated"] == []
    index = index_entries({"ContourData": twice})
    assert index["tags"]["ContourData"] == once["Value"]
    assert index["truncated"] == ["ContourData"]


def test_the_longest_lists_are_cut_first():
    lists = {f"{0x00280000 + n:08X}": 900 for n in range(30)} | {"StudyID": 3, "ContourData": 500}
    dataset = {key: {"vr": "DS", "Value": [float(n) for n in range(size)]} for key, size in lists.items()}
    index = index_entries(dataset)
    lengths = {key: len(values) for key, values in index["tags"].items()}
    assert lengths["StudyID"] == 3
    assert lengths["ContourData"] == 500
    assert sum(lengths.values()) <= index_bounds.MAX_VALUES
    assert set(index["truncated"]) == {key for key in lists if lists[key] == 900}
    assert len({lengths[key] for key in index["truncated"]}) == 1


def test_a_document_of_the_index_has_at_most_4_mib():
    dataset = {
        f"{0x00280000 + n:08X}": {"vr": "UC", "Value": ["😀" * 250 + str(v) for v in range(300)]} for n in range(40)
    } | {"StudyID": {"vr": "SH", "Value": ["1"]}}
    index = index_entries(dataset)
    assert index_bounds.MAX_BYTES * 0.95 < len(bson.encode(index)) <= index_bounds.MAX_BYTES
    assert index["tags"]["StudyID"] == ["1"]
    assert len(index["truncated"]) == 40


def test_where_the_paths_alone_are_too_many_the_longest_are_left_out_and_a_star_says_so():
    parents = {"StudyID": {"vr": "SH", "Value": ["1"]}}
    level = {f"{n:08X}": {"vr": "LO", "Value": ["v"]} for n in range(0x00280000, 0x00287000)}
    parents["MREchoSequence"] = {"vr": "SQ", "Value": [level]}
    index = index_entries(parents)
    assert index["tags"]["StudyID"] == ["1"]
    assert sum(map(len, index["tags"].values())) <= index_bounds.MAX_VALUES
    assert len(bson.encode(index)) <= index_bounds.MAX_BYTES
    assert index["truncated"] == ["*"]
    assert set(index["vrs"]) <= set(index["tags"])


def test_a_tree_as_deep_as_files_may_be_is_indexed():
    level: dict[str, Any] = {"StudyID": {"vr": "SH", "Value": ["deep"]}}
    for _ in range(64):
        level = {"ContentSequence": {"vr": "SQ", "Value": [level]}}
    assert index_entries(level)["tags"]["ContentSequence/" * 64 + "StudyID"] == ["deep"]


def test_a_tree_that_comes_from_the_database_gives_the_same_index():
    from bson.raw_bson import RawBSONDocument

    dataset = {
        "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}, None]},
        "MREchoSequence": {"vr": "SQ", "Value": [{"EchoTime": {"vr": "DS", "Value": [1.5]}}]},
        "00090010": {"vr": "LO", "Value": ["ACME"]},
        "00091001": {"vr": "OB", "InlineBinary": b"x"},
        "Rows": {"vr": "US", "Value": [512]},
    }
    assert index_entries(RawBSONDocument(bson.encode(dataset))) == index_entries(dataset)
