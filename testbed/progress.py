"""One line on standard error for each step that takes time, with the time since the start.

Not its business: what the steps are.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable


class Progress:
    """Says what happens. Times are minutes and seconds since it was made."""

    def __init__(
        self,
        *,
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr, flush=True),
        monotonic: Callable[[], float] = time.monotonic,
        heartbeat_seconds: float = 30.0,
    ) -> None:
        self._say = say
        self._monotonic = monotonic
        self._heartbeat_seconds = heartbeat_seconds
        self._start = self._last = monotonic()

    def step(self, text: str) -> None:
        """Something begins or has ended."""
        self._last = self._monotonic()
        self._say(f"[{minutes(self._last - self._start)}] {text}")

    def still(self, text: str) -> None:
        """Something goes on: said only when nothing was said for a while, so call it as often as you like."""
        if self._monotonic() - self._last >= self._heartbeat_seconds:
            self.step(text)


def minutes(seconds: float) -> str:
    """`754` as `12:34`."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
