"""Several service processes on one port, and the one process that keeps them.

The supervisor answers no request. It takes the address, starts the local database once, starts the service processes
(`service.launch.server_process`), starts again whichever ends by itself, and passes on that the service shall stop. On
Linux the kernel ends the service processes when the supervisor is killed, and with them their workers.

Each service process has a listening socket of its own on the one address, among which the kernel divides new
connections. The supervisor holds all of them open: what waits in the queue of a process that died is answered by its
successor.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import pickle
import signal
import socket
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from service.errors import ServiceError
from service.launch.children import BackOff, end_child, start_child
from service.settings import Settings
from service.storage.local.database import LocalDatabase
from service.telemetry.metrics import forget_process, share_metrics
from service.web.server import listen

log = logging.getLogger("service")

COMMAND = (sys.executable, "-m", "service.launch.server_process")
SETTLED_SECONDS = 30.0
"""Who lives so long did not die at once."""

ATTEMPTS = 10
"""So many deaths at once, one after another, and the supervisor gives up: some two minutes."""

CLOSING_SECONDS = 15.0
"""What a service process has to end its workers, beyond the time for its requests."""


class GaveUp(ServiceError):
    """A service process cannot be kept; the message says so to a person at the console.

    Parameters
    ----------
    detail : str
        The message.
    status : int
        The exit status of the process: negative for the signal that ended it.
    """

    def __init__(self, detail: str, status: int) -> None:
        super().__init__(detail)
        self.status = status


async def supervise(settings: Settings, listener: socket.socket, ready: Callable[[], None]) -> int:
    """Keep service processes until this process is told to stop.

    Parameters
    ----------
    settings : Settings
        What the operator has set.
    listener : socket
        The address, bound. It is closed, and others take its place.
    ready : callable
        Called once, when all service processes answer.

    Returns
    -------
    int
        The exit status.

    Raises
    ------
    GaveUp
        A service process died at once, again and again.
    LocalDatabaseError
        The local database cannot be used.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with contextlib.AsyncExitStack() as stack:
        listeners = share(listener, settings.workers)
        for each in listeners:
            stack.callback(each.close)
        if settings.mongodb_uri is None:
            starting = asyncio.create_task(stack.enter_async_context(LocalDatabase(settings.data_dir)))
            if await _stopped(stop, starting):
                return 0
            settings = replace(settings, mongodb_uri=starting.result().uri)
        settings = replace(settings, pool_processes=max(1, settings.pool_size // settings.workers))
        environment = {**os.environ, **share_metrics(settings.data_dir)}
        ended = partial(forget_process, settings.data_dir)
        processes = ServiceProcesses(pickle.dumps(settings), environment, ended=ended)
        stack.push_async_callback(processes.stop, settings.shutdown_grace + CLOSING_SECONDS)
        # The first one alone: it makes the database's collections, and what keeps it from starting is told once.
        for some in (listeners[:1], listeners[1:]):
            if await _stopped(stop, asyncio.create_task(processes.start(some))):
                return 0
        ready()
        await _stopped(stop, processes.failed)
        log.info("stopping")
    return 0


def share(listener: socket.socket, count: int) -> list[socket.socket]:
    """Return as many listening sockets on the address of one; where the kernel divides nothing, the one for all.

    Raises
    ------
    OSError
        Where the address cannot be shared.
    """
    if sys.platform != "linux":
        return [listener.dup() for _ in range(count)]
    # Bound without the permission to share until here: else a second service would join in, and not be refused.
    host, port = listener.getsockname()[:2]
    listener.close()
    return [listen(host, port, shared=True) for _ in range(count)]


class ServiceProcesses:
    """Processes that are started again when they end.

    Parameters
    ----------
    given : bytes
        What each reads from its standard input.
    environment : mapping
        Of each.
    command : sequence of str, optional
        What they are. The numbers of two file descriptors follow: the listening socket, and a pipe that is written to
        when the process answers requests.
    ended : callable, optional
        Told the process id of each that has ended, so that what it shared with the others can be cleared up.

    Attributes
    ----------
    failed : asyncio.Future
        Gets `GaveUp` when one of them cannot be kept.
    """

    def __init__(
        self,
        given: bytes,
        environment: Mapping[str, str],
        command: Sequence[str] = COMMAND,
        ended: Callable[[int], None] = lambda _: None,
    ) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._given = given
        self._environment = dict(environment)
        self._command = tuple(command)
        self._ended = ended
        self._keepers: list[asyncio.Task[None]] = []
        self._running: set[Process] = set()

    @property
    def process_ids(self) -> list[int]:
        """The ids of those that run."""
        return [process.pid for process in self._running]

    async def start(self, listeners: Sequence[socket.socket]) -> None:
        """Start one process for each socket, and wait until all answer.

        Raises
        ------
        GaveUp
            One of them ended instead.
        """
        answers: list[asyncio.Future[int | None]] = [asyncio.get_running_loop().create_future() for _ in listeners]
        self._keepers += [
            asyncio.create_task(self._keep(listener, answer))
            for listener, answer in zip(listeners, answers, strict=True)
        ]
        for status in await asyncio.gather(*answers):
            if status is not None:
                raise GaveUp("A service process ended while it started; what it said stands above.", status)

    async def stop(self, grace: float) -> None:
        """Ask all to stop, and end those that have not after so many seconds."""
        for keeper in self._keepers:
            keeper.cancel()
        await asyncio.gather(*self._keepers, return_exceptions=True)
        self.failed.cancel()
        if not self.failed.cancelled():
            self.failed.exception()  # looked at
        await asyncio.gather(*(end_child(process, grace) for process in self._running))
        self._running.clear()

    async def _keep(self, listener: socket.socket, first: asyncio.Future[int | None]) -> None:
        """Have a process on a socket, and another when it ends; `first` gets the status of one that never answered."""
        back_off = BackOff(SETTLED_SECONDS)
        while True:
            began = time.monotonic()
            status = await self._live(listener, first)
            if first.done() and first.result() is not None:  # whoever waits for the first one stops all
                return
            pause = back_off.after(time.monotonic() - began)
            if back_off.deaths >= ATTEMPTS:
                sentence = (
                    f"A service process ended at once {back_off.deaths} times in a row, the last time with status"
                )
                if not self.failed.done():
                    self.failed.set_exception(GaveUp(f"{sentence} {status}. The service stops.", status))
                return
            log.error("a service process ended with status %d; it is started again", status)
            await asyncio.sleep(pause)

    async def _live(self, listener: socket.socket, first: asyncio.Future[int | None]) -> int:
        """Have a process on a socket from its start to its end, and return its exit status."""
        try:
            process, answers = await self._start_one(listener)
        except OSError as error:
            log.error("a service process could not be started: %s", error.strerror)  # noqa: TRY400
            if not first.done():
                first.set_result(1)
            return 1
        try:
            if not first.done() and await answers:
                first.set_result(None)
            status = await process.wait()
        finally:
            if process.returncode is not None:
                self._running.discard(process)
                self._ended(process.pid)
        if not first.done():
            first.set_result(status)
        return status

    async def _start_one(self, listener: socket.socket) -> tuple[Process, asyncio.Future[bool]]:
        reading, writing = os.pipe()
        try:
            process = await start_child(
                *self._command,
                str(listener.fileno()),
                str(writing),
                stdin=PIPE,
                pass_fds=(listener.fileno(), writing),
                env=self._environment,
                start_new_session=True,  # Ctrl-C is for the supervisor, which asks them to stop
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        self._running.add(process)
        answers = _first_byte(reading)
        assert process.stdin is not None  # noqa: S101 - it was asked for above
        with contextlib.suppress(ConnectionError):  # it ended already
            process.stdin.write(self._given)
            await process.stdin.drain()
        process.stdin.close()
        return process, answers


def _first_byte(reading: int) -> asyncio.Future[bool]:
    """Return whether something is written to a pipe before its other end is closed."""
    loop = asyncio.get_running_loop()
    written: asyncio.Future[bool] = loop.create_future()

    def look() -> None:
        loop.remove_reader(reading)
        came = bool(os.read(reading, 1))
        os.close(reading)
        if not written.done():
            written.set_result(came)

    loop.add_reader(reading, look)
    return written


async def _stopped(stop: asyncio.Event, other: asyncio.Future[None] | asyncio.Task[object]) -> bool:
    """Wait until something has ended, or until the service shall stop; raise what it raised."""
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({stopping, other}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    if other.done():
        other.result()
        return False
    other.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await other
    return True
