"""What is stored of a file, held against what its original gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import bson

from service.commands.difference import Change, compare
from service.dicom.extract import Extraction
from service.dicom.rows import is_same_row
from service.storage.maintenance import Derived


def find_changes(stored: Derived, extraction: Extraction) -> list[Change]:
    """Compare what is stored of a file with what its original gives now.

    Parameters
    ----------
    stored : Derived
        As the database has it.
    extraction : Extraction
        Of the original.
    """
    names = ("tags", "names", "vrs", "truncated", "exact")
    index: Mapping[str, Any] = stored.index or {}
    fields = [name for name in _FIELDS if not _equal(stored.instance.get(name), _field(extraction, name))]
    changes = [Change(f"(instance) {name}", "changed", None, None) for name in fields]
    if stored.row is not None and not is_same_row(stored.row, extraction.row):
        changes.append(Change("(row)", "changed", None, None))
    series = _series_change(stored, extraction)
    if series is not None:
        changes.append(series)
    same_tree = stored.dataset is not None and _equal(stored.dataset, extraction.dataset)
    if not same_tree or any(not _equal(index.get(name), extraction.index[name]) for name in names):
        found = compare((_plain(stored.dataset), _plain(index)), (_plain(extraction.dataset), _plain(extraction.index)))
        changes += found
    return changes


_FIELDS = (
    "study_instance_uid",
    "series_instance_uid",
    "sop_instance_uid",
    "sop_class_uid",
    "transfer_syntax_uid",
    "problems",
    "warnings",
    "truncated_at",
    "spilled",
)


def _field(extraction: Extraction, name: str) -> Any:
    return extraction.identifiers[name] if name in extraction.identifiers else getattr(extraction, name)


def _series_change(stored: Derived, extraction: Extraction) -> Change | None:
    """Compare the attributes of the series, and what its document shows where it shows this instance."""
    same = _equal(stored.series, extraction.series)
    if extraction.series is not None:
        if stored.shown is None:
            return Change("(series)", "added", None, None)
        if stored.shown["original_id"] == stored.instance["original_id"]:
            same = same and _equal(stored.shown["attributes"], extraction.series)
    return None if same else Change("(series)", "changed", None, None)


def _equal(one: Any, other: Any) -> bool:
    """Compare as BSON: 1 and 1.0 are two things there, and NaN is itself."""
    return bson.encode({"": one}) == bson.encode({"": other})


def _plain(document: Any) -> dict[str, Any]:
    return {} if document is None else bson.decode(bson.encode(document))
