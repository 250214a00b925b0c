"""Histories: whatever users, strangers, crashes and faults do, in whatever order: once all is quiet, the world is what
a fresh operator would make of it, without one more write, and at no moment was access wider than before and after.

As a rule they are few, and the same every time. With `--long` they are many, long and new, and every planted bug has to
be found (`make test-histories`).
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from testbed import scenario
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import install
from testbed.programs import Programs
from tests.api.histories.machine import NAMESPACES, histories_in
from tests.api.histories.planted import BUGS
from tests.api.histories.world import Broken, World

FOUND_FASTEST = "deletes_before_it_creates"
MOST_BATCHES = 12
"""In which a bug has to be found; the first one that shows it is the last."""


@dataclass(frozen=True, slots=True)
class Measure:
    """How many batches of histories (one in each of NAMESPACES) of how many steps, and which ones."""

    batches: int
    steps: int
    seed: int
    long: bool


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "bug" in metafunc.fixturenames:
        metafunc.parametrize("bug", list(BUGS) if metafunc.config.getoption("--long") else [FOUND_FASTEST])


@pytest.fixture(scope="module")
def measure(long: bool) -> Measure:
    """As the environment says: HISTORIES batches of HISTORIES_SEED."""
    batches, seed = (50, random.randrange(10**9)) if long else (3, 1)
    return Measure(
        batches=int(os.environ.get("HISTORIES", batches)),
        steps=200 if long else 60,
        seed=int(os.environ.get("HISTORIES_SEED", seed)),
        long=long,
    )


@pytest.fixture(scope="module")
def ground(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for histories alone: its parts are ended and started, and only histories happen there."""
    with ControlPlane(folder=tmp_path_factory.mktemp("ground"), programs=programs) as control_plane:
        install(control_plane)
        scenario.create_nodes(Cluster(control_plane))
        yield control_plane


@pytest.fixture
def make_world(ground: ControlPlane, tmp_path: Path) -> Iterator[Callable[[str], World]]:
    """Worlds by the bug that is planted in their operator, "" for none."""
    worlds: list[World] = []

    def make(bug: str) -> World:
        worlds.append(World(ground, folder=tmp_path, bug=bug))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def live_through(world: World, measure: Measure) -> None:
    """Have histories happen, and the fresh operator look at what they come to. Raises the first failure."""
    wanted = settings(
        max_examples=measure.batches,
        stateful_step_count=measure.steps,
        # What failed is not tried again, neither to shrink it nor the next time: in a world that races it would take
        # another course. The story of one namespace is short enough, and the seed brings back what was tried.
        phases=[Phase.generate],
        database=None,
        deadline=None,  # a step waits for real programs
        suppress_health_check=[HealthCheck.too_slow],  # for the same reason
    )
    try:
        histories = hypothesis.seed(measure.seed)(histories_in(world, long=measure.long))
        run_state_machine_as_test(histories, settings=wanted)
        world.assert_a_fresh_operator_writes_nothing()
    except Exception as failure:
        first = world.failure or failure
        first.add_note(f"after {world.batches * NAMESPACES} histories; HISTORIES_SEED={measure.seed} tries the same")
        raise first from None


def test_whatever_happens_the_world_ends_as_a_fresh_operator_would_make_it(
    make_world: Callable[[str], World], measure: Measure
) -> None:
    live_through(make_world(""), measure)


def test_a_planted_bug_is_found(
    bug: str, make_world: Callable[[str], World], measure: Measure, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make_world(bug)
    with pytest.raises(Broken) as found:
        live_through(world, replace(measure, batches=max(measure.batches, MOST_BATCHES)))
    if measure.long:
        first_line = str(found.value).partition("this is wrong:\n")[2].splitlines()[0]
        with capsys.disabled():
            print(f"\n{bug}: found after {world.batches * NAMESPACES} histories:{first_line[:300]}")
