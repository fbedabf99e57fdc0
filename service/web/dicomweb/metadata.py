"""WADO-RS: the metadata of a study, a series or an instance (PS3.18 10.4.1.1.2), and its bulk data."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping, Sequence

from aiohttp import hdrs, web

from schemas.http import NoParameters
from service.dicom.paths import parse_tag_path
from service.dicom.payloads import VIDEO_TYPES
from service.errors import NotFound
from service.usecases import tags
from service.usecases.bulkdata import read_bulk_data
from service.usecases.context import Context
from service.usecases.dicomweb.payloads import open_payload
from service.usecases.dicomweb.scope import Member, Scope, find_members, find_one, member_url
from service.usecases.instances import find_instance
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS
from service.web.dicomweb.frames import send_pixel_data
from service.web.dicomweb.media_types import OCTETS, accept_of, image_types
from service.web.dicomweb.multipart import send_parts, send_pieces
from service.web.dicomweb.requests import HEADERS, answers, headers_of, read_parameters, root_url, scope_of
from service.web.instance_json import validators_of
from service.web.negotiation import DICOM_JSON, JSON, Offer, choose, takes_gzip
from service.web.path import path_segment
from service.web.streams import send_file, stream

AHEAD = 4
"""Trees that are read and encoded at once."""

NO_PARAMETERS = NoParameters()
PIXEL_DATA = parse_tag_path("PixelData")
DOCUMENT = parse_tag_path("EncapsulatedDocument")


@answers
async def get_metadata(request: web.Request) -> web.StreamResponse:
    """Return the datasets without their bulk data, as a JSON list that is sent while it is read."""
    read_parameters(request, NO_PARAMETERS)
    chosen = choose(accept_of(request), (Offer(DICOM_JSON), Offer(JSON)))
    context, scope = request.app[CONTEXT], scope_of(request)
    members = await find_members(context, scope)
    request[DICOM_IDS] = [member.dicom_id for member in members]
    pieces = _json_pieces(context, scope, members, root_url(request))
    # Not 206, as where files are retrieved: viewers take 200 alone for a list.
    response = web.StreamResponse(headers=headers_of(scope))
    response.headers[hdrs.CONTENT_TYPE] = chosen.media_type
    if takes_gzip(request):
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
        pieces = _compressed(pieces)
    return await send_pieces(request, response, pieces)


async def _json_pieces(context: Context, scope: Scope, members: Sequence[Member], root: str) -> AsyncIterator[bytes]:
    """Return the list in pieces; an instance that was deleted a moment ago is passed over."""
    opening = b"["
    for start in range(0, len(members), AHEAD):
        batch = members[start : start + AHEAD]
        lists = await asyncio.gather(*(_read(context, scope, member, root) for member in batch))
        for each in filter(None, lists):
            yield opening + each[1:-1]
            opening = b","
    if opening == b"[":
        raise NotFound(f"There is no such {scope.noun}.")
    yield b"]"


async def _read(context: Context, scope: Scope, member: Member, root: str) -> bytes | None:
    below = f"{member_url(root, member)}/bulkdata/"
    try:
        return await tags.read_dicom_json(context, scope.visible, member.dicom_id, below)
    except NotFound:
        return None


async def _compressed(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    squeeze = zlib.compressobj(level=4, wbits=31)
    async for piece in pieces:
        if data := await asyncio.to_thread(squeeze.compress, piece):
            yield data
    yield squeeze.flush()


@answers
async def get_bulk_data(request: web.Request) -> web.StreamResponse:
    """Return the bytes of one value, which a BulkDataURI names."""
    read_parameters(request, NO_PARAMETERS)
    path = path_segment(request, "path")
    request[CALLER].require_bulk_data(path)
    context, scope = request.app[CONTEXT], scope_of(request)
    member = await find_one(context, scope)
    request[DICOM_IDS] = (member.dicom_id,)
    tag = parse_tag_path(path)
    carried = PIXEL_DATA if member.transfer_syntax_uid in VIDEO_TYPES else DOCUMENT
    if tag == carried and (answer := await _send_payload(request, scope, member)) is not None:
        return answer
    if tag == PIXEL_DATA and image_types(member.transfer_syntax_uid or ""):
        return await send_pixel_data(request, scope, member)
    # The bytes are little-endian, whatever the file is in: as Explicit VR Little Endian has them.
    chosen = choose(accept_of(request), (Offer(OCTETS), Offer(OCTETS, multipart=True)))
    value = await read_bulk_data(context, scope.visible, member.dicom_id, path)
    if chosen.multipart:

        async def parts() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
            yield {"Content-Type": OCTETS, "Content-Length": str(value.length)}, value.pieces

        return await send_parts(request, parts(), OCTETS, HEADERS)
    response = web.StreamResponse(headers={**HEADERS, hdrs.CONTENT_DISPOSITION: "attachment"})
    response.content_type = OCTETS
    return await stream(request, response, value.length, value.pieces)


async def _send_payload(request: web.Request, scope: Scope, member: Member) -> web.StreamResponse | None:
    """Return a video or a document as a file of its own kind; None where it is neither, or is asked for as bytes."""
    context = request.app[CONTEXT]
    instance = await find_instance(context, scope.visible, member.dicom_id)
    payload = await open_payload(context, scope.visible, instance)
    if payload is None:
        return None
    syntax = member.transfer_syntax_uid or ""
    is_video = syntax in VIDEO_TYPES
    named = frozenset({syntax}) if is_video else None
    kinds = [payload.media_type] if payload.media_type == OCTETS else [payload.media_type, OCTETS]
    offers = [Offer(kind, multipart, named) for kind in kinds for multipart in (False, True)]
    chosen = choose(accept_of(request), offers)
    if chosen.media_type == OCTETS and not is_video:
        return None  # the value of the element, its padding too
    if chosen.multipart:
        kind = f"{chosen.media_type}; transfer-syntax={syntax}" if is_video else chosen.media_type
        pieces = payload.read(0, payload.length)

        async def parts() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
            yield {"Content-Type": kind, "Content-Length": str(payload.length)}, pieces

        return await send_parts(request, parts(), chosen.media_type, HEADERS)
    headers = {**HEADERS, hdrs.CONTENT_TYPE: chosen.media_type, hdrs.CONTENT_DISPOSITION: "attachment"}
    return await send_file(request, validators_of(instance, "-payload"), payload.length, payload.read, headers)
