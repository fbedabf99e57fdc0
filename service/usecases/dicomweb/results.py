"""What the answers to a search say of studies, series and instances (PS3.18 10.6.3.3)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

from service.dicom.dictionary import KEYWORD_TAGS, vr_of
from service.dicom.jsonmodel import dicom_json
from service.dicom.matching.conditions import Condition
from service.dicom.paths import Step, candidate_keys
from service.dicom.private import creator_key
from service.dicom.series import SERIES_KEYWORDS, STUDY_KEYWORDS
from service.dicom.spill import has_gap
from service.usecases.dicomweb.scope import Member, Scope, member_url

STUDY_RETURNS = (
    "StudyDate",
    "StudyTime",
    "AccessionNumber",
    "ReferringPhysicianName",
    "PatientName",
    "PatientID",
    "PatientBirthDate",
    "PatientSex",
    "StudyID",
)
"""Always in the answer to a search for studies, empty where they are not known (PS3.18 Table 10.6.3-3)."""

SERIES_RETURNS = ("Modality", "SeriesNumber")
INSTANCE_RETURNS = ("InstanceNumber",)
WHERE_THERE = {
    "study": ("SpecificCharacterSet", "TimezoneOffsetFromUTC", "StudyDescription"),
    "series": (
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "SeriesDescription",
        "SeriesDate",
        "SeriesTime",
        "PerformedProcedureStepStartDate",
        "PerformedProcedureStepStartTime",
        "RequestAttributesSequence",
    ),
    "instance": (
        "SpecificCharacterSet",
        "TimezoneOffsetFromUTC",
        "Rows",
        "Columns",
        "BitsAllocated",
        "NumberOfFrames",
    ),
}
"""In the answer where they are known (PS3.18 Tables 10.6.3-3 to 10.6.3-5)."""

OF_SERIES = frozenset(STUDY_KEYWORDS + SERIES_KEYWORDS)
OF_LEVELS = OF_SERIES - {"ContrastBolusAgent"}
"""What is of a patient, study, series or device (PS3.3 A.1.2): a contrast agent is shown with a series, and is of an
image."""

OF_MEMBER = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "AvailableTransferSyntaxUID")
MADE = frozenset(
    {
        "ModalitiesInStudy",
        "SOPClassesInStudy",
        "NumberOfStudyRelatedSeries",
        "NumberOfStudyRelatedInstances",
        "NumberOfSeriesRelatedInstances",
        "InstanceAvailability",
    }
)
"""What no file says of itself (PS3.4 C.3.4)."""

_ONLINE = {"InstanceAvailability": {"vr": "CS", "Value": ["ONLINE"]}}
TAG_KEYWORDS = {tag: keyword for keyword, tag in KEYWORD_TAGS.items()}

Elements = dict[str, Any]


@dataclass(frozen=True, slots=True)
class QidoQuery:
    """What is searched for.

    Parameters
    ----------
    level : str
        ``study``, ``series`` or ``instance``.
    scope : Scope
        The path.
    conditions : tuple of Condition
        All must hold.
    include : tuple of Step
        Attributes that are wanted beside the usual ones: those that are included, and those that are matched.
    everything : bool
        ``includefield=all``.
    limit, offset : int
        Which part of the list.
    """

    level: str
    scope: Scope
    conditions: tuple[Condition, ...]
    include: tuple[Step, ...]
    everything: bool
    limit: int
    offset: int


@dataclass(slots=True)
class FoundSeries:
    """One series, with its attributes, its instances that matched, and what is said of its study.

    All of its instances may wait in an inbox.
    """

    attributes: Mapping[str, Any]
    dicom_id: str
    members: list[Member]
    waits: bool = False
    count: int = 0
    of_study: Elements = field(default_factory=dict)


def asked_steps(wanted: QidoQuery) -> list[Step]:
    """Return the attributes that the caller names and that are not made of the UIDs."""
    made = MADE | set(OF_MEMBER)
    return [step for step in wanted.include if TAG_KEYWORDS.get(step.tag) not in made]


def describe_study(
    wanted: QidoQuery, group: Sequence[FoundSeries], extra: Mapping[str, Any], root: str
) -> dict[str, Any]:
    """Return what is said of a study.

    Parameters
    ----------
    wanted : QidoQuery
        What the caller asked for.
    group : sequence of FoundSeries
        Its series, the one that is shown first.
    extra : mapping
        Of the private elements of the instance that is shown, those that were asked for, with their creators.
    root : str
        URL of the patient's DICOMweb root.

    Returns
    -------
    dict
        In the DICOM JSON Model.
    """
    shown = _show(wanted, "study", group[0].attributes, extra, STUDY_KEYWORDS)
    shown |= group[0].of_study
    return _finish(shown, _url_of_shown(group[0], root), member_url(root, group[0].members[0]).rsplit("/series/", 1)[0])


def describe_series(
    wanted: QidoQuery, group: Sequence[FoundSeries], extra: Mapping[str, Any], root: str
) -> dict[str, Any]:
    """Return what is said of a group's one series, and where no study is named of its study; as `describe_study`."""
    series = group[0]
    shown = _show(wanted, "series", series.attributes, extra, SERIES_KEYWORDS, STUDY_KEYWORDS)
    if wanted.scope.study is None:
        shown |= _show(wanted, "study", series.attributes, {}, STUDY_KEYWORDS) | series.of_study
    shown["StudyInstanceUID"] = _value("UI", series.members[0].study_instance_uid)
    shown |= _of_series(series)
    return _finish(shown, _url_of_shown(series, root), member_url(root, series.members[0]).rsplit("/instances/", 1)[0])


