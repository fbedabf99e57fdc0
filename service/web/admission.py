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

MAX_TABLES = 8
MAX_TABLES_PER_PATIENT = 2
"""Tables that are written at once: each holds a batch of trees, or a row group."""


@dataclass(slots=True)
class _Share:
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
        self._shares: dict[str, _Share] = {}

    def admit(self, patient_id: str) -> AbstractAsyncContextManager[None]:
        """Admit one request for as long as the context lasts.

        Raises
        ------
        TooManyRequests
            On entry: the patient has as many under way as one may have.
        Overloaded
            On entry: the process has as many as it takes on.
        """
        return _Admitted(self, patient_id)

    async def enter(self, patient_id: str) -> _Share:
        """Return the patient's share, in which one request more is under way. Raises what :meth:`admit` says."""
        if self.admitted >= self._limit:
            raise Overloaded("The service is busy. Try again later.", retry_after=RETRY_SECONDS)
        share = self._shares.get(patient_id) or _Share(asyncio.Semaphore(self._per_patient))
        if share.requests >= self._per_patient + self._queue:
            raise self._too_many()
        self._shares[patient_id] = share
        share.requests += 1
        self.admitted += 1
        try:
            await self._wait_for(share)
        except BaseException:
            self._leave(patient_id, share)
            raise
        return share

    def end(self, patient_id: str, share: _Share) -> None:
        """Let the next request of the share run."""
        share.free.release()
        self._leave(patient_id, share)

    def _leave(self, patient_id: str, share: _Share) -> None:
        self.admitted -= 1
        share.requests -= 1
        if not share.requests:
            del self._shares[patient_id]

    async def _wait_for(self, share: _Share) -> None:
        if not share.free.locked():
            await share.free.acquire()
            return
        try:
            async with asyncio.timeout(self._wait):
                await share.free.acquire()
        except TimeoutError:
            raise self._too_many() from None

    def _too_many(self) -> TooManyRequests:
        sentence = f"At most {self._per_patient} requests of this kind may run for one patient at once."
        return TooManyRequests(sentence, retry_after=RETRY_SECONDS)


class _Admitted(AbstractAsyncContextManager[None]):
    """One request that is admitted: every request has one, and a generator would cost it three times as much."""

    __slots__ = ("_admission", "_patient_id", "_share")

    def __init__(self, admission: Admission, patient_id: str) -> None:
        self._admission = admission
        self._patient_id = patient_id

    async def __aenter__(self) -> None:
        self._share = await self._admission.enter(self._patient_id)

    async def __aexit__(self, *_: object) -> None:
        self._admission.end(self._patient_id, self._share)


@dataclass(frozen=True, slots=True)
class Admissions:
    """What one process admits, by the kind of request."""

    uploads: Admission
    others: Admission
    tables: Admission


def open_admissions(settings: Settings) -> Admissions:
    """Return admissions with the bounds of the settings."""
    return Admissions(
        Admission(settings.max_uploads, settings.max_uploads_per_patient),
        Admission(settings.max_requests, settings.max_requests_per_patient, settings.request_wait),
        Admission(MAX_TABLES, MAX_TABLES_PER_PATIENT),
    )
