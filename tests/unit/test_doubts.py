"""What is known of a drift outlives a repair that failed, and nothing outlives the object."""

from __future__ import annotations

from dataclasses import replace

import pytest

from nodeport_access.api import Effect, PolicyKey, ServiceKey
from nodeport_access.doubts import Doubts
from nodeport_access.drift import Difference
from nodeport_access.outcome import Kind
from nodeport_access.plan import Verb, Write

KEY, OTHER = ServiceKey("web", "shop"), ServiceKey("web", "other")
GONE = Difference(path="(deleted)", want="present", have="absent", foreign=True, effect=Effect.OPENED)
FIRST = Write(
    verb=Verb.CREATE, kind=Kind.NETWORK_POLICY, namespace="web", name="shop-allow", policy=PolicyKey("web", "shop")
)
AGAIN = replace(FIRST, differences=(GONE,))
STRIP = replace(AGAIN, verb=Verb.STRIP)


def test_a_creation_that_failed_is_known_to_repair_a_deletion_until_it_is_done() -> None:
    doubts = Doubts()
    doubts.failed(KEY, AGAIN, unanswered=False)
    for _ in range(2):
        assert doubts.settle(KEY, [STRIP, FIRST]) == ((STRIP, AGAIN), ())
    assert doubts.settle(OTHER, [FIRST]) == ((FIRST,), ())
    doubts.done(KEY, FIRST)
    assert doubts.settle(KEY, [FIRST]) == ((FIRST,), ())


@pytest.mark.parametrize(("unanswered", "proved"), [(True, (AGAIN,)), (False, ())])
def test_what_is_not_due_any_more_was_carried_out_where_nobody_answered(
    unanswered: bool, proved: tuple[Write, ...]
) -> None:
    doubts = Doubts()
    doubts.failed(KEY, AGAIN, unanswered=unanswered)
    assert doubts.settle(KEY, []) == ((), proved)
    assert doubts.settle(KEY, []) == ((), ())
    assert vars(doubts) == {"_doubts": {}}


def test_a_write_that_repairs_nobodys_doing_leaves_no_doubt() -> None:
    doubts = Doubts()
    doubts.failed(KEY, FIRST, unanswered=True)
    assert vars(doubts) == {"_doubts": {}}
