"""Whether a process stays as large as it is: its memory and its open files, watched from outside.

A process grows while it warms up, again when it begins to lead, and where more objects are there. So what counts is the
last quarter of its life in one role against the second, while the number of objects goes up and down in both alike. Not
its business: which processes, and for how long they are left alone (`adversity`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

LEAST_SAMPLES = 16
"""Of a life that says anything."""
SHORT_SECONDS = 300.0
"""A life in which a process warms up for most of the time: four times the noise is borne."""
NOISE_MIB, MIB_PER_HOUR = 4.0, 4.0
"""What an allocator may keep by chance, and the growth that is borne."""
NOISE_FILES, FILES_PER_HOUR = 6.0, 2.0
"""Connections come and go: a pool keeps a few."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look at a process; ``at`` in seconds, memory is what is resident (VmRSS of proc(5)), ``objects`` how many
    there were for it to know."""

    at: float
    mib: float
    files: int
    objects: int


def sample(pid: int, *, at: float, objects: int) -> Sample | None:
    """None where it is gone, or is on its way out."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        files = len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return None
    resident = [int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")]
    return Sample(at=at, mib=resident[0] / 1024, files=files, objects=objects) if resident else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Growth:
    """Medians of the second quarter of a life and of its last, and how many hours are between their middles."""

    hours: float
    mib: tuple[float, float]
    files: tuple[float, float]
    objects: tuple[float, float]

    def complaints(self) -> list[str]:
        """What grew more than is borne, a sentence each."""
        found = []
        times = 4 if self.hours * 2 * 3600 < SHORT_SECONDS else 1
        for what, (first, last), noise, rate in (
            ("MiB of memory", self.mib, NOISE_MIB * times, MIB_PER_HOUR),
            ("open files", self.files, NOISE_FILES * times, FILES_PER_HOUR),
        ):
            if last - first > noise + rate * self.hours:
                found.append(
                    f"{what}: {first:.1f} in the second quarter of its life, {last:.1f} in the last, {self.hours:.2f} h"
                    f" later; borne are {noise:g} and {rate:g} an hour (objects: {self.objects[0]:.0f} and"
                    f" {self.objects[1]:.0f})"
                )
        return found

    def __str__(self) -> str:
        return (
            f"memory {self.mib[0]:.1f} -> {self.mib[1]:.1f} MiB, files {self.files[0]:.0f} -> {self.files[1]:.0f},"
            f" objects {self.objects[0]:.0f} -> {self.objects[1]:.0f}, {self.hours * 3600:.0f} s apart"
        )


def growth(life: Sequence[Sample]) -> Growth | None:
    """Of one process in one role; None where that was too short to say."""
    if len(life) < LEAST_SAMPLES:
        return None
    quarter = len(life) // 4
    second, last = life[quarter : 2 * quarter], life[-quarter:]
    return Growth(
        hours=(median(one.at for one in last) - median(one.at for one in second)) / 3600,
        mib=(median(one.mib for one in second), median(one.mib for one in last)),
        files=(median(one.files for one in second), median(one.files for one in last)),
        objects=(median(one.objects for one in second), median(one.objects for one in last)),
    )
