"""WADO-RS: rendered instances, frames and series, and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

import asyncio
import contextlib
import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import hdrs, web

from schemas.http import DECIMAL
from service.dicom.pixels.render import RenderRequest, Rendition
from service.dicom.pixels.voi import FUNCTIONS
from service.dicom.transcode import NEVER_CONVERTED
from service.errors import Invalid, LimitExceeded, NotFound, NotRenderable, TooLarge
from service.usecases import rendered
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Member, Scope, find_members, iter_visible
from service.usecases.spool import Outgoing, room
from service.web.app_keys import CONTEXT, DICOM_IDS
from service.web.dicomweb.frames import frame_list
from service.web.dicomweb.media_types import accept_of
from service.web.dicomweb.multipart import send_parts
from service.web.dicomweb.requests import HEADERS, answers, headers_of, scope_of
from service.web.negotiation import Offer, choose
from service.web.streams import once, stream

JPEG, PNG = "image/jpeg", "image/png"
THUMBNAIL_SIZE = 128
MAX_SIDE = 8192
MAX_PICTURES = 100
"""Frames that one request may have rendered."""

MAX_TRIES = 8
"""Frames that are tried for one picture: what cannot be drawn may take its time."""

_DECIMAL = re.compile(DECIMAL)
_NUMBER = re.compile(r"(-?[0-9]{1,6}(\.[0-9]{0,6})?)?", re.ASCII)
FUNCTION_NAMES = ", ".join(each.lower().replace("_", "-") for each in FUNCTIONS)
KNOWN = ("accept", "window", "viewport", "quality", "annotation", "iccprofile")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the parameters of a request ask for (PS3.18 8.3.5).

    Parameters
    ----------
    request : RenderRequest
        Window and quality.
    viewport : tuple of int or None
        Width and height into which the picture is fitted.
    region : tuple of (int or None)
        Left, top, width and height of the part of the image that is shown; what is None is the image's own.
    """

    request: RenderRequest
    viewport: tuple[int, int] | None = None
    region: tuple[int | None, ...] = (None, None, None, None)


@answers
async def get_rendered(request: web.Request) -> web.StreamResponse:
    """Return the listed frames, or what else the path names: as one picture that stands for it, or as all in parts."""
    wanted = read_wanted(request)
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else None
    if numbers and len(numbers) > MAX_PICTURES:
        raise Invalid(f"One request may render at most {MAX_PICTURES} frames.")
    offers = [Offer(kind, multipart=True) for kind in (JPEG, PNG)]
    if numbers is None or len(numbers) == 1:
        offers = [Offer(JPEG), Offer(PNG), *offers]
    members = await find_members(context, scope)  # before the media type: what is not there is 404
    chosen = choose(accept_of(request), offers)
    if not chosen.multipart:
        return await _send_one(request, scope, members, wanted, numbers, chosen.media_type)
    shown = [(members[-1], numbers)] if numbers else await _all_frames(context, scope, members)
    request[DICOM_IDS] = [each.dicom_id for each, _ in shown]
    outgoing = Outgoing(context.settings.spool_dir, context.settings.min_free_bytes)
    try:
        # All is drawn before anything is sent: an answer that has begun cannot say any more that something is missing.
        drawn, complete = await _draw_all(context, scope, wanted, shown, chosen.media_type, outgoing)
        parts = _parts(drawn, chosen.media_type, outgoing)
        status = 200 if complete and scope.is_whole else 206
        return await send_parts(request, parts, chosen.media_type, headers_of(scope), status)
    finally:
        await asyncio.to_thread(outgoing.close)


