"""What waits at the same time is done together: while one batch is under way, the next ones gather."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from service.errors import DatabaseUnavailable, Overloaded
from service.storage.connection import ANSWER_SECONDS
from service.storage.threads import Threads, outlast

T = TypeVar("T")
R = TypeVar("R")

LEAST_SECONDS = 1.0
"""What a batch has at least, so that one which waited long leaves the others of its batch time enough."""


@dataclass(eq=False, slots=True)
class _Waiting(Generic[T, R]):
    item: T
    weight: int
    ends: float
    answer: asyncio.Future[R]


class Gathering(Generic[T, R]):
    """Items that are worked on in batches, one batch after another, each in one hop to a thread.

    Whoever comes first waits for nobody: its batch begins at once, and what comes meanwhile is the next batch.

    Parameters
    ----------
    threads : Threads
        Where the batches run.
    work : callable
        Takes the items of a batch and returns one answer for each, in their order; an answer that is an exception is
        raised for its item alone. What it raises itself is raised for all items of the batch. Synchronous.
    count : int
        Items of one batch at most.
    weight : int
        What the items of a batch may weigh together; one that is heavier comes alone.
    queue : int
        How many may wait.
    """

    def __init__(
        self,
        threads: Threads,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        count: int,
        weight: int = 0,
        queue: int = 256,
    ) -> None:
        self._threads = threads
        self._work = work
        self._count = count
        self._weight = weight
        self._queue = queue
        self._waiting: deque[_Waiting[T, R]] = deque()
        self._working: asyncio.Task[None] | None = None

    async def ask(self, item: T, weight: int = 0) -> R:
        """Return the answer for one item.

        Cancelling the caller takes an item back that still waits. The cancellation of one that is being worked on is
        passed on when its batch has ended, so what the caller cleans up then stays clean.

        Parameters
        ----------
        item : object
            What to work on.
        weight : int, optional
            What it weighs.

        Raises
        ------
        DatabaseUnavailable
            The database does not answer in time, the time of waiting included.
        Overloaded
            Too many wait already.
        """
        if len(self._waiting) >= self._queue:
            raise Overloaded("Too much waits for the database.", retry_after=2)
        loop = asyncio.get_running_loop()
        waiting: _Waiting[T, R] = _Waiting(item, weight, time.monotonic() + ANSWER_SECONDS, loop.create_future())
        self._waiting.append(waiting)
        if self._working is None:
            # Of no request: in a context of its own.
            self._working = loop.create_task(self._work_off(), context=Context())
        try:
            return await asyncio.shield(waiting.answer)
        except asyncio.CancelledError:
            if waiting in self._waiting:
                self._waiting.remove(waiting)
                waiting.answer.cancel()
            await outlast(waiting.answer)
            raise

    async def _work_off(self) -> None:
        try:
            while self._waiting:
                await self._answer(self._next_batch())
        finally:
            self._working = None

    def _next_batch(self) -> list[_Waiting[T, R]]:
        batch = [self._waiting.popleft()]
        weight = batch[0].weight
        while self._waiting and len(batch) < self._count and weight + self._waiting[0].weight <= self._weight:
            weight += self._waiting[0].weight
            batch.append(self._waiting.popleft())
        return batch

    async def _answer(self, batch: list[_Waiting[T, R]]) -> None:
        now = time.monotonic()
        late = [each for each in batch if each.ends <= now]
        for each in late:
            each.answer.set_exception(DatabaseUnavailable("The database does not answer.", retry_after=2))
        batch = batch[len(late) :]  # those that came first are late first
        if not batch:
            return
        try:
            work = partial(self._work, [each.item for each in batch])
            answers = await self._threads.run(work, max(batch[0].ends - now, LEAST_SECONDS))
        except BaseException as error:
            for each in batch:
                if isinstance(error, Exception):
                    each.answer.set_exception(error)
                else:
                    each.answer.cancel()
            if not isinstance(error, Exception):
                raise
            return
        for each, answer in zip(batch, answers, strict=True):
            if isinstance(answer, Exception):
                each.answer.set_exception(answer)
            else:
                each.answer.set_result(answer)
