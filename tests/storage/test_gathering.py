"""What waits at the same time is worked on together, and nobody pays for what another one sent."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from service.errors import DatabaseUnavailable, Overloaded
from service.storage import gathering
from service.storage.gathering import Gathering
from service.storage.threads import Threads


@pytest.fixture
async def threads() -> AsyncIterator[Threads]:
    threads = Threads(2)
    yield threads
    threads.close()


class Work:
    """Work that is held up until it may go on."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self._begun = threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        self._begun.set()
        assert self.may_go_on.wait(10)
        if 13 in items:
            raise ValueError("thirteen")
        return [KeyError(item) if item < 0 else 2 * item for item in items]

    async def begun(self) -> None:
        """Come back when the first batch is under way."""
        assert await asyncio.to_thread(self._begun.wait, 10)


async def test_what_comes_while_a_batch_is_under_way_is_the_next_batch(threads: Threads) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=3, queue=9)
    first = asyncio.create_task(gathered.ask(1))
    await work.begun()
    others = [asyncio.create_task(gathered.ask(number)) for number in range(2, 7)]
    await asyncio.sleep(0.01)
    work.may_go_on.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12]
    assert work.batches == [[1], [2, 3, 4], [5, 6]]


async def test_a_batch_weighs_no_more_than_it_may_and_what_is_heavier_comes_alone(threads: Threads) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=10, weight=10, queue=9)
    work.may_go_on.set()
    weights = {0: 0, 1: 4, 2: 6, 3: 1, 4: 99, 5: 2, 6: 8}
    await asyncio.gather(*(gathered.ask(item, weight) for item, weight in weights.items()))
    assert work.batches == [[0], [1, 2], [3], [4], [5, 6]]


async def test_an_error_of_one_is_raised_for_it_alone(threads: Threads) -> None:
    work = Work()
    work.may_go_on.set()
    gathered = Gathering(threads, work, count=10, queue=9)
    answers = await asyncio.gather(*(gathered.ask(item) for item in (1, -1, 2)), return_exceptions=True)
    assert answers[::2] == [2, 4]
    assert isinstance(answers[1], KeyError)


async def test_an_error_of_a_batch_is_raised_for_all_of_it_and_the_next_one_goes_on(threads: Threads) -> None:
    work = Work()
    work.may_go_on.set()
    gathered = Gathering(threads, work, count=2, queue=9)
    answers = await asyncio.gather(*(gathered.ask(item) for item in (0, 1, 13, 2, 3)), return_exceptions=True)
    assert [type(answer) for answer in answers] == [int, ValueError, ValueError, int, int]
    assert await gathered.ask(4) == 8


async def test_one_that_is_cancelled_while_it_waits_is_not_worked_on(threads: Threads) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=10, queue=9)
    first = asyncio.create_task(gathered.ask(1))
    await work.begun()
    second, third = (asyncio.create_task(gathered.ask(item)) for item in (2, 3))
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second
    work.may_go_on.set()
    assert await first == 2
    assert await third == 6
    assert work.batches == [[1], [3]]


async def test_the_cancellation_of_one_under_way_comes_when_its_batch_has_ended(threads: Threads) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=10, queue=9)
    task = asyncio.create_task(gathered.ask(1))
    await work.begun()
    task.cancel()
    await asyncio.sleep(0.02)
    task.cancel()
    await asyncio.sleep(0.02)
    assert not task.done()
    work.may_go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_that_is_cancelled_just_when_it_has_waited_too_long_is_cancelled(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=10, queue=9)
    first = asyncio.create_task(gathered.ask(1))
    await work.begun()
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.0)
    second = asyncio.create_task(gathered.ask(2))
    await asyncio.sleep(0)
    raise_for = gathering._raise_for

    def raise_and_cancel(batch: Any, error: BaseException) -> None:
        raise_for(batch, error)
        second.cancel()

    monkeypatch.setattr(gathering, "_raise_for", raise_and_cancel)
    work.may_go_on.set()
    assert await first == 2
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_no_more_wait_than_may(threads: Threads) -> None:
    work = Work()
    gathered = Gathering(threads, work, count=1, queue=2)
    first = asyncio.create_task(gathered.ask(1))
    await work.begun()
    waiting = [asyncio.create_task(gathered.ask(item)) for item in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded):
        await gathered.ask(4)
    assert (threads.busy, threads.waiting) == (1, 2)
    work.may_go_on.set()
    assert await asyncio.gather(first, *waiting) == [2, 4, 6]


async def test_what_has_waited_too_long_is_refused_and_not_worked_on(
    threads: Threads, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gathering, "ANSWER_SECONDS", 0.1)
    work = Work()
    gathered = Gathering(threads, work, count=10, queue=9)
    first = asyncio.create_task(gathered.ask(1))
    await work.begun()
    second = asyncio.create_task(gathered.ask(2))
    await asyncio.sleep(0.15)
    third = asyncio.create_task(gathered.ask(3))
    await asyncio.sleep(0)
    work.may_go_on.set()
    assert await first == 2
    with pytest.raises(DatabaseUnavailable):
        await second
    assert await third == 6
    assert work.batches == [[1], [3]]
