"""What becomes of measured figures: ratios within a round, tables, the page, and which write ends a measurement."""

from __future__ import annotations

import re
from pathlib import Path
from random import Random

import pytest

from bench import compiling, measures, plots, profiling
from bench.__main__ import repeating
from bench.contenders import Contender, ContenderFailed
from bench.measures import RESIDENT
from bench.results import Record, Results, Run
from bench.tables import spread, table
from bench.trace import Request, applied_at
from docs import benchmarks_page


def record(contender: str, round: int, value: float, *, size: int = 100, figure: str = "f [s]") -> Record:
    return Record(measurement="storm", size=size, round=round, contender=contender, figure=figure, value=value)


def results(*records: Record) -> Results:
    setting = {"processors": "2", "load before": "0.1"}
    return Results(runs=[Run(command="python -m bench storm", setting=setting, records=records)])


def test_a_ratio_is_taken_within_a_round() -> None:
    """A machine that is ten times slower in one round changes nothing."""
    measured = results(record("ours", 0, 2), record("bare", 0, 1), record("ours", 1, 20), record("bare", 1, 10))
    assert measured.ratios(size=100, rival="bare", figure="f [s]") == [2, 2]


def test_a_round_that_one_of_the_two_lacks_gives_no_ratio() -> None:
    measured = results(record("ours", 0, 2), record("ours", 1, 4), record("bare", 1, 1))
    assert measured.ratios(size=100, rival="bare", figure="f [s]") == [4]


def test_a_table_has_a_line_for_each_size_and_ours_first() -> None:
    measured = results(
        record("bare", 0, 1, size=1000), record("ours", 0, 3, size=1000), record("bare", 0, 1), record("ours", 0, 2)
    )
    assert table(measured, measurement="storm").splitlines() == [
        "| figure | N | ours | bare | ours ÷ bare | bar |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        "| f [s] | 100 | 2 | 1 | 2 |  |",
        "| f [s] | 1,000 | 3 | 1 | 3 |  |",
    ]


def test_a_table_names_the_bars_that_hold_at_a_size_against_those_who_took_part() -> None:
    """The bar against bare holds from 1,000 on; Go was there at 5,000 alone."""
    there = {"ours": (100, 1000, 5000), "bare": (100, 1000, 5000), "go": (5000,)}
    measured = results(
        *(
            record(name, 0, 1, size=size, figure=measures.APPLIED_SINCE_FIRST)
            for name, sizes in there.items()
            for size in sizes
        )
    )
    assert [line.split(" | ")[-1] for line in table(measured, measurement="storm").splitlines()[2:]] == [
        " |",
        "≤ 1.2 x bare |",
        "≤ 1.2 x bare; ≤ 1 x go |",
    ]


@pytest.mark.parametrize(
    ("values", "text"),
    [([], "-"), ([1.23456], "1.23"), ([3, 1, 2], "2 (1..3)"), ([12345.6], "12,346"), ([0.0001234], "0.000123")],
)
def test_a_spread_is_the_median_with_the_least_and_the_most(values: list[float], text: str) -> None:
    assert spread(values) == text


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    written = results(record("ours", 0, 2), record("bare", 0, 1))
    written.write(tmp_path / "figures.json")
    read = Results.read(tmp_path / "figures.json")
    [run], [was] = read.runs, written.runs
    assert (run.command, run.setting, tuple(run.records)) == (was.command, was.setting, was.records)


def test_a_run_replaces_what_it_has_measured_anew_and_leaves_the_rest() -> None:
    earlier = results(record("ours", 0, 1), record("bare", 0, 1), record("ours", 1, 1), record("ours", 0, 7, size=1000))
    anew = results(record("ours", 0, 2))
    kept = anew.over(earlier)
    assert [(one.size, one.contender, one.value) for one in kept.records] == [(1000, "ours", 7), (100, "ours", 2)]
    assert [one.size for one in kept.runs[0].records] == [1000]
    assert kept.runs[1:] == anew.runs
    again = results(record("ours", 0, 3), record("ours", 0, 3, size=1000))
    assert again.over(kept).runs == again.runs, "a run of which nothing is left is forgotten"


def test_a_page_without_figures_says_so_and_one_with_figures_says_where_they_come_from() -> None:
    assert benchmarks_page.figures(None) == f"{benchmarks_page.NONE}\n"
    page = benchmarks_page.figures(results(record("ours", 0, 2)))
    assert "Processors 2, load before 0.1: *storm* of 100." in page
    assert "    python -m bench storm\n" in page
    assert "| f [s] | 100 | 2 |" in page


