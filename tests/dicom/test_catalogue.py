"""The catalogue of many files keeps no more than it shows, whatever they hold."""

from bson.decimal128 import Decimal128

from service.dicom.catalogue import Catalogue


def index(file):
    return {
        "tags": {f"0009{path:04X}": [f"{file} {path} {'x' * 200}"] for path in range(50)},
        "vrs": {},
        "truncated": [],
    }


def test_numbers_beyond_64_bits_and_empty_values_are_counted_as_what_they_are():
    values = [Decimal128("18446744073709551615"), None, 5, Decimal128("18446744073709551615")]
    rows, _ = Catalogue.of([{"tags": {"00091001": values}, "vrs": {"00091001": "UV"}, "truncated": []}]).rows(10, 0)
    assert (rows[0]["values"], rows[0]["min"], rows[0]["max"]) == ([2**64 - 1, 5], 5, 2**64 - 1)
    assert rows[0]["more_values"] is False


def test_when_there_is_no_room_for_more_values_paths_say_that_they_have_more():
    made = Catalogue(_room=20_000)
    for file in range(10):
        made.add(index(file))
    rows, more = made.rows(1000, 0)
    assert (len(rows), more) == (50, False)
    assert sum(len(value) for row in rows for value in row["values"]) < 20_500
    assert all(row["files"] == 10 and row["more_values"] for row in rows)
    assert all(row["min"].startswith("0 ") and row["max"].startswith("9 ") for row in rows)
