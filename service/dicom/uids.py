"""The UIDs by which an instance is found and described, as far as what a file has in their place can be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MAX_IDENTIFIER = 256
"""Characters of what still counts as an identifier; PS3.5 9.1 has 64, and files pass it."""

_UID = re.compile(r"(?=[0-9.]{1,64}\Z)(0|[1-9][0-9]*)(\.(0|[1-9][0-9]*))*", re.ASCII)
_IDENTIFIER = re.compile(rf"(?!\.{{1,2}}\Z)[ -~]{{1,{MAX_IDENTIFIER}}}", re.ASCII)
_NAMES = {
    "study_instance_uid": "StudyInstanceUID",
    "series_instance_uid": "SeriesInstanceUID",
    "sop_instance_uid": "SOPInstanceUID",
    "sop_class_uid": "SOPClassUID",
}
_IN_FILE_META = {"SOPInstanceUID": "MediaStorageSOPInstanceUID", "SOPClassUID": "MediaStorageSOPClassUID"}

IDENTIFIER_KEYWORDS = (*_NAMES.values(), *_IN_FILE_META.values(), "TransferSyntaxUID")
"""The elements that `identifiers_of` looks at."""


def is_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 9.1): at most 64 characters, numbers without leading zeros between dots."""
    return _UID.fullmatch(text) is not None


def identifiers_of(dataset: Mapping[str, Any]) -> dict[str, str | None]:
    """Return the UIDs by which an instance is found and described; those of its file meta where the data set has none.

    Parameters
    ----------
    dataset : Mapping
        The tree by keyword or hex, the file meta in it. What stands there stays as the file has it.

    Returns
    -------
    dict
        ``study_instance_uid``, ``series_instance_uid``, ``sop_instance_uid``, ``sop_class_uid``: text, or None.
        Leading zeros, letters and too many digits are met in real files, which must stay findable, so only what cannot
        be put into a path or a header is no identifier: control characters, what is not ASCII, a path's own ``.`` and
        ``..``, and more than `MAX_IDENTIFIER` characters. ``transfer_syntax_uid``: what is no UID names no
        transfer syntax (PS3.5 A), so it is None.
    """
    found: dict[str, str | None] = {
        name: _identifier(dataset, keyword) or _identifier(dataset, _IN_FILE_META.get(keyword, ""))
        for name, keyword in _NAMES.items()
    }
    found["transfer_syntax_uid"] = transfer_syntax_of(dataset)
    return found


def transfer_syntax_of(dataset: Mapping[str, Any]) -> str | None:
    """Return the Transfer Syntax UID of a tree; None where there is none, or what is there is no UID (PS3.5 9.1)."""
    text = _text(dataset, "TransferSyntaxUID")
    return text if is_uid(text) else None


def _identifier(dataset: Mapping[str, Any], keyword: str) -> str | None:
    text = _text(dataset, keyword)
    return text if _IDENTIFIER.fullmatch(text) else None


def _text(dataset: Mapping[str, Any], keyword: str) -> str:
    """Return the first value of an element without its padding, where it is text."""
    values = (dataset.get(keyword) or {}).get("Value")
    value = values[0] if values else None
    return value.strip(" \0") if isinstance(value, str) else ""
