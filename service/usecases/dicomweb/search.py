"""QIDO-RS (PS3.18 10.6): a patient's studies, series and instances by what they say of themselves.

Studies and series are answered from the `series` documents, and counted from documents that are small. A series
document answers only for what is of a study or series and what it has whole; everything else is asked of the instances,
as in the other search: a study or series matches with any of them, an instance for itself. Trees are read for the
instances of a page, and where the index alone does not say whether they match.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import orjson

from service.dicom.matching.conditions import Absent, Condition, Either, Empty, OneOf
from service.dicom.matching.on_tree import judge, may_match
from service.dicom.paths import Step, first_keys, further_keys
from service.usecases.context import Context
from service.usecases.dicomweb.results import (
    INSTANCE_RETURNS,
    MADE,
    OF_LEVELS,
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
from service.usecases.instances import shown_tree
from service.usecases.matching import find_matching

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
    unknown : bool
        Whether there are instances of which nobody can say whether they match.
    """

    datasets: list[Any]
    remaining: int
    unknown: bool = False


async def search(context: Context, wanted: QidoQuery, root: str) -> DatasetPage:
    """Search for studies, series or instances of a patient.

    Parameters
    ----------
    wanted : Search
        What for.
    root : str
        URL of the patient's DICOMweb root.
    """
    series, unknown = await _matching_series(context, wanted)
    if wanted.level == "instance":
        return replace(await _instances(context, wanted, series, root), unknown=unknown)
    groups: list[list[FoundSeries]] = [[each] for each in series]
    if wanted.level == "study":
        studies: dict[str, list[FoundSeries]] = {}
        for each in series:
            studies.setdefault(each.members[0].study_instance_uid, []).append(each)
        groups = list(studies.values())
        for group in groups:  # a study is not described by what waits in an inbox, unless there is nothing else
            group.sort(key=lambda each: each.waits)
    page = groups[wanted.offset : wanted.offset + wanted.limit]
    extra = await _extra_elements(context, wanted, [group[0].dicom_id for group in page])
    describe = describe_study if wanted.level == "study" else describe_series
    datasets = [describe(wanted, group, extra.get(group[0].dicom_id, {}), root) for group in page]
    return DatasetPage(datasets, max(0, len(groups) - wanted.offset - wanted.limit), unknown)


async def _matching_series(context: Context, wanted: QidoQuery) -> tuple[list[FoundSeries], bool]:
    """Return the series that match, newest first, each with its instances; those of whole studies at study level.

    Beside them whether there are instances of which nobody can say whether they match.
    """
    scope, store = wanted.scope, context.store
    study = scope.study or _single_uid(wanted.conditions, "StudyInstanceUID")
    documents, members = await asyncio.gather(
        store.studies.list_series(scope.visible, study),
        store.studies.list_members(scope.visible, study, scope.series),
    )
    found: dict[tuple[str, str], FoundSeries] = {
        (document["study_instance_uid"], document["series_instance_uid"]): FoundSeries(
            document["attributes"], document["dicom_id"], [], waits="inbox" in document
        )
        for document in documents
    }
    for member in members:
        series = found.get((member.study_instance_uid, member.series_instance_uid))
        if series is not None:
            series.members.append(member)
    present = [series for series in found.values() if series.members]
    count_members(present)
    chosen, unknown = await _keep_matching(context, wanted, present)
    if wanted.level != "study":
        return chosen, unknown
    studies = {series.members[0].study_instance_uid for series in chosen}
    # Counts and modalities are of the whole study, not of what matched.
    matched = {series.dicom_id for series in chosen}
    whole = [series for series in present if series.members[0].study_instance_uid in studies]
    if len(whole) != len(chosen):
        whole.sort(key=lambda series: series.dicom_id not in matched)
    return whole, unknown


