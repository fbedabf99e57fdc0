"""The use case: what the files of a whole store say, as a table in a file, beside a running service.

The originals are walked a page at a time, and of each tree no more is read than the table shows and the conditions look
at, so it takes no more memory for a million files than for a thousand.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO

from schemas.database import Instance
from service.dicom.columns import Column, Field, LeftInOriginal, read_cells
from service.dicom.matching.conditions import Condition
from service.dicom.matching.on_tree import judge
from service.dicom.paths import TagPath
from service.errors import DatabaseUnavailable, NotFound, Overloaded, ServiceError
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.table_formats import WRITERS
from service.usecases.tables import DICOM_ID, Rows, Wanted, read_left, settle_fields

PATIENT_ID = Column("patient_id")
MAX_NAMED = 1000
PAGE = 200


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
            async for rows in _iter_rows(context, request, fields, patient_id, report):
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
    wanted = Wanted.of(fields, request.conditions)
    tables = context.store.tables
    visible = None if patient_id is None else Visible(patient_id)
    after = None
    while page := await tables.list_originals(visible, after, PAGE):
        after = page[-1][0]
        original_of = {dicom_id: original_id for original_id, dicom_id in page}
        ids = list(original_of)
        report.untagged += len(ids)
        begin = 0
        while begin < len(ids):
            trees = await tables.read(visible, ids[begin:], wanted.keys, wanted.further, large=wanted.large)
            begin += trees.passed
            # An original that lost a race is swept one day; its instance comes with the original that won.
            instances = [each for each in trees.instances if original_of[each["_id"]] == each["original_id"]]
            report.untagged -= len(instances)
            rows, unread, unknown = await asyncio.to_thread(_rows_of, instances, request.conditions, fields)
            report.unknown += unknown
            for each in unread:
                cells = await _read_left(context, each, fields, report)
                if cells is not None:
                    rows.append([each["_id"], each["patient_id"], *cells])
            if rows:
                yield rows
        report.passed += len(page)


def _rows_of(
    instances: Sequence[Instance], conditions: Sequence[Condition], fields: Sequence[Field]
) -> tuple[Rows, list[Instance], int]:
    """Return the rows of those that match, those that only their originals can tell, and how many nobody can judge."""
    rows: Rows = []
    unread: list[Instance] = []
    unknown = 0
    for instance in instances:
        tree = instance.get("dataset") or {}
        verdict = judge(tree, conditions)
        unknown += verdict is None
        if verdict:
            try:
                rows.append([instance["_id"], instance["patient_id"], *read_cells(tree, fields)])
            except LeftInOriginal:
                unread.append(instance)
    return rows, unread, unknown


async def _read_left(
    context: Context, instance: Instance, fields: Sequence[Field], report: TableReport
) -> list[Any] | None:
    try:
        return await read_left(context, Visible(instance["patient_id"]), instance["_id"], fields)
    except (DatabaseUnavailable, Overloaded):
        raise
    except NotFound:
        return None
    except ServiceError as error:
        report.fail(instance["_id"], str(error) or type(error).__name__)
        return None
