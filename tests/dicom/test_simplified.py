"""The simplified JSON of a tag: its exact shape for every kind of element."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import bson
import orjson
import pydicom
import pytest
from bson.decimal128 import Decimal128
from bson.raw_bson import RawBSONDocument

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.simplified import simplified_json, simplify_dataset, simplify_element
from service.dicom.source import open_source

WHEEL = sorted(Path(pydicom.__file__).parent.joinpath("data", "test_files").rglob("*.dcm"))


def told(vr: str, **rest: Any) -> dict[str, Any]:
    """What is said about an element beside its tag and names, after a JSON encoder."""
    described = orjson.loads(orjson.dumps(simplify_element(0x00180050, {"vr": vr, **rest})))
    for known in ("tag", "group_id", "element_id", "keyword", "name"):
        del described[known]
    return described


def in_order(text: bytes) -> Any:
    """What JSON says, the order of its names included."""
    return json.loads(text, object_pairs_hook=list)


def test_a_sequence_is_a_list_of_items_each_a_list_of_tags():
    element = {
        "vr": "SQ",
        "Value": [{"ReferencedSOPInstanceUID": {"vr": "UI", "Value": ["1.2.3"]}}, {}],
    }
    assert simplify_element(0x00081140, element) == {
        "tag": "00081140",
        "group_id": "0008",
        "element_id": "1140",
        "keyword": "ReferencedImageSequence",
        "name": "Referenced Image Sequence",
        "vr": "SQ",
        "vm": 1,
        "value": [
            [
                {
                    "tag": "00081155",
                    "group_id": "0008",
                    "element_id": "1155",
                    "keyword": "ReferencedSOPInstanceUID",
                    "name": "Referenced SOP Instance UID",
                    "vr": "UI",
                    "vm": 1,
                    "value": "1.2.3",
                }
            ],
            [],
        ],
    }


@pytest.mark.parametrize(
    ("vr", "element", "expected"),
    [
        ("CS", {"Value": ["CT"]}, {"vm": 1, "value": "CT"}),
        ("CS", {"Value": ["A", None, "B"]}, {"vm": 3, "value": ["A", None, "B"]}),
        ("CS", {}, {"vm": 0, "value": None}),
        ("SQ", {}, {"vm": 1, "value": []}),
        ("OB", {}, {"vm": 0, "value": None}),
        ("DS", {"Value": [5.0]}, {"vm": 1, "value": 5.0}),
        ("DS", {"Value": [1.5, 2.0], "raw": "1.50\\2"}, {"vm": 2, "value": [1.5, 2.0], "raw": "1.50\\2"}),
        ("DS", {"Value": [1.5, None]}, {"vm": 2, "value": [1.5, None]}),
        ("IS", {"Value": [28.8], "raw": "002.880000E+01"}, {"vm": 1, "value": 28.8, "raw": "002.880000E+01"}),
        ("FD", {"Value": [math.nan]}, {"vm": 1, "value": "NaN"}),
        ("FL", {"Value": [math.inf, -math.inf, 1.0]}, {"vm": 3, "value": ["Infinity", "-Infinity", 1.0]}),
        ("UV", {"Value": [Decimal128("18446744073709551615")]}, {"vm": 1, "value": 2**64 - 1}),
        ("UV", {"Value": [1, 2]}, {"vm": 2, "value": [1, 2]}),
        ("AT", {"Value": ["00081140"]}, {"vm": 1, "value": "00081140"}),
        ("PN", {"Value": [{"Alphabetic": "A^B"}]}, {"vm": 1, "value": "A^B"}),
        (
            "PN",
            {"Value": [{"Alphabetic": "A", "Ideographic": "山", "Phonetic": "やま"}, {"Phonetic": "p"}, None]},
            {"vm": 3, "value": ["A=山=やま", "==p", None]},
        ),
        ("PN", {"Value": [{"Ideographic": "山"}]}, {"vm": 1, "value": "=山"}),
        ("OB", {"InlineBinary": b"\0\1"}, {"vm": 1, "value": "AAE=", "encoding": "base64"}),
        ("OW", {"length": 524288, "offset": 100}, {"vm": 1, "value": None, "length": 524288}),
        (
            "DS",
            {"raw": "5 mm\\x", "problem": "not a number"},
            {"vm": 2, "value": None, "raw": "5 mm\\x", "problem": "not a number"},
        ),
        (
            "US",
            {"raw": b"\1", "problem": "odd"},
            {"vm": 1, "value": None, "raw": "AQ==", "encoding": "base64", "problem": "odd"},
        ),
        ("SQ", {"raw": b"\1", "problem": "odd"}, {"vm": 1, "value": None, "raw": "AQ==", "encoding": "base64",
                                                  "problem": "odd"}),
        ("LO", {"Value": ["é"], "problem": "charset"}, {"vm": 1, "value": "é", "problem": "charset"}),
        ("LO", {"Value": ["?"], "raw": b"\1", "problem": "charset"},
         {"vm": 1, "value": "?", "raw": "AQ==", "raw_encoding": "base64", "problem": "charset"}),
        ("SQ", {"Value": [{}], "problem": "cut"}, {"vm": 1, "value": [[]], "problem": "cut"}),
        ("SQ", {"length": 5000, "problem": "odd"}, {"vm": 1, "value": None, "length": 5000, "problem": "odd"}),
        ("UT", {"length": 5000, "spilled": True}, {"vm": 1, "value": None, "length": 5000, "spilled": True}),
        ("LO", {"problem": "empty and odd"}, {"vm": 0, "value": None, "problem": "empty and odd"}),
        ("SQ", {"items": 7, "spilled": True}, {"vm": 1, "value": None, "items": 7, "spilled": True}),
    ],
)  # fmt: skip
def test_an_element_tells_its_values_and_no_more_than_it_has(vr, element, expected):
    assert told(vr, **element) == {"vr": vr} | expected


@pytest.mark.parametrize(
    ("tag", "creator", "keyword", "name"),
    [
        (0x00100010, None, "PatientName", "Patient's Name"),
        (0x60023000, None, "OverlayData", "Overlay Data"),
        (0x00090010, None, None, "Private Creator"),
        (0x00080000, None, None, "Group Length"),
        (0x00091027, "GEMS_IDEN_01", None, "Image actual date"),
        (0x000910FE, "GEMS_IDEN_01", None, None),
        (0x00091001, "nobody's", None, None),
        (0x00091001, None, None, None),
        (0x00189999, None, None, None),
    ],
)
def test_names_come_from_the_dictionaries_and_are_null_where_they_have_none(tag, creator, keyword, name):
    described = simplify_element(tag, {"vr": "LO"}, creator)
    assert (described["keyword"], described["name"]) == (keyword, name)
    assert described.get("creator") == creator


def test_a_data_set_is_described_by_ascending_tag_with_the_creators_of_each_level():
    inner = {"00091101": {"vr": "LO"}, "00090011": {"vr": "LO", "Value": ["INNER"]}}
    dataset = {
        "PixelData": {"vr": "OW", "length": 9},
        "00091101": {"vr": "LO", "Value": ["x"]},
        "00090011": {"vr": "LO", "Value": ["OUTER"]},
        "TransferSyntaxUID": {"vr": "UI", "Value": ["1.2"]},
        "MREchoSequence": {"vr": "SQ", "Value": [inner]},
    }
    described = simplify_dataset(dataset)
    assert [one["tag"] for one in described] == ["00020010", "00090011", "00091101", "00189114", "7FE00010"]
    assert described[2]["creator"] == "OUTER"
    assert [one.get("creator") for one in described[3]["value"][0]] == [None, "INNER"]


def test_a_tree_that_comes_from_the_database_is_described_the_same():
    dataset = {
        "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "A"}, None]},
        "Rows": {"vr": "US", "Value": [512, 2**40]},
        "PixelSpacing": {"vr": "DS", "Value": [0.5, 0.25], "raw": "0.50\\0.25"},
        "00091001": {"vr": "OB", "InlineBinary": b"\0"},
        "MREchoSequence": {"vr": "SQ", "Value": [{"EchoTime": {"vr": "DS", "Value": [1.0]}}]},
    }
    from_database = simplify_dataset(RawBSONDocument(bson.encode(dataset)))
    assert orjson.dumps(from_database) == orjson.dumps(simplify_dataset(dataset))


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "DS", "Value": [1.5, -0.0, 1e-7, 1e22, None], "raw": "1.50\\-0\\1e-7\\1e22\\"},
        {"vr": "DS", "Value": [1.0], "raw": b"1,0"},
        {"vr": "FD", "Value": [math.nan]},
        {"vr": "FL", "Value": [1.0, math.inf, None, -math.inf]},
        {"vr": "SV", "Value": [-(2**63), 2**63 - 1]},
        {"vr": "UV", "Value": [Decimal128("18446744073709551615"), 5]},
        {"vr": "IS", "Value": [2**40], "raw": "1099511627776", "problem": "it is long"},
        {"vr": "LO", "Value": ['\\"\n\x1f\x7fé\u2028😀', None, ""]},
        {"vr": "PN", "Value": [{"Alphabetic": "A", "Phonetic": "B"}, None]},
        {"vr": "OB", "InlineBinary": b"\0\1"},
        {"vr": "OW", "length": 9, "offset": 12},
        {"vr": "SQ", "Value": [{"00090010": {"vr": "LO", "Value": ["ACME"]}, "00091001": {"vr": "UN"}}, {}]},
        {"vr": "SQ", "Value": [{"EchoTime": {"vr": "DS", "Value": [1.0], "raw": "1.00"}}], "problem": "no end"},
        {"vr": "SQ", "items": 3, "spilled": True},
        {"vr": "SQ"},
        {"vr": "UI", "Value": []},
    ],
)
@pytest.mark.parametrize("key", ["MREchoSequence", "00091001", "00090010", "00180000", "PatientID"])
def test_the_json_of_a_whole_tree_is_that_of_its_elements(key, element):
    level = {key: element, "Modality": {"vr": "CS", "Value": ["CT"]}}
    for dataset in (level, {"MREchoSequence": {"vr": "SQ", "Value": [level, level]}}, dict(reversed(level.items()))):
        from_database = bson.decode(bson.encode(dataset))
        assert in_order(simplified_json(from_database)) == in_order(orjson.dumps(simplify_dataset(from_database)))


@pytest.mark.parametrize("path", WHEEL, ids=lambda path: path.name)
def test_the_json_of_every_file_is_that_of_its_elements(path):
    dataset = bson.decode(bson.encode(read_tree(open_source(path.read_bytes()), Limits()).dataset))
    assert in_order(simplified_json(dataset)) == in_order(orjson.dumps(simplify_dataset(dataset)))


def test_an_item_of_very_many_elements_is_described_the_same():
    dataset = {f"0009{number:04X}": {"vr": "LO", "Value": [str(number)]} for number in range(0x1000, 0x1300)}
    assert in_order(simplified_json(dataset)) == in_order(orjson.dumps(simplify_dataset(dataset)))
