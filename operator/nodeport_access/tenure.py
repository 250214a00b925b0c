"""For how long this process may write, by its own clock.

Not the business of this module: how a tenure is won and prolonged (``election``), and who asks before a write
(``kube.wire``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from math import inf

LEASE_SECONDS = 15.0
"""For so long after it was last seen to change a lease is its holder's: client-go's LeaseDuration."""
RENEW_SECONDS = 10.0
"""For so long after a renewal was begun its holder goes on without another one: client-go's RenewDeadline."""
LAST_SECONDS = 4.0
"""What a write that was begun in the last moment of a tenure gets to end. With the time to renew it is less than
``LEASE_SECONDS``: nobody else can have taken the lease before."""


def boot_time() -> float:
    """Seconds on a clock that goes on while the machine sleeps, which a monotonic one does not on Linux."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class Tenure:
    """Whether this process leads. ``time`` is in seconds, and does not stand still while the process does; where nobody
    is ``elected``, every process leads for ever."""

    def __init__(self, *, elected: bool, time: Callable[[], float] = boot_time) -> None:
        self._time = time
        self._until = -inf if elected else inf
        self._begun = asyncio.Event()
        if not elected:
            self._begun.set()

    @property
    def leads(self) -> bool:
        """Whether a write may be begun now."""
        return self._time() < self._until

    @property
    def until(self) -> float:
        """When it ends, by its clock, unless it is prolonged."""
        return self._until

    def write_seconds(self) -> float:
        """What a write that is begun now may take in all; 0 where none may be begun."""
        left = self._until - self._time()
        return left + LAST_SECONDS if left > 0 else 0.0

    async def wait(self) -> None:
        """Returns when it has begun."""
        await self._begun.wait()

    def prolong(self, *, renewed_at: float) -> None:
        """Takes a renewal that has succeeded, and when it was begun. One that took too long begins no tenure."""
        self._until = renewed_at + RENEW_SECONDS
        if self.leads:
            self._begun.set()

    def end(self) -> None:
        """No write is begun from now on."""
        self._until = -inf
