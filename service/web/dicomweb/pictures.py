"""WADO-RS: rendered instances, frames and series, and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

import math
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import hdrs, web

from service import rendered
from service.context import Context
from service.dicom.pixels.render import RenderRequest, Rendition
from service.dicom.pixels.voi import FUNCTIONS
from service.dicomweb.scope import Member, Scope, find_members, find_one, iter_visible
from service.errors import Invalid, NotFound, NotRenderable, TooLarge
from service.web.dicomweb.frames import frame_list
from service.web.dicomweb.media_types import Offer, accept_of, choose_offer
from service.web.dicomweb.multipart import send_parts
from service.web.dicomweb.requests import HEADERS, answers, scope_of
from service.web.keys import CONTEXT

JPEG, PNG = "image/jpeg", "image/png"
THUMBNAIL_SIZE = 128
MAX_SIDE = 8192
MAX_PICTURES = 100
"""Frames that one request may have rendered."""

_NUMBER = re.compile(r"(-?[0-9]{1,6}(\.[0-9]{0,6})?)?", re.ASCII)
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
    """Give the listed frames, or an instance or a series: as one picture that stands for it, or as all in parts."""
    wanted = read_wanted(request)
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else None
    member = await _shown(context, scope)
    offers = [Offer(kind, multipart=True) for kind in (JPEG, PNG)]
    if numbers is None or len(numbers) == 1:
        offers = [Offer(JPEG), Offer(PNG), *offers]
    chosen = choose_offer(accept_of(request), offers)
    if not chosen.multipart:
        return _picture(await _render(context, scope, member, wanted, (numbers or [1])[0], chosen.media_type))
    frames = [(member, number) for number in numbers] if numbers else await _all_frames(context, scope)
    if len(frames) > MAX_PICTURES:
        raise TooLarge(f"One request has at most {MAX_PICTURES} frames rendered.")

    async def parts() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        for each, number in frames:
            made = await _render(context, scope, each, wanted, number, chosen.media_type)
            yield {"Content-Type": made.media_type, "Content-Length": str(len(made.data))}, _once(made.data)

    return await send_parts(request, parts(), chosen.media_type, HEADERS)


@answers
async def get_thumbnail(request: web.Request) -> web.StreamResponse:
    """Give a small picture of a study, a series, an instance or a frame."""
    wanted = read_wanted(request)
    chosen = choose_offer(accept_of(request), (Offer(JPEG), Offer(PNG)))
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else [1]
    member = await _shown(context, scope)
    small = replace(wanted, viewport=wanted.viewport or (THUMBNAIL_SIZE, THUMBNAIL_SIZE))
    return _picture(await _render(context, scope, member, small, numbers[0], chosen.media_type))


async def _shown(context: Context, scope: Scope) -> Member:
    """Give the instance that stands for what the path names: the one in the middle, or else the first with pixels."""
    if scope.instance is not None:
        return await find_one(context, scope)
    members = await find_members(context, scope)
    middle = members[len(members) // 2]
    for candidates in ([middle], members):
        async for member, envelope in iter_visible(context, scope.patient_id, candidates, ("Rows",)):
            if _number(envelope.get("dataset") or {}, "Rows"):
                return member
    return middle


async def _all_frames(context: Context, scope: Scope) -> list[tuple[Member, int]]:
    """Give every frame of an instance or a series; of more than can be given, one more than that."""
    found: list[tuple[Member, int]] = []
    members = await find_members(context, scope)
    keys = ("Rows", "NumberOfFrames")
    async for member, envelope in iter_visible(context, scope.patient_id, members, keys):
        elements = envelope.get("dataset") or {}
        if _number(elements, "Rows"):
            count = min(max(_number(elements, "NumberOfFrames"), 1), MAX_PICTURES + 1)
            found += [(member, number) for number in range(1, count + 1)]
        if len(found) > MAX_PICTURES:
            break
    if not found:
        raise NotRenderable("This object has no pixels.")
    return found


async def _render(
    context: Context, scope: Scope, member: Member, wanted: Wanted, number: int, media_type: str
) -> Rendition:
    kind: Literal["png", "jpeg"] = "png" if media_type == PNG else "jpeg"
    facts = await context.store.read_elements(
        scope.patient_id, member.dicom_id, (), ("Rows", "Columns", "NumberOfFrames")
    )
    if facts is None:
        raise NotFound(f"There is no such {scope.noun}.")
    rows, columns, frames = (_number(facts["elements"], keyword) for keyword in ("Rows", "Columns", "NumberOfFrames"))
    if number > max(frames, 1):
        raise NotFound("This instance has no such frame.")
    region, size = _fit(wanted, rows, columns) if rows and columns else (None, None)
    asked = replace(wanted.request, frame=number - 1, region=region, size=size, format=kind)
    return await rendered.rendition(context, scope.patient_id, member.dicom_id, asked)


def _fit(wanted: Wanted, rows: int, columns: int) -> tuple[tuple[int, int, int, int] | None, int | None]:
    """Give the part of an image that a viewport shows, and how many pixels its longest side then has."""
    left, top = (edge or 0 for edge in wanted.region[:2])
    width, height = wanted.region[2] or columns - left, wanted.region[3] or rows - top
    across = min(left + abs(width), columns) - max(left, 0)
    down = min(top + abs(height), rows) - max(top, 0)
    if across < 1 or down < 1:
        raise Invalid("There is no part of the image in that region.")
    region = (left, top, width, height)
    size = max(across, down)
    if wanted.viewport is not None:
        size = min(max(1, round(size * min(wanted.viewport[0] / across, wanted.viewport[1] / down))), MAX_SIDE)
    return None if region == (0, 0, columns, rows) else region, None if size == max(across, down) else size


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
            raise Invalid(f"The request has a parameter that is not known here; known are: {', '.join(KNOWN)}.")
        if name in given and name != "accept":
            raise Invalid(f"The parameter {name} is given more than once.")
        given[name] = value
    made = RenderRequest()
    if "annotation" in given:
        raise Invalid("Annotations are not drawn here; leave the parameter annotation out.")
    if given.get("iccprofile", "no") not in ("no", "srgb"):
        raise Invalid("Pictures have no ICC profile; iccprofile can be 'no'.")
    if "window" in given:
        made = replace(made, **_window(given["window"]))
    if "quality" in given:
        quality = given["quality"]
        if not (quality.isascii() and quality.isdigit() and 1 <= int(quality[:9]) <= 100):
            raise Invalid("The quality is a whole number from 1 to 100.")
        made = replace(made, quality=int(quality))
    if "viewport" not in given:
        return Wanted(made)
    return Wanted(made, *_viewport(given["viewport"]))


def _window(text: str) -> dict[str, Any]:
    """Read center, width and function (PS3.18 8.3.5.1.4)."""
    sentence = f"A window is center, width and {', '.join(each.lower().replace('_', '-') for each in FUNCTIONS)}."
    parts = text.split(",")
    if len(parts) not in (2, 3):
        raise Invalid(sentence)
    try:
        center, width = float(parts[0]), float(parts[1])
    except ValueError:
        raise Invalid(sentence) from None
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
        raise Invalid("A viewport is its width and height, and the left, top, width and height of a region, in pixels.")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MAX_SIDE for part in parts[:2]):
        raise Invalid(f"A viewport's width and height are whole numbers from 1 to {MAX_SIDE}.")
    if not all(_NUMBER.fullmatch(part) for part in parts[2:]):
        raise Invalid("The region that a viewport shows is the numbers of its left, top, width and height.")
    region = [round(float(part)) if part else None for part in parts[2:]]
    if 0 in region[2:]:
        raise Invalid("The region that a viewport shows has a width and a height.")
    return (int(parts[0]), int(parts[1])), (*region, *[None] * (4 - len(region)))
