"""The HTTP server under the application: bounds on what a connection may do, and errors of the parser as problems.

aiohttp's own answer to a request that it cannot parse repeats the bytes in question, and its log holds them with a
traceback. A path or a header may hold a patient id or a token, so neither is done here.
"""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from service.web.keys import REQUEST_ID
from service.web.middleware import SAFE_HEADERS, problems, request_id_of
from service.web.problems import SENTENCES, log_unknown, problem_response

log = logging.getLogger(__name__)

MAX_LINE_BYTES = 8190
"""The longest request target, and the longest header, in bytes."""

CONNECTION_BOUNDS: dict[str, Any] = {
    "access_log": None,  # it has whole paths; the middleware logs route templates
    "auto_decompress": False,  # it would inflate on the event loop
    "read_bufsize": 1 << 16,
    "max_line_size": MAX_LINE_BYTES,
    "max_field_size": MAX_LINE_BYTES,
    "keepalive_timeout": 75.0,  # also the time that a connection has for its first request line and headers
    "lingering_time": 5.0,  # how long a refused upload is read and dropped, so that its sender sees the answer
}

Answer = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class DiscreetRequestHandler(RequestHandler):
    """A connection whose errors say nothing of what was sent."""

    __slots__ = ()

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
        request_id = request_id_of(request)
        if status >= 500:
            if exc is not None:
                log_unknown(exc, request_id)
            if request.writer.output_size > 0:
                raise ConnectionAbortedError
            response = problem_response(500, SENTENCES[500], request_id)
        elif isinstance(exc, LineTooLong):
            log.info("refused a request with an over-long line, %s", request_id)
            detail = f"The request's target or one of its headers is over {MAX_LINE_BYTES} bytes."
            response = problem_response(431, detail, request_id)
        else:
            log.info("refused a request that is not HTTP (%s), %s", type(exc).__name__, request_id)
            response = problem_response(400, "This is not a request as HTTP/1.1 has it.", request_id)
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
            self.logger.error("aiohttp could not answer a request (%d arguments withheld)", len(args))

    def log_debug(self, *args: Any, **kw: Any) -> None:
        """Say nothing: these lines hold tracebacks of requests."""


class DiscreetServer(web.Server):
    """aiohttp's server, with connections of the kind above."""

    def __init__(self, handler: Answer, **options: Any) -> None:
        super().__init__(handler, **options)
        self._options = {name: value for name, value in options.items() if name in CONNECTION_BOUNDS}

    def __call__(self) -> RequestHandler:
        """Make the handler of one connection."""
        return DiscreetRequestHandler(self, loop=self._loop, **self._options)


class DiscreetRunner(web.AppRunner):
    """Runs the application in a `DiscreetServer`."""

    def __init__(self, app: web.Application, **options: Any) -> None:
        super().__init__(app, **{**CONNECTION_BOUNDS, **options})

    async def _make_server(self) -> web.Server:
        plain = await super()._make_server()
        answer = plain.request_handler

        async def guarded(request: web.BaseRequest) -> web.StreamResponse:
            # aiohttp looks at `Expect` before any middleware; whatever fails there has the same shape too.
            assert isinstance(request, web.Request)  # noqa: S101 - the application's own request factory made it
            request[REQUEST_ID] = request_id_of(request)
            return await problems(request, answer)

        return DiscreetServer(guarded, request_factory=plain.request_factory, **CONNECTION_BOUNDS)


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
        listener.bind(address)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener


def address_of(listener: socket.socket) -> str:
    """Give the URL at which a bound socket is reached."""
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
