"""The budget of bytes that wait to be sent."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from service.errors import Overloaded, TooManyRequests
from service.usecases.outgoing import OutgoingBudget


async def entered(
    stack: AsyncExitStack, budget: OutgoingBudget, patient: str, size: int, *, shared: bool = False
) -> None:
    await stack.enter_async_context(budget.hold(patient, size, shared=shared))


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


# --- shares


async def test_all_shares_of_a_patient_together_have_half_of_the_patients_part() -> None:
    budget = OutgoingBudget(200, wait=0.05)
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 30, shared=True)
        await entered(stack, budget, "a", 20, shared=True)
        with pytest.raises(TooManyRequests):
            await entered(stack, budget, "a", 1, shared=True)
        await entered(stack, budget, "a", 50)
        with pytest.raises(TooManyRequests):
            await entered(stack, budget, "a", 1)
        await entered(stack, budget, "b", 100)
        assert budget.held == 200
    assert budget.held == 0


async def test_shares_that_nobody_reads_keep_no_answer_of_the_patients_own_waiting_however_large_it_is() -> None:
    budget = OutgoingBudget(200, wait=0.05)
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 500, shared=True)
        assert budget.held == 50
        for size in (10, 60, 100, 500):
            async with budget.hold("a", size):
                assert budget.held == 50 + min(size, 50)
        await entered(stack, budget, "a", 100)
        await entered(stack, budget, "b", 100)  # nor does the patient with all shares take from others
    assert budget.held == 0


async def test_shares_do_not_overtake_their_patient_and_wait_where_the_patient_has_the_part() -> None:
    budget = OutgoingBudget(200, wait=5)
    order: list[str] = []

    async def want(name: str, size: int, shared: bool) -> None:
        async with budget.hold("a", size, shared=shared):
            order.append(name)

    tasks = []
    async with AsyncExitStack() as stack:
        await entered(stack, budget, "a", 60)
        for name, size, shared in (("share", 50, True), ("own", 50, False), ("small share", 1, True)):
            tasks.append(asyncio.create_task(want(name, size, shared)))
            await settle()
        assert order == []
    await asyncio.gather(*tasks)
    assert order == ["share", "own", "small share"]
    assert budget.held == 0


async def test_who_stops_waiting_in_the_moment_of_being_admitted_leaves_nothing_held() -> None:
    budget = OutgoingBudget(100, wait=5)
    async with AsyncExitStack() as left:
        async with AsyncExitStack() as stack:
            await entered(stack, budget, "a", 50)
            waiting = [asyncio.create_task(entered(left, budget, "a", 10)) for _ in range(2)]
            await settle()
            waiting[0].cancel()
            # Given back before the cancelled task has run.
        await settle()
        assert budget.held == 10
        assert waiting[0].cancelled()
    assert budget.held == 0
