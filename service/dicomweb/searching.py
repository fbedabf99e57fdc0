"""QIDO-RS (PS3.18 10.6): a patient's studies, series and instances by what they say of themselves.

Studies and series are answered from the `series` documents, and counted from documents that are small. What no series
document has is looked up in the tag index; trees are read for the instances of a page, and where the index alone does
not say whether they match.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.context import Context
from service.dicom.dictionary import KEYWORD_TAGS, vr_of
from service.dicom.jsonmodel import dicom_json
from service.dicom.matching import Condition, OneOf
from service.dicom.matching_filter import incomplete_filter, index_filter, needs_check
from service.dicom.matching_tree import may_match, top_level_steps
from service.dicom.paths import Step, candidate_keys, lookup_keys
from service.dicom.private import creator_key
from service.dicom.series import SERIES_KEYWORDS, STUDY_KEYWORDS
from service.dicomweb.scope import Member, Scope, iter_visible, member_url

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

_OF_SERIES = frozenset(STUDY_KEYWORDS + SERIES_KEYWORDS)
_EMPTY = {keyword: {"vr": vr_of(KEYWORD_TAGS[keyword]) or "UN"} for keyword in STUDY_KEYWORDS + SERIES_KEYWORDS}
_OF_MEMBER = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SOPClassUID", "AvailableTransferSyntaxUID")
_MADE = frozenset({"ModalitiesInStudy", "SOPClassesInStudy"})
_TAG_KEYWORDS = {tag: keyword for keyword, tag in KEYWORD_TAGS.items()}

Elements = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Search:
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


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a list.

    Parameters
    ----------
    datasets : list of dict
        In the DICOM JSON Model.
    remaining : int
        How many there are behind it.
    """

    datasets: list[dict[str, Any]]
    remaining: int


@dataclass(slots=True)
class _Series:
    """One series, with its attributes, its instances that matched, and what is said of its study."""

    attributes: Mapping[str, Any]
    dicom_id: str
    members: list[Member]
    count: int = 0
    of_study: Elements = field(default_factory=dict)


async def search(context: Context, wanted: Search, root: str) -> Page:
    """Search for studies, series or instances of a patient.

    Parameters
    ----------
    context : Context
        The resources of this process.
    wanted : Search
        What for.
    root : str
        URL of the patient's DICOMweb root.
    """
    series = await _matching_series(context, wanted)
    if wanted.level == "instance":
        return await _instances(context, wanted, series, root)
    groups: list[list[_Series]] = [[each] for each in series]
    if wanted.level == "study":
        studies: dict[str, list[_Series]] = {}
        for each in series:
            studies.setdefault(each.members[0].study_instance_uid, []).append(each)
        groups = list(studies.values())
    page = groups[wanted.offset : wanted.offset + wanted.limit]
    extra = await _extra_elements(context, wanted, [group[0].dicom_id for group in page])
    describe = _describe_study if wanted.level == "study" else _describe_series
    datasets = [describe(wanted, group, extra.get(group[0].dicom_id, {}), root) for group in page]
    return Page(datasets, max(0, len(groups) - wanted.offset - wanted.limit))


async def _matching_series(context: Context, wanted: Search) -> list[_Series]:
    """Give the series that match, the newest first, each with its instances; those of whole studies at study level."""
    scope, store = wanted.scope, context.store
    study = scope.study or _single_uid(wanted.conditions, "StudyInstanceUID")
    documents, members = await asyncio.gather(
        store.list_series(scope.patient_id, study), store.list_members(scope.patient_id, study, scope.series)
    )
    found: dict[tuple[str, str], _Series] = {
        (document["study_instance_uid"], document["series_instance_uid"]): _Series(
            document["attributes"], document["dicom_id"], []
        )
        for document in documents
    }
    for member in members:
        series = found.get((member.study_instance_uid, member.series_instance_uid))
        if series is not None:
            series.members.append(member)
    present = [series for series in found.values() if series.members]
    _count(present)
    on_series = [each for each in wanted.conditions if _is_of_series(each)]
    on_instances = [each for each in wanted.conditions if not _is_of_series(each)]
    # What a study or series does not say is empty there, as the answer has it.
    chosen = [series for series in present if may_match({**_EMPTY, **series.attributes, **series.of_study}, on_series)]
    if on_instances:
        chosen = await _keep_matching(context, wanted, chosen, on_instances)
    if wanted.level != "study":
        return chosen
    studies = {series.members[0].study_instance_uid for series in chosen}
    # Counts and modalities are of the whole study, not of what matched.
    matched = {id(series) for series in chosen}
    whole = [series for series in present if series.members[0].study_instance_uid in studies]
    return sorted(whole, key=lambda series: id(series) not in matched) if len(whole) != len(chosen) else whole


