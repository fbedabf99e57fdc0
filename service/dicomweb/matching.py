"""Attribute matching of QIDO-RS (PS3.18 8.3.4, PS3.4 C.2.2.2) on the elements of a tree."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.dictionary import vr_of
from service.dicom.index import name_words, normalised_date, normalised_date_time, normalised_time
from service.dicom.paths import Step, candidate_keys, parse_index_path
from service.errors import Invalid

EMPTY = '""'
"""What asks for an empty value, where `emptyvaluematching` is on."""

MAX_VALUE = 1024
"""Characters that a searched value may have."""

_MOMENTS = frozenset({"DA", "TM", "DT"})
_NUMBERS = frozenset({"DS", "IS", "FL", "FD", "SL", "SS", "SV", "UL", "US", "UV", "US or SS"})
_NORMALISED: Mapping[str, Callable[[str | None], str | None]] = {
    "DA": normalised_date,
    "TM": normalised_time,
    "DT": normalised_date_time,
}
_RANGES = {
    # a value, one on either side, or an open end; a DT may have an offset that is no range
    "DA": re.compile(r"(\d{4}\.?\d{2}\.?\d{2})?-(\d{4}\.?\d{2}\.?\d{2})?"),
    "TM": re.compile(r"([\d:.]{2,})?-([\d:.]{2,})?"),
    "DT": re.compile(r"(\d[\d.]*(?:[+-]\d{4})?)?-(\d[\d.]*(?:[+-]\d{4})?)?"),
}
_SPLIT = {"UI": re.compile(r"[,\\]"), "CS": re.compile(r"[,\\]")}
_BACKSLASH = re.compile(r"\\")


@dataclass(frozen=True, slots=True)
class Rules:
    """What the request says of matching.

    Parameters
    ----------
    fuzzy : bool
        Whether names match by the beginnings of their words.
    empty : bool
        Whether ``""`` means an empty value.
    multiple : bool
        Whether a value is a list of which one must match.
    """

    fuzzy: bool = False
    empty: bool = False
    multiple: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    """One attribute that must match.

    Parameters
    ----------
    path : tuple of Step
        Where it stands; more than one step goes through the items of sequences.
    value : str
        As it was sent; empty matches everything (universal matching).
    rules : Rules
        How it is compared.
    """

    path: tuple[Step, ...]
    value: str
    rules: Rules

    @property
    def is_universal(self) -> bool:
        """Whether everything matches, and the attribute is only asked for."""
        return self.value in ("", "*")


def read_condition(name: str, value: str, rules: Rules) -> Condition:
    """Read one parameter of a search.

    Raises
    ------
    Invalid
        Where the name is no attribute, or the value cannot be searched for.
    """
    if len(value) > MAX_VALUE:
        raise Invalid(f"A searched value has at most {MAX_VALUE} characters.")
    condition = Condition(tuple(parse_index_path(name)), value.strip(" "), rules)
    vr = vr_of(condition.path[-1].tag) if condition.path[-1].creator is None else None
    if vr in _NUMBERS and not condition.is_universal and not (rules.empty and value == EMPTY):
        for part in _alternatives(vr, condition.value, rules):
            _number(part)
    if vr == "DA" and not condition.is_universal and not (rules.empty and value == EMPTY):
        for part in _alternatives(vr, condition.value, rules):
            if not (_RANGES["DA"].fullmatch(part) or re.fullmatch(r"\d{4}\.?\d{2}\.?\d{2}", part)) or part == "-":
                raise Invalid("A date is YYYYMMDD, a range of dates YYYYMMDD-YYYYMMDD with one end or both.")
    return condition


def matches(elements: Mapping[str, Any], conditions: Sequence[Condition]) -> bool:
    """Tell whether elements satisfy all conditions; those that share a sequence in one item of it (C.2.2.2.6)."""
    below: dict[Step, list[Condition]] = {}
    for condition in conditions:
        if condition.is_universal:
            continue
        step, rest = condition.path[0], condition.path[1:]
        if rest:
            below.setdefault(step, []).append(Condition(rest, condition.value, condition.rules))
        elif not _element_matches(find(elements, step), step, condition):
            return False
    for step, inner in below.items():
        element = find(elements, step)
        items = (element or {}).get("Value") or ()
        if element is None or element["vr"] != "SQ" or not any(matches(item, inner) for item in items):
            return False
    return True


def find(elements: Mapping[str, Any], step: Step) -> Mapping[str, Any] | None:
    """Give the element that a step names, or None."""
    for key in candidate_keys(elements, step):
        if key in elements:
            found: Mapping[str, Any] = elements[key]
            return found
    return None


def _element_matches(element: Mapping[str, Any] | None, step: Step, condition: Condition) -> bool:
    values = list(_values(element))
    if condition.rules.empty and condition.value == EMPTY:
        return not values
    vr = str(element["vr"]) if element is not None else vr_of(step.tag) or "UN"
    return any(
        _value_matches(vr, value, wanted, condition.rules)
        for wanted in _alternatives(vr, condition.value, condition.rules)
        for value in values
    )


def _values(element: Mapping[str, Any] | None) -> Iterator[Any]:
    if element is None:
        return
    values = element.get("Value")
    if values is None and isinstance(element.get("raw"), str):
        values = [element["raw"]]
    for value in values or ():
        if isinstance(value, Mapping) and element["vr"] == "PN":
            yield from (group for group in value.values() if group)
        elif value not in (None, ""):
            yield value


def _alternatives(vr: str | None, value: str, rules: Rules) -> list[str]:
    """Divide a value into those of which one must match: a UID list, and where it was asked for any list."""
    if vr == "UI" or rules.multiple:
        return [part.strip() for part in _SPLIT.get(vr or "", _BACKSLASH).split(value) if part.strip()] or [value]
    return [value]


def _value_matches(vr: str, value: Any, wanted: str, rules: Rules) -> bool:
    if vr in _MOMENTS and isinstance(value, str):
        return _moment_matches(vr, value, wanted)
    if isinstance(value, Decimal128):
        value = value.to_decimal()
    if not isinstance(value, str):
        try:
            return bool(value == _number(wanted)) if not isinstance(value, (bytes, Mapping)) else False
        except Invalid:
            return False
    if vr == "PN":
        if rules.fuzzy:
            there = name_words(value)
            return all(any(word.startswith(part) for word in there) for part in name_words(wanted.replace("*", " ")))
        # A name may be matched whatever its case is (PS3.4 C.2.2.2.1); trailing delimiters say nothing.
        return _text_matches(value.rstrip("^ ").casefold(), wanted.rstrip("^ ").casefold())
    if vr == "UI":
        return value == wanted
    return _text_matches(value, wanted)


def _text_matches(value: str, wanted: str) -> bool:
    if "*" not in wanted and "?" not in wanted:
        return value == wanted
    # By hand, in linear time for each star: a pattern that somebody sends is no regular expression.
    position = star = 0
    mark = -1
    index = 0
    while index < len(value):
        if position < len(wanted) and wanted[position] == "*":
            star, mark = position, index
            position += 1
        elif position < len(wanted) and wanted[position] in ("?", value[index]):
            position += 1
            index += 1
        elif mark >= 0:
            mark += 1
            position, index = star + 1, mark
        else:
            return False
    return all(character == "*" for character in wanted[position:])


def _moment_matches(vr: str, value: str, wanted: str) -> bool:
    normalise = _NORMALISED[vr]
    there = normalise(value) or ""
    span = _RANGES[vr].fullmatch(wanted) if "-" in wanted else None
    if span is None:
        exact = normalise(wanted) or ""
        # A value is as exact as it was written: 2004 is any moment of that year, 1200 any of that minute.
        return there == exact if vr == "DA" else there.startswith(exact)
    first, last = (normalise(end) if end else "" for end in span.groups())
    return (not first or there >= first) and (not last or there <= last or there.startswith(last))


def _number(text: str) -> int | float:
    try:
        return int(text)
    except ValueError:
        try:
            return float(text)
        except ValueError:
            raise Invalid("An attribute that is a number is searched by a number.") from None
