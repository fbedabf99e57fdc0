"""GET /patient/{patient_id}/dicom and …/tags: what a patient has, what of it fits, and what its files say at all."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlencode

import orjson
from aiohttp import web

from schemas.http import CatalogueParameters, SearchParameters
from service.dicom.matching.conditions import Condition, Options
from service.dicom.matching.reading import read_conditions
from service.dicom.paths import TagPath, parse_field_path, parse_index_path
from service.errors import Invalid
from service.usecases import search
from service.web.app_keys import CALLER, CONTEXT
from service.web.instance_json import summarize

MAX_LIMIT = 1000
"""Instances of one page at most."""

MAX_FIELDS = 50

SEARCH_PARAMETERS = SearchParameters()
CATALOGUE_PARAMETERS = CatalogueParameters()

# between commas; a tag may be written with one of its own
_FIELD = re.compile(r"(?:\(?(?<![0-9A-Fa-f])[0-9A-Fa-f]{4},[0-9A-Fa-f]{4}(?![0-9A-Fa-f])|[^,])+")

LEFT_OUT = "The search may have missed files: some values are too long or too many for the index, or they are binary."
UNCHECKED = "The search has too many candidates to check them all. Make it narrower."


async def list_documents(request: web.Request) -> web.Response:
    """Return a page of the patient's instances, or of those that a search finds, and a link to the next page."""
    query = list(request.query.items())
    own = [(name, value) for name, value in query if name in SEARCH_PARAMETERS.fields]
    conditions = [(name, value) for name, value in query if name not in SEARCH_PARAMETERS.fields and name != "fields"]
    fields = _fields([value for name, value in query if name == "fields"])
    asked = SEARCH_PARAMETERS.read(own)
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    if not conditions and not fields and asked["orderby"] is None:
        instances, more = await search.list_newest(request.app[CONTEXT], request[CALLER].patient_id, limit, offset)
        body = orjson.dumps({"instances": [summarize(each) for each in instances]}, option=orjson.OPT_UTC_Z)
        return _page_response(request, body, limit, offset + limit if more else None)
    options = Options(
        asked["fuzzymatching"], empty=asked["emptyvaluematching"], multiple=asked["multiplevaluematching"]
    )
    order = asked["orderby"]
    page = search.PageRequest(
        limit=limit,
        offset=offset,
        order=None if order is None else _path("orderby", order.removeprefix("-")),
        descending=order is not None and order.startswith("-"),
        fields=fields,
    )
    return await _search(request, read_conditions(conditions, options), page)


async def _search(request: web.Request, conditions: tuple[Condition, ...], page: search.PageRequest) -> web.Response:
    hits = await search.search(request.app[CONTEXT], request[CALLER].patient_id, conditions, page)

    def encode() -> bytes:
        shown = []
        for instance in hits.instances:
            summary = summarize(instance)
            if page.fields:
                summary["fields"] = search.show_fields(instance.get("dataset") or {}, page.fields)
            shown.append(summary)
        answer = {"instances": shown, "incomplete": hits.left_out or hits.unchecked}
        return orjson.dumps(answer, option=orjson.OPT_UTC_Z)

    response = _page_response(request, await asyncio.to_thread(encode), page.limit, hits.next_offset)
    for told, text in ((hits.left_out, LEFT_OUT), (hits.unchecked, UNCHECKED)):
        if told:
            response.headers.add("Warning", f'299 - "{text}"')
    return response


async def list_tags(request: web.Request) -> web.Response:
    """Return a page of the patient's catalogue: every path that the files have, and what stands there."""
    asked = CATALOGUE_PARAMETERS.read(request.query.items())
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    catalogue = await search.catalogue(
        request.app[CONTEXT], request[CALLER].patient_id, asked["path"].replace(".", "/")
    )
    rows, more = catalogue.rows(limit, offset)
    body = await asyncio.to_thread(orjson.dumps, {"tags": rows, "incomplete": not catalogue.complete})
    return _page_response(request, body, limit, offset + limit if more else None)


def _page_response(request: web.Request, body: bytes, limit: int, next_offset: int | None) -> web.Response:
    response = web.Response(body=body, content_type="application/json")
    if next_offset is not None:
        query = [(name, value) for name, value in request.query.items() if name not in {"limit", "offset"}]
        query += [("limit", str(limit)), ("offset", str(next_offset))]
        response.headers["Link"] = f'<{request.rel_url.raw_path}?{urlencode(query)}>; rel="next"'
    return response


def _fields(values: list[str]) -> dict[str, TagPath]:
    names = dict.fromkeys(name.strip(" ") for value in values for name in _FIELD.findall(value))
    if len(names) > MAX_FIELDS:
        raise Invalid(f"The parameter fields may name at most {MAX_FIELDS} paths.")
    return {name: _field(name) for name in names}


def _field(name: str) -> TagPath:
    try:
        return parse_field_path(name)
    except Invalid as error:
        raise Invalid(f"Invalid fields: {error.detail}") from None


def _path(parameter: str, text: str) -> TagPath:
    try:
        return parse_index_path(text)
    except Invalid as error:
        raise Invalid(f"Invalid {parameter}: {error.detail}") from None
