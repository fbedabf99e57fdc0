"""One bound in bytes over the frames that wait to be sent, taken before they are read or decoded.

A file of some hundred bytes can hold a frame of some hundred megabytes, and its caller may read it slowly. So whoever
wants frames takes their bytes from the budget first, and gives them back when the answer is sent or given up. One
patient's requests take a part of the budget, so that others never wait for them. All shares of a patient take a part of
that part, so that the patient never waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import NamedTuple

from service.errors import Overloaded, TooManyRequests

PART_OF_PATIENT = 2
"""One patient's frames take one of so many parts of the budget; an answer that is larger counts as the whole part."""

PART_OF_SHARES = 2
"""All shares of a patient take one of so many parts of the patient's. An answer of the patient's own that is larger
than what they leave counts as that."""

RETRY_SECONDS = 5


class _Lane(NamedTuple):
    """Who holds bytes: a patient, or all shares of the patient."""

    patient_id: str
    shared: bool


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
        self._part = total // PART_OF_PATIENT
        self._part_of_shares = self._part // PART_OF_SHARES
        self._wait = wait
        self._held_for: Counter[_Lane] = Counter()
        self._waiting: dict[asyncio.Future[int], tuple[_Lane, int]] = {}

    @contextlib.asynccontextmanager
    async def hold(self, patient_id: str, size: int, *, shared: bool = False) -> AsyncIterator[None]:
        """Hold bytes of the budget for as long as the context lasts; who comes first of a patient is served first.

        Parameters
        ----------
        patient_id : str
            Whose data the frames are of.
        size : int
            Their bytes.
        shared : bool
            Whether they are for somebody who comes by a share.

        Raises
        ------
        TooManyRequests
            Other answers for this patient, or by the patient's shares, took their part for too long.
        Overloaded
            All answers together took the budget for too long.
        """
        lane = _Lane(patient_id, shared)
        counted = await self._take(lane, size)
        try:
            yield
        finally:
            self._give_back(lane, counted)

    async def _take(self, lane: _Lane, size: int) -> int:
        """Wait for room, and return how many bytes were taken."""
        turn: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting[turn] = (lane, size)
        self._admit()
        try:
            async with asyncio.timeout(self._wait):
                return await turn
        except BaseException as error:
            if self._waiting.pop(turn, None) is None:  # it was admitted in the last moment
                self._give_back(lane, turn.result())
            else:
                self._admit()  # whoever stood behind it may go
            if isinstance(error, TimeoutError):
                raise self._refusal(lane, size) from None
            raise

    def _refusal(self, lane: _Lane, size: int) -> Overloaded | TooManyRequests:
        if self._room_for(lane, size) is not None:
            sentence = "Too many bytes of other answers wait to be sent. Try again later."
            return Overloaded(sentence, retry_after=RETRY_SECONDS)
        sentence = "Too many bytes of other answers for this patient wait to be sent. Read those first."
        return TooManyRequests(sentence, retry_after=RETRY_SECONDS)

    def _give_back(self, lane: _Lane, counted: int) -> None:
        self.held -= counted
        self._held_for[lane] -= counted
        if not self._held_for[lane]:
            del self._held_for[lane]
        self._admit()

    def _room_for(self, lane: _Lane, size: int) -> int | None:
        """Return what an answer counts as, if there is room for it in its patient's part; else None."""
        other = self._held_for[lane._replace(shared=not lane.shared)]
        limit = self._part_of_shares if lane.shared else self._part - other
        counted = min(size, limit)
        held = self._held_for[lane]
        return counted if held + counted <= limit and held + other + counted <= self._part else None

    def _admit(self) -> None:
        """Admit who fits, in the order in which they came; a patient's next one does not overtake the one before.

        Nor do the patient's shares overtake the patient.
        """
        passed_over: set[_Lane] = set()
        for turn, (lane, size) in list(self._waiting.items()):
            if lane in passed_over or turn.done():  # who has stopped waiting is about to leave
                continue
            counted = self._room_for(lane, size)
            if counted is None:
                passed_over |= {lane, lane._replace(shared=True)}
            elif self.held + counted <= self._total:
                del self._waiting[turn]
                self.held += counted
                self._held_for[lane] += counted
                turn.set_result(counted)
            else:
                return  # what is smaller and came later would keep this one waiting for ever
