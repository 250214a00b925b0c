"""Where the operator's time goes: py-spy's samples of its own process, by what part of it they fall into.

    .venv/bin/python -m bench.profiling --py-spy PATH --n 1000

py-spy (https://github.com/benfred/py-spy) is no dependency of the project: install it by itself. The API server is the
recording one, so that a real one does not take the processor from who is profiled.

Not its business: figures that are held to bars (`bench.measures`).
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.contenders import Contender, Running, contenders
from bench.measures import Life
from bench.recording import RecordedWorld, RecordingServer
from testbed import programs
from testbed.failure import Failure
from testbed.progress import Progress

RATE = 100
"""Samples a second. py-spy stops the process for each, or else a third of the stacks come out broken."""

PARTS: Sequence[tuple[str, Sequence[str]]] = (
    ("imports", ("(<frozen importlib._bootstrap>",)),
    ("requests", ("_send (nodeport_access/kube/wire.py",)),
    ("reading lists", ("_relist (nodeport_access/watches.py",)),
    ("events of watches", ("_listen (nodeport_access/watches.py",)),
    ("Kopf", ("(kopf/",)),
    ("log", ("(logging/__init__.py",)),
    (
        "status",
        ("(nodeport_access/reporter.py", "(nodeport_access/verdict.py", "_report (nodeport_access/reconcile.py"),
    ),
    ("answers into the store", ("(nodeport_access/shelf.py",)),
    ("the rest of passes", ("_pass (nodeport_access/reconcile.py",)),
    ("sockets and TLS", ("(asyncio/sslproto.py", "(asyncio/selector_events.py")),
)
"""By frames, the first that is anywhere in a stack; whatever has none is the loop's and everything else."""
ELSE = "the loop, and the rest"
WAITING = "_worker (concurrent/futures/thread.py"
"""The last frame of a thread that waits for work, which py-spy does not take for idle."""


class NotSampled(Failure):
    """py-spy ended without a profile; its own words."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One phase: seconds of CPU that the process used, and the share of each part in its samples."""

    phase: str
    cpu_seconds: float
    shares: dict[str, float]


def parts(raw: str) -> dict[str, float]:
    """Shares of the parts, from py-spy's raw format: a stack a line, its frames by semicolons, and a count."""
    counts: Counter[str] = Counter()
    for line in raw.splitlines():
        stack, _, count = line.rpartition(" ")
        if not stack.rpartition(";")[2].startswith(WAITING):
            counts[_part(stack)] += int(count)
    total = sum(counts.values())
    return {part: counts[part] / total for part in (*(name for name, _ in PARTS), ELSE)} if total else {}


def _part(stack: str) -> str:
    return next((name for name, frames in PARTS if any(frame in stack for frame in frames)), ELSE)


def profiles(*, size: int, idle_seconds: float, py_spy: str, contender: Contender, folder: Path) -> Iterator[Profile]:
    """A convergence, a restart with all applied, and rest after it."""
    found = programs.find(programs.RECORDING, progress=Progress())
    with RecordingServer(folder=folder / "recording-server", programs=found) as server:
        world = RecordedWorld(server, size=size, pods=True)
        world.create()
        life = Life(world=world, contender=contender, folder=folder)
        with life.running() as (running, trace), _sampled("converge", running, py_spy=py_spy, folder=folder) as made:
            life.converge(running, trace)
        yield from made
        with life.running(all_kinds=True) as (running, _):
            with _sampled("restart", running, py_spy=py_spy, folder=folder) as made:
                life.quiet_from(running)
            yield from made
            with _sampled("idle", running, py_spy=py_spy, folder=folder) as made:
                time.sleep(idle_seconds)
            yield from made


@contextlib.contextmanager
def _sampled(phase: str, running: Running, *, py_spy: str, folder: Path) -> Iterator[list[Profile]]:
    """Samples while the block lasts; the list has the profile after it."""
    made: list[Profile] = []
    raw = folder / f"{phase}.raw"
    used = running.cpu_seconds()
    sampling = subprocess.Popen(
        [
            *(py_spy, "record", "--pid", str(running.process.pid), "--rate", str(RATE)),
            *("--format", "raw", "--output", str(raw)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield made
        cpu = running.cpu_seconds() - used
    finally:
        sampling.send_signal(signal.SIGINT)
        _, said = sampling.communicate(timeout=30)
    if not raw.exists():
        raise NotSampled(f"{py_spy} took no samples: {said.strip()}")
    made.append(Profile(phase=phase, cpu_seconds=cpu, shares=parts(raw.read_text())))


def table(found: Sequence[Profile]) -> str:
    """CPU of each phase, and under it what each part took of it, in seconds."""
    head = ["part", *(f"{one.phase} [s]" for one in found)]
    rows = [["in all", *(f"{one.cpu_seconds:.2f}" for one in found)]]
    for part in (*(name for name, _ in PARTS), ELSE):
        rows.append([part, *(f"{one.cpu_seconds * one.shares.get(part, 0):.2f}" for one in found)])
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---", *("---:" for _ in found)], *rows)) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.profiling", description="Tell where the time goes.")
    parser.add_argument("--n", type=int, default=1000, help="how many policies (default: 1000)")
    parser.add_argument("--py-spy", default="py-spy", help="the program (default: from PATH)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long to watch it at rest (default: 60)")
    parser.add_argument("--source", type=Path, help="profile the package here, say operator/ of a worktree")
    given = parser.parse_args()
    if shutil.which(given.py_spy) is None:
        parser.error(f"{given.py_spy} is not there: install py-spy (pip install py-spy), or name it by --py-spy.")
    ours = contenders(["ours"])["ours"]
    if given.source is not None:
        ours = dataclasses.replace(ours, source=given.source.resolve())
        ours.compile()
    with tempfile.TemporaryDirectory() as folder:
        found = list(
            profiles(
                size=given.n,
                idle_seconds=given.idle_seconds,
                py_spy=given.py_spy,
                contender=ours,
                folder=Path(folder),
            )
        )
    print(table(found), end="")


if __name__ == "__main__":
    main()
