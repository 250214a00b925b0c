"""What the tests in the dataplane lab share: one lab for the run, its stage set anew for every test.

The lab takes the process out of the machine's network, so these tests run by themselves: `make test-lab`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from xdist.remote import Producer  # type: ignore[import-untyped]  # it ships no types
from xdist.scheduler import LoadScopeScheduling  # type: ignore[import-untyped]  # the same

from testbed.lab import machine, stage
from testbed.lab.lab import Lab
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.programs import CONTROL_PLANE, DATAPLANE, Programs
from tests.lab.report import Report, figures, summary
from tests.programs import found


@pytest.fixture(scope="session", autouse=True)
def alone(no_other_cluster: None) -> None:
    """Every test here."""


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The real programs. Nothing goes on without them, or on a machine that cannot run the lab."""
    if unable := machine.missing():
        pytest.exit(unable, returncode=1)
    return found(request, *CONTROL_PLANE, *DATAPLANE)


@pytest.fixture(scope="session")
def standing_lab(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The run's lab, with what `testbed.lab.stage` puts there, and the operator."""
    lab = Lab(folder=tmp_path_factory.mktemp("lab"), programs=programs)
    try:
        stage.create(lab)
        lab.start_operator()
        yield lab
        # A pass that fails by a bug ends nothing, and may be made good by the next: nobody would notice.
        assert [line for line in lab.operator_log_lines() if "by a fault of the operator" in line] == []
    finally:
        lab.close()


@pytest.fixture
def lab(standing_lab: Lab) -> Iterator[Lab]:
    """The lab as `testbed.lab.stage` sets it: no policy of any kind, the Service under Cluster, its pod on node-2."""
    stage.reset(standing_lab)
    yield standing_lab
    standing_lab.operator.resume()
    stage.reset(standing_lab)


# --- which tests run side by side -------------------------------------------------------------------------------------


class ByArrangement(LoadScopeScheduling):  # type: ignore[misc]  # so it is Any to mypy
    """Each worker has a lab of its own. The tests of a module that want the same on the nodes go to one of them."""

    def _split_scope(self, nodeid: str) -> str:
        module, _, parameters = nodeid.partition("[")
        arranged = [word for word in re.split(r"[-\]]", parameters) if word in (*Mode, *Placement)]
        return " ".join([module.partition("::")[0], *sorted(arranged)])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByArrangement:
    """Marks of xdist_group would say the same, but pytest 9.2 does not let xdist 3.8 change a test's id."""
    return ByArrangement(config, log)


# --- what is told at the end of the run -------------------------------------------------------------------------------


@pytest.fixture
def report(record_property: Callable[[str, object], None]) -> Report:
    """Takes what the test found, to be told at the run's end."""
    return Report(record_property)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--figures", metavar="FILE", help="write what was measured into this file")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print the tables and the figures, or the figures into a file."""
    passed = terminalreporter.getreports("passed")
    told = list(summary(passed))
    if told:
        terminalreporter.section("what packets did")
        for text in told:
            terminalreporter.write_line(text)
    if target := config.getoption("--figures"):
        Path(target).write_text("".join(f"{figure}\n" for figure in figures(passed)), encoding="utf-8")
