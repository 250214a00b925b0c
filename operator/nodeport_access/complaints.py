"""How often the same complaint is logged: at once, then once a minute for as long as it lasts.

Not the business of this module: what is complained of.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable

EVERY_SECONDS = 60.0
API_SERVER = "the API server"
"""The topic of all who get no answer: they say it with one voice."""


class Complaints:
    """Remembers what was said within the last ``every`` seconds of ``time``, and nothing older."""

    def __init__(self, *, time: Callable[[], float], every: float = EVERY_SECONDS) -> None:
        self._time = time
        self._every = every
        # In the order in which they were said, so that only the oldest have to be looked at.
        self._said: dict[Hashable, float] = {}

    def due(self, topic: Hashable) -> bool:
        """Whether it is time to speak of this; a yes counts as having spoken."""
        now = self._time()
        while self._said and now - self._said[oldest := next(iter(self._said))] >= self._every:
            del self._said[oldest]
        if topic in self._said:
            return False
        self._said[topic] = now
        return True

    def settle(self, topic: Hashable) -> None:
        """It is over: should it come again, that is news."""
        self._said.pop(topic, None)
