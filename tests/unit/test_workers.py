"""So many passes at once, and those that hang keep nobody from working. Time is simulated."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager

import pytest

from nodeport_access.workers import MOST_WORKERS, SLOW_SECONDS, WORKERS, Workers
from nodeport_access.workqueue import WorkQueue

pytestmark = pytest.mark.looptime
HANG_SECONDS = 15.0


class Passes:
    """Passes over keys of which some hang; knows when each began and ended."""

    def __init__(self, hanging: Iterable[str] = ()) -> None:
        self.hanging = set(hanging)
        self.begun: dict[str, float] = {}
        self.ended: dict[str, float] = {}
        self.running = 0
        self.most = 0

    async def carry_out(self, key: str) -> None:
        now = asyncio.get_running_loop().time
        self.begun[key] = now()
        self.running += 1
        self.most = max(self.most, self.running)
        try:
            await asyncio.sleep(HANG_SECONDS if key in self.hanging else 0.1)
        finally:
            self.running -= 1
            self.ended[key] = now()


@asynccontextmanager
async def working(carry_out: Callable[[str], Awaitable[None]]) -> AsyncIterator[tuple[WorkQueue[str], Workers[str]]]:
    """Workers at work; at the end the queue is shut down and they leave."""
    now = asyncio.get_running_loop().time
    queue: WorkQueue[str] = WorkQueue(time=now, random=lambda: 0.5)
    workers = Workers(queue=queue, carry_out=carry_out, time=now)
    task = asyncio.create_task(workers.run())
    try:
        yield queue, workers
    finally:
        queue.shut_down()
        await task


def named(word: str, count: int) -> list[str]:
    return [f"{word}-{number}" for number in range(count)]


async def test_so_many_passes_run_at_once_and_no_more() -> None:
    passes, keys = Passes(), named("well", 100)
    async with working(passes.carry_out) as (queue, _):
        for key in keys:
            queue.add(key)
        await asyncio.sleep(2)
    assert passes.most == WORKERS
    assert passes.ended.keys() == set(keys)


@pytest.mark.parametrize("hung", [1, WORKERS, 20, MOST_WORKERS - 1])
async def test_passes_that_hang_keep_the_others_waiting_for_two_seconds_at_the_most(hung: int) -> None:
    sick, well = named("sick", hung), named("well", 20)
    passes = Passes(sick)
    async with working(passes.carry_out) as (queue, _):
        for key in (*sick, *well):
            queue.add(key)
        await asyncio.sleep(2 * HANG_SECONDS)
    rounds = 1 + hung // WORKERS
    assert max(passes.ended[key] for key in well) < rounds * SLOW_SECONDS + 2
    assert passes.most <= MOST_WORKERS


async def test_however_many_hang_some_connections_are_left_and_the_rest_have_their_turn() -> None:
    sick, well = named("sick", 200), named("well", 5)
    passes = Passes(sick)
    async with working(passes.carry_out) as (queue, _):
        for key in (*sick, *well):
            queue.add(key)
        await asyncio.sleep(10 * HANG_SECONDS)
    assert passes.most == MOST_WORKERS
    assert passes.ended.keys() == {*sick, *well}


async def test_those_that_were_hired_leave_when_nothing_hangs_any_more() -> None:
    sick = named("sick", 30)
    passes = Passes(sick)
    async with working(passes.carry_out) as (queue, _):
        for key in sick:
            queue.add(key)
        await asyncio.sleep(3 * HANG_SECONDS)
        passes.hanging, passes.most = set(), 0
        for key in named("well", 100):
            queue.add(key)
        await asyncio.sleep(2)
        assert passes.most == WORKERS
        await asyncio.sleep(0)
        # The workers, their group and this test.
        assert len(asyncio.all_tasks()) == WORKERS + 2


async def test_a_crash_of_a_pass_ends_them_all() -> None:
    async def crash(key: str) -> None:
        raise ZeroDivisionError(key)

    now = asyncio.get_running_loop().time
    queue: WorkQueue[str] = WorkQueue(time=now, random=lambda: 0.5)
    workers = Workers(queue=queue, carry_out=crash, time=now)
    queue.add("any")
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(workers.run(), 1)
    assert caught.group_contains(ZeroDivisionError)


async def test_a_long_queue_behind_an_api_server_that_hangs_is_not_stuck_and_a_pass_that_never_ends_is() -> None:
    sick = named("sick", 1000)
    passes = Passes(sick)
    async with working(passes.carry_out) as (queue, workers):
        await asyncio.sleep(1000)
        assert workers.stuck() == 0, "nothing was due"
        for key in sick:
            queue.add(key)
        for _ in range(40):
            await asyncio.sleep(7)
            assert workers.stuck() <= HANG_SECONDS
    never = asyncio.Event()

    async def hang(_: str) -> None:
        await never.wait()

    async with working(hang) as (queue, workers):
        queue.add("any")
        await asyncio.sleep(301)
        assert workers.stuck() == 301
        never.set()
