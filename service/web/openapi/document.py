"""The OpenAPI document: the table of routes, with what is said of each, and the shapes of `schemas`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from apispec import APISpec
from apispec.ext.marshmallow import MarshmallowPlugin
from apispec.ext.marshmallow.openapi import OpenAPIConverter

from schemas import http
from schemas.dicom_json import COMPONENTS
from service import __version__
from service.web.openapi.operation import PRIVATE_REFUSALS, PROBLEM_TYPE, PUBLIC_REFUSALS, REFUSALS, Operation, Response
from service.web.openapi.parameters import PARAMETERS, PATH_PARAMETERS, RESPONSE_HEADERS
from service.web.route import PUBLIC, UNDESCRIBED, Route

TAGS = {
    "Tokens": "Access tokens. The `patient_id` of a token must be the patient in the path.",
    "Files": "Upload, list, search, fetch and delete files.",
    "Tags": "Read the data elements of a file.",
    "Shares": "Let others see a part of a patient's files, for a time.",
    "STOW-RS": "Store instances (DICOMweb, PS3.18 10.5).",
    "QIDO-RS": "Search for studies, series and instances (DICOMweb, PS3.18 10.6).",
    "WADO-RS": "Retrieve files, metadata, frames and rendered images (DICOMweb, PS3.18 10.4).",
    "Service": "Operations that need no token.",
}

DESCRIPTION = """\
Upload a DICOM file, then read any of its tags, view its frames as images, and download its original bytes. Every file
belongs to a patient. Each request for a patient's data needs a token for that patient, sent as `access-token: <jwt>` or
`Authorization: Bearer <jwt>`. If a token has a `scope`, it allows only what that scope names. The token of a session
that was opened by the link of a share is sent in the same way.

