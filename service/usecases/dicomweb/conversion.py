"""Instances in the transfer syntax that a caller of DICOMweb gets: as they are stored, or converted (PS3.18 8.7.3.4).

A conversion is whole before any of it is sent. So an answer is never cut by a frame that cannot be decoded: such an
instance comes as it is stored.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import partial
from pathlib import Path

from schemas.database import Instance
from service.dicom.limits import Limits, Readable
from service.dicom.pixels.header import EXPLICIT_LITTLE_ENDIAN
from service.dicom.pixels.limits import PixelLimits
from service.dicom.source import open_source
from service.dicom.transcode import LOSSY, NEVER_CONVERTED, to_explicit_little_endian
from service.errors import Invalid, NotRenderable, Unavailable, WorkerLost
from service.storage.visible import Visible
from service.usecases import spool
from service.usecases.context import Context
from service.usecases.dicomweb.scope import Member
from service.usecases.instances import Original, find_instance, open_original, while_seen
from service.usecases.originals import ask_worker, local_original
from service.workers.messages import Stretch

BATCH_BYTES = 8 << 20
"""A worker converts so many bytes at a time, or one frame where that is larger."""


class Form(Enum):
    """How instances are sent."""

    STORED = "as they are stored"
    DEFAULT = "in Explicit VR Little Endian, but for what is lossy or cannot be converted"
    EXPLICIT = "in Explicit VR Little Endian"


@dataclass(frozen=True, slots=True)
class File:
    """An instance as it is sent.

    Parameters
    ----------
    transfer_syntax_uid : str or None
        The transfer syntax; None where the file names none.
    length : int
        Bytes of the whole.
    read : callable
        Returns the bytes from one place up to another. They are there as long as the file is open.
    original : Original or None
        Where it is sent as it is stored, that.
    """

    transfer_syntax_uid: str | None
    length: int
    read: Callable[[int, int], AsyncIterator[bytes]]
    original: Original | None = None


def may_convert(transfer_syntax_uid: str | None) -> bool:
    """Return whether instances of a transfer syntax can become Explicit VR Little Endian, or are it."""
    return transfer_syntax_uid not in NEVER_CONVERTED


def is_converted(transfer_syntax_uid: str | None, form: Form) -> bool:
    """Return whether an instance is converted for a form, if its frames can be decoded."""
    if form is Form.STORED or transfer_syntax_uid == EXPLICIT_LITTLE_ENDIAN or not may_convert(transfer_syntax_uid):
        return False
    return form is Form.EXPLICIT or transfer_syntax_uid not in LOSSY


@contextlib.asynccontextmanager
async def open_file(
    context: Context, visible: Visible, member: Member, instance: Instance, form: Form, *, strict: bool
) -> AsyncIterator[File]:
    """Open an instance in a form, to be sent.

    Parameters
    ----------
    visible : Visible
        What the caller may see.
    member : Member
        The instance as DICOMweb names it.
    instance : Instance
        The same as it is stored.
    form : Form
        How it is sent.
    strict : bool
        Whether it is refused, and not sent as it is stored, where the caller named a form that it cannot have.

    Raises
    ------
    NoSuchInstance
        It was deleted a moment ago.
    Unavailable
        It cannot be converted now.
    Invalid
        It cannot be converted, and `strict` is set.
    """
    syntax = member.transfer_syntax_uid
    look = partial(find_instance, context, visible, instance["_id"])
    if not strict:  # others may have been sent since it was looked at
        await look()
    async with contextlib.AsyncExitStack() as stack:
        if is_converted(syntax, form):
            try:
                yield await stack.enter_async_context(_open_converted(context, visible, instance, look))
                return
            except _Failed as failed:
                if strict and (form is Form.EXPLICIT or not isinstance(failed.error, Invalid)):
                    raise failed.error from None
        original = await open_original(context, visible, instance)
        yield File(syntax, original.length, original.read, original)


class _Failed(Exception):
    """An instance was not converted, for this reason."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error


@contextlib.asynccontextmanager
async def _open_converted(
    context: Context, visible: Visible, instance: Instance, look: Callable[[], Awaitable[Instance]]
) -> AsyncIterator[File]:
    settings = context.settings
    outgoing = spool.Outgoing(settings.spool_dir, settings.min_free_bytes)
    try:
        try:
            async with local_original(context, visible, instance) as source:
                length = await _fill(context, visible.caller, source, outgoing)
        except (Invalid, Unavailable, WorkerLost) as error:
            raise _Failed(error) from None

        def read(start: int, stop: int) -> AsyncIterator[bytes]:
            return while_seen(look, outgoing.pieces(start, stop - start))

        yield File(EXPLICIT_LITTLE_ENDIAN, length, read)
    finally:
        await asyncio.to_thread(outgoing.close)


async def _fill(context: Context, caller: str, source: bytes | Path, outgoing: spool.Outgoing) -> int:
    """Convert a file into what waits to be sent, and return its length."""
    position, photometric = 0, None
    while True:
        with spool.room():
            made: Placed = await ask_worker(
                context,
                convert_some,
                source,
                position,
                photometric,
                context.limits,
                context.pixel_limits,
                caller=caller,
                seconds=context.settings.render_timeout,
                refusal=NotRenderable("Converting this instance takes more time or memory than a request may."),
                sink=partial(_write_behind, outgoing, position),
                returns=Placed,
            )
        photometric = made.photometric
        if not made.pieces:
            raise NotRenderable("The pixel data ends before its last frame.")
        position += sum(piece.size for piece in made.pieces)
        if position >= made.length:
            return made.length


def _write_behind(outgoing: spool.Outgoing, position: int, start: int, piece: bytes) -> None:
    outgoing.write(position + start, piece)


@dataclass(frozen=True, slots=True)
class Placed:
    """`Made` as it comes from the worker: the bytes are in the file, and these are their places there."""

    length: int
    photometric: str | None
    pieces: list[Stretch]


@dataclass(frozen=True, slots=True)
class Made:
    """Some of a converted file.

    Parameters
    ----------
    length : int
        Bytes of the whole.
    photometric : str or None
        Of `service.dicom.transcode.Conversion`.
    pieces : list of bytes
        The bytes that were asked for.
    """

    length: int
    photometric: str | None
    pieces: list[bytes]


def convert_some(
    source: Readable | Path, start: int, photometric: str | None, limits: Limits, bounds: PixelLimits
) -> Made:
    """In a worker: return a batch of the bytes of a converted file, at least one piece.

    Raises
    ------
    NotDicom, LimitExceeded, NotRenderable
        As `to_explicit_little_endian`.
    """
    conversion = to_explicit_little_endian(open_source(source), limits, bounds, photometric)
    pieces: list[bytes] = []
    size = 0
    for piece in conversion.pieces(start):
        pieces.append(piece)
        size += len(piece)
        if size >= BATCH_BYTES:
            break
    return Made(conversion.length, conversion.photometric, pieces)
