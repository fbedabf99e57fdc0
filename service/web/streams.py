"""Bytes of the store on their way to a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import hdrs, web

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
    if request.method == hdrs.METH_HEAD:
        await response.prepare(request)
        return response
    # The first piece is read before anything is sent: where the database is away, that can still be said.
    first = await anext(pieces, b"")
    await response.prepare(request)
    await write(response, first)
    async for piece in pieces:
        await write(response, piece)
    await response.write_eof()
    return response
