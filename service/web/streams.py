"""Bytes of the store on their way to a caller."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping

from aiohttp import hdrs, web

from service.web.app_keys import REQUEST_ID
from service.web.conditional import Unsatisfiable, Validators, is_unchanged, requested_range
from service.web.problems import problem_response

SLICE_BYTES = 1 << 18
"""What is written at once: what waits for a slow caller is a copy of no more than that."""


async def write(response: web.StreamResponse, piece: bytes) -> None:
    """Send a piece of any size as fast as the caller takes it."""
    if len(piece) <= SLICE_BYTES:
        await response.write(piece)
        return
    view = memoryview(piece)
    for start in range(0, len(view), SLICE_BYTES):
        await response.write(view[start : start + SLICE_BYTES])


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
        await response.prepare(request)
        await write(response, first)
        del first  # or it would be held for as long as the next one takes
        async for piece in pieces:
            await write(response, piece)
    await response.write_eof()
    return response


def unchanged(request: web.Request, validators: Validators, headers: Mapping[str, str]) -> web.Response | None:
    """Return 304 where the caller has this version of a file already, else None."""
    sent = request.headers
    if not is_unchanged(validators, sent.get(hdrs.IF_NONE_MATCH), sent.get(hdrs.IF_MODIFIED_SINCE)):
        return None
    kept = {name: value for name, value in headers.items() if not name.lower().startswith("content-")}
    return web.Response(status=304, headers={**kept, **_version(validators)})


async def send_file(
    request: web.Request,
    validators: Validators,
    length: int,
    read: Callable[[int, int], AsyncIterator[bytes]],
    headers: Mapping[str, str],
) -> web.StreamResponse:
    """Send a file, or the range of it that the request asks for, or 304 or 416 (RFC 9110, 13 and 14).

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
    """
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
    return await stream(request, response, stop - start, read(start, stop))


def _version(validators: Validators) -> dict[str, str]:
    return {"ETag": validators.etag, "Last-Modified": validators.last_modified, "Accept-Ranges": "bytes"}
