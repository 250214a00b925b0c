"""Repairs that status does not tell of yet: while one Service after the other drifts, statuses would be half of all
writes, and what is open is shut before anything is told.

Not the business of this module: which repairs come first (``workqueue``), or what status says (``status``).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection

from nodeport_access.api import ServiceKey

PRESS, PRESS_SECONDS = 8, 1.0
"""So many Services repaired within so many seconds are no single events any more."""
LONGEST_SECONDS = 30.0
"""For how long a repair may stay untold, however long the others go on."""


class Silence:
    """Which Services nothing is told of, and until when. ``time`` is monotonic, in seconds."""

    def __init__(self, *, time: Callable[[], float]) -> None:
        self._time = time
        self._repairs: deque[float] = deque(maxlen=PRESS)
        self._since: dict[ServiceKey, float] = {}

    @property
    def is_pressed(self) -> bool:
        """Whether Services are repaired one after the other."""
        recent = self._repairs
        return len(recent) == PRESS and self._time() - recent[0] < PRESS_SECONDS

    @property
    def untold(self) -> Collection[ServiceKey]:
        """The Services whose repair is not told of yet."""
        return self._since.keys()

    def repaired(self) -> None:
        """Takes note that a Service was repaired, whichever it was."""
        self._repairs.append(self._time())

    def keeps(self, key: ServiceKey, *, repaired: bool) -> bool:
        """Whether a Service that was repaired now, or is not told of yet, stays so."""
        if not self.is_pressed or not (repaired or key in self._since):
            return False
        self._since.setdefault(key, self._time())
        return self.seconds_left(key) > 0

    def seconds_left(self, key: ServiceKey) -> float:
        """For how many seconds a Service that is not told of may stay so."""
        return self._since[key] + LONGEST_SECONDS - self._time()

    def end(self, key: ServiceKey) -> None:
        """What there is to tell of a Service is told now."""
        self._since.pop(key, None)
