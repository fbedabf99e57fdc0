"""GET /openapi.json: the document, made once at the start."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson
from aiohttp import hdrs, web

from service.web.app_keys import API_DOCUMENT


async def get_openapi(request: web.Request) -> web.Response:
    """Return the OpenAPI document."""
    body = request.app[API_DOCUMENT]
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        return web.Response(status=304, headers=headers)
    return web.Response(body=body, content_type="application/json", headers=headers)


def encode(document: Mapping[str, Any]) -> bytes:
    """Write the document as it is sent."""
    return orjson.dumps(document)
