"""The columns of a table whose rows are files: what type each has, and what a file's tree says in it.

A column's type follows from its path and not from the values, because a table's schema comes before its first row.

=========================== ============ =====================================================================
VR                          type         beside it
=========================== ============ =====================================================================
DS, FL, FD                  double       `<column>_raw`
IS, SS, SL, SV, US, UL      integer      `<column>_raw`
UV                          unsigned     `<column>_raw`
DA, TM, DT                  date, time,  `<column>_raw`; a DT with an offset is in UTC
                            timestamp
SQ                          integer      `<column>_raw`; the column is the number of items
PN                          text         `<column>_alphabetic`, `<column>_ideographic`, `<column>_phonetic`
OB, OW, …, UN               text, base64 `<column>_length`, in bytes; long bytes have their length alone
all others                  text
=========================== ============ =====================================================================
"""

from __future__ import annotations

import math
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from enum import StrEnum
from functools import lru_cache
from typing import Any

from bson.decimal128 import Decimal128
from pydicom import datadict

from service.dicom.dictionary import element_key, vm_of, vr_of
from service.dicom.index import normalised_date, normalised_time
from service.dicom.index_bounds import OTHER_PATHS
from service.dicom.paths import BelowSpilled, Step, TagPath, candidate_keys, index_key, items_of
from service.dicom.private import is_private_data
from service.dicom.simplified import name_text
from service.dicom.values import BYTE_VRS, number_in


class Kind(StrEnum):
    """The type of a column."""

    TEXT = "text"
    DOUBLE = "double"
    INTEGER = "integer"
    UNSIGNED = "unsigned"
    DATE = "date"
    TIME = "time"
    TIMESTAMP = "timestamp"
    BOOLEAN = "boolean"


@dataclass(frozen=True, slots=True)
class Column:
    """A column as a reader of the table sees it.

    Parameters
    ----------
    name : str
        Its name.
    kind : Kind
        The type of its values.
    many : bool
        Whether each cell is a list of them.
    """

    name: str
    kind: Kind = Kind.TEXT
    many: bool = False


@dataclass(frozen=True, slots=True)
class Seen:
    """What files say of a path of which no dictionary knows the VR.

    Parameters
    ----------
    vrs : frozenset of str
        The VRs that it has in them.
    several : bool
        Whether one of them has several values there.
    """

    vrs: frozenset[str] = frozenset()
    several: bool = False


@dataclass(frozen=True, slots=True)
class Field:
    """An element that a table shows.

    Parameters
    ----------
    name : str
        What its columns are called.
    path : tuple of Step
        Where it is.
    kind : Kind
        The type of its values.
    names, bytes, items : bool
        Whether the values are person names, bytes, or the numbers of a sequence's items.
    several : bool
        Whether the element may have more than one value.

    Attributes
    ----------
    columns : tuple of Column
        Its columns, that of the values first.
    key : str or None
        The one field of a tree where it stands; None where the tree decides that.
    ready : frozenset of str
        The VRs whose values are of the column's type as they are in a tree.
    entry : str or None
        Where the index has all that a tree has of it; None where only trees have it: what stands in sequences, bytes.
    """

    name: str
    path: TagPath
    kind: Kind
    names: bool = False
    bytes: bool = False
    items: bool = False
    several: bool = False
    columns: tuple[Column, ...] = field(init=False)
    key: str | None = field(init=False)
    ready: frozenset[str] = field(init=False)
    entry: str | None = field(init=False)

    def __post_init__(self) -> None:
        """Name the columns."""
        many = self.many
        beside: list[Column] = []
        if self.names:
            beside = [Column(f"{self.name}_{group.lower()}", Kind.TEXT, many) for group in GROUPS]
        elif self.bytes:
            beside = [Column(f"{self.name}_length", Kind.INTEGER, many)]
        elif self.kind is not Kind.TEXT:
            beside = [Column(f"{self.name}_raw")]
        object.__setattr__(self, "columns", (Column(self.name, self.kind, many), *beside))
        alone = len(self.path) == 1 and self.path[0].creator is None
        object.__setattr__(self, "key", element_key(self.path[0].tag) if alone else None)
        plain = not (self.names or self.bytes or self.items)
        object.__setattr__(self, "ready", _READY.get(self.kind, frozenset()) if plain else frozenset())
        step = self.path[-1]
        blocks = step.creator is None and is_private_data(step.tag)
        flat = len(self.path) == 1 and step.item is None and not (self.bytes or blocks)
        object.__setattr__(self, "entry", index_key(self.path) if flat else None)

    @property
    def below(self) -> bool:
        """Whether the path leads into several items."""
        return any(step.item is None for step in self.path[:-1])

    @property
    def many(self) -> bool:
        """Whether a cell is a list."""
        return self.several or self.below


