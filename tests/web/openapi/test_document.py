"""The OpenAPI document says what the routes are, both ways, and is one."""

import json
import re
import tomllib

import pytest
from openapi_spec_validator import validate

from service import __version__
from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.openapi.operation import REFUSALS
from service.web.openapi.parameters import PARAMETERS, PATH_PARAMETERS, RESPONSE_HEADERS
from service.web.problems import PROBLEMS
from service.web.routes import all_routes
from tests.running_service import ROOT

ROUTES = all_routes(Settings(dev_mode=True))
DOCUMENT = create_document(ROUTES)
DESCRIBED = {
    (method.upper(), path): operation
    for path, operations in DOCUMENT["paths"].items()
    for method, operation in operations.items()
}


OPERATIONS = {(route.method, route.path): route.operation for route in ROUTES if route.operation is not None}


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_every_route_but_the_files_of_the_pages_is_described(route):
    assert ((route.method, route.path) in DESCRIBED) != route.path.startswith("/static/")


@pytest.mark.parametrize("dev_mode", [True, False])
def test_no_chapter_is_empty(dev_mode):
    document = create_document(all_routes(Settings(dev_mode=dev_mode)))
    used = {each["tags"][0] for operations in document["paths"].values() for each in operations.values()}
    assert {tag["name"] for tag in document["tags"]} == used
    assert ("Tokens" in used) == dev_mode


def test_it_is_a_valid_openapi_document():
    validate(DOCUMENT)


def test_public_operations_take_no_token_and_all_others_one_with_their_scope():
    for route in ROUTES:
        if route.operation is None:
            continue
        operation = DESCRIBED[route.method, route.path]
        needed = [] if route.scope is None else [{"accessToken": [route.scope]}, {"bearer": [route.scope]}]
        assert operation["security"] == needed
        assert route.scope is None or {"401", "403", "422", "503"} <= operation["responses"].keys()


def test_every_operation_has_a_name_a_line_and_a_chapter_of_its_own():
    names = [operation["operationId"] for operation in DESCRIBED.values()]
    assert len(set(names)) == len(names)
    chapters = {tag["name"] for tag in DOCUMENT["tags"]}
    for operation in DESCRIBED.values():
        assert re.fullmatch(r"[a-z][A-Za-z]+", operation["operationId"])
        assert operation["summary"]
        assert set(operation["tags"]) <= chapters
        assert any(status < "300" for status in operation["responses"])
    assert chapters == {operation["tags"][0] for operation in DESCRIBED.values()}


def test_every_refusal_is_a_problem():
    for key, operation in DESCRIBED.items():
        for status, response in operation["responses"].items():
            if int(status) not in OPERATIONS[key].responses:
                assert response["content"]["application/problem+json"]["schema"] == {
                    "$ref": "#/components/schemas/Problem"
                }


def test_every_problem_of_the_service_has_words():
    unsaid = {problem.status for problem in PROBLEMS.values()} - REFUSALS.keys()
    assert unsaid == set(), "say in service/web/openapi/operation.py what they mean, and which operations answer them"


def test_nothing_is_described_that_no_operation_refers_to():
    text = json.dumps(DOCUMENT["paths"]) + json.dumps(DOCUMENT["components"]["schemas"])
    for kind, names in (
        ("parameters", [*PARAMETERS, *PATH_PARAMETERS]),
        ("headers", RESPONSE_HEADERS),
        ("schemas", DOCUMENT["components"]["schemas"]),
    ):
        for name in names:
            assert f'"#/components/{kind}/{name}"' in text, f"nothing refers to the {kind} {name}"


def test_outside_dev_mode_no_token_is_offered():
    production = create_document(all_routes(Settings()))
    assert DOCUMENT["paths"].keys() - production["paths"].keys() == {"/patient/{patient_id}/token"}
    validate(production)


def test_its_version_is_that_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert project["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "service.__version__"}
    assert DOCUMENT["info"]["version"] == __version__


def test_it_is_served_as_it_is_made(service):
    status, headers, body = service.request("GET", "/openapi.json")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body) == json.loads(json.dumps(DOCUMENT))
    assert service.request("GET", "/openapi.json", if_none_match=headers["ETag"])[0] == 304
