"""What a searched text asks, by the VR of its path (PS3.4 C.2.2.2)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from pydicom import datadict

from service.dicom.dictionary import KEYWORD_TAGS, vr_of
from service.dicom.index import name_words, normalised_date, normalised_date_time, normalised_name, normalised_time
from service.dicom.matching.conditions import (
    Absent,
    Between,
    During,
    Either,
    Empty,
    Like,
    OneOf,
    Options,
    Present,
    Test,
    Word,
    WordLike,
)
from service.dicom.paths import Step
from service.errors import Invalid

_BYTES = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN", "ox"))
_NUMBERS = frozenset(("DS", "FD", "FL", "IS", "SL", "SS", "SV", "UL", "US", "UV"))
_VRS_OF_WHOLE = frozenset(("IS", "SL", "SS", "SV", "UL", "US", "UV"))
_MOMENTS = frozenset(("DA", "DT", "TM"))
_TYPED = _NUMBERS | _MOMENTS | {"AS", "AT", "UI"}
"""The VRs whose values have a form, so that a file may have something else in their place."""

_LISTS = {"UI": re.compile(r"[,\\\s]+"), "CS": re.compile(r"[,\\]")}
"""The VRs whose values hold neither comma nor backslash, so that these divide several of which one must match."""

_WITHOUT_BACKSLASH = frozenset(("AE", "AS", "AT", "DA", "DS", "DT", "IS", "LO", "PN", "SH", "TM", "UC")) | _NUMBERS
_QUOTED = re.compile(r'\s*"([^"]+)"\s*')
_OR_QUOTED = ', or in quotes the text that a file has instead: "…"'

_PRESENCE: dict[str, Test] = {"!": Absent(), "!!": Present()}

_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,64}\.?[0-9]{0,64}|\.[0-9]{1,64})(?:[eE][+-]?[0-9]{1,3})?")
_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_MAX_INT64 = 2**63 - 1

ANYTHING = r"[\s\S]"
END = r"(?![\s\S])"
"""The very end: dollar signs and \\Z end before a line break in one dialect or the other."""

_BEFORE_DIGITS, _AFTER_DIGITS = "0", ":"
"""Texts of digits sort from the one on and before the other."""


def read_tests(step: Step, value: str, options: Options) -> tuple[Test, ...]:
    """Return what a searched text asks.

    Parameters
    ----------
    step : Step
        The last step of the path.
    value : str
        The text: nothing or ``*`` for everything, ``!`` absent, ``!!`` present, ``""`` empty, ``a..b`` a range of
        numbers, ``a-b`` one of dates or times, a text in quotes for what a file has in the place of a number, a date
        and the like, or a value, with wildcards where its VR is one of text.
    options : Options
        How values are read.

    Returns
    -------
    tuple of Test
        All of them must hold.

    Raises
    ------
    Invalid
        No element of this VR can have the value. The sentence says what would do.
    """
    vr = vr_of_step(step)
    if not value.strip("*"):
        return ()
    if value == '""' and options.empty:
        return (Empty(sequence=vr == "SQ"),)
    if not options.standard and value in _PRESENCE:
        return (_PRESENCE[value],)
    parts = _parts(vr, value, options)
    each = [_single(step, vr, part, replace(options, fuzzy=options.fuzzy and len(parts) == 1)) for part in parts]
    return each[0] if len(each) == 1 else either(each)


def _parts(vr: str | None, value: str, options: Options) -> list[str]:
    """Divide a list of values of which one must match."""
    if vr in _TYPED and _QUOTED.fullmatch(value):
        return [value]
    if vr in _LISTS:
        parts = _LISTS[vr].split(value)
    elif options.multiple:
        parts = value.split("\\")
    elif vr in _WITHOUT_BACKSLASH and "\\" in value:
        raise Invalid("a backslash is not part of a value: for one of several add multiplevaluematching=true")
    else:
        return [value]
    parts = [part for part in parts if part]
    if not parts:
        raise Invalid("there is no value in the list")
    return parts


def either(groups: Sequence[tuple[Test, ...]]) -> tuple[Test, ...]:
    """Return tests that hold where all tests of one group do (PS3.4 C.2.2.2.8), as one that the index knows if it can.

    Parameters
    ----------
    groups : sequence of tuple of Test
        Nothing in a group is anything.
    """
    if len(groups) < 2 or not all(groups):
        return groups[0] if len(groups) == 1 else ()
    values: list[Any] = []
    patterns: list[str] = []
    cases: set[bool] = set()
    for group in groups:
        match group:
            case (OneOf(some),):
                values += some
            case (Like(pattern, ignore_case),):
                patterns.append(pattern.removeprefix("^"))
                cases.add(ignore_case)
            case (During(low, end, None, None),) if end.endswith(_AFTER_DIGITS):
                patterns.append(_pattern_of_moment(low, end.removesuffix(_AFTER_DIGITS)))
                cases.add(False)
            case _:
                return (Either(tuple(dict.fromkeys(groups))),)
    if not patterns:
        return (OneOf(tuple(dict.fromkeys(values))),)
    if len(cases) > 1 or not all(isinstance(value, str) for value in values):
        return (Either(tuple(dict.fromkeys(groups))),)
    patterns += [re.escape(value) + END for value in values]
    return (Like("^(?:" + "|".join(dict.fromkeys(patterns)) + ")", cases.pop()),)


def _pattern_of_moment(shortest: str, text: str) -> str:
    """Write one moment, as exact as it is written, and the shorter texts of the same."""
    shorter = [re.escape(text[:length]) + END for length in range(len(shortest), len(text))]
    return "|".join([re.escape(text), *shorter])


@lru_cache(maxsize=1024)
def vr_of_step(step: Step) -> str | None:
    """Return the one VR by which values of a path are typed; None where files may differ.

    Of several that PS3.6 allows ("US or SS or OW") one that has values; of a private element what pydicom's private
    dictionary says, where that is a date or time, as only their ranges need it.
    """
    if step.creator is not None:
        try:
            vr = datadict.private_dictionary_VR(step.tag, step.creator)
        except KeyError:
            return None
        return vr if vr in _MOMENTS else None
    known = [vr for vr in (vr_of(step.tag) or "").split(" or ") if vr and vr not in _BYTES]
    return known[0] if known else None


def _vrs_of_step(step: Step) -> frozenset[str]:
    """Return every VR that PS3.6 allows for a public element ("US or SS")."""
    return frozenset((vr_of(step.tag) or "").split(" or ")) if step.creator is None else frozenset()


def _single(step: Step, vr: str | None, value: str, options: Options) -> tuple[Test, ...]:
    """Read one value."""
    if vr == "PN":
        return _name(value, options)
    if vr in _TYPED and (quoted := _QUOTED.fullmatch(value)):
        return (OneOf(_raw_text(str(vr), quoted[1])),)
    if vr in _MOMENTS:
        return (_moment(str(vr), value, options),)
    if vr in _NUMBERS:
        return (
            _range_of_numbers(step, str(vr), value, options) or OneOf(_typed_number(step, str(vr), value, options)),
        )
    if vr == "SQ":
        items = None if options.standard else _between(None, value)
        return (items or OneOf(_count_of_items(value, options)),)
    if vr in {"AT", "UI", "AS"}:
        return (OneOf((_CODED[str(vr)](value),)),)
    if vr is None and not options.standard and (between := _between(None, value)):
        return (between,)
    if "*" in value or "?" in value:
        return (Like(wildcard_pattern(value)),)
    if vr is None:
        return (OneOf(tuple(dict.fromkeys((value, *_numbers(None, value))))),)
    # Spaces before a text are a part of it in some VRs (PS3.5 6.2: LT, ST, UC, UT).
    return (OneOf(tuple(dict.fromkeys((value.strip(" ") or value, value.rstrip(" ") or value)))),)


def _raw_text(vr: str, text: str) -> tuple[Any, ...]:
    """Return what a text in quotes means: itself, in the place of a value, and the value that it means.

    A file may have a number where a date belongs, by another VR than the path has.
    """
    if vr in _NUMBERS:
        return tuple(dict.fromkeys((text, *_numbers(vr, text))))
    numbers = _numbers(None, text)
    if vr in _MOMENTS:
        return tuple(dict.fromkeys((text, str(_NORMALISED[vr](text)), *numbers)))
    return (text, *numbers)


# --- text -----------------------------------------------------------------------------------------------------------


def wildcard_pattern(value: str) -> str:
    """Write ``*`` (any characters) and ``?`` (one) as a regular expression, everything else as it is.

    What follows a ``*`` is looked for once, at its first place, and no place is tried twice (an atomic group): the time
    does not grow with the number of wildcards.
    """
    head, *chunks = [
        "".join(ANYTHING if character == "?" else re.escape(character) for character in chunk)
        for chunk in re.split(r"\*+", value)
    ]
    if not chunks:
        return f"^{head}{END}"
    *between, tail = chunks
    middle = "".join(f"(?>{ANYTHING}*?{chunk})" for chunk in between)
    return f"^{head}{middle}" + (f"{ANYTHING}*{tail}{END}" if tail else "")


def _name(value: str, options: Options) -> tuple[Test, ...]:
    """Match a person name: regardless of case, as PS3.4 C.2.2.2.1 leaves open, each component group for itself."""
    if options.fuzzy:
        return tuple(_word(word) for word in name_words(value, also="*?") if word.strip("*"))
    groups = [
        normalised_name(group) for group in value.split("=", 2)
    ]  # a file may have more, and the third is the rest
    return tuple(Like(wildcard_pattern(group), ignore_case=True) for group in groups if group.strip("*"))


def _word(word: str) -> Word | WordLike:
    """Match a word of a name by its beginning; clients that ask for ``*muller*`` mean it anywhere in one."""
    return WordLike(wildcard_pattern(f"{word}*")) if "*" in word or "?" in word else Word(word)


# --- tags, UIDs, ages -----------------------------------------------------------------------------------------------


def _tag_value(value: str) -> str:
    plain = value.strip("() ").replace(",", "")
    tag = KEYWORD_TAGS.get(plain)
    if tag is None and not re.fullmatch(r"[0-9A-Fa-f]{8}", plain):
        raise Invalid("its value is a tag: write 00181063, (0018,1063) or FrameTime")
    return plain.upper() if tag is None else f"{tag:08X}"


def _uid_value(value: str) -> str:
    if "*" in value or "?" in value:
        raise Invalid("a UID is searched whole, without wildcards: write it, or several with commas")
    return value.strip(" ") or value


def _age_value(value: str) -> str:
    if not re.fullmatch(r"[0-9]{3}[DWMY]", value.strip(" ")):
        raise Invalid("an age is three digits and D, W, M or Y: write 030Y" + _OR_QUOTED)
    return value.strip(" ")


_CODED: dict[str, Callable[[str], str]] = {"AT": _tag_value, "UI": _uid_value, "AS": _age_value}

# --- numbers --------------------------------------------------------------------------------------------------------

_BITS = {"US": (0, 16), "SS": (1, 16), "UL": (0, 32), "SL": (1, 32), "UV": (0, 64), "SV": (1, 64), "IS": (1, 64)}
"""VRs of whole numbers: whether there is a sign, and bits. An IS has fewer, and files have more than it may."""


def _range_of_numbers(step: Step, vr: str, value: str, options: Options) -> Between | None:
    """Read a range of numbers; None for what is none."""
    if ".." not in value:
        return None
    if options.standard:
        raise Invalid("DICOMweb has no ranges of numbers: use the search at /dicom")
    between = _between(vr, value)
    if between is None:
        raise _no_number(step, vr, options)
    return between


def _typed_number(step: Step, vr: str, value: str, options: Options) -> tuple[Any, ...]:
    """Return a number as the index may hold it."""
    found = _numbers(vr, value)
    whole = _VRS_OF_WHOLE.issuperset(_vrs_of_step(step) & _NUMBERS)
    if not found or (whole and vr != "IS" and not _fits_whole(step, found[0])):
        raise _no_number(step, vr, options)
    return found


def _fits_whole(step: Step, number: Any) -> bool:
    """Return whether a whole number can be in an element: 70000 is not in a US."""
    if number != number or math.isinf(number) or number != int(number):
        return False
    bits = [_BITS[vr] for vr in _vrs_of_step(step) & _VRS_OF_WHOLE]
    low = min(-(1 << length - 1) if sign else 0 for sign, length in bits)
    high = max((1 << length - sign) - 1 for sign, length in bits)
    return bool(low <= number <= high)


def _no_number(step: Step, vr: str, options: Options) -> Invalid:
    ranges = "" if options.standard else ", 1..5, 1.. or ..5"
    if vr not in _VRS_OF_WHOLE:
        return Invalid(f"it is a number ({vr}): write 5 or 0.5{ranges}{_OR_QUOTED}")
    limits = ""
    if vr != "IS":
        bits = [_BITS[each] for each in _vrs_of_step(step) & _VRS_OF_WHOLE] or [_BITS[vr]]
        low = min(-(1 << length - 1) if sign else 0 for sign, length in bits)
        limits = f" from {low} to {max((1 << length - sign) - 1 for sign, length in bits)}"
    return Invalid(f"it is a whole number ({vr}){limits}: write 5{ranges}{_OR_QUOTED}")


def _count_of_items(value: str, options: Options) -> tuple[Any, ...]:
    if not re.fullmatch(r"[0-9]{1,9}", value.strip(" ")):
        also = "" if options.standard else ", or ! and !! for whether it is there"
        raise Invalid(f"it is a sequence: name an element of its items after it{also}")
    return (int(value),)


def _numbers(vr: str | None, text: str) -> tuple[Any, ...]:
    text = text.strip(" ")
    if text in _NOT_FINITE and vr in {"FL", "FD"}:
        return (_NOT_FINITE[text],)
    if not _NUMBER.fullmatch(text):
        return ()
    try:
        whole = int(text)
    except ValueError:
        number = float(text)
        if math.isinf(number):
            return ()
        return tuple(dict.fromkeys((number, _single_precision(number)))) if vr in {"FL", None} else (number,)
    if abs(whole) > _MAX_INT64:
        exact = (whole,) if vr in {"UV", None} and 0 < whole < 2**64 else ()
        return (*exact, float(whole))
    if vr in {"FL", None} and abs(whole) > 2**24:
        return tuple(dict.fromkeys((whole, _single_precision(float(whole)))))
    return (whole,)


def _single_precision(number: float) -> float:
    """Round to what an FL can hold, 32 bits."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", number))[0])
    except OverflowError:
        return number


