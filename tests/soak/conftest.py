"""A control plane for a soak alone: the soak reads all that happens on it.

The real programs are required: without them the run fails, with one sentence that says what to install.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import scenario
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import install
from testbed.programs import Programs
from tests.api.replicas import OVERLAY
from tests.programs import found


@pytest.fixture(scope="session", autouse=True)
def alone(no_other_cluster: None) -> None:
    """Every test here."""


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The real programs of the control plane."""
    return found(request)


@pytest.fixture
def plane(programs: Programs, tmp_path: Path) -> Iterator[ControlPlane]:
    """With what two replicas need."""
    with ControlPlane(folder=tmp_path / "control-plane", programs=programs) as plane:
        install(plane)
        plane.kubectl("apply", "-k", OVERLAY)
        scenario.create_nodes(Cluster(plane))
        yield plane
