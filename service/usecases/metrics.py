"""What is so now, put into the metrics: how the event loop keeps up, what waits, what the database holds."""

from __future__ import annotations

import asyncio
import time

from service.auth.key_source import KeySource
from service.errors import ServiceError
from service.usecases.context import Context

TICK_SECONDS = 0.5

LOOK_SECONDS = 5.0
"""How long what the database said is told again before it is asked anew."""

PATIENCE_SECONDS = 0.5
"""How long a scrape waits for the database; then it tells what was known before."""


class Measuring:
    """Keeps the metrics of one service process.

    Parameters
    ----------
    keys : KeySource or None
        Where the keys of tokens are published; None where there is a secret.
    """

    def __init__(self, context: Context, keys: KeySource | None = None) -> None:
        self._context = context
        self._keys = keys
        self._looked_at = -LOOK_SECONDS
        self._looking: asyncio.Task[None] | None = None
        self._telling: asyncio.Task[bytes] | None = None

    async def keep(self) -> None:
        """Measure again and again, for as long as the service runs."""
        while True:
            began = time.monotonic()
            await asyncio.sleep(TICK_SECONDS)
            self._context.metrics.event_loop_lag(max(0.0, time.monotonic() - began - TICK_SECONDS))
            self._look_around()

    async def exposition(self) -> bytes:
        """Return all metrics as Prometheus reads them. Those who ask at the same time get the same answer."""
        if self._telling is None:
            self._telling = asyncio.create_task(self._tell())
        return await asyncio.shield(self._telling)

    async def close(self) -> None:
        """Let go of what is under way."""
        for task in (self._looking, self._telling):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])

    async def _tell(self) -> bytes:
        try:
            self._look_around()
            if self._looking is None and time.monotonic() - self._looked_at >= LOOK_SECONDS:
                self._looking = asyncio.create_task(self._look_at_database())
            if self._looking is not None:
                await asyncio.wait([self._looking], timeout=PATIENCE_SECONDS)
            return await asyncio.to_thread(self._context.metrics.exposition)
        finally:
            self._telling = None

    def _look_around(self) -> None:
        metrics, workers = self._context.metrics, self._context.workers
        metrics.workers(workers.size, workers.busy, workers.queued, workers.finished, workers.restarts)
        threads = self._context.store.statistics.thread_use()
        metrics.storage_threads(threads.size, threads.busy, threads.waiting)
        if self._keys is not None:
            metrics.keys(self._keys.fetches, self._keys.failures, self._keys.age())
        metrics.process()

    async def _look_at_database(self) -> None:
        try:
            self._context.metrics.database(await self._context.store.statistics.count_states())
        except ServiceError:
            self._context.metrics.database(None)
        finally:
            self._looked_at = time.monotonic()
            self._looking = None
