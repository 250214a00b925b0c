"""Waiting for a state of the world, with a bound and a message that says what did not come about.

Not its business: what is waited for.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class TimedOut(AssertionError):  # noqa: N818 - it says what happened
    """What was waited for did not come about in time. An AssertionError, so that a test fails by it."""


def wait_for(
    predicate: Callable[[], T],
    *,
    seconds: float,
    what: str,
    every: float = 0.05,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> T:
    """Call `predicate` until it returns something true, and return that.

    An AssertionError in the predicate counts as "not yet", so it may be written as plain asserts (and must then return
    True). Every other exception passes through at once.

    Raises TimedOut after `seconds`, with `what`, and the last answer or the last failed assertion.
    """
    start = monotonic()
    while True:
        try:
            answer = predicate()
            last = f"last seen: {answer!r}"
        except AssertionError as failed:
            last = f"last failed: {failed}"
        else:
            if answer:
                return answer
        if monotonic() - start >= seconds:
            raise TimedOut(f"after {seconds:g} s still waiting for {what}; {last[:4000]}")
        sleep(every)
