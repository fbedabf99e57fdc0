"""Original bytes from the database to where a worker process can read them, and the worker that reads them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from schemas.database import Instance
from service.errors import Invalid, NoWorker, WorkerLost
from service.storage.visible import Visible
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.instances import open_original
from service.usecases.near import NearOriginal
from service.workers.handle import Sink
from service.workers.pool import OutOfTime

IN_MEMORY_BYTES = 4 << 20
"""The largest original that is handed to a worker as bytes; a larger one is handed as a file."""


@contextlib.asynccontextmanager
async def local_original(
    context: Context, visible: Visible, instance: Instance, ranges: Sequence[tuple[int, int]] | None = None
) -> AsyncIterator[bytes | Path]:
    """Fetch an original, as bytes or as the path of a file that is gone afterwards.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    instance : Instance
        Whose original it is.
    ranges : sequence of (int, int), optional
        The parts ``[start, stop)`` that will be read. Where they are given, a large original comes as a sparse file
        of its full length in which only these are filled.

    Raises
    ------
    NoSuchInstance
        Where there is no such original.
    Overloaded
        Where the disk of the spool files is full, or nearly.
    """
    original = (await open_original(context, visible, instance)).content
    if original.length <= IN_MEMORY_BYTES:
        content = await original.read_range()
        if not isinstance(original, NearOriginal):
            context.behind.start(context.near.put(instance["original_id"], instance["sha256"], content))
        yield content
        return
    file, path = await asyncio.to_thread(spool.open_file, context.settings.spool_dir)
    try:
        if isinstance(original, NearOriginal) and original.link_over(path):
            yield path
            return
        with spool.room():
            file.truncate(original.length)
            for start, stop in ranges or [(0, original.length)]:
                position = start
                async for piece in original.iter_range(start, stop):
                    spool.check_room(context.settings.spool_dir, context.settings.min_free_bytes)
                    await asyncio.to_thread(_write_at, file, position, piece)
                    position += len(piece)
            await asyncio.to_thread(file.flush)
        yield path
    finally:
        spool.discard(file, path)


def _write_at(file: BinaryIO, position: int, piece: bytes) -> None:
    file.seek(position)
    file.write(piece)


async def ask_worker(
    context: Context,
    function: Callable[..., Any],
    *arguments: Any,
    caller: str,
    seconds: float,
    refusal: Invalid,
    sink: Sink | None = None,
    returns: Any = None,
) -> Any:
    """Return the answer of a worker process to what somebody asks of one file.

    Parameters
    ----------
    function : callable
        Of a module; it is called in the worker.
    arguments
        What it takes.
    caller : str
        Under whose name it is asked: patients take turns, and all shares of one as somebody else
        (:attr:`service.storage.visible.Visible.caller`).
    seconds : float
        How long it may take.
    refusal : Invalid
        What is raised where the file costs the worker its life, or takes too long: asking again would not help.
    sink, returns
        As of `WorkerPool.run`.

    Raises
    ------
    NoWorker, Overloaded
        It cannot be asked now.
    """
    lost_before = False
    while True:
        try:
            return await context.workers.run(
                function, *arguments, timeout=seconds, caller=caller, sink=sink, returns=returns
            )
        except NoWorker:
            raise
        except WorkerLost as error:
            # A process can be lost to something else than this file, once; time it has had enough.
            if lost_before or isinstance(error, OutOfTime):
                raise refusal from error
            lost_before = True
