"""WADO-RS: frames, as they are stored or decoded (PS3.18 10.4.1.1.6)."""

from __future__ import annotations

import contextlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Mapping

from aiohttp import hdrs, web

from schemas.http import NoParameters
from service.dicom.payloads import VIDEO_TYPES
from service.errors import Invalid, TooLarge
from service.usecases.dicomweb.frames import Frame, hold_frames, iter_frames
from service.usecases.dicomweb.scope import Member, Scope, find_members
from service.web.app_keys import CALLER, CONTEXT, DICOM_IDS
from service.web.dicomweb.media_types import EXPLICIT_LITTLE_ENDIAN, OCTETS, accept_of, image_types
from service.web.dicomweb.multipart import send_parts, send_pieces
from service.web.dicomweb.requests import HEADERS, answers, read_parameters, scope_of
from service.web.negotiation import Offer, choose
from service.web.path import path_segment
from service.web.streams import stream

MAX_FRAMES = 10_000
"""Frames that one request may name."""

NO_PARAMETERS = NoParameters()
_LIST = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*", re.ASCII)

# Native frames are the same bytes in each of these.
_NATIVE = frozenset({"1.2.840.10008.1.2", EXPLICIT_LITTLE_ENDIAN, "1.2.840.10008.1.2.1.99"})


@answers
async def get_frames(request: web.Request) -> web.StreamResponse:
    """Return the frames that the path lists, each as a part."""
    read_parameters(request, NO_PARAMETERS)
    numbers = frame_list(request)
    context, scope = request.app[CONTEXT], scope_of(request)
    member = (await find_members(context, scope))[-1]
    request[DICOM_IDS] = (member.dicom_id,)
    if member.transfer_syntax_uid in VIDEO_TYPES:  # its stream stands where others have frames
        request[CALLER].require_download()
    stored = member.transfer_syntax_uid or EXPLICIT_LITTLE_ENDIAN
    chosen, decoded = choose_frames(accept_of(request), stored, single=len(numbers) == 1)
    indexes = [number - 1 for number in numbers]
    async with (
        hold_frames(context, scope.visible, member, len(numbers), decoded=decoded),
        contextlib.aclosing(iter_frames(context, scope.visible, member.dicom_id, indexes, decoded=decoded)) as frames,
    ):
        if chosen.multipart:
            return await send_parts(request, _parts(frames, chosen.media_type), chosen.media_type, HEADERS)
        frame = await anext(frames)
        response = web.StreamResponse(headers=HEADERS)
        response.headers[hdrs.CONTENT_TYPE] = f"{chosen.media_type}; transfer-syntax={frame.syntax}"
        return await stream(request, response, frame.size, frame.pieces)


async def send_pixel_data(request: web.Request, scope: Scope, member: Member) -> web.StreamResponse:
    """Return compressed pixel data as the bulk data it is: its frames in parts, or decoded one after another.

    The value of the element itself is frames wrapped in items, which no media type describes.

    Raises
    ------
    NotAcceptable
        There is no such form.
    TooLarge
        There are more frames than one request may name.
    """
    context, stored = request.app[CONTEXT], member.transfer_syntax_uid or ""
    chosen, decoded = choose_frames(accept_of(request), stored, single=False, whole=True)
    facts = await context.store.instances.read_elements(scope.visible, member.dicom_id, (), ("NumberOfFrames",))
    values = (facts or {"elements": {}})["elements"].get("NumberOfFrames", {}).get("Value") or [1]
    count = values[0] if isinstance(values[0], int) and values[0] > 0 else 1
    if count > MAX_FRAMES:
        raise TooLarge(f"A response may have at most {MAX_FRAMES} frames. Request the frames by their numbers.")
    frames = iter_frames(context, scope.visible, member.dicom_id, range(count), decoded=decoded)
    async with (
        hold_frames(context, scope.visible, member, count, decoded=decoded),
        contextlib.aclosing(frames),
    ):
        if chosen.multipart:
            return await send_parts(request, _parts(frames, chosen.media_type), chosen.media_type, HEADERS)
        response = web.StreamResponse(headers={**HEADERS, hdrs.CONTENT_DISPOSITION: "attachment"})
        response.headers[hdrs.CONTENT_TYPE] = f"{chosen.media_type}; transfer-syntax={EXPLICIT_LITTLE_ENDIAN}"
        return await send_pieces(request, response, _joined(frames))


def frame_list(request: web.Request) -> list[int]:
    """Return the frame numbers of the path, from 1.

    Raises
    ------
    Invalid
        Where it has others.
    """
    text = path_segment(request, "frames")
    numbers = [int(number) for number in text.split(",")] if _LIST.fullmatch(text) else [0]
    if min(numbers) < 1:
        raise Invalid("Frames must be a list of numbers from 1, for example 1,2,5.")
    if len(numbers) > MAX_FRAMES:
        raise Invalid(f"A request may name at most {MAX_FRAMES} frames.")
    return numbers


def choose_frames(accept: str | None, stored: str, *, single: bool, whole: bool = False) -> tuple[Offer, bool]:
    """Return the form in which frames are sent, and whether they are decoded for it.

    Without an Accept they come as they are stored. A single one need not stand in a part, nor need decoded ones that
    are the whole of the pixel data. `application/octet-stream` without a transfer syntax means Explicit
    VR Little Endian (PS3.18 8.7.3.3.2).

    Raises
    ------
    NotAcceptable
        There is no such form.
    """
    is_native = stored in _NATIVE
    native = frozenset(_NATIVE if is_native else {EXPLICIT_LITTLE_ENDIAN})
    as_stored = [Offer(OCTETS, multipart=True, transfer_syntaxes=frozenset({stored}), default_syntax=is_native)]
    as_stored += [Offer(kind, multipart=True, transfer_syntaxes=frozenset({stored})) for kind in image_types(stored)]
    decoded = [Offer(OCTETS, multipart=True, transfer_syntaxes=native, stored=False)]
    if single:
        as_stored += [
            Offer(each.media_type, False, each.transfer_syntaxes, default_syntax=each.default_syntax)
            for each in as_stored
        ]
    if single or whole:
        decoded.append(Offer(OCTETS, transfer_syntaxes=native, stored=False))
    chosen = choose(accept, as_stored + decoded)
    return chosen, chosen in decoded


async def _parts(
    frames: AsyncGenerator[Frame, None], media_type: str
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            head = {"Content-Type": f"{media_type}; transfer-syntax={frame.syntax}", "Content-Length": str(frame.size)}
            yield head, frame.pieces


async def _joined(frames: AsyncGenerator[Frame, None]) -> AsyncIterator[bytes]:
    async with contextlib.aclosing(frames):
        async for frame in frames:
            async for piece in frame.pieces:
                yield piece