async def _keep_matching(
    context: Context, wanted: Search, series: Sequence[_Series], conditions: Sequence[Condition]
) -> list[_Series]:
    """Keep the instances that match, and of the series those that have one; at study and series level whole."""
    on_members = [each for each in conditions if _keyword(each) in _OF_MEMBER]
    on_trees = [each for each in conditions if _keyword(each) not in _OF_MEMBER]
    members = [member for each in series for member in each.members]
    if on_members:
        members = [member for member in members if may_match(_of_member(member), on_members)]
    if on_trees:
        members = await _with_matching_trees(context, wanted.scope.patient_id, members, on_trees)
    ids = {member.dicom_id for member in members}
    kept: list[_Series] = []
    for each in series:
        found = [member for member in each.members if member.dicom_id in ids]
        if found:
            kept.append(replace(each, members=found) if wanted.level == "instance" else each)
    return kept


async def _with_matching_trees(
    context: Context, patient_id: str, members: Sequence[Member], conditions: Sequence[Condition]
) -> list[Member]:
    """Keep the instances that the index finds; where it cannot say it all, their trees decide."""
    hits, left_out = await asyncio.gather(
        context.store.find_ids(patient_id, index_filter(conditions)),
        context.store.find_ids(patient_id, incomplete_filter(conditions)),
    )
    doubtful = hits | left_out if needs_check(conditions) else left_out
    sure = hits - doubtful
    unsure = [member for member in members if member.dicom_id in doubtful]
    keys = dict.fromkeys(key for step in top_level_steps(conditions) for key in lookup_keys(step))
    async for member, envelope in iter_visible(context, patient_id, unsure, list(keys)):
        if may_match(envelope.get("dataset") or {}, conditions):
            sure.add(member.dicom_id)
    return [member for member in members if member.dicom_id in sure]


async def _instances(context: Context, wanted: Search, series: Sequence[_Series], root: str) -> Page:
    pairs = [(each, member) for each in series for member in each.members]
    page = pairs[wanted.offset : wanted.offset + wanted.limit]
    keys = [*INSTANCE_RETURNS, *WHERE_THERE["instance"]]
    keys += [key for step in _asked(wanted) for key in lookup_keys(step)]
    of_series = {member.dicom_id: each for each, member in page}
    visible = iter_visible(context, wanted.scope.patient_id, [member for _, member in page], list(dict.fromkeys(keys)))
    datasets = []
    async for member, envelope in visible:
        tree = envelope.get("dataset") or {}
        if wanted.everything:
            document = await context.store.read_dataset(wanted.scope.patient_id, member.dicom_id)
            tree = (document or {}).get("dataset") or {}
        shown = of_series[member.dicom_id]
        datasets.append(
            await asyncio.to_thread(_describe_instance, wanted, shown, member, tree, root)
            if wanted.everything
            else _describe_instance(wanted, shown, member, tree, root)
        )
    return Page(datasets, max(0, len(pairs) - wanted.offset - wanted.limit))


async def _extra_elements(context: Context, wanted: Search, dicom_ids: list[str]) -> dict[str, Elements]:
    """Read the private elements that were asked for, from the instance that each study or series shows."""
    keys = [key for step in _asked(wanted) if step.tag >> 16 & 1 for key in lookup_keys(step)]
    if not keys:
        return {}
    found = await context.store.find_members(wanted.scope.patient_id, dicom_ids, list(dict.fromkeys(keys)))
    return {dicom_id: envelope.get("dataset") or {} for dicom_id, envelope in found.items()}


def _asked(wanted: Search) -> list[Step]:
    """Give the attributes that the caller names and that are not made of the UIDs."""
    made = _MADE | set(_OF_MEMBER)
    return [step for step in wanted.include if _TAG_KEYWORDS.get(step.tag) not in made]


def _describe_study(wanted: Search, group: Sequence[_Series], extra: Elements, root: str) -> dict[str, Any]:
    shown = _show(wanted, "study", group[0].attributes, extra, STUDY_KEYWORDS)
    shown |= group[0].of_study
    return _finish(shown, member_url(root, group[0].members[0]).rsplit("/series/", 1)[0])


