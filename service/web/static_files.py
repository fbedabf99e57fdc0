"""GET / and /docs and what they need: one person's files, and the API, without anything from elsewhere."""

from __future__ import annotations

import hashlib
from pathlib import Path

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy: only our own files, and pictures that the page has fetched itself with its token."""

FOLDER = Path(__file__).parent / "static"

MODULES = (
    "actions",
    "address",
    "api",
    "archive",
    "catalogue",
    "completion",
    "dicomjson",
    "dom",
    "elements",
    "frames",
    "geometry",
    "guest",
    "keys",
    "library",
    "menus",
    "multipart",
    "pixels",
    "query",
    "search",
    "session",
    "shares",
    "sharing",
    "stack",
    "tags",
    "text",
    "uids",
    "upload",
    "viewer",
    "windows",
    "words",
)
"""The modules that the page's script is made of, one job each."""

FILES = {
    "page.js": "text/javascript",
    "page.css": "text/css",
    "icon.svg": "image/svg+xml",
    "docs.js": "text/javascript",
    "docs.css": "text/css",
    **{f"page/{name}.js": "text/javascript" for name in MODULES},
}
"""What is served below `/static/`, with its media type. Nothing else is: no path leads from a request to the disk."""


def serve_file(name: str, content_type: str) -> Handler:
    """Make the handler of one file, which is read once.

    Parameters
    ----------
    name : str
        The file in `static`.
    content_type : str
        Its media type.
    """
    body = (FOLDER / name).read_bytes()
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {
        "ETag": etag,
        "Cache-Control": "no-cache",
        "Content-Security-Policy": POLICY,
    }

    async def answer(request: web.Request) -> web.Response:
        if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
            return web.Response(status=304, headers=headers)
        return web.Response(body=body, content_type=content_type, charset="utf-8", headers=headers)

    return answer
