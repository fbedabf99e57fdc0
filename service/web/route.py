"""What a row of the table of routes says, and how the rows become the router's."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.auth.tokens import SCOPES
from service.web.bodies import expect_nothing
from service.web.openapi.operation import Operation

PUBLIC = None
"""In place of a scope: the route takes no token."""

UNAUDITED = ""
"""In place of an action: the route serves no patient's data."""

UNDESCRIBED = None
"""In place of an operation: the route serves a file of a page, and is no part of the API."""


@dataclass(frozen=True, slots=True)
class Route:
    """One row: a method and a path, who answers, what a token must allow, and what is recorded and said of it.

    Parameters
    ----------
    method : str
        In capitals. Where it is GET, HEAD is routed too.
    path : str
        With ``{name}`` for a variable segment.
    handler : Handler
        Answers the request.
    scope : str or None
        The scope that a token must have; `PUBLIC` where no token is needed. A private path names its patient.
    action : str
        What the audit calls it; a handler that does several things says itself which (`app_keys.ACTION`). `UNAUDITED`
        on a public route, and only there.
    operation : Operation or None
        What the OpenAPI document says of it, or `UNDESCRIBED`.
    takes_files : bool
        Whether the link of an inbox opens it: it says nothing of what is there. Every other route is closed to such.

    Raises
    ------
    ValueError
        The scope is unknown, or the route has only one of scope and action.
    """

    method: str
    path: str
    handler: Handler
    scope: str | None
    action: str
    operation: Operation | None
    takes_files: bool = False

    def __post_init__(self) -> None:
        """Refuse a row that does not say who may use the route."""
        if self.scope is not PUBLIC and self.scope not in SCOPES:
            raise ValueError(f"{self.method} {self.path} needs a scope that tokens do not have.")
        if (self.scope is PUBLIC) != (self.action == UNAUDITED):
            raise ValueError(
                f"{self.method} {self.path} needs both a scope and an action, or is public and has neither."
            )


def add_routes(router: web.UrlDispatcher, routes: Iterable[Route]) -> Mapping[tuple[str, str], Route]:
    """Put routes into a router.

    Returns
    -------
    mapping of (str, str) to Route
        The rows by method and path. HEAD has the row of GET.
    """
    rows = {}
    for route in routes:
        # A segment may hold anything but a slash; what it may mean is looked at after the token.
        path = re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", route.path)
        rows[route.method, route.path] = route
        if route.method == hdrs.METH_GET:
            rows[hdrs.METH_HEAD, route.path] = route
            router.add_get(path, route.handler, allow_head=True, expect_handler=expect_nothing)
        else:
            router.add_route(route.method, path, route.handler, expect_handler=expect_nothing)
    return rows
