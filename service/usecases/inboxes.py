"""The use case: whoever has the link of an inbox puts files in, and learns nothing of what is there.

Every file is stored as if it were new: under an id that follows from the inbox and the bytes, without a look at what
the patient has. Room is taken before the bytes are read, and what was not used is given back.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta

from schemas.database import Inbox, Share
from service.errors import InboxFull, SessionEnded, Unavailable
from service.usecases.context import Context

STEP_BYTES = 4 << 20
"""How much room is taken at once for a body that does not say how long it is."""

RESERVED_SECONDS = 3600
"""How long an upload's room is kept for it, if nothing more is heard of it."""

RENEWAL_SECONDS = 600
"""After how long an upload that is still coming says so."""


@dataclass(frozen=True, slots=True)
class OpenInbox:
    """An inbox whose session has not ended.

    Parameters
    ----------
    share_id : str
        The share.
    bounds : Inbox
        How much may come, as it was read.
    still_open : callable
        Tells, by the database, whether the session has not ended.
    """

    share_id: str
    bounds: Inbox
    still_open: Callable[[], Awaitable[bool]]


def inbox_of(share: Share, still_open: Callable[[], Awaitable[bool]]) -> OpenInbox | None:
    """Return the inbox that a share is; None where it lets see."""
    return None if share["inbox"] is None else OpenInbox(share["_id"], share["inbox"], still_open)


class InboxUpload:
    """One upload into an inbox, of one file or of several one after another: what it has taken of the room.

    Parameters
    ----------
    inbox : OpenInbox
        Where to.
    """

    def __init__(self, context: Context, inbox: OpenInbox) -> None:
        self.share_id = inbox.share_id
        self._context = context
        self._inbox = inbox
        self._upload_id = uuid.uuid4().hex
        self._begun = False
        self._taken = [0, 0]
        self._stored = [0, 0]
        self._renewed = 0.0

    def id_of(self, sha256: str) -> str:
        """Return the id of a file in this inbox."""
        return str(uuid.uuid5(uuid.UUID(self.share_id), sha256))

    async def take(self, files: int, size: int) -> None:
        """Have room for so many files and bytes beside what was stored.

        Raises
        ------
        InboxFull
            There is none.
        SessionEnded
            The session has ended.
        """
        sums = zip((files, size), self._stored, self._taken, strict=True)
        more = [max(wanted + stored - taken, 0) for wanted, stored, taken in sums]
        if not any(more) and time.monotonic() - self._renewed < RENEWAL_SECONDS:
            return
        if await self._reserve(more[0], max(more[1], STEP_BYTES) if more[1] else 0) or await self._reserve(*more):
            return
        await self._context.store.inboxes.end_reservations(self.share_id, self._context.clock())
        if not await self._reserve(*more):
            raise InboxFull if await self._inbox.still_open() else SessionEnded

    async def measured(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Return the pieces of one file, each when there is room for it. Raises what :meth:`take` does."""
        size = 0
        await self.take(1, 0)
        async for chunk in chunks:
            size += len(chunk)
            await self.take(1, size)
            yield chunk

    async def check(self, patient_id: str, size: int) -> None:
        """Let a file be stored that has come as a whole.

        Raises
        ------
        InboxFull
            The patient has no room for it. That is asked of a file that is there already too.
        SessionEnded
            The session has ended while it came.
        """
        if not await self._inbox.still_open():
            raise SessionEnded
        usage = self._context.store.usage
        if usage.max_bytes and await usage.read(patient_id) + size > usage.max_bytes:
            raise InboxFull

    def note_stored(self, size: int) -> None:
        """Count a file that was stored, for the first time or again."""
        self._stored = [self._stored[0] + 1, self._stored[1] + size]

    async def settle(self) -> None:
        """Give back what was not used."""
        if self._begun:
            await self._context.store.inboxes.settle(self.share_id, self._upload_id, *self._stored)

    async def _reserve(self, files: int, size: int) -> bool:
        now = self._context.clock()
        until = now + timedelta(seconds=RESERVED_SECONDS)
        inboxes, bounds = self._context.store.inboxes, self._inbox.bounds
        self._begun = True
        if not await inboxes.reserve(self.share_id, self._upload_id, bounds, files, size, until, now):
            return False
        self._taken = [self._taken[0] + files, self._taken[1] + size]
        self._renewed = time.monotonic()
        return True


@contextlib.asynccontextmanager
async def opened(context: Context, inbox: OpenInbox | None, size: int = 0) -> AsyncIterator[InboxUpload | None]:
    """Begin an upload into an inbox with room for a file of so many bytes; None for an upload of the patient's own.

    Raises
    ------
    InboxFull
        There is no room.
    SessionEnded
        The session has ended.
    """
    if inbox is None:
        yield None
        return
    upload = InboxUpload(context, inbox)
    try:
        await upload.take(1, size)
        yield upload
    finally:
        # Where it cannot be said now, the end of the reservation says it.
        with contextlib.suppress(Unavailable):
            await asyncio.shield(upload.settle())
