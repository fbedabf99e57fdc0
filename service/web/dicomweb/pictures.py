"""WADO-RS: rendered instances, frames and series, and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import hdrs, web

from schemas.http import DECIMAL
from service.dicom.pixels.render import RenderRequest, Rendition
from service.dicom.pixels.voi import FUNCTIONS
from service.errors import Invalid, NotFound, NotRenderable, TooLarge
from service.usecases import rendered
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Member, Scope, find_members, find_one, iter_visible
from service.web.app_keys import CONTEXT, DICOM_IDS
from service.web.dicomweb.frames import frame_list
from service.web.dicomweb.media_types import accept_of
from service.web.dicomweb.multipart import send_parts
from service.web.dicomweb.requests import HEADERS, answers, scope_of
from service.web.negotiation import Offer, choose

JPEG, PNG = "image/jpeg", "image/png"
THUMBNAIL_SIZE = 128
MAX_SIDE = 8192
MAX_PICTURES = 100
"""Frames that one request may have rendered."""

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
    """Return the listed frames, or an instance or a series: as one picture that stands for it, or as all in parts."""
    wanted = read_wanted(request)
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else None
    if numbers and len(numbers) > MAX_PICTURES:
        raise Invalid(f"One request may render at most {MAX_PICTURES} frames.")
    member = await _shown(context, scope)
    request[DICOM_IDS] = (member.dicom_id,)
    offers = [Offer(kind, multipart=True) for kind in (JPEG, PNG)]
    if numbers is None or len(numbers) == 1:
        offers = [Offer(JPEG), Offer(PNG), *offers]
    chosen = choose(accept_of(request), offers)
    if not chosen.multipart:
        number = (numbers or [1])[0]
        fitted = await _fit(context, scope, member, wanted, [number])
        return _picture(await _render(context, scope, member, fitted, number, chosen.media_type))
    shown = [(member, numbers)] if numbers else await _all_frames(context, scope)
    request[DICOM_IDS] = [each.dicom_id for each, _ in shown]
    # Looked at before the first is rendered: an answer that has begun cannot be taken back.
    fittings = [(each, await _fit(context, scope, each, wanted, listed), listed) for each, listed in shown]

    async def parts() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        for each, fitted, listed in fittings:
            for number in listed:
                made = await _render(context, scope, each, fitted, number, chosen.media_type)
                yield {"Content-Type": made.media_type, "Content-Length": str(len(made.data))}, _once(made.data)

    return await send_parts(request, parts(), chosen.media_type, HEADERS)


@answers
async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """Return a small picture of a study, a series, an instance or a frame."""
    wanted = read_wanted(request)
    chosen = choose(accept_of(request), (Offer(JPEG), Offer(PNG)))
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else [1]
    member = await _shown(context, scope)
    request[DICOM_IDS] = (member.dicom_id,)
    small = replace(wanted, viewport=wanted.viewport or (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    small = await _fit(context, scope, member, small, numbers[:1])
    return _picture(await _render(context, scope, member, small, numbers[0], chosen.media_type))


async def _shown(context: Context, scope: Scope) -> Member:
    """Return the instance that stands for what the path names: the one in the middle, or else the first with pixels."""
    if scope.instance is not None:
        return await find_one(context, scope)
    members = await find_members(context, scope)
    middle = members[len(members) // 2]
    for candidates in ([middle], members):
        async for member, instance in iter_visible(context, scope.patient_id, candidates, ("Rows",)):
            if _number(instance.get("dataset") or {}, "Rows"):
                return member
    return middle


async def _all_frames(context: Context, scope: Scope) -> list[tuple[Member, Sequence[int]]]:
    """Return the instances of a path that have pixels, each with the numbers of its frames.

    Raises
    ------
    NotRenderable
        None has pixels.
    TooLarge
        They have more frames than one request may have rendered.
    """
    found: list[tuple[Member, Sequence[int]]] = []
    left = MAX_PICTURES
    members = await find_members(context, scope)
    async for member, instance in iter_visible(context, scope.patient_id, members, ("Rows", "NumberOfFrames")):
        elements = instance.get("dataset") or {}
        if _number(elements, "Rows"):
            frames = max(_number(elements, "NumberOfFrames"), 1)
            left -= frames
            if left < 0:
                raise TooLarge(f"One request may render at most {MAX_PICTURES} frames.")
            found.append((member, range(1, frames + 1)))
    if not found:
        raise NotRenderable("None of these instances has pixel data.")
    return found


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
    return await rendered.rendition(context, scope.patient_id, member.dicom_id, asked)


def _number(elements: Mapping[str, Any], keyword: str) -> int:
    values = elements.get(keyword, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) else 0


def _picture(made: Rendition) -> web.Response:
    response = web.Response(body=made.data, content_type=made.media_type, headers=HEADERS)
    response.headers[hdrs.CONTENT_DISPOSITION] = "inline"
    return response


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


def read_wanted(request: web.Request) -> Wanted:
    """Read the parameters of a rendered resource.

    Raises
    ------
    Invalid
        Where one is not known, or cannot be used.
    """
    given: dict[str, str] = {}
    for name, value in request.query.items():
        if name not in KNOWN:
            raise Invalid(f"Unknown parameter. Use: {', '.join(KNOWN)}.")
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
