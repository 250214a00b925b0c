"""Measured figures as Markdown tables: medians with spread, ratios, and bars.

Not its business: the figures (`bench.results`), and how good they have to be (`bench.bars`).
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Sequence
from statistics import median

from bench.bars import BARS, Verdict, at
from bench.results import OURS, Record, Results


def table(results: Results, *, measurement: str, sizes: str = "N") -> str:
    """A Markdown table: a line for each figure and size, with every contender's median and spread, the ratios,
    and the bars that hold there. `sizes` is what sizes are of."""
    chosen = [record for record in results.records if record.measurement == measurement]
    contenders = list(dict.fromkeys(sorted((record.contender for record in chosen), key=_order)))
    rivals = [name for name in contenders if name != OURS]
    header = ["figure", sizes, *contenders, *(f"{OURS} ÷ {rival}" for rival in rivals), "bar"]
    rows = [header, ["---"] * 2 + ["---:"] * (len(header) - 3) + ["---"]]
    for figure, size in dict.fromkeys((record.figure, record.size) for record in _by_figure(chosen)):
        cells = [spread(results.values(size=size, contender=name, figure=figure).values()) for name in contenders]
        ratios = {rival: results.ratios(size=size, rival=rival, figure=figure) for rival in rivals}
        held = "; ".join(_bars(figure, size=size, among=[rival for rival in rivals if ratios[rival]]))
        rows.append([figure, f"{size:,}", *cells, *map(spread, ratios.values()), held])
    return _markdown(rows)


def judged(verdicts: Iterable[Verdict]) -> str:
    """A Markdown table: a line for each bar and size, with what was measured, and whether that will do."""
    rows = [["figure", "N", "bar", "measured", ""], ["---", "---", "---", "---:", "---"]]
    for verdict in verdicts:
        bar, size = verdict.bar, verdict.size
        word = "met" if verdict.met else "**missed**"
        rows.append([bar.figure, f"{size:,}", limit(verdict.limit, rival=bar.rival), short(verdict.value), word])
    return _markdown(rows)


def limit(value: float, *, rival: str | None) -> str:
    """A bar in words, as short as a cell of a table has to be."""
    return f"≤ {short(value)} x {rival}" if rival else f"≤ {short(value)}"


def _bars(figure: str, *, size: int, among: Container[str]) -> Iterator[str]:
    for bar in BARS:
        if bar.figure == figure and size >= bar.from_size and (bar.rival is None or bar.rival in among):
            yield limit(at(bar.exact, size=size), rival=bar.rival)


def _markdown(rows: Iterable[Sequence[str]]) -> str:
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def spread(values: Iterable[float]) -> str:
    """The median, and the least and the most where they differ from it; a dash where there is nothing."""
    found = sorted(values)
    if not found:
        return "-"
    middle = short(median(found))
    return middle if len(found) == 1 else f"{middle} ({short(found[0])}..{short(found[-1])})"


def short(value: float) -> str:
    """Three digits that count; more would be noise."""
    if value == int(value) and abs(value) < 1000:
        return f"{int(value)}"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _by_figure(records: Iterable[Record]) -> Iterator[Record]:
    """Sizes of one figure side by side, figures in the order in which they were measured."""
    records = list(records)
    order = {figure: number for number, figure in enumerate(dict.fromkeys(record.figure for record in records))}
    yield from sorted(records, key=lambda record: (order[record.figure], record.size))


def _order(contender: str) -> tuple[bool, str]:
    return contender != OURS, contender
