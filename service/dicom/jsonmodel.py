"""A tree as the DICOM JSON Model has it (PS3.18 Annex F)."""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from math import isfinite
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.dictionary import KEYWORD_TAGS, vr_of
from service.dicom.paths import BelowSpilled
from service.dicom.values import number_in

MAX_INLINE = 1024
"""Bytes that stand in the JSON as base64; what is longer is asked for by its BulkDataURI."""

REMEMBERED_KEYS = 512
"""Elements of an item at most whose order is remembered: items of a sequence, and slices, mostly have the same."""

MAX_EXACT_INTEGER = 2**53
"""The largest integer up to which readers of JSON that know doubles only are right."""

_HEX = {keyword: f"{tag:08X}" for keyword, tag in KEYWORD_TAGS.items()}
_AS_THEY_ARE = frozenset(
    ("AE", "AS", "AT", "CS", "DA", "DT", "LO", "LT", "SH", "SL", "SS", "ST", "TM", "UC", "UI", "UL", "UR", "US", "UT")
)
_TAKEN_AS_THEY_COME = frozenset(
    (None, "AE", "AS", "CS", "DA", "DT", "LO", "LT", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT")
)
"""The VRs of the dictionary for which a reader can take any bytes; None is a tag that it does not know."""

_BYTES = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "UN"))
_ONE_TEXT = frozenset(("LT", "ST", "UR", "UT"))
_UTF_8 = {"vr": "CS", "Value": ["ISO_IR 192"]}
_PADDING = " \0"
_SURE_DIGITS = 15
"""A decimal text of so few characters is the value of the double nearest to it, whatever its spelling."""


def dicom_json(dataset: Mapping[str, Any], bulk_data_uri: Callable[[str], str]) -> dict[str, Any]:
    """Write a tree as a DICOM JSON Model object.

    Parameters
    ----------
    dataset : Mapping
        The whole tree by keyword or hex, nothing of it left in the original.
    bulk_data_uri : callable
        Gives the URI for a tag path, as ``PixelData`` or ``WaveformSequence[0].WaveformData``. The path has item
        numbers from 0 and is not yet percent-encoded.

    Returns
    -------
    dict
        By ascending tag, ready for a JSON encoder that refuses NaN: no group lengths and no group 0002 (PS3.18 F.2.2),
        an empty element without `Value` (F.2.5), SV and UV as text where a double has another value (F.2.3), Specific
        Character Set as that of the JSON itself, UTF-8. A DS or IS is a number where a double has the value of its
        text, and else that text, each value by itself: `[0.66, "0,5"]`. Bytes over 1 KiB, and FL and FD that are not
        finite, which JSON has no numbers for, are a `BulkDataURI`. What has a binary VR and could not be converted is
        UN.

    Notes
    -----
    Readers that know the tag take the VR of the dictionary for a UN, and stumble over the whole data set when its bytes
    are no such value; pydicom's `from_json` is one. So bytes that cannot be converted are a `BulkDataURI` where the
    dictionary expects numbers or items, and inline elsewhere.

    Raises
    ------
    BelowSpilled
        The tree has left a sequence in the original.
    """
    return _object(dataset, "", bulk_data_uri)


def bulk_data(element: Mapping[str, Any]) -> bytes | None:
    """Return the bytes behind a `BulkDataURI` of `dicom_json`, little-endian; None where only the original has them."""
    held = element.get("InlineBinary", element.get("raw"))
    if isinstance(held, str) and not element.get("Value"):
        return held.encode()
    if isinstance(held, bytes):
        return held
    code = {"FL": "f", "FD": "d"}.get(element["vr"])
    values = element.get("Value")
    return struct.pack(f"<{len(values)}{code}", *values) if code and values else None


def _object(dataset: Mapping[str, Any], prefix: str, bulk_data_uri: Callable[[str], str]) -> dict[str, Any]:
    written: dict[str, Any] = {}
    keys = tuple(dataset)
    for tag, key in _in_order_again(keys) if len(keys) <= REMEMBERED_KEYS else _in_order(keys):
        element = dataset[key]
        vr = element["vr"]
        if vr in _AS_THEY_ARE and tag != "00080005" and (values := element.get("Value")):  # nearly all of them
            written[tag] = {"vr": vr, "Value": values}
        else:
            written[tag] = _UTF_8 if tag == "00080005" else _element(tag, element, prefix + key, bulk_data_uri)
    return written


