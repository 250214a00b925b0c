"""Counts of what was asked and where it differed, so that a run shows what it is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.oracles.deviations import DEVIATIONS, Deviation


@dataclass(slots=True)
class Tally:
    """Cases, questions by the product's answer, and differences by the deviation that explains them."""

    title: str
    cases: int = 0
    admitted: Counter[bool] = field(default_factory=Counter)
    deviations: Counter[str] = field(default_factory=Counter)

    def met(self, deviation: Deviation) -> int:
        """How often a deviation explained a difference."""
        return self.deviations[f"{deviation.engine}: {deviation.name}"]

    def meet(self, deviation: Deviation) -> None:
        """Counts a difference that the deviation explains."""
        self.deviations[f"{deviation.engine}: {deviation.name}"] += 1

    def lines(self) -> Iterator[str]:
        """A few lines for people."""
        yield f"{self.title}: {self.cases} clusters, {self.admitted.total()} questions, {self.admitted[True]} admitted"
        for each in DEVIATIONS:
            if self.met(each):
                yield f"{self.met(each):8} {each.engine}: {each.name}"
