"""The bytes of one value to the typed element of a document (PS3.5 6.2), by VR.

An element is ``{"vr", "Value"}`` with the values as a list, ``{"vr"}`` when it is empty, and has ``raw``, its whole
text, where its numbers alone do not give the text back.
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from typing import Any

from bson.decimal128 import Decimal128

from service.dicom.charset import CharacterSet, Undecodable

TypedElement = dict[str, Any]
Convert = Callable[[bytes], TypedElement]
Spend = Callable[[int], None]

BYTE_VRS = {"OB": 1, "OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8, "UN": 1}
"""The VRs that stay bytes, each with the size of the word that a byte order turns round."""

CODED_TEXT = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})
"""The VRs whose text is decoded by Specific Character Set (PS3.5 6.1.2.3)."""

_ONE_VALUE = frozenset({"LT", "ST", "UT", "UR"})
_LEADING_SPACES = frozenset({"LT", "ST", "UT", "UC", "UR"})
_PAD = " \0"
_INTEGER = re.compile(r"[+-]?[0-9]+", re.ASCII)
_DECIMAL = re.compile(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][+-]?[0-9]+)?", re.ASCII)
_INT64 = 1 << 63
_LONG_LIST = 64
_DECIMAL128_EXPONENT = 0x3040 << 48  # of a whole number, in the upper half of its binary form (IEEE 754-2008 BID)

_NUMBERS = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}

WORDS = BYTE_VRS | {vr: struct.calcsize("=" + layout) for vr, layout in _NUMBERS.items()} | {"AT": 2}
"""The VRs that a byte order touches, each with the size of the word that is turned round."""


class Unconvertible(Exception):
    """A value that is not what its VR says; `element` is what a document keeps of it."""

    def __init__(self, element: TypedElement) -> None:
        super().__init__(element["problem"])
        self.element = element


def _free(_count: int) -> None:
    """Let any list of values pass."""


def converters(charset: CharacterSet, little: bool, spend: Spend = _free) -> dict[str, Convert]:
    """Return the conversion of every VR that has values in a document.

    Parameters
    ----------
    charset : CharacterSet
        Decodes the VRs of `CODED_TEXT`, and stray bytes in the others.
    little : bool
        The byte order of the values.
    spend : callable
        Told how many values a long list has before it is made; it may raise to prevent that.

    Returns
    -------
    dict
        VR -> the conversion of a value's bytes, which raises `Unconvertible`.
    """
    text = ("LO", "SH", "LT", "ST", "UT", "UC", "PN", "AE", "AS", "CS", "DA", "DT", "TM", "UI", "UR")
    found = {vr: _text(vr, charset, spend) for vr in text}
    found |= {vr: _numbers(vr, layout, little, spend) for vr, layout in _NUMBERS.items()}
    found |= {vr: _bytes(vr, size, little) for vr, size in BYTE_VRS.items()}
    found["IS"] = _counted(_integers, spend)
    found["DS"] = _counted(_decimals, spend)
    found["AT"] = _tags(little, spend)
    return found


def to_little(data: bytes, size: int) -> bytes:
    """Turn the words of a big-endian value round; odd bytes at the end stay as they are."""
    if size == 1:
        return data
    whole = len(data) - len(data) % size
    turned = bytearray(data)
    for index in range(size):
        turned[index:whole:size] = data[size - 1 - index : whole : size]
    return bytes(turned)


def _text(vr: str, charset: CharacterSet, spend: Spend) -> Convert:
    """Make the conversion of a VR that is text."""
    is_name = vr == "PN"
    one_value = vr in _ONE_VALUE
    strip = str.rstrip if vr in _LEADING_SPACES else str.strip
    decode = charset.decode

    def convert(data: bytes) -> TypedElement:
        if data.isascii() and b"\x1b" not in data and not is_name:
            text = data.decode("ascii")
            if one_value or "\\" not in text:
                text = strip(text, _PAD)
                return {"vr": vr, "Value": [text]} if text else {"vr": vr}
            return {"vr": vr, "Value": [strip(part, _PAD) or None for part in text.split("\\")]}
        try:
            return element_of(decode(data, is_name))
        except Undecodable as error:
            raise Unconvertible(element_of(error.text) | {"raw": data, "problem": str(error)}) from None

    def element_of(text: str) -> TypedElement:
        parts = [text] if one_value else text.split("\\")
        values = [person_name(part) if is_name else strip(part, _PAD) or None for part in parts]
        return {"vr": vr, "Value": values} if len(values) > 1 or values[0] else {"vr": vr}

    return convert if one_value else _counted(convert, spend)


def _counted(convert: Convert, spend: Spend) -> Convert:
    """Make a conversion that counts the values of long lists first."""

    def counted(data: bytes) -> TypedElement:
        if len(data) > _LONG_LIST:
            count = data.count(b"\\")
            if count > _LONG_LIST:
                spend(count)
        return convert(data)

    return counted


def person_name(text: str) -> dict[str, str] | None:
    """Split a name into its component groups (PS3.5 6.2.1.1, PS3.18 F.2.2); None when it is empty."""
    if "=" not in text:
        text = text.strip(_PAD)
        return {"Alphabetic": text} if text else None
    groups = [group.strip(_PAD) for group in text.split("=", 2)]
    named = zip(("Alphabetic", "Ideographic", "Phonetic"), groups, strict=False)
    return {name: group for name, group in named if group} or None


def _split(data: bytes, vr: str) -> str:
    """Decode the text of a number."""
    try:
        return data.decode("ascii").strip(_PAD)
    except ValueError:
        raise Unconvertible({"vr": vr, "raw": data, "problem": "a number is not written in ASCII"}) from None


def _integers(data: bytes) -> TypedElement:
    """Convert IS. Text such as 2.5E+01 is read as the integer it means, or as the double where it means none."""
    text = _split(data, "IS")
    if not text:
        return {"vr": "IS"}
    values: list[int | float | None] = []
    exact = True
    for part in text.split("\\"):
        value: int | float | None
        if _INTEGER.fullmatch(part):
            value = int(part) if len(part) < 32 else _INT64
            exact = exact and str(value) == part
        else:
            exact = False
            value = _decimal(part, text, "IS") if part.strip(_PAD) else None
            if value is not None and value == int(value):
                value = int(part) if _INTEGER.fullmatch(part.strip(_PAD)) else int(value)
            exact = exact or (value is None and not part)
        if value is not None and not -_INT64 <= value < _INT64:
            raise Unconvertible({"vr": "IS", "raw": text, "problem": "an integer does not fit 64 bits"})
        values.append(value)
    return {"vr": "IS", "Value": values} if exact else {"vr": "IS", "Value": values, "raw": text}


def number_in(vr: str, text: str) -> float | None:
    """Return the number that one value of a DS or IS is; None where it is none, or none that a document can hold."""
    stripped = text.strip(" \0\t\r\n")
    if not _DECIMAL.fullmatch(stripped):
        return None
    if vr == "IS" and _INTEGER.fullmatch(stripped):
        value: float = int(stripped) if len(stripped) < 32 else _INT64
    else:
        value = float(stripped)
        if vr == "IS" and value.is_integer():
            value = int(value)
    if not math.isfinite(value) or (vr == "IS" and not -_INT64 <= value < _INT64):
        return None
    return value


def _decimals(data: bytes) -> TypedElement:
    """Convert DS."""
    text = _split(data, "DS")
    if not text:
        return {"vr": "DS"}
    values: list[float | None] = []
    exact = True
    for part in text.split("\\"):
        if not part:
            values.append(None)
            continue
        value = _decimal(part, text, "DS") if part.strip(_PAD) else None
        exact = exact and repr(value) == part
        values.append(value)
    return {"vr": "DS", "Value": values} if exact else {"vr": "DS", "Value": values, "raw": text}


def _decimal(part: str, text: str, vr: str) -> float:
    """Convert one decimal; `text` is the element's whole text."""
    stripped = part.strip(" \0\t\r\n")
    if _DECIMAL.fullmatch(stripped):
        value = float(stripped)
        if math.isfinite(value):
            return value
    raise Unconvertible({"vr": vr, "raw": text, "problem": "the text is not a number that its VR can hold"})


