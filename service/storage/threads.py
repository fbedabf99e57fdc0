"""Several commands in one hop to a thread.

Motor sends each command through a thread of its own pool and comes back to the event loop in between. Storing one
file takes five commands; here they run one after another in one thread, on the synchronous objects below Motor's.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sized
from concurrent.futures import ThreadPoolExecutor
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from service.errors import DatabaseUnavailable, Overloaded
from service.storage.connection import ANSWER_SECONDS, answering

T = TypeVar("T")
P = ParamSpec("P")


class Threads:
    """The threads in which sequences of database commands run.

    Parameters
    ----------
    count : int
        How many sequences run at once. They wait for the database nearly all of their time.
    queue : int
        How many may wait for a thread.

    Attributes
    ----------
    size, running : int
        How many threads there may be, and how many sequences have one or wait for one.
    gathered : list
        What waits until a sequence can be made of it, by where it waits.
    """

    def __init__(self, count: int = 32, queue: int = 256) -> None:
        self.size = count
        self.running = 0
        self.gathered: list[Sized] = []
        self._limit = count + queue
        self._executor = ThreadPoolExecutor(count, thread_name_prefix="storage")

    @property
    def busy(self) -> int:
        """How many threads run a sequence."""
        return min(self.running, self.size)

    @property
    def waiting(self) -> int:
        """How many calls wait for a thread, or for those before them."""
        return self.running - self.busy + sum(map(len, self.gathered))

    async def run(self, sequence: Callable[[], T], seconds: float | None = ANSWER_SECONDS) -> T:
        """Run a sequence of commands to its end.

        Cancelling the caller does not leave the sequence running behind its back: the cancellation is passed on
        when the sequence has ended, so what the caller cleans up then stays clean.

        Parameters
        ----------
        sequence : callable
            Takes nothing, and uses synchronous driver objects.
        seconds : float or None
            Time limit from now on, waiting for a thread included.

        Raises
        ------
        DatabaseUnavailable
            If the database does not answer in time.
        Overloaded
            If too many wait already.
        """
        future = self.start(sequence, seconds)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            await outlast(future)
            raise

    def start(self, sequence: Callable[[], T], seconds: float | None = ANSWER_SECONDS) -> asyncio.Future[T]:
        """Return the future of a sequence that is started now, or as soon as a thread is free.

        Whoever cancels the future does not stop the sequence.

        Parameters
        ----------
        sequence, seconds
            As of :meth:`run`.

        Raises
        ------
        Overloaded
            If too many wait already. All else is raised by the future.
        """
        if self.running >= self._limit:
            raise Overloaded("Too much waits for the database.", retry_after=2)
        ends = None if seconds is None else time.monotonic() + seconds

        def limited() -> T:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise DatabaseUnavailable("The database does not answer.", retry_after=2)
            with answering(left):
                return sequence()

        future = asyncio.get_running_loop().run_in_executor(self._executor, limited)
        self.running += 1
        future.add_done_callback(self._ended)
        return future

    def _ended(self, _: object) -> None:
        self.running -= 1

    def close(self) -> None:
        """Let the threads end. Sequences under way are finished."""
        self._executor.shutdown(wait=False)


async def outlast(future: asyncio.Future[Any]) -> None:
    """Wait until a future is done, however often the wait is cancelled, and look at what became of it."""
    while not future.done():
        try:
            await asyncio.wait([future])
        except asyncio.CancelledError:
            continue
    if not future.cancelled():
        future.exception()  # looked at, so that it is not reported as forgotten


class HasThreads(Protocol):
    """A part of the store: it has threads in which its commands run."""

    @property
    def threads(self) -> Threads:
        """Where its commands run."""


S = TypeVar("S", bound=HasThreads)


def one_hop(commands: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Return a method as a coroutine: its commands run one after another in one hop to a thread.

    It raises what :meth:`Threads.run` raises, beside its own errors.
    """

    @wraps(commands)
    async def hop(self: S, /, *arguments: P.args, **options: P.kwargs) -> T:
        return await self.threads.run(partial(commands, self, *arguments, **options))

    return hop
