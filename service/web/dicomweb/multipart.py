"""Writing a multipart/related body (RFC 2387) part by part, without holding it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from aiohttp import hdrs, web

from service.web.app_keys import CALLER
from service.web.streams import Outlet, closing

Parts = AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]


async def send_parts(
    request: web.Request, parts: Parts, media_type: str, headers: Mapping[str, str], status: int = 200
) -> web.StreamResponse:
    """Send parts as they come; the first bytes are read before anything is sent, so that failing can still be said.

    Parameters
    ----------
    request : web.Request
        What is answered.
    parts : async iterator of (mapping, async iterator of bytes)
        The headers and the content of each part.
    media_type : str
        Of the parts.
    headers : mapping
        Of the answer.
    status : int
        Of the answer; 206 where something that was asked for is missing.
    """
    boundary = secrets.token_hex(16)
    response = web.StreamResponse(status=status, headers=headers)
    response.headers[hdrs.CONTENT_TYPE] = f'multipart/related; type="{media_type}"; boundary={boundary}'
    return await send_pieces(request, response, _pieces(parts, boundary, request[CALLER].look))


async def send_pieces(
    request: web.Request, response: web.StreamResponse, pieces: AsyncIterator[bytes]
) -> web.StreamResponse:
    """Send a body whose length is not known before its end; a HEAD gets the headers."""
    async with closing(pieces):
        first = await anext(pieces, b"")
        outlet = Outlet(request)
        await outlet.before(0)
        await response.prepare(request)
        if request.method == hdrs.METH_HEAD:
            return response
        await outlet.write(response, first)
        del first  # or it would be held for as long as the next one takes
        async for piece in pieces:
            await outlet.write(response, piece)
    await response.write_eof()
    return response


async def _pieces(parts: Parts, boundary: str, look: Callable[[], Awaitable[None]]) -> AsyncIterator[bytes]:
    begun = False
    async with closing(parts):
        async for headers, content in parts:
            if begun:
                await look()
            lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
            # The first bytes of a part are read before its head is sent, so that failing can still be said.
            async with closing(content):
                first = await anext(content, b"")
                yield _head(boundary, lines, begun=begun)
                begun = True
                yield first
                del first
                async for piece in content:
                    yield piece
    yield f"\r\n--{boundary}--\r\n".encode("ascii")


def _head(boundary: str, lines: str, *, begun: bool) -> bytes:
    before = "\r\n" if begun else ""
    return f"{before}--{boundary}\r\n{lines}\r\n".encode("latin-1", "replace")
