"""How a route is described: an operation, its responses, and the errors that many operations share."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.http import Answer, Content, Parameters

Shape = type[Answer] | dict[str, Any]
"""A schema of `schemas.http`, or a JSON Schema."""

BINARY: dict[str, Any] = {"type": "string", "format": "binary"}
ID: dict[str, Any] = {"type": "string", "format": "uuid"}
DICOM_JSON: dict[str, Any] = {"$ref": "#/components/schemas/DicomJson"}

PROBLEM_TYPE = "application/problem+json"

REFUSALS: Mapping[int, str] = {
    400: "The body does not match its headers.",
    401: "The token is missing or invalid, or it is for another patient.",
    403: "The token is valid, but its scope or its share does not allow this.",
    404: "The resource does not exist, or it does not belong to this patient.",
    406: "None of the media types in `Accept` is available; `detail` lists those that are.",
    408: "The request or its body did not arrive in time.",
    409: "Nothing was stored; the dataset gives the reasons.",
    412: "What is there is another version than the one that `If-Match` or `If-Unmodified-Since` names.",
    413: "The content is larger than the service accepts.",
    414: "The request target exceeds 8,190 bytes.",
    415: "The media type of the request is not supported.",
    416: "The file does not have this range.",
    422: "The request cannot be processed; `detail` gives the reason.",
    429: "This patient has too many requests in progress; `Retry-After` says when to try again.",
    431: "A header exceeds 8,192 bytes, or the headers together exceed 32 KiB.",
    503: "The service is temporarily unavailable; `Retry-After` says when to try again.",
    505: "The request is of another version of HTTP than 1.0 and 1.1.",
    507: "The patient's files take as many bytes as they may; `detail` says how many they take, and may take.",
}
"""What each error means, where an operation does not say otherwise."""

PUBLIC_REFUSALS = frozenset({408, 414, 431, 503, 505})
"""What every route may answer."""

PRIVATE_REFUSALS = PUBLIC_REFUSALS | frozenset({401, 403, 422, 429})
"""What every route that takes a token may answer."""


@dataclass(frozen=True, slots=True)
class Response:
    """A successful response.

    Parameters
    ----------
    description : str
        A sentence.
    content : mapping of str to Shape
        By media type; empty if there is no body.
    headers : tuple of str
        Names in `parameters.RESPONSE_HEADERS`.
    example : Any
        An example of the first media type.
    links : tuple of str
        Operations on the instance whose id is returned.
    """

    description: str
    content: Mapping[str, Shape] = field(default_factory=dict)
    headers: tuple[str, ...] = ()
    example: Any = None
    links: tuple[str, ...] = ()


UNCHANGED = Response("The caller already has the current version.", {}, ("ETag",))


@dataclass(frozen=True, slots=True)
class Body:
    """The body of a request.

    Parameters
    ----------
    description : str
        A sentence.
    content : mapping of str to type or dict
        By media type: a schema of `schemas.http`, or a JSON Schema.
    example : Any
        An example of the first media type.
    """

    description: str
    content: Mapping[str, type[Content] | dict[str, Any]]
    example: Any = None


@dataclass(frozen=True, slots=True)
class Operation:
    """What a route does, for the OpenAPI document.

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
        Statuses of errors, besides those that every route has.
    description : str
        More, in Markdown.
    query : type of Parameters or None
        The schema that reads its parameters.
    parameters : tuple of str
        Names in `parameters.PARAMETERS`; those of the path are found by themselves.
    body : Body or None
        The body of the request.
    says : mapping of int to str
        What an error means here, by status.
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
