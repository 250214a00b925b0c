"""The engines, once for all tests, and what was asked of them, told at the end of a run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.oracles.engines import Oracles
from tests.oracles.np_guard import published
from tests.oracles.tally import Tally

TALLIES: list[Tally] = []


@pytest.fixture(scope="session")
def oracles() -> Iterator[Oracles]:
    """All engines, waiting for questions."""
    with Oracles() as found:
        yield found


@pytest.fixture
def tally(request: pytest.FixtureRequest) -> Tally:
    """Counts what one test asks, for the end of the run."""
    TALLIES.append(Tally(title=request.node.name))
    return TALLIES[-1]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if isinstance(missing := published.tests(), str):
        terminalreporter.write_line(f"np-guard's test folders were not run: {missing}")
    for tally in TALLIES:
        for line in tally.lines():
            terminalreporter.write_line(line)
