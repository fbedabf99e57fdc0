"""Tables as CSV (RFC 4180), NDJSON and Parquet, written as their rows come."""

from __future__ import annotations

import asyncio
import contextlib
import math
import queue
from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import date, datetime, time
from functools import partial
from typing import IO, Any, cast

import orjson
from arro3.core import Array, DataType, RecordBatch, RecordBatchReader, Schema, list_array
from arro3.core import Field as ArrowField
from arro3.io import write_parquet

from service.dicom.columns import Column, Kind
from service.errors import LimitExceeded

Rows = list[list[Any]]

CSV = "text/csv"
NDJSON = "application/x-ndjson"
PARQUET = "application/vnd.apache.parquet"

FORMATS = {"csv": CSV, "ndjson": NDJSON, "parquet": PARQUET}
"""Media types by the names that people give them."""

MAGIC = b"PAR1"
"""What a Parquet file begins with."""

GROUP_ROWS = 5_000
"""Rows of one row group of a Parquet file at most. A group is held until it is full."""

GROUP_BYTES = 32 << 20
"""What a row group is to take, by the size of the first rows."""

MAX_GROUP_BYTES = 256 << 20
"""What a row group may take before compression, whatever the first rows were."""

Read = Callable[[Callable[[Rows], Any]], AsyncGenerator[Any, None]]
"""Takes what encodes rows, and returns them encoded, a batch at a time."""


# --- text ---------------------------------------------------------------------------------------------------------

_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""


def csv_line(cells: Sequence[str]) -> str:
    """Return a line of CSV (RFC 4180)."""
    return ",".join(cells) + "\r\n"


def _quoted(text: str) -> str:
    if any(character in text for character in ',"\r\n'):
        return '"' + text.replace('"', '""') + '"'
    return text


def csv_text(text: str) -> str:
    """Return a text as a cell; one that a spreadsheet would run as a formula has an apostrophe before it."""
    return _quoted("'" + text if text.startswith(_FORMULA) else text)


def _csv_plain(value: Any) -> str:
    """Return a number, a date, a time or a truth as a cell."""
    if isinstance(value, float):
        if not math.isfinite(value):
            return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
        return repr(value)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, int) else str(value.isoformat())


def _csv_cell(column: Column) -> Callable[[Any], str]:
    text = column.kind is Kind.TEXT
    if not column.many:
        one = csv_text if text else _csv_plain
        return lambda value: "" if value is None else one(value)
    if text:
        return lambda values: (
            "" if values is None else csv_text("\\".join("" if value is None else value for value in values))
        )
    return lambda values: (
        "" if values is None else "\\".join("" if value is None else _csv_plain(value) for value in values)
    )


async def iter_csv(columns: Sequence[Column], read: Read) -> AsyncGenerator[bytes, None]:
    """Return a table as CSV: UTF-8, a line of names first, lists joined by a backslash, empty for null."""
    writers = [_csv_cell(column) for column in columns]

    def encode(rows: Rows) -> bytes:
        lines = [csv_line([write(value) for write, value in zip(writers, row, strict=True)]) for row in rows]
        return "".join(lines).encode("utf-8", "replace")

    yield csv_line([csv_text(column.name) for column in columns]).encode("utf-8", "replace")
    async with contextlib.aclosing(read(encode)) as pieces:
        async for piece in pieces:
            yield piece


