"""What the handlers of DICOMweb share: the UIDs of a path, parameters, and refusals as PS3.18 has them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import wraps

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from schemas.http import Parameters
from service.errors import (
    BadParameter,
    ExtractionFailed,
    Invalid,
    LimitExceeded,
    NotAcceptable,
    NotDicom,
    NotRenderable,
    TooLarge,
)
from service.usecases.dicomweb.scope import Scope
from service.web.app_keys import CALLER
from service.web.links import root_of
from service.web.path import path_segment

HEADERS = {
    "Cache-Control": "private, no-cache",
    "Vary": "Accept, Accept-Encoding, Access-Token, Authorization",
}

SHARED = '299 dicomweb "This is what is shared of it; there may be more."'
"""What whoever sees a part is told of a study or series that may have more; nobody looks whether it has."""


def answers(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    """Make a handler refuse as PS3.18 says (Table 8.5-1): 400 a bad parameter, 406 no picture, 413 one too large."""

    @wraps(handler)
    async def translated(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except NotRenderable as error:
            raise NotAcceptable(error.detail) from error
        except LimitExceeded as error:
            raise TooLarge(error.detail) from error
        except (NotDicom, ExtractionFailed):  # the file is at fault and not the request
            raise
        except Invalid as error:
            raise BadParameter(error.detail) from error

    return translated


def scope_of(request: web.Request) -> Scope:
    """Return what the path names."""
    uids = (
        path_segment(request, name) if name in request.match_info else None for name in ("study", "series", "instance")
    )
    return Scope(request[CALLER].visible, *uids)


def headers_of(scope: Scope) -> dict[str, str]:
    """Return the headers of what a path names, with a warning where the caller may see only a part of it."""
    return HEADERS if scope.is_whole else {**HEADERS, hdrs.WARNING: SHARED}


def read_parameters(request: web.Request, schema: Parameters) -> dict[str, object]:
    """Read the parameters of a query that a route knows; all others are ignored (PS3.18 8.3)."""
    return schema.read((name, value) for name, value in request.query.items() if name in schema.fields)


def root_url(request: web.Request) -> str:
    """Return the URL of the patient's DICOMweb root, without a slash at its end."""
    return f"{root_of(request)}{'/'.join(request.rel_url.raw_path.split('/')[:4])}"