def _numbers(vr: str, layout: str, little: bool, spend: Spend) -> Convert:
    """Make the conversion of a VR that is binary numbers."""
    order = "<" if little else ">"
    single = struct.Struct(order + layout)
    size, unpack = single.size, single.unpack

    def convert(data: bytes) -> TypedElement:
        length = len(data)
        if length == size:
            values = list(unpack(data))
        elif length % size:
            raise Unconvertible({"vr": vr, "raw": data, "problem": "the length is no multiple of the VR's size"})
        elif not length:
            return {"vr": vr}
        else:
            if length // size > _LONG_LIST:
                spend(length // size)
            values = list(struct.unpack(f"{order}{length // size}{layout}", data))
        if vr == "UV":
            values = [_decimal128(value) if value >= _INT64 else value for value in values]
        return {"vr": vr, "Value": values}

    return convert


def _decimal128(value: int) -> Decimal128:
    """Return an unsigned 64-bit number, which BSON has no integer for."""
    return Decimal128.from_bid(struct.pack("<QQ", value, _DECIMAL128_EXPONENT))


def _bytes(vr: str, size: int, little: bool) -> Convert:
    """Make the conversion of a VR that stays bytes, in little-endian order."""

    def convert(data: bytes) -> TypedElement:
        if not data:
            return {"vr": vr}
        return {"vr": vr, "InlineBinary": data if little else to_little(data, size)}

    return convert


def _tags(little: bool, spend: Spend) -> Convert:
    """Make the conversion of AT: pairs of 16-bit numbers as eight hex digits (PS3.18 F.2.2)."""
    order = "<" if little else ">"

    def convert(data: bytes) -> TypedElement:
        if len(data) % 4:
            raise Unconvertible({"vr": "AT", "raw": data, "problem": "the length is no multiple of the VR's size"})
        if len(data) > 4 * _LONG_LIST:
            spend(len(data) // 4)
        numbers = struct.unpack(f"{order}{len(data) // 2}H", data)
        values = [f"{group:04X}{number:04X}" for group, number in zip(numbers[::2], numbers[1::2], strict=True)]
        return {"vr": "AT", "Value": values} if values else {"vr": "AT"}

    return convert
