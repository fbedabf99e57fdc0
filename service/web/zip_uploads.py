"""A ZIP as the body of an upload: its members are stored as they arrive, with a line of JSON for each."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import orjson
from aiohttp import web

from service.errors import ServiceError
from service.usecases.inboxes import InboxUpload
from service.usecases.spool import Outgoing, room
from service.usecases.unpacking import Line, Unpacked, refusal_word, unpack
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS
from service.web.file_names import kept_name
from service.web.problems import find_problem
from service.web.server import DiscreetRequestHandler

NDJSON = "application/x-ndjson"
ZIP_TYPES = frozenset({"application/zip", "application/x-zip-compressed"})
"""What a ZIP may say it is; the second is what browsers on Windows say."""

SENDING_BYTES = 1 << 14
"""What is written at once while the body still comes; it never waits."""


class LineAnswer:
    """The lines of an answer: sent while the caller reads, kept in a spool while it only sends.

    Most programs read nothing of an answer before their body is out, and one that writes to them meanwhile would wait
    for ever. So until then a line is sent only where nothing waits to be taken.

    Parameters
    ----------
    request : web.Request
        What is answered.
    lines : Outgoing
        Where lines wait.
    """

    def __init__(self, request: web.Request, lines: Outgoing) -> None:
        self._request = request
        self._lines = lines
        self._response = web.StreamResponse(headers={"Content-Type": NDJSON})
        # The headers are out before it is known whether the body will be read to its end.
        self._response.force_close()
        self._begin = self._end = 0

    async def add(self, line: dict[str, Any]) -> None:
        """Take a line; it is sent now where that needs no waiting."""
        if not self._response.prepared:
            await self._response.prepare(self._request)
        piece = orjson.dumps(line) + b"\n"
        with room():
            self._lines.write(self._end, piece)
        self._end += len(piece)
        transport = self._request.transport
        if transport is not None and not transport.get_write_buffer_size():
            await self._send(min(self._end - self._begin, SENDING_BYTES))

    async def close(self) -> web.StreamResponse:
        """Send what waits, as fast as the caller takes it."""
        await self._send(self._end - self._begin)
        await self._response.write_eof()
        return self._response

    async def _send(self, size: int) -> None:
        async for piece in self._lines.pieces(self._begin, size):
            await self._response.write(piece)
        self._begin += size
        if self._begin == self._end:
            self._lines.clear()
            self._begin = self._end = 0


async def upload_zip(
    request: web.Request, body: AsyncIterator[bytes], expected: str | None, inbox: InboxUpload | None
) -> web.StreamResponse:
    """Store the members of a ZIP, and answer with a line for each and a summary.

    Parameters
    ----------
    request : web.Request
        The upload.
    body : async iterator of bytes
        The ZIP as it arrives.
    expected : str or None
        The PatientID that its files must have; None where any will do.
    inbox : InboxUpload or None
        The inbox by which they come.

    Raises
    ------
    BadZip
        The body is not a ZIP.
    Unavailable
        Nothing can be stored now, and nothing was.
    """
    context = request.app[CONTEXT]
    outcome = Unpacked()
    dicom_ids: list[str] = []
    request[DICOM_IDS] = dicom_ids
    lines = Outgoing(context.settings.spool_dir, context.settings.min_free_bytes)
    with contextlib.closing(lines), _sending(request):
        answer = LineAnswer(request, lines)
        detail = None
        try:
            found = unpack(
                context,
                request[CALLER].patient_id,
                _until_sent(request, body),
                outcome,
                keep_name=kept_name,
                expected=expected,
                inbox=inbox,
            )
            async for line in found:
                if line.stored is not None:
                    dicom_ids.append(line.stored.dicom_id)
                await answer.add(shown(line))
        except web.HTTPRequestTimeout:
            if not outcome.counts:
                raise
            detail = "The body did not arrive in time."
        summary = outcome.summary()
        if outcome.ended is not None:
            detail = outcome.ended.detail
        if detail is not None:
            summary |= {"complete": False, "detail": f"{detail} Send the ZIP again to go on."}
        _set_sending(request, sending=False)
        await answer.add({"summary": summary})
        return await answer.close()


def shown(line: Line) -> dict[str, Any]:
    """Return a member's line as it is sent."""
    if line.skipped is not None:
        return {"name": line.name, "skipped": line.skipped}
    if line.refused is not None:
        return {"name": line.name, "refused": _word_of(line.refused), "detail": line.refused.detail}
    assert line.stored is not None  # noqa: S101 - one of the three is
    stored = line.stored
    return {
        "name": line.name,
        "dicom_id": stored.dicom_id,
        "new": stored.created,
        "state": stored.state,
        "problems": stored.problems,
        "truncated_at": stored.truncated_at,
    }


def _word_of(error: ServiceError) -> str:
    problem = find_problem(error)
    return refusal_word(error) or (problem.code if problem is not None else "invalid")


async def _until_sent(request: web.Request, body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Return the body; the time in which its answer must be taken begins behind it."""
    async for piece in body:
        yield piece
    _set_sending(request, sending=False)


@contextlib.contextmanager
def _sending(request: web.Request) -> Iterator[None]:
    _set_sending(request, sending=True)
    try:
        yield
    finally:
        _set_sending(request, sending=False)


def _set_sending(request: web.Request, *, sending: bool) -> None:
    if isinstance(request.protocol, DiscreetRequestHandler):
        request.protocol.is_sending = sending
