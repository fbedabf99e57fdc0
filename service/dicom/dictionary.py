"""The data dictionary of PS3.6: which keyword, name and VR a tag has, and by which key a document holds it.

A document keys an element by its keyword, because people type it; what has no keyword of its own (private elements,
unknown tags, group lengths, the repeating groups of PS3.5 7.6) is keyed by its eight upper-case hex digits.
"""

from __future__ import annotations

import re
from functools import lru_cache

from pydicom import datadict
from pydicom._dicom_dict import DicomDictionary, RepeatersDictionary

KEYWORD_TAGS: dict[str, int] = {entry[4]: tag for tag, entry in DicomDictionary.items() if entry[4]}
"""Every keyword that names exactly one tag."""

KEYWORD_VRS: dict[str, str] = {entry[4]: entry[0] for entry in DicomDictionary.values() if entry[4]}
"""The VR, as PS3.6 prints it ("US or SS" too), of every keyword that names exactly one tag."""

REPEATING_TAGS: dict[str, int] = {
    entry[4]: int(mask.replace("x", "0"), 16) for mask, entry in RepeatersDictionary.items() if entry[4]
}
"""The keywords of repeating groups, each with the tag in its first group (OverlayRows: 6000,0010)."""

_TAG_KEYS: dict[int, str] = {tag: keyword for keyword, tag in KEYWORD_TAGS.items()}
_HEX_KEY = re.compile(r"[0-9A-F]{8}", re.ASCII)


def element_key(tag: int) -> str:
    """Return the key of an element in a document: its keyword, or its eight hex digits.

    Parameters
    ----------
    tag : int
        The tag as one 32-bit number.

    Returns
    -------
    str
        ``"PatientName"``, ``"00091001"``.
    """
    return _TAG_KEYS.get(tag) or f"{tag:08X}"


def tag_of_key(key: str) -> int:
    """Return the tag of a document's key; the inverse of `element_key`.

    Raises
    ------
    KeyError
        The text is neither a keyword of one tag nor eight upper-case hex digits.
    """
    tag = KEYWORD_TAGS.get(key)
    if tag is not None:
        return tag
    if _HEX_KEY.fullmatch(key):
        return int(key, 16)
    raise KeyError(key)


@lru_cache(maxsize=4096)
def _entry(tag: int) -> tuple[str, str, str, str] | None:
    """Return VR, name, keyword and VM as PS3.6 has them, repeating groups included; None for what it does not list."""
    entry = DicomDictionary.get(tag)
    if entry is None:
        if (tag >> 16) & 1:
            return None
        mask = datadict.mask_match(tag)
        entry = RepeatersDictionary[mask] if mask else None
    return (entry[0], entry[2], entry[4], entry[1]) if entry else None


def keyword_of(tag: int) -> str | None:
    """Return the keyword of a tag, that of a repeating group too; None where PS3.6 has none."""
    entry = _entry(tag)
    return (entry[2] or None) if entry else None


def name_of(tag: int) -> str | None:
    """Return the name that PS3.6 has for a tag; None where it has none."""
    entry = _entry(tag)
    return (entry[1] or None) if entry else None


def may_be_large(tag: int) -> bool:
    """Return whether an element may take many times the memory of others: a sequence, or what PS3.6 does not list."""
    return vr_of(tag) in {None, "SQ", "UN"}


def vr_of(tag: int) -> str | None:
    """Return the VR of a tag as PS3.6 prints it (``"US or SS"`` too); None where it lists none."""
    entry = _entry(tag)
    return entry[0] if entry else None


def vm_of(tag: int) -> str | None:
    """Return the VM of a tag as PS3.6 prints it (``"1-n"``); None where it lists none."""
    entry = _entry(tag)
    return entry[3] if entry else None
