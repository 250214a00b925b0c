"""Writes that the API server has asked to put off (``Retry-After``): which, for how long, and what it said.

An event brings a Service back whenever it likes, so the queue alone could not keep such a promise. Pure: time is passed
in. Not the business of this module: the backoff of failures for which no time was named (``workqueue``).
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeport_access.api import ServiceKey
from nodeport_access.outcome import Failure

LONGEST_SECONDS = 30.0
"""The most that is granted, so that no wild answer leaves a door open for long; watches grant as much."""


@dataclass(frozen=True, slots=True)
class _PutOff:
    until: float
    failure: Failure


class Patience:
    """What was put off, by Service and by what was to be written."""

    def __init__(self) -> None:
        self._put_off: dict[ServiceKey, dict[str, _PutOff]] = {}

    def put_off(self, key: ServiceKey, what: str, failure: Failure, *, now: float) -> float:
        """Remembers a failure that named a time; seconds until then, 0 where it named none."""
        seconds = min(failure.retry_after, LONGEST_SECONDS)
        if seconds > 0:
            self._put_off.setdefault(key, {})[what] = _PutOff(now + seconds, failure)
        return seconds

    def still(self, key: ServiceKey, what: str, *, now: float) -> tuple[Failure, float] | None:
        """Why this is not to be written yet, and for how many seconds."""
        found = self._put_off.get(key, {}).get(what)
        return (found.failure, found.until - now) if found is not None and found.until > now else None

    def tidy(self, key: ServiceKey, *, now: float) -> None:
        """Forgets what is over."""
        left = {what: each for what, each in self._put_off.pop(key, {}).items() if each.until > now}
        if left:
            self._put_off[key] = left
