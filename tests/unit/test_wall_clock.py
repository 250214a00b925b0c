"""A wall clock that is set is noticed within a second, and one that only runs is not."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from nodeport_access.wall_clock import EVERY_SECONDS, TOLERANCE_SECONDS, WallClock

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)


class Clocks:
    """Monotonic time is the loop's; wall time runs with it, and can be set."""

    def __init__(self) -> None:
        self.set_by = 0.0
        self.noticed: list[float] = []

    def time(self) -> float:
        return asyncio.get_running_loop().time()

    def clock(self) -> datetime:
        return NOW + timedelta(seconds=self.time() + self.set_by)

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        watch = WallClock(
            clock=self.clock,
            time=self.time,
            stepped=lambda: self.noticed.append(self.time()),
            log=logging.getLogger("test.wall_clock"),
        )
        task = asyncio.create_task(watch.run())
        await asyncio.sleep(10)
        yield
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.looptime
@pytest.mark.parametrize("seconds", [3600.0, -3600.0, 1.0, -1.0])
async def test_a_clock_that_is_set_is_noticed_once_and_within_a_second(seconds: float) -> None:
    clocks = Clocks()
    async with clocks.watched():
        clocks.set_by = seconds
        began = clocks.time()
        await asyncio.sleep(60)
    (noticed,) = clocks.noticed
    assert noticed - began <= EVERY_SECONDS


@pytest.mark.looptime
async def test_a_clock_that_only_runs_is_no_news() -> None:
    clocks = Clocks()
    async with clocks.watched():
        await asyncio.sleep(3600)
    assert clocks.noticed == []


@pytest.mark.looptime
async def test_small_steps_are_noticed_when_they_have_come_to_something() -> None:
    clocks = Clocks()
    async with clocks.watched():
        for _ in range(10):
            clocks.set_by += TOLERANCE_SECONDS / 2
            await asyncio.sleep(60)
    assert len(clocks.noticed) == 3
