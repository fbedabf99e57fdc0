"""Bytes of the store on their way to a caller."""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any

from aiohttp import hdrs, web

from service.errors import PreconditionFailed
from service.usecases.instances import LOOK_BYTES, Original
from service.usecases.near import NearOriginal
from service.web.app_keys import CALLER, REQUEST_ID, SETTINGS, STARTED
from service.web.conditional import Unsatisfiable, Validators, is_expected, is_unchanged, requested_range
from service.web.problems import problem_response

SLICE_BYTES = 1 << 18
"""What is written at once: what waits for a slow caller is a copy of no more than that."""

SMALL_BYTES = 1 << 16
"""So much of a file is written like other bytes: giving it to the kernel would cost more."""

SENT_BYTES = 1 << 20
"""What the kernel is given of a file at once, before others have their turn."""

WAIT_SECONDS = 1.0
"""Between two looks at a caller that takes nothing."""

LOOK_SECONDS = 1.0
"""After so long, what is sent next waits until it is known that its caller may still have it."""


class Outlet:
    """The way of an answer's bytes to its caller, which ends where the caller's share does.

    Whoever asks by a share is looked at again before more than a few MiB have passed since the last look, and where
    that was over a second ago. Whoever has a token of their own is not.

    Parameters
    ----------
    request : web.Request
        What is answered.
    """

    __slots__ = ("_caller", "_looked_after", "_looked_at", "_writer")

    def __init__(self, request: web.Request) -> None:
        caller = request.get(CALLER)
        self._caller = caller if caller is not None and caller.still_allowed is not None else None
        self._writer = request.writer
        self._looked_after = 0
        self._looked_at = request[STARTED]

    async def before(self, size: int) -> None:
        """Look whether so many bytes, which are no more than `LOOK_BYTES`, may be sent now.

        Raises
        ------
        Unauthorized
            The caller may have no more. An answer that has begun is cut for it.
        """
        if self._caller is None:
            return
        now, sent = time.perf_counter(), self._writer.output_size
        if sent + size - self._looked_after > LOOK_BYTES or now - self._looked_at > LOOK_SECONDS:
            await self._caller.look()
            self._looked_after, self._looked_at = sent, now

    async def write(self, response: web.StreamResponse, piece: bytes) -> None:
        """Send a piece of any size as fast as the caller takes it. Raises what :meth:`before` does."""
        if len(piece) <= SLICE_BYTES:
            await self.before(len(piece))
            await response.write(piece)
            return
        view = memoryview(piece)
        for start in range(0, len(view), SLICE_BYTES):
            part = view[start : start + SLICE_BYTES]
            await self.before(len(part))
            await response.write(part)


@contextlib.asynccontextmanager
async def closing(pieces: AsyncIterator[object]) -> AsyncIterator[None]:
    """Close what gives the pieces of an answer as soon as it is over, however it ended: it may hold files."""
    try:
        yield
    finally:
        close = getattr(pieces, "aclose", None)
        if close is not None:
            await close()


async def once(data: bytes) -> AsyncIterator[bytes]:
    """Return bytes that are at hand, as the pieces of a body."""
    yield data


