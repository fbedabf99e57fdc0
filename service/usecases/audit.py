"""The use case: what was asked is written to the audit soon after it was answered, many entries in one command.

Entries wait in memory for half a second. A process that is killed loses those. One that cannot write them, because the
database is away or refuses them, keeps them; where no more can be kept, :attr:`Audit.has_room` says so, and requests
for patients' data are refused until there is room: nobody reads for long what nobody writes down. A delete does not
wait here: :func:`service.usecases.deletion.delete` writes that it is intended before it begins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from itertools import islice

from service.errors import Unavailable
from service.storage.audit import AuditEntry, AuditTrail
from service.telemetry.metrics import Metrics

__all__ = ["Audit", "AuditEntry"]

INTERVAL_SECONDS = 0.5
CLOSING_SECONDS = 3.0

BATCH = 250
"""Entries of one command. The local database takes some 0.2 ms for each, and others ask it meanwhile."""

IDS_AN_ENTRY = 1000
"""Instances that one entry names; a request about more has several entries."""

ROOM = 20_000
"""Entries, and ids of instances in them, that wait at most before requests are refused: some 20 MB."""

STRANGERS_A_MINUTE = 60
"""Entries about tokens that are not valid. Anybody can send such, so more of them are only counted."""

log = logging.getLogger(__name__)


class Audit:
    """What is not written to the audit yet.

    Parameters
    ----------
    trail : AuditTrail
        Where it is written.
    metrics : Metrics
        Where it is counted.
    monotonic : callable, optional
        Gives the time in seconds.
    """

    def __init__(self, trail: AuditTrail, metrics: Metrics, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._trail = trail
        self._metrics = metrics
        self._monotonic = monotonic
        self._waiting: deque[AuditEntry] = deque()
        self._weight = 0
        self._writing = asyncio.Lock()
        self._failing = False
        self._minute = -1
        self._strangers = 0

    @property
    def has_room(self) -> bool:
        """Whether another request may be answered."""
        return self._weight < ROOM

    def note(self, entry: AuditEntry) -> None:
        """Queue an entry, which is written soon."""
        # What is refused for want of room is itself noted only as long as there is twice the room.
        if self._weight >= 2 * ROOM:
            self._metrics.audit("lost")
            return
        for part in parts_of(entry):
            self._waiting.append(part)
            self._weight += _weight(part)

    def note_stranger(self, entry: AuditEntry) -> None:
        """Queue an entry about a token that is not valid, unless there were many of them this minute."""
        minute = int(self._monotonic() // 60)
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        if self._strangers > STRANGERS_A_MINUTE:
            self._metrics.audit("skipped")
        else:
            self.note(entry)

    async def keep_writing(self) -> None:
        """Write what waits, for as long as the service runs."""
        while True:
            await asyncio.sleep(INTERVAL_SECONDS)
            await self.write()

    async def write(self) -> None:
        """Write what waits now; what cannot be written stays."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        try:
            while self._waiting:
                batch = list(islice(self._waiting, BATCH))
                lost = await self._append(batch)
                for entry in batch:
                    self._waiting.popleft()
                    self._weight -= _weight(entry)
                self._metrics.audit("written", len(batch) - lost)
                if lost:
                    self._metrics.audit("lost", lost)
                    log.error("%d entries of the audit could not be written and are lost", lost)
                self._failing = False
        except Unavailable:
            if not self._failing:
                log.warning("The audit cannot be written now; %d entries wait", len(self._waiting))
            self._failing = True
        finally:
            self._metrics.audit_waiting(len(self._waiting))

    async def _append(self, batch: list[AuditEntry]) -> int:
        """Write a batch, and tell how many of it are lost."""
        try:
            return await self._trail.append(batch)
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - what can never be written must not keep all others from it
            log.error("The audit met a fault: %s", type(error).__name__)  # noqa: TRY400
            return len(batch)

    async def close(self) -> None:
        """Write what waits before the service ends."""
        try:
            async with asyncio.timeout(CLOSING_SECONDS):
                await self.write()
        except TimeoutError:
            pass
        if self._waiting:
            self._metrics.audit("lost", len(self._waiting))
            log.error("%d entries of the audit could not be written and are lost", len(self._waiting))


def _weight(entry: AuditEntry) -> int:
    return 1 + len(entry.dicom_ids)


def parts_of(entry: AuditEntry) -> list[AuditEntry]:
    """Return an entry as several, each about no more than `IDS_AN_ENTRY` instances."""
    if len(entry.dicom_ids) <= IDS_AN_ENTRY:
        return [entry]
    return [_part(entry, start) for start in range(0, len(entry.dicom_ids), IDS_AN_ENTRY)]


def _part(entry: AuditEntry, start: int) -> AuditEntry:
    """Return an entry about some of the instances that a request was about."""
    ids = entry.dicom_ids[start : start + IDS_AN_ENTRY]
    return replace(entry, dicom_ids=ids, entry_id=type(entry.entry_id)())
