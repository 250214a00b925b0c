"""How one of many acts at the same time as the others: in a thread of his own, now and then, until all is over.

Not its business: what he does (`writers`).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from random import Random

TAKEN = 4
"""How often the same thing is taken from the operator in one row, so that no repair waits for more than 8 s."""
ROW_SECONDS = 75.0
"""After which a row is over for the operator."""

Act = Callable[[], None]


class Writer(threading.Thread):
    """Acts again and again, until it is told that all is over."""

    def __init__(self, name: str, acts: Mapping[Act, float], *, pause: float, random: Random, over: threading.Event):
        """``acts`` with their weights; ``pause`` is the mean of the seconds between two."""
        super().__init__(name=name, daemon=True)
        self.failure: Exception | None = None
        self._acts = acts
        self._pause = pause
        self._random = random
        self._over = over
        self._acting = threading.Lock()

    def run(self) -> None:
        while not self._over.wait(self._random.expovariate(1 / self._pause)):
            (act,) = self._random.choices(list(self._acts), weights=list(self._acts.values()))
            try:
                with self._acting:
                    act()
            except Exception as failure:
                self.failure = failure
                return

    def between_acts(self) -> None:
        """Returns once what it was doing is done, and written down as its own."""
        with self._acting:
            return


class Rows:
    """Lets the same thing be taken from the operator a few times in a row, and then lets it rest."""

    def __init__(self) -> None:
        self._taken: dict[tuple[str, str], tuple[int, float]] = {}
        self._lock = threading.Lock()

    def may_take(self, namespace: str, what: str) -> bool:
        """Whether it may be taken once more; counts it."""
        now = time.monotonic()
        with self._lock:
            times, last = self._taken.get((namespace, what), (0, now))
            if now - last > ROW_SECONDS:
                times = 0
            if times < TAKEN:
                self._taken[namespace, what] = times + 1, now
            return times < TAKEN
