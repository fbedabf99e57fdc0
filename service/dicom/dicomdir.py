"""A DICOMDIR (PS3.3 F, PS3.10 8.6) of stored trees, and the file ids of what it lists.

Values are taken from the trees as they are. What a file lacks its record lacks too: nothing is invented.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydicom.datadict import dictionary_VR, tag_for_keyword

from service.dicom.dictionary import tag_of_key

DIRECTORY_CLASS = "1.2.840.10008.1.3.10"
EXPLICIT_LITTLE_ENDIAN = "1.2.840.10008.1.2.1"
UTF_8 = "ISO_IR 192"

IMAGE = "IMAGE"
MAX_VALUE_BYTES = 1 << 16
"""A value of a record that would be longer is left out: records are to be small."""

_STORAGE = "1.2.840.10008.5.1.4.1.1."
_TYPES: Mapping[str, str] = {
    **{_STORAGE + part: "PRESENTATION" for part in ("11.1", "11.2", "11.3", "11.4", "11.5", "11.6", "11.8", "131")},
    **{_STORAGE + part: "REGISTRATION" for part in ("66.1", "66.3")},
    **{_STORAGE + f"78.{part}": "MEASUREMENT" for part in range(1, 9)},
    **{_STORAGE + part: "RT TREAT RECORD" for part in ("481.4", "481.6", "481.7", "481.9")},
    **{_STORAGE + part: "RT PLAN" for part in ("481.5", "481.8")},
    _STORAGE + "4.2": "SPECTROSCOPY",
    _STORAGE + "66": "RAW DATA",
    _STORAGE + "66.2": "FIDUCIAL",
    _STORAGE + "66.5": "SURFACE",
    _STORAGE + "66.6": "TRACT",
    _STORAGE + "67": "VALUE MAP",
    _STORAGE + "77.1.5.3": "STEREOMETRIC",
    _STORAGE + "79.1": "MEASUREMENT",
    _STORAGE + "80.1": "MEASUREMENT",
    _STORAGE + "88.59": "KEY OBJECT DOC",
    _STORAGE + "90.1": "ASSESSMENT",
    _STORAGE + "481.2": "RT DOSE",
    _STORAGE + "481.3": "RT STRUCTURE SET",
    "1.2.840.10008.5.1.4.38.1": "HANGING PROTOCOL",
    "1.2.840.10008.5.1.4.39.1": "PALETTE",
    "1.2.840.10008.5.1.4.43.1": "IMPLANT",
    "1.2.840.10008.5.1.4.44.1": "IMPLANT ASSY",
    "1.2.840.10008.5.1.4.45.1": "IMPLANT GROUP",
}
"""Record types by SOP class (PS3.3 Table F.4-1)."""

_FAMILIES = {
    "9.": "WAVEFORM",
    "68.": "SURFACE SCAN",
    "88.": "SR DOCUMENT",
    "104.": "ENCAP DOC",
}
"""The same where all classes with a beginning are alike."""

AT_TOP = frozenset({"HANGING PROTOCOL", "PALETTE", "IMPLANT", "IMPLANT ASSY", "IMPLANT GROUP"})
"""Records that belong to no patient."""

_CONTENT = ("InstanceNumber", "ContentDate", "ContentTime")
_LABELLED = (*_CONTENT, "ContentLabel", "ContentDescription", "ContentCreatorName")
_KEYS: Mapping[str, tuple[str, ...]] = {
    "PATIENT": ("PatientName", "PatientID"),
    "STUDY": ("StudyDate", "StudyTime", "AccessionNumber", "StudyDescription", "StudyInstanceUID", "StudyID"),
    "SERIES": ("Modality", "?SeriesDescription", "SeriesInstanceUID", "SeriesNumber"),
    IMAGE: ("InstanceNumber",),
    "RT DOSE": ("InstanceNumber", "DoseSummationType"),
    "RT STRUCTURE SET": ("InstanceNumber", "StructureSetLabel", "StructureSetDate", "StructureSetTime"),
    "RT PLAN": ("InstanceNumber", "RTPlanLabel", "RTPlanDate", "RTPlanTime"),
    "RT TREAT RECORD": ("InstanceNumber", "TreatmentDate", "TreatmentTime"),
    "PRESENTATION": (
        "PresentationCreationDate",
        "PresentationCreationTime",
        "InstanceNumber",
        "ContentLabel",
        "ContentDescription",
        "ContentCreatorName",
        "?ReferencedSeriesSequence",
        "?BlendingSequence",
    ),
    "WAVEFORM": _CONTENT,
    "RAW DATA": _CONTENT,
    "SURFACE SCAN": _CONTENT,
    "SR DOCUMENT": (
        *_CONTENT,
        "CompletionFlag",
        "VerificationFlag",
        "?VerificationDateTime",
        "ConceptNameCodeSequence",
        "?ContentSequence",
    ),
    "KEY OBJECT DOC": (*_CONTENT, "ConceptNameCodeSequence", "?ContentSequence"),
    "SPECTROSCOPY": (
        "ImageType",
        *_CONTENT,
        "?ReferencedImageEvidenceSequence",
        "NumberOfFrames",
        "Rows",
        "Columns",
        "DataPointRows",
        "DataPointColumns",
    ),
    "REGISTRATION": _LABELLED,
    "FIDUCIAL": _LABELLED,
    "VALUE MAP": _LABELLED,
    "MEASUREMENT": _LABELLED,
    "SURFACE": _LABELLED,
    "TRACT": _LABELLED,
    "STEREOMETRIC": (),
    "ASSESSMENT": ("InstanceNumber", "InstanceCreationDate", "InstanceCreationTime"),
    "ENCAP DOC": (
        *_CONTENT,
        "DocumentTitle",
        "?HL7InstanceIdentifier",
        "ConceptNameCodeSequence",
        "MIMETypeOfEncapsulatedDocument",
    ),
    "HANGING PROTOCOL": (
        "HangingProtocolName",
        "HangingProtocolDescription",
        "HangingProtocolLevel",
        "HangingProtocolCreator",
        "HangingProtocolCreationDateTime",
        "HangingProtocolDefinitionSequence",
        "NumberOfPriorsReferenced",
        "HangingProtocolUserIdentificationCodeSequence",
    ),
    "PALETTE": ("ContentLabel", "ContentDescription"),
    "IMPLANT": ("Manufacturer", "ImplantName", "?ImplantSize", "ImplantPartNumber"),
    "IMPLANT ASSY": ("ImplantAssemblyTemplateName", "Manufacturer", "ProcedureTypeCodeSequence"),
    "IMPLANT GROUP": ("ImplantTemplateGroupName", "ImplantTemplateGroupIssuer"),
}
"""What each type of record has (PS3.3 F.5); with ``?`` only where the file has a value."""

_UIDS = ("MediaStorageSOPClassUID", "MediaStorageSOPInstanceUID", "TransferSyntaxUID")

RECORD_KEYS: tuple[str, ...] = tuple(
    sorted(
        {key.lstrip("?") for keys in _KEYS.values() for key in keys} - {"ContentSequence", "VerificationDateTime"}
        | {*_UIDS, "SOPClassUID", "SOPInstanceUID", "BitsAllocated", "VerifyingObserverSequence"}
    )
)
"""Keys of a tree that its record is made of, but for an SR document's content, which may be large."""

