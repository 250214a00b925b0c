"""What all checks of a policy come to: Ready, and Reconciling or Stalled where there is something to say.

Ready is about the guard, not about the way in: Reachable does not deny it. Not the business of this module: any
single finding.
"""

from __future__ import annotations

from collections.abc import Callable

from nodeport_access import checks, exposure
from nodeport_access.api import ConditionType, Isolation, Reason, TrafficPolicy
from nodeport_access.checks import Case, claimed
from nodeport_access.conditions import Condition, Status, fails, holds, listed
from nodeport_access.snapshot import Role

OPEN_DOORS = frozenset({Reason.HOST_NETWORK_BACKEND, Reason.UNGUARDED_CLUSTER_SERVICE})
"""Reasons of Enforceable that deny Ready, because the door is open in fact or cannot be shown to be shut."""

PASSING = frozenset(
    {Reason.SERVICE_NOT_FOUND, Reason.APPLY_FAILED, Reason.NOT_APPLIED, Reason.FOREIGN_WRITER, Reason.AUDIT_MODE}
)
"""Reasons that end without a person: by another writer's doing, or by the operator's next attempt."""

CHECKS: tuple[Callable[[Case], Condition], ...] = (
    checks.service_resolved,
    checks.client_ip_preserved,
    checks.allowlist_applied,
    checks.default_deny_applied,
    exposure.reachable,
    exposure.exclusive,
    exposure.enforceable,
)


def judge(case: Case) -> tuple[Condition, ...]:
    """All conditions of one policy: each check's, then Ready, then Reconciling or Stalled where there is something to
    say."""
    found = tuple(check(case) for check in CHECKS)
    violations = [condition for condition in found if _denies_ready(condition)]
    if case.role is Role.AUDITOR:
        return (*found, fails(ConditionType.READY, Reason.AUDIT_MODE))
    if case.role is Role.WAITING:
        message = claimed(case)
        return (
            *found,
            fails(ConditionType.READY, Reason.SERVICE_ALREADY_CLAIMED, message),
            holds(ConditionType.STALLED, Reason.SERVICE_ALREADY_CLAIMED, message),
        )
    if not violations:
        return (*found, holds(ConditionType.READY, Reason.GUARDED, _guarded(case)))
    # A violation that only a person can mend is worth more attention than one that passes.
    worst = next((violation for violation in violations if not _passes(case, violation)), violations[0])
    kind = ConditionType.RECONCILING if _passes(case, worst) else ConditionType.STALLED
    return (
        *found,
        fails(ConditionType.READY, worst.reason, worst.message),
        holds(kind, worst.reason, worst.message),
    )


def _denies_ready(condition: Condition) -> bool:
    if condition.holds or condition.type is ConditionType.REACHABLE:
        return False
    return (
        condition.type is not ConditionType.ENFORCEABLE
        or condition.reason in OPEN_DOORS
        or condition.status is Status.UNKNOWN
    )


def _passes(case: Case, violation: Condition) -> bool:
    managed = case.policy.traffic_policy is TrafficPolicy.LOCAL
    return violation.reason in PASSING or (violation.reason is Reason.CLUSTER_IN_FORCE and managed)


def _guarded(case: Case) -> str:
    service = case.service
    ports = [port.node_port for port in service.ports if port.node_port] if service else []
    scope = "every pod of the namespace" if case.policy.isolation is Isolation.NAMESPACE else "the Service's pods"
    return f"Node port {listed(map(str, ports))} admits the allowlist only; deny-all selects {scope}."
