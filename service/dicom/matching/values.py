"""What a searched text asks, by the VR of its path (PS3.4 C.2.2.2)."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import lru_cache

from bson.decimal128 import Decimal128
from pydicom import datadict

from service.dicom.dictionary import KEYWORD_TAGS, vr_of
from service.dicom.index import name_words, normalised_date, normalised_date_time, normalised_name, normalised_time
from service.dicom.matching.conditions import (
    Absent,
    Between,
    During,
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
_WITH_WILDCARDS = frozenset(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT"))
_MOMENTS = frozenset(("DA", "DT", "TM"))

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
        numbers, ``a-b`` one of dates or times, or a value, with wildcards where its VR is one of text.
    options : Options
        How values are read.

    Returns
    -------
    tuple of Test
        All of them must hold.

    Raises
    ------
    Invalid
        Ranges in a list of values; by the Standard alone also what is no number or date.
    """
    vr = vr_of_step(step)
    if not value.strip("*"):
        return ()
    if value == '""' and options.empty:
        return (Empty(sequence=vr == "SQ"),)
    if not options.standard and value in _PRESENCE:
        return (_PRESENCE[value],)
    if vr == "UI":
        return (OneOf(tuple(dict.fromkeys(uid for uid in re.split(r"[,\\\s]+", value) if uid)) or (value,)),)
    parts = [value]
    if options.multiple:
        # A CS has no comma of its own, and clients divide modalities by it.
        parts = re.split(r"[\\,]" if vr == "CS" else r"\\", value)
    if options.standard:
        for part in filter(None, parts):
            _check_form(vr, part)
    if len(parts) > 1:
        return _one_of_several(vr, parts, options)
    return _single(vr, value, options)


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


def _one_of_several(vr: str | None, parts: list[str], options: Options) -> tuple[Test, ...]:
    """Any of several values (PS3.4 C.2.2.2.8)."""
    values: list[object] = []
    patterns: list[str] = []
    ignore_case = False
    for part in filter(None, parts):
        for test in _single(vr, part, replace(options, fuzzy=False)):
            if isinstance(test, OneOf):
                values += test.values
            elif isinstance(test, Like):
                patterns.append(test.pattern.removeprefix("^"))
                ignore_case = test.ignore_case
            elif isinstance(test, During) and test.first is test.last is None:
                patterns.append(re.escape(test.low))  # one moment, as exact as it is written
            else:
                raise Invalid("A list of values cannot have ranges in it.")
    if not patterns:
        return (OneOf(tuple(values)),) if values else ()
    patterns += [re.escape(value) + END for value in values if isinstance(value, str)]
    return (Like("^(?:" + "|".join(patterns) + ")", ignore_case),)


def _single(vr: str | None, value: str, options: Options) -> tuple[Test, ...]:
    if vr == "PN":
        return _name(value, options)
    if vr in _MOMENTS:
        return (_moment(str(vr), value),)
    if (vr is None or vr in _NUMBERS or vr == "SQ") and not options.standard and (between := _between(vr, value)):
        return (between,)
    if (vr is None or vr in _WITH_WILDCARDS) and ("*" in value or "?" in value):
        return (Like(wildcard_pattern(value)),)
    return (OneOf(_typed(vr, value)),)


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
    groups = [normalised_name(group) for group in value.split("=")]
    return tuple(Like(wildcard_pattern(group), ignore_case=True) for group in groups if group.strip("*"))


def _word(word: str) -> Word | WordLike:
    """Match a word of a name by its beginning; clients that ask for ``*muller*`` mean it anywhere in one."""
    return WordLike(wildcard_pattern(f"{word}*")) if "*" in word or "?" in word else Word(word)


# --- numbers --------------------------------------------------------------------------------------------------------