GROUPS = ("Alphabetic", "Ideographic", "Phonetic")

_KINDS: Mapping[str, Kind] = (
    dict.fromkeys(("DS", "FL", "FD"), Kind.DOUBLE)
    | dict.fromkeys(("IS", "SS", "SL", "SV", "US", "UL", "SQ"), Kind.INTEGER)
    | {"UV": Kind.UNSIGNED, "DA": Kind.DATE, "TM": Kind.TIME, "DT": Kind.TIMESTAMP}
)

_READY: Mapping[Kind, frozenset[str]] = {
    Kind.TEXT: frozenset(("AE", "AS", "AT", "CS", "DA", "DT", "LO", "LT", "SH", "ST", "TM", "UC", "UI", "UR", "UT")),
    Kind.DOUBLE: frozenset(("DS", "FL", "FD")),
    Kind.INTEGER: frozenset(("SS", "SL", "SV", "US", "UL")),
}
"""By kind: the VRs whose values a tree has in that type."""


class LeftInOriginal(Exception):
    """The document has not all of it: its original has."""


# --- the type of a column -----------------------------------------------------------------------------------------


def is_settled(path: TagPath) -> bool:
    """Return whether the dictionary says the VR of a path (PS3.6); else the files must be asked.

    A private element in plain hex counts as settled, as text: files may differ in whose block it is.
    """
    last = path[-1]
    return last.creator is None and (vr_of(last.tag) is not None or is_private_data(last.tag))


def settle(name: str, path: TagPath, seen: Seen | None = None) -> Field:
    """Return the field of a path, with the types of its columns.

    Parameters
    ----------
    name : str
        What the caller calls it.
    path : tuple of Step
        Of `parse_search_path`.
    seen : Seen, optional
        What files say, where `is_settled` is false. Where their VRs are not of one type the column is text; bytes
        beside values of one type do not count.
    """
    last = path[-1]
    if last.creator is None:
        vrs = (vr_of(last.tag) or "").split(" or ") if vr_of(last.tag) is not None else list((seen or Seen()).vrs)
        vm = vm_of(last.tag)
    else:
        entry = _private_entry(last)
        vrs = list(seen.vrs) if seen is not None and seen.vrs else [entry[0]] if entry else []
        vm = entry[1] if entry else None
    several = vm != "1" if vm is not None else seen is None or seen.several
    plain = [vr for vr in vrs if vr not in BYTE_VRS]
    if vrs and not plain:
        return Field(name, path, Kind.TEXT, bytes=True, several=several)
    kinds = {_KINDS.get(vr, Kind.TEXT) for vr in plain}
    kind = kinds.pop() if len(kinds) == 1 else Kind.TEXT
    if "SQ" in plain:
        if len(set(plain)) == 1:
            return Field(name, path, Kind.INTEGER, items=True)
        kind = Kind.TEXT
    return Field(name, path, kind, names=bool(plain) and set(plain) == {"PN"}, several=several)


def _private_entry(step: Step) -> tuple[str, str] | None:
    """Return the VR and VM that pydicom's private dictionary has for an element."""
    try:
        entry = datadict.get_private_entry(step.tag, step.creator or "")
    except KeyError:
        return None
    return entry[0], entry[1]


