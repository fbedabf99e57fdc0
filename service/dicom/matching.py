"""What a search asks, as data: a path of the index, and what must hold for the values there.

The attribute matching of PS3.4 C.2.2.2 as QIDO-RS has it (PS3.18 8.3.4), and beyond it absent, present, numeric ranges,
and any path. A condition becomes a filter of the index in `matching_filter`, and is tried on a tree in `matching_tree`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from service.dicom.dictionary import keyword_of
from service.dicom.paths import Step, TagPath, index_key, parse_index_path, tag_path_text
from service.errors import Invalid, NotFound

MAX_CONDITIONS = 50
"""Conditions of one search."""

MAX_VALUE = 4096
"""Characters of one searched value."""

MAX_PATTERN = 1000
"""Characters of the regular expression that wildcards or a list of values become; the local database takes no more."""


# --- tests: what must hold for the values of a path -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Absent:
    """The path is not there."""


@dataclass(frozen=True, slots=True)
class Present:
    """The path is there, empty or not."""


@dataclass(frozen=True, slots=True)
class Empty:
    """The path is there and has no value (PS3.4 C.2.2.2.7); of a sequence, none of those there has an item."""

    sequence: bool = False


@dataclass(frozen=True, slots=True)
class OneOf:
    """One of the values is one of these: a single value (PS3.4 C.2.2.2.1), a list of UIDs or of values."""

    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Like:
    """One of the values fits a regular expression that begins with ``^`` (wildcards, PS3.4 C.2.2.2.4; names)."""

    pattern: str
    ignore_case: bool = False


@dataclass(frozen=True, slots=True)
class Word:
    """One of the words of the names begins like this: fuzzy matching (PS3.18 8.3.4.2), one test for each word."""

    prefix: str


@dataclass(frozen=True, slots=True)
class WordLike:
    """One of the words of the names fits a regular expression: fuzzy matching of a word with wildcards."""

    pattern: str


@dataclass(frozen=True, slots=True)
class Between:
    """One value is a number from `low` to `high`, both included; None: no end."""

    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class During:
    """One value is a text from `low` on and before `end` (PS3.4 C.2.2.2.5).

    Parameters
    ----------
    low, end : str
        `end` lies behind the last moment that the range still covers. An open range has the ends of all digits.
    first, last : str or None
        The ends as they were asked, to be put together with those of a time.
    """

    low: str
    end: str
    first: str | None = None
    last: str | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """A date and the time beside it, put together, lie from `low` on and before `end` (PS3.4 C.2.2.2.5).

    Parameters
    ----------
    time : Step
        The time; the condition's path is that of the date.
    dates : During
        What the date alone must be.
    low, end : str
        As of `During`, of the two texts put together.
    """

    time: Step
    dates: During
    low: str
    end: str


Test = Absent | Present | Empty | OneOf | Like | Word | WordLike | Between | During | Moment


@dataclass(frozen=True, slots=True)
class Condition:
    """A test on the values of a path.

    Parameters
    ----------
    path : tuple of Step
        An index path: without item numbers.
    test : Test
        What must hold.
    """

    path: TagPath
    test: Test

    @property
    def key(self) -> str:
        """The path as a key of the index."""
        return index_key(self.path)

    @property
    def text(self) -> str:
        """The path as HTTP has it."""
        return tag_path_text(self.path)

    @property
    def paths(self) -> tuple[TagPath, ...]:
        """All paths whose values the test looks at."""
        if isinstance(self.test, Moment):
            return (self.path, (*self.path[:-1], self.test.time))
        return (self.path,)


@dataclass(frozen=True, slots=True)
class Options:
    """How values are read (PS3.18 8.3.4).

    Parameters
    ----------
    fuzzy : bool
        ``fuzzymatching``: a person name matches by the beginnings of its words, or by words with wildcards.
    empty : bool
        ``emptyvaluematching``: ``""`` matches what is there without a value.
    multiple : bool
        ``multiplevaluematching``: a backslash divides values of which one must match.
    standard : bool
        Only what the Standard has: no ``!``, ``!!`` and numeric ranges, and a value that its VR cannot have is refused.
    """

    fuzzy: bool = False
    empty: bool = True
    multiple: bool = False
    standard: bool = False


# --- from the text of a request -------------------------------------------------------------------------------------


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
    from service.dicom.matching_values import read_tests  # it needs the tests that stand here

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
        It is none. The sentence does not repeat it: what stands in the wrong place may be a patient's name.
    """
    try:
        return parse_index_path(name)
    except (Invalid, NotFound) as error:
        raise Invalid(f"A parameter is not known here, and it is no tag: {error.detail}") from None


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
