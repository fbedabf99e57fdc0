"""The API on one screen: each route's method, path, handler, scope, audit action and OpenAPI operation.

A private route takes a token for the patient whom its path names, with the scope that the row names. A private route
whose path names no patient opens to nobody. Every GET route also supports HEAD.
"""

from __future__ import annotations

from service.auth.tokens import DELETE, READ, SHARE, WRITE
from service.settings import Settings
from service.web import health, instances, metrics, search, shares, tags, tokens, uploads
from service.web.bulkdata import get_bulk_data
from service.web.dicomweb import deletion, frames, metadata, query, retrieve, store
from service.web.dicomweb.metadata import get_metadata
from service.web.dicomweb.pictures import get_rendered, get_thumbnail
from service.web.openapi import dicomweb, sharing
from service.web.openapi import operations as api
from service.web.openapi.handler import get_openapi
from service.web.route import PUBLIC, UNAUDITED, UNDESCRIBED, Route
from service.web.static_files import FILES, serve_file

PATIENT = "/patient/{patient_id}"
INSTANCE = f"{PATIENT}/dicom/{{dicom_id}}"
SHARES = f"{PATIENT}/shares"
DICOMWEB = f"{PATIENT}/dicomweb"
STUDIES = f"{DICOMWEB}/studies"
STUDY = f"{STUDIES}/{{study}}"
SERIES = f"{STUDY}/series/{{series}}"
SOP = f"{SERIES}/instances/{{instance}}"
FRAMES = f"{SOP}/frames/{{frames}}"
BULK_DATA = f"{SOP}/bulkdata/{{path}}"
OPEN_FILE = (PUBLIC, UNAUDITED, UNDESCRIBED)


