"""Shares: what a patient makes, lists and revokes, and the sessions that others open by their links."""

from __future__ import annotations

import asyncio
import io
import re
from dataclasses import replace
from typing import Any

import orjson
import segno
from aiohttp import hdrs, web

from schemas.database import Share
from schemas.http import ListParameters, NoParameters, SessionRequest, ShareRequest
from service.errors import NoPublicUrl, NotFound, Unavailable, WrongPasscode
from service.usecases import sharing, sharing_sessions
from service.web.access_log import entry_of
from service.web.app_keys import ACTION, AUDIT, AUDITED, CALLER, CONTEXT, SETTINGS, Audited
from service.web.bodies import read_json
from service.web.instance_json import aware
from service.web.links import next_page, root_of
from service.web.negotiation import JSON
from service.web.path import path_segment

MAX_LIMIT = 100
"""Shares of one page at most."""

MAX_REQUEST_BYTES = 1 << 20
"""What makes a share: the ids of ten thousand instances take some 700 kB."""

MAX_SESSION_BYTES = 1 << 12

NO_PARAMETERS = NoParameters()
LIST_PARAMETERS = ListParameters()
SHARE_REQUEST = ShareRequest()
SESSION_REQUEST = SessionRequest()

_SHARE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def make_share(request: web.Request) -> web.Response:
    """Make a share, and answer with its link, which nobody is told again."""
    NO_PARAMETERS.read(request.query.items())
    settings = request.app[SETTINGS]
    if settings.public_url is None and not settings.dev_mode:
        raise NoPublicUrl("PUBLIC_URL is not set: the service does not know at which address a link would reach it.")
    wanted = SHARE_REQUEST.read(await read_json(request, MAX_REQUEST_BYTES, settings))
    claims = request[CALLER].claims
    maker = sharing.Maker(request[CALLER].patient_id, claims.subject, claims.token_id)
    share, secret = await sharing.make_share(request.app[CONTEXT], maker, wanted)
    request[AUDITED] = replace(request[AUDITED], share_id=share["_id"])
    link = f"{root_of(request)}/s#{secret}"
    made = {**_summary(share, request), "link": link, "qr": await asyncio.to_thread(_qr_code, link)}
    return _json(made, status=201)


async def list_shares(request: web.Request) -> web.Response:
    """List the patient's shares, those that have ended too."""
    asked = LIST_PARAMETERS.read(request.query.items())
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    shares = request.app[CONTEXT].store.shares
    found, more = await shares.list_of(request[CALLER].patient_id, limit, offset)
    response = _json({"shares": [_summary(share, request) for share in found]})
    if more:
        response.headers[hdrs.LINK] = next_page(request, limit, offset + limit)
    return response


async def get_share(request: web.Request) -> web.Response:
    """Return one share."""
    NO_PARAMETERS.read(request.query.items())
    share = await sharing.find_share(request.app[CONTEXT], request[CALLER].patient_id, _share_id(request))
    request[AUDITED] = replace(request[AUDITED], share_id=share["_id"])
    return _json({**_summary(share, request), "dicom_ids": share["dicom_ids"]})


async def revoke_share(request: web.Request) -> web.Response:
    """End a share and its sessions."""
    NO_PARAMETERS.read(request.query.items())
    share_id = _share_id(request)
    request[AUDITED] = replace(request[AUDITED], share_id=share_id)
    await sharing.revoke_share(request.app[CONTEXT], request[CALLER].patient_id, share_id)
    return web.Response(status=204)


async def open_session(request: web.Request) -> web.Response:
    """Open a session of a share for whoever has its link: the one public route that looks at what somebody sends."""
    NO_PARAMETERS.read(request.query.items())
    context = request.app[CONTEXT]
    sent = SESSION_REQUEST.read(await read_json(request, MAX_SESSION_BYTES, request.app[SETTINGS]))
    share = await sharing_sessions.find_link(context, sent["secret"])
    # From here on it is known whose data it is about, and whoever asks has the link.
    audit = request.app[AUDIT]
    if not audit.has_room:
        raise Unavailable("The service cannot write its audit log at the moment. Try again later.", retry_after=5)
    about = Audited(share["patient_id"], sharing.subject_of(share["_id"]), None, verified=True, share_id=share["_id"])
    request[ACTION], request[AUDITED] = "open_share", about
    try:
        opened = await sharing_sessions.open_session(context, share, sent.get("passcode"))
    except WrongPasscode as error:
        request[ACTION] = "try_passcode"
        if error.closes:
            audit.note(replace(entry_of(request.app, request, about, 401), action="close_share", outcome="done"))
        raise
    request[AUDITED] = replace(about, token_id=opened.session["id"])
    lasts = opened.session["expires_at"] - context.clock()
    return _json(
        {
            "access_token": opened.token,
            "expires_in": max(int(lasts.total_seconds()), 0),
            "patient_id": share["patient_id"],
            "visible": _chosen(share),
            "download": share["download"],
        }
    )


def _share_id(request: web.Request) -> str:
    text = path_segment(request, "share_id")
    if not _SHARE_ID.fullmatch(text):
        raise NotFound("There is no such share.")
    return text


def _chosen(share: Share) -> dict[str, Any]:
    return {"studies": share["studies"], "series": share["series"], "instances": share["instances"]}


def _summary(share: Share, request: web.Request) -> dict[str, Any]:
    """Return a share as lists show it (`schemas.http.ShareSummary`)."""
    return {
        "share_id": share["_id"],
        "state": sharing.state_of(share, request.app[CONTEXT].clock()),
        **_chosen(share),
        "frozen": share["frozen"],
        "download": share["download"],
        "has_passcode": share["passcode"] is not None,
        "label": share["label"],
        "made_at": aware(share["made_at"]),
        "made_by": share["made_by"],
        "expires_at": aware(share["expires_at"]),
        "ended_at": aware(share["ended_at"]),
        "max_opens": share["max_opens"],
        "opens": share["opens"],
        "opened_at": aware(share["opened_at"]),
        "wrong_passcodes": share["wrong"],
    }


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body, option=orjson.OPT_UTC_Z), content_type=JSON)


def _qr_code(link: str) -> str:
    """Return a link as a picture (ISO/IEC 18004) in SVG."""
    written = io.BytesIO()
    segno.make(link, error="m", micro=False).save(written, kind="svg", scale=4, xmldecl=False)
    return written.getvalue().decode()
