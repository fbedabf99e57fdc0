"""What the links in answers begin with: the address at which callers reach the service."""

from __future__ import annotations

from urllib.parse import urlencode

from aiohttp import web

from service.web.app_keys import SETTINGS


def root_of(request: web.Request) -> str:
    """Return the URL under which the service's paths are, without a slash at its end.

    That is `PUBLIC_URL`, which may have the path below which a proxy has the service. Unset, it is the request's own
    host. Where a proxy that speaks TLS says so, it is an ``https`` one: a viewer's page would not fetch from another.
    Whoever sends that header gets these links and nobody else, so it need not be trusted.
    """
    public = request.app[SETTINGS].public_url
    if public is not None:
        return public
    host, scheme = request.host, request.scheme
    if request.headers.get("X-Forwarded-Proto", "").partition(",")[0].strip().lower() == "https":
        scheme = "https"
    transport = request.transport
    local = transport.get_extra_info("sockname") if transport is not None else None
    if local and host == local[0] and scheme == "http" and local[1] != 80:
        # dicomweb-client leaves the port out of its Host; who names the very address asks here and not at a proxy.
        host = f"{host}:{local[1]}"
    return f"{scheme}://{host}"


def reference(request: web.Request, path: str) -> str:
    """Return a path as a header may have it (RFC 9110, 4.1): below `PUBLIC_URL`, or else relative."""
    return f"{request.app[SETTINGS].public_url or ''}{path}"


def next_page(request: web.Request, limit: int, offset: int) -> str:
    """Return the `Link` (RFC 8288) to the next page of a list: the request's own path and query, from there on."""
    query = [(name, value) for name, value in request.query.items() if name not in {"limit", "offset"}]
    query += [("limit", str(limit)), ("offset", str(offset))]
    return f'<{reference(request, request.rel_url.raw_path)}?{urlencode(query)}>; rel="next"'
