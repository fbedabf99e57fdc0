"""What lists of studies and series show of an instance."""

from __future__ import annotations

from typing import Any

import bson
import pytest

from service.dicom.limits import Limits
from service.dicom.series import ITEM_KEYWORDS, SERIES_KEYWORDS, STUDY_KEYWORDS, series_elements

UIDS: dict[str, Any] = {
    "StudyInstanceUID": {"vr": "UI", "Value": ["1.2.1"]},
    "SeriesInstanceUID": {"vr": "UI", "Value": ["1.2.2"]},
    "SOPInstanceUID": {"vr": "UI", "Value": ["1.2.3"]},
}

RETURNED = {
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "TimezoneOffsetFromUTC",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyInstanceUID",
    "StudyID",
    "Modality",
    "SeriesDescription",
    "SeriesInstanceUID",
    "SeriesNumber",
    "PerformedProcedureStepStartDate",
    "PerformedProcedureStepStartTime",
}
"""PS3.18 Tables 10.6.3-3 and 10.6.3-4, without counts, URLs and sequences."""


def test_study_and_series_attributes_are_kept_as_they_are_and_those_of_the_instance_are_not():
    dataset = UIDS | {
        "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "A^B"}]},
        "Modality": {"vr": "CS", "Value": ["CT"]},
        "SeriesNumber": {"vr": "IS", "Value": [2], "raw": "02"},
        "AccessionNumber": {"vr": "SH"},
        "InstanceNumber": {"vr": "IS", "Value": [7]},
        "PixelData": {"vr": "OW", "length": 100},
    }
    kept = series_elements(dataset)
    assert kept == {
        key: dataset[key] for key in dataset if key not in ("SOPInstanceUID", "InstanceNumber", "PixelData")
    }


@pytest.mark.parametrize("missing", sorted(UIDS))
@pytest.mark.parametrize(
    "element", [None, {"vr": "UI"}, {"vr": "UI", "Value": [None]}, {"vr": "UI", "Value": [" "]}, {"vr": "UN"}]
)
def test_an_instance_without_its_three_uids_belongs_to_no_series(missing, element):
    dataset = {key: value for key, value in UIDS.items() if key != missing}
    if element is not None:
        dataset[missing] = element
    assert series_elements(dataset) is None


def test_every_attribute_that_a_search_for_studies_or_series_returns_is_kept():
    returned = set(STUDY_KEYWORDS + SERIES_KEYWORDS) - set(ITEM_KEYWORDS)
    assert returned >= RETURNED
    kept = series_elements({key: {"vr": "LO", "Value": ["1"]} for key in returned} | UIDS)
    assert kept is not None
    assert returned <= set(kept)


def test_request_attributes_keep_what_identifies_the_request():
    item = {
        "ScheduledProcedureStepID": {"vr": "SH", "Value": ["SPS1"]},
        "RequestedProcedureID": {"vr": "SH", "Value": ["RP1"]},
        "ScheduledProtocolCodeSequence": {"vr": "SQ", "Value": [{}]},
    }
    dataset = UIDS | {"RequestAttributesSequence": {"vr": "SQ", "Value": [item] * 150}}
    kept = series_elements(dataset)
    assert kept is not None
    items = kept["RequestAttributesSequence"]["Value"]
    assert len(items) == 100
    assert items[0] == {key: item[key] for key in ("RequestedProcedureID", "ScheduledProcedureStepID")}


def test_a_description_that_a_broken_file_makes_huge_is_not_shown_in_lists():
    kept = series_elements(
        UIDS
        | {
            "StudyDescription": {"vr": "LO", "Value": ["x" * 5000]},
            "SeriesDescription": {"vr": "LO", "Value": ["x"] * 500},
            "PatientName": {"vr": "PN", "Value": [{"Alphabetic": "x" * 3000}]},
            "ProtocolName": {"vr": "LO", "raw": b"x" * 3000, "problem": "p"},
            "SeriesNumber": {"vr": "IS", "Value": [1], "raw": "0" * 3000 + "1"},
            "RequestAttributesSequence": {"vr": "SQ", "items": 5, "spilled": True},
            "ProcedureCodeSequence": {"vr": "LO", "Value": ["no sequence"]},
        }
    )
    assert kept == {key: UIDS[key] for key in ("StudyInstanceUID", "SeriesInstanceUID")}


def test_all_that_a_broken_file_says_of_its_series_stays_small_beside_a_large_tree():
    item = {keyword: {"vr": "LO", "Value": ["\U0001f9e0" * 2000]} for keyword in ITEM_KEYWORDS["ProcedureCodeSequence"]}
    long = {keyword: {"vr": "LO", "Value": ["\U0001f9e0" * 2048]} for keyword in STUDY_KEYWORDS + SERIES_KEYWORDS}
    for keyword in ITEM_KEYWORDS:
        long[keyword] = {"vr": "SQ", "Value": [item] * 100}
    kept = series_elements(long | UIDS)
    assert kept is not None
    assert {"StudyInstanceUID", "SeriesInstanceUID"} <= set(kept)
    size = len(bson.encode(kept))
    assert size > 100_000
    assert Limits().max_document_bytes + size < (16 << 20) - (1 << 19)