SR_KEYS = ("ContentSequence",)
"""The further key of an SR document."""

_NUMBERS = {"US": "<H", "SS": "<h", "UL": "<I", "SL": "<i", "FL": "<f", "FD": "<d"}
_TEXTS = frozenset("AE AS CS DA DS DT IS LO LT PN SH ST TM UC UI UR UT".split())  # noqa: SIM905
_LONG = frozenset({"SQ", "UC", "UR", "UT"})

# Where the offsets stand in an item of the directory: behind its own header come (0004,1400), 1410 and 1420.
_NEXT_AT, _LOWER_AT = 16, 38


def record_type(tree: Mapping[str, Any]) -> str | None:
    """Return the type of a file's directory record (PS3.3 F.4); None where there is none for its SOP class.

    Parameters
    ----------
    tree : mapping
        Of the file, at least `RECORD_KEYS`.
    """
    sop_class = text_of(tree, "MediaStorageSOPClassUID")
    if sop_class in _TYPES:
        return _TYPES[sop_class]
    if sop_class.startswith(_STORAGE):
        rest = sop_class.removeprefix(_STORAGE)
        for beginning, name in _FAMILIES.items():
            if rest.startswith(beginning):
                return name
    return IMAGE if "Rows" in tree and "BitsAllocated" in tree else None


def text_of(tree: Mapping[str, Any], key: str) -> str:
    """Return the first value of an element as text; a person name's first group; empty where there is none."""
    values = (tree.get(key) or {}).get("Value") or [""]
    value = values[0]
    if isinstance(value, Mapping):
        return next((str(value[group]) for group in ("Alphabetic", "Ideographic", "Phonetic") if value.get(group)), "")
    return "" if value is None else str(value).strip()


