"""The tables of `benchmarks.md`, from the figures that `make bench` has kept, and nothing where none are kept.

Not its business: measuring (`bench`), and the prose, which stands in the page itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import bars
from bench.__main__ import TABLES
from bench.plots import PICTURES
from bench.results import Results, Run
from bench.tables import judged, table
from docs import markers

FIGURES = Path(__file__).with_name("benchmark-figures.json")
NONE = "No figures are kept yet: they count only from a machine that does nothing else."


def filled(page: str) -> str:
    """The page with the parts between its markers made anew. Raises ValueError where a marker is missing."""
    results = Results.read(FIGURES) if FIGURES.exists() else None
    return markers.filled(page, {"figures": figures(results)}, name="benchmarks.md")


def figures(results: Results | None) -> str:
    if results is None:
        return f"{NONE}\n"
    return "\n".join(_parts(results))


def _parts(results: Results) -> Iterator[str]:
    yield _runs(results.runs)
    measured = {record.measurement for record in results.records}
    for measurement, sizes in TABLES.items():
        if measurement in measured:
            yield f"### {measurement}\n\n{table(results, measurement=measurement, sizes=sizes)}"
    yield f"### bars\n\n{judged(bars.exact(results))}"
    for name, figure in PICTURES.items():
        if (FIGURES.parent / name).exists():
            yield f"![{figure}, by the number of policies]({name})\n"


def _runs(runs: Sequence[Run]) -> str:
    """What was run, of which state of the program, and on what: a row for all runs that are alike in both."""
    alike: dict[str, list[Run]] = {}
    for run in runs:
        alike.setdefault(", ".join(f"{name} {value}" for name, value in run.setting.items()), []).append(run)
    parts = []
    for setting, those in alike.items():
        commands = "".join(f"    {run.command}\n" for run in those)
        parts.append(f"{setting[0].upper()}{setting[1:]}: {_what(those)}.\n\n{commands}")
    return "\n".join(parts)


def _what(runs: Sequence[Run]) -> str:
    sizes: dict[str, list[int]] = {}
    for run in runs:
        for record in run.records:
            sizes.setdefault(record.measurement, []).append(record.size)
    return "; ".join(f"*{name}* of {', '.join(f'{size:,}' for size in sorted({*of}))}" for name, of in sizes.items())
