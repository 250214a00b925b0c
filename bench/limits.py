"""Where one process ends: sizes and churn beyond what a real control plane on the same machine holds, on the recording
server.

Churn goes up in steps until a drift is not repaired within a second any more. What changes without a need for a write,
such as an EndpointSlice whose pods move, is seen by how long a few drifts beside it wait.

Whoever opens the same Service again and again is out-waited on purpose (`nodeport_access.contention`), which is not
where a process ends. So each rate has one of its own, which remembers no fight, and no Service drifts twice before it.

Not its business: the figures of one life (`bench.measures`), and the server (`bench.recording`).
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.contenders import Contender, Running
from bench.measures import APPLIED_SINCE_FIRST, CPU_APPLIED, RESIDENT, RESTART_QUIET, RESTART_WRITES, WRITES, Life
from bench.recording import GUARDED, Figures, RecordedWorld, RecordingServer
from bench.results import Record
from bench.world import ticks
from testbed import programs
from testbed.progress import Progress

LIMITS, SLICES, DRIFTS = "limits", "slices", "drifts"
"""What the figures of sizes, and of the two kinds of churn, are kept under."""
SIZES = (1_000, 5_000, 10_000, 20_000, 50_000)
CHURN_SIZE = 5_000
RATES = (50, 100, 200, 400, 800, 1_600, 3_200)
"""Changes a second."""

KEPT_UP: Mapping[str, str] = {
    SLICES: "EndpointSlices of guarded Services: kept up with [1/s]",
    DRIFTS: "drifts: kept up with [1/s]",
}
REPAIR_P50 = "drift repaired, p50 [ms]"
REPAIR_P99 = "drift repaired, p99 [ms]"
MADE = "changes made [1/s]"
OTHER_WRITES = "writes beside repairs [1/s]"
CPU = "CPU [% of a core]"
CPU_EACH = "CPU, each change [ms]"
SERVER_CPU = "recording server's CPU [% of a core]"

_OF_A_SIZE: Mapping[str, str] = {
    "applied [s]": APPLIED_SINCE_FIRST,
    "CPU until applied [s]": CPU_APPLIED,
    "writes each": WRITES,
    "resident, all applied [MiB]": RESIDENT,
    "restart, quiet after [s]": RESTART_QUIET,
    "writes of a restart": RESTART_WRITES,
}
"""Under other names than on the real control plane, lest one is taken for the other."""
_PER_POLICY: Mapping[str, str] = {
    "applied, per policy [ms]": APPLIED_SINCE_FIRST,
    "CPU until applied, per policy [ms]": CPU_APPLIED,
}
_PROBE = 5.0
"""Drifts a second beside what changes without one."""
_LEAST_SECONDS = 5.0
"""In less, no queue has grown to a second; a rate at which there are not Services enough for that is left out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Measures contenders one after the other, each on a world that was made for it."""

    contenders: Sequence[Contender]
    folder: Path
    progress: Progress
    step_seconds: float = 15
    late_seconds: float = 1
    """The 99th of 100 repairs must come sooner, or a rate is too much."""

    def of_sizes(self, sizes: Sequence[int]) -> Iterator[Record]:
        """How what it costs grows with N."""
        for size in sizes:
            for contender in self.contenders:
                self.progress.step(f"recording server, N = {size}: {contender.name}")
                with self._server() as server:
                    world = RecordedWorld(server, size=size, pods=True)
                    world.create()
                    life = Life(world=world, contender=contender, folder=self.folder)
                    figures = life.run(["converge", "memory", "restart"])
                for name, figure in _OF_A_SIZE.items():
                    yield _record(LIMITS, size, contender, name, figures[figure])
                for name, figure in _PER_POLICY.items():
                    yield _record(LIMITS, size, contender, name, 1000 * figures[figure] / size)

    def of_churn(self, kind: str, *, size: int, rates: Sequence[int]) -> Iterator[Record]:
        """What a rate of SLICES or DRIFTS costs, up to the first that is too much."""
        for contender in self.contenders:
            kept_up = 0
            for rate, figures in self._steps(kind, contender, size=size, rates=rates):
                for figure, value in figures.items():
                    yield _record(kind, rate, contender, f"{kind}: {figure}", value)
                if figures[REPAIR_P99] < 1000 * self.late_seconds:
                    kept_up = rate
            yield _record(LIMITS, size, contender, KEPT_UP[kind], kept_up)

    def _steps(
        self, kind: str, contender: Contender, *, size: int, rates: Sequence[int]
    ) -> Iterator[tuple[int, Mapping[str, float]]]:
        with self._server() as server:
            world = RecordedWorld(server, size=size, pods=True)
            world.create()
            life = Life(world=world, contender=contender, folder=self.folder)
            with life.running() as (running, trace):
                life.converge(running, trace)
            for rate in rates:
                if size / _drifts(kind, rate) < _LEAST_SECONDS:
                    break
                self.progress.step(f"recording server, N = {size}, {rate} {kind} a second: {contender.name}")
                with life.running(all_kinds=True) as (running, _):
                    life.quiet_from(running)
                    figures = self._step(kind, rate, server=server, world=world, running=running)
                yield rate, figures
                if figures[REPAIR_P99] >= 1000 * self.late_seconds:
                    break

    def _step(
        self, kind: str, rate: int, *, server: RecordingServer, world: RecordedWorld, running: Running
    ) -> Mapping[str, float]:
        drifts = _drifts(kind, rate)
        slices = {GUARDED: rate} if kind == SLICES else {}
        [pid] = server.process_ids().values()
        used, used_by_server = running.cpu_seconds(), ticks(pid)
        world.churn(slices=slices, drifts={GUARDED: drifts})
        time.sleep(min(self.step_seconds, len(world.guarded) / drifts))
        running.check()
        seen, cpu = world.figures(), running.cpu_seconds() - used
        world.churn()
        made = seen.made[f"{kind}/{GUARDED}"]
        return {
            REPAIR_P50: 1000 * (seen.repair["p50"] or 0),
            REPAIR_P99: 1000 * (seen.repair["p99"] or 0),
            MADE: made / seen.seconds,
            OTHER_WRITES: _other_writes(seen, user=running.contender.user),
            CPU: 100 * cpu / seen.seconds,
            CPU_EACH: 1000 * cpu / max(made, 1),
            SERVER_CPU: 100 * (ticks(pid) - used_by_server) / os.sysconf("SC_CLK_TCK") / seen.seconds,
        }

    def _server(self) -> RecordingServer:
        """One with nothing in it."""
        folder = self.folder / "recording-server"
        shutil.rmtree(folder, ignore_errors=True)
        return RecordingServer(folder=folder, programs=programs.find(programs.RECORDING, progress=self.progress))


def _drifts(kind: str, rate: int) -> float:
    """How many a second there are beside a rate of this kind, or as one."""
    return rate if kind == DRIFTS else _PROBE


def _other_writes(seen: Figures, *, user: str) -> float:
    return (sum(seen.writes.get(user, {}).values()) - seen.repaired) / seen.seconds


def _record(measurement: str, size: int, contender: Contender, figure: str, value: Any) -> Record:
    return Record(
        measurement=measurement, size=size, round=0, contender=contender.name, figure=figure, value=float(value)
    )
