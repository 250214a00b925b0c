"""What all checks of a policy come to: Ready, and Reconciling or Stalled where there is something to say.

Ready is about the guard, not about the way in: Reachable does not deny it. Not the business of this module: any
single finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nodeport_access import checks, exposure
from nodeport_access.api import ConditionType, Isolation
from nodeport_access.checks import Case, claimed
from nodeport_access.conditions import Condition, fails, holds, listed
from nodeport_access.reasons import Reason, Weight
from nodeport_access.snapshot import Role

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
    if case.role is Role.AUDITOR:
        return (*found, fails(ConditionType.READY, Reason.AUDIT_MODE))
    if case.role is Role.WAITING:
        return (*found, *_not_ready(Reason.SERVICE_ALREADY_CLAIMED, claimed(case)))
    for weight in (Weight.LASTING, Weight.PASSING):
        for condition in found:
            if condition.reason.weight is weight:
                return (*found, *_not_ready(condition.reason, condition.message))
    return (*found, holds(ConditionType.READY, Reason.GUARDED, _guarded(case, found)))


def _not_ready(reason: Reason, message: str) -> tuple[Condition, Condition]:
    kind = ConditionType.STALLED if reason.weight is Weight.LASTING else ConditionType.RECONCILING
    return fails(ConditionType.READY, reason, message), holds(kind, reason, message)


def _guarded(case: Case, found: Iterable[Condition]) -> str:
    """What is in force, and what is worth knowing about it although it does not deny Ready."""
    service = case.service
    ports = [str(port.node_port) for port in service.ports if port.node_port] if service else []
    match ports:
        case []:
            subject = "The Service admits"  # a load balancer may do without (allocateLoadBalancerNodePorts)
        case [port]:
            subject = f"Node port {port} admits"
        case _:
            subject = f"Node ports {listed(ports)} admit"
    scope = "every pod of the namespace" if case.policy.isolation is Isolation.NAMESPACE else "the Service's pods"
    warnings = [
        f" {condition.message}"
        for condition in found
        if condition.type is ConditionType.ENFORCEABLE and condition.reason.weight is Weight.WARNING
    ]
    return f"{subject} the allowlist only; deny-all selects {scope}.{''.join(warnings)}"