Every GET route also supports HEAD. OPTIONS requests are answered for pages from the origins in `CORS_ORIGINS`. Every
error is an `application/problem+json` document (RFC 9457). Besides the errors listed for each operation, the service
returns 400 for a request that is not valid HTTP/1.1, 404 for an unknown path, 405 for an unsupported method, and 500
for an unexpected error.
"""


def create_document(routes: Iterable[Route]) -> dict[str, Any]:
    """Make the document of these routes.

    Parameters
    ----------
    routes : iterable of Route
        The table of routes.
    """
    described = [(route, route.operation) for route in routes if route.operation is not UNDESCRIBED]
    used = {operation.tag for _, operation in described}
    plugin = MarshmallowPlugin(schema_name_resolver=_name)
    spec = APISpec(
        title="DICOM document store",
        version=__version__,
        openapi_version="3.1.0",
        plugins=[plugin],
        info={"description": DESCRIPTION, "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"}},
        servers=[{"url": "/"}],
        tags=[{"name": name, "description": text} for name, text in TAGS.items() if name in used],
    )
    converter = plugin.converter
    assert converter is not None  # noqa: S101 - it has one from the moment that it belongs to a document
    converter.field_mapping |= {http.WholeNumber: ("integer", None), http.WindowField: ("string", None)}
    for each in (_pattern, _constant, _digits):
        converter.add_attribute_function(each)  # type: ignore[no-untyped-call] # it has no types
    for name, schema in COMPONENTS.items():
        spec.components.schema(name, schema)
    for named in (http.ProblemSchema, http.Tag, http.InstanceList, http.HitList):
        spec.components.schema(_name(named), schema=named)
    for name, parameter in PARAMETERS.items():
        spec.components.parameter(name, parameter["in"], parameter)
    for name, parameter in PATH_PARAMETERS.items():
        spec.components.parameter(name, "path", parameter)
    for name, header in RESPONSE_HEADERS.items():
        spec.components.header(name, header)
    spec.components.security_scheme("accessToken", {"type": "apiKey", "in": "header", "name": "access-token"})
    spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"})
    for route, operation in described:
        spec.path(route.path, operations={route.method.lower(): _operation(converter, route, operation)})
    document: dict[str, Any] = spec.to_dict()
    for shape in _below(http.Answer):
        component = document["components"]["schemas"].get(_name(shape))
        if component is not None:
            component["description"] = (shape.__doc__ or "").partition("\n")[0]
    return document


def _operation(converter: OpenAPIConverter, route: Route, described: Operation) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": described.operation_id,
        "tags": [described.tag],
        "summary": described.summary,
        "parameters": [*re.findall(r"\{(\w+)\}", route.path), *described.parameters],
        "responses": _responses(route, described),
        "security": [] if route.scope is PUBLIC else [{scheme: [route.scope]} for scheme in ("accessToken", "bearer")],
    }
    if described.description:
        operation["description"] = described.description
    if described.query is not None:
        operation["parameters"] += _query(converter, described.query)
    if described.body is not None:
        operation["requestBody"] = {
            "description": described.body.description,
            "required": True,
            "content": {kind: {"schema": schema} for kind, schema in described.body.content.items()},
        }
        if described.body.example is not None:
            next(iter(operation["requestBody"]["content"].values()))["example"] = described.body.example
    return operation


def _responses(route: Route, described: Operation) -> dict[str, Any]:
    refusals = described.refusals | (PUBLIC_REFUSALS if route.scope is PUBLIC else PRIVATE_REFUSALS)
    made = {str(status): _response(response) for status, response in described.responses.items()}
    for status in sorted(refusals):
        headers = {
            401: ("WWW-Authenticate",),
            403: ("WWW-Authenticate",),
            429: ("Retry-After",),
            503: ("Retry-After",),
        }.get(status, ())
        text = described.says.get(status, REFUSALS[status])
        refusal = _response(Response(text, {PROBLEM_TYPE: http.ProblemSchema}, headers))
        if str(status) in made:  # a status with a dataset of its own, and a problem beside it
            made[str(status)]["content"] |= refusal["content"]
        else:
            made[str(status)] = refusal
    return dict(sorted(made.items()))


def _response(response: Response) -> dict[str, Any]:
    made: dict[str, Any] = {
        "description": response.description,
        "headers": {name: name for name in ("X-Request-ID", *response.headers)},
    }
    if response.content:
        made["content"] = {kind: {"schema": shape} for kind, shape in response.content.items()}
        if response.example is not None:
            next(iter(made["content"].values()))["example"] = response.example
    if response.links:
        of_instance = {"patient_id": "$request.path.patient_id", "dicom_id": "$response.body"}
        made["links"] = {name: {"operationId": name, "parameters": of_instance} for name in response.links}
    return made


def _query(converter: OpenAPIConverter, schema: type[http.Parameters]) -> list[dict[str, Any]]:
    """Return the parameters that a schema reads; what is not there has no value, and so no null."""
    parameters: list[dict[str, Any]] = converter.schema2parameters(schema(), location="query")
    for parameter in parameters:
        shape = parameter["schema"]
        if isinstance(shape.get("type"), list):
            shape["type"] = shape["type"][0]
        if shape.get("default", ...) is None:
            del shape["default"]
        for word in ("description", "example"):
            if word in shape:
                parameter[word] = shape.pop(word)
    return parameters


def _below(kind: type[http.Answer]) -> Iterator[type[http.Answer]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def _name(schema: object) -> str:
    kind = schema if isinstance(schema, type) else type(schema)
    return kind.__name__.strip("_").removesuffix("Schema")


def _pattern(_converter: object, _field: object, *, ret: dict[str, Any], **_: object) -> dict[str, Any]:
    """Write a pattern as JSON Schema has it: not anchored by itself, and without Python's own escapes."""
    pattern = ret.get("pattern")
    if pattern is None or pattern.startswith("^"):
        return {}
    return {"pattern": f"^{pattern.removesuffix(chr(92) + 'Z')}$"}


def _constant(_converter: object, field: Any, *, ret: dict[str, Any], **_: object) -> dict[str, Any]:
    """Return the schema of a constant."""
    if not hasattr(field, "constant"):
        return {}
    ret.pop("default", None)
    return {"const": field.constant}


def _digits(_converter: object, field: object, *, ret: dict[str, Any], **_: object) -> dict[str, Any]:
    """Return the bounds of a whole number, as a schema."""
    if not isinstance(field, http.WholeNumber):
        return {}
    return {"minimum": ret.get("minimum", 0), "maximum": ret.get("maximum", 10**http.MAX_DIGITS - 1)}
