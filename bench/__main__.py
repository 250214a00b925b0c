"""The command line: `python -m bench [MEASUREMENT]... --n 100 --rounds 3`. Without a measurement, all of them.

Exit codes: 0, or 1 with one sentence on standard error, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import bars, compiling, plots, rounds
from bench.contenders import NAMES, contenders
from bench.measures import FIGURES_OF
from bench.results import Record, Results
from bench.tables import judged, table
from testbed.failure import Failure
from testbed.operator_process import ROOT
from testbed.progress import Progress
from testbed.waiting import TimedOut

COMPILE = "compile"
ALL = (*FIGURES_OF, COMPILE)


def main(words: Sequence[str]) -> int:
    """Measure, and print the tables; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure the operator beside its rivals.")
    parser.add_argument(
        "measurements", nargs="*", metavar="MEASUREMENT", help=f"any of {', '.join(ALL)} (default: all)"
    )
    parser.add_argument("--n", type=int, nargs="+", default=[100, 1000], help="how many policies (default: 100 1000)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender has its turn (default: 3)")
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=NAMES, help="who takes part (default: all)")
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long to watch one at rest (default: 60)")
    parser.add_argument("--drifts", type=int, default=200, help="single drifts of a round (default: 200)")
    parser.add_argument("--churn-seconds", type=float, default=30, help="how long each kind of churn is (default: 30)")
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench", help="logs and control planes go here")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="keep the figures in this JSON file, over those of the same measurements and sizes, and plots beside it",
    )
    given = parser.parse_args(words)
    if unknown := set(given.measurements) - set(ALL):
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    chosen = given.measurements or list(ALL)
    machine, records = rounds.machine(), list[Record]()
    try:
        alive = [name for name in FIGURES_OF if name in chosen]
        if alive:
            everybody = contenders(given.contenders)
            records += rounds.lives(
                sizes=given.n,
                rounds=given.rounds,
                contenders=[everybody[name] for name in given.contenders],
                measurements=alive,
                folder=given.folder,
                idle_seconds=given.idle_seconds,
                drifts=given.drifts,
                churn_seconds=given.churn_seconds,
                progress=Progress(),
            )
        if COMPILE in chosen:
            records += rounds.compilations(sizes=compiling.SIZES, rounds=given.rounds)
    except (Failure, TimedOut) as failed:
        print(failed, file=sys.stderr)
        return 1
    results = Results(machine=machine, command=f"python -m bench {' '.join(words)}", records=records)
    for name in ALL:
        if name in chosen:
            print(f"\n### {name}\n\n{table(results, measurement=name)}", end="")
    print(f"\n### bars\n\n{judged(bars.exact(results))}", end="")
    if given.write:
        kept = results.over(Results.read(given.write)) if given.write.exists() else results
        kept.write(given.write)
        plots.draw(kept, folder=given.write.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
