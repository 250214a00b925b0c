"""How long to out-wait a writer that keeps taking a Service's externalTrafficPolicy back, instead of fighting it in a
hot loop.

The first repair is immediate; every one that is undone soon after doubles the interval before the next. Pure: time is
passed in. Not the business of this module: what the repair writes (``plan``).
"""

from __future__ import annotations

from dataclasses import dataclass

from nodeport_access.api import ServiceKey

FIRST_INTERVAL = 1.0
"""Seconds between the first repair and the second."""
LONGEST_INTERVAL = 300.0
"""Seconds between repairs at the most: a writer that gave up is noticed within this time."""
QUIET = 60.0
"""Seconds, and at least twice the current interval, that a repair has to last for the row to be over."""


@dataclass(frozen=True, slots=True)
class _Row:
    repairs: int
    last: float
    writer: str

    @property
    def interval(self) -> float:
        return float(min(FIRST_INTERVAL * 2 ** min(self.repairs - 1, 16), LONGEST_INTERVAL))

    def over(self, now: float) -> bool:
        return now - self.last > max(QUIET, 2 * self.interval)


class Contention:
    """Rows of repairs, by Service; a row that is over is forgotten when it is looked at."""

    def __init__(self) -> None:
        self._rows: dict[ServiceKey, _Row] = {}

    def delay(self, key: ServiceKey, *, now: float) -> float:
        """Seconds until the next repair is due; 0 where it is due at once."""
        row = self._row(key, now)
        return 0.0 if row is None else max(0.0, row.last + row.interval - now)

    def contender(self, key: ServiceKey, *, now: float) -> str:
        """The field manager that took the field back at least twice in the current row; empty where nobody did."""
        row = self._row(key, now)
        return row.writer if row is not None and row.repairs > 1 else ""

    def repaired(self, key: ServiceKey, *, writer: str, now: float) -> None:
        """Counts a repair of somebody else's doing."""
        row = self._row(key, now)
        self._rows[key] = _Row(row.repairs + 1 if row else 1, now, writer or "an unknown writer")

    def forget(self, key: ServiceKey) -> None:
        """Drops the row of a Service that is no longer ours to repair."""
        self._rows.pop(key, None)

    def _row(self, key: ServiceKey, now: float) -> _Row | None:
        row = self._rows.get(key)
        if row is not None and row.over(now):
            del self._rows[key]
            return None
        return row
