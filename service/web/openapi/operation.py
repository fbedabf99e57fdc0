"""The words in which a route is described: an operation, its responses, and the refusals that many have alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.http import Answer, Parameters

Shape = type[Answer] | dict[str, Any]
"""A schema of `schemas.http`, or a JSON Schema."""

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
ID: dict[str, Any] = {"type": "string", "format": "uuid"}
DICOM_JSON: dict[str, Any] = {"$ref": "#/components/schemas/DicomJson"}

PROBLEM_TYPE = "application/problem+json"

REFUSALS: Mapping[int, str] = {
    400: "The body is not what its headers say.",
    401: "There is no valid token, or it is for another patient.",
    403: "The token is valid, and its scope is not enough.",
    404: "There is no such thing, or not for this patient.",
    406: "None of the media types that `Accept` names can be given; the sentence says which can.",
    408: "The request, or its body, stopped arriving.",
    409: "Nothing was stored; the dataset says why.",
    413: "It is larger than the service accepts.",
    415: "The type of what was sent is not one that is taken.",
    416: "The file has no such range.",
    422: "What was asked or sent cannot be worked with; the sentence says why.",
    429: "One patient has as much under way as it may; `Retry-After` says when another try is worth it.",
    431: "The request's target or one of its headers is over 8,190 bytes, or all of them are over 32 KiB.",
    503: "It cannot be done now; `Retry-After` says when another try is worth it.",
}
"""What each refusal means, where a route has no other word for it."""

PUBLIC_REFUSALS = frozenset({408, 431, 503})
"""What every route may answer."""

PRIVATE_REFUSALS = PUBLIC_REFUSALS | frozenset({401, 403, 422, 429})
"""What every route that takes a token may answer."""


@dataclass(frozen=True, slots=True)
class Response:
    """What comes back when all is well.

    Parameters
    ----------
    description : str
        What it is.
    content : mapping of str to Shape
        By media type; none: no body.
    headers : tuple of str
        Names in `parameters.RESPONSE_HEADERS`.
    example : Any
        Of the first media type.
    links : tuple of str
        Operations on the instance whose id this is.
    """

    description: str
    content: Mapping[str, Shape] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    example: Any = None
    links: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent.

    Parameters
    ----------
    description : str
        What it is.
    content : mapping of str to dict
        The JSON Schema by media type.
    """

    description: str
    content: Mapping[str, dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does.

    Parameters
    ----------
    operation_id : str
        Unique, in lowerCamelCase: programs that are generated call their functions so.
    tag : str
        The chapter that it stands in; one of `document.TAGS`.
    summary : str
        One line.
    responses : mapping of int to Response
        By status.
    refusals : frozenset of int
        Statuses of problems beside those that every route has.
    description : str
        More, in Markdown.
    query : type of Parameters or None
        The schema that reads its parameters.
    parameters : tuple of str
        Names in `parameters.PARAMETERS`; those of the path are found by themselves.
    body : Body or None
        What is sent.
    says : mapping of int to str
        What a refusal means here.
    """

    operation_id: str
    tag: str
    summary: str
    responses: Mapping[int, Response]
    refusals: frozenset[int] = frozenset()
    description: str = ""
    query: type[Parameters] | None = None
    parameters: tuple[str, ...] = ()
    body: Body | None = None
    says: Mapping[int, str] = field(default_factory=dict)
