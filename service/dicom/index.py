"""The flat index of a tree: every path, and the values found there over all items.

Values stand there in a form in which equal things are equal and text order is the order of time. An element outside
sequences has its whole list of values, in order and however often they are repeated, so that it makes a row of a table;
what stands in the items of sequences is for finding alone, and has each value once. A present element always has
its path; an empty list is a present and empty element (or one whose values were left out, which `truncated` then says).
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.dictionary import KEYWORD_VRS, vr_of
from service.dicom.index_bounds import MAX_VALUES_PER_PATH, keep_within_bounds
from service.dicom.paths import private_element_key
from service.dicom.private import creator_key, creator_of, is_private_data
from service.dicom.remembered import REMEMBERED, Entry, Remembered

MAX_TEXT = 256
"""Characters of a text that is still worth finding by equality, prefix or range."""

_TEXT, _FLOAT, _WHOLE, _ITEMS, _MADE = range(5)
_KINDS: dict[str, int] = (
    dict.fromkeys(("AE", "AS", "CS", "LO", "LT", "SH", "ST", "UC", "UI", "UR", "UT"), _TEXT)
    | dict.fromkeys(("DS", "FD", "FL"), _FLOAT)
    | dict.fromkeys(("IS", "SL", "SS", "SV", "UL", "US", "AT"), _WHOLE)
    | {"SQ": _ITEMS}
)
"""What is done with the values of a VR; `_MADE` what first takes a form in which it can be compared."""

_NAN = math.nan
_MAX_INT64 = 2**63 - 1

_Slot = tuple[dict[Any, None], str, dict[str, Any]]
"""Of one path: its values as an ordered set, the path itself, and the slots one level below."""


def index_entries(dataset: Mapping[str, Any], memory: Remembered | None = None) -> dict[str, Any]:
    """List, for every path of a tree, the values that stand there.

    Parameters
    ----------
    dataset : Mapping
        The whole tree, nothing of it left in the original, by keyword or hex.
    memory : Remembered, optional
        What earlier files had; else what this process remembers.

    Returns
    -------
    dict
        ``tags``: path to list of values, for a path into sequences of distinct ones. A path joins keywords, hex digits
        or ``CREATOR:ggggxxEE`` with ``/``. In the list of an element outside sequences None stands for a value that is
        empty, or a text too long for the index; a list of nothing else is empty. A sequence lists the numbers of its
        items, a PN the text of each component group. DA is YYYYMMDD; TM has no colons; DT is UTC where it had an
        offset. What could not be converted is its raw text.
        ``names``: path of a PN to the words in it, for fuzzy matching.
        ``vrs``: path to VR where the dictionary does not say the same.
        ``truncated``: the paths of which something was left out: bytes, text over 256 characters, values past the
        bounds; ``*`` when whole paths were.
        ``exact``: for elements outside sequences whose values the tree has in another form than ``tags``, those values;
        None where only the tree itself tells. So ``tags``, ``vrs`` and ``exact`` say of all others what their trees do.
    """
    memory = REMEMBERED if memory is None else memory
    tags: dict[str, dict[Any, None]] = {}
    whole: dict[str, list[Any]] = {}
    names: dict[str, dict[str, None]] = {}
    vrs: dict[str, str] = {}
    cut: dict[str, None] = {}
    wide: set[str] = set()
    ready: dict[str, list[Any]] = {}
    outer: list[tuple[str, Mapping[str, Any]]] = []
    kinds = _KINDS

    def open_slot(level: Mapping[str, Any], prefix: str, key: str, vr: str, slots: dict[str, _Slot]) -> _Slot:
        settled = KEYWORD_VRS.get(key)
        name = key
        if settled is None:
            tag = int(key, 16)
            creator = creator_of(level, tag)
            if creator is None:
                settled = vr_of(tag)
            else:  # the same key may belong to another creator in the next item
                name = private_element_key(creator, tag)
                if name in slots:
                    return slots[name]
                if not prefix and name in ready:  # another block of the same creator
                    whole[name] = list(ready.pop(name))
                    slot = slots[name] = (tags[name], name, {})
                    return slot
        path = prefix + name
        slot = slots[name] = ({}, path, {})
        tags[path] = slot[0]
        if vr != settled:
            vrs[path] = vr
        return slot

    def walk_whole(level: Mapping[str, Any], slots: dict[str, _Slot]) -> None:
        """Index what stands outside sequences, most of which the file before had too."""
        recall = memory.recall
        for key, element in level.items():
            ruling = _creator_key(key)
            creator = None if ruling is None else level.get(ruling)
            entry = recall(key, element, creator)
            if entry is not None and entry.path not in tags:
                path = entry.path
                tags[path] = {}
                ready[path] = entry.values
                outer.append((path, element))
                if entry.vr is not None:
                    vrs[path] = entry.vr
                if entry.words is not None:
                    names[path] = dict.fromkeys(entry.words)
                if entry.cut:
                    cut[path] = None
                continue
            known = len(tags)
            walk({key: element}, "", slots, level)
            if entry is None and len(tags) == known + 1 and element["vr"] != "SQ":
                path = next(reversed(tags))
                words = tuple(names[path]) if path in names else None
                values = [*tags[path], *_without_only_empty(whole.get(path, []))]
                memory.keep_entry(key, Entry(element, creator, path, vrs.get(path), values, words, path in cut))

    def walk(elements: Mapping[str, Any], prefix: str, slots: dict[str, _Slot], level: Mapping[str, Any]) -> None:
        """Index elements of a level of the tree, or all of them."""
        for key, element in elements.items():
            vr = element["vr"]
            slot = slots.get(key) or open_slot(level, prefix, key, vr, slots)
            if not prefix:
                outer.append((slot[1], element))
            found = slot[0]
            values = element.get("Value")
            if not values:
                add_without_value(element, slot)
                continue
            kind = kinds.get(vr, _MADE)
            if not prefix and kind != _ITEMS:
                add_whole(vr, values, slot[1])
            elif kind == _ITEMS:
                found[len(values)] = None
                below = slot[1] + "/"
                for item in values:
                    walk(item, below, slot[2], item)
            elif kind == _MADE or len(found) + len(values) > MAX_VALUES_PER_PATH:
                add_made(vr, values, slot)
            elif kind == _TEXT:
                for value in values:
                    if value:
                        if len(value) <= MAX_TEXT:
                            found[value] = None
                        else:
                            cut[slot[1]] = None
            elif kind == _FLOAT:
                for value in values:
                    if value == value:
                        found[value] = None
                    else:
                        found[_NAN] = None
            else:
                for value in values:
                    found[value] = None

    def add_whole(vr: str, values: Sequence[Any], path: str) -> None:
        """Index an element outside sequences: all its values, in order, up to the bound of a path."""
        listed = whole.setdefault(path, [])
        if vr == "PN":
            groups = [group for value in values for group in (value.values() if value else (None,))]
            values = [group and _name(group)[0] for group in groups]
            add_words(groups, path)
        room = MAX_VALUES_PER_PATH - len(listed)
        make = _MAKERS.get(vr)
        for value in values[:room]:
            if make is not None:
                value = make(value)
            if isinstance(value, str):
                if len(value) > MAX_TEXT:
                    cut[path] = value = None
                elif not value:
                    value = None
            elif value != value:
                value = _NAN
            listed.append(_storable(value))
        if len(values) > room:
            cut[path] = None

    def add_words(groups: Iterable[str | None], path: str) -> None:
        """Index the words of names."""
        words: dict[str, None] = names.setdefault(path, {})
        for group in groups:
            if group:
                add_each(_name(group)[1], (words, path, {}))

    def add_without_value(element: Mapping[str, Any], slot: _Slot) -> None:
        """Index an element that has no `Value`: empty, bytes, left in the original, or not to be converted."""
        raw = element.get("raw")
        if isinstance(raw, str):
            add_each((raw,), slot)
        elif raw or element.get("length") or element.get("InlineBinary"):
            cut[slot[1]] = None
        elif element["vr"] == "SQ":
            slot[0][element.get("items", 0)] = None

    def add_made(vr: str, values: Iterable[Any], slot: _Slot) -> None:
        """Index values that are compared in another form than the one in which they are kept."""
        if vr == "PN":
            groups = [group for value in values if value for group in value.values()]
            add_each([_name(group)[0] for group in groups], slot)
            add_words(groups, slot[1])
        else:
            make = _MAKERS.get(vr)
            add_each(map(make, values) if make else values, slot)
            if vr == "UV":
                wide.add(slot[1])

    def add_each(values: Iterable[Any], slot: _Slot) -> None:
        """Add values one by one, up to the bound of a path."""
        found, path, _ = slot
        for value in values:
            if value is None or value == "":
                continue
            if isinstance(value, str):
                if len(value) > MAX_TEXT:
                    cut[path] = None
                    continue
            elif value != value:
                value = _NAN
            if len(found) >= MAX_VALUES_PER_PATH and value not in found:
                cut[path] = None
                return
            found[value] = None

    walk_whole(dataset, {})
    index: dict[str, Any] = {
        "tags": {
            path: ready[path]
            if path in ready
            else [value for value in found if value is not None] + _without_only_empty(whole.get(path, []))
            for path, found in tags.items()
        },
        "names": {path: list(found) for path, found in names.items()},
        "vrs": vrs,
        "truncated": list(cut),
        "exact": _exact_values(outer, {**ready, **whole}, cut),
    }
    for path in wide:
        index["tags"][path] = [_storable(value) for value in index["tags"][path]]
    return keep_within_bounds(index)


@lru_cache(maxsize=16384)
def _creator_key(key: str) -> str | None:
    """Return the key of the element that says whose an element is; None for one that belongs to no private block."""
    if key in KEYWORD_VRS:
        return None
    tag = int(key, 16)
    return creator_key(tag) if is_private_data(tag) else None


MAX_EXACT = 16
"""Values of an element that the index keeps in the form of the tree."""

MAX_EXACT_VALUES = 500
"""The same of all elements of a file together."""


def _exact_values(
    outer: Sequence[tuple[str, Mapping[str, Any]]], whole: Mapping[str, list[Any]], cut: Container[str]
) -> dict[str, list[Any] | None]:
    """Return what ``exact`` has of the elements outside sequences, each given with its path."""
    exact: dict[str, list[Any] | None] = {}
    seen: set[str] = set()
    kept = 0
    for path, element in outer:
        if path in seen:  # a creator with two blocks
            exact[path] = None
        elif path not in cut:
            values = element.get("Value")
            if not values:
                if element.get("raw"):
                    exact[path] = None
            elif element["vr"] != "SQ" and not _says_the_same(whole[path], values):
                kept += len(values)
                small = len(values) <= MAX_EXACT and kept <= MAX_EXACT_VALUES
                exact[path] = [_plain(value) for value in values] if small and all(map(_is_short, values)) else None
        seen.add(path)
    return exact


def _says_the_same(listed: Sequence[Any], values: Sequence[Any]) -> bool:
    """Return whether a list of the index tells the values of an element; a name, where it has one group alone."""
    if len(listed) != len(values) or None in listed:
        return False
    return all(
        one == other if not isinstance(other, Mapping) else len(other) == 1 and other.get("Alphabetic") == one
        for one, other in zip(listed, values, strict=True)
    )


def _plain(value: Any) -> Any:
    """Return a value as it is, and a name as a dictionary, however it came from the database."""
    return dict(value) if isinstance(value, Mapping) else value


def _is_short(value: Any) -> bool:
    texts = value.values() if isinstance(value, Mapping) else (value,)
    return all(len(text) <= MAX_TEXT for text in texts if isinstance(text, str))


def _without_only_empty(values: list[Any]) -> list[Any]:
    """Return values, and an empty list where all of them are empty: so the element is."""
    return values if any(value is not None for value in values) else []


# --- forms in which values are compared ---------------------------------------------------------------------------

_OLD_DATE = re.compile(r"([0-9]{4})[.\-/]([0-9]{2})[.\-/]([0-9]{2})")
_DATE_TIME = re.compile(
    r"(?P<year>[0-9]{4})(?P<month>[0-9]{2})?(?P<day>[0-9]{2})?(?P<hour>[0-9]{2})?(?P<minute>[0-9]{2})?"
    r"(?P<second>[0-9]{2}(?:\.[0-9]{1,6})?)?(?P<sign>[+-])(?P<offset_hours>[0-9]{2})(?P<offset_minutes>[0-9]{2})"
)


def normalised_date(text: str | None) -> str | None:
    """Return a DA as YYYYMMDD; the form YYYY.MM.DD of ACR-NEMA (PS3.5 6.2) too. Anything else stays as it is."""
    if text is None or (len(text) == 8 and text.isdigit()):
        return text
    text = text.strip(" ")
    old = _OLD_DATE.fullmatch(text)
    return "".join(old.groups()) if old else text


def normalised_time(text: str | None) -> str | None:
    """Return a TM as HHMMSS.FFFFFF, as much of it as there is; the form HH:MM:SS of ACR-NEMA (PS3.5 6.2) too."""
    return text.replace(":", "").strip(" ") if text else text


def normalised_date_time(text: str | None) -> str | None:
    """Return a DT in UTC where it has an offset (PS3.5 6.2), and otherwise as it is.

    A DT with an offset that is less exact than the minute is given to the minute at which it begins, as an offset moves
    the day and can move the half hour. One that is no moment of the calendar stays as it is.
    """
    match = _DATE_TIME.fullmatch(text.strip(" ")) if text and ("+" in text or "-" in text) else None
    if match is None:
        return text.strip(" ") if text else text
    offset = timedelta(hours=int(match["offset_hours"]), minutes=int(match["offset_minutes"]))
    try:
        begins = datetime(  # noqa: DTZ001 - the offset is taken off by hand, as seconds of 60 and years are kept
            int(match["year"]),
            int(match["month"] or 1),
            int(match["day"] or 1),
            int(match["hour"] or 0),
            int(match["minute"] or 0),
        )
        begins = begins - offset if match["sign"] == "+" else begins + offset
    except (ValueError, OverflowError):
        return text
    return f"{begins.year:04}{begins.month:02}{begins.day:02}{begins.hour:02}{begins.minute:02}{match['second'] or ''}"


def _number(value: Any) -> Any:
    """Return a UV as a number that can be compared; `Decimal128` has no order and no hash of its own."""
    return int(value.to_decimal()) if isinstance(value, Decimal128) else value


def _storable(value: Any) -> Any:
    return Decimal128(str(value)) if isinstance(value, int) and value > _MAX_INT64 else value


_MAKERS: dict[str, Callable[[Any], Any]] = {
    "DA": normalised_date,
    "TM": normalised_time,
    "DT": normalised_date_time,
    "UV": _number,
}


@lru_cache(maxsize=4096)
def _name(group: str) -> tuple[str, tuple[str, ...]]:
    return normalised_name(group), name_words(group)


def normalised_name(group: str) -> str:
    """Return one component group of a PN without the padding of its components and without trailing delimiters."""
    if " " in group:
        group = "^".join(component.strip(" ") for component in group.split("^"))
    return group.rstrip("^")


def name_words(text: str, also: str = "") -> tuple[str, ...]:
    """Return the words of a name as fuzzy matching compares them (PS3.18 8.3.4.2): case-folded, without accents.

    Accents go by compatibility decomposition (NFKD); what is left is composed again, so that a Hangul syllable stays
    one. Everything but letters, digits and their marks divides words.

    Parameters
    ----------
    text : str
        A name, or a part of one.
    also : str, optional
        Characters that do not divide words: those of a pattern.

    Returns
    -------
    tuple of str
        The distinct words, in order.
    """
    if text.isascii():
        folded = text.lower()
    else:
        folded = unicodedata.normalize("NFKD", text).casefold()
        folded = "".join([character for character in folded if unicodedata.category(character) != "Mn"])
        folded = unicodedata.normalize("NFC", folded)
    divided = "".join(
        [
            character if character.isalnum() or unicodedata.category(character)[0] == "M" or character in also else " "
            for character in folded
        ]
    )
    return tuple(dict.fromkeys(divided.split()))