async def iter_ndjson(columns: Sequence[Column], read: Read) -> AsyncGenerator[bytes, None]:
    """Return a table as NDJSON: an object a line. A number that is not finite is null, as JSON has none."""
    names = [column.name for column in columns]

    def encode(rows: Rows) -> bytes:
        return b"".join(
            orjson.dumps(dict(zip(names, row, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for row in rows
        )

    async with contextlib.aclosing(read(encode)) as pieces:
        async for piece in pieces:
            yield piece


# --- Parquet ------------------------------------------------------------------------------------------------------

_EPOCH_DAY = date(1970, 1, 1).toordinal()
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - a table's timestamps have no zone
_MICRO = 1_000_000


def _days(value: date) -> int:
    return value.toordinal() - _EPOCH_DAY


def _time_of_day(value: time) -> int:
    return ((value.hour * 60 + value.minute) * 60 + value.second) * _MICRO + value.microsecond


def _since_epoch(value: datetime) -> int:
    passed = value - _EPOCH
    return (passed.days * 86_400 + passed.seconds) * _MICRO + passed.microseconds


_ARROW: dict[Kind, tuple[Any, Any, Callable[[Any], Any] | None]] = {
    Kind.TEXT: (DataType.utf8(), None, None),
    Kind.DOUBLE: (DataType.float64(), None, None),
    Kind.INTEGER: (DataType.int64(), None, None),
    Kind.UNSIGNED: (DataType.uint64(), None, None),
    Kind.BOOLEAN: (DataType.bool(), None, None),
    Kind.DATE: (DataType.date32(), DataType.int32(), _days),
    Kind.TIME: (DataType.time64("us"), DataType.int64(), _time_of_day),
    Kind.TIMESTAMP: (DataType.timestamp("us"), DataType.int64(), _since_epoch),
}
"""By kind: the type of a column, the type of the numbers that it is made from, and how they are made."""


def _flat_array(values: Sequence[Any], kind: Kind) -> Any:
    final, plain, convert = _ARROW[kind]
    if convert is not None:
        values = [None if value is None else convert(value) for value in values]
    made = Array(values, type=plain or final)
    return made.cast(final) if plain is not None else made


def _array(values: Sequence[Any], column: Column) -> Any:
    if not column.many:
        return _flat_array(values, column.kind)
    offsets, missing = [0], []
    flat: list[Any] = []
    for value in values:
        missing.append(value is None)
        flat += value or ()
        offsets.append(len(flat))
    return list_array(
        Array(offsets, type=DataType.int32()),
        _flat_array(flat, column.kind),
        type=_arrow_type(column),
        mask=Array(missing, type=DataType.bool()),
    )


def _arrow_type(column: Column) -> Any:
    final = _ARROW[column.kind][0]
    return DataType.list(ArrowField("element", final, nullable=True)) if column.many else final


class _Outlet:
    """A file that cannot be sought in, whose bytes but the first four are taken away as they are written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._place = 0
        self._begun = False

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        self._place += len(data)
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    def seek(self, _offset: int, _whence: int = 0) -> int:
        """Stay at the end: a writer only asks where that is."""
        return self._place

    def tell(self) -> int:
        return self._place

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        if taken and not self._begun:
            self._begun = True
            return taken.removeprefix(MAGIC)
        return taken


class _Abandoned(Exception):
    """Nobody waits for the table any more."""


class _RowGroups:
    """Hands batches to a thread that writes Parquet, one at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._handed: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self.hungry = asyncio.Event()

    def hand(self, batch: Any) -> None:
        """Give the thread a batch; None is the end, an exception ends it at once."""
        self.hungry.clear()
        self._handed.put(batch)

    def batches(self) -> Iterator[Any]:
        """In the thread: wait for one batch after the other."""
        while True:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and what is handed is the end
                self._loop.call_soon_threadsafe(self.hungry.set)
            batch = self._handed.get()
            if isinstance(batch, Exception):
                raise batch
            if batch is None:
                return
            yield batch


async def iter_parquet(columns: Sequence[Column], read: Read) -> AsyncGenerator[bytes, None]:
    """Return a table as Parquet, zstd-compressed, one row group after another.

    Raises
    ------
    LimitExceeded
        So many large rows stand together that a row group would not fit in memory.
    """
    schema = Schema([ArrowField(column.name, _arrow_type(column), nullable=True) for column in columns])

    def encode(rows: Rows) -> Any:
        across = list(zip(*rows, strict=True)) or [()] * len(columns)
        arrays = [_array(values, column) for values, column in zip(across, columns, strict=True)]
        return RecordBatch.from_arrays(arrays, schema=schema)

    groups, outlet = _RowGroups(asyncio.get_running_loop()), _Outlet()
    async with contextlib.aclosing(read(encode)) as source:
        batch = await anext(source, None)
        group_rows = _group_rows(batch)

        def write() -> None:
            reader = RecordBatchReader.from_batches(schema, cast("Sequence[Any]", groups.batches()))
            write_parquet(reader, cast("IO[bytes]", outlet), compression="zstd(1)", max_row_group_size=group_rows)

        # A thread of its own: it waits for rows and for the caller, and others must not wait for it.
        executor = ThreadPoolExecutor(1, thread_name_prefix="parquet")
        writing = asyncio.get_running_loop().run_in_executor(executor, write)
        writing.add_done_callback(lambda done: done.cancelled() or done.exception())  # looked at, whoever waits
        held = rows = 0
        try:
            yield MAGIC  # at once: the writer keeps it until the first row group is full
            while batch is not None:
                held, rows = held + batch.nbytes, rows + batch.num_rows
                if held > MAX_GROUP_BYTES:
                    raise LimitExceeded("The rows are too large for a Parquet file. Ask for CSV or NDJSON.")
                if rows >= group_rows:
                    held = rows = 0
                groups.hand(batch)
                batch = await anext(source, None)
                await _fed(groups, writing)
                if piece := outlet.take():
                    yield piece
            groups.hand(None)
            await writing
            yield outlet.take()
        finally:
            groups.hand(_Abandoned())
            executor.shutdown(wait=False)


def _group_rows(first: Any) -> int:
    """Return how many rows a row group has, by the size of the first."""
    if first is None or not first.num_rows:
        return GROUP_ROWS
    return int(max(1, min(GROUP_ROWS, GROUP_BYTES * first.num_rows // max(first.nbytes, 1))))


async def _fed(groups: _RowGroups, writing: asyncio.Future[None]) -> None:
    """Wait until the thread wants the next batch, or has failed."""
    hungry: asyncio.Future[Any] = asyncio.ensure_future(groups.hungry.wait())
    try:
        await asyncio.wait((hungry, writing), return_when=asyncio.FIRST_COMPLETED)
    finally:
        hungry.cancel()
    if writing.done():
        writing.result()


WRITERS: dict[str, Callable[[Sequence[Column], Read], AsyncGenerator[bytes, None]]] = {
    CSV: iter_csv,
    NDJSON: iter_ndjson,
    PARQUET: iter_parquet,
}
"""By media type: what writes a table."""


async def iter_ready(rows: Rows, size: int, encode: Callable[[Rows], Any]) -> AsyncGenerator[Any, None]:
    """Return rows that are all there as a `Read` does, when its first two parameters are given."""
    for start in range(0, len(rows), size):
        yield await asyncio.to_thread(encode, rows[start : start + size])


def ready(rows: Rows, size: int = 1000) -> Read:
    """Return rows that are all there as what a writer reads."""
    return partial(iter_ready, rows, size)