def _between(vr: str | None, value: str) -> Between | None:
    low_text, divided, high_text = value.partition("..")
    if not divided or not (low_text or high_text):
        return None
    ends: list[float | None] = []
    for text, choose in ((low_text.strip(" "), min), (high_text.strip(" "), max)):
        if not text:
            ends.append(None)
        elif _NUMBER.fullmatch(text):
            number = float(text)
            exact = int(text) if number.is_integer() and re.fullmatch(r"[+-]?[0-9]+", text) else number
            if abs(exact) > _MAX_INT64:
                exact = number
            # so that what was written as 0.1 lies within ..0.1
            ends.append(choose(exact, _single_precision(number)) if vr == "FL" else exact)
        else:
            return None
    low, high = ends
    if low is not None and high is not None and low > high:
        raise Invalid("the range ends before it begins: write the smaller number first")
    return Between(low, high)


# --- dates and times ------------------------------------------------------------------------------------------------

# A hyphen and four digits up to 1200 are an offset from UTC, and no year that anybody searches (PS3.5 6.2).
_OFFSET = r"(?:\+[0-9]{4}|-(?:0[0-9]|1[0-2])[0-9]{2}(?![0-9]))"
_DATE = r"[0-9]{4}(?:(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])?)?"
_TIME = r"(?:[01][0-9]|2[0-3])(?:[0-5][0-9](?:(?:[0-5][0-9]|60)(?:\.[0-9]{1,6})?)?)?"
_WHOLE_DATE = r"[0-9]{4}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])"
_FORMS = {"DA": _DATE, "TM": _TIME, "DT": rf"(?:{_WHOLE_DATE}{_TIME}|{_DATE}){_OFFSET}?"}
_SINGLE = {vr: re.compile(form) for vr, form in _FORMS.items()}
_RANGES = {vr: re.compile(rf"(?P<first>{form})?-(?P<last>{form})?") for vr, form in _FORMS.items()}
_WHOLE_DATES = re.compile(rf"{_WHOLE_DATE}(?:-{_WHOLE_DATE})?|{_WHOLE_DATE}-|-{_WHOLE_DATE}")
_OLD_DATE = re.compile(r"([0-9]{4})[./]([0-9]{2})[./]([0-9]{2})")
_ISO_DATE = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})")
_NORMALISED: dict[str, Callable[[str], str | None]] = {
    "DA": normalised_date,
    "TM": normalised_time,
    "DT": normalised_date_time,
}
_NOTATION = {
    "DA": "a date: write 20240131, 2024, or 20240101-20240131 with one end or both",
    "TM": "a time: write 22, 223015 or 22:30:15, or 0900-1730 with one end or both",
    "DT": "a moment: write 2024, 20240131223015 or 20240131223015+0100, or two of them with - between them",
}


