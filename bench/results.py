"""What was measured, as records in a JSON file, and as tables with medians, spread and ratios.

A ratio is taken inside one round, of two contenders that ran one after the other, and only then is the median of it
taken: a machine that is slow for an hour is slow for both. Not its business: measuring (`bench.measures`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Self

OURS = "ours"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One figure; the unit is in the name of what was measured."""

    measurement: str
    size: int
    round: int
    contender: str
    figure: str
    value: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """All figures of one run, with the machine, and the command that repeats it."""

    machine: Mapping[str, str]
    command: str
    records: Sequence[Record]

    @classmethod
    def read(cls, path: Path) -> Self:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        records = [Record(**record) for record in content["records"]]
        return cls(machine=content["machine"], command=content["command"], records=records)

    def write(self, path: Path) -> None:
        """One record a line, so that a new run can be compared with the one before."""
        records = ",\n".join(f"  {json.dumps(dataclasses.asdict(record))}" for record in self.records)
        head = json.dumps({"command": self.command, "machine": dict(self.machine)}, indent=1)[1:-1].strip()
        path.write_text(f'{{\n {head},\n "records": [\n{records}\n]}}\n', encoding="utf-8")

    def values(self, *, size: int, contender: str, figure: str) -> Mapping[int, float]:
        """By rounds."""
        return {
            record.round: record.value
            for record in self.records
            if (record.size, record.contender, record.figure) == (size, contender, figure)
        }

    def ratios(self, *, size: int, rival: str, figure: str) -> list[float]:
        """Ours to the rival's, of every round that has both; none where the rival's figure is 0."""
        ours = self.values(size=size, contender=OURS, figure=figure)
        theirs = self.values(size=size, contender=rival, figure=figure)
        return [ours[number] / theirs[number] for number in ours if theirs.get(number)]


def table(results: Results, *, measurement: str) -> str:
    """A Markdown table: a line for each figure and size, with every contender's median and spread, and the ratios."""
    chosen = [record for record in results.records if record.measurement == measurement]
    contenders = list(dict.fromkeys(sorted((record.contender for record in chosen), key=_order)))
    rivals = [name for name in contenders if name != OURS]
    header = ["figure", "N", *contenders, *(f"{OURS} ÷ {rival}" for rival in rivals)]
    rows = [header, ["---"] * 2 + ["---:"] * (len(header) - 2)]
    for figure, size in dict.fromkeys((record.figure, record.size) for record in _by_figure(chosen)):
        cells = [spread(results.values(size=size, contender=name, figure=figure).values()) for name in contenders]
        ratios = [spread(results.ratios(size=size, rival=rival, figure=figure)) for rival in rivals]
        rows.append([figure, f"{size:,}", *cells, *ratios])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def spread(values: Iterable[float]) -> str:
    """The median, and the least and the most where they differ from it; a dash where there is nothing."""
    found = sorted(values)
    if not found:
        return "-"
    middle = _short(median(found))
    return middle if len(found) == 1 else f"{middle} ({_short(found[0])}..{_short(found[-1])})"


def _short(value: float) -> str:
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
