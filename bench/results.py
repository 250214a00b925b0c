"""What was measured, as records in a JSON file, and the ratios between contenders.

A ratio is taken inside one round, of two contenders that ran one after the other, and only then is the median of it
taken: a machine that is slow for an hour is slow for both. Not its business: measuring (`bench.measures`), and how it
is shown (`bench.tables`).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

OURS = "ours"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One figure; the unit is in the name of what was measured. `size` is N, or of churn its rate."""

    measurement: str
    size: int
    round: int
    contender: str
    figure: str
    value: float


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """The figures of one run: the command that repeats it, and what it was measured on and of, by names."""

    command: str
    setting: Mapping[str, str]
    records: Sequence[Record]


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """The figures of one run, or what is left of several, the newest last."""

    runs: Sequence[Run]

    @property
    def records(self) -> list[Record]:
        return [record for run in self.runs for record in run.records]

    def over(self, earlier: Results) -> Results:
        """These, and of earlier runs whatever these have not measured anew: a measurement at a size as a whole, since
        a ratio is taken inside a run. A run of which nothing is left is not kept."""
        anew = {(record.measurement, record.size) for record in self.records}
        kept = []
        for run in earlier.runs:
            left = [record for record in run.records if (record.measurement, record.size) not in anew]
            kept += [dataclasses.replace(run, records=left)] if left else []
        return Results(runs=[*kept, *self.runs])

    @classmethod
    def read(cls, path: Path) -> Self:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            runs=[Run(**{**run, "records": [Record(**record) for record in run["records"]]}) for run in content["runs"]]
        )

    def write(self, path: Path) -> None:
        """One record a line, so that a new run can be compared with the one before."""
        runs = ",\n".join(map(_as_text, self.runs))
        path.write_text(f'{{"runs": [\n{runs}\n]}}\n', encoding="utf-8")

    @property
    def sizes(self) -> list[int]:
        """Every N that was measured, the smallest first."""
        return sorted({record.size for record in self.records})

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


def _as_text(run: Run) -> str:
    head = json.dumps({"command": run.command, "setting": dict(run.setting)})[:-1]
    records = ",\n".join(f"  {json.dumps(dataclasses.asdict(record))}" for record in run.records)
    return f'{head}, "records": [\n{records}\n]}}'
