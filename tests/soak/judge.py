"""Holds every write to the rule of `tests.api.histories.guarding`, by the opinion of the evaluator (`evaluated`).

By no write that is not a user's does anybody newly get in to pods that are kept shut, whom no policy allows in any
version that an operator may still act upon; nor does such a write take `Local` from a Service, touch what is a
stranger's, or cut off whom all versions allow. Where a Service is gone, or has no selector, what stood must stand; a
policy that is gone, or no longer enforces, keeps nobody out.

An operator may act upon each object as it was at any moment since it last had a clear sight of the world. Until when
that was, whoever troubles its sight has to know (`adversity`): to take it too early makes the rule blunt, to take it
too late makes it wrong. The rule is sharp in as far as policies are older than that, so the judge counts how many times
pods were kept shut when somebody wrote.

Whose write it was is known by what the users' own were answered with; all others are the operator's, or those of the
controllers, which must open as little. Not its business: what is done about a breach.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from testbed.cluster import Cluster
from tests.api.access import MANAGER, Json
from tests.api.histories.guarding import Guarding
from tests.api.histories.trail import OwnWrites, Trail
from tests.api.histories.vocabulary import POD_LABELS
from tests.soak import evaluated


class Judge:
    """Judges from its making on, whenever it is asked to."""

    def __init__(
        self,
        cluster: Cluster,
        *,
        namespaces: Iterable[str],
        own: OwnWrites,
        settled: Callable[[], None],
        seen_until: Callable[[float], float],
    ) -> None:
        """``namespaces`` are still to be made. ``own`` is complete, as far as what was written before goes, once
        ``settled`` has returned. ``seen_until``: at a moment, what was over before which other no operator acts upon
        any more, both by `time.monotonic`."""
        self.counts: Counter[str] = Counter()
        """How many writes, by kind and by whose they were, and how often pods were kept shut when others wrote."""
        self.objects: Counter[str] = Counter()
        """How many there are, by kind."""
        self._own = own
        self._settled = settled
        self._seen_until = seen_until
        self._trail = Trail(cluster, place="soak")
        self._guardings = {name: Guarding(evaluated) for name in namespaces}
        self._applied: dict[tuple[str, str, str], str] = {}
        self._until = time.monotonic()

    def quiet(self) -> None:
        """All is as it should be at this moment: whatever was before does not count."""
        for guarding in self._guardings.values():
            guarding.quiet()

    def breach(self) -> tuple[str, str] | None:
        """The first one in all that happened since the last time: the namespace, and a sentence."""
        # What is told now was written since the last time: the earliest moment at which somebody may have acted.
        began, self._until = self._until, time.monotonic()
        for guarding in self._guardings.values():
            guarding.forget(self._seen_until(began))
        events = self._trail.events()
        self._settled()
        at = time.monotonic()
        for event in events:
            namespace = event["object"]["metadata"]["namespace"]
            if namespace in self._guardings and (sentence := self._take(event, self._guardings[namespace], at=at)):
                return namespace, sentence
        return None

    def _take(self, event: Json, guarding: Guarding, *, at: float) -> str | None:
        kind = event["object"]["kind"]
        applied_by_us = self._is_applied_by_us(event)
        own = self._own.made(event) and not applied_by_us
        self.objects[kind] += {"ADDED": 1, "DELETED": -1}.get(event["type"], 0)
        self.counts[f"{kind} of {'users' if own else 'others'}"] += 1
        sentence = guarding.take(event, own=own, at=at)
        if not own and kind == "NetworkPolicy":
            self.counts["pods kept shut meanwhile"] += sum(map(guarding.keeps_shut, POD_LABELS))
        return sentence

    def _is_applied_by_us(self, event: Json) -> bool:
        """Whether this is a write by which the operator's entry in managedFields became newer. A user whose write
        changes nothing is answered with the version of somebody else's."""
        metadata = event["object"]["metadata"]
        key = (event["object"]["kind"], metadata["namespace"], metadata["name"])
        if event["type"] == "DELETED":
            self._applied.pop(key, None)
            return False
        times = [one.get("time", "") for one in metadata.get("managedFields") or () if one["manager"] == MANAGER]
        before, now = self._applied.get(key, ""), max(times, default="")
        self._applied[key] = now
        return now > before
