"""The HTTP server under the application: bounds on what a connection may do, and errors of the parser as problems.

aiohttp's own answer to a request that it cannot parse repeats the bytes in question, and its log holds them with a
traceback. A path or a header may hold a patient id or a token, so neither is done here.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from service.telemetry import logs
from service.web.access_log import CLIENT_GONE, NO_ROUTE, NOT_HTTP, route_template, write_down
from service.web.app_keys import CONTEXT, REQUEST_ID, ROUTE, SETTINGS, STARTED
from service.web.connections import (
    BUSY,
    SLOW_HEAD,
    ConnectionBounds,
    StalledAnswers,
    Untaken,
    written_problem,
)
from service.web.middleware import SAFE_HEADERS, problems, request_id_of
from service.web.problems import SENTENCES, log_unknown, problem_response

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 8190
"""The longest request target in bytes."""

MAX_FIELD_BYTES = MAX_LINE_BYTES + 2
"""The longest header in bytes. Another number than the target's: it is how the parser says which one was too long."""

MAX_HEAD_BYTES = 1 << 15
"""A request's headers all together, in bytes. Each connection may have some requests waiting."""

LONG_TARGET = f"The request's target is over {MAX_LINE_BYTES} bytes."
LONG_HEAD = f"One of the request's headers is over {MAX_FIELD_BYTES} bytes, or all of them are over {MAX_HEAD_BYTES}."
NO_REQUEST = "This is not a request as HTTP/1.1 has it."

CONNECTION_BOUNDS: dict[str, Any] = {
    "access_log": None,  # it has whole paths; `access_log` writes route templates
    "auto_decompress": False,  # it would inflate on the event loop
    "read_bufsize": 1 << 17,  # what waits to be read is at most twice that, and what the kernel gave at once
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": MAX_FIELD_BYTES,
    "lingering_time": 5.0,  # how long a refused upload is read and dropped, so that its sender sees the answer
}

UNSENT_BYTES = 1 << 17
"""What the kernel holds of an answer beyond what is on its way, in bytes; else some megabytes for who reads nothing."""

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
WriteDown = Callable[[web.BaseRequest, int], None]


def waits_for_request(handler: web.RequestHandler) -> bool:
    """Return whether a connection waits for a request: the one thing that aiohttp knows of it and does not tell."""
    waiter = handler._waiter
    return waiter is not None and not waiter.done()