def all_routes(settings: Settings) -> list[Route]:
    """Return the routes of a service with these settings."""
    routes = [
        Route("GET", "/", serve_file("index.html", "text/html"), PUBLIC, UNAUDITED, api.GET_PAGE),
        Route("GET", "/s", serve_file("index.html", "text/html"), PUBLIC, UNAUDITED, api.GET_LINK_PAGE),
        *(Route("GET", f"/static/{name}", serve_file(name, kind), *OPEN_FILE) for name, kind in FILES.items()),
        Route("GET", "/docs", serve_file("docs.html", "text/html"), PUBLIC, UNAUDITED, api.GET_DOCS),
        Route("GET", "/openapi.json", get_openapi, PUBLIC, UNAUDITED, api.GET_OPENAPI),
        Route("GET", "/healthz", health.is_alive, PUBLIC, UNAUDITED, api.IS_ALIVE),
        Route("GET", "/readyz", health.is_ready, PUBLIC, UNAUDITED, api.IS_READY),
        Route("GET", "/metrics", metrics.get_metrics, PUBLIC, UNAUDITED, api.GET_METRICS),
        Route("POST", f"{PATIENT}/dicom", uploads.upload, WRITE, "upload", api.UPLOAD_FILE, takes_files=True),
        Route("GET", f"{PATIENT}/dicom", search.list_instances, READ, "search", api.LIST_INSTANCES),
        Route("GET", f"{PATIENT}/tags", search.list_tags, READ, "read_catalogue", api.LIST_TAGS),
        Route("GET", INSTANCE, instances.get_instance, READ, "read_document", api.GET_INSTANCE),
        Route("DELETE", INSTANCE, instances.delete_instance, DELETE, "delete", api.DELETE_INSTANCE),
        Route("GET", f"{INSTANCE}/tags", tags.get_tags, READ, "read_tags", api.GET_TAGS),
        Route("GET", f"{INSTANCE}/tag/{{tag}}", tags.get_tag, READ, "read_tag", api.GET_TAG),
        Route("GET", f"{INSTANCE}/bulkdata/{{path}}", get_bulk_data, READ, "read_bulk_data", api.GET_BULK_DATA),
        Route("POST", SHARES, shares.make_share, SHARE, "share", sharing.MAKE_SHARE),
        Route("GET", SHARES, shares.list_shares, SHARE, "list_shares", sharing.LIST_SHARES),
        Route("GET", f"{SHARES}/{{share_id}}", shares.get_share, SHARE, "read_share", sharing.GET_SHARE),
        Route("DELETE", f"{SHARES}/{{share_id}}", shares.revoke_share, SHARE, "revoke_share", sharing.REVOKE_SHARE),
        Route(
            "POST", f"{SHARES}/{{share_id}}/accept", shares.accept_files, SHARE, "accept_files", sharing.ACCEPT_FILES
        ),
        Route("POST", "/shares/session", shares.open_session, PUBLIC, UNAUDITED, sharing.OPEN_SESSION),
        # DICOMweb (PS3.18): STOW-RS, QIDO-RS, WADO-RS
        Route("POST", STUDIES, store.store, WRITE, "upload", dicomweb.STORE_INSTANCES),
        Route("POST", STUDY, store.store, WRITE, "upload", dicomweb.STORE_INSTANCES_OF_STUDY),
        Route("GET", STUDIES, query.find_studies, READ, "search", dicomweb.SEARCH_STUDIES),
        Route("GET", f"{DICOMWEB}/series", query.find_series, READ, "search", dicomweb.SEARCH_SERIES),
        Route("GET", f"{DICOMWEB}/instances", query.find_instances, READ, "search", dicomweb.SEARCH_INSTANCES),
        Route("GET", f"{STUDY}/series", query.find_series, READ, "search", dicomweb.SEARCH_SERIES_OF_STUDY),
        Route("GET", f"{STUDY}/instances", query.find_instances, READ, "search", dicomweb.SEARCH_INSTANCES_OF_STUDY),
        Route("GET", f"{SERIES}/instances", query.find_instances, READ, "search", dicomweb.SEARCH_INSTANCES_OF_SERIES),
        Route("GET", STUDY, retrieve.retrieve, READ, "read_original", dicomweb.RETRIEVE_STUDY),
        Route("GET", SERIES, retrieve.retrieve, READ, "read_original", dicomweb.RETRIEVE_SERIES),
        Route("GET", SOP, retrieve.retrieve, READ, "read_original", dicomweb.RETRIEVE_INSTANCE),
        Route("DELETE", STUDY, deletion.delete, DELETE, "delete", dicomweb.DELETE_STUDY),
        Route("DELETE", SERIES, deletion.delete, DELETE, "delete", dicomweb.DELETE_SERIES),
        Route("GET", f"{STUDY}/metadata", get_metadata, READ, "read_tags", dicomweb.GET_STUDY_METADATA),
        Route("GET", f"{SERIES}/metadata", get_metadata, READ, "read_tags", dicomweb.GET_SERIES_METADATA),
        Route("GET", f"{SOP}/metadata", get_metadata, READ, "read_tags", dicomweb.GET_INSTANCE_METADATA),
        Route("GET", BULK_DATA, metadata.get_bulk_data, READ, "read_bulk_data", dicomweb.GET_BULK_DATA),
        Route("GET", FRAMES, frames.get_frames, READ, "read_frames", dicomweb.GET_FRAMES),
        Route("GET", f"{STUDY}/rendered", get_rendered, READ, "read_picture", dicomweb.GET_RENDERED_STUDY),
        Route("GET", f"{SERIES}/rendered", get_rendered, READ, "read_picture", dicomweb.GET_RENDERED_SERIES),
        Route("GET", f"{SOP}/rendered", get_rendered, READ, "read_picture", dicomweb.GET_RENDERED_INSTANCE),
        Route("GET", f"{FRAMES}/rendered", get_rendered, READ, "read_picture", dicomweb.GET_RENDERED_FRAMES),
        Route("GET", f"{STUDY}/thumbnail", get_thumbnail, READ, "read_picture", dicomweb.GET_STUDY_THUMBNAIL),
        Route("GET", f"{SERIES}/thumbnail", get_thumbnail, READ, "read_picture", dicomweb.GET_SERIES_THUMBNAIL),
        Route("GET", f"{SOP}/thumbnail", get_thumbnail, READ, "read_picture", dicomweb.GET_INSTANCE_THUMBNAIL),
        Route("GET", f"{FRAMES}/thumbnail", get_thumbnail, READ, "read_picture", dicomweb.GET_FRAME_THUMBNAIL),
    ]
    if settings.dev_mode:
        routes.append(Route("GET", f"{PATIENT}/token", tokens.get_token, PUBLIC, UNAUDITED, api.GET_TOKEN))
    return routes
