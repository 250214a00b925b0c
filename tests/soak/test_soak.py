"""That a soak finds a bug; and a soak of a minute, or of as many as MINUTES says (`make soak`: an hour).

SEED asks for the same edits and the same adversity again; what comes of it is a race.
"""

from __future__ import annotations

import faulthandler
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from testbed.control_plane import ControlPlane
from tests.soak.soak import Broken, Soak

FOUND_FASTEST = "deletes_before_it_creates"
FOUND_WITHIN = 900.0
"""Seconds; as a rule it takes one or two minutes. The first write that shows it is the last."""

MakeSoak = Callable[..., Soak]


@pytest.fixture(scope="session")
def seed() -> int:
    return int(os.environ.get("SEED", "1"))


@pytest.fixture
def make_soak(plane: ControlPlane, tmp_path: Path, seed: int) -> Iterator[MakeSoak]:
    """Soaks of so many seconds, by the bug that is planted in the operator, if any."""
    faulthandler.cancel_dump_traceback_later()  # it takes its time by intention
    soaks: list[Soak] = []

    def make(*, seconds: float, bug: str = "") -> Soak:
        soaks.append(Soak(plane, folder=tmp_path, seed=seed, seconds=seconds, bug=bug))
        return soaks[-1]

    yield make
    for soak in soaks:
        soak.close()


@pytest.mark.long
def test_a_planted_bug_is_found_by_the_rule(make_soak: MakeSoak) -> None:
    with pytest.raises(Broken, match=r"this is wrong:\nafter .*(got in|cut off)"):
        make_soak(seconds=FOUND_WITHIN, bug=FOUND_FASTEST).run()


def test_through_a_soak_nobody_gets_in_nothing_grows_and_at_the_end_all_is_as_it_should_be(
    make_soak: MakeSoak, seed: int
) -> None:
    soak = make_soak(seconds=60 * float(os.environ.get("MINUTES", "1")))
    print(f"SEED={seed}")
    try:
        soak.run()
    finally:
        print(soak.report())
    lines = [line for log in soak.logs() for line in log.read_text().splitlines()]
    assert [line for line in lines if "by a fault of the operator" in line] == []
