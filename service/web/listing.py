"""GET /patient/{patient_id}/dicom: what a patient has, the newest first."""

from __future__ import annotations

import orjson
from aiohttp import web

from schemas.http import ListParameters
from service.web.envelopes import summarize
from service.web.keys import CALLER, CONTEXT

MAX_LIMIT = 1000
"""Instances of one page at most."""

LIST_PARAMETERS = ListParameters()


async def list_documents(request: web.Request) -> web.Response:
    """Give a page of the patient's instances, and a link to the next where there is more."""
    asked = LIST_PARAMETERS.read(request.query.items())
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    envelopes, more = await request.app[CONTEXT].store.list_envelopes(request[CALLER].patient_id, limit, offset)
    body = orjson.dumps({"instances": [summarize(envelope) for envelope in envelopes]}, option=orjson.OPT_UTC_Z)
    response = web.Response(body=body, content_type="application/json")
    if more:
        path = request.rel_url.raw_path
        response.headers["Link"] = f'<{path}?limit={limit}&offset={offset + limit}>; rel="next"'
    return response
