"""Where one process ends, on a world that is small enough for a test."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.contenders import contenders
from bench.limits import CPU, DRIFTS, KEPT_UP, LIMITS, MADE, REPAIR_P99, SLICES, Limits
from testbed.progress import Progress

SIZE = 30


def test_a_size_is_applied_once_and_a_restart_writes_nothing(tmp_path: Path) -> None:
    limits = Limits(contenders=list(contenders(["ours"]).values()), folder=tmp_path, progress=Progress())
    records = list(limits.of_sizes([3]))
    figures = {one.figure: one.value for one in records}
    assert {(one.measurement, one.size, one.contender) for one in records} == {(LIMITS, 3, "ours")}
    assert figures["writes each"] == 4
    assert figures["writes of a restart"] == 0
    assert figures["applied, per policy [ms]"] == pytest.approx(1000 * figures["applied [s]"] / 3)


def test_churn_goes_up_until_it_is_too_much(tmp_path: Path) -> None:
    def measured(kind: str, *, late_seconds: float) -> dict[tuple[str, int], float]:
        limits = Limits(
            contenders=list(contenders(["ours"]).values()),
            folder=tmp_path,
            progress=Progress(),
            step_seconds=3,
            late_seconds=late_seconds,
        )
        return {(one.figure, one.size): one.value for one in limits.of_churn(kind, size=SIZE, rates=[1, 2])}

    patient = measured(SLICES, late_seconds=60)
    assert patient[KEPT_UP[SLICES], SIZE] == 2
    assert patient[f"{SLICES}: {MADE}", 2] == pytest.approx(2, abs=0.5)
    assert patient[f"{SLICES}: {CPU}", 2] > 0
    impatient = measured(DRIFTS, late_seconds=0)
    assert impatient[KEPT_UP[DRIFTS], SIZE] == 0
    assert impatient[f"{DRIFTS}: {REPAIR_P99}", 1] > 0
    assert (f"{DRIFTS}: {REPAIR_P99}", 2) not in impatient


def test_a_rate_for_which_there_are_too_few_services_is_left_out(tmp_path: Path) -> None:
    limits = Limits(contenders=list(contenders(["ours"]).values()), folder=tmp_path, progress=Progress())
    [record] = limits.of_churn(DRIFTS, size=3, rates=[2])
    assert (record.figure, record.value) == (KEPT_UP[DRIFTS], 0)