def _typed(vr: str | None, value: str) -> tuple[object, ...]:
    """Return a value as the index may hold it. What is no number is looked for as the raw text of an element."""
    if vr is None:
        return tuple(dict.fromkeys((value, *_numbers(None, value))))
    if vr in _NUMBERS or vr == "SQ":
        return _numbers(vr, value) or (value,)
    if vr == "AT":
        plain = value.strip("() ").replace(",", "")
        tag = KEYWORD_TAGS.get(plain)
        return (plain.upper() if tag is None else f"{tag:08X}",)
    return (value.strip(" ") or value,)


def _numbers(vr: str | None, text: str) -> tuple[object, ...]:
    text = text.strip(" ")
    if text in _NOT_FINITE and vr is not None:
        return (_NOT_FINITE[text],)
    if not _NUMBER.fullmatch(text):
        return ()
    try:
        whole = int(text)
    except ValueError:
        number = float(text)
        return tuple(dict.fromkeys((number, _single_precision(number)))) if vr in {"FL", None} else (number,)
    if abs(whole) > _MAX_INT64:
        decimal = (Decimal128(text),) if vr in {"UV", None} and 0 < whole < 2**64 else ()
        return (*decimal, float(whole))
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
    return Between(*ends)


def _check_form(vr: str | None, value: str) -> None:
    """Refuse what a VR cannot have (PS3.18 8.3.4.1: a bad request)."""
    if vr in _NUMBERS and not _NUMBER.fullmatch(value.strip(" ")):
        raise Invalid("An attribute that is a number is searched by a number.")
    if vr == "DA" and not _WHOLE_DATES.fullmatch(value.strip(" ")):
        raise Invalid("A date is YYYYMMDD, a range of dates YYYYMMDD-YYYYMMDD with one end or both.")


# --- dates and times ------------------------------------------------------------------------------------------------

# A hyphen and four digits up to 1200 are an offset from UTC, and no year that anybody searches (PS3.5 6.2).
_DATE_TIME = r"[0-9]{4,14}(?:\.[0-9]{1,6})?(?:\+[0-9]{4}|-(?:0[0-9]|1[0-2])[0-9]{2}(?![0-9]))?"
_FORMS = {"DA": r"[0-9]{4,8}", "TM": r"[0-9]{2,6}(?:\.[0-9]{1,6})?", "DT": _DATE_TIME}
_WHOLE_DATE = r"[0-9]{4}\.?[0-9]{2}\.?[0-9]{2}"
_WHOLE_DATES = re.compile(rf"{_WHOLE_DATE}(?:-{_WHOLE_DATE})?|{_WHOLE_DATE}-|-{_WHOLE_DATE}")
_SINGLE = {vr: re.compile(form) for vr, form in _FORMS.items()}
_RANGES = {vr: re.compile(rf"(?P<first>{form})?-(?P<last>{form})?") for vr, form in _FORMS.items()}
_NORMALISED: dict[str, Callable[[str], str | None]] = {
    "DA": normalised_date,
    "TM": normalised_time,
    "DT": normalised_date_time,
}


def _moment(vr: str, value: str) -> Test:
    text = value.strip(" ")
    if vr == "DT":
        text = text.replace(" ", "+")  # as which a plus sign of a query comes
    text = text.replace(":", "") if vr == "TM" else str(normalised_date(text)) if vr == "DA" else text
    match = None if _SINGLE[vr].fullmatch(text) else _RANGES[vr].fullmatch(re.sub(r"\s*-\s*", "-", text))
    if match is None or not (match["first"] or match["last"]):
        moment = str(_NORMALISED[vr](text))
        if vr == "DA" or not _SINGLE[vr].fullmatch(text):
            return OneOf((moment,))
        # A time is as exact as it is written: 22 is any time from then to 23.
        return During(low=moment, end=_end_of(vr, text))
    first, last = match["first"], match["last"]
    return During(
        low=str(_NORMALISED[vr](first)) if first else _BEFORE_DIGITS,
        end=_end_of(vr, last) if last else _AFTER_DIGITS,
        first=first,
        last=last,
    )


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