def _moment(vr: str, value: str, options: Options) -> Test:
    text = value.strip(" ")
    if vr == "DT":
        text = text.replace(" ", "+")  # as which a plus sign of a query comes
    elif vr == "TM":
        text = text.replace(":", "")
    else:
        text = _OLD_DATE.sub(r"\1\2\3", text)
        if not options.standard and _ISO_DATE.fullmatch(text):
            text = text.replace("-", "")
    text = re.sub(r"\s*-\s*", "-", text)
    if options.standard and vr == "DA" and not _WHOLE_DATES.fullmatch(text):
        raise Invalid("it is a date (DA): write 20240131, or 20240101-20240131 with one end or both" + _OR_QUOTED)
    if _SINGLE[vr].fullmatch(text):
        if vr == "DA" and len(text) == 8:
            return OneOf((text,))
        # A moment is as exact as it is written: 22 is any time from then to 23.
        return During(low=_beginning_of(vr, text), end=_end_of(vr, text))
    match = _RANGES[vr].fullmatch(text)
    if match is None or not (match["first"] or match["last"]):
        raise Invalid(f"it is {_NOTATION[vr].replace(':', f' ({vr}):', 1)}{_OR_QUOTED}")
    first, last = match["first"], match["last"]
    return During(
        low=_beginning_of(vr, first) if first else _BEFORE_DIGITS,
        end=_end_of(vr, last) if last else _AFTER_DIGITS,
        first=first,
        last=last,
    )


