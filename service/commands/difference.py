"""What differs between two extractions of one file, path by path.

A person who looks at it wants to know what a change of the extractor does. Values of patients must not come up on the
way: an example shows a value only where the element's VR and place say that it holds none.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import bson

from service.dicom.dictionary import KEYWORD_VRS, element_key, tag_of_key
from service.dicom.paths import private_element_key
from service.dicom.private import creator_of

EXAMPLES = 3
MAX_PATHS = 20_000
MAX_SHOWN = 60
"""Characters of a value in an example."""

HIDDEN = "(not shown)"

_SHOWN_VRS = frozenset({"AT", "CS", "DS", "FD", "FL", "IS", "SH", "LO", "SL", "SS", "SV", "UL", "US", "UV", "SQ"})
_SHOWN_BYTES = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_SHOWN_GROUPS = frozenset({0x0002, 0x0008, 0x0018, 0x0020, 0x0028, 0x0054, 0x3004, 0x300A, 0x5200, 0x7FE0})
_TELLING = re.compile(r"Patient|Name|ID(?![a-z])|UID|Identif|Number|Address|Phone|Institution|Physician|Descri|Comment")


@dataclass(frozen=True, slots=True)
class Change:
    """One path that differs.

    Parameters
    ----------
    path : str
        As in the tag index.
    kind : str
        ``added``, ``removed`` or ``changed``.
    old, new : str or None
        What stands there, shortened, or that it is not shown; None where it is not there.
    """

    path: str
    kind: str
    old: str | None
    new: str | None


@dataclass
class Tally:
    """The differences of many files, counted by path.

    Parameters
    ----------
    paths : dict
        Path to ``{"added", "removed", "changed": files, "examples": [...]}``.
    files : int
        How many files differ.
    """

    paths: dict[str, dict[str, Any]] = field(default_factory=dict)
    files: int = 0

    def add(self, dicom_id: str, changes: Sequence[Change]) -> None:
        """Count the changes of one file."""
        self.files += bool(changes)
        for change in changes:
            if change.path not in self.paths and len(self.paths) >= MAX_PATHS:
                continue
            entry = self.paths.setdefault(change.path, {"added": 0, "removed": 0, "changed": 0, "examples": []})
            entry[change.kind] += 1
            if len(entry["examples"]) < EXAMPLES:
                entry["examples"].append({"dicom_id": dicom_id, "old": change.old, "new": change.new})


def compare(
    old: tuple[Mapping[str, Any] | None, Mapping[str, Any]], new: tuple[Mapping[str, Any], Mapping[str, Any]]
) -> list[Change]:
    """Compare two pairs of a tree and its index.

    Parameters
    ----------
    old, new : tuple of Mapping
        The dataset (None: there is none) and the tag index's ``tags``, ``names``, ``vrs``, ``truncated``, ``exact``.

    Returns
    -------
    list of Change
        Empty where everything is the same, down to the types and the order of values.
    """
    before, after = flatten(old[0] or {}), flatten(new[0])
    tags_before, tags_after = _indexed(old[1]), _indexed(new[1])
    changes = []
    for path in sorted({*before, *after, *tags_before, *tags_after}):
        was, now = (before.get(path), tags_before.get(path)), (after.get(path), tags_after.get(path))
        if was == (None, None):
            changes.append(Change(path, "added", None, _shown(path, now[0])))
        elif now == (None, None):
            changes.append(Change(path, "removed", _shown(path, was[0]), None))
        elif not _same(was, now):
            changes.append(Change(path, "changed", _shown(path, was[0]), _shown(path, now[0])))
    return changes


def flatten(dataset: Mapping[str, Any]) -> dict[str, list[Mapping[str, Any]]]:
    """Return the elements of a tree by their path in the tag index, those of all items in order."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    _flatten(dataset, "", found)
    return found


def _flatten(level: Mapping[str, Any], prefix: str, found: dict[str, list[Mapping[str, Any]]]) -> None:
    for key, element in level.items():
        path = prefix + _step(level, key)
        values = element.get("Value")
        if element.get("vr") == "SQ" and values is not None:
            found.setdefault(path, []).append({"vr": "SQ", "items": len(values)})
            for item in values:
                _flatten(item, path + "/", found)
        else:
            found.setdefault(path, []).append(element)


def _step(level: Mapping[str, Any], key: str) -> str:
    if key in KEYWORD_VRS:
        return key
    tag = int(key, 16)
    creator = creator_of(level, tag)
    return key if creator is None else private_element_key(creator, tag)


def _indexed(index: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the index says of each path."""
    truncated = set(index.get("truncated") or ())
    names, vrs, exact = (index.get(name) or {} for name in ("names", "vrs", "exact"))
    return {
        path: [values, names.get(path), vrs.get(path), path in truncated, path in exact, exact.get(path)]
        for path, values in (index.get("tags") or {}).items()
    }


def _same(one: Any, other: Any) -> bool:
    # As BSON: 1 and 1.0 are two things there, and NaN is itself.
    return (one == other and repr(one) == repr(other)) or bson.encode({"": one}) == bson.encode({"": other})


def _shown(path: str, elements: Sequence[Mapping[str, Any]] | None) -> str | None:
    if elements is None:
        return "(in the index only)"
    first = elements[0]
    vr = first.get("vr")
    more = f" and {len(elements) - 1} more" if len(elements) > 1 else ""
    if vr == "SQ":
        return f"SQ, {first.get('items', 0)} items{more}"
    if vr in _SHOWN_BYTES:
        return f"{vr}, {first.get('length', len(first.get('InlineBinary') or b''))} bytes{more}"
    if vr not in _SHOWN_VRS or not _may_show(path):
        return f"{vr} {HIDDEN}{more}"
    value = first.get("Value", first.get("raw", ""))
    text = str(list(value) if isinstance(value, list) else value)
    return f"{vr} {text if len(text) <= MAX_SHOWN else text[:MAX_SHOWN] + '…'}{more}"


def _may_show(path: str) -> bool:
    """Return whether every step of a path is a public element of a kind that names nobody."""
    for step in path.split("/"):
        if step not in KEYWORD_VRS or _TELLING.search(step):
            return False
        if tag_of_key(step) >> 16 not in _SHOWN_GROUPS or KEYWORD_VRS[step] in {"PN", "DA", "DT", "TM", "UI"}:
            return False
    return element_key(tag_of_key(path.rpartition("/")[2])) in KEYWORD_VRS
