"""All dials of a probe, bounded in rate and time.

The targets take turns, so that what the time limit leaves out is the last attempt of all before the first of any. Not
the business of this module: a single dial (``dialling``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from nodeport_access.probe.attempts import NOT_DIALLED, Attempt, Bounds, Result
from nodeport_access.probe.plans import Target

MOST_AT_ONCE = 200
"""Open sockets; a process may have 1,024 files on many machines."""


async def dial_all(
    targets: Sequence[Target],
    *,
    dial: Callable[[Target], Awaitable[Attempt]],
    bounds: Bounds,
    told: Callable[[], None] = lambda: None,
) -> list[tuple[Attempt, ...]]:
    """The attempts of each target, in the order of the targets; ``told`` is called as each dial ends. Raises what
    ``dial`` raises."""
    begun = asyncio.get_running_loop().time()
    free = asyncio.Semaphore(MOST_AT_ONCE)
    attempts = [[NOT_DIALLED] * bounds.attempts for _ in targets]

    async def attempt(target: int, turn: int) -> None:
        try:
            attempts[target][turn] = await _timed(lambda: dial(targets[target]), since=begun)
        finally:
            free.release()
        told()

    # TimeoutError is the time limit's alone: a dial tells of its own as a result.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(bounds.time_limit), asyncio.TaskGroup() as dials:
            for turn in range(bounds.attempts):
                for target in range(len(targets)):
                    await free.acquire()
                    attempts[target][turn] = replace(NOT_DIALLED, result=Result.CUT_OFF)
                    dials.create_task(attempt(target, turn))
                    await asyncio.sleep(1 / bounds.rate)
    return [tuple(each) for each in attempts]


async def _timed(dial: Callable[[], Awaitable[Attempt]], *, since: float) -> Attempt:
    loop = asyncio.get_running_loop()
    began = loop.time()
    made = await dial()
    return replace(made, began=began - since, seconds=loop.time() - began)
