"""The connections of one process: how many there are, and that none of them holds anything by doing nothing.

Where all are taken, the one that has been idle longest makes room for a new one; where none is idle, the new one is
refused. An answer that its caller does not take is given up, and with it what it holds.
"""

from __future__ import annotations

import asyncio
import logging
import math
import resource
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from service.settings import Settings
from service.web.middleware import SAFE_HEADERS
from service.web.problems import CONTENT_TYPE, EXHAUSTED, problem_body

log = logging.getLogger(__name__)

OWN_DESCRIPTORS = 256
"""File descriptors that are kept for what is no connection: the database, workers, spool files."""

LOOK_SECONDS = 1.0
"""Between two looks at the connections."""

MAX_UNTAKEN_BYTES = 256 << 20
"""What all connections together may hold of answers that nobody takes."""

TELL_SECONDS = 60.0
"""Between two lines of the log that say that no connection can be accepted."""

STALLED_SECONDS = 2.0
"""After so long an answer may be given up where too much is not taken."""

BUSY = "The service has as many connections as it takes."
SLOW_HEAD = "The request's line and headers did not come in time."


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """What a connection may do.

    Parameters
    ----------
    connections : int
        How many there may be.
    header_timeout : float
        Seconds from the first byte of a request to the end of its headers.
    answer_timeout : float
        Seconds in which a caller must take something of an answer.
    min_rate : float
        Bytes a second of it that must be taken.
    """

    connections: int
    header_timeout: float
    answer_timeout: float
    min_rate: float

    @classmethod
    def of(cls, settings: Settings) -> ConnectionBounds:
        """Return the bounds that the settings name, as far as the system has file descriptors for them."""
        return cls(
            room_for(settings.max_connections), settings.header_timeout, settings.answer_timeout, settings.min_rate
        )


def room_for(connections: int) -> int:
    """Return how many connections the system allows, having asked it for so many."""
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + OWN_DESCRIPTORS
    if allowed < wanted and allowed != resource.RLIM_INFINITY:
        allowed = wanted if most == resource.RLIM_INFINITY else min(wanted, most)
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if allowed == resource.RLIM_INFINITY or allowed >= wanted:
        return connections
    room = max(allowed - OWN_DESCRIPTORS, allowed // 2)
    log.warning("the system allows %d file descriptors, so there are at most %d connections", allowed, room)
    return room


@dataclass(slots=True)
class Untaken:
    """How much of its answers a caller had not taken, and when that was looked at."""

    size: int
    since: float


class StalledAnswers:
    """Looks at what callers have not taken yet, for as long as there are connections.

    Parameters
    ----------
    bounds : ConnectionBounds
        What is too slow.
    connections : callable
        Returns the handlers of the connections, each with its `transport`, a place `untaken`, and whether its caller
        `is_sending` a body whose answer has begun: it need not read meanwhile.
    """

    def __init__(self, bounds: ConnectionBounds, connections: Callable[[], Sequence[Any]]) -> None:
        self._bounds = bounds
        self._connections = connections
        self._looking = False

    def watch(self) -> None:
        """Look from now on, until there is no connection any more."""
        if not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def _look(self) -> None:
        loop = asyncio.get_running_loop()
        self._looking = False
        connections = [(each, each.transport) for each in self._connections()]
        if connections:
            self.watch()
        untaken = 0
        for handler, transport in connections:
            untaken += transport.get_write_buffer_size()
            if self._is_given_up(handler, transport, loop.time()):
                _abort(transport)
        if untaken > MAX_UNTAKEN_BYTES:
            self._make_room(connections, untaken, loop.time())

    def _is_given_up(self, handler: Any, transport: asyncio.Transport, now: float) -> bool:
        size = transport.get_write_buffer_size()
        if not size or handler.is_sending:
            handler.untaken = None
        elif handler.untaken is None:
            handler.untaken = Untaken(size, now)
        elif now - handler.untaken.since >= self._bounds.answer_timeout:
            if handler.untaken.size - size < self._bounds.min_rate * self._bounds.answer_timeout:
                return True
            handler.untaken = Untaken(size, now)
        return False

    @staticmethod
    def _make_room(connections: Sequence[tuple[Any, asyncio.Transport]], untaken: int, now: float) -> None:
        stalled = [
            (transport.get_write_buffer_size(), transport)
            for handler, transport in connections
            if handler.untaken is not None and now - handler.untaken.since > STALLED_SECONDS
        ]
        for size, transport in sorted(stalled, key=lambda pair: pair[0], reverse=True):
            _abort(transport)
            untaken -= size
            if untaken <= MAX_UNTAKEN_BYTES:
                return


def _abort(transport: asyncio.Transport) -> None:
    log.info("gave up an answer that its caller did not take")
    transport.abort()


class FullHouse:
    """Handles the errors of an event loop, and tells at most once in a while that no connection can be accepted.

    Where file descriptors are used up, asyncio reports that a thousand times a second, each time with a traceback.
    """

    def __init__(self) -> None:
        self._told_at = -math.inf

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Handle an error that nobody else has handled."""
        error = context.get("exception")
        if not (isinstance(error, OSError) and error.errno in EXHAUSTED and "accept" in context.get("message", "")):
            loop.default_exception_handler(context)
        elif loop.time() - self._told_at >= TELL_SECONDS:
            self._told_at = loop.time()
            log.error("new connections have to wait: %s", error.strerror)


def written_problem(status: int, detail: str, *, retry_after: int | None = None) -> bytes:
    """Write the answer to what is no request yet, and the end of its connection."""
    request_id = uuid.uuid4().hex
    body = problem_body(status, detail, request_id)
    headers = {
        **SAFE_HEADERS,
        "Content-Type": CONTENT_TYPE,
        "Content-Length": str(len(body)),
        "Connection": "close",
        "X-Request-ID": request_id,
    }
    if retry_after is not None:
        headers["Retry-After"] = str(retry_after)
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {headers[name]}" for name in headers)]
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body