# --- what a file says ---------------------------------------------------------------------------------------------


def read_cells(dataset: Mapping[str, Any], fields: Sequence[Field]) -> list[Any]:
    """Return what a tree says in the columns of fields, one value a column.

    Parameters
    ----------
    dataset : Mapping
        The tree by keyword or hex, or as much of it as the paths need.
    fields : sequence of Field
        Of `settle`.

    Returns
    -------
    list
        None where the file has no such element. Else a value, or a list: of a path into the items of a sequence one
        entry for each item, None where that has no value; of an element that may have several values all of them, those
        of several items one after another. What could not be converted is None, and its text is in `_raw`. A number
        that is none (NaN, PS3.5 6.2 lets FL and FD have it) is there, and named in `_raw` too.

    Raises
    ------
    LeftInOriginal
        The tree has left values in the original.
    """
    cells: list[Any] = []
    for each in fields:
        if each.key is None:
            cells += _cells(dataset, each)
            continue
        element = dataset.get(each.key)
        if element is None:
            cells += [None] * len(each.columns)
        elif element["vr"] in each.ready and _is_plain(held := element.get("Value"), each):
            cells.append(held if each.several else held[0])
            if len(each.columns) > 1:
                cells.append(None)
        else:
            cells += _cell(element, each)
    return cells


def _is_plain(held: Any, wanted: Field) -> bool:
    """Return whether values that are of the column's type are also of its form, with nothing to be said beside them."""
    if not held or not (wanted.several or len(held) == 1):
        return False
    return wanted.kind is not Kind.DOUBLE or all(value is not None and math.isfinite(value) for value in held)


