"""Bars: each is met by who is good enough and breaks just beyond it, and none is met for want of a figure."""

from __future__ import annotations

from random import Random

import pytest

from bench import bars, compiling, measures
from bench.results import Record, Results, Run
from bench.tables import judged

IN_CI = [bar for bar in bars.BARS if bar.in_ci is not None]


def record(contender: str, figure: str, value: float, *, size: int, round: int = 0) -> Record:
    return Record(measurement="all", size=size, round=round, contender=contender, figure=figure, value=value)


def results(*records: Record) -> Results:
    return Results(runs=[Run(command="", setting={}, records=records)])


def good(*, size: int) -> list[Record]:
    """Every figure that has a bar: ours a tenth of each rival's, or nothing where there is none."""
    rivals = {bar.figure: [other.rival for other in bars.BARS if other.figure == bar.figure] for bar in bars.BARS}
    return [
        record(name, figure, value, size=size)
        for figure, names in rivals.items()
        for name, value in [("ours", 0.1 if any(names) else 0), *((rival, 1) for rival in names if rival)]
    ]


def test_all_bars_are_met_by_who_is_that_good() -> None:
    verdicts = list(bars.exact(results(*good(size=10_000))))
    assert [verdict.bar for verdict in verdicts] == list(bars.BARS)
    assert "missed" not in judged(verdicts)


@pytest.mark.parametrize("bar", IN_CI, ids=lambda bar: bar.figure)
def test_a_bar_of_ci_breaks_by_a_figure_just_beyond_it(bar: bars.Bar) -> None:
    assert bar.in_ci is not None
    limit = bars.at(bar.in_ci, size=150)
    rest = [one for one in good(size=150) if (one.contender, one.figure) != ("ours", bar.figure)]

    def missed(value: float) -> list[bars.Bar]:
        measured = results(*rest, record("ours", bar.figure, value, size=150))
        return [verdict.bar for verdict in bars.in_ci(measured) if not verdict.met]

    assert missed(limit) == []
    assert missed(limit * 1.01 + 0.01) == [bar]


def test_a_bar_of_ci_is_no_stricter_than_the_exact_one() -> None:
    for bar in IN_CI:
        assert bar.in_ci is not None
        assert bars.at(bar.in_ci, size=150) >= bars.at(bar.exact, size=150)


@pytest.mark.parametrize(("slow", "met"), [(1, True), (2, False)])
def test_most_rounds_decide(slow: int, met: bool) -> None:
    """A machine that is busy in one round breaks nothing, and one lucky round mends nothing."""
    figure = measures.APPLIED_SINCE_FIRST
    measured = results(
        *(record("ours", figure, 9 if number < slow else 1, size=1000, round=number) for number in range(3)),
        *(record("bare", figure, 1, size=1000, round=number) for number in range(3)),
    )
    assert [verdict.met for verdict in bars.exact(measured)] == [met]


def test_a_bar_holds_from_its_size_on() -> None:
    figure = measures.APPLIED_SINCE_FIRST
    records = [record(name, figure, 1, size=size) for name in ("ours", "bare") for size in (999, 1000, 5000)]
    assert [verdict.size for verdict in bars.exact(results(*records))] == [1000, 5000]


def test_every_bar_is_about_a_figure_that_is_measured() -> None:
    """One that bears another name by now would never be missed."""
    compiled = compiling.compiled(count=10, random=Random(0), lists=1)["ours"]
    measured = {figure for figures in measures.FIGURES_OF.values() for figure in figures} | compiled.keys()
    assert {bar.figure for bar in bars.BARS} <= measured


def test_a_bar_of_ci_that_nobody_measured_is_an_error() -> None:
    rest = [one for one in good(size=150) if one.figure != measures.RESTART_WRITES]
    with pytest.raises(ValueError, match=measures.RESTART_WRITES):
        list(bars.in_ci(results(*rest)))


def test_memory_may_grow_with_each_policy() -> None:
    [bar] = [bar for bar in bars.BARS if bar.figure == measures.RESIDENT]
    assert bars.at(bar.exact, size=10_000) == pytest.approx(100 + 10_000 * 12 / 1024)
