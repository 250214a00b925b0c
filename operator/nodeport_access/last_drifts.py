"""When each policy last drifted, by what that did to access: so that a harmless change never hides one that opened.

``status.lastDrift`` holds the last one only, but outlives the process; what was seen since the start is kept here
beside it. Pure: time is passed in. Not the business of this module: what drifted (``drift``), and how often
(``metrics``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nodeport_access.api import Effect, Policy, ServiceKey


class LastDrifts:
    """Times by Service and policy; a policy that is created anew under an old name begins anew."""

    def __init__(self) -> None:
        self._seen: dict[ServiceKey, dict[str, dict[Effect, datetime]]] = {}

    def note(self, policy: Policy, effect: Effect, *, now: datetime) -> None:
        """Keeps that a drift of this policy's objects was repaired."""
        self._seen.setdefault(policy.service, {}).setdefault(policy.uid, {})[effect] = now

    def of(self, policy: Policy) -> Mapping[Effect, datetime]:
        """The last time of each effect: of those seen, and of the one in status."""
        times = dict(self._seen.get(policy.service, {}).get(policy.uid, {}))
        if (told := _told(policy.status.get("lastDrift"))) is not None:
            effect, time = told
            times[effect] = max(time, times.get(effect, time))
        return times

    def tidy(self, key: ServiceKey, policies: Iterable[Policy]) -> None:
        """Drops what was kept for a Service's policies that are gone."""
        left = {policy.uid for policy in policies}
        seen = {uid: times for uid, times in self._seen.pop(key, {}).items() if uid in left}
        if seen:
            self._seen[key] = seen


def _told(drift: Any) -> tuple[Effect, datetime] | None:
    """What status tells; nothing where somebody has written what cannot be read."""
    try:
        effect, time = Effect(drift["effect"]), datetime.fromisoformat(drift["time"])
    except (KeyError, TypeError, ValueError):
        return None
    return effect, time if time.tzinfo is not None else time.replace(tzinfo=UTC)
