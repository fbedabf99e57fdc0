"""GET, HEAD and DELETE /patient/{patient_id}/dicom/{dicom_id}: an instance as a file, a picture or a description."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from urllib.parse import quote

import orjson
from aiohttp import hdrs, web

from schemas.database import Instance
from schemas.http import NoParameters, PictureParameters
from service.dicom.pixels.render import RENDERER_VERSION, RenderRequest, Rendition
from service.usecases import deletion, rendered
from service.usecases.instances import find_instance, open_original
from service.web.access_log import entry_of
from service.web.app_keys import ACTION, AUDITED, CALLER, CONTEXT
from service.web.instance_json import describe, validators_of
from service.web.negotiation import DICOM, JSON, PNG, accept_header, choose_representation
from service.web.path import dicom_id_of
from service.web.streams import check_expected, send_file, unchanged

HEADERS = {
    "Cache-Control": "private, no-cache",  # a browser may keep it, and asks each time, token in hand
    "Vary": "Accept, Content-Type, Access-Token, Authorization",
}

CONDITIONS = frozenset({hdrs.IF_MATCH, hdrs.IF_UNMODIFIED_SINCE})
"""Headers by which a delete is meant for one version."""

NO_PARAMETERS = NoParameters()
PICTURE_PARAMETERS = PictureParameters()


async def get_instance(request: web.Request) -> web.StreamResponse:
    """Return the representation that the headers ask for."""
    media_type = choose_representation(accept_header(request), request.headers.get(hdrs.CONTENT_TYPE))
    if media_type == PNG:
        request[ACTION] = "read_picture"
        return await _picture(request)
    request[ACTION] = "read_instance" if media_type == JSON else "read_original"
    NO_PARAMETERS.read(request.query.items())
    if media_type == JSON:
        described = describe(await _find_instance(request))
        return web.Response(body=orjson.dumps(described, option=orjson.OPT_UTC_Z), content_type=JSON, headers=HEADERS)
    return await _original(request)


async def delete_instance(request: web.Request) -> web.Response:
    """Delete an instance and all that came from it."""
    dicom_id = dicom_id_of(request)
    if CONDITIONS & request.headers.keys():
        check_expected(request, validators_of(await _find_instance(request)))
    intent = entry_of(request.app, request, request[AUDITED], None)
    await deletion.delete(request.app[CONTEXT], request[CALLER].patient_id, dicom_id, intent)
    return web.Response(status=204)


async def _find_instance(request: web.Request) -> Instance:
    return await find_instance(request.app[CONTEXT], request[CALLER].visible, dicom_id_of(request))


async def _original(request: web.Request) -> web.StreamResponse:
    """Return the bytes that were uploaded, or a range of them."""
    request[CALLER].require_download()
    instance = await _find_instance(request)
    name = instance["file_name"] or f"{instance['_id']}.dcm"
    headers = {**HEADERS, hdrs.CONTENT_TYPE: DICOM, hdrs.CONTENT_DISPOSITION: content_disposition("attachment", name)}
    validators = validators_of(instance)
    if (same := unchanged(request, validators, headers)) is not None:
        return same
    original = await open_original(request.app[CONTEXT], request[CALLER].visible, instance)
    return await send_file(request, validators, original.length, original.read, headers, original)


async def _picture(request: web.Request) -> web.Response:
    """Return one frame as PNG."""
    asked = PICTURE_PARAMETERS.read(request.query.items())
    # Frames and windows count from 1 at HTTP and from 0 below it; this is the one place that knows both.
    wanted = RenderRequest(
        frame=asked["frame"] - 1,
        window=asked["window"],
        voi=None if asked["voi"] is None else asked["voi"] - 1,
        size=asked["size"],
    )
    dicom_id = dicom_id_of(request)
    # An id stands for the patient and the bytes, so id, question and renderer settle the picture.
    seed = f"{dicom_id} {RENDERER_VERSION} {wanted!r}"
    etag = f'W/"{hashlib.sha256(seed.encode()).hexdigest()[:32]}"'
    headers = {**HEADERS, "ETag": etag}
    if f'"{etag[3:-1]}"' in request.headers.get(hdrs.IF_NONE_MATCH, ""):
        await _find_instance(request)
        return web.Response(status=304, headers=headers)
    made = await rendered.rendition(request.app[CONTEXT], request[CALLER].visible, dicom_id, wanted)
    return _png(made, headers)


def _png(made: Rendition, headers: Mapping[str, str]) -> web.Response:
    response = web.Response(body=made.data, content_type=made.media_type, headers=headers)
    response.headers["Content-Disposition"] = "inline"
    response.headers["Dicom-Frame"] = str(made.frame + 1)
    response.headers["Dicom-Frames"] = str(made.frames)
    response.headers["Dicom-Window-Source"] = made.window_source
    if made.window is not None:
        response.headers["Dicom-Window"] = ",".join(f"{number:.10g}" for number in made.window)
    for warning in made.warnings:
        response.headers.add("Warning", f'299 - "{_header_text(warning)}"')
    return response


def content_disposition(kind: str, file_name: str) -> str:
    """Write a `Content-Disposition` (RFC 6266) that no file name can break out of.

    Parameters
    ----------
    kind : str
        ``attachment`` or ``inline``.
    file_name : str
        Any text.
    """
    plain = re.sub(r"[^A-Za-z0-9._ ()+=@-]", "_", file_name)
    value = f'{kind}; filename="{plain}"'
    if plain != file_name:
        value += f"; filename*=UTF-8''{quote(file_name, safe='')}"
    return value


def _header_text(text: str) -> str:
    return re.sub(r"[^\x20\x21\x23-\x5b\x5d-\x7e]", "?", text)
