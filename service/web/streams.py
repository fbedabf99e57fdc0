"""Bytes of the store on their way to a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator

from aiohttp import hdrs, web


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
    await response.write(first)
    async for piece in pieces:
        await response.write(piece)
    await response.write_eof()
    return response
