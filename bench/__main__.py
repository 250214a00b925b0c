"""The command line: `python -m bench [MEASUREMENT]... --n 100 --rounds 3`. Without a measurement, all but `limits`,
which needs no real control plane, and as long as all the others.

Exit codes: 0, or 1 with one sentence on standard error, 2 for a wrong command line.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import bars, compiling, limits, plots, rounds
from bench.contenders import NAMES, contenders
from bench.limits import DRIFTS, LIMITS, SLICES, Limits
from bench.measures import FIGURES_OF
from bench.results import Record, Results, Run
from bench.tables import judged, table
from testbed.failure import Failure
from testbed.operator_process import ROOT
from testbed.progress import Progress
from testbed.waiting import TimedOut

COMPILE = "compile"
ALL = (*FIGURES_OF, COMPILE)
SIZES = (100, 1000)
TABLES: Mapping[str, str] = {**dict.fromkeys([*ALL, LIMITS], "N"), SLICES: "1/s", DRIFTS: "1/s"}
"""What is printed, and what sizes are of in it."""


def main(words: Sequence[str]) -> int:
    """Measure, and print the tables; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measure the operator beside its rivals.", parents=[_places()]
    )
    parser.add_argument(
        "measurements",
        nargs="*",
        metavar="MEASUREMENT",
        help=f"any of {', '.join(ALL)}, {LIMITS} (default: all but {LIMITS})",
    )
    parser.add_argument(
        "--n",
        type=int,
        nargs="+",
        help=f"how many policies (default: {_listed(SIZES)}; of {LIMITS}: {_listed(limits.SIZES)})",
    )
    parser.add_argument(
        "--churn-n",
        type=int,
        default=limits.CHURN_SIZE,
        help=f"and while they change (of {LIMITS}; default: %(default)s)",
    )
    parser.add_argument(
        "--rates",
        type=int,
        nargs="+",
        default=limits.RATES,
        help=f"changes a second (of {LIMITS}; default: {_listed(limits.RATES)})",
    )
    parser.add_argument("--rounds", type=int, default=3, help="how often each contender has its turn (default: 3)")
    parser.add_argument(
        "--contenders", nargs="+", choices=NAMES, help=f"who takes part (default: all; of {LIMITS}: ours)"
    )
    parser.add_argument("--idle-seconds", type=float, default=60, help="how long to watch one at rest (default: 60)")
    parser.add_argument("--drifts", type=int, default=200, help="single drifts of a round (default: 200)")
    parser.add_argument("--churn-seconds", type=float, default=30, help="how long each kind of churn is (default: 30)")
    given = parser.parse_args(words)
    if unknown := set(given.measurements) - {*ALL, LIMITS}:
        parser.error(f"no such measurement: {', '.join(sorted(unknown))}")
    chosen = given.measurements or list(ALL)
    setting, records = rounds.setting(), list[Record]()
    try:
        alive = [name for name in FIGURES_OF if name in chosen]
        if alive:
            everybody = contenders(given.contenders or NAMES)
            records += rounds.lives(
                sizes=given.n or SIZES,
                rounds=given.rounds,
                contenders=[everybody[name] for name in given.contenders or NAMES],
                measurements=alive,
                folder=given.folder,
                idle_seconds=given.idle_seconds,
                drifts=given.drifts,
                churn_seconds=given.churn_seconds,
                progress=Progress(),
            )
        if COMPILE in chosen:
            records += rounds.compilations(sizes=compiling.SIZES, rounds=given.rounds)
        if LIMITS in chosen:
            records += _limits(given)
    except (Failure, TimedOut) as failed:
        print(failed, file=sys.stderr)
        return 1
    results = Results(runs=[Run(command=repeating(words), setting=setting, records=records)])
    for name, sizes in TABLES.items():
        if any(record.measurement == name for record in records):
            print(f"\n### {name}\n\n{table(results, measurement=name, sizes=sizes)}", end="")
    if not {*ALL}.isdisjoint(chosen):
        print(f"\n### bars\n\n{judged(bars.exact(results))}", end="")
    if given.write:
        kept = results.over(Results.read(given.write)) if given.write.exists() else results
        kept.write(given.write)
        plots.draw(kept, folder=given.write.parent)
    return 0


def repeating(words: Sequence[str]) -> str:
    """The command that measures the same again, wherever its files go."""
    _, asked = _places().parse_known_args(words)
    return f"python -m bench {' '.join(asked)}"


def _places() -> argparse.ArgumentParser:
    """The flags that say where files go."""
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--folder", type=Path, default=ROOT / "build/bench", help="logs and control planes go here")
    parser.add_argument(
        "--write",
        type=Path,
        metavar="FILE",
        help="keep the figures in this JSON file, over those of the same measurements and sizes, and plots beside it",
    )
    return parser


def _limits(given: argparse.Namespace) -> Iterator[Record]:
    given.folder.mkdir(parents=True, exist_ok=True)
    everybody = contenders(given.contenders or ["ours"])
    measuring = Limits(contenders=list(everybody.values()), folder=given.folder, progress=Progress())
    yield from measuring.of_sizes(given.n or limits.SIZES)
    for kind in (SLICES, DRIFTS):
        yield from measuring.of_churn(kind, size=given.churn_n, rates=given.rates)


def _listed(numbers: Iterable[int]) -> str:
    return " ".join(map(str, numbers))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