def test_a_picture_is_drawn_of_two_sizes_or_more_and_has_a_tick_at_each_of_them(tmp_path: Path) -> None:
    plots.draw(results(*(record(who, 0, 2, figure=RESIDENT) for who in ("ours", "bare"))), folder=tmp_path)
    assert list(tmp_path.iterdir()) == []
    sizes = (100, 1_000, 5_000)
    plots.draw(results(*(record("ours", 0, 2, figure=RESIDENT, size=size) for size in sizes)), folder=tmp_path)
    (picture,) = tmp_path.iterdir()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", picture.read_text())
    assert [text for text in texts if text in ("100", "1,000", "5,000", "10,000")] == ["100", "1,000", "5,000"]


def test_applied_is_when_the_last_first_write_was_answered() -> None:
    """Neither a second write of the same counts, nor one that failed, nor one of something else."""

    def write(resource: str, name: str, end: float, *, code: int = 200) -> Request:
        return Request(verb="patch", resource=resource, namespace="n", name=name, code=code, begin=end - 0.1, end=end)

    requests = [
        write("services", "s", 1, code=409),
        write("services", "s", 2),
        write("nodeportaccesspolicies/status", "p", 3),
        write("services", "s", 4),
        write("events", "e", 5),
    ]
    assert applied_at(requests) == 3


@pytest.mark.parametrize("seed", range(5))
def test_both_ways_of_compiling_let_in_the_same_addresses(seed: int) -> None:
    """`compiled` refuses to measure where they disagree."""
    figures = compiling.compiled(count=30, random=Random(seed), lists=1)
    for way in ("ours", "plain"):
        assert figures[way]["emitted [ipBlocks]"] > 30
        assert figures[way]["emitted, pierced [ipBlocks]"] == 30 * 14


def test_what_is_emitted_grows_as_the_list_does_and_compiling_costs_no_more_than_the_plain_way() -> None:
    """A CIDR of a thousand took 0.9 to 1.3 times what one of a hundred took, and 0.2 to 0.5 of the plain way."""
    hundred, thousand = (compiling.compiled(count=count, random=Random(0)) for count in (100, 1000))
    for kind in ("", ", pierced"):
        blocks, took = f"emitted{kind} [ipBlocks]", f"compile{kind} [µs of CPU per CIDR]"
        assert thousand["ours"][blocks] == pytest.approx(10 * hundred["ours"][blocks], rel=0.1)
        assert thousand["ours"][took] < 3 * hundred["ours"][took]
        assert thousand["ours"][took] < 1.5 * thousand["plain"][took]


def test_a_profile_counts_each_sample_for_one_part_of_the_program() -> None:
    raw = "\n".join(
        [
            "main (a.py:1);_pass (nodeport_access/reconcile.py:9);_send (nodeport_access/kube/wire.py:2) 30",
            "run (asyncio/runners.py:1);_pass (nodeport_access/reconcile.py:9);plan (nodeport_access/plan.py:2) 50",
            "run (asyncio/runners.py:1);_run_once (asyncio/base_events.py:3) 20",
            "_bootstrap (threading.py:966);_worker (concurrent/futures/thread.py:81) 17",
            "_bootstrap (threading.py:966);_worker (concurrent/futures/thread.py:83);import_module (importlib) 10",
        ]
    )
    shares = profiling.parts(raw)
    assert {part: share for part, share in shares.items() if share} == {
        "requests": pytest.approx(30 / 110),
        "the rest of passes": pytest.approx(50 / 110),
        profiling.ELSE: pytest.approx(30 / 110),
    }
    assert sum(shares.values()) == pytest.approx(1)


def test_the_command_that_is_kept_does_not_say_where_files_went() -> None:
    words = ["drift", "--folder", "/somewhere", "--n", "100", "1000", "--write=figures.json", "--rounds", "2"]
    assert repeating(words) == "python -m bench drift --n 100 1000 --rounds 2"


def test_who_is_python_is_compiled_before_he_starts_whatever_this_process_was_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "contending.py").touch()
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    Contender(name="one", about="", command=lambda *_: [], modules=("contending",), source=tmp_path).compile()
    assert list(tmp_path.rglob("contending.*.pyc"))


def test_who_cannot_be_imported_is_named_with_the_reason() -> None:
    with pytest.raises(ContenderFailed, match=r"(?s)^one cannot be imported:.*no_such_module"):
        Contender(name="one", about="", command=lambda *_: [], modules=("no_such_module",)).compile()
