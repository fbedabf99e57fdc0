"""What waits at the same time is done together: while one batch is under way, the next ones gather."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from service.errors import DatabaseUnavailable, Overloaded
from service.storage.connection import ANSWER_SECONDS
from service.storage.threads import Threads, outlast

T = TypeVar("T")
R = TypeVar("R")

LEAST_SECONDS = 0.8
"""What a batch has at least, so that one which waited long leaves the others of its batch time enough."""


@dataclass(eq=False, slots=True)
class _Waiting(Generic[T, R]):
    item: T
    weight: int
    ends: float
    answer: asyncio.Future[R]
    batch: asyncio.Future[Sequence[R | Exception]] | None = None


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
        queue: int,
    ) -> None:
        self._threads = threads
        self._work = work
        self._count = count
        self._weight = weight
        self._queue = queue
        self._waiting: deque[_Waiting[T, R]] = deque()
        threads.gathered.append(self._waiting)
        self._working = False

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
        answer: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(item, weight, time.monotonic() + ANSWER_SECONDS, answer)
        self._waiting.append(waiting)
        if not self._working:
            self._begin()
        try:
            return await answer
        except asyncio.CancelledError:
            if waiting.batch is None:
                with contextlib.suppress(ValueError):  # it has just been refused, and waits no longer
                    self._waiting.remove(waiting)
            else:
                await outlast(waiting.batch)
            if answer.done() and not answer.cancelled():
                answer.exception()  # looked at, so that it is not reported as forgotten
            raise

    def _begin(self) -> None:
        """Begin the next batch, if anything waits."""
        self._working = False
        while self._waiting and not self._working:
            batch = self._next_batch()
            if not batch:
                continue
            seconds = max(batch[0].ends - time.monotonic(), LEAST_SECONDS)
            try:
                working = self._threads.start(partial(self._work, [each.item for each in batch]), seconds)
            except Overloaded as error:
                _raise_for(batch, error)
                continue
            self._working = True
            for each in batch:
                each.batch = working
            working.add_done_callback(partial(self._end, batch))

    def _next_batch(self) -> list[_Waiting[T, R]]:
        """Take the next batch from the queue; nothing where all that would be in it has waited too long."""
        batch = [self._waiting.popleft()]
        weight = batch[0].weight
        while self._waiting and len(batch) < self._count and weight + self._waiting[0].weight <= self._weight:
            weight += self._waiting[0].weight
            batch.append(self._waiting.popleft())
        now = time.monotonic()
        late = [each for each in batch if each.ends <= now]
        _raise_for(late, DatabaseUnavailable("The database does not answer.", retry_after=2))
        return batch[len(late) :]  # those that came first are late first

    def _end(self, batch: list[_Waiting[T, R]], working: asyncio.Future[Sequence[R | Exception]]) -> None:
        """Hand out the answers of a batch, and begin the next one."""
        self._begin()
        if working.cancelled():  # the service ends
            for each in batch:
                each.answer.cancel()
            return
        error = working.exception()
        if error is not None:
            _raise_for(batch, error)
            return
        for each, answer in zip(batch, working.result(), strict=True):
            if isinstance(answer, Exception):
                _raise_for([each], answer)
            elif not each.answer.done():
                each.answer.set_result(answer)


def _raise_for(batch: Sequence[_Waiting[T, R]], error: BaseException) -> None:
    for each in batch:
        if not each.answer.done():  # nobody waits for one that was cancelled
            each.answer.set_exception(error)
