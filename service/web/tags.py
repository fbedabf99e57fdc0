"""GET …/tag/{tag} and …/tags: one data element, or all of them."""

from __future__ import annotations

import asyncio
import gzip

from aiohttp import hdrs, web

from schemas.http import NoParameters
from service.usecases import tags
from service.web.app_keys import CALLER, CONTEXT
from service.web.links import root_of
from service.web.negotiation import DICOM_JSON, JSON, Offer, accept_header, choose, takes_gzip
from service.web.path import dicom_id_of, path_segment

HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept, Accept-Encoding, Access-Token, Authorization"}

GZIP_BYTES = 1 << 16
"""From so many bytes on a list of elements is compressed; a slice's is sent sooner than that."""

GZIP_LEVEL = 1
"""Makes the tags of 200 frames thirty times smaller in 1.5 ms; the usual level takes twice that."""

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
    headers = HEADERS
    if len(body) >= GZIP_BYTES and takes_gzip(request):
        body = await asyncio.to_thread(gzip.compress, body, GZIP_LEVEL)
        headers = {**HEADERS, hdrs.CONTENT_ENCODING: "gzip"}
    return web.Response(body=body, content_type=media_type, headers=headers)
