"""The budget of bytes that wait to be sent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.errors import Overloaded, TooManyRequests
from service.usecases.outgoing import OutgoingBudget


async def entered(stack: AsyncExitStack, budget: OutgoingBudget, patient: str, size: int) -> None:
    await stack.enter_async_context(budget.hold(patient, size))


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_no_more_is_held_than_the_budget_has_and_who_waits_too_long_is_told_when_to_come_again() -> None:
    budget = OutgoingBudget(100, wait=0.05)
    async with AsyncExitStack() as stack:
        for patient in ("a", "b", "c"):
            await entered(stack, budget, patient, 30)
        with pytest.raises(Overloaded) as refused:
            await entered(stack, budget, "d", 30)
        assert refused.value.retry_after > 0
        assert budget.held == 90
        await entered(stack, budget, "d", 10)
    assert budget.held == 0


async def test_one_patient_has_half_of_it_and_leaves_the_rest_to_the_others() -> None:
    budget = OutgoingBudget(100, wait=0.05)
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 30)
        await entered(stack, budget, "a", 20)
        waiting = asyncio.create_task(entered(stack, budget, "a", 1))
        await settle()
        await entered(stack, budget, "b", 50)
        with pytest.raises(TooManyRequests):
            await waiting
    assert budget.held == 0


async def test_what_is_given_back_goes_to_who_waits_longest() -> None:
    budget = OutgoingBudget(100, wait=5)
    async with AsyncExitStack() as others:
        for patient in ("a", "b"):
            await entered(others, budget, patient, 50)
        order: list[str] = []

        async def want(patient: str, size: int) -> None:
            async with budget.hold(patient, size):
                order.append(patient)

        tasks = []
        for patient, size in (("c", 40), ("d", 10), ("e", 50)):
            tasks.append(asyncio.create_task(want(patient, size)))
            await settle()
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["c", "d", "e"]
    assert budget.held == 0


async def test_an_answer_larger_than_a_patients_part_is_the_only_one_and_keeps_no_other_patient_waiting() -> None:
    budget = OutgoingBudget(100, wait=0.05)
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 150)
        with pytest.raises(TooManyRequests):
            await entered(stack, budget, "a", 1)
        await entered(stack, budget, "b", 50)
    assert budget.held == 0


async def test_who_stops_waiting_takes_nothing_and_holds_nobody_up() -> None:
    budget = OutgoingBudget(100, wait=5)
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 40)
        await entered(stack, budget, "d", 30)
        large = asyncio.create_task(entered(AsyncExitStack(), budget, "b", 50))
        await settle()
        small = asyncio.create_task(entered(stack, budget, "c", 10))
        await settle()
        assert not small.done()
        large.cancel()
        await asyncio.wait({large})
        await small
        assert budget.held == 80
    assert budget.held == 0


async def test_who_is_admitted_and_cancelled_at_once_gives_it_back() -> None:
    budget = OutgoingBudget(100, wait=5)
    async with AsyncExitStack() as stack:
        for patient in ("a", "c"):
            await entered(stack, budget, patient, 50)
        late = asyncio.create_task(entered(AsyncExitStack(), budget, "b", 50))
        await settle()
        await stack.aclose()
        late.cancel()
        await asyncio.wait({late})
    assert budget.held == 0
