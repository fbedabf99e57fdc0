"""The use case: what files say, as a table with one row for each.

Where there are conditions, which files meet them is settled before the first row, so that the answer can begin with
what may be missing; all that a patient has is walked through. They are read in batches, of which a few are held: one
is read while another is sent. What stands outside sequences is read from the rows that stand beside the originals, or
where there is none from the index, whose documents are smaller than the trees; the trees tell the rest.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from schemas.database import Instance
from service.dicom.catalogue import MAX_PATHS, Catalogue
from service.dicom.columns import (
    Column,
    Field,
    Kind,
    LeftInOriginal,
    Seen,
    is_settled,
    read_cells,
    read_columns,
    settle,
)
from service.dicom.dictionary import may_be_large
from service.dicom.extract import read_tree
from service.dicom.limits import Limits, Readable
from service.dicom.matching.conditions import Condition
from service.dicom.matching.index_filter import index_filter
from service.dicom.paths import TagPath, first_keys, further_keys, index_key, parse_search_path, tag_path_text
from service.dicom.rows import read_rows
from service.dicom.source import open_source
from service.dicom.withheld import ORIGINAL_TAGS, without_originals
from service.errors import LimitExceeded, NotFound
from service.storage.settled import Listing
from service.storage.tables import Page, Row, Walk
from service.storage.threads import outlast
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import shown_tree
from service.usecases.matching import find_candidates, passed, try_trees
from service.usecases.tags import read_original

T = TypeVar("T")

MAX_TRIED = 20_000
"""Trees that are tried for one table, where the index alone cannot say whether all conditions hold."""

BATCH = 500
FIRST_BATCH = 25
"""Rows that are read at once; few at first, so that a caller soon sees the beginning."""

DICOM_ID = Column("dicom_id")

Rows = list[list[Any]]


@dataclass(frozen=True, slots=True)
class Table:
    """A table that is about to be read.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    fields : tuple of Field
        What is shown of each.
    files : Listing or Walk
        Of which files, in order; a walk is of all that the patient has.
    unknown : bool
        Whether there are files of which nobody can say whether they belong into it.
    """

    visible: Visible
    fields: tuple[Field, ...]
    files: Listing | Walk
    unknown: bool

    @property
    def columns(self) -> tuple[Column, ...]:
        """Its columns, the id of the file first."""
        return (DICOM_ID, *(column for field in self.fields for column in field.columns))


async def open_table(
    context: Context,
    visible: Visible,
    fields: Mapping[str, TagPath],
    conditions: Sequence[Condition],
    order: TagPath | None = None,
    *,
    descending: bool = False,
) -> Table:
    """Find out which files make a table, and what types its columns have.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    fields : mapping of str to tuple of Step
        Paths by what their columns are to be called.
    conditions : sequence of Condition
        All must hold.
    order : tuple of Step, optional
        The path to sort by; without one the newest come first.
    descending : bool, optional
        Whether the greatest come first.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    LimitExceeded
        Too many files would have to be tried to find the ones that match.
    """
    tables = context.store.tables
    settled = await settle_fields(context, visible, fields)
    list_ids = partial(
        tables.list_ids,
        visible,
        order=None if order is None else f"tags.{index_key(order)}",
        descending=descending,
    )
    if not conditions and order is None:
        files = await (tables.list_part(visible) if visible.is_part else tables.begin_walk(visible))
        return Table(visible, settled, files, unknown=False)
    candidates = await find_candidates(context, visible, conditions)
    if candidates.hits is None and not candidates.left_out and not candidates.check:
        return Table(visible, settled, await list_ids(index_filter(conditions)), unknown=False)
    hits = candidates.hits
    if hits is None:
        hits = await context.store.index.find_ids(visible, index_filter(conditions))
    tried = candidates.left_out | (hits if candidates.check else set())
    if len(tried) > MAX_TRIED:
        raise LimitExceeded("The search has too many candidates to check them all. Make it narrower.")
    verdicts = await try_trees(context, visible, tried, conditions)
    among = (hits - tried) | passed(verdicts, hits)
    return Table(visible, settled, (await list_ids({})).among(among), unknown=None in verdicts.values())


async def settle_fields(
    context: Context, visible: Visible | None, fields: Mapping[str, TagPath], seconds: float | None = 120.0
) -> tuple[Field, ...]:
    """Return fields with the types of their columns; for private and unknown paths the files' indexes are asked.

    Parameters
    ----------
    visible : Visible or None
        What the caller may see; None: everybody's files, which is for commands alone.
    fields : mapping of str to tuple of Step
        Paths by what their columns are to be called.
    seconds : float or None
        How long that may take.
    """
    keys = {name: index_key(path) for name, path in fields.items() if not is_settled(path)}
    found = await context.store.tables.find_vrs(visible, list(dict.fromkeys(keys.values())), seconds) if keys else {}
    seen = {name: Seen(frozenset(found[key][0]), found[key][1]) for name, key in keys.items()}
    return tuple(settle(name, path, seen.get(name)) for name, path in fields.items())


async def iter_table(context: Context, table: Table, encode: Callable[[Rows], T]) -> AsyncGenerator[T, None]:
    """Return the rows of a table a batch at a time, each batch as `encode` makes it, in a thread.

    What the documents have not all of is read from the originals. A file that was deleted meanwhile has no row.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    LimitExceeded
        A file cannot be read again.
    """
    async with contextlib.aclosing(ahead(_iter_batches(context, table))) as batches:
        async for told in batches:
            rows: Rows = []
            for dicom_id, each in told.items():
                cells = each.cells
                if cells is None:
                    with contextlib.suppress(NotFound):
                        cells = await read_left(context, table.visible, dicom_id, table.fields)
                if cells is not None:
                    rows.append([dicom_id, *cells])
            yield await asyncio.to_thread(encode, rows)


async def _iter_batches(context: Context, table: Table) -> AsyncGenerator[Mapping[str, Told], None]:
    """Return what the files of a table say, a batch at a time."""
    visible, files = table.visible, table.files
    pages = _iter_pages(context, files) if isinstance(files, Walk) else _iter_ready(Page(files, None))
    size = FIRST_BATCH
    async with contextlib.aclosing(pages):
        async for page in pages:
            begin = 0
            while begin < len(page.listing.dicom_ids):
                batch = await read_batch(context, visible, page, begin, begin + size, table.fields)
                begin, size = batch.end, BATCH
                yield batch.told


def _iter_pages(context: Context, walk: Walk) -> AsyncGenerator[Page, None]:
    """Return the pages of a walk, of which one is read ahead."""

    async def read() -> AsyncGenerator[Page, None]:
        while (page := await context.store.tables.next_page(walk)) is not None:
            yield page

    return ahead(read())


async def _iter_ready(page: Page) -> AsyncGenerator[Page, None]:
    yield page


async def ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """Return what a generator makes, while it makes the next one."""
    following = asyncio.create_task(_next_of(source))
    try:
        while (made := await following) is not None:
            following = asyncio.create_task(_next_of(source))
            yield made
    finally:
        following.cancel()
        await outlast(following)
        await source.aclose()


async def _next_of(source: AsyncGenerator[T, None]) -> T | None:
    return await anext(source, None)


class Told(NamedTuple):
    """What one file says.

    Parameters
    ----------
    patient_id : str
        Whose it is.
    original_id : ObjectId
        The original that says it.
    cells : sequence or None
        What it says in the columns; None where only the original has it.
    """

    patient_id: str
    original_id: Any
    cells: Sequence[Any] | None


@dataclass(frozen=True, slots=True)
class Batch:
    """What some files of a listing say.

    Parameters
    ----------
    told : dict of str to Told
        By their ids, in the order of the listing; without those that are gone or have no tree.
    end : int
        The place behind the last of them.
    """

    told: dict[str, Told]
    end: int


async def read_batch(
    context: Context, visible: Visible | None, page: Page, begin: int, end: int, fields: Sequence[Field]
) -> Batch:
    """Return what the files of a page from one place up to another say, or as many of them as are small.

    Parameters
    ----------
    visible : Visible or None
        What the caller may see; None: anybody's files, which is for commands alone.

    Raises
    ------
    DatabaseUnavailable
        The database is away.
    """
    tables, listing = context.store.tables, page.listing
    ids = listing.dicom_ids[begin:end]
    entries = [field.entry for field in fields if field.entry is not None]
    if visible is not None and not visible.originals and any(field.path[-1].tag in ORIGINAL_TAGS for field in fields):
        entries = []  # the index may have a text where a file has pixels; a tree is shown without
    told: dict[str, Told] = {}
    async with context.whole_trees:  # what is shown may be as large as a tree
        if len(entries) == len(fields) and not listing.unsettled.issuperset(ids):
            rows = page.rows if page.rows is not None else await tables.read_rows(visible, listing, begin, end)
            told, read = await asyncio.to_thread(_told_by_rows, ids, rows, fields)
            unread = [each for each in ids if each not in read and each not in listing.unsettled] if read else ids
            if unread:
                among, first = (listing.among(set(unread)), 0) if read else (listing, begin)
                found = await tables.read_entries(visible, among, first, first + len(unread), entries)
                if found.passed < len(unread):
                    ids = ids[: ids.index(unread[found.passed])]
                told |= await asyncio.to_thread(_told_by_entries, found.documents, fields)
        left = [each for each in ids if each not in told]
        if left:
            wanted = Wanted.of(fields)
            trees = await tables.read(visible, left, wanted.keys, wanted.further, large=wanted.large)
            if trees.passed < len(left):
                ids = ids[: ids.index(left[trees.passed])]
            told |= await asyncio.to_thread(told_by_trees, visible, trees.instances, fields)
    return Batch({each: told[each] for each in ids if each in told}, begin + len(ids))


def _told_by_rows(
    dicom_ids: Sequence[str], rows: Mapping[str, Row], fields: Sequence[Field]
) -> tuple[dict[str, Told], set[str]]:
    """Return what the rows of some files say, by the files' ids, and which files have a row that can be read."""
    there = [each for each in dicom_ids if each in rows]
    columns, unsaid, unread = read_rows([rows[each].row for each in there], fields)
    told = {
        each: Told(rows[each].patient_id, rows[each].original_id, cells)
        for place, (each, cells) in enumerate(zip(there, zip(*columns, strict=True), strict=True))
        if place not in unsaid and place not in unread
    }
    return told, {each for place, each in enumerate(there) if place not in unread}


