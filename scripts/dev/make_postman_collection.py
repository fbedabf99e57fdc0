"""Make the Postman collection of the whole API from the OpenAPI document.

    .venv/bin/python scripts/dev/make_postman_collection.py [file]

Without a file it is `docs/postman_collection.json`. A run of the collection from its beginning, in Postman or by
`newman run --working-dir FOLDER` where FOLDER has a CT_small.dcm, uploads a file, asks everything of it, deletes it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from service.settings import Settings
from service.web.openapi.document import create_document
from service.web.routes import all_routes

TARGET = ROOT / "docs" / "postman_collection.json"
FILE = "CT_small.dcm"

VARIABLES = {
    "baseUrl": "http://127.0.0.1:8000",
    "token": "",
    "patientId": "p-postman",
    "dicomId": "",
    "tag": "00080060",
    "path": "7FE00010",
    "study": "",
    "series": "",
    "instance": "",
    "frames": "1",
    "shareId": "",
    "secret": "",
}
"""The collection's variables: what a person may set, and what requests learn from answers."""

TABLES = frozenset({"text/csv", "application/x-ndjson", "application/vnd.apache.parquet"})
"""Media types that need the names of their columns."""

LEARN = {
    ("getToken", "application/json"): ['pm.collectionVariables.set("token", pm.response.json().access_token);'],
    ("uploadFile", "application/json"): ['pm.collectionVariables.set("dicomId", pm.response.json());'],
    ("makeShare", "application/json"): [
        "const made = pm.response.json();",
        'pm.collectionVariables.set("shareId", made.share_id);',
        'pm.collectionVariables.set("secret", made.link.split("#")[1]);',
    ],
    ("getInstance", "application/json"): [
        "const known = pm.response.json();",
        'pm.collectionVariables.set("study", known.study_instance_uid);',
        'pm.collectionVariables.set("series", known.series_instance_uid);',
        'pm.collectionVariables.set("instance", known.sop_instance_uid);',
    ],
}

BODIES = {
    "makeShare": {"studies": ["{{study}}"], "expires_in": 600, "label": "Postman"},
    "openSession": {"secret": "{{secret}}"},
}
"""What requests send as JSON, by the id of their operation."""

GONE_BEFORE = frozenset({"deleteSeries", "deleteStudy"})
"""What a run from the beginning finds deleted already: the one file that it has uploaded."""

DESCRIPTION = """\
The whole API of the DICOM document store, made from its OpenAPI document by scripts/dev/make_postman_collection.py.

Set `baseUrl`, `patientId` and, outside development mode, `token`; choose the same file in each upload. Then each
request works by itself, or run them all from the beginning: ids and UIDs are taken over from the answers, and the file
is deleted at the end, also where that patient had it before.
"""


