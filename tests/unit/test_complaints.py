"""A complaint is said at once, then once a minute while it lasts; a settled one that comes again is news."""

from __future__ import annotations

from nodeport_access.complaints import EVERY_SECONDS, Complaints


class Clock:
    """Time as a number that the test moves."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def test_a_complaint_that_lasts_is_said_at_once_and_then_once_a_minute() -> None:
    clock = Clock()
    complaints = Complaints(time=clock)
    said = []
    for second in range(150):
        clock.now = 1_000.0 + second
        if complaints.due("refused"):
            said.append(second)
    assert said == [0, 60, 120]


def test_topics_are_told_apart() -> None:
    complaints = Complaints(time=Clock())
    assert complaints.due("one")
    assert complaints.due("other")
    assert not complaints.due("one")


def test_what_was_settled_is_news_when_it_comes_again() -> None:
    complaints = Complaints(time=Clock())
    assert complaints.due("refused")
    complaints.settle("refused")
    complaints.settle("never said")
    assert complaints.due("refused")


def test_what_is_not_said_any_more_is_forgotten() -> None:
    clock = Clock()
    complaints = Complaints(time=clock)
    for number in range(100):
        complaints.due(number)
    clock.now += EVERY_SECONDS
    complaints.due("last")
    assert vars(complaints)["_said"].keys() == {"last"}
