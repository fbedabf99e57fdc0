"""Frames of an instance as DICOMweb gives them: as they are stored, or decoded (PS3.18 10.4, 8.7.3)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.database import Instance
from service.dicom.extract import read_tree
from service.dicom.limits import Limits, Readable
from service.dicom.pixels.frames import ITEM, EncapsulatedFrames, check_frame_number
from service.dicom.pixels.header import EXPLICIT_LITTLE_ENDIAN, read_header
from service.dicom.pixels.limits import PixelLimits
from service.dicom.pixels.ranges import HEADER_KEYS
from service.dicom.pixels.stored import PixelTree, decode_frame, native_bytes, stored_frame
from service.dicom.source import open_source
from service.errors import Invalid, NoSuchInstance, NotFound, NotRenderable
from service.storage.visible import Visible
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Member
from service.usecases.originals import IN_MEMORY_BYTES, ask_worker, local_original
from service.workers.messages import Stretch

BATCH_BYTES = 8 << 20
"""A worker reads so many bytes of frames at a time, or one frame where that is larger."""

_SIZES = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")

_KEYS = (*HEADER_KEYS, "ExtendedOffsetTable")

MAX_ITEMS_HERE = 256
"""Items of compressed pixel data that the service's own process walks for one frame at most."""

BATCH_FRAMES = 1000
"""A worker reads at most so many frames at a time."""


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
    context: Context, visible: Visible, dicom_id: str, numbers: Sequence[int], *, decoded: bool
) -> AsyncGenerator[Frame, None]:
    """Return frames one after another; what waits to be taken waits in a file.

    Close the iterator where it is not used to its end: it keeps a file until then.

    Parameters
    ----------
    visible, dicom_id : Visible, str
        What the caller may see, and which instance.
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
        There is no room for the frames on the disk.
    """
    keys = _KEYS if len(numbers) == 1 else ()
    instance = (await context.store.instances.find_many(visible, [dicom_id], keys)).get(dicom_id)
    if instance is None:
        raise NoSuchInstance
    if keys and (here := await _read_here(context, visible, instance, numbers[0], decoded=decoded)) is not None:
        yield here
        return
    left = list(numbers)
    outgoing = spool.Outgoing(context.settings.spool_dir, context.settings.min_free_bytes)
    try:
        async with local_original(context, visible, instance) as source:
            while left:
                outgoing.clear()
                with spool.room():
                    frames: list[tuple[Stretch, str]] = await ask_worker(
                        context,
                        read_frames,
                        source,
                        left,
                        decoded,
                        context.limits,
                        context.pixel_limits,
                        caller=visible.caller,
                        seconds=context.settings.render_timeout,
                        refusal=NotRenderable("These frames take more time or memory than a request may."),
                        sink=outgoing.write,
                        returns=list[tuple[Stretch, str]],
                    )
                if not 0 < len(frames) <= len(left):
                    raise NotRenderable("These frames cannot be read.")
                for stretch, syntax in frames:
                    yield Frame(stretch.size, syntax, outgoing.pieces(stretch.start, stretch.size))
                left = left[len(frames) :]
    finally:
        await asyncio.to_thread(outgoing.close)


async def _read_here(
    context: Context, visible: Visible, instance: Instance, number: int, *, decoded: bool
) -> Frame | None:
    """Return one frame of a small file that nobody needs to decode; None where it takes a worker, also to refuse it.

    Its way through a worker would cost ten times what finding it does: the whole file there, and the frame back.
    """
    elements: Mapping[str, Any] = instance.get("dataset") or {}
    if not elements or instance["size"] > min(context.settings.in_process_bytes, IN_MEMORY_BYTES):
        return None
    async with local_original(context, visible, instance) as source:
        assert isinstance(source, bytes)  # noqa: S101 - it is as small as that
        if source.count(ITEM) > MAX_ITEMS_HERE:
            return None
        try:
            found = read_frame(source, _Elements(elements), number, decoded, context.pixel_limits)
        except Exception:  # noqa: BLE001 - the worker says what is wrong, by all that the file has
            return None
    if found is None:
        return None

    async def pieces() -> AsyncIterator[bytes]:
        yield found[0]

    return Frame(len(found[0]), found[1], pieces())


