"""WADO-RS: studies, series and instances (PS3.18 10.4), one after another from the database.

They come in Explicit VR Little Endian unless the caller asks for what is stored (PS3.18 8.7.3.4).
"""

from __future__ import annotations

import contextlib
import re
import time
import zipfile
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import IO, cast

from aiohttp import hdrs, web

from schemas.database import Instance
from schemas.http import NoParameters
from service.dicom.transcode import CONVERTER_VERSION
from service.errors import NoSuchInstance, NotFound
from service.usecases.context import Context
from service.usecases.dicomweb.conversion import File, Form, is_converted, may_convert, open_file
from service.usecases.dicomweb.scope import Member, Scope, find_members, find_one, iter_visible
from service.usecases.instances import find_instance
from service.usecases.medium import Wanted
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS
from service.web.dicomweb.media_types import EXPLICIT_LITTLE_ENDIAN, NOT_FOR_WEB, accept_of
from service.web.dicomweb.multipart import send_parts, send_pieces
from service.web.dicomweb.requests import HEADERS, SHARED, answers, headers_of, read_parameters, scope_of
from service.web.instance_json import validators_of
from service.web.media import send_medium, wants_medium
from service.web.negotiation import DICOM, Offer, choose
from service.web.streams import closing, send_file, unchanged

ZIP = "application/zip"
NO_PARAMETERS = NoParameters()
CONVERTED = f"-explicit-{CONVERTER_VERSION}"
"""What an entity tag has after the file's digest where the file was converted."""


@answers
async def retrieve(request: web.Request) -> web.StreamResponse:
    """Return the instances of a study or a series, or one."""
    read_parameters(request, NO_PARAMETERS)
    request[CALLER].require_download()
    context, scope = request.app[CONTEXT], scope_of(request)
    members = await find_members(context, scope)
    if scope.instance is None and wants_medium(accept_of(request)):
        on_it = [Wanted(member.dicom_id, member.original_id, member.waits) for member in members]
        return await send_medium(request, on_it, () if scope.is_whole else (SHARED,), 200 if scope.is_whole else 206)
    offers = offers_of([member.transfer_syntax_uid for member in members], single=scope.instance is not None)
    chosen = choose(accept_of(request), list(offers))
    form = offers[chosen]
    # What is known beforehand to have no such form is left out (PS3.18 Table 8.5-1: 206); the caller named the form.
    sent = [member for member in members if form is not Form.EXPLICIT or may_convert(member.transfer_syntax_uid)]
    status = 200 if scope.is_whole and len(sent) == len(members) else 206
    request[DICOM_IDS] = [member.dicom_id for member in sent]
    if chosen.multipart:
        return await send_parts(request, _parts(context, scope, sent, form), DICOM, headers_of(scope), status)
    if chosen.media_type == ZIP:
        return await _send_zip(request, context, scope, sent, form, status)
    return await _send_one(request, context, scope, form)


def offers_of(syntaxes: Sequence[str | None], *, single: bool) -> dict[Offer, Form]:
    """Return the representations of instances of these transfer syntaxes, the preferred one first.

    Where no transfer syntax is named, that is Explicit VR Little Endian, but for what is lossy. A transfer syntax can
    be named where all instances are stored in it; implicit VR and big endian cannot (PS3.18 8.7.3).

    Parameters
    ----------
    syntaxes : sequence of (str or None)
        Of the instances.
    single : bool
        Whether it is one instance, which may be the whole body.
    """
    kinds = [(DICOM, True), *([(DICOM, False)] if single else []), (ZIP, False)]
    common = frozenset({syntax for syntax in syntaxes if syntax} - NOT_FOR_WEB if len(set(syntaxes)) == 1 else ())
    explicit = frozenset({EXPLICIT_LITTLE_ENDIAN} if any(map(may_convert, syntaxes)) else ())
    return {
        Offer(kind, multipart, transfer_syntaxes=named, stored=form is Form.STORED, default_syntax=default): form
        for form, named, default in (
            (Form.DEFAULT, frozenset[str](), True),
            (Form.STORED, common - explicit, False),
            (Form.EXPLICIT, explicit, False),
        )
        for kind, multipart in kinds
    }


async def _files(
    context: Context, scope: Scope, members: Sequence[Member], form: Form
) -> AsyncGenerator[tuple[Member, File], None]:
    """Return the instances that are there, each open until the next; one deleted a moment ago is passed over."""
    strict = len(members) == 1  # of several, each part says what it is
    visible = iter_visible(context, scope.visible, members)
    seen = False
    async with contextlib.aclosing(visible):
        async for member, instance in visible:
            async with contextlib.AsyncExitStack() as stack:
                opening = open_file(context, scope.visible, member, instance, form, strict=strict)
                try:
                    file = await stack.enter_async_context(opening)
                except NoSuchInstance:
                    continue
                seen = True
                yield member, file
    if not seen:
        raise NotFound(f"There is no such {scope.noun}.")


async def _parts(
    context: Context, scope: Scope, members: Sequence[Member], form: Form
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
    files = _files(context, scope, members, form)
    async with contextlib.aclosing(files):
        async for _, file in files:
            syntax = file.transfer_syntax_uid
            kind = f"{DICOM}; transfer-syntax={syntax}" if syntax else DICOM
            yield {"Content-Type": kind, "Content-Length": str(file.length)}, file.read(0, file.length)


async def _send_one(request: web.Request, context: Context, scope: Scope, form: Form) -> web.StreamResponse:
    """Return one instance as the whole body, which may be asked for by ranges; each form has its own entity tag."""
    member = await find_one(context, scope)
    instance: Instance = await find_instance(context, scope.visible, member.dicom_id)
    headers = {**HEADERS, hdrs.CONTENT_TYPE: DICOM}
    if is_converted(member.transfer_syntax_uid, form):
        same = unchanged(request, validators_of(instance, CONVERTED), headers)
        if same is not None:
            return same
    async with open_file(context, scope.visible, member, instance, form, strict=True) as file:
        as_stored = file.transfer_syntax_uid == member.transfer_syntax_uid
        validators = validators_of(instance, "" if as_stored else CONVERTED)
        return await send_file(request, validators, file.length, file.read, headers, file.original)


async def _send_zip(
    request: web.Request, context: Context, scope: Scope, members: Sequence[Member], form: Form, status: int
) -> web.StreamResponse:
    response = web.StreamResponse(status=status, headers=headers_of(scope))
    response.content_type = ZIP
    response.headers["Content-Disposition"] = f'attachment; filename="{scope.noun}.zip"'
    return await send_pieces(
        request, response, _zip_pieces(_files(context, scope, members, form), request[CALLER].look)
    )


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


async def _zip_pieces(
    files: AsyncGenerator[tuple[Member, File], None], look: Callable[[], Awaitable[None]]
) -> AsyncIterator[bytes]:
    """Write a ZIP file of uncompressed entries as it is sent, each size behind its entry."""
    outlet = _Outlet()
    names: set[str] = set()
    with zipfile.ZipFile(cast(IO[bytes], outlet), "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        async with closing(files):
            async for member, file in files:
                if names:
                    await look()
                entry = zipfile.ZipInfo(_entry_name(member, names), time.gmtime(member.received_at.timestamp())[:6])
                entry.file_size = file.length
                with archive.open(entry, "w", force_zip64=file.length >= zipfile.ZIP64_LIMIT) as target:
                    async for piece in file.read(0, file.length):
                        target.write(piece)
                        yield outlet.take()
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
