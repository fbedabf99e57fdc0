"""STOW-RS: POST …/studies and …/studies/{study} (PS3.18 10.5): parts as they arrive, or the members of a ZIP."""

from __future__ import annotations

import orjson
from aiohttp import hdrs, web

from schemas.http import NoParameters
from service.errors import Invalid, ServiceError, TooLarge, UnsupportedMediaType
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Scope
from service.usecases.dicomweb.store import CANNOT_UNDERSTAND, OUT_OF_RESOURCES, StowOutcome, store_part, store_zip
from service.web import bodies
from service.web.app_keys import CONTEXT, DICOM_IDS
from service.web.dicomweb.media_types import accept_of
from service.web.dicomweb.requests import answers, read_parameters, root_url, scope_of
from service.web.field_values import parse_parameters
from service.web.multipart import MultipartParser, boundary_of
from service.web.negotiation import DICOM, DICOM_JSON, JSON, Offer, choose
from service.web.zip_uploads import ZIP_TYPES

NO_PARAMETERS = NoParameters()


@answers
async def store(request: web.Request) -> web.StreamResponse:
    """Store every file of the body, and say what became of each."""
    read_parameters(request, NO_PARAMETERS)
    choose(accept_of(request), (Offer(DICOM_JSON), Offer(JSON)))
    media_type, parameters = parse_parameters(request.headers.get(hdrs.CONTENT_TYPE, ""))
    kind = parameters.get("type", DICOM).lower()
    if media_type not in ("multipart/related", DICOM, *ZIP_TYPES) or kind != DICOM:
        raise UnsupportedMediaType(f'The body must be multipart/related; type="{DICOM}", {DICOM} or application/zip.')
    context, scope, root = request.app[CONTEXT], scope_of(request), root_url(request)
    outcome = StowOutcome()
    request[DICOM_IDS] = outcome.dicom_ids
    settings = context.settings
    # Each file in the body has the bound of an upload; nothing of the body is held.
    body = bodies.iter_body(request, settings.max_store_bytes, settings.body_timeout, settings.min_rate)
    complete = True
    try:
        if media_type == DICOM:
            await store_part(context, scope.visible.patient_id, scope.study, body, outcome, root)
        elif media_type in ZIP_TYPES:
            await store_zip(context, scope.visible.patient_id, scope.study, body, outcome, root)
        else:
            parts = MultipartParser(body, boundary_of(request.headers[hdrs.CONTENT_TYPE]), settings.max_store_parts)
            await _store_parts(context, scope, parts, outcome, root)
    except (ServiceError, web.HTTPRequestTimeout) as error:
        # What is kept already has to be told, whatever became of the rest of the body.
        if not outcome.keeps_something:
            raise
        outcome.fail(OUT_OF_RESOURCES if isinstance(error, TooLarge) else CANNOT_UNDERSTAND)
        complete = False
    if not (outcome.stored or outcome.failed or outcome.others):
        raise Invalid("The body has no files. There is nothing to store.")
    outcome.check_room()
    response = web.Response(status=outcome.status, body=orjson.dumps(outcome.response(root)))
    # Exactly this: some clients do not take a charset after it.
    response.headers[hdrs.CONTENT_TYPE] = DICOM_JSON
    if not complete:
        response.force_close()
    return response


async def _store_parts(context: Context, scope: Scope, parts: MultipartParser, outcome: StowOutcome, root: str) -> None:
    """Store the files of a multipart body.

    Raises
    ------
    Invalid
        It is no such body, or ends too early.
    """
    while (part := await parts.next_part()) is not None:
        if part.content_type not in (None, DICOM):
            outcome.fail(CANNOT_UNDERSTAND)
            continue
        await store_part(context, scope.visible.patient_id, scope.study, part.content, outcome, root)
