"""The operator, tampered with before it starts: for what no cluster can bring about. `OperatorProcess` runs it in place
of the operator's own module; `TAMPER` in its environment names what is done, words apart.

Not its business: what the operator should make of it.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nodeport_access import complaints, handlers, operating, reconcile, shelf, watches
from nodeport_access.__main__ import main
from nodeport_access.plan import Write, plan
from nodeport_access.snapshot import Snapshot

MODULE = "tests.api.tampered"
MARK = "tampered"
"""The name of objects over which a tampered operator stumbles."""


def crash() -> None:
    """One of its own tasks crashes when it hears of a marked object."""
    put = shelf.Shelf.put

    def stumble(self: shelf.Shelf[Any], body: dict[str, Any]) -> None:
        if body["metadata"]["name"] == MARK:
            raise RuntimeError("stumbled over a marked object")
        put(self, body)

    shelf.Shelf.put = stumble  # type: ignore[method-assign]  # that is the point


def curse() -> None:
    """Each pass over a marked Service raises."""

    def stumble(snapshot: Snapshot) -> tuple[Write, ...]:
        if snapshot.key.name == MARK:
            raise RuntimeError("stumbled over a marked Service")
        return plan(snapshot)

    reconcile.plan = stumble  # type: ignore[attr-defined]  # that is the point


def clock() -> None:
    """Wall time is off by the seconds in the file that `TAMPER_CLOCK` names."""
    offset = Path(os.environ["TAMPER_CLOCK"])

    class Shifted(datetime.datetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> Shifted:
            return super().now(tz) + datetime.timedelta(seconds=float(offset.read_text()))

    operating.datetime = Shifted  # type: ignore[attr-defined]  # that is the point


def strict() -> None:
    """Certificates are verified by default as Python 3.13 does it."""
    lenient = ssl.create_default_context

    def context(*args: Any, **kwargs: Any) -> ssl.SSLContext:
        made = lenient(*args, **kwargs)
        made.verify_flags |= ssl.VERIFY_X509_STRICT | ssl.VERIFY_X509_PARTIAL_CHAIN
        return made

    ssl.create_default_context = context


def impatient() -> None:
    """Whatever is refused is tried and told again several times a second: for what is granted and refused in turn."""
    pace = functools.partial(watches.Pace, backoff=(0.1, 0.2), refused=(0.2, 0.3), withheld=(0.2, 0.3))
    watches.Pace = pace  # type: ignore[misc, assignment]  # that is the point
    reconcile.FORBIDDEN_RETRY_SECONDS = 0.3
    complaints.Complaints.__init__.__kwdefaults__["every"] = 0.5  # type: ignore[index]  # it has defaults
    handlers.EndlessBackoffs.__iter__ = lambda _: itertools.repeat(0.3)  # type: ignore[method-assign]  # the same


TAMPERINGS: dict[str, Callable[[], None]] = {each.__name__: each for each in (crash, curse, clock, strict, impatient)}

if __name__ == "__main__":
    for name in os.environ["TAMPER"].split():
        TAMPERINGS[name]()
    main()
