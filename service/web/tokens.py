"""GET /patient/{patient_id}/token: a token for whoever asks, in dev mode only."""

from __future__ import annotations

import re

import orjson
from aiohttp import web

from service.auth.tokens import SCOPES, mint_token
from service.errors import NotFound
from service.settings import is_loopback
from service.web.app_keys import SETTINGS
from service.web.path import patient_id_of

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[\w.-]+)(?::\d+)?", re.ASCII)


async def get_token(request: web.Request) -> web.Response:
    """Make a token for the patient of the path; the cookie carries it to Postman, and is no credential here."""
    settings = request.app[SETTINGS]
    secret = settings.jwt_secret
    assert settings.dev_mode and secret is not None  # noqa: S101 - the route is not there otherwise
    if not is_loopback(_host_name(request.host)):
        # A page of elsewhere whose name was made to resolve to this machine (DNS rebinding) could read the answer.
        raise NotFound("Tokens are issued at a loopback address only, for example http://127.0.0.1.")
    lifetime = settings.token_lifetime
    token = mint_token(
        secret,
        patient_id_of(request),
        lifetime=lifetime,
        issuer=settings.jwt_issuer,
        audience=settings.jwt_audience,
        scope=" ".join(sorted(SCOPES)),
    )
    body = orjson.dumps({"access_token": token, "expires_in": lifetime})
    response = web.Response(body=body, content_type="application/json")
    response.set_cookie("Access-Token", token, max_age=lifetime, path="/", httponly=True, samesite="Strict")
    return response


def _host_name(host: str) -> str:
    """Return the name or address of a `Host` header without its port, or nothing where it is not one."""
    match = _HOST.fullmatch(host)
    return match[1].strip("[]") if match is not None else ""
