"""Until when an operator must have seen what happened in the world, from when its sight was troubled.

Not its business: what troubles it (`adversity`), and what follows from what it has seen (`judge`).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from math import inf

LAG = 8.0
"""Seconds after which an operator in no trouble has heard of what happened, on a machine under load."""
RECOVERY = 12.0
"""Seconds after a trouble until that is so again: watches begin anew after up to 10 s."""

SETTLING = 3.0
"""Seconds after a trouble until connections are as many as they were."""


class Sight:
    """Of all replicas together: it is as bad as that of the worst."""

    def __init__(self, *, time: Callable[[], float] = time.monotonic) -> None:
        self._time = time
        self._troubled_since = inf
        self._troubled_until = -inf

    @contextlib.contextmanager
    def troubled(self) -> Iterator[None]:
        """During the block, and a while after it. Troubles that come soon after another are one."""
        now = self._time()
        if not self._is_troubled(now):
            self._troubled_since = now
        self._troubled_until = inf
        try:
            yield
        finally:
            self._troubled_until = self._time()

    def is_clear(self, now: float) -> bool:
        """Whether nothing is in its way, and has not been for some seconds."""
        return self._troubled_until < now - SETTLING

    def seen_until(self, now: float) -> float:
        """Whatever was over before this moment, no operator acts upon at ``now`` any more, nor later.

        That is a few seconds ago where nothing troubles its sight, nor has lately; else as long before that began.
        """
        return (min(now, self._troubled_since) if self._is_troubled(now) else now) - LAG

    def _is_troubled(self, now: float) -> bool:
        return self._troubled_until > now - RECOVERY
