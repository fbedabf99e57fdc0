"""A file's row says in each column what its index does, and what its tree does, or leaves it to them."""

import contextlib
import math
import random
import zlib

import bson
import pytest
from bson.decimal128 import Decimal128

from service.dicom.columns import Seen, read_cells, read_columns, settle
from service.dicom.extract import extract, extract_packed, unpack
from service.dicom.index import index_entries
from service.dicom.index_bounds import OTHER_PATHS
from service.dicom.limits import Limits
from service.dicom.paths import parse_search_path
from service.dicom.remembered import Remembered
from service.dicom.rows import MAX_BYTES, MAX_ELEMENTS, make_row, read_rows
from service.errors import ServiceError
from tests.dicom.every_field import FILES, fields_of, same, tree_of
from tests.dicom.mutations import mutated

NOISE = random.Random(0)
PRIVATE = {"00090010": {"vr": "LO", "Value": ["A"]}}


def stored(dataset):
    """A tree and its index as the database gives them, and the row of the index."""
    index = index_entries(dataset)
    row = make_row(index)
    assert row is None or len(row) <= MAX_BYTES
    return bson.decode(bson.encode(dataset)), bson.decode(bson.encode(index)), row


def compare(dataset):
    """Compare all fields by the three ways; gives how many the row said, and how many it left to the tree."""
    tree, index, row = stored(dataset)
    if row is None:
        return 0, 0
    said = left = 0
    for field in fields_of(tree):
        if field.entry is None:
            continue
        by_index, left_by_index = read_columns([index], [field])
        by_row, left_by_row, unread = read_rows([row], [field])
        assert not unread
        assert len(by_row) == len(field.columns)
        if left_by_row:
            left += 1
            # NaN and infinity as text are all that the index says of these, as JSON has none.
            values = index["tags"][field.entry]
            assert left_by_index or any(isinstance(each, float) and not math.isfinite(each) for each in values)
            continue
        said += 1
        assert not left_by_index
        assert same(by_row, by_index), (field, index["tags"].get(field.entry))
        assert same([column[0] for column in by_row], read_cells(tree, [field]))
    return said, left


def column(row, path, vrs=("LO",), *, several=False):
    """What a row says in the first column of a field, its other ways out beside it."""
    field = settle("x", parse_search_path(path), Seen(frozenset(vrs), several))
    columns, unsaid, unread = read_rows([row], [field])
    return columns[0][0], bool(unsaid), bool(unread)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_row_says_what_index_and_tree_do_or_leaves_it_to_them(path):
    dataset = tree_of(path.read_bytes())
    said, left = compare(dataset)
    assert said > left or not dataset


def test_nearly_all_files_have_a_row():
    rows = [stored(tree_of(path.read_bytes()))[2] for path in FILES]
    assert sum(row is not None for row in rows) > 0.95 * len(rows)


def test_so_it_is_for_damaged_files():
    said = 0
    for seed in range(150):
        with contextlib.suppress(ServiceError):
            said += compare(tree_of(mutated(seed)))[0]
    assert said > 10_000


@pytest.mark.parametrize("path", FILES[::7], ids=lambda path: path.name)
def test_a_file_has_the_same_row_wherever_it_is_extracted_and_whatever_came_before_it(path):
    content = path.read_bytes()
    rows = {
        extract(content, Limits()).row,
        extract(content, Limits()).row,
        extract(content, Limits(), apart=True).row,
        unpack(extract_packed(content, Limits())).row,
    }
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("element", "shown"),
    [
        ({"vr": "LO", "Value": ["a\nb"]}, "a\nb"),
        ({"vr": "LO", "Value": ["null"]}, "null"),
        ({"vr": "LO", "Value": ["山田"]}, "山田"),
        ({"vr": "LO"}, None),
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B"}]}, "A^B"),
        ({"vr": "PN", "Value": [{"Alphabetic": "A^B", "Ideographic": "山田"}]}, "A^B=山田"),
        ({"vr": "FD", "Value": [5.0]}, 5.0),
        ({"vr": "FD", "Value": [-0.0]}, -0.0),
        ({"vr": "FD", "Value": [1.7976931348623157e308]}, 1.7976931348623157e308),
        ({"vr": "SV", "Value": [-(2**63)]}, -(2**63)),
        ({"vr": "SL", "Value": [5]}, 5),
    ],
)
def test_a_row_keeps_the_form_of_a_value(element, shown):
    _, _, row = stored({**PRIVATE, "00091001": element})
    assert same(column(row, "A:0009xx01", {element["vr"]}), (shown, False, False))