def beginning_of_time(time: str) -> str:
    """Return the shortest text of the moment at which a TM begins, or nothing for midnight."""
    whole, _, fraction = time.partition(".")
    if fraction := fraction.rstrip("0"):
        return f"{whole}.{fraction}"
    while whole.endswith("00") and len(whole) % 2 == 0:
        whole = whole[:-2]
    return whole


def _beginning_of(vr: str, first: str) -> str:
    """Return the shortest text of the moment at which a date or time begins.

    Texts of digits are compared, and a stored 23 is the same moment as 2300: it must not sort before it.
    """
    text = str(_NORMALISED[vr](first))
    if vr == "TM":
        return beginning_of_time(text) or "00"
    if vr == "DT":
        date, time = text[:8], beginning_of_time(text[8:])
        if time:
            return date + time
        date = date[:6] if date[6:] == "01" else date
        return date[:4] if date[4:] == "01" else date
    return text


_COARSE = re.compile(r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?[+-][0-9]{4}")


def _end_of(vr: str, last: str) -> str:
    """Return the first text behind all that still belongs to the end of a range, which reaches to its own precision."""
    match = _COARSE.fullmatch(last) if vr == "DT" else None
    if match is None:
        return str(_NORMALISED[vr](last)) + _AFTER_DIGITS
    # With an offset the end of an hour, a day, a month, a year is a moment of UTC that has to be worked out.
    year, month, day, hour = (int(part) if part else None for part in match.groups())
    try:
        begins = datetime(year or 0, month or 1, day or 1, hour or 0)  # noqa: DTZ001 - the offset follows
        if hour is not None:
            after = begins + timedelta(hours=1)
        elif day is not None:
            after = begins + timedelta(days=1)
        elif month is not None:
            after = begins.replace(year=begins.year + month // 12, month=month % 12 + 1)
        else:
            after = begins.replace(year=begins.year + 1)
    except (ValueError, OverflowError):
        return str(normalised_date_time(last)) + _AFTER_DIGITS
    return str(normalised_date_time(f"{after:%Y%m%d%H%M}{last[-5:]}"))
