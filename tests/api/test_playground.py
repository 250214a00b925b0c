"""`make up` gives a person a cluster with the operator on it; `make down`, or a crash, takes all of it away."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import playground
from testbed.kubectl import PROGRAM
from testbed.operator_process import ROOT
from testbed.playground import NotUp, State
from testbed.processes import ProcessIdentity
from testbed.programs import Programs
from testbed.running import is_running
from testbed.waiting import wait_for


@pytest.fixture(scope="module")
def folder(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    assert programs.paths
    folder = tmp_path_factory.mktemp("playground") / "state"
    yield folder
    playground.down(say=lambda _: None, folder=folder)


@pytest.fixture
def said(folder: Path) -> str:
    """What `up` says. It is up when the test begins, started by this test or by one before it."""
    lines: list[str] = []
    playground.up(say=lines.append, folder=folder)
    return "\n".join(lines)


def state(folder: Path) -> State:
    found = State.read(folder)
    assert found is not None
    return found


def typed(said: str, *, beginning: str) -> str:
    """The first command that is suggested with these words."""
    return next(line.strip() for line in said.splitlines() if line.strip().startswith(beginning))


def test_what_it_says_to_type_shows_a_guarded_service(said: str, tmp_path: Path) -> None:
    kubeconfig = typed(said, beginning="export KUBECONFIG=").partition("=")[2]
    command = shlex.split(typed(said, beginning=os.path.relpath(PROGRAM, ROOT)))

    # Without a home kubectl keeps its cache in the folder where it runs.
    environment = {"KUBECONFIG": shlex.split(kubeconfig)[0], "HOME": str(tmp_path)}
    shown = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    heading, row = shown.stdout.splitlines()
    columns = dict(zip(heading.split(), row.split(), strict=False))
    assert (columns["NAMESPACE"], columns["NAME"], columns["READY"]) == ("tekton-pipelines", "dashboard", "True")


def test_metrics_are_where_it_says(said: str) -> None:
    url = typed(said, beginning="curl").split()[-1]

    with urllib.request.urlopen(url, timeout=5) as answer:
        assert b"# HELP nodeport_access_" in answer.read()


def test_a_second_up_starts_nothing(said: str, folder: Path) -> None:
    before = state(folder)
    lines: list[str] = []

    playground.up(say=lines.append, folder=folder)

    assert "It is up already." in lines[0]
    assert typed(lines[1], beginning="export") in said
    assert state(folder) == before


@pytest.mark.usefixtures("said")
def test_status_says_what_runs(folder: Path) -> None:
    lines: list[str] = []

    playground.status(say=lines.append, folder=folder)

    running = [line.split()[0] for line in lines if ", process " in line]
    assert running == ["etcd", "kube-apiserver", "kube-controller-manager", "operator"]


@pytest.mark.usefixtures("said")
def test_a_crash_ends_everything_and_down_clears_up(folder: Path) -> None:
    running = [ProcessIdentity.of(pid) for pid in state(folder).programs.values()]
    assert len(running) == 4
    assert all(running)

    state(folder).owner.send(signal.SIGKILL)

    wait_for(lambda: not is_running(folder / "control-plane"), seconds=15, what="the end of everything")
    assert not any(process and process.is_running() for process in running)
    with pytest.raises(NotUp):
        playground.status(say=print, folder=folder)
    playground.down(say=lambda _: None, folder=folder)
    assert not folder.exists()


def test_what_does_not_come_up_is_said_and_leaves_nothing_running(
    programs: Programs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assets = tmp_path / "assets"
    assets.mkdir()
    for name, path in programs.paths.items():
        (assets / name).symlink_to(path)
    (assets / "kube-apiserver").unlink()
    (assets / "kube-apiserver").write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    (assets / "kube-apiserver").chmod(0o755)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(assets))
    monkeypatch.delenv("KUBERNETES", raising=False)

    with pytest.raises(NotUp, match=r"(?s)kube-apiserver ended with code 3.*no such luck"):
        playground.up(say=print, folder=tmp_path / "state")

    assert not state(tmp_path / "state").owner.is_running()
    assert not is_running(tmp_path / "state/control-plane")