def make_collection(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the collection (Postman's format 2.1) of an OpenAPI document."""
    folders: dict[str, list[dict[str, Any]]] = {tag["name"]: [] for tag in document["tags"]}
    described = {tag["name"]: tag["description"] for tag in document["tags"]}
    last: list[dict[str, Any]] = []  # what deletes, so that all else can be asked before
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            target = last if method == "delete" else folders[operation["tags"][0]]
            target += make_items(document, method.upper(), path, operation)
    items = [
        {"name": name, "description": described[name], "item": requests}
        for name, requests in folders.items()
        if requests
    ]
    return {
        "info": {
            "name": document["info"]["title"],
            "description": DESCRIPTION,
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "auth": {"type": "bearer", "bearer": [{"key": "token", "value": "{{token}}", "type": "string"}]},
        "variable": [{"key": name, "value": value, "type": "string"} for name, value in VARIABLES.items()],
        "item": [*items, {"name": "Deleting", "description": "What removes files.", "item": last}],
    }


def make_items(
    document: Mapping[str, Any], method: str, path: str, operation: Mapping[str, Any]
) -> Iterator[dict[str, Any]]:
    """Return the requests of an operation: one for each form in which it can be sent or answered."""
    parameters = [resolve(document, each) for each in operation["parameters"]]
    answers = {status: each for status, each in operation["responses"].items() if status < "300"}
    content = next(iter(answers.values())).get("content", {})
    kinds = [kind for kind in content if is_of_one_file(kind) and not is_told_twice(content, kind)] or [None]
    bodies = [kind for kind in operation.get("requestBody", {}).get("content", {}) if not is_of_many_files(kind)] or [
        None
    ]
    if not any(parameter["name"] == "Accept" for parameter in parameters):
        kinds = kinds[:1]
    has_conditions = any(parameter["schema"].get("type") == "object" for parameter in parameters)
    for number, (sent, got) in enumerate([(sent, got) for sent in bodies for got in kinds]):
        ways = [way for way, several in ((sent, len(bodies)), (got, len(kinds))) if way and several > 1]
        name = operation["summary"] + (f" ({', '.join(ways)})" if ways else "")
        accept = got if len(kinds) > 1 else None
        item = make_item(method, path, operation, parameters, sent, accept)
        yield {"name": name, **item, **make_tests(operation["operationId"], sorted(answers), got)}
        if has_conditions and number == 0:
            item = make_item(method, path, operation, parameters, sent, accept, conditions=True)
            yield {"name": f"{name}, with conditions", **item, **make_tests("", sorted(answers), got)}


def is_of_many_files(kind: str) -> bool:
    """Return whether a body of a media type has several files, which a request of the collection has not."""
    return "related" in kind or "zip" in kind


def is_of_one_file(kind: str) -> bool:
    """Return whether a media type can be answered for a file of one frame that is not compressed."""
    return "*" not in kind and 'type="image' not in kind


def is_told_twice(content: Mapping[str, Any], kind: str) -> bool:
    """Return whether a media type is only another name for the same JSON."""
    return kind == "application/json" and content.get("application/dicom+json") == content[kind]


def make_item(
    method: str,
    path: str,
    operation: Mapping[str, Any],
    parameters: list[dict[str, Any]],
    sent: str | None,
    accept: str | None,
    *,
    conditions: bool = False,
) -> dict[str, Any]:
    """Return one request."""
    query = [
        {"key": key, "value": value, "description": parameter["description"], "disabled": True}
        if not (conditions and parameter["schema"].get("type") == "object")
        and not (parameter["name"] == "fields" and accept in TABLES)
        else {"key": key, "value": value}
        for parameter in parameters
        if parameter["in"] == "query"
        for key, value in examples(parameter)
    ]
    headers: list[dict[str, Any]] = [
        {
            "key": parameter["name"],
            "value": str(parameter.get("example", "")),
            "description": parameter["description"],
            "disabled": True,
        }
        for parameter in parameters
        if parameter["in"] == "header" and parameter["name"] != "Accept"
    ]
    if accept is not None:
        headers.insert(0, {"key": "Accept", "value": accept})
    if sent is not None and sent != "multipart/form-data":
        headers.append({"key": "Content-Type", "value": sent})
    segments = re.sub(r"\{(\w+)\}", r":\1", path).lstrip("/").split("/")
    enabled = "&".join(f"{each['key']}={each['value']}" for each in query if "disabled" not in each)
    request: dict[str, Any] = {
        "method": method,
        "header": headers,
        "url": {
            "raw": "{{baseUrl}}/" + "/".join(segments) + (f"?{enabled}" if enabled else ""),
            "host": ["{{baseUrl}}"],
            "path": segments,
            "query": query,
            "variable": [
                {
                    "key": each["name"],
                    "value": f"{{{{{variable_of(each['name'])}}}}}",
                    "description": each["description"],
                }
                for each in parameters
                if each["in"] == "path"
            ],
        },
        "description": operation.get("description", operation["summary"]),
    }
    if not operation["security"]:
        request["auth"] = {"type": "noauth"}
    if sent == "multipart/form-data":
        file = {"key": "body", "type": "file", "src": FILE, "contentType": "application/dicom"}
        request["body"] = {"mode": "formdata", "formdata": [file]}
    elif sent == "application/json":
        request["body"] = {"mode": "raw", "raw": json.dumps(BODIES[operation["operationId"]])}
    elif sent is not None:
        request["body"] = {"mode": "file", "file": {"src": FILE}}
    return {"request": request}


def make_tests(operation_id: str, statuses: list[str], kind: str | None) -> dict[str, Any]:
    """Return what is looked at in an answer, and what is learned from it."""
    listed = ", ".join([*statuses, "404"] if operation_id in GONE_BEFORE else statuses)
    lines = [f'pm.test("the status is {listed}", () => pm.expect(pm.response.code).to.be.oneOf([{listed}]));']
    if kind is not None and operation_id not in GONE_BEFORE:
        plain = kind.partition(";")[0]
        lines.append(
            f'pm.test("it is {plain}", () => pm.expect(pm.response.headers.get("Content-Type")).to.include("{plain}"));'
        )
    lines += LEARN.get((operation_id, kind or ""), [])
    return {"event": [{"listen": "test", "script": {"type": "text/javascript", "exec": lines}}]}


def examples(parameter: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Return the names and values that a parameter of a query has as an example."""
    example = parameter.get("example", parameter["schema"].get("default", ""))
    if isinstance(example, Mapping):
        yield from example.items()
    elif isinstance(example, list):
        yield parameter["name"], ",".join(example)
    else:
        yield parameter["name"], str(example).lower() if isinstance(example, bool) else str(example)


def variable_of(name: str) -> str:
    """Return the collection's variable for a part of a path."""
    first, *rest = name.split("_")
    return first + "".join(word.capitalize() for word in rest)


def resolve(document: Mapping[str, Any], thing: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference."""
    while "$ref" in thing:
        found: Any = document
        for key in thing["$ref"].removeprefix("#/").split("/"):
            found = found[key]
        thing = found
    return thing


def write_collection(collection: Mapping[str, Any]) -> str:
    """Return the text of the file."""
    return json.dumps(collection, indent=2, ensure_ascii=False) + "\n"


def main() -> int:
    """Write the collection."""
    parser = argparse.ArgumentParser(
        prog="python scripts/dev/make_postman_collection.py",
        description="Makes the Postman collection of the whole API from the OpenAPI document.",
    )
    parser.add_argument("file", nargs="?", type=Path, default=TARGET, help="where to [docs/postman_collection.json]")
    target: Path = parser.parse_args().file
    document = create_document(all_routes(Settings(dev_mode=True)))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(write_collection(make_collection(document)), encoding="utf-8")
    print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
