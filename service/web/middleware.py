"""What surrounds every handler: an id, one shape for errors, and a closed door.

From the outside in: `problems`, `preflight` (of `service.web.cors`), `authenticate`, `admit`.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.typedefs import Handler

from service.auth.share_secrets import is_session_token
from service.auth.tokens import READ, WRITE, Claims
from service.errors import BadParameter, Forbidden, NoSuchInstance, Unauthorized, Unavailable, WrongPatient
from service.storage.visible import Visible
from service.usecases import sharing
from service.usecases.inboxes import inbox_of
from service.usecases.sharing_sessions import find_session, is_open
from service.web.app_keys import (
    ACTION,
    ADMISSIONS,
    AUDIT,
    AUDITED,
    AUTHENTICATOR,
    CALLER,
    CONTEXT,
    REQUEST_ID,
    ROUTES,
    Audited,
    Caller,
)
from service.web.path import patient_id_of
from service.web.problems import log_unknown, translate
from service.web.route import PUBLIC
from service.web.streams import send_whole

log = logging.getLogger(__name__)

_HOST = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]*)(?::[0-9]*)?")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")

VERSIONS = (HttpVersion10, HttpVersion11)

SAFE_HEADERS: Mapping[str, str] = {
    "Cache-Control": "private, no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",  # pages of other origins come by CORS, which this leaves alone
    "Referrer-Policy": "no-referrer",
    "Server": "dicom-document-store",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
"""What every answer has where its route has not said otherwise: a file that is stored here never acts as a page."""


def request_id_of(request: web.BaseRequest) -> str:
    """Return the id that the caller sent where it can stand in a log, else a new one."""
    sent = request.headers.get("X-Request-ID", "")
    return sent if _REQUEST_ID.fullmatch(sent) else os.urandom(16).hex()


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn whatever is raised into an answer of one shape."""
    try:
        return await handler(request)
    except ConnectionError:  # the caller went away; there is nobody to answer
        raise
    except Exception as error:  # noqa: BLE001 - this is the one place where every error ends
        if request.writer.output_size > 0:
            # The answer has begun. It must not look complete, so the connection is cut.
            if isinstance(error, (NoSuchInstance, Unauthorized)):
                log.info("cut an answer: what it has was deleted meanwhile, or its share has ended")
            else:
                log_unknown(error, request[REQUEST_ID])
            raise ConnectionAbortedError from None
        response = translate(error, request[REQUEST_ID])
        if (
            response.status == 505 or not request.content.is_eof()
        ):  # what is left of a refused upload is not worth its bytes
            response.force_close()
        return response


@web.middleware
async def authenticate(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Let nobody in without a token for the patient of the path; only what is listed as public is open."""
    if request.version not in VERSIONS:  # the parser takes HTTP/0.9 and HTTP/2.0 for the same
        raise web.HTTPVersionNotSupported
    host = request.headers.get(hdrs.HOST)
    if not _HOST.fullmatch(host or "") or host == "":  # RFC 9112, 3.2; answers have links with it
        raise BadParameter("The Host header is invalid.")
    resource = request.match_info.route.resource
    if resource is None:  # the router's own 404 or 405
        return await handler(request)
    route = request.app[ROUTES][request.method, resource.canonical]
    if route.scope is PUBLIC:
        return await handler(request)
    request[ACTION] = route.action
    token = find_token(request)
    patient = patient_id_of(request)
    try:
        caller = await find_caller(request, token, patient)
    except WrongPatient as error:
        request[AUDITED] = Audited(patient, error.subject, error.token_id, verified=True)
        raise
    except Unauthorized:
        request[AUDITED] = Audited(patient)
        raise
    claims = caller.claims
    if not request.app[AUDIT].has_room:
        raise Unavailable("The service cannot write its audit log at the moment. Try again later.", retry_after=5)
    request[AUDITED] = Audited(patient, claims.subject, claims.token_id, verified=True, share_id=caller.share_id)
    request[CALLER] = caller
    if caller.inbox is not None and not route.takes_files:
        raise Forbidden("This link only takes files: nothing can be read or changed by it.", route.scope or WRITE)
    claims.require(route.scope)
    return await handler(request)


async def find_caller(request: web.Request, token: str, patient_id: str) -> Caller:
    """Return who asks with a token for a patient's data: the patient's own token, or a session of a share.

    Raises
    ------
    Unauthorized
        The token is not valid or has ended, or it is for another patient.
    Unavailable
        That cannot be told now.
    """
    if not is_session_token(token):
        claims = await request.app[AUTHENTICATOR].admit(token, patient_id)
        return Caller(patient_id, claims, Visible(patient_id))
    context = request.app[CONTEXT]
    share, session = await find_session(context, token)
    subject = sharing.subject_of(share["_id"])
    if share["patient_id"] != patient_id:
        raise WrongPatient("The token is not for this patient.", subject, session["id"])
    still_allowed = partial(is_open, context, token)
    inbox = inbox_of(share, still_allowed)
    return Caller(
        patient_id,
        Claims(
            patient_id,
            session["expires_at"].timestamp(),
            subject=subject,
            token_id=session["id"],
            scopes=frozenset({READ if inbox is None else WRITE}),
        ),
        replace(sharing.visible_by(share), originals=share["download"]),
        still_allowed=still_allowed,
        share_id=share["_id"],
        inbox=inbox,
    )


@web.middleware
async def admit(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Admit a request of a patient until its response is made, or sent where it is streamed; or refuse it."""
    caller = request.get(CALLER)
    if caller is None:  # a public route, or none
        return await handler(request)
    admissions = request.app[ADMISSIONS]
    kind = admissions.uploads if request.method == hdrs.METH_POST else admissions.others
    async with kind.admit(caller.patient_id, shared=caller.share_id is not None):
        return await send_whole(request, await handler(request))


def find_token(request: web.BaseRequest) -> str:
    """Return the token of the `access-token` header or of `Authorization: Bearer`.

    Raises
    ------
    Unauthorized
        Where there is none, or where there are two different ones.
    """
    tokens = set(request.headers.getall("access-token", ()))
    for credentials in request.headers.getall(hdrs.AUTHORIZATION, ()):
        scheme, _, rest = credentials.partition(" ")
        if scheme.lower() == "bearer":
            tokens.add(rest.strip())
    tokens.discard("")
    if not tokens:
        sentence = "Send a token for this patient, as 'access-token: …' or 'Authorization: Bearer …'."
        raise Unauthorized(sentence, presented=False)
    if len(tokens) > 1:
        raise Unauthorized("The request contains two different tokens.")
    return tokens.pop()


async def mark_response(request: web.Request, response: web.StreamResponse) -> None:
    """Add the request id to an answer, and keep browsers and shared caches from guessing."""
    response.headers[hdrs.SERVER] = SAFE_HEADERS[hdrs.SERVER]  # aiohttp has set its own
    for name, value in SAFE_HEADERS.items():
        response.headers.setdefault(name, value)
    caller = request.get(CALLER)
    if caller is not None and caller.share_id is not None:  # what is kept outlives the share
        response.headers[hdrs.CACHE_CONTROL] = SAFE_HEADERS[hdrs.CACHE_CONTROL]
    if REQUEST_ID in request:
        response.headers["X-Request-ID"] = request[REQUEST_ID]
