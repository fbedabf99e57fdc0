"""The columns of a table say the same whether they are read from the index of a file or from its tree."""

import contextlib
import math

import bson
import pytest

from service.dicom.columns import Seen, read_cells, read_columns, settle
from service.dicom.index import MAX_EXACT_VALUES, index_entries
from service.dicom.paths import parse_search_path
from service.errors import ServiceError
from tests.dicom.every_field import FILES, fields_of, same, tree_of
from tests.dicom.mutations import mutated


def compare(dataset):
    """Compare all fields by both ways; gives how many the index said, and how many it left to the tree."""
    index = bson.decode(bson.encode(index_entries(dataset)))
    stored = bson.decode(bson.encode(dataset))
    said = left = 0
    for field in fields_of(stored):
        if field.entry is None:
            continue
        columns, unsaid = read_columns([index], [field])
        assert len(columns) == len(field.columns)
        if unsaid:
            left += 1
            continue
        said += 1
        cells = [column[0] for column in columns]
        assert same(cells, read_cells(stored, [field])), (field, index["tags"].get(field.entry))
    return said, left


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_index_says_what_the_tree_does_or_leaves_it_to_it(path):
    dataset = tree_of(path.read_bytes())
    said, left = compare(dataset)
    assert said > left or not dataset


def test_so_it_is_for_damaged_files():
    said = 0
    for seed in range(150):
        with contextlib.suppress(ServiceError):
            said += compare(tree_of(mutated(seed)))[0]
    assert said > 10_000


@pytest.mark.parametrize(
    ("element", "is_said"),
    [
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, True),
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山田", "Phonetic": "やまだ"}]}, True),
        ({"vr": "PN", "Value": [{"Ideographic": "山田"}]}, True),
        ({"vr": "PN", "Value": [{"Alphabetic": " A ^B^^"}, None, {"Phonetic": "x"}]}, True),
        ({"vr": "PN", "Value": [{"Alphabetic": "x" * 300}]}, False),
        ({"vr": "PN", "Value": [{"Alphabetic": f"A^ {number}"} for number in range(17)]}, False),
        ({"vr": "DT", "Value": ["20240131101530.25+0200", "2024"]}, True),
        ({"vr": "TM", "Value": ["10:15:30 "]}, True),
        ({"vr": "DA", "Value": ["2024.01.31", None]}, True),
        ({"vr": "DA", "Value": ["20240231"]}, False),
        ({"vr": "LO", "Value": [None, None]}, True),
        ({"vr": "LO", "Value": ["", "x"]}, True),
        ({"vr": "LO", "Value": ["x" * 257]}, False),
        ({"vr": "LO"}, True),
        ({"vr": "DS", "Value": [5.0], "raw": "5.000"}, True),
        ({"vr": "DS", "raw": "thin", "problem": "no number"}, False),
        ({"vr": "FD", "Value": [math.nan]}, False),
        ({"vr": "FD", "Value": [float(number) for number in range(1001)]}, False),
        ({"vr": "OB", "length": 70_000}, False),
        ({"vr": "SQ", "Value": [{}, {}]}, True),
        ({"vr": "SQ"}, True),
        ({"vr": "SQ", "raw": b"xx"}, False),
    ],
)
def test_what_the_index_says_of_an_element(element, is_said):
    path = parse_search_path("A:0009xx01")
    dataset = {"00090010": {"vr": "LO", "Value": ["A"]}, "00091001": element}
    index = bson.decode(bson.encode(index_entries(dataset)))
    several = len(element.get("Value") or ()) > 1
    field = settle("x", path, Seen(frozenset([element["vr"]]), several))
    if field.entry is None:  # bytes
        return
    columns, unsaid = read_columns([index], [field])
    assert (unsaid == set()) is is_said
    if is_said:
        assert same([column[0] for column in columns], read_cells(dataset, [field]))


def test_a_creator_with_two_blocks_is_left_to_the_tree():
    dataset = {
        "00090010": {"vr": "LO", "Value": ["A"]},
        "00090011": {"vr": "LO", "Value": ["A"]},
        "00091001": {"vr": "LO", "Value": ["one"]},
        "00091101": {"vr": "LO", "Value": ["two"]},
    }
    field = settle("x", parse_search_path("A:0009xx01"), Seen(frozenset(["LO"])))
    assert read_columns([index_entries(dataset)], [field])[1] == {0}


def test_an_index_of_before_says_nothing():
    index = {"tags": {"Modality": ["CT"]}, "names": {}, "vrs": {}, "truncated": []}
    field = settle("Modality", parse_search_path("Modality"))
    columns, unsaid = read_columns([index, {**index, "exact": {}}], [field])
    assert (unsaid, columns[0][1]) == ({0}, "CT")


def test_what_the_index_keeps_exactly_has_a_bound():
    names = [{"Alphabetic": f" A^{number}"} for number in range(10)]
    dataset = {f"0009{number:04X}": {"vr": "PN", "Value": names} for number in range(0x1000, 0x1100)}
    exact = index_entries(dataset)["exact"]
    assert len(exact) == 256
    assert sum(len(values) for values in exact.values() if values) == MAX_EXACT_VALUES


@pytest.mark.parametrize("path", ["A:0009xx01", "00091001", "EchoTime", "MREchoSequence.EchoTime", "PixelData", "SQ"])
def test_only_what_stands_outside_sequences_and_is_no_bytes_has_an_entry(path):
    if path == "SQ":
        path = "MREchoSequence"
    has = {"A:0009xx01": True, "EchoTime": True, "MREchoSequence": True}
    field = settle(path, parse_search_path(path), Seen(frozenset(["LO"])))
    assert (field.entry is not None) is has.get(path, False)