class DiscreetRequestHandler(web.RequestHandler):
    """A connection whose errors say nothing of what was sent, and which ends where its caller does nothing.

    Parameters
    ----------
    write_down : callable
        Takes a request, and the status of its answer once that is out.
    """

    __slots__ = ("_head_bytes", "_head_timer", "_server", "_write_down", "idle_since", "is_sending", "untaken")

    def __init__(self, server: DiscreetServer, write_down: WriteDown, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._write_down = write_down
        self.untaken: Untaken | None = None
        self.is_sending = False
        self.idle_since = 0.0
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002
        """Write the request down: aiohttp calls this when the answer is out."""
        self.idle_since = _now()
        self._write_down(request, response.status)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection, or refuse it where there are too many."""
        self.idle_since = _now()
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - a connection is written to
        if self._server.has_room():
            super().connection_made(transport)
            return
        log.info("refused a connection: there are %d", len(self._server.connections))
        transport.write(written_problem(503, BUSY, retry_after=2))
        transport.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Let go of the connection."""
        self._end_head_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; a request that has begun has some seconds, and some bytes, to show its headers whole."""
        super().data_received(data)
        if not self.is_idle:
            self._end_head_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._give_up_head(431, LONG_HEAD)
        elif data and self._head_timer is None:
            seconds = self._server.bounds.header_timeout
            self._head_timer = asyncio.get_running_loop().call_later(seconds, self._give_up_head, 408, SLOW_HEAD)

    def resume_writing(self) -> None:
        """Note that the caller takes what is written."""
        self.untaken = None
        super().resume_writing()

    @property
    def is_idle(self) -> bool:
        """Whether no request is being worked on."""
        return waits_for_request(self)

    def _end_head_timer(self) -> None:
        self._head_bytes = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up_head(self, status: int, sentence: str) -> None:
        self._end_head_timer()
        if self.is_idle and self.transport is not None:
            log.info("gave up a request whose headers did not come, or did not end")
            self.transport.write(written_problem(status, sentence))
            self.force_close()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """Answer what the parser refused, or what went wrong outside the middlewares."""
        if isinstance(exc, ConnectionError):  # nobody is there any more, or the answer was cut on purpose
            raise exc
        request_id = request[REQUEST_ID] = request.get(REQUEST_ID) or request_id_of(request)
        if ROUTE not in request:
            request[ROUTE] = NOT_HTTP
        if status >= 500 and not isinstance(exc, LineTooLong):
            if exc is not None:
                log_unknown(exc, request_id)
            if request.writer.output_size > 0:
                raise ConnectionAbortedError
            response = problem_response(500, SENTENCES[500], request_id)
        else:
            response = problem_response(*_refusal(exc), request_id)
        response.headers["X-Request-ID"] = request_id
        for name, value in SAFE_HEADERS.items():
            response.headers.setdefault(name, value)
        # The request that could not be parsed counts as HTTP/1.0, where aiohttp leaves this to be understood.
        response.headers["Connection"] = "close"
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """Log that something went wrong in aiohttp itself, without the message, which may quote the request."""
        error = kw.get("exc_info")
        if isinstance(error, BaseException):
            log_unknown(error, uuid.uuid4().hex)
        else:
            log.error("aiohttp could not answer a request (%d arguments withheld)", len(args))

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Write nothing: these lines hold tracebacks of requests."""


def _now() -> float:
    return asyncio.get_running_loop().time()


def _check_head(request: web.BaseRequest) -> None:
    """Refuse headers that are too much together.

    Raises
    ------
    LineTooLong
    """
    if sum(len(name) + len(value) for name, value in request.raw_headers) > MAX_HEAD_BYTES:
        raise LineTooLong(b"", MAX_HEAD_BYTES)


def _refusal(error: BaseException | None) -> tuple[int, str]:
    """Return the status and the sentence for what the parser refused (RFC 9112, 2.3 and 3; RFC 6585, 5)."""
    if isinstance(error, LineTooLong):
        return (414, LONG_TARGET) if error.args[1] == MAX_LINE_BYTES else (431, LONG_HEAD)
    said = str(getattr(error, "message", ""))
    if "Invalid HTTP version" in said or "Pause on PRI" in said:  # the preface of HTTP/2
        return 505, SENTENCES[505]
    return 400, NO_REQUEST


class DiscreetServer(web.Server):
    """aiohttp's server, with connections of the kind above.

    Parameters
    ----------
    handler : callable
        Answers requests.
    write_down : callable
        Takes a request, and the status of its answer once that is out.
    bounds : ConnectionBounds
        What connections may do.
    keepalive_timeout : float
        Seconds for which an idle connection is kept.
    request_factory : callable
        Makes requests.
    """

    def __init__(
        self,
        handler: Answer,
        write_down: WriteDown,
        bounds: ConnectionBounds,
        keepalive_timeout: float,
        request_factory: Any,
    ) -> None:
        super().__init__(handler, request_factory=request_factory)
        self._write_down = write_down
        self.bounds = bounds
        self._options = {**CONNECTION_BOUNDS, "keepalive_timeout": keepalive_timeout}
        self._stalled = StalledAnswers(
            bounds, lambda: [each for each in self.connections if each.transport is not None]
        )

    def has_room(self) -> bool:
        """Return whether there may be one more connection; the one that was idle longest makes room for it."""
        self._stalled.watch()
        if len(self.connections) < self.bounds.connections:
            return True
        idle = [each for each in self.connections if isinstance(each, DiscreetRequestHandler) and each.is_idle]
        if not idle:
            return False
        min(idle, key=lambda each: each.idle_since).force_close()
        return True

    def __call__(self) -> web.RequestHandler:
        """Make the handler of one connection."""
        return DiscreetRequestHandler(self, self._write_down, loop=asyncio.get_running_loop(), **self._options)


class DiscreetRunner(web.ServerRunner):
    """Runs the application in a `DiscreetServer`. Make it where the event loop runs.

    Parameters
    ----------
    app : web.Application
        From `service.app.create_app`.
    **options
        Of `web.ServerRunner`.
    """

    def __init__(self, app: web.Application, **options: Any) -> None:
        self._app = app
        self._plain = web.AppRunner(app)  # it starts the application, and is given no connection
        settings = app[SETTINGS]
        bounds = ConnectionBounds.of(settings)
        server = DiscreetServer(
            self._answer, partial(write_down, app), bounds, settings.keepalive_timeout, self._make_request
        )
        super().__init__(server, **options)

    async def setup(self) -> None:
        """Start the application; then connections can be taken."""
        await self._plain.setup()
        await super().setup()

    async def cleanup(self) -> None:
        """End the connections, and then the application."""
        await super().cleanup()
        await self._plain.cleanup()

    def _make_request(self, *parts: Any) -> web.BaseRequest:
        assert self._plain.server is not None  # noqa: S101 - a connection comes after `setup`
        return self._plain.server.request_factory(*parts)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer a request, whatever happens in the one shape of an answer."""
        assert isinstance(request, web.Request)  # noqa: S101 - the application's own request factory made it
        request[STARTED] = time.perf_counter()
        request[REQUEST_ID] = request_id_of(request)
        _check_head(request)
        request[ROUTE] = NO_ROUTE
        logs.request_id.set(request[REQUEST_ID])  # each request has a task, and so a context, of its own
        try:
            with self._app[CONTEXT].metrics.answering():
                # aiohttp looks at `Expect` before any middleware; whatever fails there has the same shape too.
                return await problems(request, self._route)
        except (asyncio.CancelledError, ConnectionError):
            write_down(self._app, request, CLIENT_GONE)
            raise

    async def _route(self, request: web.Request) -> web.StreamResponse:
        assert self._plain.server is not None  # noqa: S101 - a connection comes after `setup`
        try:
            return await self._plain.server.request_handler(request)
        finally:  # the application has found its route
            request[ROUTE] = route_template(request)


def listen(host: str, port: int, *, shared: bool = False) -> socket.socket:
    """Take the address before anything else is started, so that a port in use is known at once.

    Parameters
    ----------
    host : str
        A name or an address.
    port : int
        The port; 0 takes a free one.
    shared : bool, optional
        Whether further sockets may take the same address; the kernel then divides new connections among them.

    Raises
    ------
    OSError
        Where the address cannot be had.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):  # of its connections too
            listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        listener.bind(address)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Return the URL at which a bound socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
