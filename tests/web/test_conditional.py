"""Conditional and range requests."""

from datetime import UTC, datetime

import pytest

from service.web.conditional import Unsatisfiable, Validators, is_expected, is_unchanged, requested_range

HERE = Validators('"abc"', datetime(2024, 5, 17, 12, 30, 15, 250_000, tzinfo=UTC))
DATE = "Fri, 17 May 2024 12:30:15 GMT"
LATER = "Fri, 17 May 2024 12:30:16 GMT"
EARLIER = "Fri, 17 May 2024 12:30:14 GMT"


def test_a_date_has_whole_seconds_in_gmt():
    assert HERE.last_modified == DATE


@pytest.mark.parametrize(
    ("tag", "since", "expected"),
    [
        (None, None, False),
        ('"abc"', None, True),
        ('W/"abc"', None, True),
        ('"x", "abc"', None, True),
        ("*", None, True),
        ('"x"', None, False),
        ("abc", None, False),
        ('"x"', LATER, False),  # the tag outranks the date
        (None, DATE, True),
        (None, LATER, True),
        (None, EARLIER, False),
        (None, "yesterday", False),
        (None, "Fri, 17 May 99999 12:30:15 GMT", False),
        (None, "Fri, 17 May 99999999999999999999 12:30:15 GMT", False),
        (None, "Fri, 17 May 2024 99999999999999999999:30:15 GMT", False),
        (None, "Fri, 17 May 2024 12:30:15 +99999999999999999999", False),
    ],
)
def test_what_the_caller_has_already(tag, since, expected):
    assert is_unchanged(HERE, tag, since) is expected


@pytest.mark.parametrize(
    ("tag", "since", "expected"),
    [
        (None, None, True),
        ('"abc"', None, True),
        ('"x", "abc"', None, True),
        ("*", None, True),
        ('W/"abc"', None, False),  # a weak tag names no version
        ('"x"', None, False),
        ("abc", None, False),
        ("", None, False),
        ('"x"', LATER, False),
        ('"abc"', EARLIER, True),  # the tag outranks the date
        (None, DATE, True),
        (None, LATER, True),
        (None, EARLIER, False),
        (None, "yesterday", True),
    ],
)
def test_what_the_caller_means(tag, since, expected):
    assert is_expected(HERE, tag, since) is expected


def test_what_has_no_version_is_meant_by_a_star_alone():
    assert is_expected(None, "*", None)
    assert is_expected(None, None, EARLIER)
    assert not is_expected(None, '"abc"', None)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("bytes=0-0", (0, 1)),
        ("bytes=0-99", (0, 100)),
        ("bytes=0-1000", (0, 100)),
        ("bytes=90-", (90, 100)),
        ("bytes=-1", (99, 100)),
        ("bytes=-1000", (0, 100)),
        ("Bytes = 5 - 6", (5, 7)),
        ("bytes=6-5", None),
        ("bytes=0-1,5-6", None),
        ("bytes=", None),
        ("bytes=-", None),
        ("items=0-1", None),
        ("bytes=a-b", None),
        ("bytes=\u0661-\u0662", None),
        ("bytes=99999999999999999999-", None),
    ],
)
def test_ranges(header, expected):
    assert requested_range(HERE, 100, header, None) == expected


@pytest.mark.parametrize("header", ["bytes=100-", "bytes=100-200", "bytes=-0"])
def test_a_range_behind_the_end(header):
    with pytest.raises(Unsatisfiable):
        requested_range(HERE, 100, header, None)


@pytest.mark.parametrize(
    ("condition", "applies"),
    [
        ('"abc"', True),
        ('"x"', False),
        ('W/"abc"', False),
        (DATE, True),
        (LATER, False),
        (EARLIER, False),
        ("nonsense", False),
    ],
)
def test_a_range_of_another_version_is_not_given(condition, applies):
    assert requested_range(HERE, 100, "bytes=0-9", condition) == ((0, 10) if applies else None)
