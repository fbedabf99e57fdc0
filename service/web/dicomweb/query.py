"""QIDO-RS: GET …/studies, …/series and …/instances (PS3.18 10.6)."""

from __future__ import annotations

import asyncio
import gzip
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from aiohttp import hdrs, web

from service.dicom.matching.conditions import Options
from service.dicom.matching.reading import check_blocks, read_conditions, read_fields, read_path
from service.dicom.paths import Step, split_paths
from service.errors import Invalid
from service.usecases.dicomweb.results import QidoQuery
from service.usecases.dicomweb.search import search
from service.web.app_keys import CONTEXT
from service.web.dicomweb.media_types import accept_of
from service.web.dicomweb.requests import HEADERS, answers, root_url, scope_of
from service.web.negotiation import DICOM_JSON, JSON, Offer, choose, takes_gzip

MAX_RESULTS = 1000
"""Results of one answer, asked for or not; where there are more, a Warning says so."""

MAX_PARAMETERS = 100

LEFT_OUT = "Some instances have bytes, or values that only their files have, where the search looked"

SPECIFIC_CHARACTER_SET = 0x00080005
"""Is never matched (PS3.4 C.2.2.2)."""

_SWITCHES = {"fuzzymatching": "fuzzy", "emptyvaluematching": "empty", "multiplevaluematching": "multiple"}
_DIGITS = re.compile(r"[0-9]{1,9}", re.ASCII)


@answers
async def find_studies(request: web.Request) -> web.StreamResponse:
    """Search for studies."""
    return await _answer(request, "study")


@answers
async def find_series(request: web.Request) -> web.StreamResponse:
    """Search for series, of a study or of all."""
    return await _answer(request, "series")


@answers
async def find_instances(request: web.Request) -> web.StreamResponse:
    """Search for instances, of a series, of a study or of all."""
    return await _answer(request, "instance")


async def _answer(request: web.Request, level: str) -> web.StreamResponse:
    chosen = choose(accept_of(request), (Offer(DICOM_JSON), Offer(JSON)))
    wanted = read_search(request, level)
    page = await search(request.app[CONTEXT], wanted, root_url(request))
    squeezed = takes_gzip(request)
    body = await asyncio.to_thread(_encode, page.datasets, squeezed=squeezed)
    response = web.Response(body=body, headers=HEADERS)
    if squeezed:
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    response.headers[hdrs.CONTENT_TYPE] = chosen.media_type
    if page.remaining:
        # PS3.18 8.3.4.4 has this sentence.
        sentence = f"There are {page.remaining} additional results that can be requested"
        response.headers.add(hdrs.WARNING, f'299 dicomweb "{sentence}"')
    if page.unknown:
        response.headers.add(hdrs.WARNING, f'299 dicomweb "{LEFT_OUT}"')
    return response


def _encode(datasets: Sequence[Mapping[str, Any]], *, squeezed: bool) -> bytes:
    """Return a list as JSON, which names the same attributes again and again and so shrinks to a tenth."""
    body = orjson.dumps(datasets)
    return gzip.compress(body, 4, mtime=0) if squeezed else body


def read_search(request: web.Request, level: str) -> QidoQuery:
    """Read the parameters of a search (PS3.18 8.3.4).

    Raises
    ------
    Invalid
        Where one cannot be used.
    """
    if len(request.query) > MAX_PARAMETERS:
        raise Invalid(f"A search may have at most {MAX_PARAMETERS} parameters.")
    options = Options(**{name: _switch(request, word) for word, name in _SWITCHES.items()}, standard=True)
    asked: list[tuple[str, str]] = []
    include: list[Step] = []
    fields: list[str] = []
    for name, value in request.query.items():
        if name in (*_SWITCHES, "accept", "charset", "limit", "offset"):
            continue
        if name == "includefield":
            fields += split_paths(value)
            continue
        path = read_path(name)
        include.append(replace(path[0], item=None))  # what is matched is returned too, also where any value will do
        if path[0].tag != SPECIFIC_CHARACTER_SET:
            has_wildcards = "*" in value or "?" in value
            asked.append((name, value.strip(" ") if has_wildcards else value.rstrip(" ")))
    named = [field for field in dict.fromkeys(fields) if field.lower() != "all"]
    include += [path[0] for path in read_fields("includefield", named)]
    check_blocks(include)
    return QidoQuery(
        level=level,
        scope=scope_of(request),
        conditions=read_conditions(asked, options),
        include=tuple(dict.fromkeys(include)),
        everything=len(named) < len(set(fields)),
        limit=min(_whole(request, "limit", MAX_RESULTS), MAX_RESULTS),
        offset=_whole(request, "offset", 0),
    )


def _switch(request: web.Request, name: str) -> bool:
    value = _once(request, name)
    if value not in (None, "true", "false"):
        raise Invalid(f"Invalid {name}: the value must be true or false.")
    return value == "true"


def _whole(request: web.Request, name: str, otherwise: int) -> int:
    value = _once(request, name)
    if value is None:
        return otherwise
    if not _DIGITS.fullmatch(value):
        raise Invalid(f"Invalid {name}: the value must be a whole number.")
    return int(value)


def _once(request: web.Request, name: str) -> str | None:
    values = request.query.getall(name, ())
    if len(values) > 1:
        raise Invalid(f"The parameter {name} may be given only once.")
    return values[0] if values else None
