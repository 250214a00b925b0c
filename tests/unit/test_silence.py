"""When repairs are kept untold: while one Service after the other is repaired, each for so long at most."""

from __future__ import annotations

from nodeport_access.api import ServiceKey
from nodeport_access.silence import LONGEST_SECONDS, PRESS, PRESS_SECONDS, Silence

SHOP, BANK = ServiceKey("web", "shop"), ServiceKey("web", "bank")


class Clock:
    """Monotonic seconds that the test moves."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def press(silence: Silence, *, times: int = PRESS) -> None:
    for _ in range(times):
        silence.repaired()


def test_a_few_repairs_are_told_at_once() -> None:
    silence = Silence(time=Clock())
    press(silence, times=PRESS - 1)
    assert not silence.keeps(SHOP, repaired=True)
    press(silence, times=1)
    assert silence.keeps(SHOP, repaired=True)
    assert list(silence.untold) == [SHOP]


def test_repairs_that_come_slowly_are_told_at_once_however_many() -> None:
    clock = Clock()
    silence = Silence(time=clock)
    for _ in range(3 * PRESS):
        clock.seconds += 2 * PRESS_SECONDS / PRESS
        press(silence, times=1)
        assert not silence.keeps(SHOP, repaired=True)


def test_what_was_not_repaired_is_told_at_once_unless_a_repair_of_it_is_untold() -> None:
    silence = Silence(time=Clock())
    press(silence)
    assert not silence.keeps(SHOP, repaired=False)
    assert silence.keeps(SHOP, repaired=True)
    assert silence.keeps(SHOP, repaired=False)
    assert not silence.keeps(BANK, repaired=False)


def test_when_the_others_have_come_to_rest_nothing_is_kept_any_more() -> None:
    clock = Clock()
    silence = Silence(time=clock)
    press(silence)
    assert silence.keeps(SHOP, repaired=True)
    clock.seconds += PRESS_SECONDS
    assert not silence.keeps(SHOP, repaired=False)
    assert not silence.keeps(BANK, repaired=True)


def test_a_repair_that_is_repeated_does_not_lengthen_the_silence() -> None:
    clock = Clock()
    silence = Silence(time=clock)
    press(silence)
    assert silence.keeps(SHOP, repaired=True)
    clock.seconds = LONGEST_SECONDS - 1
    press(silence)
    assert silence.keeps(SHOP, repaired=True)
    assert silence.seconds_left(SHOP) == 1
    clock.seconds += 1
    press(silence)
    assert not silence.keeps(SHOP, repaired=True)
    silence.end(SHOP)
    assert silence.keeps(SHOP, repaired=True), "it may begin anew once it was told"
    assert silence.seconds_left(SHOP) == LONGEST_SECONDS