@dataclass(slots=True)
class _Record:
    content: bytearray
    lower: list[_Record] = field(default_factory=list)
    inside: dict[Any, tuple[int, _Record]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """Where a file lies in the file-set.

    Parameters
    ----------
    file_id : tuple of str
        Its components (PS3.10 8.2).
    series : tuple of str
        Those of its series' folder.
    """

    file_id: tuple[str, ...]
    series: tuple[str, ...]


class Directory:
    """The directory of a file-set, while files are added."""

    def __init__(self) -> None:
        self._top = _Record(bytearray())
        self._instances: set[str] = set()

    def add(self, tree: Mapping[str, Any]) -> Placed | None:
        """Add a file's record, and those of its patient, study and series; None where PS3.10 does not allow it.

        Such a file has no file meta information with its SOP class, instance and transfer syntax, a class that has no
        record, no study or series, or the SOP Instance UID of another.
        """
        sop_class, instance, syntax = (text_of(tree, key) for key in _UIDS)
        kind = record_type(tree)
        study, series = text_of(tree, "StudyInstanceUID"), text_of(tree, "SeriesInstanceUID")
        if kind is None or not (sop_class and instance and syntax) or instance in self._instances:
            return None
        if kind not in AT_TOP and not (study and series):
            return None
        self._instances.add(instance)
        folder: tuple[str, ...] = ("DICOM",)
        within = self._top
        if kind not in AT_TOP:
            patient = text_of(tree, "PatientID"), text_of(tree, "PatientName")
            for level, key, letters in (("PATIENT", patient, "PA"), ("STUDY", study, "ST"), ("SERIES", series, "SE")):
                number, within = _find(within, level, key, tree)
                folder = (*folder, f"{letters}{number:06}")
        file_id = (*folder, f"IM{len(within.lower) + 1:06}")
        within.lower.append(
            _Record(
                _record(
                    kind,
                    tree,
                    (
                        (0x00041500, "CS", "\\".join(file_id)),
                        (0x00041510, "UI", sop_class),
                        (0x00041511, "UI", instance),
                        (0x00041512, "UI", syntax),
                    ),
                )
            )
        )
        return Placed(file_id, folder)

    def encode(self, instance_uid: str, file_set_id: str = "") -> bytes:
        """Return the DICOMDIR.

        Parameters
        ----------
        instance_uid : str
            Its own SOP Instance UID.
        file_set_id : str, optional
            A name of up to 16 capitals, digits and underscores.
        """
        meta = b"".join(
            _element(tag, vr, value)
            for tag, vr, value in (
                (0x00020001, "OB", b"\x00\x01"),
                (0x00020002, "UI", _padded(DIRECTORY_CLASS, "UI")),
                (0x00020003, "UI", _padded(instance_uid, "UI")),
                (0x00020010, "UI", _padded(EXPLICIT_LITTLE_ENDIAN, "UI")),
                (0x00020012, "UI", _padded(IMPLEMENTATION_UID, "UI")),
            )
        )
        meta = _element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta
        head = bytes(128) + b"DICM" + meta + _element(0x00041130, "CS", _padded(file_set_id, "CS"))
        # Behind it: both offsets of the root (12 bytes each), the consistency flag (10), the sequence's header (12).
        begin = len(head) + 12 + 12 + 10 + 12
        records: list[_Record] = []
        offsets: dict[int, int] = {}
        at = begin
        for record in _in_order(self._top):
            records.append(record)
            offsets[id(record)] = at
            at += len(record.content)
        for record in (self._top, *records):
            for one, following in zip(record.lower, record.lower[1:], strict=False):
                struct.pack_into("<I", one.content, _NEXT_AT, offsets[id(following)])
            if record.lower and record is not self._top:
                struct.pack_into("<I", record.content, _LOWER_AT, offsets[id(record.lower[0])])
        first, last = (offsets[id(self._top.lower[place])] if self._top.lower else 0 for place in (0, -1))
        return b"".join(
            (
                head,
                _element(0x00041200, "UL", struct.pack("<I", first)),
                _element(0x00041202, "UL", struct.pack("<I", last)),
                _element(0x00041212, "US", b"\x00\x00"),
                struct.pack("<HH2sHI", 0x0004, 0x1220, b"SQ", 0, at - begin),
                *(record.content for record in records),
            )
        )


IMPLEMENTATION_UID = "2.25.190217371026180527036283450285026415731"
"""Implementation Class UID (PS3.7 D.3.3.2) of what this service writes."""


def _find(within: _Record, level: str, key: Any, tree: Mapping[str, Any]) -> tuple[int, _Record]:
    found = within.inside.get(key)
    if found is None:
        record = _Record(_record(level, tree, ()))
        within.lower.append(record)
        found = within.inside[key] = len(within.inside) + 1, record
    return found


def _in_order(record: _Record) -> Iterable[_Record]:
    for each in record.lower:
        yield each
        yield from _in_order(each)


def _record(kind: str, tree: Mapping[str, Any], reference: Sequence[tuple[int, str, str]]) -> bytearray:
    """Encode an item of the Directory Record Sequence, its offsets still 0."""
    head = [
        _element(0x00041400, "UL", bytes(4)),
        _element(0x00041410, "US", b"\xff\xff"),
        _element(0x00041420, "UL", bytes(4)),
        _element(0x00041430, "CS", _padded(kind, "CS")),
        *(_element(tag, vr, _padded(value, vr)) for tag, vr, value in reference),
    ]
    elements: dict[int, bytes] = {}
    for key in _KEYS[kind]:
        name = key.lstrip("?")
        tag, vr = int(tag_for_keyword(name) or 0), dictionary_VR(name)
        value = _encoded(vr, _element_of(tree, name))
        if not value and name == "StudyInstanceUID":
            continue
        if len(value) <= MAX_VALUE_BYTES and (value or not key.startswith("?")):
            elements[tag] = _element(tag, vr, value)
        elif not key.startswith("?"):
            elements[tag] = _element(tag, vr, b"")
    body = b"".join(elements[tag] for tag in sorted(elements))
    charset = b"" if body.isascii() else _element(0x00080005, "CS", _padded(UTF_8, "CS"))
    content = b"".join(head) + charset + body
    return bytearray(struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content)


def _element_of(tree: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """Return the element that a record's key is made of."""
    if name == "VerificationDateTime":  # of the newest verification, where the document is verified
        observers = (tree.get("VerifyingObserverSequence") or {}).get("Value") or []
        times = [text_of(observer, name) for observer in observers]
        return {"Value": [max(times)]} if times and text_of(tree, "VerificationFlag") == "VERIFIED" else {}
    found: Mapping[str, Any] = tree.get(name) or {}
    if name == "ContentSequence":  # PS3.3 F.5.35: what modifies the concept name
        items = found.get("Value") or []
        return {"Value": [item for item in items if text_of(item, "RelationshipType") == "HAS CONCEPT MOD"]}
    return found


def _encoded(vr: str, element: Mapping[str, Any]) -> bytes:
    """Return the bytes of a value; none where it has none that this VR can hold."""
    values = element.get("Value") or []
    if vr == "SQ":
        return b"".join(_item(item) for item in values if isinstance(item, Mapping))
    if vr in _NUMBERS:
        try:
            return b"".join(struct.pack(_NUMBERS[vr], value) for value in values)
        except (struct.error, TypeError):
            return b""
    if vr not in _TEXTS:
        return b""
    text = element.get("raw")
    if not isinstance(text, str) or element.get("raw_encoding"):
        text = "\\".join(_shown(value) for value in values)
    return _padded(text, vr)


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        groups = [str(value.get(group) or "") for group in ("Alphabetic", "Ideographic", "Phonetic")]
        return "=".join(groups).rstrip("=")
    return "" if value is None else str(value)


def _item(item: Mapping[str, Any]) -> bytes:
    """Encode an item of a sequence, in the character set of its record whatever it has in the file (PS3.5 6.1.2.3)."""
    elements: dict[int, bytes] = {}
    for key, element in item.items():
        if key == "SpecificCharacterSet":
            continue
        tag = tag_of_key(key)
        if isinstance(element, Mapping) and (vr := element.get("vr")) in {*_TEXTS, *_NUMBERS, "SQ"}:
            elements[tag] = _element(tag, vr, _encoded(vr, element))
    content = b"".join(elements[tag] for tag in sorted(elements))
    return struct.pack("<HHI", 0xFFFE, 0xE000, len(content)) + content


def _element(tag: int, vr: str, value: bytes) -> bytes:
    name = vr.encode("ascii")
    if vr in _LONG or vr == "OB":
        return struct.pack("<HH2sHI", tag >> 16, tag & 0xFFFF, name, 0, len(value)) + value
    if len(value) > 0xFFFE:
        value = b""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, name, len(value)) + value


def _padded(text: str, vr: str) -> bytes:
    value = text.encode("utf-8", "replace")
    return value + (b"\x00" if vr == "UI" else b" ") if len(value) % 2 else value