def describe_instance(
    wanted: QidoQuery, series: FoundSeries, member: Member, tree: Mapping[str, Any], root: str
) -> dict[str, Any]:
    """Return what is said of an instance, by as much of its tree as was asked for, and of what is above its path."""
    above: Elements = {}
    if wanted.scope.study is None:
        above |= _show(wanted, "study", series.attributes, {}, ()) | series.of_study
    if wanted.scope.series is None:
        above |= _show(wanted, "series", series.attributes, {}, ()) | _of_series(series)
    shown = _show(wanted, "instance", tree, tree, tuple(tree))
    for keyword, uid in elements_of_member(member).items():
        if uid["Value"][0] is not None:
            shown[keyword] = uid
    url = member_url(root, member)
    # What is above comes from the instance that the series shows, and a link leads to where its bytes are.
    above = {key: element for key, element in above.items() if key not in shown}
    both = _write(above, _url_of_shown(series, root)) | _finish(shown, url, url)
    return dict(sorted(both.items()))


def _show(
    wanted: QidoQuery,
    level: str,
    attributes: Mapping[str, Any],
    extra: Mapping[str, Any],
    of_level: Collection[str],
    of_levels_above: Collection[str] = (),
) -> Elements:
    """Select what is returned at a level: the usual, and of what is asked for the private and what it or one above has.

    A private element comes with the creator that rules over it (PS3.18 10.6.3.3).
    """
    always = {"study": STUDY_RETURNS, "series": SERIES_RETURNS, "instance": INSTANCE_RETURNS}[level]
    shown: Elements = {
        keyword: attributes.get(keyword) or {"vr": vr_of(KEYWORD_TAGS[keyword]) or "UN"} for keyword in always
    }
    chosen = [*WHERE_THERE[level], *(of_level if wanted.everything else ())]
    shown |= {keyword: attributes[keyword] for keyword in chosen if keyword in attributes}
    for step in asked_steps(wanted):
        is_private = step.tag >> 16 & 1
        tree = extra if is_private else attributes
        for key in candidate_keys(tree, step):
            if key in tree and (is_private or key in of_level or key in of_levels_above):
                shown[key] = tree[key]
                if is_private and (creator := creator_key(int(key, 16))) in tree:
                    shown[creator] = tree[creator]
                break
    return shown


def count_members(series: Iterable[FoundSeries]) -> None:
    """Note of each series how large it is, and what of its study follows from all its series and their instances."""
    studies: dict[str, list[FoundSeries]] = {}
    for each in series:
        each.count = len(each.members)
        studies.setdefault(each.members[0].study_instance_uid, []).append(each)
    for study, group in studies.items():
        modalities = {
            value for each in group for value in each.attributes.get("Modality", {}).get("Value") or () if value
        }
        classes = {member.sop_class_uid for each in group for member in each.members if member.sop_class_uid}
        of_study = {
            "ModalitiesInStudy": {"vr": "CS", "Value": sorted(modalities)} if modalities else {"vr": "CS"},
            "SOPClassesInStudy": {"vr": "UI", "Value": sorted(classes)} if classes else {"vr": "UI"},
            "StudyInstanceUID": _value("UI", study),
            "NumberOfStudyRelatedSeries": _value("IS", len(group)),
            "NumberOfStudyRelatedInstances": _value("IS", sum(each.count for each in group)),
        }
        for each in group:
            each.of_study = of_study


def said_of_series(series: FoundSeries) -> Elements:
    """Return all that a search can match of a series without looking at its instances."""
    return {**series.attributes, **series.of_study, **_of_series(series), **_ONLINE}


def _of_series(series: FoundSeries) -> Elements:
    return {
        "SeriesInstanceUID": _value("UI", series.members[0].series_instance_uid),
        "NumberOfSeriesRelatedInstances": _value("IS", series.count),
    }


def _url_of_shown(series: FoundSeries, root: str) -> str:
    """Return the URL of the instance whose attributes a series shows."""
    shown = next((member for member in series.members if member.dicom_id == series.dicom_id), series.members[0])
    return member_url(root, shown)


def _finish(shown: Elements, instance_url: str, url: str) -> dict[str, Any]:
    shown |= _ONLINE
    shown["RetrieveURL"] = _value("UR", url)
    return _write(shown, instance_url)


def _write(shown: Elements, instance_url: str) -> dict[str, Any]:
    """Write elements in the DICOM JSON Model, with links to the bulk data of the instance that they come from."""
    kept = {key: element for key, element in shown.items() if not has_gap(element)}
    return dicom_json(kept, lambda path: f"{instance_url}/bulkdata/{quote(path, safe='')}")


def elements_of_member(member: Member) -> Elements:
    """Return what the store knows of an instance without its tree, as elements."""
    uids = (
        member.study_instance_uid,
        member.series_instance_uid,
        member.sop_instance_uid,
        member.sop_class_uid,
        member.transfer_syntax_uid,
    )
    return {keyword: _value("UI", uid) for keyword, uid in zip(OF_MEMBER, uids, strict=True)}


def _value(vr: str, value: Any) -> Elements:
    return {"vr": vr, "Value": [value]}
