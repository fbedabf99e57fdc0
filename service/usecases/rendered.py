"""The use case: a picture of a frame, from the cache or rendered in a worker process and cached.

Only the default rendition of each frame is kept: its number is bounded by the file, while that of windows and sizes
that somebody may ask for is not.
"""

from __future__ import annotations

import asyncio
from dataclasses import asdict
from functools import partial

from schemas.database import Instance
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.ranges import HEADER_KEYS, frame_ranges
from service.dicom.pixels.render import RENDERER_VERSION, RenderRequest, Rendition, render
from service.errors import NoSuchInstance, NotRenderable
from service.storage.renditions import RenditionKey, StoredRendition
from service.storage.visible import Visible
from service.usecases.context import Context
from service.usecases.instances import find_instance
from service.usecases.originals import IN_MEMORY_BYTES, ask_worker, local_original


async def rendition(context: Context, visible: Visible, dicom_id: str, request: RenderRequest) -> Rendition:
    """Return one frame of an instance as a picture.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
    request : RenderRequest
        Which frame, and how.

    Raises
    ------
    NoSuchInstance
        There is none of this id.
    NotRenderable, LimitExceeded
        There is no picture to give, or making it ended the worker.
    """
    if not _is_default(request):
        return await _render(context, visible, await find_instance(context, visible, dicom_id), request)
    key = RenditionKey(request.frame, RENDERER_VERSION)
    instance, cached = await context.store.renditions.find(visible, dicom_id, key)
    if instance is None:
        raise NoSuchInstance
    context.metrics.rendered_cache(hit=cached is not None)
    if cached is not None:
        return Rendition(data=cached.data, **cached.metadata)
    # Whoever asks for the same picture meanwhile waits for this one; the task outlives a caller that goes away. Nobody
    # waits for another's turn: shares have turns of their own.
    same = (visible.caller, dicom_id, request.frame)
    making = context.renderings.get(same)
    if making is None:
        making = context.renderings[same] = asyncio.create_task(_make_default(context, visible, instance, request, key))
        making.add_done_callback(partial(_end_making, context, same))
    made: Rendition = await asyncio.shield(making)
    return made


def _end_making(context: Context, same: tuple[str, str, int], making: asyncio.Task[Rendition]) -> None:
    del context.renderings[same]
    if not making.cancelled():
        making.exception()  # looked at: all who waited for it may have gone away


async def _make_default(
    context: Context, visible: Visible, instance: Instance, request: RenderRequest, key: RenditionKey
) -> Rendition:
    """Make the picture that is kept, and keep it behind the answer."""
    made = await _render(context, visible, instance, request)
    about = {name: value for name, value in asdict(made).items() if name != "data"}
    stored = StoredRendition(made.data, about)
    context.behind.start(context.store.renditions.put(instance["patient_id"], instance["_id"], key, stored))
    return made


def _is_default(request: RenderRequest) -> bool:
    return request == RenderRequest(frame=request.frame)


async def _render(context: Context, visible: Visible, instance: Instance, request: RenderRequest) -> Rendition:
    limits = context.pixel_limits
    ranges = await _find_ranges(context, visible, instance, request.frame, limits)
    async with local_original(context, visible, instance, ranges) as source:
        with context.metrics.work("rendering", "worker"):
            made: Rendition = await ask_worker(
                context,
                render,
                source,
                request,
                limits,
                context.limits,
                caller=visible.caller,
                seconds=context.settings.render_timeout,
                refusal=NotRenderable("This frame takes more time or memory than a picture may."),
            )
    return made


async def _find_ranges(
    context: Context, visible: Visible, instance: Instance, frame: int, limits: PixelLimits
) -> list[tuple[int, int]] | None:
    """Find which parts of a large original the frame needs; None where it needs the whole."""
    if instance["size"] <= IN_MEMORY_BYTES:
        return None
    read = await context.store.instances.read_elements(visible, instance["_id"], [], HEADER_KEYS)
    return frame_ranges(read["elements"], frame, instance["size"], limits) if read else None
