"""When a process counts as grown, and when there is not enough to say.

The soak itself is in tests/soak.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.soak.steadiness import LEAST_SAMPLES, Sample, growth, sample


def life(
    *, seconds: int, mib: Callable[[int], float] = lambda _: 70.0, files: Callable[[int], int] = lambda _: 30
) -> list[Sample]:
    return [Sample(at=float(at), mib=mib(at), files=files(at), objects=80) for at in range(seconds + 1)]


def complaints(samples: list[Sample]) -> list[str]:
    found = growth(samples)
    assert found is not None
    return found.complaints()


def test_a_process_that_warms_up_and_then_stays_as_it_is_has_not_grown() -> None:
    assert complaints(life(seconds=3600, mib=lambda at: min(70.0, 40 + at / 10), files=lambda at: 30 + at % 3)) == []


def test_a_kibibyte_for_every_pass_is_a_growth_within_an_hour() -> None:
    (sentence,) = complaints(life(seconds=3600, mib=lambda at: 70 + 5 * at / 1024))
    assert "MiB of memory: 76.6 in the second quarter of its life, 85.4 in the last, 0.50 h later" in sentence


def test_a_file_that_stays_open_every_minute_is_a_growth_within_half_an_hour() -> None:
    (sentence,) = complaints(life(seconds=1800, files=lambda at: 30 + at // 60))
    assert "open files" in sentence


@pytest.mark.parametrize(("seconds", "complaining"), [(60, 0), (400, 1)])
def test_what_is_warming_up_in_a_minute_is_a_growth_in_several(seconds: int, complaining: int) -> None:
    assert len(complaints(life(seconds=seconds, mib=lambda at: 70 + 10 * at / seconds))) == complaining


def test_one_peak_is_no_growth() -> None:
    assert complaints(life(seconds=400, mib=lambda at: 170.0 if at == 390 else 70.0)) == []


@pytest.mark.parametrize("seconds", [0, LEAST_SAMPLES - 2])
def test_a_short_life_says_nothing(seconds: int) -> None:
    assert growth(life(seconds=seconds)) is None


def test_a_process_is_seen_with_its_memory_and_its_files_and_one_that_is_gone_is_not() -> None:
    seen = sample(os.getpid(), at=1.0, objects=2)
    assert seen is not None
    assert seen.mib > 10
    with open(os.devnull), open(os.devnull):
        more = sample(os.getpid(), at=1.0, objects=2)
    assert more is not None
    assert more.files == seen.files + 2
    assert sample(2**22 + 1, at=1.0, objects=2) is None
