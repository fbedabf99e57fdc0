"""Errors as `application/problem+json` (RFC 9457): one table, one shape."""

from __future__ import annotations

import errno
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import orjson
from aiohttp import web
from aiohttp.web_protocol import RequestPayloadError

from service import errors
from service.telemetry.logs import trace_without_values

log = logging.getLogger(__name__)

CONTENT_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True)
class Problem:
    """What a caller is told.

    Parameters
    ----------
    status : int
        The HTTP status.
    code : str
        A word that a program can act on; stable, where the sentence is not.
    """

    status: int
    code: str


PROBLEMS: Mapping[type[Exception], Problem] = {
    errors.NotFound: Problem(404, "not-found"),
    errors.NoSuchInstance: Problem(404, "not-found"),
    errors.Unauthorized: Problem(401, "unauthorized"),
    errors.WrongPatient: Problem(401, "unauthorized"),
    errors.PasscodeRequired: Problem(401, "passcode-required"),
    errors.WrongPasscode: Problem(401, "wrong-passcode"),
    errors.Forbidden: Problem(403, "forbidden"),
    errors.NotForDownload: Problem(403, "not-for-download"),
    errors.BadParameter: Problem(400, "bad-parameter"),
    errors.Invalid: Problem(422, "invalid"),
    errors.NotDicom: Problem(422, "not-dicom"),
    errors.LimitExceeded: Problem(422, "limit-exceeded"),
    errors.NotRenderable: Problem(422, "not-renderable"),
    errors.ExtractionFailed: Problem(422, "extraction-failed"),
    errors.Conflict: Problem(409, "conflict"),
    errors.NoPublicUrl: Problem(409, "no-public-url"),
    errors.PreconditionFailed: Problem(412, "precondition-failed"),
    errors.TooLarge: Problem(413, "too-large"),
    errors.StorageFull: Problem(507, "storage-full"),
    errors.InboxFull: Problem(507, "inbox-full"),
    errors.TooManyRequests: Problem(429, "too-many-requests"),
    errors.UnsupportedMediaType: Problem(415, "unsupported-media-type"),
    errors.NotAcceptable: Problem(406, "not-acceptable"),
    errors.Unavailable: Problem(503, "unavailable"),
    errors.DatabaseUnavailable: Problem(503, "database-unavailable"),
    errors.KeysUnavailable: Problem(503, "keys-unavailable"),
    errors.ExtractionPending: Problem(503, "extraction-pending"),
    errors.Overloaded: Problem(503, "overloaded"),
    errors.WorkerLost: Problem(503, "worker-lost"),
    errors.NoWorker: Problem(503, "no-worker"),
}
"""Every error of the domain, and what it is at HTTP; one that is not named stands with its nearest parent."""

EXHAUSTED = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""What the system says where it has no file descriptor or no memory for a request at the moment."""

RETRY_SECONDS = 2

CHALLENGE = 'Bearer realm="dicom"'
"""What a caller without a good token is told of the scheme (RFC 6750, 3)."""

SENTENCES = {
    404: "Nothing exists at this path.",
    405: "This path does not support this method.",
    500: "An unexpected error occurred. The log has details under the request id.",
    505: "This service speaks HTTP/1.1.",
}


def find_problem(error: BaseException) -> Problem | None:
    """Return the entry of an error's class, or of its nearest parent that has one."""
    return next((PROBLEMS[kind] for kind in type(error).__mro__ if kind in PROBLEMS), None)


def problem_response(
    status: int, detail: str, request_id: str, *, code: str | None = None, headers: Mapping[str, str] | None = None
) -> web.Response:
    """Make the answer that tells of a problem.

    Parameters
    ----------
    status : int
        The HTTP status.
    detail : str
        A sentence for the caller, without patient data.
    request_id : str
        The id that the log has of this request.
    code : str, optional
        A word for programs; the status's own phrase where there is none.
    headers : mapping of str to str, optional
        Headers that belong to the problem.
    """
    body = problem_body(status, detail, request_id, code)
    response = web.Response(status=status, body=body, content_type=CONTENT_TYPE, headers=headers)
    response.headers["Cache-Control"] = "no-store"
    return response


def problem_body(status: int, detail: str, request_id: str, code: str | None = None) -> bytes:
    """Write the document of a problem, with the parameters of `problem_response`."""
    phrase = HTTPStatus(status).phrase
    return orjson.dumps(
        {
            "type": "about:blank",
            "title": phrase,
            "status": status,
            "code": code or phrase.lower().replace(" ", "-"),
            "detail": detail,
            "request_id": request_id,
        }
    )


def translate(error: Exception, request_id: str) -> web.Response:
    """Return the answer for what was raised; what nobody foresaw is logged, and shown blank.

    Parameters
    ----------
    error : Exception
        An error of the domain, of aiohttp's router, or anything else.
    request_id : str
        The id that the log has of this request.
    """
    if isinstance(error, errors.ServiceError) and (problem := find_problem(error)) is not None:
        return problem_response(problem.status, str(error), request_id, code=problem.code, headers=_headers(error))
    if isinstance(error, web.HTTPException):
        kept = {name: error.headers[name] for name in ("Allow", "Location") if name in error.headers}
        detail = SENTENCES.get(error.status, HTTPStatus(error.status).description or error.reason)
        return problem_response(error.status, detail, request_id, headers=kept)
    if isinstance(error, RequestPayloadError):
        return problem_response(400, "The body of the request does not match its headers.", request_id)
    if isinstance(error, OSError) and error.errno in EXHAUSTED:
        log.warning("a request was refused: %s", error.strerror)
        headers = {"Retry-After": str(RETRY_SECONDS)}
        return problem_response(
            503, "The service is busy. Try again later.", request_id, code="overloaded", headers=headers
        )
    log_unknown(error, request_id)
    return problem_response(500, SENTENCES[500], request_id)


def _headers(error: errors.ServiceError) -> dict[str, str]:
    if isinstance(error, (errors.Unavailable, errors.TooManyRequests)):
        return {"Retry-After": str(error.retry_after)}
    if isinstance(error, errors.WorkerLost):
        return {"Retry-After": "5"}
    if isinstance(error, errors.Unauthorized):
        return {"WWW-Authenticate": CHALLENGE + (', error="invalid_token"' if error.presented else "")}
    if isinstance(error, errors.Forbidden):
        return {"WWW-Authenticate": f'{CHALLENGE}, error="insufficient_scope", scope="{error.scope}"'}
    return {}


def log_unknown(error: BaseException, request_id: str) -> None:
    """Log an error that nobody foresaw: where it came from, and never its message, which may quote a patient's file."""
    log.error("unforeseen error in request %s\n%s", request_id, trace_without_values(error))