@pytest.mark.parametrize(
    "element",
    [
        {"vr": "FD", "Value": [math.nan]},
        {"vr": "FD", "Value": [math.inf]},
        {"vr": "FD", "Value": [1.0, -math.inf]},
        {"vr": "LO", "Value": ["x" * 257]},
        {"vr": "DS", "raw": "thin", "problem": "no number"},
    ],
)
def test_a_row_leaves_to_the_tree_what_json_or_the_index_has_not(element):
    _, _, row = stored({**PRIVATE, "00091001": element, "Modality": {"vr": "CS", "Value": ["CT"]}})
    for vrs in ({element["vr"]}, {"LO"}):
        assert column(row, "A:0009xx01", vrs)[1:] == (True, False)
    assert column(row, "Modality") == ("CT", False, False)


@pytest.mark.parametrize(
    "index",
    [
        {"tags": {}},
        {"tags": {"Modality": ["CT"]}, "truncated": [OTHER_PATHS]},
        {"tags": {f"A:0009xx{number}": [] for number in range(MAX_ELEMENTS + 1)}},
        {"tags": {"A:0009xx01": [Decimal128("18446744073709551615")]}},
        {"tags": {"A:0009xx01": ["\ud800"]}},
        {"tags": {"PatientComments": ["x" * 256] * 257}},
        {"tags": {f"00{number:06X}": [NOISE.randbytes(100).hex()] for number in range(100)}},
        {"tags": {f"{NOISE.randbytes(100).hex()}:0009xx01": [] for _ in range(100)}},
        {"tags": {f"{number:0200}:0009xx01": [] for number in range(400)}},
    ],
)
def test_an_index_that_a_row_cannot_hold_has_none(index):
    assert make_row({"names": {}, "vrs": {}, "truncated": [], "exact": {}, **index}) is None


def test_what_is_no_row_is_not_read():
    _, _, row = stored({"Modality": {"vr": "CS", "Value": ["CT"]}})
    bomb = zlib.compress(bytes(1 << 20))
    length = int.from_bytes(row[1:3])
    for wrong in (
        b"",
        b"\x02" + row[1:],
        row[:20],
        row[:-1],
        row[: 3 + length] + zlib.compress(b"[]\n[]\n"),
        row[: 3 + length] + bomb,
        b"\x01" + len(bomb).to_bytes(2) + bomb + row[3 + length :],
    ):
        assert column(wrong, "Modality") == (None, False, True)


@pytest.mark.parametrize("line", [b"{", b"{}", b"5", b'{"exact": 5}', b'[{"a": 1}, {"b": 2}]'])
def test_a_line_that_no_extraction_makes_is_left_to_the_tree(line):
    _, _, row = stored({"SliceThickness": {"vr": "DS", "Value": [5.0]}})
    length = int.from_bytes(row[1:3])
    assert column(row[: 3 + length] + zlib.compress(line + b"\n"), "SliceThickness") == (None, True, False)


def test_files_with_different_elements_stand_in_one_table():
    rows = [
        stored(dataset)[2]
        for dataset in (
            {"Modality": {"vr": "CS", "Value": ["CT"]}, "Rows": {"vr": "US", "Value": [512]}},
            {"Rows": {"vr": "US", "Value": [256]}},
            {"Modality": {"vr": "LO", "Value": ["MR"]}},
            {"Modality": {"vr": "CS", "Value": ["CT"]}, "Rows": {"vr": "US", "Value": [512]}},
        )
    ]
    fields = [settle(name, parse_search_path(name)) for name in ("Rows", "Modality")]
    columns, unsaid, unread = read_rows([*rows, b"?"], fields)
    assert columns == [[512, 256, None, 512, None], [None] * 5, ["CT", None, "MR", "CT", None]]
    assert (unsaid, unread) == (set(), {4})


def test_names_are_remembered_within_their_bound():
    memory = Remembered(max_bytes=2_000)
    for number in range(50):
        index = {"tags": {f"A:0009xx{number:02}": []}, "names": {}, "vrs": {}, "truncated": [], "exact": {}}
        assert make_row(index, memory) == make_row(index, Remembered())
        assert memory.held_bytes <= 2_000
