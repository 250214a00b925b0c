"""Notices when wall time is set, or the machine has slept: whatever waits for a moment of wall time must look again.
And how wall time is written where the API wants parts of a second.

Sleeping is done by monotonic time, which nobody sets. Not the business of this module: what waits (``reconcile``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from logging import Logger
from typing import NoReturn

EVERY_SECONDS = 0.5
"""Between two looks: an entry ends within a second of its time, also when that comes by a step of the clock."""
TOLERANCE_SECONDS = 0.25
"""A step, or the sum of smaller ones, that nobody has to look again for."""


class WallClock:
    """Compares two clocks: ``clock`` is wall time, ``time`` monotonic seconds. ``stepped`` is called after a step."""

    def __init__(
        self, *, clock: Callable[[], datetime], time: Callable[[], float], stepped: Callable[[], None], log: Logger
    ) -> None:
        self._clock = clock
        self._time = time
        self._stepped = stepped
        self._log = log

    async def run(self) -> NoReturn:
        """Looks until it is cancelled."""
        offset = self._offset()
        while True:
            await asyncio.sleep(EVERY_SECONDS)
            step = self._offset() - offset
            if abs(step) > TOLERANCE_SECONDS:
                offset += step
                self._log.warning("wall time was set by %+.1f s: looking again at every entry that ends", step)
                self._stepped()

    def _offset(self) -> float:
        """Of a moment in between, should we have been kept waiting between the two."""
        before = self._time()
        now = self._clock().timestamp()
        return now - (before + self._time()) / 2


def micro_time(time: datetime) -> str:
    """RFC 3339 in UTC with microseconds, the form of metav1.MicroTime."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
