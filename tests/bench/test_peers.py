"""The rivals of the benchmarks come to what the operator comes to, or beating them would mean nothing.

Compared are the four objects of each policy.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.contenders import Contender, contenders
from bench.measures import STORM_TOLD, Life
from bench.world import NODE_PORTS, World
from testbed.control_plane import ControlPlane
from testbed.programs import Programs
from tests.bench.outcomes import Json, outcome, own

RIVALS = ("bare", "go", "kopf")


@pytest.fixture(scope="module")
def world(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A small one, on a control plane of its own: the rivals would guard what other tests have there."""
    folder = tmp_path_factory.mktemp("bench") / "control-plane"
    with ControlPlane(folder=folder, programs=programs, node_ports=NODE_PORTS) as control_plane:
        world = World(control_plane, size=3)
        world.create()
        yield world


@pytest.fixture(scope="module")
def everybody() -> dict[str, Contender]:
    return dict(contenders())


@pytest.fixture(scope="module")
def ours(world: World, everybody: dict[str, Contender], tmp_path_factory: pytest.TempPathFactory) -> list[Json]:
    return outcome(world, everybody["ours"], folder=tmp_path_factory.mktemp("ours"))


@pytest.mark.parametrize("name", RIVALS)
def test_a_rival_comes_to_what_the_operator_comes_to(
    name: str, world: World, everybody: dict[str, Contender], ours: list[Json], tmp_path: Path
) -> None:
    assert outcome(world, everybody[name], folder=tmp_path) == ours


@pytest.mark.parametrize("name", ["ours", *RIVALS])
def test_every_contender_repairs_what_somebody_opens_and_is_measured_by_it(
    name: str, world: World, everybody: dict[str, Contender], tmp_path: Path
) -> None:
    life = Life(world=world, contender=everybody[name], folder=tmp_path, drifts=3)
    try:
        figures = life.run(["converge", "drift", "storm", "closing"])
    finally:
        world.reset()
    assert 0 < figures["drift repaired, p50 [ms]"] <= figures["drift repaired, p99 [ms]"]
    assert figures["applied, from the first request on [s]"] < figures["applied, start-up included [s]"]
    assert figures["writes per policy"] >= 4
    assert figures["storm, first change to last repair [s]"] <= figures[STORM_TOLD]
    repaired = figures.get("storm that closes, one Service opened in it repaired [ms]", 0)
    assert (repaired > 0) == ("closing" not in everybody[name].left_out)


def test_a_reset_world_is_as_it_was_made(world: World) -> None:
    """Nothing of the one before may help or hinder the next."""
    world.reset()
    assert "0 of 6 NetworkPolicies" in world.missing()
    for one in world.cluster_list("NodePortAccessPolicy"):
        assert "conditions" not in one["status"]
    for one in own(world, "Service"):
        assert one["spec"]["externalTrafficPolicy"] == "Cluster"
        assert "labels" not in one["metadata"]
        assert [entry["manager"] for entry in one["metadata"].get("managedFields", ())] == []
