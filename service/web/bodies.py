"""The body of a request as it arrives, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
from aiohttp import hdrs, web
from aiohttp.http import HttpVersion11

from service.errors import Invalid, TooLarge, UnsupportedMediaType
from service.settings import Settings
from service.web.field_values import parse_parameters


async def expect_nothing(request: web.Request) -> None:
    """Leave `Expect: 100-continue` to the reading of the body, which begins after the caller is known."""


async def iter_body(request: web.Request, max_bytes: int, idle_seconds: float, min_rate: float) -> AsyncIterator[bytes]:
    """Return the pieces of a body.

    Parameters
    ----------
    request : web.Request
        Whose body.
    max_bytes : int
        The most that is taken. A body that says it is longer is refused before it is read.
    idle_seconds : float
        How long a caller may send nothing.
    min_rate : float
        Bytes a second that earn a caller this time again: who sends one byte each time it is nearly over is given up
        all the same. Only time in which the service waits for bytes counts.

    Raises
    ------
    TooLarge
        Where there is more.
    UnsupportedMediaType
        Where the body is compressed: what it would inflate to cannot be known.
    web.HTTPRequestTimeout
        Where too little came for too long.
    """
    encoding = request.headers.get(hdrs.CONTENT_ENCODING, "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType("An upload must not have a Content-Encoding.")
    if request.content_length is not None and request.content_length > max_bytes:
        raise _too_large(max_bytes)
    await _continue(request)
    received = 0
    left = idle_seconds
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            async with asyncio.timeout(left):
                # As it came: what is read as a whole is joined, and so copied.
                piece, chunk_ends = await request.content.readchunk()
        except TimeoutError:
            raise web.HTTPRequestTimeout from None
        if not piece:
            if chunk_ends and not request.content.at_eof():  # of the transfer encoding (RFC 9112, 7.1); more follows
                continue  # (a request without a body says for ever that its chunk has ended)
            return
        left = min(idle_seconds, left - (clock() - began) + len(piece) / min_rate)
        received += len(piece)
        if received > max_bytes:
            raise _too_large(max_bytes)
        yield piece


async def read_json(request: web.Request, max_bytes: int, settings: Settings) -> Any:
    """Return what the JSON of a body says.

    Parameters
    ----------
    request : web.Request
        Whose body.
    max_bytes : int
        The most that is taken.
    settings : Settings
        How slowly it may come.

    Raises
    ------
    UnsupportedMediaType
        The body does not say that it is JSON: pages of other sites can send other types unasked.
    TooLarge
        There is more.
    Invalid
        It is not JSON.
    web.HTTPRequestTimeout
        Too little came for too long.
    """
    if parse_parameters(request.headers.get(hdrs.CONTENT_TYPE, ""))[0] != "application/json":
        raise UnsupportedMediaType("The body must be application/json.")
    body = bytearray()
    async for piece in iter_body(request, max_bytes, settings.body_timeout, settings.min_rate):
        body += piece
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:  # whose message quotes the body
        raise Invalid("The body is not JSON.") from None


def _too_large(max_bytes: int) -> TooLarge:
    return TooLarge(f"An upload may have at most {max_bytes} bytes.")


async def _continue(request: web.Request) -> None:
    if request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue":
        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        # An interim answer is not the beginning of the answer.
        request.writer.output_size = 0
