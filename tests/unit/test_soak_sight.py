"""Until when an operator must have seen what happened: the soak takes no later version for one that it may act upon.

The soak itself is in tests/soak.
"""

from __future__ import annotations

import pytest

from tests.soak.sight import LAG, RECOVERY, SETTLING, Sight


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sight(clock: Clock) -> Sight:
    return Sight(time=clock)


def test_in_no_trouble_it_has_seen_all_but_the_last_seconds(sight: Sight) -> None:
    assert sight.seen_until(100.0) == 100 - LAG


def test_in_trouble_it_has_seen_what_was_before(sight: Sight, clock: Clock) -> None:
    with sight.troubled():
        assert sight.seen_until(99.0) == 99 - LAG, "what was written before the trouble, too"
        clock.now = 150.0
        assert sight.seen_until(150.0) == 100 - LAG


def test_a_trouble_counts_until_watches_have_begun_anew(sight: Sight, clock: Clock) -> None:
    with sight.troubled():
        clock.now = 105.0
    assert sight.seen_until(104.9 + RECOVERY) == 100 - LAG
    assert sight.seen_until(105.0 + RECOVERY) == 105 + RECOVERY - LAG


def test_one_trouble_soon_after_another_goes_on_from_it(sight: Sight, clock: Clock) -> None:
    with sight.troubled():
        clock.now = 105.0
    clock.now = 104.9 + RECOVERY
    with sight.troubled():
        assert sight.seen_until(120.0) == 100 - LAG
    clock.now = 200.0
    with sight.troubled():
        assert sight.seen_until(200.0) == 200 - LAG


def test_the_sight_is_clear_again_a_little_after_a_trouble(sight: Sight, clock: Clock) -> None:
    assert sight.is_clear(100.0)
    with sight.troubled():
        assert not sight.is_clear(100.0)
        clock.now = 105.0
    assert not sight.is_clear(105.0)
    assert sight.is_clear(105.1 + SETTLING)
