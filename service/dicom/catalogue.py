"""What a patient's files say at all: every path of their indexes, with what stands there."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.dictionary import KEYWORD_VRS, vr_of
from service.dicom.paths import text_of_index_key

MAX_PATHS = 50_000
MAX_SHOWN = 20
"""Distinct values of a path that are shown."""

MAX_SHOWN_CHARACTERS = 32_000_000
"""What all shown texts together may have; beyond it paths show fewer values."""


@dataclass(slots=True)
class _Entry:
    files: int = 0
    vrs: dict[str, None] = field(default_factory=dict)
    values: dict[Any, None] = field(default_factory=dict)
    more: bool = False
    least: Any = None
    greatest: Any = None


@dataclass(slots=True)
class Catalogue:
    """The paths of many files, as their indexes are walked one by one; it keeps no file.

    Parameters
    ----------
    beginning : str
        What an index key begins with that is taken.
    complete : bool
        False when there were more than `MAX_PATHS` paths, or an index had left out whole paths.
    """

    beginning: str = ""
    complete: bool = True
    _entries: dict[str, _Entry] = field(default_factory=dict)
    _room: int = MAX_SHOWN_CHARACTERS

    @classmethod
    def of(cls, indexes: Iterable[Mapping[str, Any]], beginning: str = "") -> Catalogue:
        """Walk the indexes of files."""
        made = cls(beginning)
        for index in indexes:
            made.add(index)
        return made

    def add(self, index: Mapping[str, Any]) -> None:
        """Add the index of one file."""
        entries, vrs, cut = self._entries, index["vrs"], set(index["truncated"])
        if "*" in cut:
            self.complete = False
        for key, values in index["tags"].items():
            if not key.startswith(self.beginning):
                continue
            entry = entries.get(key)
            if entry is None:
                if len(entries) >= MAX_PATHS:
                    self.complete = False
                    continue
                entry = entries[key] = _Entry()
            entry.files += 1
            vr = vrs.get(key)
            if vr not in entry.vrs:
                entry.vrs[vr or _dictionary_vr(key)] = None
            if key in cut:
                entry.more = True
            for value in values:
                number = int(value.to_decimal()) if isinstance(value, Decimal128) else value
                if number is not None and number not in entry.values:
                    self._add_value(entry, number)

    def _add_value(self, entry: _Entry, value: Any) -> None:
        if len(entry.values) < MAX_SHOWN and self._room > 0:
            entry.values[value] = None
            self._room -= len(value) if isinstance(value, str) else 1
        else:
            entry.more = True
        if value != value:
            return
        if entry.least is None or (isinstance(entry.least, str) and not isinstance(value, str)):
            entry.least = entry.greatest = value
        elif isinstance(entry.least, str) is isinstance(value, str):
            entry.least, entry.greatest = min(entry.least, value), max(entry.greatest, value)

    def rows(self, limit: int, offset: int) -> tuple[list[dict[str, Any]], bool]:
        """Return the paths by their names, and whether there are more.

        Returns
        -------
        list of dict
            ``path`` (as HTTP has it), ``vrs``, ``files``, ``values`` (the first distinct ones), ``more_values``, and
            the smallest and greatest value: of numbers where there are any, else of texts.
        bool
            Whether paths follow.
        """
        keys = sorted(self._entries)
        return [_row(key, self._entries[key]) for key in keys[offset : offset + limit]], len(keys) > offset + limit


def _row(key: str, entry: _Entry) -> dict[str, Any]:
    return {
        "path": text_of_index_key(key),
        "vrs": sorted(entry.vrs),
        "files": entry.files,
        "values": [_shown(value) for value in entry.values],
        "more_values": entry.more,
        "min": _shown(entry.least),
        "max": _shown(entry.greatest),
    }


def _shown(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _dictionary_vr(key: str) -> str:
    """Return the VR of a path of which the index says none: the dictionary's."""
    last = key.rpartition("/")[2]
    return KEYWORD_VRS.get(last) or (vr_of(int(last, 16)) if len(last) == 8 and ":" not in last else None) or "UN"
