"""GET /healthz and /readyz: is the process alive, and can it do its work."""

from __future__ import annotations

from aiohttp import web

from service.web.app_keys import AUTHENTICATOR, CONTEXT

OK = b'{"status":"ok"}'


async def is_alive(_request: web.Request) -> web.Response:
    """Return 200: the process answers."""
    return web.Response(body=OK, content_type="application/json")


async def is_ready(request: web.Request) -> web.Response:
    """Return 200 where the database can be read too and there are keys to verify tokens with, else 503."""
    request.app[AUTHENTICATOR].check_keys()
    store = request.app[CONTEXT].store
    await store.check()
    missing = await store.find_missing_indexes()
    if missing:  # it answers, and slowly; scripts/migrate.py builds them
        return web.json_response({"status": "ok", "missing_indexes": missing})
    return web.Response(body=OK, content_type="application/json")
