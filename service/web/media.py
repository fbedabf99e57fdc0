"""A DICOM medium as the answer: a ZIP that is written while it is sent."""

from __future__ import annotations

import zipfile
from collections.abc import AsyncIterator, Sequence
from typing import IO, cast

from aiohttp import web

from service.errors import NotFound
from service.usecases.context import Context
from service.usecases.medium import Entry, Wanted, check_size, iter_entries
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS, Caller
from service.web.dicomweb.multipart import send_pieces
from service.web.negotiation import parse_accept

ZIP = "application/zip"
HEADERS = {"Cache-Control": "private, no-cache", "Vary": "Accept, Access-Token, Authorization"}

EPOCH = (1980, 1, 1, 0, 0, 0)
"""The date of every entry: the same files make the same entries."""


def wants_medium(accept: str | None) -> bool:
    """Return whether a caller asks for a DICOM medium before anything else.

    Parameters
    ----------
    accept : str or None
        The value of `Accept`.
    """
    ranges = [each for each in parse_accept(accept or "") if each.quality > 0]
    best = max((each.quality for each in ranges), default=0.0)
    for each in ranges:
        if each.quality == best and (each.type, each.subtype) == ("application", "zip"):
            return each.parameters.get("media", "").lower() == "dicomdir"
    return False


async def send_medium(
    request: web.Request, wanted: Sequence[Wanted], warnings: Sequence[str] = (), status: int = 200
) -> web.StreamResponse:
    """Send instances as a medium.

    Parameters
    ----------
    request : web.Request
        What is answered; a HEAD gets the headers.
    wanted : sequence of Wanted
        The instances.
    warnings : sequence of str, optional
        What the caller is told of their choice, as values of `Warning`.
    status : int, optional
        Of the answer; 206 where something that was asked for may be missing.

    Raises
    ------
    NotForDownload
        The caller may not have originals.
    TooLarge
        They are more than a medium has.
    NotFound
        There are none.
    """
    request[CALLER].require_download()
    check_size(len(wanted))
    if not wanted:
        raise NotFound("There are no instances for a medium.")
    request[DICOM_IDS] = [each.dicom_id for each in wanted]
    response = web.StreamResponse(status=status, headers=HEADERS)
    response.content_type = ZIP
    response.headers["Content-Disposition"] = 'attachment; filename="medium.zip"'
    for text in warnings:
        response.headers.add("Warning", text)
    return await send_pieces(request, response, _pieces(request.app[CONTEXT], request[CALLER], wanted))


async def _pieces(context: Context, caller: Caller, wanted: Sequence[Wanted]) -> AsyncIterator[bytes]:
    archive = ZipWriter()
    async for entry in iter_entries(context, caller.visible, wanted):
        await caller.look()
        async for piece in archive.add(entry):
            yield piece
    yield archive.close()


class ZipWriter:
    """Writes a ZIP of uncompressed entries into bytes that are taken away at once, each size behind its entry."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._archive = zipfile.ZipFile(cast(IO[bytes], self), "w", zipfile.ZIP_STORED, allowZip64=True)

    def write(self, data: bytes) -> int:
        """Take what `zipfile` writes."""
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Do nothing: what was written is there."""

    async def add(self, entry: Entry) -> AsyncIterator[bytes]:
        """Write an entry, and return its bytes in pieces."""
        about = zipfile.ZipInfo(entry.name, EPOCH)
        about.file_size = entry.length
        with self._archive.open(about, "w", force_zip64=entry.length >= zipfile.ZIP64_LIMIT) as target:
            async for piece in entry.pieces:
                target.write(piece)
                yield self._take()

    def close(self) -> bytes:
        """Write the directory of the ZIP, and return what is left."""
        self._archive.close()
        return self._take()

    def _take(self) -> bytes:
        taken = b"".join(self._pieces)
        self._pieces.clear()
        return taken