def read_columns(documents: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> tuple[list[list[Any]], set[int]]:
    """Return what index documents say in the columns of fields, and of which documents the index does not say it all.

    What it says is what `read_cells` says of the trees. It goes column by column, because most cells of a column take
    the same short way.

    Parameters
    ----------
    documents : sequence of Mapping
        Each with ``truncated``, and ``tags``, ``vrs`` and ``exact`` for the entries of the fields.
    fields : sequence of Field
        Each has an `entry`.

    Returns
    -------
    columns : list of list
        One list of cells for each column.
    unsaid : set of int
        The places of documents whose cells are to be read elsewhere.
    """
    unsaid = {place for place, each in enumerate(documents) if "exact" not in each or OTHER_PATHS in each["truncated"]}
    tags = [each.get("tags", {}) for each in documents]
    odd = [_odd_entries(each) for each in documents]
    columns: list[list[Any]] = []
    for each in fields:
        rows = _column_pair(documents, tags, odd, each, unsaid)
        columns += map(list, zip(*rows, strict=True)) if rows else [[] for _ in each.columns]
    return columns, unsaid


def _odd_entries(document: Mapping[str, Any]) -> set[str]:
    """Return the entries of an index document whose values alone do not tell the element."""
    return {*document["truncated"], *document.get("vrs", ()), *document.get("exact", ())}


def _column_pair(
    documents: Sequence[Mapping[str, Any]],
    tags: Sequence[Mapping[str, list[Any]]],
    odd: Sequence[set[str]],
    wanted: Field,
    unsaid: set[int],
) -> list[Sequence[Any]]:
    """Return the cells of one field, those of each document together; `unsaid` takes the places where it has none."""
    key = wanted.entry
    assert key is not None  # noqa: S101 - the caller has looked
    absent = (None,) * len(wanted.columns)
    reader = EntryReader(wanted)
    rows: list[Sequence[Any]] = []
    for place, entries in enumerate(tags):
        values = entries.get(key)
        if values is None:
            rows.append(absent)
            continue
        cells = reader.read(values) if key not in odd[place] else _odd_cells(documents[place], values, reader, key)
        if cells is None:
            unsaid.add(place)
            cells = absent
        rows.append(cells)
    return rows


def _odd_cells(document: Mapping[str, Any], values: list[Any], reader: EntryReader, key: str) -> Sequence[Any] | None:
    if key in document["truncated"]:
        return None
    exact = document.get("exact", {})
    kept: list[Any] | None = exact.get(key, values)
    return None if kept is None else reader.read(kept, document.get("vrs", {}).get(key), exact=key in exact)


class EntryReader:
    """Makes the cells of one field of what the index says of its element.

    Parameters
    ----------
    wanted : Field
        It has an `entry`.
    """

    def __init__(self, wanted: Field) -> None:
        step = wanted.path[0]
        self._wanted = wanted
        self._usual = vr_of(step.tag) if step.creator is None else None
        self._quick = _quick_cells(wanted, self._usual)

    def read(self, values: list[Any], vr: str | None = None, *, exact: bool = False) -> Sequence[Any] | None:
        """Return the cells; None where only the tree has all of them.

        Parameters
        ----------
        values : list
            What `tags` has, or `exact`.
        vr : str or None
            What `vrs` has.
        exact : bool
            Whether the values are those of `exact`.
        """
        cells = self._quick(values) if vr is None and not exact else None
        return cells or _cells_of_entry(values, vr or self._usual, self._wanted, exact=exact)


def _quick_cells(wanted: Field, vr: str | None) -> Callable[[list[Any]], Sequence[Any] | None]:
    """Return what makes cells of values that are of the usual form; it gives None for others."""
    several, doubles = wanted.several, wanted.kind is Kind.DOUBLE
    convert = _CONVERT[wanted.kind]
    if wanted.names and vr == "PN":
        return lambda values: (values[0], values[0], None, None) if not several and len(values) == 1 else None
    if vr in wanted.ready:
        beside = (None,) * (len(wanted.columns) - 1)

        def plain(values: list[Any]) -> Sequence[Any] | None:
            if not values or (doubles and not all(map(math.isfinite, values))):
                return None
            if several:
                return (values, *beside)
            return (values[0], *beside) if len(values) == 1 else None

        return plain
    if _KINDS.get(vr or "") is wanted.kind and not (wanted.names or wanted.items or several):

        def converted(values: list[Any]) -> Sequence[Any] | None:
            value = convert(values[0]) if len(values) == 1 else None
            return None if value is None else (value, None)

        return converted
    return lambda _: None


def _cells_of_entry(values: list[Any], vr: str | None, wanted: Field, *, exact: bool) -> list[Any] | None:
    """Return what an entry of the index says, by way of the element that the tree has; None where it cannot."""
    if vr is None or " or " in vr:
        return None
    if not exact and vr == "PN":
        values = [{"Alphabetic": value} for value in values]
    elif not exact and vr == "SQ":
        values = [None] * sum(values[:1])
    element = {"vr": vr, "Value": values}
    cells = _cell(element, wanted)
    # Beside what could not be converted stands the text of the file, which only the tree has.
    return None if wanted.kind is not Kind.TEXT and cells[1] is not None else cells


def _cells(dataset: Mapping[str, Any], wanted: Field) -> list[Any]:
    try:
        found = list(_elements(dataset, wanted.path))
    except BelowSpilled:
        raise LeftInOriginal from None
    width = len(wanted.columns)
    if not wanted.below:
        element = found[0] if found else None
        if element is None:
            return [None] * width
        return _cell(element, wanted)
    if not found and not _has_sequence(dataset, wanted.path):
        return [None] * width
    rows = [_cell(element, wanted) if element is not None else None for element in found]
    if wanted.kind is not Kind.TEXT:
        raws = [row[1] for row in rows if row is not None and row[1] is not None]
        return [_gathered(rows, 0, wanted), "\\".join(raws) if raws else None]
    return [_gathered(rows, place, wanted) for place in range(width)]


def _gathered(rows: Sequence[list[Any] | None], place: int, wanted: Field) -> list[Any]:
    """Gather one column over the items of a sequence."""
    if not wanted.several:
        return [None if row is None else row[place] for row in rows]
    return [value for row in rows if row is not None for value in row[place] or ()]


def _elements(level: Mapping[str, Any], path: TagPath) -> Iterator[Mapping[str, Any] | None]:
    """Return the elements that a path leads to, in each item that it leads into; None in an item without it."""
    step = path[0]
    element = next((level[key] for key in candidate_keys(level, step) if level.get(key) is not None), None)
    if len(path) == 1:
        yield element
    elif element is not None:
        for item in items_of(element, step.item):
            yield from _elements(item, path[1:])


def _has_sequence(dataset: Mapping[str, Any], path: TagPath) -> bool:
    return any(dataset.get(key) is not None for key in candidate_keys(dataset, path[0]))


def _cell(element: Mapping[str, Any], wanted: Field) -> list[Any]:
    """Return what one element says in each column of its field."""
    if wanted.bytes:
        return _bytes_cell(element, wanted)
    values, raw = _values(element, wanted)
    if wanted.names:
        groups = [
            [value.get(group) if isinstance(value, Mapping) else None for value in element.get("Value") or ()]
            for group in GROUPS
        ]
        return [_shaped(each, wanted) for each in (values, *groups)]
    if wanted.kind is Kind.TEXT:
        return [_shaped(values, wanted)]
    if not wanted.several and len(values) > 1:
        return [None, raw if raw is not None else _text(element)]
    return [_shaped(values, wanted), raw]


def _shaped(values: list[Any], wanted: Field) -> Any:
    """Return values as a list where the element may have several, and else as the one value or text."""
    if wanted.several:
        return values
    if len(values) > 1:
        return "\\".join("" if value is None else value for value in values)
    return values[0] if values else None


def _values(element: Mapping[str, Any], wanted: Field) -> tuple[list[Any], str | None]:
    """Return the values of an element in the type of a column, and its text where one of them could not be converted.

    Raises
    ------
    LeftInOriginal
        Only the original has them.
    """
    held = element.get("Value")
    if element.get("spilled") and not (wanted.items and element["vr"] == "SQ"):
        raise LeftInOriginal
    if wanted.items:
        if element["vr"] == "SQ" and (held or not (element.get("raw") or element.get("length"))):
            return [len(held) if held else element.get("items", 0)], None
        return [None], _text(element)
    if element["vr"] == "SQ":
        return [str(len(held or ()))] if wanted.kind is Kind.TEXT else [None], None
    convert = _CONVERT[wanted.kind]
    if held:
        values = [None if value is None else convert(value) for value in held]
        if wanted.kind is Kind.TEXT:
            return values, None
        lost = any(
            (value is None and given not in (None, "")) or (isinstance(value, float) and not math.isfinite(value))
            for value, given in zip(values, held, strict=True)
        )
        return values, _text(element) if lost else None
    raw = element.get("raw")
    if isinstance(raw, str) and raw:
        parts = [part.strip(" \0") or None for part in raw.split("\\")]
        values = [None if part is None else convert(part) for part in parts]
        return values, None if wanted.kind is Kind.TEXT else raw
    if raw or element.get("InlineBinary") or element.get("length"):
        if wanted.kind is Kind.TEXT and not element.get("length"):
            return [_text(element)], None
        if element.get("length") and element["vr"] not in BYTE_VRS:
            raise LeftInOriginal
        return [None], _text(element)
    return [], None


def _bytes_cell(element: Mapping[str, Any], wanted: Field) -> list[Any]:
    """Return the bytes of an element as base64, and their number; long ones have their number alone."""
    held = element.get("InlineBinary")
    if held is None and isinstance(element.get("raw"), bytes):
        held = element["raw"]
    if held:
        text, length = b64encode(held).decode("ascii"), len(held)
    elif element.get("length"):
        text, length = None, element["length"]
    elif element.get("Value") or element.get("raw"):
        text, length = _text(element), None
    else:
        return [[], []] if wanted.several else [None, 0]
    return [[text], [length]] if wanted.several else [text, length]


def _text(element: Mapping[str, Any]) -> str:
    """Return an element as text: that of the file where it was kept."""
    raw = element.get("raw")
    if isinstance(raw, str):
        return raw
    held = element.get("Value")
    if held and element["vr"] != "SQ":
        return "\\".join("" if value is None else _as_text(value) for value in held)
    if isinstance(raw, bytes):
        return raw.decode("ascii", "backslashreplace")
    if element.get("InlineBinary"):
        return b64encode(element["InlineBinary"]).decode("ascii")
    if element.get("length"):
        return f"{element['length']} bytes"
    return f"{len(held or ())} items"


# --- one value ----------------------------------------------------------------------------------------------------

_INT64 = 1 << 63
_DATE_TIME = re.compile(
    r"([0-9]{4})([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?([0-9]{2})?(?:\.([0-9]{1,6}))?([+-][0-9]{4})?", re.ASCII
)
_TIME = re.compile(r"([0-9]{2})([0-9]{2})?([0-9]{2})?(?:\.([0-9]{1,6}))?", re.ASCII)
_DATE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})", re.ASCII)