async def _keep_matching(
    context: Context, wanted: QidoQuery, series: list[FoundSeries]
) -> tuple[list[FoundSeries], bool]:
    """Keep the instances that match, and of the series those that have one; at study and series level whole."""
    on_members: list[Condition] = []
    on_instances: list[Condition] = []
    unsettled: list[tuple[Condition, list[FoundSeries]]] = []
    for condition in wanted.conditions:
        keyword = _keyword(condition)
        if keyword in MADE or (keyword in OF_LEVELS and wanted.level != "instance"):
            verdicts = [(each, _said(each, condition)) for each in series]
            series = [each for each, verdict in verdicts if verdict is not False]
            if unsaid := [each for each, verdict in verdicts if verdict is None]:
                unsettled.append((condition, unsaid))
        elif keyword in OF_MEMBER:
            on_members.append(condition)
        else:
            on_instances.append(_of_instance(condition))
    left = {member.dicom_id for each in series for member in each.members}
    unknown = False
    for condition, unsaid in unsettled:
        asked = left & {member.dicom_id for each in unsaid for member in each.members}
        matched = await find_matching(context, wanted.scope.visible, [_of_instance(condition)], asked)
        left -= asked - matched.ids
        unknown = unknown or matched.unknown
    if on_members:
        left &= {
            member.dicom_id
            for each in series
            for member in each.members
            if may_match(elements_of_member(member), on_members)
        }
    if on_instances and left:
        matched = await find_matching(context, wanted.scope.visible, on_instances, left)
        left, unknown = matched.ids, unknown or matched.unknown
    kept: list[FoundSeries] = []
    for each in series:
        found = [member for member in each.members if member.dicom_id in left]
        if found:
            kept.append(replace(each, members=found) if wanted.level == "instance" else each)
    return kept, unknown


def _said(series: FoundSeries, condition: Condition) -> bool | None:
    """Return whether a condition holds by what a series document says; None where only the instances know.

    What it does not have is absent, or too long for it.
    """
    said = said_of_series(series)
    if not all(TAG_KEYWORDS.get(path[0].tag) in said for path in condition.paths):
        return None
    return judge(said, [condition])


def _of_instance(condition: Condition) -> Condition:
    """Return a condition as it is asked of an instance: what is not said of a study or series is empty too."""
    if isinstance(condition.test, Empty) and _keyword(condition) in OF_SERIES:
        return replace(condition, test=Either(((Absent(),), (condition.test,))))
    return condition


async def _instances(context: Context, wanted: QidoQuery, series: Sequence[FoundSeries], root: str) -> DatasetPage:
    pairs = [(each, member) for each in series for member in each.members]
    page = pairs[wanted.offset : wanted.offset + wanted.limit]
    steps = asked_steps(wanted)
    keys = dict.fromkeys([*INSTANCE_RETURNS, *WHERE_THERE["instance"], *first_keys(steps)])
    of_series = {member.dicom_id: each for each, member in page}
    members = [member for _, member in page]
    sees = wanted.scope.visible
    visible = iter_visible(context, sees, members, list(keys), partial(_further, steps))
    if not wanted.everything and not steps:
        datasets = [
            describe_instance(wanted, of_series[member.dicom_id], member, shown_tree(sees, instance), root)
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
            read: Mapping[str, Any] = instance
            if wanted.everything:
                read = await context.store.instances.read_whole(sees, member.dicom_id) or {}
            dataset = await asyncio.to_thread(write, member, shown_tree(sees, read))
            written.append(orjson.Fragment(dataset))
            left -= len(dataset)
            if left <= 0:
                return DatasetPage(written, len(pairs) - wanted.offset - position[member.dicom_id])
    return DatasetPage(written, max(0, len(pairs) - wanted.offset - wanted.limit))


async def _extra_elements(context: Context, wanted: QidoQuery, dicom_ids: list[str]) -> dict[str, Mapping[str, Any]]:
    """Read the private elements that were asked for, from the instance that each study or series shows."""
    steps = [step for step in asked_steps(wanted) if step.tag >> 16 & 1]
    if not steps:
        return {}
    found = await context.store.instances.find_many(
        wanted.scope.visible, dicom_ids, first_keys(steps), partial(_further, steps)
    )
    return {dicom_id: shown_tree(wanted.scope.visible, instance) for dicom_id, instance in found.items()}


def _further(steps: Sequence[Step], tree: Mapping[str, Any], read: Collection[str]) -> set[str]:
    return further_keys(tree, steps, read)


def _keyword(condition: Condition) -> str | None:
    """Return the keyword of an attribute that is asked for itself; None of what lies in an item, or is private."""
    step = condition.path[0]
    return TAG_KEYWORDS.get(step.tag) if len(condition.path) == 1 and step.creator is None else None


def _single_uid(conditions: Iterable[Condition], keyword: str) -> str | None:
    """Return the one UID that a condition asks for, so that nothing else need be looked at."""
    for condition in conditions:
        if _keyword(condition) == keyword and isinstance(condition.test, OneOf) and len(condition.test.values) == 1:
            return str(condition.test.values[0])
    return None
