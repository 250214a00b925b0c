"""How a probe is bounded: dials a second, dials at once, seconds for all of them. Time is simulated."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import pytest

from nodeport_access.probe.attempts import Attempt, Bounds, Result
from nodeport_access.probe.pacing import MOST_AT_ONCE, dial_all
from nodeport_access.probe.plans import Target
from tests.unit.probes import plan

TARGETS = plan().targets


def bounds(*, attempts: int = 3, rate: float = 10, time_limit: float = 60) -> Bounds:
    return Bounds(attempts=attempts, rate=rate, timeout=3, time_limit=time_limit)


def taking(seconds: float, began: list[float]) -> Callable[[Target], Awaitable[Attempt]]:
    """A dial that takes so long; when each was begun is kept."""

    async def dial(_target: Target) -> Attempt:
        began.append(asyncio.get_running_loop().time())
        await asyncio.sleep(seconds)
        return Attempt(result=Result.IN)

    return dial


@pytest.mark.looptime
async def test_never_more_dials_a_second_than_the_rate() -> None:
    began: list[float] = []
    made = await dial_all(TARGETS, dial=taking(2.0, began), bounds=bounds())

    assert [round(later - earlier, 3) for earlier, later in itertools.pairwise(began)] == [0.1] * 8
    assert [[attempt.result for attempt in each] for each in made] == [[Result.IN] * 3] * 3


@pytest.mark.looptime
async def test_each_attempt_keeps_when_it_began_and_how_long_it_took() -> None:
    await asyncio.sleep(100)
    made = await dial_all(TARGETS, dial=taking(2.0, []), bounds=bounds(attempts=1))
    assert [(round(each.began or 0, 3), each.seconds) for (each,) in made] == [(0.0, 2.0), (0.1, 2.0), (0.2, 2.0)]


@pytest.mark.looptime
async def test_at_the_time_limit_it_ends_and_says_what_was_not_dialled() -> None:
    loop = asyncio.get_running_loop()
    made = await dial_all(TARGETS, dial=taking(0.25, []), bounds=bounds(rate=10, attempts=2, time_limit=0.42))

    assert loop.time() == pytest.approx(0.42)
    # Begun at 0, 0.1, 0.2 in the first turn, at 0.3 and 0.4 in the second.
    assert [[str(attempt.result) for attempt in each] for each in made] == [
        ["in", "cut off"],
        ["in", "cut off"],
        ["cut off", "not dialled"],
    ]


@pytest.mark.looptime
async def test_sockets_that_wait_are_bounded_whatever_the_rate() -> None:
    at_once, most = 0, 0

    async def dial(_target: Target) -> Attempt:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(30)
        at_once -= 1
        return Attempt(result=Result.SILENT)

    await dial_all(TARGETS, dial=dial, bounds=bounds(attempts=100, rate=1000))
    assert most == MOST_AT_ONCE


@pytest.mark.looptime
async def test_progress_is_told_once_a_dial() -> None:
    ended: list[float] = []
    loop = asyncio.get_running_loop()
    await dial_all(
        TARGETS, dial=taking(1.0, []), bounds=bounds(attempts=2), told=lambda: ended.append(round(loop.time(), 1))
    )
    assert ended == [1.0, 1.1, 1.2, 1.3, 1.4, 1.5]


def test_how_long_it_takes_at_least_is_known_before() -> None:
    assert bounds(attempts=3, rate=20).seconds(5000) == pytest.approx(749.95)
