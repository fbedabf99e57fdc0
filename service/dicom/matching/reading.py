"""What a search asks, read from the text of a request."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import chain

from service.dicom.dictionary import keyword_of, tag_of_key, vm_of
from service.dicom.matching.conditions import (
    Absent,
    Condition,
    During,
    Either,
    Like,
    Moment,
    OneOf,
    Options,
    Test,
    WordLike,
)
from service.dicom.matching.values import beginning_of_time, either, read_tests
from service.dicom.paths import Step, TagPath, UnknownKeyword, parse_search_path, tag_path_text
from service.dicom.private import creator_key, creator_text, is_private_creator, is_private_data
from service.errors import Invalid, NotFound

MAX_CONDITIONS = 50
"""Conditions of one search."""

MAX_FIELDS = 50
"""Elements that are shown with each hit."""

MAX_GROUPS = 10
"""Groups of which private elements are named by their creators: their blocks have to be looked for in every file."""

MAX_VALUE = 4096
"""Characters of one searched value."""

MAX_PATTERN = 1000
"""Characters of the regular expression that wildcards or a list of values become; the local database takes no more."""


def read_conditions(query: Iterable[tuple[str, str]], options: Options) -> tuple[Condition, ...]:
    """Read what a search asks.

    Parameters
    ----------
    query : iterable of (str, str)
        Paths and values, decoded. All of it must hold; of a path that comes more than once either value, where its
        element has one value at most, and else all of them.
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
        A name is no path, a value cannot be read, or there are too many. The sentence names the parameter by what of
        its name is a keyword or hex, and never repeats a value.
    """
    asked: dict[TagPath, list[tuple[Test, ...]]] = {}
    for number, (name, value) in enumerate(query, start=1):
        path, tests = read_condition(name, value, options)
        if tests:
            asked.setdefault(path, []).append(tests)
        if number > MAX_CONDITIONS or sum(map(_count, chain.from_iterable(asked.values()))) > MAX_CONDITIONS:
            raise Invalid(f"A search has at most {MAX_CONDITIONS} conditions.")
    conditions: list[Condition] = []
    for path, groups in asked.items():
        tests = either(groups) if has_one_value(path[-1]) else tuple(chain.from_iterable(groups))
        _check_patterns(path, tests)
        conditions += [Condition(path, test) for test in tests]
    conditions = _with_moments(_with_creators(conditions))
    check_blocks(condition.path[0] for condition in conditions)
    for condition in conditions:
        _check_order(condition)
    return tuple(conditions)


def read_condition(name: str, value: str, options: Options) -> tuple[TagPath, tuple[Test, ...]]:
    """Read one parameter: its path, and the tests that must all hold; raises as `read_conditions`."""
    path = read_path(name)
    with naming(path_words(name)):
        check_value(value)
        return path, read_tests(path[-1], value, options)


def read_path(name: str) -> TagPath:
    """Read the name of a parameter as the path of a search.

    Raises
    ------
    Invalid
        It is none. The sentence repeats what of it is a word or hex: what stands in the wrong place may be anything.
    """
    try:
        return parse_search_path(name)
    except UnknownKeyword as error:
        raise Invalid(f"Unknown parameter or {error.detail.removeprefix('Unknown ')}") from None
    except (Invalid, NotFound) as error:
        named = path_words(name)
        raise Invalid(f"{named} is unknown, and not a valid path of an element: {error.detail}") from None


@contextmanager
def naming(parameter: str) -> Iterator[None]:
    """Name the parameter in a refusal that says only what is wrong with its value."""
    try:
        yield
    except Invalid as error:
        raise Invalid(f"{parameter} cannot be searched like this: {error.detail}.") from None


_WORD = re.compile(r"\(?([A-Za-z][A-Za-z0-9]{0,63}|[0-9A-Fa-f]{4},?[0-9A-Fa-f]{4})\)?(?:\[[0-9]{1,9}\])?", re.ASCII)
_PRIVATE_WORD = re.compile(r".*:([0-9A-Fa-f]{4}[xX]{2}[0-9A-Fa-f]{2}(?:\[[0-9]{1,9}\])?)", re.ASCII | re.DOTALL)


def path_words(name: str) -> str:
    """Name a parameter by those of its steps that are words, hex, or private elements without their creators."""
    words = []
    for step in re.split(r"[./]", name[:1024]):
        private = _PRIVATE_WORD.fullmatch(step)
        words.append(step if _WORD.fullmatch(step) else f"…:{private[1]}" if private else "…")
    text = ".".join(words)
    return "A parameter" if not text.strip(".…") or len(text) > 200 else f"The parameter {text}"


def read_fields(parameter: str, names: Sequence[str]) -> list[TagPath]:
    """Read the paths of elements that are shown with each hit.

    Parameters
    ----------
    parameter : str
        What the caller gave them as.
    names : sequence of str
        The paths.

    Raises
    ------
    Invalid
        One is no path, or they are too many.
    """
    if len(names) > MAX_FIELDS:
        raise Invalid(f"The parameter {parameter} names more than {MAX_FIELDS} elements.")
    paths = []
    for name in names:
        try:
            paths.append(parse_search_path(name))
        except (Invalid, NotFound) as error:
            raise Invalid(f"The parameter {parameter} cannot be used: {error.detail}") from None
    check_blocks(path[0] for path in paths)
    return paths


def check_blocks(steps: Iterable[Step]) -> None:
    """Refuse private elements by their creators of more groups than a search looks for in every file.

    Raises
    ------
    Invalid
        There are too many.
    """
    if len({step.tag >> 16 for step in steps if step.creator is not None}) > MAX_GROUPS:
        raise Invalid(f"A search names private elements of at most {MAX_GROUPS} groups.")


def check_value(value: str) -> None:
    """Refuse a value that no database can be asked for.

    Raises
    ------
    Invalid
        It is too long, or has characters that are none.
    """
    if len(value) > MAX_VALUE:
        raise Invalid(f"the value is longer than {MAX_VALUE} characters")
    if "\0" in value or any("\ud800" <= character <= "\udfff" for character in value):
        raise Invalid("the value has characters that are not text")


def has_one_value(step: Step) -> bool:
    """Return whether an element has one value at most (PS3.6), or nobody knows how many: private ones, unknown ones."""
    return step.creator is not None or vm_of(step.tag) in {None, "1"}


def _count(tests: Iterable[Test]) -> int:
    """Count tests; of either of several each."""
    return sum(_count(chain.from_iterable(test.groups)) if isinstance(test, Either) else 1 for test in tests)


def _check_patterns(path: TagPath, tests: Iterable[Test]) -> None:
    """Refuse what no database takes as an expression."""
    for test in tests:
        if isinstance(test, (Like, WordLike)) and len(test.pattern) > MAX_PATTERN:
            with naming(path_words(tag_path_text(path))):
                raise Invalid("the value has too many wildcards, or there are too many values")
        if isinstance(test, Either):
            _check_patterns(path, chain.from_iterable(test.groups))


def _check_order(condition: Condition) -> None:
    """Refuse a range that ends before it begins: nothing lies in it."""
    for test in chain.from_iterable(condition.test.groups) if isinstance(condition.test, Either) else (condition.test,):
        if isinstance(test, (During, Moment)) and test.low >= test.end:
            with naming(path_words(condition.text)):
                raise Invalid("the range ends before it begins: write the earlier end first")


def _with_creators(conditions: Sequence[Condition]) -> list[Condition]:
    """Read a private element in hex beside its private creator as that creator's, whatever block a file has for it.

    It is how a request names the block (PS3.18 8.3.4.3, PS3.5 7.8.1): ``00090010=ACME&00091001=5``.
    """
    creators = {
        (*condition.path[:-1], condition.path[-1].tag): condition
        for condition in conditions
        if is_private_creator(condition.path[-1].tag)
        and isinstance(condition.test, OneOf)
        and len(names := [value for value in condition.test.values if isinstance(value, str)]) == 1
        and creator_text({"Value": names})
    }
    used: list[Condition] = []

    def read_step(path: TagPath, depth: int) -> Step:
        step = path[depth]
        named = None
        if step.creator is None and is_private_data(step.tag):
            named = creators.get((*path[:depth], tag_of_key(creator_key(step.tag))))
        if named is None or not isinstance(named.test, OneOf):
            return step
        used.append(named)
        creator = next(value for value in named.test.values if isinstance(value, str)).strip(" ")
        return Step(step.tag & 0xFFFF00FF, creator, step.item)

    read = []
    for condition in conditions:
        path = tuple(read_step(condition.path, depth) for depth in range(len(condition.path)))
        read.append(condition if path == condition.path else replace(condition, path=path))
    # The creator is there with any element of his. With one that is absent or empty it is a condition of its own.
    positive = [each for each in read if not isinstance(each.test, (Absent, Either))]
    needless = [each for each in used if any(_is_of(each, other) for other in positive)]
    return [each for each in read if each not in needless]


def _is_of(creator: Condition, condition: Condition) -> bool:
    """Return whether an element is one of a creator's, on the same level."""
    depth = len(creator.path) - 1
    step = condition.path[depth] if depth < len(condition.path) else None
    return (
        step is not None
        and step.creator is not None
        and step.tag >> 16 == creator.path[-1].tag >> 16
        and isinstance(creator.test, OneOf)
        and step.creator in {str(value).strip(" ") for value in creator.test.values}
    )


def _with_moments(conditions: Sequence[Condition]) -> list[Condition]:
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
    return left


def _moment(dates: During, step: Step, times: During) -> Moment:
    return Moment(
        step,
        dates,
        low=dates.low if dates.first is None else dates.first + beginning_of_time(times.first or ""),
        end=dates.end if dates.last is None else dates.last + times.end,
    )
