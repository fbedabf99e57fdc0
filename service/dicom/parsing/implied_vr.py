"""The VR of an element whose file does not say it: implicit VR, and UN in explicit VR (PS3.5 6.2.2, 7.1.3)."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pydicom._dicom_dict import DicomDictionary
from pydicom._private_dict import private_dictionaries

from service.dicom.dictionary import vr_of
from service.dicom.limits import Readable
from service.dicom.parsing.raw import Element

TAG_VRS: dict[int, str] = {tag: entry[0] for tag, entry in DicomDictionary.items() if tag >> 16 != 0xFFFE}
"""The VR of every tag that PS3.6 lists singly, as it prints it: "US or SS" too."""

_PRIVATE_SPELLINGS = {"OB_OW": "OB or OW"}
_EMPTY_CHOICES = {"US or SS": "US", "OB or OW": "OW", "US or OW": "US", "US or SS or OW": "US"}
_PIXEL_REPRESENTATION = 0x00280103
_CURVE_DATA = 0x50003000


def standard_vr(tag: int) -> str | None:
    """Return the VR that the Standard has for a tag of an even group, or for any group length (PS3.5 7.2)."""
    vr = TAG_VRS.get(tag)
    if vr is None:
        if not tag & 0xFFFF:
            return "UL"
        vr = vr_of(tag)
    return None if vr == "NONE" else vr


@lru_cache(maxsize=8192)
def private_vr(tag: int, creator: str) -> str | None:
    """Return the VR that a private creator's dictionary has for a tag.

    Parameters
    ----------
    tag : int
        The tag, in whatever block the file reserved.
    creator : str
        The private creator, without padding.
    """
    entries = private_dictionaries.get(creator)
    if not entries:
        return None
    group, number = f"{tag >> 16:04X}", f"{tag & 0xFFFF:04X}"
    for key in (group + number, f"{group}xx{number[2:]}", f"{group[:2]}xxxx{number[2:]}"):
        if key in entries:
            vr = entries[key][0]
            return _PRIVATE_SPELLINGS.get(vr, vr)
    return None


def settled_vr(tag: int, vr: str, length: int, levels: Iterable[tuple[list[Element], bool]], buffer: Readable) -> str:
    """Return one VR of those that the dictionary leaves open (PS3.5 A.1, PS3.3 C.7.6.3.1).

    Parameters
    ----------
    tag : int
        The element.
    vr : str
        What the reader found, such as "US or SS".
    length : int
        Bytes of the value.
    levels : iterable of (list of Element, bool)
        The elements of the data set or item that it is in, and of those around it, from within; and whether their
        values are little endian.
    buffer : bytes or mmap
        Where the values are.
    """
    if " or " not in vr:
        return vr
    if not length:
        return _EMPTY_CHOICES.get(vr, vr)
    if " or OW" in vr:
        return "OB" if tag & 0xFF00FFFF == _CURVE_DATA else "OW"
    for level, little in levels:
        for other, _, start, size, _payload in level:
            if other == _PIXEL_REPRESENTATION and size >= 2:
                signed = int.from_bytes(buffer[start : start + 2], "little" if little else "big") == 1
                return "SS" if signed else "US"
    return "US"
