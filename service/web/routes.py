"""The API on one screen.

A route is private unless it says that it is public: it then takes a token for the patient whom its path names, with the
scope that the route names, and a private route whose path names no patient is nobody's. Where GET works, HEAD does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler

from service.auth.tokens import DELETE, READ, SCOPES, WRITE
from service.settings import Settings
from service.web import bulkdata, health, instances, metrics, page, search, tags, tokens, uploads
from service.web.bodies import expect_nothing
from service.web.dicomweb import frames, metadata, pictures, query, retrieve, store
from service.web.openapi.handler import give_document


@dataclass(frozen=True, slots=True)
class Route:
    """A method and a path, who answers, and what a token must allow: a scope, or nothing where the route is public."""

    method: str
    path: str
    handler: Handler
    scope: str | None = None
    public: bool = False


PATIENT = "/patient/{patient_id}"
INSTANCE = f"{PATIENT}/dicom/{{dicom_id}}"
DICOMWEB = f"{PATIENT}/dicomweb"
STUDY = f"{DICOMWEB}/studies/{{study}}"
SERIES = f"{STUDY}/series/{{series}}"
SOP_INSTANCE = f"{SERIES}/instances/{{instance}}"


def all_routes(settings: Settings) -> list[Route]:
    """Return the routes of a service with these settings."""
    routes = [
        Route("GET", "/", page.serve_file("index.html", "text/html"), public=True),
        Route("GET", "/docs", page.serve_file("docs.html", "text/html"), public=True),
        *(
            Route("GET", f"/static/{name}", page.serve_file(name, kind), public=True)
            for name, kind in page.FILES.items()
        ),
        Route("GET", "/openapi.json", give_document, public=True),
        Route("GET", "/healthz", health.is_alive, public=True),
        Route("GET", "/readyz", health.is_ready, public=True),
        Route("GET", "/metrics", metrics.tell, public=True),
        Route("POST", f"{PATIENT}/dicom", uploads.upload, WRITE),
        Route("GET", f"{PATIENT}/dicom", search.list_documents, READ),
        Route("GET", f"{PATIENT}/tags", search.list_tags, READ),
        Route("GET", INSTANCE, instances.get_document, READ),
        Route("DELETE", INSTANCE, instances.delete_document, DELETE),
        Route("GET", f"{INSTANCE}/tags", tags.get_tags, READ),
        Route("GET", f"{INSTANCE}/tag/{{tag}}", tags.get_tag, READ),
        Route("GET", f"{INSTANCE}/bulkdata/{{path}}", bulkdata.get_bulk_data, READ),
    ]
    routes += dicomweb_routes()
    if settings.dev_mode:
        routes.append(Route("GET", f"{PATIENT}/token", tokens.give_token, public=True))
    return routes


def dicomweb_routes() -> list[Route]:
    """Return the routes of DICOMweb (PS3.18): STOW-RS, QIDO-RS, WADO-RS."""
    return [
        Route("POST", f"{DICOMWEB}/studies", store.store, WRITE),
        Route("POST", STUDY, store.store, WRITE),
        Route("GET", f"{DICOMWEB}/studies", query.find_studies, READ),
        Route("GET", f"{DICOMWEB}/series", query.find_series, READ),
        Route("GET", f"{DICOMWEB}/instances", query.find_instances, READ),
        Route("GET", f"{STUDY}/series", query.find_series, READ),
        Route("GET", f"{STUDY}/instances", query.find_instances, READ),
        Route("GET", f"{SERIES}/instances", query.find_instances, READ),
        Route("GET", STUDY, retrieve.retrieve, READ),
        Route("GET", SERIES, retrieve.retrieve, READ),
        Route("GET", SOP_INSTANCE, retrieve.retrieve, READ),
        *(Route("GET", f"{path}/metadata", metadata.get_metadata, READ) for path in (STUDY, SERIES, SOP_INSTANCE)),
        Route("GET", f"{SOP_INSTANCE}/bulkdata/{{path}}", metadata.get_bulk_data, READ),
        Route("GET", f"{SOP_INSTANCE}/frames/{{frames}}", frames.get_frames, READ),
        Route("GET", f"{SERIES}/rendered", pictures.get_rendered, READ),
        Route("GET", f"{SOP_INSTANCE}/rendered", pictures.get_rendered, READ),
        Route("GET", f"{SOP_INSTANCE}/frames/{{frames}}/rendered", pictures.get_rendered, READ),
        *(Route("GET", f"{path}/thumbnail", pictures.get_thumbnail, READ) for path in (STUDY, SERIES, SOP_INSTANCE)),
        Route("GET", f"{SOP_INSTANCE}/frames/{{frames}}/thumbnail", pictures.get_thumbnail, READ),
    ]


def route_scopes(routes: list[Route]) -> Mapping[tuple[str, str], str]:
    """Return the scope that each private route asks of a token, by method and path.

    Raises
    ------
    ValueError
        Where a route does not say who may use it.
    """
    for route in routes:
        if route.public == (route.scope in SCOPES):
            raise ValueError(f"{route.method} {route.path} is either public, or names the scope that it needs.")
    return {(route.method, route.path): route.scope for route in routes if route.scope is not None}


def add_routes(router: web.UrlDispatcher, routes: list[Route]) -> frozenset[tuple[str, str]]:
    """Put routes into a router.

    Returns
    -------
    frozenset of (str, str)
        Method and path of those that are public.
    """
    for route in routes:
        # A segment may hold anything but a slash; what it may mean is looked at after the token.
        path = re.sub(r"\{(\w+)\}", r"{\1:[^/]+}", route.path)
        if route.method == hdrs.METH_GET:
            router.add_get(path, route.handler, allow_head=True, expect_handler=expect_nothing)
        else:
            router.add_route(route.method, path, route.handler, expect_handler=expect_nothing)
    return frozenset((route.method, route.path) for route in routes if route.public)
