"""`make lab` leaves a lab standing to look around in; `make down`, Ctrl-C or a crash leaves nothing of it."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import playground
from testbed.operator_process import ROOT
from testbed.playground import LAB, NotUp, State
from testbed.programs import Programs
from testbed.running import is_running
from testbed.waiting import wait_for

ARGUMENTS = ("--mode=nftables", "--placement=own node")


@pytest.fixture
def folder(programs: Programs, tmp_path: Path) -> Iterator[Path]:
    assert programs.paths
    folder = tmp_path / "state"
    yield folder
    playground.down(say=lambda _: None, folder=folder)


@pytest.fixture(scope="module")
def standing(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, str]]:
    """One that stands for all tests that only look at it: its folder, and what it says."""
    assert programs.paths
    folder = tmp_path_factory.mktemp("standing") / "state"
    yield folder, up(folder)
    playground.down(say=lambda _: None, folder=folder)


def up(folder: Path) -> str:
    said: list[str] = []
    playground.up(say=said.append, folder=folder, ground=LAB, arguments=ARGUMENTS)
    return "\n".join(said)


def owner(folder: Path) -> int:
    state = State.read(folder)
    assert state is not None
    return state.owner.pid


def namespaces(pid: int) -> set[str]:
    """The mount and network namespaces of a process, by the kernel's names for them."""
    return {os.readlink(f"/proc/{pid}/ns/{kind}") for kind in ("mnt", "net")}


def namespaces_in_use() -> set[str]:
    """Those of all processes of this machine."""
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            found |= namespaces(int(process.name))
        except (FileNotFoundError, PermissionError, ProcessLookupError):
            continue
    return found


def typed(said: str, *words: str) -> subprocess.CompletedProcess[str]:
    """The first suggested command that has all of these words, run as it stands."""
    line = next(line for line in said.splitlines() if all(word in line for word in words))
    return subprocess.run(shlex.split(line), cwd=ROOT, capture_output=True, text=True)


def test_what_it_says_to_type_shows_who_gets_in(standing: tuple[Path, str]) -> None:
    _, said = standing

    assert typed(said, "load-balancer", "10.99.0.12").stdout == "dashboard-0 saw 10.2.3.4\n"
    assert typed(said, "load-balancer", "10.99.0.11").returncode == 28, "curl was not left without an answer"
    assert typed(said, "stranger", "10.99.0.12").returncode == 28
    assert typed(said, "foo-1", "10.99.0.12").stdout == "dashboard-0 saw 10.244.1.20\n"
    assert typed(said, "bar-1", "10.99.0.12").returncode == 28
    assert typed(said, "stranger", "http://10.2.3.4/").stdout == "dashboard-0 saw 10.2.3.4\n"
    assert "node-2" in typed(said, "haproxy.log").stdout
    assert " True " in typed(said, "get npap").stdout
    assert "31602" in typed(said, "nft list ruleset").stdout


def test_a_cluster_is_not_started_over_it(standing: tuple[Path, str]) -> None:
    folder, _ = standing

    with pytest.raises(NotUp, match="The lab is up: `make down` ends it"):
        playground.up(say=print, folder=folder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL], ids=["ended", "killed"])
def test_nothing_of_it_is_left(folder: Path, number: signal.Signals) -> None:
    up(folder)
    pid = owner(folder)
    made = namespaces(pid) - namespaces(os.getpid())
    assert len(made) == 2

    os.kill(pid, number)

    wait_for(lambda: not is_running(folder / "control-plane"), seconds=30, what="the end of its programs")
    wait_for(lambda: made.isdisjoint(namespaces_in_use()), seconds=10, what="the end of its namespaces")


def test_an_interrupt_while_it_starts_leaves_nothing(folder: Path) -> None:
    words = "from testbed import playground; import sys, pathlib;"
    words += " playground.up(say=print, folder=pathlib.Path(sys.argv[1]), ground='lab', arguments=sys.argv[2:])"
    with subprocess.Popen(
        [sys.executable, "-c", words, str(folder), *ARGUMENTS], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as starting:
        wait_for(lambda: (folder / "control-plane" / "alive.lock").exists(), seconds=30, what="the start")
        pid = owner(folder)
        made = namespaces(pid) - namespaces(os.getpid())
        starting.send_signal(signal.SIGINT)
        starting.communicate()

    wait_for(lambda: not is_running(folder / "control-plane"), seconds=30, what="the end of its programs")
    wait_for(lambda: made.isdisjoint(namespaces_in_use()), seconds=10, what="the end of its namespaces")
