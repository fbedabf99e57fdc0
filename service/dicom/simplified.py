"""A tag as the simplified JSON of the HTTP interface has it: one object that says everything about one element."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping, Sequence
from functools import lru_cache
from math import isfinite
from operator import itemgetter
from typing import Any

import msgspec
from bson.decimal128 import Decimal128
from pydicom import datadict

from service.dicom.dictionary import keyword_of, name_of, tag_of_key
from service.dicom.private import creator_of, is_private_creator

_FLOATS = frozenset(("DS", "FD", "FL"))
_OF_A_SEQUENCE = frozenset(("vr", "problem", "items", "spilled"))
_SHOWN_OTHERWISE = _FLOATS | {"PN", "UV"}

REMEMBERED_KEYS = 512
"""Elements of an item at most whose order is remembered: items of a sequence, and slices, mostly have the same."""


class _Plain(msgspec.Struct, gc=False):
    """What `simplify_element` gives for an element that is a VR and values."""

    tag: str
    group_id: str
    element_id: str
    keyword: str | None
    name: str | None
    vr: str
    vm: int
    value: Any


class _WithText(_Plain, gc=False):
    """The same for one that has the file's own text beside its values."""

    raw: str


class _Private(_Plain, gc=False):
    """The same for a private element."""

    creator: str


_Head = tuple[str, str, str, str | None, str | None]
_encode = msgspec.json.Encoder(enc_hook=int).encode  # the driver has a class of its own for numbers of 64 bits


def simplify_element(tag: int, element: Mapping[str, Any], creator: str | None = None) -> dict[str, Any]:
    """Describe one element.

    Parameters
    ----------
    tag : int
        Its tag.
    element : Mapping
        The element of a tree.
    creator : str, optional
        Its private creator, if it has one.

    Returns
    -------
    dict
        ``tag``, ``group_id``, ``element_id`` (hex), ``keyword`` and ``name`` (null where no dictionary has one),
        ``vr``, ``vm`` (the number of values; 1 for a sequence, whatever its items, PS3.5 6.4) and ``value``: null when
        empty, a scalar for one value, else a list; for a sequence always a list of items, each a list of such objects.
        Beside them, where it applies: ``creator``; ``length`` (of bytes that are not shown); ``raw`` (the file's own
        text or bytes, where the number loses the text, or there is a ``problem``); ``problem``; ``encoding``
        (``base64``: the value is bytes, or, where it is null, ``raw`` is); ``raw_encoding`` (the same for ``raw``
        beside a value that is text); ``spilled`` (left in the original), of a sequence with its number of ``items``.
        Numbers that are not finite are the texts NaN, Infinity and -Infinity. It can be written as JSON as it is.
    """
    hex_tag, keyword, name = _known(tag)
    vr = element["vr"]
    described: dict[str, Any] = {
        "tag": hex_tag,
        "group_id": hex_tag[:4],
        "element_id": hex_tag[4:],
        "keyword": keyword,
        "name": name,
        "vr": vr,
        "vm": 1,
        "value": None,
    }
    if creator is not None:
        described["creator"] = creator
        described["name"] = _private_name(tag, creator)
    values = element.get("Value")
    if vr == "SQ" and (values or element.keys() <= _OF_A_SEQUENCE):
        described["value"] = [simplify_dataset(item) for item in values or ()]
    elif values:
        shown = _values(vr, values) if vr in _SHOWN_OTHERWISE else values
        if len(values) == 1:
            described["value"] = shown[0]
        else:
            described["vm"] = len(values)
            described["value"] = list(shown)
    else:
        _describe_without_value(element, described)
    if not values or len(element) > 2:  # most elements are a VR and a value
        raw = element.get("raw")
        if raw is not None:
            if isinstance(raw, bytes):
                described["raw_encoding" if values else "encoding"] = "base64"
                raw = b64encode(raw).decode("ascii")
            described["raw"] = raw
        if "problem" in element:
            described["problem"] = element["problem"]
        if element.get("spilled"):
            described["spilled"] = True
            if vr == "SQ":
                described.update(value=None, items=element.get("items", 0))
    return described


