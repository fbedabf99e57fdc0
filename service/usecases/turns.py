"""Work of one kind takes turns: so much at once, so much waits, and the rest is told to come again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from service.errors import Overloaded

RETRY_SECONDS = 2


class Turns:
    """Bounds on work of one kind, whoever asks for it.

    Parameters
    ----------
    at_once : int
        How much is done at once.
    waiting : int
        How much more may wait for its turn.
    """

    def __init__(self, at_once: int, waiting: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._room = at_once + waiting

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for a turn, and keep it as long as the context lasts.

        Raises
        ------
        Overloaded
            On entry: too many wait.
        """
        if self._room == 0:
            raise Overloaded("The service is busy. Try again later.", retry_after=RETRY_SECONDS)
        self._room -= 1
        try:
            async with self._free:
                yield
        finally:
            self._room += 1
