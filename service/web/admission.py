"""How much may be under way at once: of one patient, and in all of one process.

Uploads beyond the bounds are refused at once, before their body is read. Other requests of one patient wait for each
other for a while, because viewers ask for a hundred frames at once and expect all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass

from service.errors import Overloaded, TooManyRequests
from service.settings import Settings

RETRY_SECONDS = 2
WAITING = 3
"""Requests of one patient that may wait, as a multiple of those that run."""


@dataclass(slots=True)
class _Lane:
    """One patient's share: who holds or waits for a slot."""

    free: asyncio.Semaphore
    users: int = 0


class Slots:
    """Slots for one kind of request.

    Parameters
    ----------
    limit : int
        How many there are in all; who waits counts too.
    per_patient : int
        How many one patient may hold.
    wait : float
        Seconds for which one more of the same patient waits; 0: it is refused at once.
    """

    def __init__(self, limit: int, per_patient: int, wait: float = 0.0) -> None:
        self.held = 0
        self._limit = limit
        self._per_patient = per_patient
        self._queue = WAITING * per_patient if wait else 0
        self._wait = wait
        self._lanes: dict[str, _Lane] = {}

    @contextlib.asynccontextmanager
    async def hold(self, patient_id: str) -> AsyncIterator[None]:
        """Hold a slot.

        Raises
        ------
        TooManyRequests
            The patient has as many as one may have.
        Overloaded
            There is none.
        """
        if self.held >= self._limit:
            raise Overloaded("The service has as much under way as it takes on.", retry_after=RETRY_SECONDS)
        lane = self._lanes.get(patient_id) or _Lane(asyncio.Semaphore(self._per_patient))
        if lane.users >= self._per_patient + self._queue:
            raise self._too_many()
        self._lanes[patient_id] = lane
        lane.users += 1
        self.held += 1
        try:
            await self._acquire(lane)
            try:
                yield
            finally:
                lane.free.release()
        finally:
            self.held -= 1
            lane.users -= 1
            if not lane.users:
                del self._lanes[patient_id]

    async def _acquire(self, lane: _Lane) -> None:
        if not lane.free.locked():
            await lane.free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await lane.free.acquire()
        except TimeoutError:
            raise self._too_many() from None

    def _too_many(self) -> TooManyRequests:
        sentence = f"At most {self._per_patient} such requests of one patient are worked on at once."
        return TooManyRequests(sentence, retry_after=RETRY_SECONDS)


@dataclass(frozen=True, slots=True)
class AllSlots:
    """The slots of one process."""

    uploads: Slots
    others: Slots


def open_slots(settings: Settings) -> AllSlots:
    """Make the slots that the settings name."""
    return AllSlots(
        Slots(settings.max_uploads, settings.max_uploads_per_patient),
        Slots(settings.max_requests, settings.max_requests_per_patient, settings.request_wait),
    )
