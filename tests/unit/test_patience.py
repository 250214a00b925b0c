"""What the API server wants put off is put off, and remembered no longer than that."""

from __future__ import annotations

import pytest

from nodeport_access.api import ServiceKey
from nodeport_access.outcome import Failure
from nodeport_access.patience import LONGEST_SECONDS, Patience
from nodeport_access.reasons import Reason

KEY, OTHER = ServiceKey("web", "shop"), ServiceKey("web", "other")


def busy(retry_after: float) -> Failure:
    return Failure(reason=Reason.APPLY_FAILED, message="busy", retry_after=retry_after)


def test_a_failure_is_put_off_for_as_long_as_it_says_and_alone() -> None:
    patience, failure = Patience(), busy(3.0)
    assert patience.put_off(KEY, "Service/shop", failure, now=100.0) == 3.0
    assert patience.still(KEY, "Service/shop", now=102.0) == (failure, 1.0)
    assert patience.still(KEY, "Service/shop", now=103.0) is None
    assert patience.still(KEY, "NetworkPolicy/shop-allow", now=100.0) is None
    assert patience.still(OTHER, "Service/shop", now=100.0) is None


@pytest.mark.parametrize(("asked", "granted"), [(0.0, 0.0), (86_400.0, LONGEST_SECONDS)])
def test_nothing_is_put_off_unasked_and_nothing_for_long(asked: float, granted: float) -> None:
    assert Patience().put_off(KEY, "Service/shop", busy(asked), now=0.0) == granted


def test_what_is_over_is_forgotten() -> None:
    patience = Patience()
    patience.put_off(KEY, "Service/shop", busy(1.0), now=0.0)
    patience.put_off(KEY, "NetworkPolicy/shop-allow", busy(5.0), now=0.0)
    patience.tidy(KEY, now=2.0)
    assert patience.still(KEY, "Service/shop", now=0.5) is None
    assert patience.still(KEY, "NetworkPolicy/shop-allow", now=2.0) is not None
    patience.tidy(KEY, now=5.0)
    assert vars(patience) == {"_put_off": {}}
