"""GET /patient/{patient_id}/dicom and …/tags: what a patient has, what of it fits, and what its files say at all."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson
from aiohttp import web

from schemas.http import CatalogueParameters, SearchParameters
from service.dicom.matching.conditions import Condition, Options
from service.dicom.matching.index_filter import has_block
from service.dicom.matching.reading import naming, read_conditions, read_fields
from service.dicom.paths import TagPath, parse_index_path, split_paths
from service.errors import Invalid
from service.usecases import search
from service.usecases.instances import shown_tree
from service.usecases.medium import Wanted, check_size
from service.web.app_keys import CALLER, CONTEXT
from service.web.instance_json import summarize
from service.web.links import next_page
from service.web.media import ZIP, send_medium
from service.web.negotiation import JSON, Offer
from service.web.tables import LEFT_OUT, LIST_OFFERS, VARY, answer_catalogue, answer_table, choose_listing, refuse_pages

MAX_LIMIT = 1000
"""Instances of one page at most."""

INSTANCE_OFFERS = (*LIST_OFFERS, Offer(ZIP))
"""A list of instances may also be a DICOM medium of them."""

SEARCH_PARAMETERS = SearchParameters()
CATALOGUE_PARAMETERS = CatalogueParameters()

UNCHECKED = "The search has too many candidates to check them all. Make it narrower."


async def list_instances(request: web.Request) -> web.StreamResponse:
    """Return a page of the patient's instances, or of those that a search finds, and a link to the next page.

    As a table it has all that a search finds, and what `fields` names of it. A DICOM medium has all those instances.
    """
    query = list(request.query.items())
    own = [(name, value) for name, value in query if name in SEARCH_PARAMETERS.fields]
    conditions = [(name, value) for name, value in query if name not in SEARCH_PARAMETERS.fields and name != "fields"]
    fields = _fields([value for name, value in query if name == "fields"])
    asked = SEARCH_PARAMETERS.read(own)
    options = Options(
        asked["fuzzymatching"], empty=asked["emptyvaluematching"], multiple=asked["multiplevaluematching"]
    )
    order = asked["orderby"]
    media_type = choose_listing(request, asked["format"], INSTANCE_OFFERS)
    if media_type == ZIP:
        return await _send_medium(request, read_conditions(conditions, options))
    if media_type != JSON:
        refuse_pages(request)
        return await answer_table(
            request,
            media_type,
            fields,
            read_conditions(conditions, options),
            None if order is None else _order(order.removeprefix("-")),
            descending=order is not None and order.startswith("-"),
        )
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    if not conditions and not fields and asked["orderby"] is None:
        context, visible = request.app[CONTEXT], request[CALLER].visible
        newest = search.list_newest(context, visible, limit, offset)
        (instances, more), storage = await asyncio.gather(newest, _storage(request))
        listed: dict[str, Any] = {"instances": [summarize(each) for each in instances], "storage": storage}
        if asked["count"]:
            listed["total"] = await search.count(context, visible)
        body = orjson.dumps(listed, option=orjson.OPT_UTC_Z)
        return _page_response(request, body, limit, offset + limit if more else None)
    page = search.PageRequest(
        limit=limit,
        offset=offset,
        order=None if order is None else _order(order.removeprefix("-")),
        descending=order is not None and order.startswith("-"),
        fields=fields,
        count=asked["count"],
    )
    return await _search(request, read_conditions(conditions, options), page)


async def _search(request: web.Request, conditions: tuple[Condition, ...], page: search.PageRequest) -> web.Response:
    visible = request[CALLER].visible
    searching = search.search(request.app[CONTEXT], visible, conditions, page)
    found, storage = await asyncio.gather(searching, _storage(request))

    def encode() -> bytes:
        shown = []
        for instance in found.hits.instances:
            summary = summarize(instance)
            if page.fields:
                summary["fields"] = search.show_fields(shown_tree(visible, instance), page.fields)
            shown.append(summary)
        answer: dict[str, Any] = {
            "instances": shown,
            "storage": storage,
            "incomplete": found.unknown or found.unchecked,
        }
        if page.count:
            answer["total"] = found.total
        return orjson.dumps(answer, option=orjson.OPT_UTC_Z)

    response = _page_response(request, await asyncio.to_thread(encode), page.limit, found.hits.next_offset)
    for told, text in ((found.unknown, LEFT_OUT), (found.unchecked, UNCHECKED)):
        if told:
            response.headers.add("Warning", f'299 - "{text}"')
    return response


async def _send_medium(request: web.Request, conditions: tuple[Condition, ...]) -> web.StreamResponse:
    """Send all instances that a search finds as a medium, in the order in which they came."""
    context, visible = request.app[CONTEXT], request[CALLER].visible
    wanted: dict[str, Wanted] = {}
    told: set[str] = set()
    offset: int | None = 0
    while offset is not None:
        if conditions:
            page = search.PageRequest(limit=MAX_LIMIT, offset=offset, order=None, descending=False, fields={})
            found = await search.search(context, visible, conditions, page)
            instances, following = found.hits.instances, found.hits.next_offset
            told |= {text for holds, text in ((found.unknown, LEFT_OUT), (found.unchecked, UNCHECKED)) if holds}
        else:
            instances, more = await search.list_newest(context, visible, MAX_LIMIT, offset)
            following = offset + MAX_LIMIT if more else None
        for each in instances:
            wanted.setdefault(each["_id"], Wanted(each["_id"], each["original_id"], "inbox" in each))
        check_size(len(wanted))
        offset = following
    return await send_medium(request, list(reversed(wanted.values())), [f'299 - "{text}"' for text in sorted(told)])


async def list_tags(request: web.Request) -> web.StreamResponse:
    """Return a page of the patient's catalogue: every path that the files have, and what stands there.

    As a table it has all of them.
    """
    asked = CATALOGUE_PARAMETERS.read(request.query.items())
    media_type = choose_listing(request, asked["format"], LIST_OFFERS)
    if media_type != JSON:
        refuse_pages(request)
    limit, offset = min(asked["limit"], MAX_LIMIT), asked["offset"]
    catalogue = await search.catalogue(request.app[CONTEXT], request[CALLER].visible, asked["path"].replace(".", "/"))
    if media_type != JSON:
        return await answer_catalogue(request, media_type, catalogue)
    rows, more = catalogue.rows(limit, offset)
    body = await asyncio.to_thread(orjson.dumps, {"tags": rows, "incomplete": not catalogue.complete})
    return _page_response(request, body, limit, offset + limit if more else None)


async def _storage(request: web.Request) -> dict[str, int | None] | None:
    """Return how much the patient's files take and may take; None to whoever sees only a part of them."""
    if request[CALLER].visible.is_part:
        return None
    context = request.app[CONTEXT]
    used = await context.store.usage.read_lately(request[CALLER].patient_id)
    return {"used_bytes": max(used, 0), "allowed_bytes": context.settings.max_patient_bytes or None}


def _page_response(request: web.Request, body: bytes, limit: int, next_offset: int | None) -> web.Response:
    response = web.Response(body=body, content_type=JSON, headers={"Vary": VARY})
    if next_offset is not None:
        response.headers["Link"] = next_page(request, limit, next_offset)
    return response


def _fields(values: list[str]) -> dict[str, TagPath]:
    names = dict.fromkeys(name for value in values for name in split_paths(value))
    return dict(zip(names, read_fields("fields", list(names)), strict=True))


def _order(text: str) -> TagPath:
    with naming("The parameter orderby"):
        path = parse_index_path(text)
        if has_block(path):
            raise Invalid("files may differ in whose block it is: write CREATOR:ggggxxEE")
    return path
