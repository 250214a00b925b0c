"""Churn on a real control plane, in small: what changes nothing is met by no write, and what does is told of."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import churn
from bench.contenders import contenders
from bench.measures import CHURN_CALLS, CHURN_CPU, CHURN_RATE, CHURN_WRITES, Life
from bench.world import NODE_PORTS, World
from testbed.control_plane import ControlPlane
from testbed.programs import Programs

SECONDS = 4


@pytest.fixture(scope="module")
def world(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """A small one, on a control plane of its own."""
    folder = tmp_path_factory.mktemp("churn") / "control-plane"
    with ControlPlane(folder=folder, programs=programs, node_ports=NODE_PORTS) as control_plane:
        world = World(control_plane, size=25)
        world.create()
        yield world


@pytest.mark.parametrize(("name", "tells_which_nodes_answer"), [("ours", True), ("bare", False)])
def test_only_what_a_status_tells_of_causes_writes_and_those_once_a_second_at_most(
    name: str, tells_which_nodes_answer: bool, world: World, tmp_path: Path
) -> None:
    contender = contenders([name])[name]
    before = inventory(world)
    life = Life(world=world, contender=contender, folder=tmp_path, churn_seconds=SECONDS, churn_nodes=40)
    try:
        figures = life.run(["churn"])
    finally:
        world.reset()
    for kind in churn.QUIET_KINDS:
        assert figures[CHURN_WRITES[kind]] == 0, kind
    for kind in churn.KINDS:
        assert figures[CHURN_CALLS[kind]] == 0, kind
        assert figures[CHURN_RATE[kind]] > 1, kind
    assert figures[CHURN_CPU[churn.REPLACED]] > 0
    if tells_which_nodes_answer:
        assert 0 < figures[CHURN_WRITES[churn.MOVED]] <= len(world.guarded) * (SECONDS + 2)
    assert inventory(world) == before


def inventory(world: World) -> dict[str, list[str]]:
    """The names of all that churn makes some of."""
    kinds = ("EndpointSlice", "Lease", "Node", "Service")
    return {kind: sorted(one["metadata"]["name"] for one in world.cluster_list(kind)) for kind in kinds}
