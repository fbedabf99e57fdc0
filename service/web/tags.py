"""GET …/tag/{tag} and …/tags: one data element, or all of them."""

from __future__ import annotations

from aiohttp import web

from schemas.http import NoParameters
from service.usecases import tags
from service.web.app_keys import CALLER, CONTEXT
from service.web.links import root_of
from service.web.negotiation import DICOM_JSON, JSON, Offer, accept_header, choose
from service.web.path import dicom_id_of, path_segment

HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept, Access-Token, Authorization"}

NO_PARAMETERS = NoParameters()
TAG_OFFERS = (Offer(JSON),)
TAGS_OFFERS = (Offer(JSON), Offer(DICOM_JSON))


async def get_tag(request: web.Request) -> web.Response:
    """Return one element, simplified."""
    NO_PARAMETERS.read(request.query.items())
    choose(accept_header(request), TAG_OFFERS)
    body = await tags.read_tag(
        request.app[CONTEXT],
        request[CALLER].visible,
        dicom_id_of(request),
        path_segment(request, "tag"),
    )
    return web.Response(body=body, content_type=JSON, headers=HEADERS)


async def get_tags(request: web.Request) -> web.Response:
    """Return all elements: simplified, or in the DICOM JSON Model (PS3.18 Annex F)."""
    NO_PARAMETERS.read(request.query.items())
    media_type = choose(accept_header(request), TAGS_OFFERS).media_type
    context, visible, dicom_id = request.app[CONTEXT], request[CALLER].visible, dicom_id_of(request)
    if media_type == DICOM_JSON:
        instance = request.rel_url.raw_path.rpartition("/")[0]
        root = f"{root_of(request)}{instance}/bulkdata/"
        body = await tags.read_dicom_json(context, visible, dicom_id, root)
    else:
        body = await tags.read_tags(context, visible, dicom_id)
    return web.Response(body=body, content_type=media_type, headers=HEADERS)
