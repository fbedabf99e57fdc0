"""Lists as tables: CSV, NDJSON and Parquet, streamed, the whole result and not a page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Mapping, Sequence
from functools import partial

from aiohttp import hdrs, web

from service.dicom.catalogue import Catalogue
from service.dicom.matching.conditions import Condition
from service.dicom.paths import TagPath
from service.errors import Invalid
from service.usecases.table_formats import CSV, FORMATS, NDJSON, PARQUET, WRITERS, ready
from service.usecases.tables import CATALOGUE_COLUMNS, catalogue_rows, iter_table, open_table
from service.web.app_keys import ADMISSIONS, CALLER, CONTEXT
from service.web.dicomweb.multipart import send_pieces
from service.web.negotiation import JSON, Offer, accept_header, choose

TABLE_SECONDS = 3600.0
"""How long one table may take, its caller's reading included."""

LIST_OFFERS = (Offer(JSON), Offer(CSV), Offer(NDJSON), Offer(PARQUET))

VARY = "Accept, Access-Token, Authorization"

LEFT_OUT = "Some files have bytes, or values that only the original has, at a path of the search: they may match."
INCOMPLETE = "There are more paths than a catalogue takes, or a file has more than its index has."

_PAGE = frozenset({"limit", "offset", "count"})
_TYPES = {CSV: "text/csv; charset=utf-8; header=present", NDJSON: NDJSON, PARQUET: PARQUET}
_ENDINGS = {media_type: name for name, media_type in FORMATS.items()}


def choose_listing(request: web.Request, named: str | None, offers: Sequence[Offer]) -> str:
    """Return the media type of a list: what `format` names, or else what `Accept` likes best of the offers.

    Raises
    ------
    NotAcceptable
        `Accept` takes none that there is.
    """
    if named is not None:
        return FORMATS.get(named, JSON)
    return choose(accept_header(request), offers).media_type


def refuse_pages(request: web.Request) -> None:
    """Refuse the parameters of a page where a table is asked for.

    Raises
    ------
    Invalid
        There is one.
    """
    found = sorted(_PAGE & request.query.keys())
    if found:
        raise Invalid(f"A table is the whole result, and not a page: leave out {', '.join(found)}.")


async def answer_table(
    request: web.Request,
    media_type: str,
    fields: Mapping[str, TagPath],
    conditions: Sequence[Condition],
    order: TagPath | None,
    *,
    descending: bool,
) -> web.StreamResponse:
    """Send what the files that a search finds say in some fields.

    Parameters
    ----------
    request : web.Request
        What is answered.
    media_type : str
        One of `WRITERS`.
    fields : mapping of str to tuple of Step
        Paths by the names of their columns.
    conditions, order, descending
        As `open_table` takes them.

    Raises
    ------
    Invalid
        No field is named.
    """
    if not fields:
        raise Invalid("A table needs columns: name the elements in fields, for example fields=PatientID,Modality.")
    context, caller = request.app[CONTEXT], request[CALLER]
    async with request.app[ADMISSIONS].tables.admit(caller.patient_id, shared=caller.share_id is not None):
        table = await open_table(context, caller.visible, fields, conditions, order, descending=descending)
        pieces = WRITERS[media_type](table.columns, partial(iter_table, context, table))
        return await _send(request, media_type, "instances", pieces, LEFT_OUT if table.unknown else None)


async def answer_catalogue(request: web.Request, media_type: str, catalogue: Catalogue) -> web.StreamResponse:
    """Send a catalogue as a table."""
    caller = request[CALLER]
    async with request.app[ADMISSIONS].tables.admit(caller.patient_id, shared=caller.share_id is not None):
        rows = await asyncio.to_thread(catalogue_rows, catalogue)
        pieces = WRITERS[media_type](CATALOGUE_COLUMNS, ready(rows))
        return await _send(request, media_type, "tags", pieces, None if catalogue.complete else INCOMPLETE)


async def _send(
    request: web.Request, media_type: str, name: str, pieces: AsyncGenerator[bytes, None], warning: str | None
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Vary": VARY})
    response.headers[hdrs.CONTENT_TYPE] = _TYPES[media_type]
    response.headers[hdrs.CONTENT_DISPOSITION] = f'attachment; filename="{name}.{_ENDINGS[media_type]}"'
    if warning is not None:
        response.headers["Warning"] = f'299 - "{warning}"'
    async with asyncio.timeout(TABLE_SECONDS), contextlib.aclosing(pieces):
        return await send_pieces(request, response, pieces)
