"""The operator beside the bare client, by bars that only a real regression breaks; the exact ones stand beside them in
`bench.bars`, and the benchmark tells of those.

Rounds alternate on one real control plane, and the median of the ratios counts: a machine that is busy is busy for
both. Where a median misses its bar, there are further rounds. A burst of somebody else's work spoils one of them, a
regression all.
"""

from __future__ import annotations

from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest

from bench import bars, rounds
from bench.contenders import contenders
from bench.measures import CPU_APPLIED, CPU_PLANE, FIGURES_OF
from bench.results import Record, Results, Run
from bench.tables import judged
from testbed.progress import Progress

POLICIES = 150
ROUNDS, MOST_ROUNDS = 2, 5
CONTENDERS = ("ours", "bare")
MEASUREMENTS = ("converge", "memory", "idle", "drift", "storm", "closing", "restart")
RECORDS_OF_A_ROUND = len(CONTENDERS) * sum(len(FIGURES_OF[name]) for name in MEASUREMENTS)


@pytest.mark.usefixtures("programs")
def test_no_bar_of_ci_is_missed(tmp_path: Path) -> None:
    setting, records = rounds.setting(), list[Record]()
    measured = rounds.lives(
        sizes=[POLICIES],
        rounds=MOST_ROUNDS,
        contenders=list(contenders(CONTENDERS).values()),
        measurements=MEASUREMENTS,
        folder=tmp_path,
        idle_seconds=2,
        drifts=60,
        churn_seconds=0,
        progress=Progress(),
    )
    with closing(measured):
        for number in range(1, MOST_ROUNDS + 1):
            records += islice(measured, RECORDS_OF_A_ROUND)
            run = Run(command="make test-bars", setting=setting, records=records)
            verdicts = list(bars.in_ci(Results(runs=[run])))
            met = all(verdict.met for verdict in verdicts)
            print(f"\nafter {number} rounds, on {dict(setting)}:\n{judged(verdicts)}")
            if met and number >= ROUNDS:
                break
    assert met, judged(verdicts)
    assert all(one.value > 0 for one in records if one.figure in (CPU_APPLIED, CPU_PLANE))