def _told_by_entries(documents: Sequence[Mapping[str, Any]], fields: Sequence[Field]) -> dict[str, Told]:
    columns, unsaid = read_columns(documents, fields)
    return {
        each["_id"]: Told(each["patient_id"], each["original_id"], cells)
        for place, (each, cells) in enumerate(zip(documents, zip(*columns, strict=True), strict=True))
        if place not in unsaid
    }


def told_by_trees(visible: Visible | None, instances: Sequence[Instance], fields: Sequence[Field]) -> dict[str, Told]:
    """Return what instances say to whoever sees this much, by their ids."""
    told: dict[str, Told] = {}
    for each in instances:
        cells: list[Any] | None
        try:
            cells = read_cells(each.get("dataset") or {} if visible is None else shown_tree(visible, each), fields)
        except LeftInOriginal:
            cells = None
        told[each["_id"]] = Told(each["patient_id"], each["original_id"], cells)
    return told


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be read of each tree.

    Parameters
    ----------
    keys : list of str
        The keys to begin with.
    further : callable
        Names the keys that are still to be read, by what was.
    large : bool
        Whether that may be large.
    """

    keys: list[str]
    further: Callable[[Mapping[str, Any], Any], set[str]]
    large: bool

    @classmethod
    def of(cls, fields: Sequence[Field], conditions: Sequence[Condition] = ()) -> Wanted:
        """Return what fields and conditions need."""
        steps = [field.path[0] for field in fields]
        steps += [path[0] for condition in conditions for path in condition.paths]
        return cls(
            first_keys(steps),
            lambda tree, read: further_keys(tree, steps, read),
            any(may_be_large(step.tag) for step in steps),
        )


# --- the catalogue ------------------------------------------------------------------------------------------------

CATALOGUE_COLUMNS = (
    Column("path"),
    Column("vrs", many=True),
    Column("files", Kind.INTEGER),
    Column("values", many=True),
    Column("more_values", Kind.BOOLEAN),
    Column("min"),
    Column("max"),
    Column("min_number", Kind.DOUBLE),
    Column("max_number", Kind.DOUBLE),
)
"""Values are text here, as a path may have numbers in one file and text in another."""


def catalogue_rows(catalogue: Catalogue) -> Rows:
    """Return all paths of a catalogue as rows."""
    paths, _ = catalogue.rows(MAX_PATHS, 0)
    return [
        [
            row["path"],
            row["vrs"],
            row["files"],
            [str(value) for value in row["values"]],
            row["more_values"],
            *(None if row[end] is None else str(row[end]) for end in ("min", "max")),
            *(float(row[end]) if isinstance(row[end], (int, float)) else None for end in ("min", "max")),
        ]
        for row in paths
    ]


# --- what only the original has -----------------------------------------------------------------------------------


async def read_left(context: Context, visible: Visible, dicom_id: str, fields: Sequence[Field]) -> list[Any]:
    """Return the cells of a file from its original, in a worker.

    Raises
    ------
    NotFound
        There is no such instance.
    LimitExceeded
        It took a worker too long, or its life.
    """
    plan = json.dumps(
        [
            (field.name, tag_path_text(field.path), field.kind, field.names, field.bytes, field.items, field.several)
            for field in fields
        ]
    )
    told = await read_original(context, visible, dicom_id, cells_of_original, plan, visible.originals)
    kinds = [column.kind for field in fields for column in field.columns]
    cells = json.loads(told)
    return [
        [_revived(value, kind) for value in cell] if isinstance(cell, list) else _revived(cell, kind)
        for cell, kind in zip(cells, kinds, strict=True)
    ]


def cells_of_original(source: Readable | Path, limits: Limits, plan: str, originals: bool) -> bytes:
    """In a worker: read the cells of an original, as JSON."""
    fields = [
        Field(name, parse_search_path(path), Kind(kind), names, as_bytes, items, several)
        for name, path, kind, names, as_bytes, items, several in json.loads(plan)
    ]
    dataset = read_tree(open_source(source), limits).dataset
    cells = read_cells(dataset if originals else without_originals(dataset), fields)
    return json.dumps(cells, default=str).encode()


_REVIVE: Mapping[Kind, Callable[[str], Any]] = {
    Kind.DATE: date.fromisoformat,
    Kind.TIME: time.fromisoformat,
    Kind.TIMESTAMP: datetime.fromisoformat,
}


def _revived(value: Any, kind: Kind) -> Any:
    revive = _REVIVE.get(kind)
    return value if revive is None or value is None else revive(value)
