"""How good the operator has to be: for each figure the bar that the benchmark holds it to, and beside it the generous
one of CI, which only a real regression breaks.

Not its business: measuring (`bench.measures`), and where figures come from (`bench.results`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from statistics import median
from typing import TypeAlias

from bench import churn, compiling, measures
from bench.results import OURS, Results
from nodeport_access.workers import WORKERS

Limit: TypeAlias = float | Callable[[int], float]
"""In the unit of the figure, or of the rival's figure; some grow with N."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """What a figure of ours may be at most: times that of a `rival` where there is one. `exact` holds from so many
    policies on; `in_ci` at any number, on any machine, and is None where CI does not measure it."""

    figure: str
    exact: Limit
    rival: str | None = None
    from_size: int = 1
    in_ci: Limit | None = None


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What became of a bar at one size: `value` is the median over the rounds, of the ratios where there is a rival."""

    bar: Bar
    size: int
    value: float
    limit: float

    @property
    def met(self) -> bool:
        return self.value <= self.limit


def _resident(size: int) -> float:
    return 100 + 12 * size / 1024


BARS: tuple[Bar, ...] = (
    Bar(figure=measures.APPLIED_SINCE_FIRST, rival="bare", exact=1.2, from_size=1000, in_ci=4),
    Bar(figure=measures.APPLIED_SINCE_FIRST, rival="go", exact=1, from_size=1000),
    Bar(figure=measures.APPLIED_SINCE_FIRST, rival="kopf", exact=0.5, from_size=1000),
    Bar(figure=measures.WRITES, exact=4, in_ci=4.2),
    Bar(figure=measures.RESIDENT, exact=_resident, in_ci=lambda size: 1.5 * _resident(size)),
    Bar(figure=measures.IDLE_CPU, exact=0.5, from_size=5000),
    Bar(figure=measures.IDLE_CALLS, exact=0, in_ci=0),
    Bar(figure=measures.DRIFT_P50, rival="bare", exact=1.5, in_ci=15),
    Bar(figure=measures.DRIFT_P99, rival="bare", exact=1.5, from_size=5000),
    Bar(figure=measures.STORM, rival="bare", exact=2, in_ci=6),
    Bar(figure=measures.CLOSING_OTHERS, exact=WORKERS, in_ci=WORKERS),  # one that each of them was about
    Bar(figure=measures.REPAIR, rival="bare", exact=2, from_size=1000, in_ci=10),
    Bar(figure=measures.REPAIR, rival="go", exact=1, from_size=1000),
    Bar(figure=measures.RESTART_QUIET, rival="bare", exact=4, from_size=1000),
    Bar(figure=measures.RESTART_QUIET, rival="go", exact=1, from_size=1000),
    Bar(figure=measures.RESTART_WRITES, exact=0, in_ci=0),
    *(Bar(figure=measures.CHURN_WRITES[kind], exact=0) for kind in churn.QUIET_KINDS),
    *(Bar(figure=figure, rival="plain", exact=1.5) for figure in compiling.TIMES.values()),
)


def exact(results: Results) -> Iterator[Verdict]:
    """What became of every bar that these results measure."""
    for bar in BARS:
        yield from _verdicts(results, bar, bar.exact, sizes=[size for size in results.sizes if size >= bar.from_size])


def in_ci(results: Results) -> Iterator[Verdict]:
    """The same by the bars of CI. Raises ValueError where one of them was not measured: a bar that is not looked at is
    always met."""
    for bar in BARS:
        if bar.in_ci is not None:
            found = list(_verdicts(results, bar, bar.in_ci, sizes=results.sizes))
            if not found:
                raise ValueError(f"not measured: {bar.figure}")
            yield from found


def at(limit: Limit, *, size: int) -> float:
    """What a limit is where there are so many policies."""
    return limit(size) if callable(limit) else limit


def _verdicts(results: Results, bar: Bar, limit: Limit, *, sizes: list[int]) -> Iterator[Verdict]:
    for size in sizes:
        if bar.rival:
            values = results.ratios(size=size, rival=bar.rival, figure=bar.figure)
        else:
            values = list(results.values(size=size, contender=OURS, figure=bar.figure).values())
        if values:
            yield Verdict(bar=bar, size=size, value=median(values), limit=at(limit, size=size))
