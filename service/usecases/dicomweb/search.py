"""QIDO-RS (PS3.18 10.6): a patient's studies, series and instances by what they say of themselves.

Studies and series are answered from the `series` documents, and counted from documents that are small. What no series
document has is looked up in the tag index; trees are read for the instances of a page, and where the index alone does
not say whether they match.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from service.dicom.matching.conditions import Condition, OneOf
from service.dicom.matching.index_filter import incomplete_filter, index_filter, needs_check
from service.dicom.matching.on_tree import may_match, top_level_steps
from service.dicom.paths import lookup_keys
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.dicomweb.results import (
    INSTANCE_RETURNS,
    MADE,
    OF_MEMBER,
    OF_SERIES,
    TAG_KEYWORDS,
    WHERE_THERE,
    FoundSeries,
    QidoQuery,
    asked_steps,
    count_members,
    describe_instance,
    describe_series,
    describe_study,
    elements_of_member,
    said_of_series,
)
from service.usecases.dicomweb.scope import Member, iter_visible

MAX_PAGE_BYTES = 32 << 20
"""Where a page of instances ends early: what comes behind it is asked for with `offset`."""


@dataclass(frozen=True, slots=True)
class DatasetPage:
    """A part of a list.

    Parameters
    ----------
    datasets : list
        In the DICOM JSON Model, as dicts or as JSON that is written already.
    remaining : int
        How many there are behind it.
    """

    datasets: list[Any]
    remaining: int


async def search(context: Context, wanted: QidoQuery, root: str) -> DatasetPage:
    """Search for studies, series or instances of a patient.

    Parameters
    ----------
    wanted : Search
        What for.
    root : str
        URL of the patient's DICOMweb root.
    """
    series = await _matching_series(context, wanted)
    if wanted.level == "instance":
        return await _instances(context, wanted, series, root)
    groups: list[list[FoundSeries]] = [[each] for each in series]
    if wanted.level == "study":
        studies: dict[str, list[FoundSeries]] = {}
        for each in series:
            studies.setdefault(each.members[0].study_instance_uid, []).append(each)
        groups = list(studies.values())
    page = groups[wanted.offset : wanted.offset + wanted.limit]
    extra = await _extra_elements(context, wanted, [group[0].dicom_id for group in page])
    describe = describe_study if wanted.level == "study" else describe_series
    datasets = [describe(wanted, group, extra.get(group[0].dicom_id, {}), root) for group in page]
    return DatasetPage(datasets, max(0, len(groups) - wanted.offset - wanted.limit))


async def _matching_series(context: Context, wanted: QidoQuery) -> list[FoundSeries]:
    """Return the series that match, newest first, each with its instances; those of whole studies at study level."""
    scope, store = wanted.scope, context.store
    study = scope.study or _single_uid(wanted.conditions, "StudyInstanceUID")
    documents, members = await asyncio.gather(
        store.studies.list_series(scope.visible, study),
        store.studies.list_members(scope.visible, study, scope.series),
    )
    found: dict[tuple[str, str], FoundSeries] = {
        (document["study_instance_uid"], document["series_instance_uid"]): FoundSeries(
            document["attributes"], document["dicom_id"], []
        )
        for document in documents
    }
    for member in members:
        series = found.get((member.study_instance_uid, member.series_instance_uid))
        if series is not None:
            series.members.append(member)
    present = [series for series in found.values() if series.members]
    count_members(present)
    on_series = [each for each in wanted.conditions if _is_of_series(each)]
    on_instances = [each for each in wanted.conditions if not _is_of_series(each)]
    # What a study or series does not say is empty there, as the answer has it.
    chosen = [series for series in present if may_match(said_of_series(series), on_series)]
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
    context: Context, wanted: QidoQuery, series: Sequence[FoundSeries], conditions: Sequence[Condition]
) -> list[FoundSeries]:
    """Keep the instances that match, and of the series those that have one; at study and series level whole."""
    on_members = [each for each in conditions if _keyword(each) in OF_MEMBER]
    on_trees = [each for each in conditions if _keyword(each) not in OF_MEMBER]
    members = [member for each in series for member in each.members]
    if on_members:
        members = [member for member in members if may_match(elements_of_member(member), on_members)]
    if on_trees:
        members = await _with_matching_trees(context, wanted.scope.patient_id, members, on_trees)
    ids = {member.dicom_id for member in members}
    kept: list[FoundSeries] = []
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
        context.store.index.find_ids(Visible(patient_id), index_filter(conditions)),
        context.store.index.find_ids(Visible(patient_id), incomplete_filter(conditions)),
    )
    doubtful = hits | left_out if needs_check(conditions) else left_out
    sure = hits - doubtful
    unsure = [member for member in members if member.dicom_id in doubtful]
    keys = dict.fromkeys(key for step in top_level_steps(conditions) for key in lookup_keys(step))
    async with context.whole_trees:
        async for member, instance in iter_visible(context, patient_id, unsure, list(keys)):
            if may_match(instance.get("dataset") or {}, conditions):
                sure.add(member.dicom_id)
    return [member for member in members if member.dicom_id in sure]


async def _instances(context: Context, wanted: QidoQuery, series: Sequence[FoundSeries], root: str) -> DatasetPage:
    pairs = [(each, member) for each in series for member in each.members]
    page = pairs[wanted.offset : wanted.offset + wanted.limit]
    keys = [*INSTANCE_RETURNS, *WHERE_THERE["instance"]]
    keys += [key for step in asked_steps(wanted) for key in lookup_keys(step)]
    of_series = {member.dicom_id: each for each, member in page}
    visible = iter_visible(context, wanted.scope.patient_id, [member for _, member in page], list(dict.fromkeys(keys)))
    if not wanted.everything and not asked_steps(wanted):
        datasets = [
            describe_instance(wanted, of_series[member.dicom_id], member, instance.get("dataset") or {}, root)
            async for member, instance in visible
        ]
        return DatasetPage(datasets, max(0, len(pairs) - wanted.offset - wanted.limit))

    def write(member: Member, tree: Mapping[str, Any]) -> bytes:
        return orjson.dumps(describe_instance(wanted, of_series[member.dicom_id], member, tree, root))

    # What is asked for may be large: it is held as JSON, and a page has a bound of bytes.
    written: list[Any] = []
    left = MAX_PAGE_BYTES
    position = {member.dicom_id: number for number, (_, member) in enumerate(page, start=1)}
    async with context.whole_trees, contextlib.aclosing(visible):
        async for member, instance in visible:
            tree = instance.get("dataset") or {}
            if wanted.everything:
                whole = await context.store.instances.read_whole(wanted.scope.visible, member.dicom_id)
                tree = {} if whole is None else whole.get("dataset") or {}
            dataset = await asyncio.to_thread(write, member, tree)
            written.append(orjson.Fragment(dataset))
            left -= len(dataset)
            if left <= 0:
                return DatasetPage(written, len(pairs) - wanted.offset - position[member.dicom_id])
    return DatasetPage(written, max(0, len(pairs) - wanted.offset - wanted.limit))


async def _extra_elements(context: Context, wanted: QidoQuery, dicom_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """Read the private elements that were asked for, from the instance that each study or series shows."""
    keys = [key for step in asked_steps(wanted) if step.tag >> 16 & 1 for key in lookup_keys(step)]
    if not keys:
        return {}
    found = await context.store.instances.find_many(wanted.scope.visible, dicom_ids, list(dict.fromkeys(keys)))
    return {dicom_id: instance.get("dataset") or {} for dicom_id, instance in found.items()}


def _keyword(condition: Condition) -> str | None:
    step = condition.path[0]
    return TAG_KEYWORDS.get(step.tag) if step.creator is None else None


def _is_of_series(condition: Condition) -> bool:
    return _keyword(condition) in OF_SERIES | MADE


def _single_uid(conditions: Iterable[Condition], keyword: str) -> str | None:
    """Return the one UID that a condition asks for, so that nothing else need be looked at."""
    for condition in conditions:
        if _keyword(condition) == keyword and isinstance(condition.test, OneOf) and len(condition.test.values) == 1:
            return str(condition.test.values[0])
    return None
