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

from schemas.database import Instance
from schemas.http import AnswerRequest, ListParameters, NoParameters, SessionRequest, ShareRequest
from service.errors import NoPublicUrl, NoSuchShare, Unavailable, WrongPasscode
from service.usecases import sharing, sharing_sessions
from service.usecases.accepting import answer_files
from service.web.access_log import entry_of
from service.web.app_keys import ACTION, AUDIT, AUDITED, CALLER, CONTEXT, DICOM_IDS, SETTINGS, Audited
from service.web.bodies import read_json
from service.web.links import next_page, root_of
from service.web.negotiation import JSON
from service.web.path import path_segment
from service.web.share_json import bounds, chosen, describe, summarize

MAX_LIMIT = 100
"""Shares of one page at most."""

MAX_REQUEST_BYTES = 1 << 20
"""What makes a share: the ids of ten thousand instances take some 700 kB."""

MAX_ANSWER_BYTES = 1 << 17
"""What answers for files of an inbox: the ids of a thousand take some 40 kB."""

MAX_SESSION_BYTES = 1 << 12

NO_PARAMETERS = NoParameters()
LIST_PARAMETERS = ListParameters()
SHARE_REQUEST = ShareRequest()
ANSWER_REQUEST = AnswerRequest()
SESSION_REQUEST = SessionRequest()

_SHARE_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def make_share(request: web.Request) -> web.Response:
    """Make a share, and answer with its link, which nobody is told again."""
    NO_PARAMETERS.read(request.query.items())
    context, settings = request.app[CONTEXT], request.app[SETTINGS]
    if settings.public_url is None and not settings.dev_mode:
        raise NoPublicUrl(
            "No link can be made yet: whoever runs the service has to set PUBLIC_URL, its address for other people."
        )
    wanted = SHARE_REQUEST.read(await read_json(request, MAX_REQUEST_BYTES, settings))
    claims = request[CALLER].claims
    maker = sharing.Maker(request[CALLER].patient_id, claims.subject, claims.token_id)
    share, secret = await sharing.make_share(context, maker, wanted)
    request[AUDITED] = replace(request[AUDITED], share_id=share["_id"])
    link = f"{root_of(request)}/s#{secret}"
    made = {**summarize(share, context.clock()), "link": link, "qr": await asyncio.to_thread(_qr_code, link)}
    return _json(made, status=201)


async def list_shares(request: web.Request) -> web.Response:
    """List the patient's shares, those that have ended too."""
    asked = LIST_PARAMETERS.read(request.query.items())
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    context = request.app[CONTEXT]
    found, more = await context.store.shares.list_of(request[CALLER].patient_id, limit, offset)
    response = _json({"shares": [summarize(share, context.clock()) for share in found]})
    if more:
        response.headers[hdrs.LINK] = next_page(request, limit, offset + limit)
    return response


async def get_share(request: web.Request) -> web.Response:
    """Return one share with a page of what came by it and waits, and of its lines of the audit."""
    asked = LIST_PARAMETERS.read(request.query.items())
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    context, patient_id = request.app[CONTEXT], request[CALLER].patient_id
    share = await sharing.find_share(context, patient_id, _share_id(request))
    request[AUDITED] = replace(request[AUDITED], share_id=share["_id"])
    files: tuple[list[Instance], bool] = [], False
    if share["inbox"] is not None:
        files = await context.store.inboxes.list_waiting(patient_id, share["_id"], limit, offset)
    lines, more_lines = await context.store.audit.list_of_share(patient_id, share["_id"], limit, offset)
    response = _json(describe(share, context.clock(), files[0], lines))
    if files[1] or more_lines:
        response.headers[hdrs.LINK] = next_page(request, limit, offset + limit)
    return response


async def revoke_share(request: web.Request) -> web.Response:
    """End a share and its sessions."""
    NO_PARAMETERS.read(request.query.items())
    share_id = _share_id(request)
    request[AUDITED] = replace(request[AUDITED], share_id=share_id)
    await sharing.revoke_share(request.app[CONTEXT], request[CALLER].patient_id, share_id)
    return web.Response(status=204)


async def accept_files(request: web.Request) -> web.Response:
    """Accept files that came by an inbox, or decline them."""
    NO_PARAMETERS.read(request.query.items())
    share_id = _share_id(request)
    wanted = ANSWER_REQUEST.read(await read_json(request, MAX_ANSWER_BYTES, request.app[SETTINGS]))
    about = request[AUDITED] = replace(request[AUDITED], share_id=share_id)
    if wanted["decline"]:
        request[ACTION] = "decline_files"
    chosen_ids = None if wanted["files"] == "all" else wanted["files"]
    intent = entry_of(request.app, request, about, None)
    answered = await answer_files(request.app[CONTEXT], share_id, chosen_ids, decline=wanted["decline"], intent=intent)
    request[DICOM_IDS] = (*answered.accepted, *answered.accepted.values(), *answered.declined)
    return _json({"accepted": answered.accepted, "declined": answered.declined, "left": answered.left})


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
            "visible": chosen(share),
            "download": share["download"],
            "inbox": bounds(share),
        }
    )


def _share_id(request: web.Request) -> str:
    text = path_segment(request, "share_id")
    if not _SHARE_ID.fullmatch(text):
        raise NoSuchShare
    return text


def _json(body: dict[str, Any], status: int = 200) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body, option=orjson.OPT_UTC_Z), content_type=JSON)


def _qr_code(link: str) -> str:
    """Return a link as a picture (ISO/IEC 18004) in SVG."""
    written = io.BytesIO()
    segno.make(link, error="m", micro=False).save(written, kind="svg", scale=4, xmldecl=False)
    return written.getvalue().decode()
