"""Frames of an instance as DICOMweb gives them: as they are stored, or decoded (PS3.18 10.4, 8.7.3)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass

from service.dicom.extract import read_tree
from service.dicom.limits import Limits
from service.dicom.pixels.frames import check_frame_number
from service.dicom.pixels.header import EXPLICIT_LITTLE_ENDIAN, read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.stored import decode_frame, native_bytes, stored_frame
from service.dicom.source import open_source
from service.errors import Invalid, NotFound, NotRenderable
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.instances import find_instance
from service.usecases.originals import ask_worker, local_original

BATCH_BYTES = 8 << 20
"""A worker gives so many bytes of frames at a time, or one frame where that is larger."""


@dataclass(frozen=True, slots=True)
class Frame:
    """A frame on its way to a caller.

    Parameters
    ----------
    size : int
        How many bytes it has.
    syntax : str
        The UID of the transfer syntax that describes them.
    pieces : async iterator of bytes
        The bytes. They are there until the next frame is asked for.
    """

    size: int
    syntax: str
    pieces: AsyncIterator[bytes]


async def iter_frames(
    context: Context, patient_id: str, dicom_id: str, numbers: Sequence[int], *, decoded: bool
) -> AsyncGenerator[Frame, None]:
    """Return frames one after another, a few megabytes at a time; what waits for a slow caller waits in a file.

    Close the iterator where it is not used to its end: it keeps files until then.

    Parameters
    ----------
    patient_id, dicom_id : str
        Whose, and which instance.
    numbers : sequence of int
        The frames, from 0.
    decoded : bool
        Whether compressed frames are decoded to Explicit VR Little Endian.

    Raises
    ------
    NotFound
        There is no such instance, it has no pixels, or no such frame.
    NotRenderable, LimitExceeded
        A frame cannot be decoded.
    Overloaded
        There is no room on the disk.
    """
    instance = await find_instance(context, patient_id, dicom_id)
    left = list(numbers)
    outgoing = spool.Outgoing(context.settings.spool_dir, context.settings.min_free_bytes)
    try:
        async with local_original(context, instance) as source:
            while left:
                frames: list[tuple[bytes, str]] = await ask_worker(
                    context,
                    read_frames,
                    source,
                    left,
                    decoded,
                    context.limits,
                    context.pixel_limits,
                    seconds=context.settings.render_timeout,
                    refusal=NotRenderable("These frames take more time or memory than a request may."),
                )
                left = left[len(frames) :]
                outgoing.clear()
                places: list[tuple[int, int, str]] = []
                start = 0
                while frames:
                    data, syntax = frames.pop(0)
                    with spool.room():
                        await asyncio.to_thread(outgoing.write, start, data)
                    places.append((start, len(data), syntax))
                    start += len(data)
                    del data  # it is in the file now
                for place, size, syntax in places:
                    yield Frame(size, syntax, outgoing.pieces(place, size))
    finally:
        await asyncio.to_thread(outgoing.close)


def read_frames(
    source: bytes | str, numbers: Sequence[int], decoded: bool, limits: Limits, bounds: PixelLimits
) -> list[tuple[bytes, str]]:
    """In a worker: read as many of these frames as fit a batch, at least one.

    Raises
    ------
    NotFound
        The object has no pixels, or no such frame.
    NotRenderable, LimitExceeded
        A frame cannot be decoded.
    """
    buffer = open_source(source)
    tree = read_tree(buffer, limits)
    if not any(name in tree.dataset for name in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise NotFound("This instance has no pixels, and so no frames.")
    header = read_header(tree.dataset, bounds)
    try:
        for number in numbers:
            check_frame_number(header, number)
    except Invalid as error:
        if isinstance(error, NotRenderable):
            raise
        raise NotFound(error.detail) from None
    encapsulated = bool(tree.dataset[header.keyword].get("encapsulated"))
    frames: list[tuple[bytes, str]] = []
    size = 0
    for number in numbers:
        # What is compressed in a way that the file does not name can only be described decoded.
        unnamed = encapsulated and not header.transfer_syntax_uid
        if unnamed or (decoded and (encapsulated or not header.is_native)):
            data = native_bytes(decode_frame(buffer, tree, header, number, bounds, []), header)
            syntax: str = EXPLICIT_LITTLE_ENDIAN
        else:
            data, syntax = stored_frame(buffer, tree, number, bounds)
            syntax = EXPLICIT_LITTLE_ENDIAN if decoded else syntax
        frames.append((data, syntax))
        size += len(data)
        if size >= BATCH_BYTES:
            break
    return frames
