"""The study- and series-level attributes of an instance, which lists of studies and series show."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

STUDY_KEYWORDS = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "NameOfPhysiciansReadingStudy",
    "AdmittingDiagnosesDescription",
    "PatientName",
    "PatientID",
    "IssuerOfPatientID",
    "PatientBirthDate",
    "PatientBirthTime",
    "PatientSex",
    "OtherPatientIDs",
    "PatientAge",
    "PatientSize",
    "PatientWeight",
    "EthnicGroup",
    "Occupation",
    "AdditionalPatientHistory",
    "PatientComments",
    "StudyInstanceUID",
    "StudyID",
    "RequestingPhysician",
    "RequestedProcedureDescription",
)
"""PS3.18 Table 10.6.3-3 (what a search for studies returns), and the optional study keys of PS3.4 Table C.6-5."""

SERIES_KEYWORDS = (
    "Modality",
    "SeriesDate",
    "SeriesTime",
    "Manufacturer",
    "InstitutionName",
    "InstitutionalDepartmentName",
    "StationName",
    "SeriesDescription",
    "PerformingPhysicianName",
    "OperatorsName",
    "ManufacturerModelName",
    "DeviceSerialNumber",
    "SoftwareVersions",
    "BodyPartExamined",
    "ProtocolName",
    "PatientPosition",
    "ContrastBolusAgent",
    "SeriesInstanceUID",
    "SeriesNumber",
    "Laterality",
    "FrameOfReferenceUID",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
    "PerformedProcedureStepID",
    "PerformedProcedureStepDescription",
    "RequestAttributesSequence",
)
"""PS3.18 Table 10.6.3-4 (what a search for series returns), and what viewers show beside it."""

ITEM_KEYWORDS: dict[str, tuple[str, ...]] = {
    "RequestAttributesSequence": (
        "AccessionNumber",
        "StudyInstanceUID",
        "RequestedProcedureDescription",
        "ScheduledProcedureStepDescription",
        "ScheduledProcedureStepID",
        "RequestedProcedureID",
    ),
    "IssuerOfAccessionNumberSequence": ("LocalNamespaceEntityID", "UniversalEntityID", "UniversalEntityIDType"),
    "ProcedureCodeSequence": ("CodeValue", "CodingSchemeDesignator", "CodingSchemeVersion", "CodeMeaning"),
}
"""What is kept of the items of a sequence."""

MAX_ITEMS = 100
MAX_VALUES = 100
MAX_CHARACTERS = 2048
"""Of one element. These are identifiers and short descriptions: something longer is a fault of the file, and no list
shows it."""

_IDENTIFIERS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
_IN_FILE_META = {"SOPInstanceUID": "MediaStorageSOPInstanceUID"}


def series_elements(dataset: Mapping[str, Any]) -> dict[str, Any] | None:
    """Select the elements of a tree that describe its study and its series.

    Parameters
    ----------
    dataset : Mapping
        The tree, by keyword or hex.

    Returns
    -------
    dict or None
        Keyword to element, as the tree has it; of sequences the identifying part of their items. None for an instance
        without Study, Series and SOP Instance UID, which belongs to no series.
    """
    if not all(
        _has_text(dataset.get(keyword)) or _has_text(dataset.get(_IN_FILE_META.get(keyword, "")))
        for keyword in _IDENTIFIERS
    ):
        return None
    selected: dict[str, Any] = {}
    for keyword in STUDY_KEYWORDS + SERIES_KEYWORDS:
        element = dataset.get(keyword)
        if element is not None:
            kept = _selected_items(element, ITEM_KEYWORDS[keyword]) if keyword in ITEM_KEYWORDS else element
            if kept is not None and _is_short(kept):
                selected[keyword] = kept
    return selected


def _has_text(element: Mapping[str, Any] | None) -> bool:
    values = element.get("Value") if element else None
    return bool(values and isinstance(values[0], str) and values[0].strip(" \0"))


def _selected_items(element: Mapping[str, Any], keywords: tuple[str, ...]) -> dict[str, Any] | None:
    """Keep of a sequence the given elements of its items; None of what is no sequence, or not in the tree."""
    if element["vr"] != "SQ" or element.get("spilled") or "raw" in element:
        return None
    items = [
        {keyword: item[keyword] for keyword in keywords if keyword in item and _is_short(item[keyword])}
        for item in (element.get("Value") or ())[:MAX_ITEMS]
    ]
    return {"vr": "SQ", "Value": items} if items else {"vr": "SQ"}


def _is_short(element: Mapping[str, Any]) -> bool:
    """Return whether an element is as small as an attribute that lists show; sequences are bounded by their items."""
    values = element.get("Value")
    if element["vr"] == "SQ" or not values:
        return len(element.get("raw") or "") <= MAX_CHARACTERS
    return len(values) <= MAX_VALUES and sum(map(_size, values)) <= MAX_CHARACTERS


def _size(value: Any) -> int:
    if isinstance(value, str):
        return len(value)
    return sum(map(len, value.values())) if isinstance(value, Mapping) else 0
