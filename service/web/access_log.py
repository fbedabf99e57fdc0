"""What is written down of a request when its answer is out: a line in the log, figures, an entry in the audit.

The line and the figures have the route's template where the request has a path, and nothing of what was sent but its
size. The audit, which lies in the database beside the data that it speaks of, has patient and instance too.
"""

from __future__ import annotations

import logging
import time

from aiohttp import hdrs, web

from service.errors import ServiceError
from service.usecases.audit import AuditEntry
from service.web.app_keys import ACTION, AUDIT, AUDITED, CONTEXT, DICOM_IDS, REQUEST_ID, ROUTE, STARTED, Audited
from service.web.path import dicom_id_of

access_log = logging.getLogger("service.access")

NO_ROUTE = "(no route)"
NOT_HTTP = "(not HTTP)"
NO_METHOD = "(unknown method)"

CLIENT_GONE = 499
"""The status that stands for an answer that nobody waited for, or that was cut short."""

MAX_CLAIM = 256
"""Characters of a token's claim that the audit keeps."""


def route_template(request: web.Request) -> str:
    """Return the route's path with the names of its variable parts, which says nothing of a patient."""
    resource = request.match_info.route.resource
    return NO_ROUTE if resource is None else resource.canonical


def method_of(request: web.BaseRequest) -> str:
    """Return the request's method, where it is one of HTTP's."""
    return request.method if request.method in hdrs.METH_ALL else NO_METHOD


def write_down(app: web.Application, request: web.BaseRequest, status: int) -> None:
    """Write a request down; its answer is out, or will never be.

    Parameters
    ----------
    app : web.Application
        The application.
    request : web.BaseRequest
        A request, or what stands for one that could not be read.
    status : int
        Of the answer.
    """
    method, route = method_of(request), request.get(ROUTE, NO_ROUTE)
    seconds = time.perf_counter() - request.get(STARTED, time.perf_counter())
    received, sent = request.content.total_bytes, request.writer.output_size
    level = logging.ERROR if status == 500 else logging.WARNING if status > 500 else logging.INFO
    if access_log.isEnabledFor(level):
        fields = {
            "method": method,
            "route": route,
            "status": status,
            "duration_ms": round(seconds * 1000, 1),
            "bytes_in": received,
            "bytes_out": sent,
            "request_id": request[REQUEST_ID],
        }
        access_log.log(
            level,
            "%s %s %d %.1f ms, %d bytes in, %d out, %s",
            *fields.values(),
            extra={"fields": fields},
        )
    app[CONTEXT].metrics.request_ended(method, route, status, seconds, received, sent)
    asking = request.get(AUDITED)
    if asking is not None:
        assert isinstance(request, web.Request)  # noqa: S101 - it came as far as to its token
        entry = entry_of(app, request, asking, status)
        (app[AUDIT].note if asking.verified else app[AUDIT].note_stranger)(entry)


def entry_of(app: web.Application, request: web.Request, asking: Audited, status: int | None) -> AuditEntry:
    """Make the audit's entry of a request to a private route.

    Parameters
    ----------
    app : web.Application
        The application.
    request : web.Request
        The request.
    asking : Audited
        Whose data it is about, and who asks.
    status : int or None
        Of the answer; None where there is none yet: it is intended.
    """
    return AuditEntry(
        at=app[CONTEXT].clock(),
        action=request[ACTION],
        outcome=_outcome(status, begun=request.writer.output_size > 0),
        status=status,
        method=method_of(request),
        route=route_template(request),
        request_id=request[REQUEST_ID],
        patient_id=asking.patient_id,
        subject=_kept(asking.subject),
        token_id=_kept(asking.token_id),
        dicom_ids=tuple(request.get(DICOM_IDS) or _named(request)),
        share_id=asking.share_id,
    )


def _outcome(status: int | None, *, begun: bool) -> str:
    if status is None:
        return "intended"
    if status < 400 or (status == CLIENT_GONE and begun):  # what was sent until then was sent
        return "done"
    return "denied" if status in (401, 403) else "failed"


def _kept(claim: str | None) -> str | None:
    """Return as much of a claim as is kept, and as a database takes it: JSON knows texts that no UTF-8 can hold."""
    return None if claim is None else claim[:MAX_CLAIM].encode("utf-8", "replace").decode()


def _named(request: web.Request) -> tuple[str, ...]:
    """Return the instance that the path names, where it names one by its id."""
    if "dicom_id" not in request.match_info:
        return ()
    try:
        return (dicom_id_of(request),)
    except ServiceError:
        return ()
