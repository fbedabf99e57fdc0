"""One bound in bytes over the frames that wait to be sent, taken before they are read or decoded.

A file of some hundred bytes can hold a frame of some hundred megabytes, and its caller may read it slowly. So whoever
wants frames takes their bytes from the budget first, and gives them back when the answer is sent or given up. One
patient's requests take a part of the budget, so that others never wait for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator

from service.errors import Overloaded, TooManyRequests

SHARES = 2
"""One patient's frames take one of so many parts of the budget; an answer that is larger counts as the whole part."""

RETRY_SECONDS = 5


class OutgoingBudget:
    """How many bytes of frames may wait to be sent.

    Parameters
    ----------
    total : int
        Of all patients.
    wait : float
        Seconds for which an answer waits for room.

    Attributes
    ----------
    held : int
        Bytes that are taken.
    """

    def __init__(self, total: int = 512 << 20, wait: float = 10.0) -> None:
        self.held = 0
        self._total = total
        self._share = total // SHARES
        self._wait = wait
        self._held_for: Counter[str] = Counter()
        self._waiting: dict[asyncio.Future[None], tuple[str, int]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, patient_id: str, size: int) -> AsyncIterator[None]:
        """Hold bytes of the budget for as long as the context lasts; who comes first of a patient is served first.

        Raises
        ------
        TooManyRequests
            Other answers for this patient took the patient's part for too long.
        Overloaded
            All answers together took the budget for too long.
        """
        size = min(size, self._share)
        await self._take(patient_id, size)
        try:
            yield
        finally:
            self._give_back(patient_id, size)

    async def _take(self, patient_id: str, size: int) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = (patient_id, size)
        self._admit()
        try:
            async with asyncio.timeout(self._wait):
                await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None:  # it was admitted in the last moment
                self._give_back(patient_id, size)
            else:
                self._admit()  # whoever stood behind it may go
            if isinstance(error, TimeoutError):
                raise self._refusal(patient_id, size) from None
            raise

    def _refusal(self, patient_id: str, size: int) -> Overloaded | TooManyRequests:
        if self._fits(self._held_for[patient_id], size, self._share):
            sentence = "Too many bytes of other answers wait to be sent. Try again later."
            return Overloaded(sentence, retry_after=RETRY_SECONDS)
        sentence = "Too many bytes of other answers for this patient wait to be sent. Read those first."
        return TooManyRequests(sentence, retry_after=RETRY_SECONDS)

    def _give_back(self, patient_id: str, size: int) -> None:
        self.held -= size
        self._held_for[patient_id] -= size
        if not self._held_for[patient_id]:
            del self._held_for[patient_id]
        self._admit()

    def _admit(self) -> None:
        """Admit who fits, in the order in which they came; a patient's next one does not overtake the one before."""
        passed_over: set[str] = set()
        for turn, (patient_id, size) in list(self._waiting.items()):
            if patient_id in passed_over:
                continue
            if not self._fits(self._held_for[patient_id], size, self._share):
                passed_over.add(patient_id)
            elif self._fits(self.held, size, self._total):
                del self._waiting[turn]
                self.held += size
                self._held_for[patient_id] += size
                if not turn.done():
                    turn.set_result(None)
            else:
                return  # what is smaller and came later would keep this one waiting for ever

    @staticmethod
    def _fits(held: int, size: int, limit: int) -> bool:
        return held + size <= limit
