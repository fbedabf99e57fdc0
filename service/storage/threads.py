"""Several commands in one hop to a thread.

Motor sends each command through a thread of its own pool and comes back to the event loop in between. Storing one
file takes five commands; here they run one after another in one thread, on the synchronous objects below Motor's.

The threads take their work from a queue and hand what came of it to the event loop, and that is all: a hop by a
`ThreadPoolExecutor` makes a second future, which is copied into the first, and takes twice the processor time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Coroutine, Sized
from functools import partial, wraps
from queue import SimpleQueue
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
        self._queue: _Queue = SimpleQueue()
        self._started = 0
        self._closed = False

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
        if self._closed:
            raise RuntimeError("The store is closed.")
        if self.running >= self._limit:
            raise Overloaded("Too much waits for the database.", retry_after=2)
        ends = None if seconds is None else time.monotonic() + seconds

        def limited() -> T:
            left = None if ends is None else ends - time.monotonic()
            if left is not None and left <= 0:
                raise DatabaseUnavailable("The database does not answer.", retry_after=2)
            with answering(left):
                return sequence()

        if self.running >= self._started < self.size:  # all have something to do
            # A process that ends waits for its callers, and they for their sequences; it need not wait for threads.
            threading.Thread(target=_work, args=(self._queue,), name="storage", daemon=True).start()
            self._started += 1
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self.running += 1
        future.add_done_callback(self._ended)
        self._queue.put((future, limited))
        return future

    def _ended(self, _: object) -> None:
        self.running -= 1

    def close(self) -> None:
        """Let the threads end. Sequences that are started are finished."""
        if not self._closed:
            self._closed = True
            for _ in range(self._started):
                self._queue.put(None)

    __del__ = close


_Queue = SimpleQueue[tuple[asyncio.Future[Any], Callable[[], Any]] | None]


def _work(queue: _Queue) -> None:
    """Run sequences one after another until there is a None."""
    while (given := queue.get()) is not None:
        future, sequence = given
        try:
            result = sequence()
        except BaseException as error:  # noqa: BLE001 - whoever waits gets it, whatever it is
            settle: Callable[[], None] = partial(_fail, future, error)
            del error
        else:
            settle = partial(_succeed, future, result)
            del result
        with contextlib.suppress(RuntimeError):  # the loop is closed, and nobody waits
            future.get_loop().call_soon_threadsafe(settle)
        del given, future, sequence, settle  # or they would be held until the next sequence


def _succeed(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[Any], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)


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
