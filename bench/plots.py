"""The pictures of the benchmarks: how a figure grows with N, contender by contender, with least and most.

Not its business: the figures (`bench.results`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import median

import matplotlib

from bench.measures import APPLIED, RESIDENT, RESTART_QUIET
from bench.results import OURS, Results

PICTURES: Mapping[str, str] = {
    "benchmarks-applied.svg": APPLIED,
    "benchmarks-restart.svg": RESTART_QUIET,
    "benchmarks-resident.svg": RESIDENT,
}
"""File by figure."""


def draw(results: Results, *, folder: Path) -> None:
    """Draw what was measured at two sizes or more; the same results give the same files."""
    for name, figure in PICTURES.items():
        chosen = [record for record in results.records if record.figure == figure]
        if len({record.size for record in chosen}) > 1:
            _draw(results, figure, contenders=sorted({one.contender for one in chosen}), file=folder / name)


def _draw(results: Results, figure: str, *, contenders: list[str], file: Path) -> None:
    matplotlib.use("svg")
    from matplotlib import pyplot, ticker  # it takes the backend as it is when it is imported

    with matplotlib.rc_context({"svg.hashsalt": "benchmarks", "svg.fonttype": "none"}):
        canvas, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
        for contender in contenders:
            sizes = sorted({one.size for one in results.records if (one.contender, one.figure) == (contender, figure)})
            found = [list(results.values(size=size, contender=contender, figure=figure).values()) for size in sizes]
            middle = [median(values) for values in found]
            below = [median(values) - min(values) for values in found]
            above = [max(values) - median(values) for values in found]
            width = 2.5 if contender == OURS else 1.2
            axes.errorbar(sizes, middle, yerr=[below, above], marker="o", capsize=3, linewidth=width, label=contender)
        axes.set(xscale="log", yscale="log", xlabel="policies", ylabel=figure)
        measured = sorted({one.size for one in results.records if one.figure == figure})
        axes.set_xticks(measured, labels=[f"{size:,}" for size in measured])
        axes.xaxis.minorticks_off()
        axes.yaxis.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g}")
        axes.yaxis.minorticks_off()
        axes.grid(visible=True, which="major", alpha=0.3)
        axes.legend()
        canvas.savefig(file, metadata={"Date": None})
        pyplot.close(canvas)