def _as_text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return name_text(value)
    if isinstance(value, Decimal128):
        return str(value.to_decimal())
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return repr(value)


def _as_double(value: Any) -> float | None:
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Decimal128):
        return float(value.to_decimal())
    number = number_in("DS", value) if isinstance(value, str) else None
    return None if number is None else float(number)


def _whole(value: Any) -> int | None:
    if isinstance(value, Decimal128):
        return int(value.to_decimal())
    if isinstance(value, str):
        value = number_in("IS", value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    return value if isinstance(value, int) else None


def _as_integer(value: Any) -> int | None:
    number = _whole(value)
    return number if number is not None and -_INT64 <= number < _INT64 else None


def _as_unsigned(value: Any) -> int | None:
    number = _whole(value)
    return number if number is not None and 0 <= number < 2 * _INT64 else None


def _of_text(convert: Callable[[str], Any]) -> Callable[[Any], Any]:
    """Return a conversion of texts that is None for all else; days and times recur from file to file."""
    known = lru_cache(maxsize=4096)(convert)
    return lambda value: known(value) if isinstance(value, str) else None


@_of_text
def _as_date(value: str) -> date | None:
    match = _DATE.fullmatch(normalised_date(value) or "")
    try:
        return date(int(match[1]), int(match[2]), int(match[3])) if match else None
    except ValueError:
        return None


@_of_text
def _as_time(value: str) -> time | None:
    """Return a TM (PS3.5 6.2) as the time at which it begins; None for a leap second, which Python has not."""
    match = _TIME.fullmatch(normalised_time(value) or "")
    if match is None or (match[4] and not match[3]):
        return None
    try:
        return time(int(match[1]), int(match[2] or 0), int(match[3] or 0), int((match[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


@_of_text
def _as_timestamp(value: str) -> datetime | None:
    """Return a DT (PS3.5 6.2) as the moment at which it begins: in UTC where it has an offset, else as it is."""
    match = _DATE_TIME.fullmatch(value.strip(" "))
    if match is None or (match[7] and not match[6]):
        return None
    parts = [int(match[place] or smallest) for place, smallest in ((1, 0), (2, 1), (3, 1), (4, 0), (5, 0), (6, 0))]
    micro = int((match[7] or "0").ljust(6, "0"))
    try:
        moment = datetime(*parts, micro)  # type: ignore[arg-type,misc,unused-ignore] # noqa: DTZ001 - as the file has it
        if match[8]:
            offset = timedelta(hours=int(match[8][1:3]), minutes=int(match[8][3:]))
            zone = timezone(-offset if match[8][0] == "-" else offset)
            moment = moment.replace(tzinfo=zone).astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        return None
    return moment


_CONVERT: Mapping[Kind, Callable[[Any], Any]] = {
    Kind.TEXT: _as_text,
    Kind.DOUBLE: _as_double,
    Kind.INTEGER: _as_integer,
    Kind.UNSIGNED: _as_unsigned,
    Kind.DATE: _as_date,
    Kind.TIME: _as_time,
    Kind.TIMESTAMP: _as_timestamp,
}
