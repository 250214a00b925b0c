"""What a run has found, told at its end: the tables of what packets did, and the figures that were measured.

A test hands in what it found as properties of its own report, which reach the run's end from any worker.

Not its business: what the tables look like (`tests.lab.tables`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import cast

import pytest

from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from tests.lab.setups import SET_UPS, TYPED, SetUp
from tests.lab.tables import LEGEND, Marks, as_text, merged

_TABLE, _FIGURE = "lab table", "lab figure"


class Report:
    """What one test tells."""

    def __init__(self, record: Callable[[str, object], None]) -> None:
        self._record = record

    def table(self, set_up: SetUp, mode: Mode, placement: Placement | None, marks: str) -> None:
        """What packets did, in one mode and placement."""
        self._record(_TABLE, [set_up.key, str(mode), str(placement or ""), marks])

    def figure(self, text: str) -> None:
        """A sentence with what was measured."""
        self._record(_FIGURE, text)


def figures(reports: Iterable[pytest.TestReport]) -> list[str]:
    """All that was measured, in the alphabet's order: tests end in any."""
    return sorted(str(value) for report in reports for name, value in report.user_properties if name == _FIGURE)


def tables(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """A text for each table, in the order of the set-ups."""
    found: dict[tuple[str, str], dict[Mode, str]] = {}
    for report in reports:
        for name, value in report.user_properties:
            if name == _TABLE:
                key, mode, placement, letters = cast(list[str], value)
                found.setdefault((key, placement), {})[Mode(mode)] = letters
    for set_up in (*SET_UPS, *TYPED):
        placements = {placement: _ordered(marks) for (key, placement), marks in found.items() if key == set_up.key}
        for alike, table in merged(placements).items():
            modes = " and ".join(placements[alike[0]])
            where = f"; verdicts: {', '.join(sorted(alike))}" if any(alike) else ""
            yield f"{set_up.title}\n(kube-proxy: {modes}{where})\n\n{as_text(table)}\n"


def _ordered(marks: Marks) -> Marks:
    return {mode: marks[mode] for mode in Mode if mode in marks}


def summary(reports: Iterable[pytest.TestReport]) -> Iterator[str]:
    """The end of a run."""
    reports = list(reports)
    if drawn := list(tables(reports)):
        legend = "; ".join(f"{mark} {meaning}" for mark, meaning in LEGEND.items())
        yield f"Who gets in: {legend}.\nTCP over IPv4; what differs is below each table.\n"
        yield from drawn
    yield from figures(reports)
