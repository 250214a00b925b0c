"""Repairs that failed, or of which nobody knows: so that what somebody else did is told once, however often it takes.

A child that is gone is somebody's doing only as long as status says that it was there, which a failed repair changes.
And a repair whose answer was lost is found done by the next pass. Pure. Not the business of this module: what is drift
(``drift``, ``plan``), and telling of it (``reconcile``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from nodeport_access.api import ServiceKey
from nodeport_access.plan import Verb, Write


@dataclass(frozen=True, slots=True)
class _Doubt:
    write: Write
    unanswered: bool


class Doubts:
    """The last failed repair of each object, by Service."""

    def __init__(self) -> None:
        self._doubts: dict[ServiceKey, dict[str, _Doubt]] = {}

    def failed(self, key: ServiceKey, write: Write, *, unanswered: bool) -> None:
        """Remembers a write that repairs somebody else's doing; ``unanswered`` where it may have been carried out."""
        if write.drift is not None:
            self._doubts.setdefault(key, {})[write.object] = _Doubt(write, unanswered)

    def done(self, key: ServiceKey, write: Write) -> None:
        """Forgets it: the object was written, and told of."""
        self._doubts.get(key, {}).pop(write.object, None)

    def settle(self, key: ServiceKey, writes: Iterable[Write]) -> tuple[tuple[Write, ...], tuple[Write, ...]]:
        """What is due now, with what is known of the drift that it repairs, and what turns out to have been carried out
        before: nobody answered, and it is not due any more."""
        doubts = self._doubts.pop(key, {})
        due = tuple(writes)
        left = {write.object: doubts[write.object] for write in due if write.object in doubts}
        if left:
            self._doubts[key] = left
        proved = tuple(doubt.write for what, doubt in doubts.items() if what not in left and doubt.unanswered)
        return tuple(_recalled(write, left.get(write.object)) for write in due), proved


def _recalled(write: Write, doubt: _Doubt | None) -> Write:
    if doubt is None or write.verb is not Verb.CREATE or write.differences:
        return write
    return replace(write, differences=doubt.write.differences)
