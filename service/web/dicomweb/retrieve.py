"""WADO-RS: studies, series and instances as they were stored (PS3.18 10.4), one after another from the database."""

from __future__ import annotations

import re
import time
import zipfile
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import IO, cast

from aiohttp import web

from schemas.http import NoParameters
from service.errors import NotFound
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Member, Scope, find_members, find_one, iter_visible
from service.usecases.instances import open_original, while_seen
from service.web.app_keys import CONTEXT, DICOM_IDS
from service.web.dicomweb.media_types import accept_of
from service.web.dicomweb.multipart import send_parts, send_pieces
from service.web.dicomweb.requests import HEADERS, answers, read_parameters, scope_of
from service.web.negotiation import DICOM, Offer, choose
from service.web.streams import stream

ZIP = "application/zip"
NO_PARAMETERS = NoParameters()


@answers
async def retrieve(request: web.Request) -> web.StreamResponse:
    """Return the instances of a study or a series, or one, byte for byte as they came."""
    read_parameters(request, NO_PARAMETERS)
    context, scope = request.app[CONTEXT], scope_of(request)
    members = await find_members(context, scope)
    request[DICOM_IDS] = [member.dicom_id for member in members]
    # Files are given as they are stored, so a transfer syntax can be asked for where all of them have it.
    syntaxes = {member.transfer_syntax_uid or "" for member in members}
    common = frozenset(syntaxes if len(syntaxes) == 1 else ())
    offers = [Offer(DICOM, multipart=True, transfer_syntaxes=common)]
    if scope.instance is not None:
        offers.append(Offer(DICOM, transfer_syntaxes=common))
    offers.append(Offer(ZIP))
    chosen = choose(accept_of(request), offers)
    if chosen.multipart:
        return await send_parts(request, _parts(context, scope, members), DICOM, HEADERS)
    if chosen.media_type == ZIP:
        return await _send_zip(request, context, scope, members)
    return await _send_file(request, context, scope)


async def _parts(
    context: Context, scope: Scope, members: Sequence[Member]
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
    seen = False
    async for member, content in _originals(context, scope, members):
        seen = True
        syntax = member.transfer_syntax_uid
        kind = f"{DICOM}; transfer-syntax={syntax}" if syntax and _is_uid(syntax) else DICOM
        yield {"Content-Type": kind, "Content-Length": str(member.length)}, content
    if not seen:
        raise NotFound(f"There is no such {scope.noun}.")


async def _originals(
    context: Context, scope: Scope, members: Sequence[Member]
) -> AsyncIterator[tuple[Member, AsyncIterator[bytes]]]:
    """Return the originals that are there; one that was deleted a moment ago is passed over."""
    async for member, _ in iter_visible(context, scope.patient_id, members):
        original = await context.store.originals.open(scope.patient_id, member.original_id)
        if original is not None:
            near = await context.near.open(member.original_id)
            content = (near or original).iter_range()
            yield member, while_seen(context, scope.patient_id, member.dicom_id, content)


async def _send_file(request: web.Request, context: Context, scope: Scope) -> web.StreamResponse:
    member = await find_one(context, scope)
    original = await open_original(context, scope.patient_id, member.original_id)
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = DICOM
    content = while_seen(context, scope.patient_id, member.dicom_id, original.iter_range())
    return await stream(request, response, original.length, content)


async def _send_zip(
    request: web.Request, context: Context, scope: Scope, members: Sequence[Member]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=HEADERS)
    response.content_type = ZIP
    response.headers["Content-Disposition"] = f'attachment; filename="{scope.noun}.zip"'
    return await send_pieces(request, response, _zip_pieces(context, scope, members))


class _Outlet:
    """A file that cannot be sought in, whose bytes are taken away as they are written."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    def take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken


async def _zip_pieces(context: Context, scope: Scope, members: Sequence[Member]) -> AsyncIterator[bytes]:
    """Write a ZIP file of uncompressed entries as it is sent, each size behind its entry."""
    outlet = _Outlet()
    names: set[str] = set()
    with zipfile.ZipFile(cast(IO[bytes], outlet), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        async for member, content in _originals(context, scope, members):
            entry = zipfile.ZipInfo(_entry_name(member, names), time.gmtime(member.received_at.timestamp())[:6])
            entry.file_size = member.length
            with archive.open(entry, "w", force_zip64=member.length >= zipfile.ZIP64_LIMIT) as target:
                async for piece in content:
                    target.write(piece)
                    yield outlet.take()
        if not names:
            raise NotFound(f"There is no such {scope.noun}.")
    yield outlet.take()


def _entry_name(member: Member, taken: set[str]) -> str:
    """Name an entry by its UIDs, as a path that stays within the archive and is there once."""
    series, instance = (
        re.sub(r"[^0-9A-Za-z.-]", "_", uid)[:64].strip(".") or "_"
        for uid in (member.series_instance_uid, member.sop_instance_uid)
    )
    name = f"{series}/{instance}.dcm"
    if name in taken:
        name = f"{series}/{instance}-{member.dicom_id}.dcm"
    taken.add(name)
    return name


def _is_uid(text: str) -> bool:
    return re.fullmatch(r"[0-9.]{1,64}", text) is not None
