"""The threads that wait for the database: how many calls may wait for one of them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.errors import Overloaded
from service.storage.threads import Threads


async def test_more_calls_than_may_wait_are_refused_and_the_others_are_done() -> None:
    threads = Threads(1, queue=1)
    go = threading.Event()
    running = [asyncio.create_task(threads.run(go.wait)) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await threads.run(lambda: None)
    go.set()
    assert await asyncio.gather(*running) == [True, True]
    assert await threads.run(lambda: 7) == 7
    threads.close()