@answers
async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """Return a small picture of a study, a series, an instance or a frame."""
    wanted = read_wanted(request)
    chosen = choose(accept_of(request), (Offer(JPEG), Offer(PNG)))
    numbers = frame_list(request) if "frames" in request.match_info else None
    small = replace(wanted, viewport=wanted.viewport or (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    scope = scope_of(request)
    members = await find_members(request.app[CONTEXT], scope)
    return await _send_one(request, scope, members, small, numbers, chosen.media_type)


async def _send_one(
    request: web.Request,
    scope: Scope,
    members: Sequence[Member],
    wanted: Wanted,
    numbers: Sequence[int] | None,
    media_type: str,
) -> web.StreamResponse:
    """Return the picture that stands for what the path names: of its candidates the first that can be drawn.

    Raises
    ------
    NotRenderable, LimitExceeded
        None of them can be.
    """
    context = request.app[CONTEXT]
    refusal: Invalid | None = None
    for member, number in await _candidates(context, scope, members, numbers):
        request[DICOM_IDS] = (member.dicom_id,)
        # That there is such a frame is known where none was named.
        is_fit = numbers is None and wanted.viewport is None
        fitted = wanted if is_fit else await _fit(context, scope, member, wanted, [number])
        try:
            made = await _render(context, scope, member, fitted, number, media_type)
        except (NotRenderable, LimitExceeded) as error:
            refusal = refusal or error
            continue
        response = web.StreamResponse(headers={**HEADERS, hdrs.CONTENT_DISPOSITION: "inline"})
        response.content_type = made.media_type
        return await stream(request, response, len(made.data), once(made.data))
    raise refusal or NotRenderable("None of these instances has pixel data.")


async def _candidates(
    context: Context, scope: Scope, members: Sequence[Member], numbers: Sequence[int] | None
) -> list[tuple[Member, int]]:
    """Return the frames that may stand for what a path names, the best first, and no more than are tried.

    A named frame stands for itself. An instance is shown by its first frame, a series or a study by the instance in the
    middle; where that has no picture, by another one. What waits in an inbox shows only what has nothing else.
    """
    if scope.instance is not None:
        member = members[-1]
        if numbers:
            return [(member, numbers[0])]
        frames = await _frames_of(context, scope, [member])
        told = dict(frames).get(member, 1)  # by the file, which may say two thousand millions
        return [(member, number) for number in range(1, min(told, MAX_TRIES) + 1)]
    members = [member for member in members if not member.waits] or members
    middle = len(members) // 2
    found = await _frames_of(context, scope, [members[middle], *members[:middle], *members[middle + 1 :]], MAX_TRIES)
    return [(member, 1) for member, _ in found]


async def _frames_of(
    context: Context, scope: Scope, members: Sequence[Member], most: int | None = None
) -> list[tuple[Member, int]]:
    """Return the instances that have pixels which can be drawn, each with its number of frames; at most so many."""
    found: list[tuple[Member, int]] = []
    visible = iter_visible(context, scope.visible, members, ("Rows", "NumberOfFrames"))
    async with contextlib.aclosing(visible):
        async for member, instance in visible:
            elements = instance.get("dataset") or {}
            if _number(elements, "Rows") and member.transfer_syntax_uid not in NEVER_CONVERTED:
                found.append((member, max(_number(elements, "NumberOfFrames"), 1)))
                if len(found) == most:
                    break
    return found


async def _all_frames(context: Context, scope: Scope, members: Sequence[Member]) -> list[tuple[Member, Sequence[int]]]:
    """Return the instances of a path that have pixels, each with the numbers of its frames; a video has none.

    Raises
    ------
    NotRenderable
        None has pixels that can be drawn.
    TooLarge
        They have more frames than one request may have rendered.
    """
    frames = dict(await _frames_of(context, scope, members))
    if sum(frames.values()) > MAX_PICTURES:
        raise TooLarge(f"One request may render at most {MAX_PICTURES} frames.")
    if not frames:
        raise NotRenderable("None of these instances has pixel data that can be rendered.")
    return [
        (member, range(1, frames[member] + 1) if member in frames else ())
        for member in members
        if member in frames or member.transfer_syntax_uid in NEVER_CONVERTED
    ]


async def _draw_all(
    context: Context,
    scope: Scope,
    wanted: Wanted,
    shown: Sequence[tuple[Member, Sequence[int]]],
    media_type: str,
    outgoing: Outgoing,
) -> tuple[list[tuple[int, int]], bool]:
    """Draw what can be drawn into what waits to be sent; return where each picture stands, and whether all are there.

    Raises
    ------
    NotFound, Invalid
        As `_fit`, before anything is drawn.
    NotRenderable, LimitExceeded
        Nothing can be drawn.
    """
    fittings = [(each, await _fit(context, scope, each, wanted, listed), listed) for each, listed in shown if listed]
    drawn: list[tuple[int, int]] = []
    refusal: Invalid | None = None
    end = 0
    for member, fitted, listed in fittings:
        for number in listed:
            try:
                made = await _render(context, scope, member, fitted, number, media_type)
            except (NotRenderable, LimitExceeded) as error:
                refusal = refusal or error
                continue
            with room():
                await asyncio.to_thread(outgoing.write, end, made.data)
            drawn.append((end, len(made.data)))
            end += len(made.data)
    if refusal is not None and not drawn:
        raise refusal
    return drawn, refusal is None and len(fittings) == len(shown)


async def _parts(
    drawn: Sequence[tuple[int, int]], media_type: str, outgoing: Outgoing
) -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
    for start, size in drawn:
        yield {"Content-Type": media_type, "Content-Length": str(size)}, outgoing.pieces(start, size)


async def _fit(context: Context, scope: Scope, member: Member, wanted: Wanted, numbers: Sequence[int]) -> Wanted:
    """Fit the picture into the viewport, where all of the frames are there.

    Raises
    ------
    NotFound
        There is no such instance, or not every one of the frames.
    Invalid
        The viewport shows a region that is not there.
    """
    facts = await context.store.instances.read_elements(
        scope.visible, member.dicom_id, (), ("Rows", "Columns", "NumberOfFrames")
    )
    if facts is None:
        raise NotFound(f"There is no such {scope.noun}.")
    rows, columns, frames = (_number(facts["elements"], keyword) for keyword in ("Rows", "Columns", "NumberOfFrames"))
    if max(numbers) > max(frames, 1):
        raise NotFound("The instance has no such frame.")
    if wanted.viewport is None or rows < 1 or columns < 1:
        return wanted
    left, top = (edge or 0 for edge in wanted.region[:2])
    width, height = wanted.region[2] or columns - left, wanted.region[3] or rows - top
    across = min(left + abs(width), columns) - max(left, 0)
    down = min(top + abs(height), rows) - max(top, 0)
    if across < 1 or down < 1:
        raise Invalid("Invalid viewport: the region lies outside the image.")
    region, longest = (left, top, width, height), max(across, down)
    size = min(max(1, round(longest * min(wanted.viewport[0] / across, wanted.viewport[1] / down))), MAX_SIDE)
    asked = replace(
        wanted.request,
        region=None if region == (0, 0, columns, rows) else region,
        size=None if size == longest else size,
    )
    return replace(wanted, request=asked)


async def _render(
    context: Context, scope: Scope, member: Member, wanted: Wanted, number: int, media_type: str
) -> Rendition:
    kind: Literal["png", "jpeg"] = "png" if media_type == PNG else "jpeg"
    asked = replace(wanted.request, frame=number - 1, format=kind)
    return await rendered.rendition(context, scope.visible, member.dicom_id, asked)


def _number(elements: Mapping[str, Any], keyword: str) -> int:
    values = elements.get(keyword, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) else 0


def read_wanted(request: web.Request) -> Wanted:
    """Read the parameters of a rendered resource.

    Raises
    ------
    Invalid
        Where one cannot be used.
    """
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in KNOWN:  # PS3.18 8.3: what is not supported is ignored
            continue
        if name in given and name != "accept":
            raise Invalid(f"The parameter {name} may be given only once.")
        given[name] = value
    made = RenderRequest()
    if "annotation" in given:
        raise Invalid("Annotations are not supported. Omit the parameter annotation.")
    if given.get("iccprofile", "no") not in ("no", "srgb"):
        raise Invalid("ICC profiles are not supported. The only value of iccprofile is no.")
    if "window" in given:
        made = replace(made, **_window(given["window"]))
    if "quality" in given:
        quality = given["quality"]
        if not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:9]) <= 100):
            raise Invalid("Invalid quality: the value must be a whole number from 1 to 100.")
        made = replace(made, quality=int(quality))
    if "viewport" not in given:
        return Wanted(made)
    return Wanted(made, *_viewport(given["viewport"]))


