"""WADO-RS: rendered instances, frames and series, and thumbnails (PS3.18 10.4.1.1.3, 10.4.1.1.4)."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from aiohttp import hdrs, web

from service import rendered
from service.context import Context
from service.dicom.pixels.render import RenderRequest, Rendition
from service.dicom.pixels.voi import FUNCTIONS
from service.dicomweb.scope import Member, Scope, find_members, find_one
from service.errors import Invalid, NotFound
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
    """

    request: RenderRequest
    viewport: tuple[int, int] | None


@answers
async def get_rendered(request: web.Request) -> web.StreamResponse:
    """Give an instance's first frame, the listed frames, or a picture that stands for a series."""
    wanted = read_wanted(request)
    context, scope = request.app[CONTEXT], scope_of(request)
    numbers = frame_list(request) if "frames" in request.match_info else [1]
    member = await _shown(context, scope)
    if len(numbers) > MAX_PICTURES:
        raise Invalid(f"One request has at most {MAX_PICTURES} frames rendered.")
    chosen = choose_offer(accept_of(request), [Offer(kind, multipart=len(numbers) > 1) for kind in (JPEG, PNG)])
    if len(numbers) == 1:
        return _picture(await _render(context, scope, member, wanted, numbers[0], chosen.media_type))

    async def parts() -> AsyncIterator[tuple[Mapping[str, str], AsyncIterator[bytes]]]:
        for number in numbers:
            made = await _render(context, scope, member, wanted, number, chosen.media_type)
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
    """Give the instance that stands for what the path names: of a study or series, the one in the middle."""
    if scope.instance is not None:
        return await find_one(context, scope)
    members = await find_members(context, scope)
    return members[len(members) // 2]


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
    size = None
    if wanted.viewport is not None and rows and columns:
        factor = min(wanted.viewport[0] / columns, wanted.viewport[1] / rows)
        size = min(max(1, round(max(rows, columns) * factor)), MAX_SIDE)
        size = None if size == max(rows, columns) else size
    asked = replace(wanted.request, frame=number - 1, size=size, format=kind)
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
    return Wanted(made, _viewport(given["viewport"]) if "viewport" in given else None)


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


def _viewport(text: str) -> tuple[int, int]:
    """Read the width and height of a viewport (PS3.18 8.3.5.1.3); no region of the image can be chosen."""
    parts = text.split(",")
    if len(parts) == 6 and not any(parts[2:]):
        parts = parts[:2]
    if len(parts) != 2:
        raise Invalid("A viewport is its width and height in pixels; a region of the image cannot be chosen.")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part[:9]) <= MAX_SIDE for part in parts):
        raise Invalid(f"A viewport's width and height are whole numbers from 1 to {MAX_SIDE}.")
    return int(parts[0]), int(parts[1])
