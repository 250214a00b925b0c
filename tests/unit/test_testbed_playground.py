"""`make down` ends what `make up` recorded, and never a stranger who got the same number."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from testbed import playground
from testbed.playground import STARTING, UP, NotUp, State
from testbed.processes import ProcessIdentity


def test_down_leaves_a_stranger_with_the_recorded_number_alone(tmp_path: Path) -> None:
    said: list[str] = []
    with subprocess.Popen(["sleep", "60"]) as stranger:
        here = ProcessIdentity.of(stranger.pid)
        assert here is not None
        recorded = ProcessIdentity(pid=stranger.pid, started="1", boot=here.boot)
        State(owner=recorded, phase=UP).write(tmp_path)

        playground.down(say=said.append, folder=tmp_path)

        assert here.is_running()
        stranger.kill()
    assert said == ["Nothing was up."]
    assert not tmp_path.exists()


def test_down_ends_what_is_recorded(tmp_path: Path) -> None:
    said: list[str] = []
    with subprocess.Popen(["sleep", "60"]) as owner:
        recorded = ProcessIdentity.of(owner.pid)
        assert recorded is not None
        State(owner=recorded, phase=STARTING).write(tmp_path)

        playground.down(say=said.append, folder=tmp_path)

        assert not recorded.is_running()
    assert said == ["Everything has ended."]


def test_down_with_nothing_up_is_no_failure(tmp_path: Path) -> None:
    said: list[str] = []

    playground.down(say=said.append, folder=tmp_path / "none")

    assert said == ["Nothing is up."]


def test_status_of_nothing_says_how_to_start(tmp_path: Path) -> None:
    with pytest.raises(NotUp, match="`make up` starts it"):
        playground.status(say=print, folder=tmp_path)
    gone = ProcessIdentity(pid=1, started="1", boot="another")
    State(owner=gone, phase=UP).write(tmp_path)

    with pytest.raises(NotUp, match="Nothing is up"):
        playground.status(say=print, folder=tmp_path)
