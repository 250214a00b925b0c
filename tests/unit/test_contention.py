"""A writer that keeps taking a field back is out-waited with growing intervals, which stay short where it changes who
gets in; and a row that is over is forgotten."""

from __future__ import annotations

from itertools import pairwise

import pytest

from nodeport_access.api import ServiceKey
from nodeport_access.contention import QUIET, Contention, Pace

KEY, OTHER = ServiceKey("web", "shop"), ServiceKey("web", "other")
WHAT = "spec.externalTrafficPolicy of Service/shop"
FIRST_INTERVAL, LONGEST_INTERVAL = Pace.PATIENT.value
HOUR = 3600


def delay(contention: Contention, now: float, *, key: ServiceKey = KEY, what: str = WHAT) -> float:
    return contention.delay(key, what, pace=Pace.PATIENT, now=now)


def repaired(contention: Contention, now: float, *, writer: str = "argocd", what: str = WHAT) -> None:
    contention.repaired(KEY, what, writer=writer, now=now)


def contender(contention: Contention, now: float) -> str:
    return contention.contender(KEY, WHAT, now=now)


def fought(seconds: int, *, every: float = 1.0, pace: Pace = Pace.PATIENT) -> list[float]:
    """When repairs happen if somebody takes the field back so often, for so long."""
    contention, repairs, now = Contention(), list[float](), 0.0
    while now < seconds:
        if contention.delay(KEY, WHAT, pace=pace, now=now) == 0:
            repaired(contention, now)
            repairs.append(now)
        now += every
    return repairs


def test_the_first_repair_is_immediate() -> None:
    assert delay(Contention(), 123.0) == 0.0


def test_a_field_taken_back_every_second_is_repaired_six_times_in_the_first_minute() -> None:
    assert fought(60) == [0, 1, 3, 7, 15, 31]


def test_what_changes_who_gets_in_is_repaired_about_once_a_second_without_end() -> None:
    repairs = fought(60, every=0.001, pace=Pace.URGENT)
    gaps = [later - earlier for earlier, later in pairwise(repairs)]
    assert gaps[:5] == pytest.approx([0.05, 0.1, 0.2, 0.4, 0.8], abs=0.002)
    assert gaps[5:] == pytest.approx([1.0] * 58, abs=0.002)


def test_a_long_row_of_harmless_repairs_does_not_hold_back_an_urgent_one() -> None:
    contention = Contention()
    for now in range(20):
        repaired(contention, float(now))
    assert delay(contention, 19.0) == LONGEST_INTERVAL
    assert contention.delay(KEY, WHAT, pace=Pace.URGENT, now=19.0) == 1.0


def test_a_row_goes_on_until_a_repair_lasts() -> None:
    contention = Contention()
    assert not contention.going_on(KEY, WHAT, now=0.0)
    repaired(contention, 0.0)
    assert contention.going_on(KEY, WHAT, now=QUIET)
    assert not contention.going_on(KEY, WHAT, now=QUIET + 1)


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
        repaired(contention, now)
    assert [delay(contention, now) for now in (1.0, 2.5, 3.0, 4.0)] == [2.0, 0.5, 0.0, 0.0]


def test_one_repair_makes_no_contender_and_two_make_one() -> None:
    contention = Contention()
    repaired(contention, 0.0, writer="kubectl-edit")
    assert contender(contention, 0.5) == ""
    repaired(contention, 1.0)
    assert contender(contention, 1.5) == "argocd"


def test_a_writer_without_a_name_is_still_named() -> None:
    contention = Contention()
    for now in (0.0, 1.0):
        repaired(contention, now, writer="")
    assert contender(contention, 1.0) == "an unknown writer"


def test_a_repair_that_lasts_ends_the_row() -> None:
    contention = Contention()
    for now in (0.0, 1.0):
        repaired(contention, now)
    over = 1.0 + QUIET + 0.1
    assert contender(contention, over - 0.2) == "argocd"
    assert contender(contention, over) == ""
    assert delay(contention, over) == 0.0
    repaired(contention, over)
    assert delay(contention, over) == FIRST_INTERVAL


def test_a_row_with_long_intervals_is_not_over_before_twice_the_interval() -> None:
    contention, now = Contention(), 0.0
    for _ in range(20):
        now += delay(contention, now)
        repaired(contention, now)
    assert delay(contention, now) == LONGEST_INTERVAL
    assert contender(contention, now + 2 * LONGEST_INTERVAL) == "argocd"
    assert contender(contention, now + 2 * LONGEST_INTERVAL + 1) == ""


def test_services_and_fields_are_told_apart() -> None:
    contention = Contention()
    repaired(contention, 0.0)
    assert delay(contention, 0.0, key=OTHER) == 0.0
    assert delay(contention, 0.0, what="metadata.labels of Service/shop") == 0.0


def test_a_row_that_is_over_goes_though_nobody_asks_about_it() -> None:
    contention = Contention()
    repaired(contention, 0.0, what="metadata.finalizers of NetworkPolicy/gone-allow")
    repaired(contention, QUIET)
    contention.tidy(KEY, now=QUIET + 1)
    assert contention.going_on(KEY, WHAT, now=QUIET + 1)
    contention.tidy(KEY, now=3 * QUIET)
    assert not any(vars(contention).values())


def test_what_is_forgotten_leaves_nothing_behind() -> None:
    contention = Contention()
    repaired(contention, 0.0)
    contention.forget(KEY)
    contention.forget(OTHER)
    assert delay(contention, 0.0) == 0.0
    assert not any(vars(contention).values())


def test_a_fight_is_what_somebody_took_back_twice_until_the_row_is_over() -> None:
    contention = Contention()
    repaired(contention, 0.0)
    repaired(contention, 0.0, what="another field")
    assert list(contention.fights(now=0.0)) == []
    repaired(contention, 10.0)
    assert list(contention.fights(now=10.0)) == [(KEY, 1)]
    repaired(contention, 11.0, what="another field")
    assert list(contention.fights(now=11.0 + QUIET - 2)) == [(KEY, 2)]
    assert list(contention.fights(now=10.5 + QUIET)) == [(KEY, 1)]
    assert list(contention.fights(now=11.0 + QUIET + 1)) == []
