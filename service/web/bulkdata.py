"""GET …/bulkdata/{path}: the bytes behind a BulkDataURI."""

from __future__ import annotations

from aiohttp import hdrs, web

from schemas.http import NoParameters
from service.usecases.bulkdata import read_bulk_data
from service.web.app_keys import CALLER, CONTEXT
from service.web.path import dicom_id_of, path_segment
from service.web.streams import stream

NO_PARAMETERS = NoParameters()


async def get_bulk_data(request: web.Request) -> web.StreamResponse:
    """Return one value's bytes, little-endian and without the element around them."""
    NO_PARAMETERS.read(request.query.items())
    path = path_segment(request, "path")
    request[CALLER].require_bulk_data(path)
    value = await read_bulk_data(
        request.app[CONTEXT],
        request[CALLER].visible,
        dicom_id_of(request),
        path,
    )
    response = web.StreamResponse(headers={hdrs.CONTENT_DISPOSITION: "attachment"})
    response.content_type = "application/octet-stream"
    return await stream(request, response, value.length, value.pieces)
