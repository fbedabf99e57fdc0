"""DELETE …/studies/{study} and …/series/{series}: all instances of one, in one request."""

from __future__ import annotations

import orjson
from aiohttp import web

from schemas.http import NoParameters
from service.usecases import deletion
from service.web.access_log import entry_of
from service.web.app_keys import AUDITED, CALLER, CONTEXT, DICOM_IDS
from service.web.dicomweb.requests import answers, scope_of
from service.web.streams import check_expected

NO_PARAMETERS = NoParameters()


@answers
async def delete(request: web.Request) -> web.Response:
    """Delete a study or a series: 204 where all is gone, 202 where bytes are still being removed."""
    NO_PARAMETERS.read(request.query.items())  # a delete must not mean less than its caller thinks
    check_expected(request, None)
    scope = scope_of(request)
    assert scope.study is not None  # noqa: S101 - both routes name it
    intent = entry_of(request.app, request, request[AUDITED], None)
    patient_id = request[CALLER].patient_id
    deleted, left = await deletion.delete_study(request.app[CONTEXT], patient_id, scope.study, scope.series, intent)
    request[DICOM_IDS] = deleted
    if not left:
        return web.Response(status=204)
    body = orjson.dumps({"deleted": len(deleted), "left": left})
    return web.Response(status=202, body=body, content_type="application/json")