async def stream(
    request: web.Request, response: web.StreamResponse, length: int, pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send an answer whose body comes in pieces.

    Parameters
    ----------
    request : web.Request
        What is answered; a HEAD gets the headers.
    response : web.StreamResponse
        Status and headers.
    length : int
        Bytes of the body.
    pieces : async iterator of bytes
        The body.
    """
    response.content_length = length
    async with closing(pieces):
        if request.method == hdrs.METH_HEAD:
            await response.prepare(request)
            return response
        # The first piece is read before anything is sent: where the database is away, that can still be said.
        first = await anext(pieces, b"")
        outlet = Outlet(request)
        await outlet.before(0)
        await response.prepare(request)
        await outlet.write(response, first)
        del first  # or it would be held for as long as the next one takes
        async for piece in pieces:
            await outlet.write(response, piece)
    await response.write_eof()
    return response


async def send_whole(request: web.Request, response: web.StreamResponse) -> web.StreamResponse:
    """Return an answer that is at hand; send it where it is so large that a share may end meanwhile.

    Raises
    ------
    Unauthorized
        The share by which is asked has ended while the answer was made.
    """
    if response.prepared or not isinstance(response, web.Response) or request[CALLER].still_allowed is None:
        return response
    body = response.body
    if isinstance(body, bytes) and len(body) > LOOK_BYTES:
        sent = web.StreamResponse(status=response.status, headers=response.headers)
        return await stream(request, sent, len(body), once(body))
    await Outlet(request).before(0)
    return response


def unchanged(request: web.Request, validators: Validators, headers: Mapping[str, str]) -> web.Response | None:
    """Return 304 where the caller has this version of a file already, else None."""
    sent = request.headers
    if not is_unchanged(validators, sent.get(hdrs.IF_NONE_MATCH), sent.get(hdrs.IF_MODIFIED_SINCE)):
        return None
    kept = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return web.Response(status=304, headers={**kept, **_version(validators)})


def check_expected(request: web.Request, validators: Validators | None) -> None:
    """Refuse a request that is meant for another version of what is there.

    Parameters
    ----------
    request : web.Request
        What is asked.
    validators : Validators or None
        Of the current version; None where there are none.

    Raises
    ------
    PreconditionFailed
        It is meant for another one.
    """
    # A header that is sent twice is one list (RFC 9110, 5.3).
    if_match = ", ".join(request.headers.getall(hdrs.IF_MATCH, ())) if hdrs.IF_MATCH in request.headers else None
    if not is_expected(validators, if_match, request.headers.get(hdrs.IF_UNMODIFIED_SINCE)):
        raise PreconditionFailed


async def send_file(
    request: web.Request,
    validators: Validators,
    length: int,
    read: Callable[[int, int], AsyncIterator[bytes]],
    headers: Mapping[str, str],
    original: Original | None = None,
) -> web.StreamResponse:
    """Send a file, or the range of it that the request asks for, or 304, 412 or 416 (RFC 9110, 13 and 14).

    Parameters
    ----------
    request : web.Request
        What is answered.
    validators : Validators
        Of the file as it is sent.
    length : int
        Its bytes.
    read : callable
        Returns those from one place up to another.
    headers : mapping
        Of the answer, `Content-Type` among them.
    original : Original, optional
        The file, where it is an original as it is stored: the kernel sends one that is near.

    Raises
    ------
    PreconditionFailed
        The request is meant for another version.
    """
    check_expected(request, validators)
    if (same := unchanged(request, validators, headers)) is not None:
        return same
    sent = request.headers
    wanted = sent.get(hdrs.RANGE) if request.method == hdrs.METH_GET else None
    try:
        part = requested_range(validators, length, wanted, sent.get(hdrs.IF_RANGE))
    except Unsatisfiable:
        refusal = problem_response(416, f"The file has {length} bytes.", request[REQUEST_ID])
        refusal.headers[hdrs.CONTENT_RANGE] = f"bytes */{length}"
        return refusal
    start, stop = part or (0, length)
    response = web.StreamResponse(status=200 if part is None else 206, headers={**headers, **_version(validators)})
    if part is not None:
        response.headers[hdrs.CONTENT_RANGE] = f"bytes {start}-{stop - 1}/{length}"
    if original is not None and isinstance(original.content, NearOriginal):
        return await _send_near(request, response, original.content, (start, stop), original.look)
    return await stream(request, response, stop - start, read(start, stop))


def _version(validators: Validators) -> dict[str, str]:
    return {"ETag": validators.etag, "Last-Modified": validators.last_modified, "Accept-Ranges": "bytes"}


async def _send_near(
    request: web.Request,
    response: web.StreamResponse,
    file: NearOriginal,
    part: tuple[int, int],
    look: Callable[[], Awaitable[Any]],
) -> web.StreamResponse:
    """Send an answer whose body is a file of this machine, or a part of one, without reading it into the process.

    Parameters
    ----------
    request : web.Request
        What is answered; a HEAD gets the headers.
    response : web.StreamResponse
        Status and headers.
    file : NearOriginal
        The file; it is closed afterwards.
    part : (int, int)
        The first byte, and the one behind the last.
    look : callable
        Raises where the bytes may no longer be seen. It is asked every few MiB; the caller just did.

    Raises
    ------
    ConnectionError
        The caller went away, or took too little for too long.
    """
    start, stop = part
    response.content_length = stop - start
    try:
        small = os.pread(file.descriptor, stop - start, start) if stop - start <= SMALL_BYTES else None
        outlet = Outlet(request)
        await outlet.before(0)
        await response.prepare(request)
        if request.method == hdrs.METH_HEAD:
            return response
        if small is not None:
            await response.write(small)
        else:
            await _give(request, file.descriptor, start, stop, look, outlet)
        await response.write_eof()
    finally:
        file.close()
    return response


async def _give(
    request: web.Request, descriptor: int, start: int, stop: int, look: Callable[[], Awaitable[Any]], outlet: Outlet
) -> None:
    """Let the kernel send bytes of a file.

    asyncio's own `sendfile` does not tell how far it has come, so a caller that takes nothing could not be told from
    one that takes little. The socket gets a second descriptor, because the first is watched for the transport.
    """
    transport = request.transport
    if transport is None:
        raise ConnectionResetError
    await _empty(transport, request.writer)
    progress = _Progress(request, start)
    socket = os.dup(transport.get_extra_info("socket").fileno())
    try:
        position = looked = start
        while position < stop:
            if position - looked >= LOOK_BYTES:
                await look()
                looked = position
            if position == looked and hasattr(os, "posix_fadvise"):
                os.posix_fadvise(descriptor, position, LOOK_BYTES, os.POSIX_FADV_WILLNEED)
            if transport.is_closing():
                raise ConnectionResetError
            size = min(SENT_BYTES, stop - position)
            await outlet.before(size)
            try:
                sent = os.sendfile(socket, descriptor, position, size)
            except BlockingIOError:
                await _until_writable(socket)
                progress.check(position, transport)
                continue
            if not sent:
                raise OSError("A near file has become shorter.")
            position += sent
            request.writer.output_size += sent
            await asyncio.sleep(0)
    finally:
        os.close(socket)


class _Progress:
    """How far a caller has come, and since when; one that takes too little is given up as other answers are."""

    def __init__(self, request: web.Request, position: int) -> None:
        settings = request.app[SETTINGS]
        self._seconds = settings.answer_timeout
        self._least = settings.answer_timeout * settings.min_rate
        self._position = position
        self._clock = asyncio.get_running_loop().time
        self._since = self._clock()

    def check(self, position: int, transport: asyncio.Transport) -> None:
        """Cut the connection of a caller that took too little for too long."""
        now = self._clock()
        if now - self._since < self._seconds:
            return
        if position - self._position < self._least:
            transport.abort()
            raise ConnectionAbortedError
        self._position, self._since = position, now


async def _empty(transport: asyncio.Transport, writer: Any) -> None:
    """Wait until what was written before is on its way."""
    if transport.get_write_buffer_size():
        transport.set_write_buffer_limits(0)
        try:
            await writer.drain()
        finally:
            transport.set_write_buffer_limits()


async def _until_writable(socket: int) -> None:
    """Wait until a socket takes bytes again, or for a second."""
    loop = asyncio.get_running_loop()
    ready = loop.create_future()
    loop.add_writer(socket, _settle, ready)
    try:
        await asyncio.wait([ready], timeout=WAIT_SECONDS)
    finally:
        loop.remove_writer(socket)


def _settle(ready: asyncio.Future[None]) -> None:
    if not ready.done():
        ready.set_result(None)
