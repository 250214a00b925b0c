"""A real control plane of their own is what these tests need, and the rivals' programs."""

from __future__ import annotations

import pytest

from testbed.programs import Programs
from tests.programs import found


@pytest.fixture(scope="session", autouse=True)
def alone(no_other_cluster: None) -> None:
    """Every test here."""


@pytest.fixture(scope="session")
def programs(request: pytest.FixtureRequest) -> Programs:
    """The real programs of the control plane."""
    return found(request)