def _window(text: str) -> dict[str, Any]:
    """Read center, width and function (PS3.18 8.3.5.1.4)."""
    sentence = f"Invalid window: give a center, a width greater than zero and, optionally, one of {FUNCTION_NAMES}."
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise Invalid(sentence)
    if not all(_DECIMAL.fullmatch(part) for part in parts[:2]):
        raise Invalid(sentence)
    center, width = float(parts[0]), float(parts[1])
    if not (math.isfinite(center) and math.isfinite(width) and abs(center) <= 1e9 and 0 < width <= 1e9):
        raise Invalid(sentence)
    wanted: dict[str, Any] = {"window": (center, width)}
    if len(parts) == 3:
        function = parts[2].strip().upper().replace("-", "_")
        if function not in FUNCTIONS:
            raise Invalid(sentence)
        wanted["function"] = function
    return wanted


def _viewport(text: str) -> tuple[tuple[int, int], tuple[int | None, ...]]:
    """Read the width and height of a viewport, and the region of the image that it shows (PS3.18 8.3.5.1.3)."""
    parts = [part.strip() for part in text.split(",")]
    if not 2 <= len(parts) <= 6:
        raise Invalid(
            "Invalid viewport: the value must be a width and a height, optionally followed by a region's left, top, "
            "width and height."
        )
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MAX_SIDE for part in parts[:2]):
        raise Invalid(f"Invalid viewport: the width and the height must be whole numbers from 1 to {MAX_SIDE}.")
    if not all(_NUMBER.fullmatch(part) for part in parts[2:]):
        raise Invalid("Invalid viewport: the left, top, width and height of the region must be numbers.")
    region = [round(float(part)) if part else None for part in parts[2:]]
    if 0 in region[2:]:
        raise Invalid("Invalid viewport: the width and the height of the region must not be zero.")
    return (int(parts[0]), int(parts[1])), (*region, *[None] * (4 - len(region)))
