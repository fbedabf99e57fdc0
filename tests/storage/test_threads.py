"""The threads that wait for the database: how many calls may wait for one of them."""

from __future__ import annotations

import asyncio
import threading

import pytest

from service.errors import Overloaded
from service.storage.threads import Threads


def storage_threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name == "storage"}


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


async def test_there_are_no_more_threads_than_sequences_that_run_at_once() -> None:
    threads, before = Threads(3, queue=10), storage_threads()

    def alive() -> int:
        return len(storage_threads() - before)

    for _ in range(5):
        await threads.run(lambda: None)
    assert alive() == 1
    go = threading.Event()
    running = [asyncio.create_task(threads.run(go.wait)) for _ in range(8)]
    await asyncio.sleep(0)
    assert (alive(), threads.busy, threads.waiting) == (3, 3, 5)
    go.set()
    await asyncio.gather(*running)
    assert (threads.busy, threads.waiting) == (0, 0)
    late = [threads.start(lambda: 7) for _ in range(4)]
    threads.close()
    assert await asyncio.gather(*late) == [7] * 4  # what is started is finished
    with pytest.raises(RuntimeError):
        threads.start(lambda: 7)
    for thread in storage_threads() - before:
        await asyncio.to_thread(thread.join, 30)
    assert not alive()


async def test_what_a_sequence_raises_is_raised_and_the_next_one_runs() -> None:
    threads = Threads(1)

    def fail() -> None:
        raise KeyError("x")

    with pytest.raises(KeyError):
        await threads.run(fail)
    assert await threads.run(lambda: 7) == 7
    threads.close()


async def test_a_caller_who_is_cancelled_waits_for_the_end_of_the_sequence() -> None:
    threads = Threads(1)
    go, over = threading.Event(), threading.Event()

    def work() -> None:
        go.wait(30)
        over.set()

    caller = asyncio.create_task(threads.run(work))
    await asyncio.sleep(0.01)
    caller.cancel()
    await asyncio.sleep(0.01)
    assert not caller.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert over.is_set()
    threads.close()
