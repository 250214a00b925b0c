"""A writer that keeps taking a field back is out-waited with growing intervals, and a row that is over is forgotten."""

from __future__ import annotations

from itertools import pairwise

from nodeport_access.api import ServiceKey
from nodeport_access.contention import FIRST_INTERVAL, LONGEST_INTERVAL, QUIET, Contention

KEY, OTHER = ServiceKey("web", "shop"), ServiceKey("web", "other")
HOUR = 3600


def fought(seconds: int, *, every: float = 1.0) -> list[float]:
    """When repairs happen if somebody takes the field back so often, for so long."""
    contention, repairs, now = Contention(), list[float](), 0.0
    while now < seconds:
        if contention.delay(KEY, now=now) == 0:
            contention.repaired(KEY, writer="argocd", now=now)
            repairs.append(now)
        now += every
    return repairs


def test_the_first_repair_is_immediate() -> None:
    assert Contention().delay(KEY, now=123.0) == 0.0


def test_a_field_taken_back_every_second_is_repaired_six_times_in_the_first_minute() -> None:
    assert fought(60) == [0, 1, 3, 7, 15, 31]


def test_intervals_double_up_to_the_longest() -> None:
    repairs = fought(HOUR)
    gaps = [later - earlier for earlier, later in pairwise(repairs)]
    assert gaps[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(gaps[9:]) == {LONGEST_INTERVAL}


def test_a_day_of_it_costs_one_repair_in_five_minutes() -> None:
    assert len(fought(24 * HOUR)) < 300


def test_a_delay_runs_down_to_zero() -> None:
    contention = Contention()
    for now in (0.0, 1.0):
        contention.repaired(KEY, writer="argocd", now=now)
    assert [contention.delay(KEY, now=now) for now in (1.0, 2.5, 3.0, 4.0)] == [2.0, 0.5, 0.0, 0.0]


def test_one_repair_makes_no_contender_and_two_make_one() -> None:
    contention = Contention()
    contention.repaired(KEY, writer="kubectl-edit", now=0.0)
    assert contention.contender(KEY, now=0.5) == ""
    contention.repaired(KEY, writer="argocd", now=1.0)
    assert contention.contender(KEY, now=1.5) == "argocd"


def test_a_writer_without_a_name_is_still_named() -> None:
    contention = Contention()
    for now in (0.0, 1.0):
        contention.repaired(KEY, writer="", now=now)
    assert contention.contender(KEY, now=1.0) == "an unknown writer"


def test_a_repair_that_lasts_ends_the_row() -> None:
    contention = Contention()
    for now in (0.0, 1.0):
        contention.repaired(KEY, writer="argocd", now=now)
    over = 1.0 + QUIET + 0.1
    assert contention.contender(KEY, now=over - 0.2) == "argocd"
    assert contention.contender(KEY, now=over) == ""
    assert contention.delay(KEY, now=over) == 0.0
    contention.repaired(KEY, writer="argocd", now=over)
    assert contention.delay(KEY, now=over) == FIRST_INTERVAL


def test_a_row_with_long_intervals_is_not_over_before_twice_the_interval() -> None:
    contention, now = Contention(), 0.0
    for _ in range(20):
        now += contention.delay(KEY, now=now)
        contention.repaired(KEY, writer="argocd", now=now)
    assert contention.delay(KEY, now=now) == LONGEST_INTERVAL
    assert contention.contender(KEY, now=now + 2 * LONGEST_INTERVAL) == "argocd"
    assert contention.contender(KEY, now=now + 2 * LONGEST_INTERVAL + 1) == ""


def test_services_are_told_apart() -> None:
    contention = Contention()
    contention.repaired(KEY, writer="argocd", now=0.0)
    assert contention.delay(OTHER, now=0.0) == 0.0


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    contention = Contention()
    contention.repaired(KEY, writer="argocd", now=0.0)
    contention.forget(KEY)
    contention.forget(OTHER)
    assert contention.delay(KEY, now=0.0) == 0.0
    assert not any(vars(contention).values())