def _in_order(keys: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return the keys that are attributes by ascending tag, each behind its tag in hex."""
    # Besides group lengths and file meta: delimiters astray are no attributes (PS3.5 7.5).
    elements = sorted((_HEX.get(key) or key, key) for key in keys)
    return [each for each in elements if not (each[0].endswith("0000") or each[0].startswith(("0002", "FFFE")))]


_in_order_again = lru_cache(128)(_in_order)


def _element(tag: str, element: Mapping[str, Any], path: str, bulk_data_uri: Callable[[str], str]) -> dict[str, Any]:
    vr = element["vr"]
    values = element.get("Value")
    if values:
        if vr == "SQ":
            items = [_object(item, f"{path}[{number}].", bulk_data_uri) for number, item in enumerate(values)]
            return {"vr": vr, "Value": items}
        if vr == "PN":
            return {"vr": vr, "Value": [dict(value) if value else None for value in values]}
        if vr in ("DS", "IS"):
            return {"vr": vr, "Value": _decimals(values, element.get("raw"))}
        if vr in ("FL", "FD"):
            return {"vr": vr, "Value": values} if all(map(isfinite, values)) else _bulk(vr, path, bulk_data_uri)
        return {"vr": vr, "Value": _integers(values)}
    if vr == "SQ" and element.get("spilled"):
        raise BelowSpilled
    if element.get("length"):
        return _bulk("UN" if "problem" in element and vr not in _BYTES else vr, path, bulk_data_uri)
    held = element.get("InlineBinary")
    if held:
        return _bulk(vr, path, bulk_data_uri) if len(held) > MAX_INLINE else _inline(vr, held)
    raw = element.get("raw")
    if not raw:
        return {"vr": vr}
    if isinstance(raw, str):
        return {"vr": vr, "Value": _texts(vr, raw)}
    if len(raw) > MAX_INLINE or vr_of(int(tag, 16)) not in _TAKEN_AS_THEY_COME:
        return _bulk("UN", path, bulk_data_uri)
    return _inline("UN", raw)


def _bulk(vr: str, path: str, bulk_data_uri: Callable[[str], str]) -> dict[str, Any]:
    return {"vr": vr, "BulkDataURI": bulk_data_uri(path)}


def _inline(vr: str, value: bytes) -> dict[str, Any]:
    return {"vr": vr, "InlineBinary": b64encode(value).decode("ascii")}


def _decimals(values: Sequence[Any], raw: Any) -> list[Any]:
    """Return DS or IS as numbers, and as text where the text has another value than its number."""
    if not isinstance(raw, str):
        return [value if _says_the_same(None, value) else repr(value) for value in values]
    texts = raw.split("\\")
    if len(texts) != len(values):
        return list(values)
    return [
        value if _says_the_same(text, value) else (text or repr(value)).strip(_PADDING)
        for text, value in zip(texts, values, strict=True)
    ]


def _says_the_same(text: str | None, value: Any) -> bool:
    """Return whether a reader who takes the number for a double has the value that the file's text has."""
    if value is None:
        return True
    if not isfinite(value) or (abs(value) > MAX_EXACT_INTEGER and isinstance(value, int)):
        return False
    if text is None:
        return True
    text = text.strip(_PADDING)
    if len(text) <= _SURE_DIGITS:
        return True
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:
        return False


def _texts(vr: str, raw: str) -> list[Any]:
    """Divide a text that could not be converted by its VR into values."""
    if vr in _ONE_TEXT:
        return [raw]
    texts = [text.strip(_PADDING) or None for text in raw.split("\\")]
    if vr == "PN":
        return [_person_name(text) if text else None for text in texts]
    if vr in ("DS", "IS"):
        return [text and _number_or_text(vr, text) for text in texts]
    return texts


def _number_or_text(vr: str, text: str) -> float | str:
    value = number_in(vr, text)
    return text if value is None or not _says_the_same(text, value) else value


def _person_name(text: str) -> dict[str, str]:
    groups = zip(("Alphabetic", "Ideographic", "Phonetic"), text.split("=", 2), strict=False)
    return {name: group for name, group in groups if group}


def _integers(values: Sequence[Any]) -> list[Any]:
    """Return SV or UV as numbers, or all as text where a double would not hold one of them."""
    numbers = [int(value.to_decimal()) if isinstance(value, Decimal128) else value for value in values]
    if any(isinstance(value, int) and abs(value) > MAX_EXACT_INTEGER for value in numbers):
        return [None if value is None else str(value) for value in numbers]
    return numbers
