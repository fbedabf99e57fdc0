"""Cross-origin requests (the Fetch standard's CORS protocol) from the origins that are configured, and no others."""

from __future__ import annotations

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.web.app_keys import SETTINGS

METHODS = "GET, HEAD, POST, DELETE"
REQUEST_HEADERS = (
    "Accept, Access-Token, Authorization, Content-Type, If-Match, If-None-Match, Prefer, Range, X-Request-ID"
)
EXPOSED_HEADERS = (
    "Content-Disposition, Content-Length, Content-Range, ETag, Link, Location, Retry-After, Warning, X-Request-ID, "
    "Dicom-Frame, Dicom-Frames, Dicom-Window, Dicom-Window-Source"
)
MAX_AGE = "600"


@web.middleware
async def preflight(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Answer the question that a browser asks before the request; it carries no token, and gets no data."""
    if (
        request.method == hdrs.METH_OPTIONS
        and is_allowed(request)
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
    ):
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: METHODS,
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: REQUEST_HEADERS,
            hdrs.ACCESS_CONTROL_MAX_AGE: MAX_AGE,
        }
        return web.Response(status=204, headers=headers)
    return await handler(request)


async def mark_origin(request: web.Request, response: web.StreamResponse) -> None:
    """Let pages of a configured origin read the answer. No credentials: tokens are sent by the page itself."""
    if not request.app[SETTINGS].cors_origins:
        return
    vary = response.headers.get(hdrs.VARY)
    response.headers[hdrs.VARY] = f"{vary}, Origin" if vary else "Origin"
    if is_allowed(request):
        response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = request.headers[hdrs.ORIGIN]
        response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = EXPOSED_HEADERS


def is_allowed(request: web.Request) -> bool:
    """Return whether the request comes from a page of a configured origin."""
    return request.headers.get(hdrs.ORIGIN) in request.app[SETTINGS].cors_origins
