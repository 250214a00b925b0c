"""Status conditions, exactly as metav1.Condition, and how a list of them changes.

The rules are the API conventions' ("Typical status properties") and kstatus': ``lastTransitionTime`` moves when
``status`` changes, every condition carries the generation it speaks of, abnormal-true conditions are absent when all
is normal. Not the business of this module: what is true (``checks``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from nodeport_access.api import Body, ConditionType
from nodeport_access.reasons import Reason

MESSAGE_LIMIT = 32768
"""Bytes and characters that metav1.Condition allows in a message."""


class Status(StrEnum):
    """A condition's status."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Condition:
    """What is found now about one aspect, before generation and time are added."""

    type: ConditionType
    status: Status
    reason: Reason
    message: str

    @property
    def holds(self) -> bool:
        """Whether its status is True."""
        return self.status is Status.TRUE


NAMED = 5
"""How many names a message lists before it counts the rest."""


def holds(kind: ConditionType, reason: Reason, message: str = "") -> Condition:
    """A condition that is True; the reason's own sentence where there is no better message."""
    return Condition(kind, Status.TRUE, reason, message or reason.sentence)


def fails(kind: ConditionType, reason: Reason, message: str = "") -> Condition:
    """A condition that is False; the reason's own sentence where there is no better message."""
    return Condition(kind, Status.FALSE, reason, message or reason.sentence)


def unknown(kind: ConditionType, cause: Condition) -> Condition:
    """A condition that cannot be judged because another one fails."""
    return Condition(kind, Status.UNKNOWN, cause.reason, cause.message)


def undecided(kind: ConditionType, reason: Reason) -> Condition:
    """A condition that cannot be judged for a reason of its own."""
    return Condition(kind, Status.UNKNOWN, reason, reason.sentence)


def listed(names: Iterable[str], *, separator: str = ", ") -> str:
    """Names for a message: the first few, and how many more there are."""
    names = list(names)
    rest = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return separator.join(names[:NAMED]) + rest


ABNORMAL_TRUE = frozenset({ConditionType.RECONCILING, ConditionType.STALLED})
"""Those that are absent when all is normal."""

_ORDER = {kind: index for index, kind in enumerate(ConditionType)}


def upsert(
    existing: Iterable[Mapping[str, Any]], found: Iterable[Condition], *, generation: int, now: datetime
) -> list[Body]:
    """The conditions to write: what is found, in the order of ConditionType, each keeping its transition time where
    its status did not change. Types that are not found are left out, and with that removed; an abnormal-true one that
    says False already is left as it is (``denied``)."""
    before = {condition.get("type"): condition for condition in existing}
    found, time = list(found), timestamp(now)
    left = ABNORMAL_TRUE - {condition.type for condition in found}
    kept = [dict(one) for kind, one in before.items() if kind in left and one.get("status") == Status.FALSE]
    return [
        {
            "type": str(condition.type),
            "status": str(condition.status),
            "reason": str(condition.reason),
            "message": condition.message[:MESSAGE_LIMIT],
            "observedGeneration": generation,
            "lastTransitionTime": _transition(before.get(condition.type), condition, time),
        }
        for condition in sorted(found, key=lambda condition: _ORDER[condition.type])
    ] + kept


def denied(written: Mapping[str, Any], wanted: Iterable[Mapping[str, Any]]) -> list[Body]:
    """What to write in place of the abnormal-true conditions that an apply has left standing in a status: someone else
    owns them too, and no apply of ours takes away what another owns. Here they say that all is normal."""
    asked_for = {condition["type"]: condition for condition in wanted}
    ready = asked_for[ConditionType.READY]
    return [
        {**ready, "type": condition["type"], "status": str(Status.FALSE)}
        for condition in written.get("conditions") or ()
        if condition.get("type") in ABNORMAL_TRUE - asked_for.keys()
    ]


def _transition(before: Mapping[str, Any] | None, condition: Condition, now: str) -> str:
    if before is not None and before.get("status") == condition.status and before.get("lastTransitionTime"):
        return str(before["lastTransitionTime"])
    return now


def timestamp(time: datetime) -> str:
    """RFC 3339 in UTC with whole seconds, the form of metav1.Time."""
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def is_true(status: Mapping[str, Any], kind: ConditionType) -> bool:
    """Whether a raw status carries this condition as True."""
    return any(
        item.get("type") == kind and item.get("status") == Status.TRUE for item in status.get("conditions") or ()
    )
