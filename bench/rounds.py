"""Whose turn it is: every round has every contender once, each on the world as it was, and the first one changes.

Not its business: what is measured of one of them (`bench.measures`).
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from random import Random

from bench import compiling
from bench.contenders import Contender
from bench.measures import FIGURES_OF, Life
from bench.results import Record
from bench.world import NODE_PORTS, World
from testbed import programs
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT
from testbed.progress import Progress


def lives(
    *,
    sizes: Sequence[int],
    rounds: int,
    contenders: Sequence[Contender],
    measurements: Sequence[str],
    folder: Path,
    idle_seconds: float,
    drifts: int,
    churn_seconds: float,
    progress: Progress,
) -> Generator[Record]:
    """The figures, as they come; who has seen enough closes the generator. Each size has a control plane of its own, in
    a folder below `folder`."""
    control_plane_programs = programs.find(progress=progress)
    for size in sizes:
        place = folder / str(size)
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        with ControlPlane(
            folder=place / "control-plane", programs=control_plane_programs, node_ports=NODE_PORTS
        ) as control_plane:
            world = World(control_plane, size=size)
            progress.step(f"N = {size}: making the world")
            world.create()
            fresh = True
            for number in range(rounds):
                first = number % len(contenders)
                for contender in [*contenders[first:], *contenders[:first]]:
                    progress.step(f"N = {size}, round {number + 1} of {rounds}: {contender.name}")
                    if not fresh:
                        world.reset()
                    fresh = False
                    life = Life(
                        world=world,
                        contender=contender,
                        folder=place,
                        idle_seconds=idle_seconds,
                        drifts=drifts,
                        churn_seconds=churn_seconds,
                        random=Random(number),  # the same Services for all
                    )
                    figures = life.run(measurements)
                    for measurement in measurements:
                        for figure in FIGURES_OF[measurement]:
                            if figure in figures:
                                yield Record(
                                    measurement=measurement,
                                    size=size,
                                    round=number,
                                    contender=contender.name,
                                    figure=figure,
                                    value=figures[figure],
                                )


def compilations(*, sizes: Sequence[int], rounds: int) -> Iterator[Record]:
    for size in sizes:
        for number in range(rounds):
            for contender, figures in compiling.compiled(count=size, random=Random(number)).items():
                for figure, value in figures.items():
                    yield Record(
                        measurement="compile",
                        size=size,
                        round=number,
                        contender=contender,
                        figure=figure,
                        value=value,
                    )


def setting() -> Mapping[str, str]:
    """What the figures are measured on, how busy that is at the beginning, and of which state of the program."""
    pages, page = os.sysconf("SC_PHYS_PAGES"), os.sysconf("SC_PAGE_SIZE")
    return {
        "program": _program(),
        "processors": f"{os.cpu_count()}",
        "memory": f"{pages * page / 2**30:.0f} GiB",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "Python": platform.python_version(),
        "Go": _said("go", "env", "GOVERSION") or "unknown",
        "load before": f"{os.getloadavg()[0]:.1f}",
    }


def _program() -> str:
    """The commit, and whether what is measured differs from it."""
    if not (commit := _said("git", "log", "-1", "--format=%h")):
        return "unknown"
    return f"{commit}, changed" if _said("git", "status", "--porcelain", "--", "operator", "bench") else commit


def _said(*command: str) -> str:
    """What a program printed; nothing where it is not there, or failed."""
    if shutil.which(command[0]) is None:
        return ""
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT).stdout.strip()
