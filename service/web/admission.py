"""How much may be under way at once: for one patient, and in all of one process.

Uploads beyond the bounds are refused at once, before their body is read. Other requests of one patient wait for each
other for a while, because viewers ask for a hundred frames at once and expect all of them.
"""

from __future__ import annotations

import asyncio
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from service.errors import Overloaded, TooManyRequests
from service.settings import Settings

RETRY_SECONDS = 2
WAITING = 3
"""Requests of one patient that may wait, as a multiple of those that run."""

PART_OF_SHARES = 2
"""All shares of a patient together have at most one such part of the patient's slots: the rest is the patient's own."""

MAX_TABLES = 8
MAX_TABLES_PER_PATIENT = 2
"""Tables that are written at once: each holds a batch of trees, or a row group."""


@dataclass(slots=True)
class _Lane:
    """What one patient has under way: the requests that run or wait, and how many more may run."""

    free: asyncio.Semaphore
    requests: int = 0


class Admission:
    """Admits requests of one kind.

    Parameters
    ----------
    limit : int
        How many may be admitted in all; those that wait count too.
    per_patient : int
        How many of one patient may run.
    wait : float
        Seconds for which one more of the same patient waits; 0: it is refused at once.
    """

    def __init__(self, limit: int, per_patient: int, wait: float = 0.0) -> None:
        self.admitted = 0
        self._limit = limit
        self._per_patient = per_patient
        self._queue = WAITING * per_patient if wait else 0
        self._wait = wait
        self._lanes: dict[str, _Lane] = {}
        self.of_shares: Admission | None = None
        """Where those who ask by a share first take a slot of all the shares of their patient."""

    def admit(self, patient_id: str, *, shared: bool = False) -> AbstractAsyncContextManager[None]:
        """Admit one request for as long as the context lasts.

        Parameters
        ----------
        patient_id : str
            Whose data it is about.
        shared : bool
            Whether it comes by a share.

        Raises
        ------
        TooManyRequests
            On entry: the patient has as many under way as one may have.
        Overloaded
            On entry: the process has as many as it takes on.
        """
        return _Admitted(self, patient_id, self.of_shares if shared else None)

    async def enter(self, patient_id: str) -> _Lane:
        """Return the patient's lane, in which one request more is under way. Raises what :meth:`admit` says."""
        if self.admitted >= self._limit:
            raise Overloaded("The service is busy. Try again later.", retry_after=RETRY_SECONDS)
        lane = self._lanes.get(patient_id) or _Lane(asyncio.Semaphore(self._per_patient))
        if lane.requests >= self._per_patient + self._queue:
            raise self._too_many()
        self._lanes[patient_id] = lane
        lane.requests += 1
        self.admitted += 1
        try:
            await self._wait_for(lane)
        except BaseException:
            self._leave(patient_id, lane)
            raise
        return lane

    def end(self, patient_id: str, lane: _Lane) -> None:
        """Let the next request of the lane run."""
        lane.free.release()
        self._leave(patient_id, lane)

    def _leave(self, patient_id: str, lane: _Lane) -> None:
        self.admitted -= 1
        lane.requests -= 1
        if not lane.requests:
            del self._lanes[patient_id]

    async def _wait_for(self, lane: _Lane) -> None:
        if not lane.free.locked():
            await lane.free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await lane.free.acquire()
        except TimeoutError:
            raise self._too_many() from None

    def _too_many(self) -> TooManyRequests:
        sentence = f"At most {self._per_patient} requests of this kind may run for one patient at once."
        return TooManyRequests(sentence, retry_after=RETRY_SECONDS)


class _Admitted(AbstractAsyncContextManager[None]):
    """One request that is admitted: every request has one, and a generator would cost it three times as much."""

    __slots__ = ("_admission", "_lane", "_lane_of_shares", "_of_shares", "_patient_id")

    def __init__(self, admission: Admission, patient_id: str, of_shares: Admission | None) -> None:
        self._admission = admission
        self._patient_id = patient_id
        self._of_shares = of_shares

    async def __aenter__(self) -> None:
        if self._of_shares is None:
            self._lane = await self._admission.enter(self._patient_id)
            return
        self._lane_of_shares = await self._of_shares.enter(self._patient_id)
        try:
            self._lane = await self._admission.enter(self._patient_id)
        except BaseException:
            self._of_shares.end(self._patient_id, self._lane_of_shares)
            raise

    async def __aexit__(self, *_: object) -> None:
        self._admission.end(self._patient_id, self._lane)
        if self._of_shares is not None:
            self._of_shares.end(self._patient_id, self._lane_of_shares)


@dataclass(frozen=True, slots=True)
class Admissions:
    """What one process admits, by the kind of request."""

    uploads: Admission
    others: Admission
    tables: Admission


def open_admissions(settings: Settings) -> Admissions:
    """Return admissions with the bounds of the settings."""
    return Admissions(
        _with_shares(settings.max_uploads, settings.max_uploads_per_patient),
        _with_shares(settings.max_requests, settings.max_requests_per_patient, settings.request_wait),
        _with_shares(MAX_TABLES, MAX_TABLES_PER_PATIENT),
    )


def _with_shares(limit: int, per_patient: int, wait: float = 0.0) -> Admission:
    """Return an admission in which the shares of a patient have a part of the patient's slots."""
    admission = Admission(limit, per_patient, wait)
    admission.of_shares = Admission(limit, max(per_patient // PART_OF_SHARES, 1), wait)
    return admission
