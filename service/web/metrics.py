"""GET /metrics: the figures of the service, for Prometheus."""

from __future__ import annotations

from aiohttp import hdrs, web

from service.telemetry.metrics import CONTENT_TYPE
from service.web.app_keys import MEASURING


async def get_metrics(request: web.Request) -> web.Response:
    """Return the figures; without a token, as they say nothing of anybody."""
    body = await request.app[MEASURING].exposition()
    response = web.Response(body=body)
    response.headers[hdrs.CONTENT_TYPE] = CONTENT_TYPE
    return response
