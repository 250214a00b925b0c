"""A client who connects over and over, at a steady pace, whatever becomes of each connection.

    with steady(lab, Dial(...), origin="stranger") as attempts:
        ...
    [attempt for attempt in attempts if attempt.outcome.fate is Fate.THROUGH]

Not its business: what should have become of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from testbed.lab.dialing import Dial, Outcome, dial
from testbed.lab.lab import Lab

EVERY = 0.02  # seconds


@dataclass(frozen=True, slots=True)
class Attempt:
    """One connection: when it was begun (seconds of the monotonic clock), and what became of it."""

    begun: float
    outcome: Outcome


@contextlib.contextmanager
def steady(
    lab: Lab, request: Dial, *, origin: str, every: float = EVERY, seconds: float = 0.8
) -> Iterator[list[Attempt]]:
    """Dial every so many seconds until the block ends. The list is whole, and in order, when it has ended.

    `seconds` is how long each connection waits for its answer.
    """
    with steadily(lab, [(request, origin)], every=every, seconds=seconds) as (attempts,):
        yield attempts


@contextlib.contextmanager
def steadily(
    lab: Lab, requests: Sequence[tuple[Dial, str]], *, every: float = EVERY, seconds: float = 0.8
) -> Iterator[list[list[Attempt]]]:
    """The same for several at once, which end together; a list for each."""
    lists: list[list[Attempt]] = [[] for _ in requests]

    async def attempt(request: Dial, origin: str, attempts: list[Attempt], begun: float) -> None:
        outcome = await dial(request, origin=lab.network[origin], backends=lab.backends, seconds=seconds)
        attempts.append(Attempt(begun, outcome))

    async def go_on(request: Dial, origin: str, attempts: list[Attempt]) -> None:
        async with asyncio.TaskGroup() as group:
            due = time.monotonic()
            while not ended.is_set():
                group.create_task(attempt(request, origin, attempts, time.monotonic()))
                due = max(due + every, time.monotonic())  # a machine that stood still is not made up for
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(ended.wait(), due - time.monotonic())

    async def begin() -> list[asyncio.Task[None]]:
        return [
            asyncio.create_task(go_on(request, origin, attempts))
            for (request, origin), attempts in zip(requests, lists, strict=True)
        ]

    async def end(tasks: Sequence[asyncio.Task[None]]) -> None:
        ended.set()
        await asyncio.gather(*tasks)

    ended = asyncio.Event()
    tasks = lab.running.run(begin())
    try:
        yield lists
    finally:
        lab.running.run(end(tasks))
        for attempts in lists:
            attempts.sort(key=lambda each: each.begun)