@contextlib.asynccontextmanager
async def hold_frames(
    context: Context, visible: Visible, member: Member, count: int, *, decoded: bool
) -> AsyncIterator[None]:
    """Hold the bytes that an answer with frames has at hand at a time, for as long as the context lasts.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    member : Member
        The instance.
    count : int
        How many frames.
    decoded : bool
        Whether they are decoded.

    Raises
    ------
    TooManyRequests, Overloaded
        There was no room for them in time.
    """
    as_stored = not decoded and bool(member.transfer_syntax_uid)  # what is not named is decoded
    size = member.length
    if not as_stored or size > BATCH_BYTES:
        facts = await context.store.instances.read_elements(visible, member.dicom_id, (), _SIZES)
        frame = _frame_bytes({} if facts is None else facts["elements"])
        batch = max(frame, min(count * frame, BATCH_BYTES))
        size = min(batch, size) if as_stored else batch
    async with context.outgoing.hold(visible.patient_id, size, shared=visible.is_part):
        yield


def _frame_bytes(elements: Mapping[str, Any]) -> int:
    """Return how many bytes a decoded frame has by its attributes (PS3.3 C.7.6.3); without them those of a batch."""
    rows, columns, samples, bits = (_number(elements, name) for name in _SIZES)
    return rows * columns * max(samples, 1) * -(-max(bits, 8) // 8) or BATCH_BYTES


def _number(elements: Mapping[str, Any], keyword: str) -> int:
    values = elements.get(keyword, {}).get("Value") or [0]
    return values[0] if isinstance(values[0], int) and values[0] > 0 else 0


def read_frames(
    source: Readable | Path, numbers: Sequence[int], decoded: bool, limits: Limits, bounds: PixelLimits
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
    frames: list[tuple[bytes, str]] = []
    size = 0
    for number in numbers:
        frame = read_frame(buffer, tree, number, decoded, bounds)
        if frame is None:
            decoded_frame = decode_frame(buffer, tree, header, number, bounds, [])
            frame = native_bytes(decoded_frame, header), EXPLICIT_LITTLE_ENDIAN
        frames.append(frame)
        size += len(frame[0])
        if size >= BATCH_BYTES or len(frames) >= BATCH_FRAMES:
            break
    return frames


def read_frame(
    buffer: Readable, tree: PixelTree, number: int, decoded: bool, bounds: PixelLimits
) -> tuple[bytes, str] | None:
    """Return a frame as it is stored, and the transfer syntax of these bytes; None where it must be decoded.

    Raises
    ------
    NotRenderable, Invalid, LimitExceeded
        There is no such frame.
    """
    header = read_header(tree.dataset, bounds)
    encapsulated = bool(tree.dataset[header.keyword].get("encapsulated"))
    # What is compressed in a way that the file does not name can only be described decoded.
    unnamed = encapsulated and not header.transfer_syntax_uid
    if unnamed or (decoded and (encapsulated or not header.is_native)):
        return None
    data, syntax = stored_frame(buffer, tree, number, bounds)
    return data, EXPLICIT_LITTLE_ENDIAN if decoded else syntax


class _Elements:
    """The elements of a stored tree that say where its frames stand."""

    def __init__(self, dataset: Mapping[str, Any]) -> None:
        self.dataset = dataset
        self.frames: EncapsulatedFrames | None = None

    def read_bytes(self, element: Mapping[str, Any], /) -> bytes:  # noqa: ARG002 - the signature of `PixelTree`
        """Refuse what does not stand in the file as it is.

        Raises
        ------
        LookupError
        """
        raise LookupError
