"""What the application and its requests carry, by typed keys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aiohttp import web

from service.auth import Authenticator, Claims
from service.context import Context
from service.key_source import KeySource
from service.settings import Settings

if TYPE_CHECKING:
    from service.web.slots import AllSlots


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: the patient of the path, and the token that opens their data."""

    patient_id: str
    claims: Claims


SETTINGS: web.AppKey[Settings] = web.AppKey("settings", Settings)
CONTEXT: web.AppKey[Context] = web.AppKey("context", Context)
AUTHENTICATOR: web.AppKey[Authenticator] = web.AppKey("authenticator", Authenticator)
SLOTS: web.AppKey[AllSlots] = web.AppKey("slots")
PUBLIC_ROUTES: web.AppKey[frozenset[tuple[str, str]]] = web.AppKey("public_routes", frozenset[tuple[str, str]])
ROUTE_SCOPES: web.AppKey[Mapping[tuple[str, str], str]] = web.AppKey("route_scopes", Mapping[tuple[str, str], str])
KEY_SOURCE: web.AppKey[KeySource] = web.AppKey("key_source", KeySource)
"""There only where keys are published: with a secret there is nothing to renew."""
API_DOCUMENT: web.AppKey[bytes] = web.AppKey("api_document", bytes)

REQUEST_ID: web.RequestKey[str] = web.RequestKey("request_id", str)
CALLER: web.RequestKey[Caller] = web.RequestKey("caller", Caller)
