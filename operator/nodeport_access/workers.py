"""Workers: they carry out passes, so many at once, and a pass that hangs takes no worker away from the others.

A write that the API server does not answer takes its whole time limit, and the next try again. Not the business of this
module: what a pass is (``reconcile``), and which key comes next (``workqueue``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from nodeport_access.workqueue import ShutDown, WorkQueue

K = TypeVar("K", bound=Hashable)

WORKERS = 16
"""Passes at once; with more, a single API server only queues them."""
SLOW_SECONDS = 2.0
"""A pass that takes longer hangs, and does not count among those; usual ones take hundredths of it."""
MOST_WORKERS = 40
"""With those that hang: fewer than there are connections (``kube.configuration.POOL_SIZE``), so that lists get one."""


class Workers(Generic[K]):
    """Take keys from a queue until it is shut down. ``time`` is monotonic, in seconds."""

    def __init__(
        self, *, queue: WorkQueue[K], carry_out: Callable[[K], Awaitable[None]], time: Callable[[], float]
    ) -> None:
        self._queue = queue
        self._carry_out = carry_out
        self._time = time
        self._group = asyncio.TaskGroup()
        self._there = 0
        self._slow: set[K] = set()
        self._ended_at = time()

    async def run(self) -> None:
        """Returns when the queue is shut down and the last pass has ended. A crash of a pass ends all, as an
        ExceptionGroup."""
        async with self._group:
            for _ in range(WORKERS):
                self._hire()

    def stuck(self) -> float:
        """For how many seconds nothing has moved: no pass has ended, though one was due all the time."""
        return min(self._queue.oldest_age(), self._time() - self._ended_at)

    def _hire(self) -> None:
        self._there += 1
        self._group.create_task(self._work())

    async def _work(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            while self._there - len(self._slow) <= WORKERS:
                key = await self._queue.get()
                timer = loop.call_later(SLOW_SECONDS, self._replace, key)
                try:
                    await self._carry_out(key)
                finally:
                    timer.cancel()
                    self._slow.discard(key)
                    self._queue.done(key)
                    self._ended_at = self._time()
        except ShutDown:
            pass
        finally:
            self._there -= 1

    def _replace(self, slow: K) -> None:
        """Has another do the work of the one that is slow over this key."""
        self._slow.add(slow)
        if self._there < MOST_WORKERS:
            self._hire()
