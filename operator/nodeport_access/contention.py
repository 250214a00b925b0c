"""How long to out-wait a writer that keeps taking a field of ours back, instead of fighting it in a hot loop.

The first repair is immediate; every one that is undone soon after doubles the interval before the next. Where the
writer changes who gets in, the interval stays short, so that a fight never becomes a way in. Pure: time is passed in.
Not the business of this module: what the repair writes (``plan``), and what is fought over (``reconcile``).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from nodeport_access.api import ServiceKey

QUIET = 60.0
"""Seconds, and at least twice the current interval, that a repair has to last for the row to be over."""

ON_TIME = 0.001
"""Seconds that a repair may be early: the sum of two floats may never come to the third."""


class Pace(Enum):
    """Seconds between the first repair and the second, and between repairs at the most."""

    PATIENT = (1.0, 300.0)
    """A writer that gave up is noticed within the longest interval."""
    URGENT = (0.05, 1.0)
    """For what changes who gets in: a writer that never gives up costs one write a second for each object."""

    def interval(self, repairs: int) -> float:
        """Seconds between the last of so many repairs and the next."""
        first, longest = self.value
        return float(min(first * 2 ** min(repairs - 1, 16), longest))


@dataclass(frozen=True, slots=True)
class _Row:
    repairs: int
    last: float
    writer: str

    def over(self, now: float) -> bool:
        return now - self.last > max(QUIET, 2 * Pace.PATIENT.interval(self.repairs))


class Contention:
    """Rows of repairs, by Service and what is fought over; a row that is over is forgotten when it is looked at."""

    def __init__(self) -> None:
        self._rows: dict[ServiceKey, dict[str, _Row]] = {}

    def delay(self, key: ServiceKey, what: str, *, pace: Pace, now: float) -> float:
        """Seconds until the next repair is due; 0 where it is due at once."""
        row = self._row(key, what, now)
        left = 0.0 if row is None else row.last + pace.interval(row.repairs) - now
        return left if left > ON_TIME else 0.0

    def going_on(self, key: ServiceKey, what: str, *, now: float) -> bool:
        """Whether this was repaired before, in a row that is not over."""
        return self._row(key, what, now) is not None

    def contender(self, key: ServiceKey, what: str, *, now: float) -> str:
        """The field manager that took the field back at least twice in the current row; empty where nobody did."""
        row = self._row(key, what, now)
        return row.writer if row is not None and row.repairs > 1 else ""

    def fights(self, *, now: float) -> Iterator[tuple[ServiceKey, int]]:
        """Each Service with what somebody took back at least twice in a row that is not over, counted."""
        for key, rows in self._rows.items():
            if count := sum(row.repairs > 1 and not row.over(now) for row in rows.values()):
                yield key, count

    def repaired(self, key: ServiceKey, what: str, *, writer: str, now: float) -> None:
        """Counts a repair of somebody else's doing."""
        row = self._row(key, what, now)
        rows = self._rows.setdefault(key, {})
        rows[what] = _Row(row.repairs + 1 if row else 1, now, writer or "an unknown writer")

    def tidy(self, key: ServiceKey, *, now: float) -> None:
        """Drops the rows of a Service that are over, also of what nobody asks about any more."""
        for what in [*self._rows.get(key, ())]:
            self._row(key, what, now)

    def forget(self, key: ServiceKey) -> None:
        """Drops the rows of a Service that is no longer ours to repair."""
        self._rows.pop(key, None)

    def _row(self, key: ServiceKey, what: str, now: float) -> _Row | None:
        rows = self._rows.get(key, {})
        row = rows.get(what)
        if row is not None and row.over(now):
            del rows[what]
            if not rows:
                del self._rows[key]
            return None
        return row