def _describe_series(wanted: Search, group: Sequence[_Series], extra: Elements, root: str) -> dict[str, Any]:
    series = group[0]
    shown = _show(wanted, "series", series.attributes, extra, STUDY_KEYWORDS + SERIES_KEYWORDS)
    if wanted.scope.study is None:
        shown |= _show(wanted, "study", series.attributes, {}, STUDY_KEYWORDS) | series.of_study
    shown["StudyInstanceUID"] = _value("UI", series.members[0].study_instance_uid)
    shown |= _of_series(series)
    return _finish(shown, member_url(root, series.members[0]).rsplit("/instances/", 1)[0])


def _describe_instance(
    wanted: Search, series: _Series, member: Member, tree: Mapping[str, Any], root: str
) -> dict[str, Any]:
    shown: Elements = {}
    if wanted.scope.study is None:
        shown |= _show(wanted, "study", series.attributes, {}, ()) | series.of_study
    if wanted.scope.series is None:
        shown |= _show(wanted, "series", series.attributes, {}, ()) | _of_series(series)
    shown |= _show(wanted, "instance", tree, tree, tuple(tree))
    for keyword, uid in _of_member(member).items():
        if uid["Value"][0] is not None:
            shown[keyword] = uid
    url = member_url(root, member)
    return _finish(shown, url, lambda path: f"{url}/bulkdata/{path}")


def _show(
    wanted: Search,
    level: str,
    attributes: Mapping[str, Any],
    extra: Elements | Mapping[str, Any],
    of_level: Collection[str],
) -> Elements:
    """Select what is returned at a level: the usual, and of what is asked for the private and what is of the level.

    A private element comes with the creator that rules over it (PS3.18 10.6.3.3).
    """
    always = {"study": STUDY_RETURNS, "series": SERIES_RETURNS, "instance": INSTANCE_RETURNS}[level]
    shown: Elements = {
        keyword: attributes.get(keyword) or {"vr": vr_of(KEYWORD_TAGS[keyword]) or "UN"} for keyword in always
    }
    chosen = [*WHERE_THERE[level], *(of_level if wanted.everything else ())]
    shown |= {keyword: attributes[keyword] for keyword in chosen if keyword in attributes}
    for step in _asked(wanted):
        is_private = step.tag >> 16 & 1
        tree = extra if is_private else attributes
        for key in candidate_keys(tree, step):
            if key in tree and (is_private or key in of_level):
                shown[key] = tree[key]
                if is_private and (creator := creator_key(int(key, 16))) in tree:
                    shown[creator] = tree[creator]
                break
    return shown


def _count(series: Iterable[_Series]) -> None:
    """Note of each series how large it is, and what of its study follows from all its series and their instances."""
    studies: dict[str, list[_Series]] = {}
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


def _of_series(series: _Series) -> Elements:
    return {
        "SeriesInstanceUID": _value("UI", series.members[0].series_instance_uid),
        "NumberOfSeriesRelatedInstances": _value("IS", series.count),
    }


def _finish(shown: Elements, url: str, bulk: Callable[[str], str] = str) -> dict[str, Any]:
    shown["InstanceAvailability"] = _value("CS", "ONLINE")
    shown["RetrieveURL"] = _value("UR", url)
    kept = {key: element for key, element in shown.items() if not element.get("spilled")}
    return dicom_json(kept, bulk)


def _of_member(member: Member) -> Elements:
    uids = (
        member.study_instance_uid,
        member.series_instance_uid,
        member.sop_instance_uid,
        member.sop_class_uid,
        member.transfer_syntax_uid,
    )
    return {keyword: _value("UI", uid) for keyword, uid in zip(_OF_MEMBER, uids, strict=True)}


def _value(vr: str, value: Any) -> Elements:
    return {"vr": vr, "Value": [value]}


def _keyword(condition: Condition) -> str | None:
    step = condition.path[0]
    return _TAG_KEYWORDS.get(step.tag) if step.creator is None else None


def _is_of_series(condition: Condition) -> bool:
    return _keyword(condition) in _OF_SERIES | _MADE


def _single_uid(conditions: Iterable[Condition], keyword: str) -> str | None:
    """Give the one UID that a condition asks for, so that nothing else need be looked at."""
    for condition in conditions:
        if _keyword(condition) == keyword and isinstance(condition.test, OneOf) and len(condition.test.values) == 1:
            return str(condition.test.values[0])
    return None
