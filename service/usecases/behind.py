"""Work that nobody waits for, done behind the answer: bounded, and finished before the process stops."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from service.errors import Unavailable

logger = logging.getLogger(__name__)


class Behind:
    """Runs what can be left undone, such as filling a cache.

    Parameters
    ----------
    limit : int
        How many pieces of work may be under way; more are left undone.
    """

    def __init__(self, limit: int = 32) -> None:
        self._limit = limit
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Coroutine[Any, Any, Any]) -> bool:
        """Begin some work, and return whether it was begun: where too much is under way it is left undone."""
        if len(self._tasks) >= self._limit:
            work.close()
            return False
        task = asyncio.create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True

    async def finish(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)


async def _quietly(work: Coroutine[Any, Any, Any]) -> None:
    try:
        await work
    except Unavailable:
        logger.info("The database is away; what would have been cached is not")
    except Exception as error:  # noqa: BLE001 - nobody waits for it; without its message, which may quote a file
        logger.error("Work behind an answer met a fault: %s", type(error).__name__)  # noqa: TRY400