def simplify_dataset(dataset: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Describe every element of a tree or an item, by ascending tag, with all that is below it."""
    elements = [(_tag(key), element) for key, element in dataset.items()]
    elements.sort(key=itemgetter(0))
    return [
        simplify_element(tag, element, creator_of(dataset, tag) if tag & 0x10000 else None) for tag, element in elements
    ]


def simplified_json(dataset: Mapping[str, Any]) -> bytes:
    """Return what `simplify_dataset` gives as JSON. A large tree is mostly plain elements; they cost a third here."""
    return _encode(_describe(dataset))


def _describe(dataset: Mapping[str, Any]) -> list[Any]:
    keys = tuple(dataset)
    described: list[Any] = []
    for tag, key, head in _in_order_again(keys) if len(keys) <= REMEMBERED_KEYS else _in_order(keys):
        element = dataset[key]
        vr, values, size = element["vr"], element.get("Value"), len(element)
        creator = creator_of(dataset, tag) if tag & 0x10000 else None
        has_text = size == 3 and creator is None and isinstance(element.get("raw"), str)
        if not values or vr in ("PN", "UV") or not (size == 2 or has_text):
            described.append(simplify_element(tag, element, creator))
            continue
        count = len(values)
        if vr == "SQ":
            count, shown = 1, [_describe(item) for item in values]
        else:
            shown = _values(vr, values) if vr in _FLOATS and not _all_finite(values) else values
            if count == 1:
                shown = shown[0]
        if creator is not None:
            described.append(_Private(*head[:4], _private_name(tag, creator), vr, count, shown, creator))
        elif has_text:
            described.append(_WithText(*head, vr, count, shown, element["raw"]))
        else:
            described.append(_Plain(*head, vr, count, shown))
    return described


def _all_finite(values: Sequence[float | None]) -> bool:
    return all(value is None or value - value == 0 for value in values)


def _in_order(keys: tuple[str, ...]) -> list[tuple[int, str, _Head]]:
    """Return the keys of an item by ascending tag, each with what is told of its tag."""
    found: list[tuple[int, str, _Head]] = []
    for key in keys:
        tag = _tag(key)
        hex_tag, keyword, name = _known(tag)
        found.append((tag, key, (hex_tag, hex_tag[:4], hex_tag[4:], keyword, name)))
    found.sort(key=itemgetter(0))
    return found


_in_order_again = lru_cache(128)(_in_order)


def _describe_without_value(element: Mapping[str, Any], described: dict[str, Any]) -> None:
    """Describe what is empty, bytes, left in the original, or could not be converted."""
    held = element.get("InlineBinary")
    raw = element.get("raw")
    if held:
        described["value"] = b64encode(held).decode("ascii")
        described["encoding"] = "base64"
    elif element.get("length"):
        described["length"] = element["length"]
    elif raw:
        described["vm"] = raw.count("\\") + 1 if isinstance(raw, str) else 1
    else:
        described["vm"] = 0


def _values(vr: str, values: Sequence[Any]) -> list[Any]:
    if vr == "PN":
        return [name_text(value) if value else None for value in values]
    if vr in _FLOATS:
        return [value if value is None or isfinite(value) else _word(value) for value in values]
    return [int(value.to_decimal()) if isinstance(value, Decimal128) else value for value in values]


def name_text(value: Mapping[str, str]) -> str:
    """Return a person name with its component groups in one text (PS3.5 6.2.1.1)."""
    groups = (value.get("Alphabetic", ""), value.get("Ideographic", ""), value.get("Phonetic", ""))
    return "=".join(groups).rstrip("=") if len(value) > 1 or not groups[0] else groups[0]


def _word(value: float) -> str:
    return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"


_tag = lru_cache(maxsize=16384)(tag_of_key)


@lru_cache(maxsize=16384)
def _known(tag: int) -> tuple[str, str | None, str | None]:
    name = name_of(tag)
    if name is None:
        if is_private_creator(tag):
            name = "Private Creator"
        elif not tag & 0xFFFF:
            name = "Group Length"
    return f"{tag:08X}", keyword_of(tag), name


@lru_cache(maxsize=4096)
def _private_name(tag: int, creator: str) -> str | None:
    """Return the name that pydicom's private dictionary has for an element, None where it has none."""
    try:
        return datadict.private_dictionary_description(tag, creator) or None
    except KeyError:
        return None
