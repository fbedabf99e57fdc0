"""What a search asks, read from the text of a request."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from service.dicom.dictionary import keyword_of
from service.dicom.matching.conditions import Condition, During, Like, Moment, Options, WordLike
from service.dicom.matching.values import read_tests
from service.dicom.paths import Step, TagPath, UnknownKeyword, parse_index_path
from service.errors import Invalid, NotFound

MAX_CONDITIONS = 50
"""Conditions of one search."""

MAX_VALUE = 4096
"""Characters of one searched value."""

MAX_PATTERN = 1000
"""Characters of the regular expression that wildcards or a list of values become; the local database takes no more."""


def read_conditions(query: Iterable[tuple[str, str]], options: Options) -> tuple[Condition, ...]:
    """Read what a search asks.

    Parameters
    ----------
    query : iterable of (str, str)
        Paths and values, decoded; a path may come more than once, and all of it must hold.
    options : Options
        How values are read.

    Returns
    -------
    tuple of Condition
        None of a path that may be anything. A range of dates and one of the same form of the times beside them are one
        condition on the moments, not two.

    Raises
    ------
    Invalid
        A name is no path, a value cannot be read, or there are too many. The sentence does not repeat what was sent.
    """
    conditions: list[Condition] = []
    for name, value in query:
        conditions += read_condition(name, value, options)
        if len(conditions) > MAX_CONDITIONS:
            raise Invalid(f"A search has at most {MAX_CONDITIONS} conditions.")
    return _with_moments(conditions)


def read_condition(name: str, value: str, options: Options) -> tuple[Condition, ...]:
    """Read one parameter: no condition, one, or several that must all hold; raises as `read_conditions`."""
    path = read_path(name)
    check_value(value)
    tests = read_tests(path[-1], value, options)
    if any(isinstance(test, (Like, WordLike)) and len(test.pattern) > MAX_PATTERN for test in tests):
        raise Invalid("The value of a parameter has too many wildcards, or too many values.")
    return tuple(Condition(path, test) for test in tests)


def read_path(name: str) -> TagPath:
    """Read the name of a parameter as an index path.

    Raises
    ------
    Invalid
        It is none. The sentence repeats a misspelled keyword and nothing else: it may be a patient's name.
    """
    try:
        return parse_index_path(name)
    except UnknownKeyword as error:
        raise Invalid(f"Unknown parameter or {error.detail.removeprefix('Unknown ')}") from None
    except (Invalid, NotFound) as error:
        raise Invalid(f"Unknown parameter, and not a valid path of an element: {error.detail}") from None


def check_value(value: str) -> None:
    """Refuse a value that no database can be asked for.

    Raises
    ------
    Invalid
        It is too long, or has characters that are none.
    """
    if len(value) > MAX_VALUE:
        raise Invalid(f"The value of a parameter is longer than {MAX_VALUE} characters.")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid("The value of a parameter has characters that are not text.")


def _with_moments(conditions: Sequence[Condition]) -> tuple[Condition, ...]:
    """Put ranges of dates together with those of the times beside them, where both are of one form."""
    left = list(conditions)
    for date in conditions:
        keyword = keyword_of(date.path[-1].tag) or ""
        if not keyword.endswith("Date") or not isinstance(date.test, During):
            continue
        for time in left:
            if (
                isinstance(time.test, During)
                and time.path[:-1] == date.path[:-1]
                and keyword_of(time.path[-1].tag) == keyword.removesuffix("Date") + "Time"
                and (time.test.first is None) == (date.test.first is None)
                and (time.test.last is None) == (date.test.last is None)
            ):
                left[left.index(date)] = Condition(date.path, _moment(date.test, time.path[-1], time.test))
                left.remove(time)
                break
    return tuple(left)


def _moment(dates: During, step: Step, times: During) -> Moment:
    return Moment(
        step,
        dates,
        low=dates.low if dates.first is None else dates.first + (times.first or ""),
        end=dates.end if dates.last is None else dates.last + times.end,
    )
