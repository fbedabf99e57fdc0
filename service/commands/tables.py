"""The use case: what the files of a whole store say, as a table in a file, beside a running service.

The originals are walked a page at a time, with the rows that stand beside them, and of each tree no more is read than
the table shows and the conditions look at. So it takes no more memory for a million files than for a thousand.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from schemas.database import Instance
from service.dicom.columns import Column, Field
from service.dicom.matching.conditions import Condition
from service.dicom.matching.on_tree import judge
from service.dicom.paths import TagPath
from service.errors import DatabaseUnavailable, NotFound, Overloaded, ServiceError
from service.storage.tables import Page, Row
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.table_formats import WRITERS
from service.usecases.tables import (
    DICOM_ID,
    Rows,
    Told,
    Wanted,
    ahead,
    read_batch,
    read_left,
    settle_fields,
    told_by_trees,
)

PATIENT_ID = Column("patient_id")
MAX_NAMED = 1000

LISTED = 10_000
"""Originals that are listed at once: the local database looks at all of them for each page."""

PAGE = 500
"""Files that are read at once."""


@dataclass
class TableReport:
    """What came of an export, counted in files.

    Parameters
    ----------
    rows : int
        Rows that were written.
    unknown : int
        Files of which nobody can say whether they match; they are not in the table.
    untagged : int
        Files whose tags are not extracted or cannot be, and those that were deleted meanwhile.
    """

    rows: int = 0
    unknown: int = 0
    untagged: int = 0
    failed: int = 0
    bytes: int = 0
    passed: int = 0
    total: int | None = None
    failures: list[dict[str, str]] = field(default_factory=list)

    def fail(self, dicom_id: str, error: str) -> None:
        """Count a failure, and name the first ones."""
        self.failed += 1
        if len(self.failures) < MAX_NAMED:
            self.failures.append({"dicom_id": dicom_id, "error": error})


Show = Callable[[TableReport], None]


@dataclass(frozen=True, slots=True)
class TableRequest:
    """What is exported.

    Parameters
    ----------
    media_type : str
        One of `WRITERS`.
    fields : mapping of str to tuple of Step
        Paths by the names of their columns.
    conditions : sequence of Condition
        All must hold.
    patients : sequence of str
        Only these patients' files; none: everybody's.
    """

    media_type: str
    fields: Mapping[str, TagPath]
    conditions: Sequence[Condition] = ()
    patients: Sequence[str] = ()


async def export_table(
    context: Context, request: TableRequest, target: BinaryIO, *, show: Show = lambda _: None
) -> TableReport:
    """Write a table of the store. What is stored meanwhile may be in it or not.

    Parameters
    ----------
    request : TableRequest
        What is exported.
    target : binary file
        Where to.
    show : callable, optional
        Is told of the progress.

    Raises
    ------
    DatabaseUnavailable
        Where the database goes away.
    """
    report = TableReport()
    whose = Visible(request.patients[0]) if len(request.patients) == 1 else None
    fields = await settle_fields(context, whose, request.fields, seconds=None)
    columns = [DICOM_ID, PATIENT_ID, *(column for each in fields for column in each.columns)]
    walks: list[str | None] = [*request.patients] or [None]
    report.total = sum([await context.store.maintenance.count_originals(each) for each in walks])

    async def read(encode: Callable[[Rows], Any]) -> AsyncGenerator[Any, None]:
        for patient_id in walks:
            batches = ahead(_iter_rows(context, request, fields, patient_id, report))
            async with contextlib.aclosing(batches):
                async for rows in batches:
                    report.rows += len(rows)
                    yield await asyncio.to_thread(encode, rows)
                    show(report)

    async for piece in WRITERS[request.media_type](columns, read):
        report.bytes += len(piece)
        await asyncio.to_thread(target.write, piece)
    return report


async def _iter_rows(
    context: Context, request: TableRequest, fields: Sequence[Field], patient_id: str | None, report: TableReport
) -> AsyncGenerator[Rows, None]:
    tables = context.store.tables
    visible = None if patient_id is None else Visible(patient_id)
    after = None
    while True:
        listed, kept = await tables.list_originals(visible, after, LISTED, rows=not request.conditions)
        if not listed:
            return
        after = listed[-1][0]
        for begin in range(0, len(listed), PAGE):
            originals = listed[begin : begin + PAGE]
            async for rows in _iter_page(context, request, fields, visible, originals, kept, report):
                yield rows
            report.passed += len(originals)


async def _iter_page(
    context: Context,
    request: TableRequest,
    fields: Sequence[Field],
    visible: Visible | None,
    originals: Sequence[tuple[Any, str]],
    kept: Mapping[Any, Row],
    report: TableReport,
) -> AsyncGenerator[Rows, None]:
    original_of = {dicom_id: original_id for original_id, dicom_id in originals}
    report.untagged += len(original_of)
    if request.conditions:
        batches = _read_matching(context, visible, original_of, fields, request.conditions, report)
    else:
        batches = _read_all(context, visible, await context.store.tables.settle(originals, kept), fields)
    async for told in batches:
        rows: Rows = []
        for dicom_id, each in told.items():
            if not _has_won(dicom_id, each.original_id, original_of):
                continue
            report.untagged -= 1
            cells = each.cells
            if cells is None:
                cells = await _read_left(context, each.patient_id, dicom_id, fields, report)
            if cells is not None:
                rows.append([dicom_id, each.patient_id, *cells])
        if rows:
            yield rows


def _has_won(dicom_id: str, original_id: Any, original_of: Mapping[str, Any]) -> bool:
    """Return whether an instance is that of the original which is looked at; one that lost a race is swept one day."""
    return bool(original_of[dicom_id] == original_id)


async def _read_all(
    context: Context, visible: Visible | None, page: Page, fields: Sequence[Field]
) -> AsyncGenerator[Mapping[str, Told], None]:
    """Return what all files of a page say."""
    begin, end = 0, len(page.listing.dicom_ids)
    while begin < end:
        batch = await read_batch(context, visible, page, begin, end, fields)
        begin = batch.end
        yield batch.told


async def _read_matching(
    context: Context,
    visible: Visible | None,
    original_of: Mapping[str, Any],
    fields: Sequence[Field],
    conditions: Sequence[Condition],
    report: TableReport,
) -> AsyncGenerator[Mapping[str, Told], None]:
    """Return what those files of a page say whose trees meet conditions, and count those that nobody can judge."""
    wanted = Wanted.of(fields, conditions)
    left = list(original_of)
    while left:
        trees = await context.store.tables.read(visible, left, wanted.keys, wanted.further, large=wanted.large)
        left = left[trees.passed :]
        instances = [each for each in trees.instances if _has_won(each["_id"], each["original_id"], original_of)]
        told, left_out, unknown = await asyncio.to_thread(_told_where, instances, fields, conditions)
        report.untagged -= left_out
        report.unknown += unknown
        yield told


def _told_where(
    instances: Sequence[Instance], fields: Sequence[Field], conditions: Sequence[Condition]
) -> tuple[dict[str, Told], int, int]:
    """Return what those say that match, how many do not, and of how many of these nobody can say it."""
    verdicts = [judge(each.get("dataset") or {}, conditions) for each in instances]
    matching = [each for each, verdict in zip(instances, verdicts, strict=True) if verdict]
    return told_by_trees(None, matching, fields), len(instances) - len(matching), verdicts.count(None)


async def _read_left(
    context: Context, patient_id: str, dicom_id: str, fields: Sequence[Field], report: TableReport
) -> list[Any] | None:
    try:
        return await read_left(context, Visible(patient_id), dicom_id, fields)
    except (DatabaseUnavailable, Overloaded):
        raise
    except NotFound:
        return None
    except ServiceError as error:
        report.fail(dicom_id, str(error) or type(error).__name__)
        return None
