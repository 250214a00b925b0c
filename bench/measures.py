"""The measurements of one contender's life: converge, memory, idle, drift, storm, restart, churn. All from outside.

Not its business: whose turn it is, and what the figures come to (`bench.rounds`, `bench.results`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from statistics import quantiles

from bench import churn
from bench.contenders import Contender, Running
from bench.trace import NETWORK_POLICIES, POLICY_STATUS, SERVICES, Request, Trace, applied_at
from bench.world import AnyWorld, World
from testbed.credentials import ADMIN
from testbed.waiting import wait_for

APPLIED = "applied, start-up included [s]"
APPLIED_SINCE_FIRST = "applied, from the first request on [s]"
CPU_APPLIED = "applied, CPU of the process until then [s]"
CPU_PLANE = "applied, CPU of the control plane until then [s]"
WRITES = "writes per policy"
RESIDENT = "resident [MiB]"
IDLE_CPU = "idle CPU [% of a core]"
IDLE_CALLS = "idle calls but watches and the lease"
DRIFT_P50 = "drift repaired, p50 [ms]"
DRIFT_P99 = "drift repaired, p99 [ms]"
STORM = "storm, first change to last repair [s]"
STORM_TAIL = "storm, last change to last repair [s]"
STORM_TOLD = "storm, first change to last repair or status [s]"
CLOSING_STORM = "storm that closes, first change to last repair [s]"
CLOSING_REPAIR = "storm that closes, one Service opened in it repaired [ms]"
CLOSING_BACKLOG = "storm that closes, allowlists missing when that one was opened"
CLOSING_OTHERS = "storm that closes, writes begun before that repair"
RESTART_WRITES = "restart, writes"
RESTART_QUIET = "restart, until quiet [s]"
REPAIR = "restart, first repair, start-up included [s]"
REPAIR_SINCE_FIRST = "restart, first repair, from the first request on [s]"

CHURN_CPU = {kind: f"{kind}: CPU [% of a core]" for kind in churn.KINDS}
CHURN_WRITES = {kind: f"{kind}: writes" for kind in churn.KINDS}
CHURN_CALLS = {kind: f"{kind}: calls but writes, watches and the lease" for kind in churn.KINDS}
CHURN_RATE = {kind: f"{kind}: updates that were made [/s]" for kind in churn.KINDS}

FIGURES_OF: Mapping[str, tuple[str, ...]] = {
    "converge": (APPLIED, APPLIED_SINCE_FIRST, CPU_APPLIED, CPU_PLANE, WRITES),
    "memory": (RESIDENT,),
    "idle": (IDLE_CPU, IDLE_CALLS),
    "drift": (DRIFT_P50, DRIFT_P99),
    "storm": (STORM, STORM_TAIL, STORM_TOLD),
    "closing": (CLOSING_STORM, CLOSING_REPAIR, CLOSING_BACKLOG, CLOSING_OTHERS),
    "restart": (REPAIR, REPAIR_SINCE_FIRST, RESTART_QUIET, RESTART_WRITES),
    "churn": tuple(
        figure[kind] for kind in churn.KINDS for figure in (CHURN_CPU, CHURN_WRITES, CHURN_CALLS, CHURN_RATE)
    ),
}
"""What each measurement comes to, in the order of a life: what comes later finds the world as the one before left it,
with everything applied."""

_PATIENCE, _PATIENCE_EACH = 120.0, 0.2
"""Seconds within which everything must be applied, and more for each policy: the slowest needs a tenth of that."""
_DRIFT_PAUSE = 0.05
_SAMPLE, _BUSY_SHARE, _CALM_SECONDS = 0.1, 0.2, 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Life:
    """One contender on a world that was just reset, and what is measured of it, by names with units in them."""

    world: AnyWorld
    contender: Contender
    folder: Path
    idle_seconds: float = 60
    drifts: int = 200
    churn_seconds: float = 30
    churn_nodes: int = churn.NODES_COUNT
    random: Random = field(default_factory=lambda: Random(0))
    figures: dict[str, float] = field(default_factory=dict)

    def run(self, measurements: Sequence[str]) -> Mapping[str, float]:
        """Everything else needs a world in which all is applied, so `converge` is always part of it."""
        chosen = {*measurements}.difference(self.contender.left_out)
        steps: Mapping[str, Callable[[Running, Trace], None]] = {
            "memory": self._memory,
            "idle": self._idle,
            "drift": self._drift,
            "storm": self._storm,
            "closing": self._closing_storm,
        }
        with self.running() as (running, trace):
            self.converge(running, trace)
            for name, step in steps.items():
                if name in chosen:
                    self.quiet_from(running)
                    step(running, trace)
        if "restart" in chosen:
            self._restart()
        if "churn" in chosen:
            self._churn()
        return self.figures

    # --- one after the other -----------------------------------------------------------------------------------------

    def converge(self, running: Running, trace: Trace) -> None:
        self._wait_until_applied(running, trace, resource=POLICY_STATUS, count=len(self.world.guarded))
        used, used_by_plane = running.cpu_seconds(), trace.cpu_seconds()
        requests = trace.requests()
        done = applied_at(requests)
        self.figures.update(
            {
                APPLIED: done - running.started,
                APPLIED_SINCE_FIRST: done - _first(requests),
                CPU_APPLIED: used,
                CPU_PLANE: used_by_plane,
                WRITES: sum(one.is_write for one in requests) / len(self.world.guarded),
            }
        )

    def _memory(self, running: Running, _: Trace) -> None:
        self.figures[RESIDENT] = running.resident_mib()

    def _idle(self, running: Running, trace: Trace) -> None:
        before, begin, used = len(trace.requests()), time.monotonic(), running.cpu_seconds()
        time.sleep(self.idle_seconds)
        share = (running.cpu_seconds() - used) / (time.monotonic() - begin)
        self.figures[IDLE_CPU] = 100 * share
        self.figures[IDLE_CALLS] = sum(one.is_call for one in trace.requests()[before:])

    def _drift(self, running: Running, trace: Trace) -> None:
        """Somebody opens one Service after the other at a fixed pace, whether the one before is repaired or not."""
        some = self.random.sample(self.world.guarded, min(self.drifts, len(self.world.guarded)))
        before, somebody = trace.count(SERVICES), self._somebody()
        due = time.monotonic()
        for one in some:
            time.sleep(max(0.0, due - time.monotonic()))
            self.world.open_service(one)
            due += _DRIFT_PAUSE
        self._wait_until_applied(running, trace, resource=SERVICES, count=before + len(some))
        repairs = _repairs(somebody, trace)
        percent = quantiles((repaired - opened for opened, repaired in repairs), n=100, method="inclusive")
        self.figures[DRIFT_P50] = 1000 * percent[49]
        self.figures[DRIFT_P99] = 1000 * percent[98]

    def _storm(self, running: Running, trace: Trace) -> None:
        """Somebody opens all Services, as fast as the API server takes it."""
        before, since, somebody = trace.count(SERVICES), len(trace.requests()), self._somebody()
        self.world.open_services(self.world.guarded)
        self._wait_until_applied(running, trace, resource=SERVICES, count=before + len(self.world.guarded))
        repairs = _repairs(somebody, trace)
        first, last = min(opened for opened, _ in repairs), max(repaired for _, repaired in repairs)
        self.figures[STORM] = last - first
        self.figures[STORM_TAIL] = last - max(opened for opened, _ in repairs)
        self.quiet_from(running)
        told = [one.end for one in trace.requests()[since:] if one.is_wanted and one.resource == POLICY_STATUS]
        self.figures[STORM_TOLD] = max([last, *told]) - first

    def _closing_storm(self, running: Running, trace: Trace) -> None:
        """Somebody deletes all allowlists, as fast as the API server takes it, and opens one Service in the middle."""
        before, since, somebody = trace.count(NETWORK_POLICIES), len(trace.requests()), self._somebody()
        *some, victim = self.world.guarded
        half = len(some) // 2
        self.world.close_services(some[:half])
        self.world.open_service(victim)
        self.world.close_services(some[half:])
        self._wait_until_applied(running, trace, resource=NETWORK_POLICIES, count=before + len(some))
        meddling = [one for one in somebody.requests() if one.is_write]
        [opened] = [one for one in meddling if one.resource == SERVICES]
        requests = trace.requests()[since:]
        repair = next(one for one in requests if one.resource == SERVICES and one.begin > opened.begin)
        closed = [one for one in requests if one.is_wanted and one.resource == NETWORK_POLICIES]
        self.figures[CLOSING_STORM] = max(one.end for one in closed) - min(one.begin for one in meddling)
        self.figures[CLOSING_REPAIR] = 1000 * (repair.end - opened.begin)
        deleted = sum(one.resource == NETWORK_POLICIES and one.end < opened.begin for one in meddling)
        self.figures[CLOSING_BACKLOG] = deleted - sum(one.end < opened.begin for one in closed)
        self.figures[CLOSING_OTHERS] = sum(one.is_write and opened.end < one.begin < repair.begin for one in requests)

    def _restart(self) -> None:
        """Once with everything applied, and once with one Service opened while it was away."""
        with self.running(all_kinds=True) as (running, trace):
            rests_from = self.quiet_from(running)
            requests = trace.requests()
            quiet = max(rests_from, *(one.end for one in requests if one.verb != "watch"))
            self.figures[RESTART_WRITES] = sum(one.is_write for one in requests)
            self.figures[RESTART_QUIET] = quiet - running.started
        victim = self.random.choice(self.world.guarded)
        somebody = self._somebody()
        self.world.open_service(victim)
        with self.running(all_kinds=True) as (running, trace):
            self._wait_until_applied(running, trace, resource=SERVICES, count=1)
            [(_, repaired)] = _repairs(somebody, trace)
            self.figures[REPAIR] = repaired - running.started
            self.figures[REPAIR_SINCE_FIRST] = repaired - _first(trace.requests())

    def _churn(self) -> None:
        """By a process of its own, which found all that the churn is about when it started."""
        assert isinstance(self.world, World), "the recording server makes churn of its own"
        made = churn.Churn(self.world, nodes=self.churn_nodes)
        made.create()
        try:
            with self.running(all_kinds=True) as (running, trace):
                for kind in churn.KINDS:
                    self.quiet_from(running)
                    self._churn_of(kind, made, running, trace)
        finally:
            made.remove()

    def _churn_of(self, kind: str, made: churn.Churn, running: Running, trace: Trace) -> None:
        """What is left to do when the churn ends is part of what it cost."""
        before, begin, used = len(trace.requests()), time.monotonic(), running.cpu_seconds()
        rate = made.run(kind, seconds=self.churn_seconds)
        took = time.monotonic() - begin
        self.quiet_from(running)
        calls = [one for one in trace.requests()[before:] if one.is_call]
        self.figures[CHURN_CPU[kind]] = 100 * (running.cpu_seconds() - used) / took
        self.figures[CHURN_WRITES[kind]] = sum(one.is_write for one in calls)
        self.figures[CHURN_CALLS[kind]] = sum(not one.is_write for one in calls)
        self.figures[CHURN_RATE[kind]] = rate

    # --- how ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self, *, all_kinds: bool = False) -> Iterator[tuple[Running, Trace]]:
        trace = Trace(self.world.api_server, user=self.contender.user)
        log = self.folder / f"{self.contender.name}.log"
        running = self.contender.start(self.world.api_server, log=log, all_kinds=all_kinds)
        try:
            yield running, trace
        finally:
            running.stop()

    def _wait_until_applied(self, running: Running, trace: Trace, *, resource: str, count: int) -> None:
        """At least `count` writes to a resource, and then everything in its place."""

        def enough() -> bool:
            running.check()
            return trace.count(resource) >= count

        seconds = _PATIENCE + _PATIENCE_EACH * len(self.world.guarded)
        what = f"{self.contender.name} to write {count} times to {resource}"
        wait_for(enough, seconds=seconds, what=what, every=0.2)

        def applied() -> bool:
            running.check()
            missing = self.world.missing()
            assert not missing, missing
            return True

        wait_for(applied, seconds=seconds, what=f"{self.contender.name} to apply everything", every=1)

    def quiet_from(self, running: Running) -> float:
        """When it was last seen at work, in seconds since the epoch; returns once it has rested for three seconds."""
        last_busy, used = time.time(), running.cpu_seconds()
        while (now := time.time()) - last_busy < _CALM_SECONDS:
            running.check()
            time.sleep(_SAMPLE)
            before, used = used, running.cpu_seconds()
            if used - before >= _BUSY_SHARE * _SAMPLE:
                last_busy = now + _SAMPLE
        return last_busy

    def _somebody(self) -> Trace:
        return Trace(self.world.api_server, user=ADMIN)


def _first(requests: Sequence[Request]) -> float:
    return min(one.begin for one in requests)


def _repairs(somebody: Trace, contender: Trace) -> list[tuple[float, float]]:
    """For each Service that somebody opened: when that arrived at the API server, and when the first write after it was
    answered. Not from when the opening was answered: a repair may be there before that."""
    opened = {one.name: one.begin for one in somebody.requests() if one.is_write and one.resource == SERVICES}
    repaired: dict[str, float] = {}
    for one in contender.requests():
        if one.is_wanted and one.resource == SERVICES and one.begin > opened.get(one.name, one.begin):
            repaired.setdefault(one.name, one.end)
    return [(opened[name], repaired[name]) for name in opened]
