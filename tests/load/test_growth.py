"""The measurement of growth measures: sizes have bounds, and each row compares like with like."""

from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest

from tests.load import growth


@pytest.mark.parametrize("text", ["0", "-1000", "1500", "101000", "many"])
def test_a_size_is_whole_patients_and_no_more_than_are_stored_in_some_time(text):
    with pytest.raises((ArgumentTypeError, ValueError)):
        growth.a_size(text)


def test_ratios_are_to_the_smallest_size():
    asked = {
        2000: SimpleNamespace(seconds={"tag": [0.001, 0.002, 0.9]}, cpu={"tag": [0.001, 0.003]}),
        20_000: SimpleNamespace(seconds={"tag": [0.004, 0.005, 0.006]}, cpu={"tag": [0.003]}),
    }
    *_, row = growth.table(asked)
    assert row == "| tag | 2.0, 2.0 | 1.00, 1.00 | 5.0, 3.0 | 2.50, 1.50 |"


@pytest.mark.long
def test_every_kind_of_request_is_measured_on_a_store_that_is_kept(tmp_path):
    made = growth.build(tmp_path, [1000], float("inf"))
    for _ in range(2):  # what is uploaded while it is measured is not there the next time
        asked = growth.measure(made, 1, 2)
        assert set(asked[1000].seconds) == {"upload", "tag", *growth.QUESTIONS}
        assert len(asked[1000].seconds["upload"]) == 2
