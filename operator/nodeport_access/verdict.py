"""What all checks of a policy come to: Ready, and Reconciling or Stalled where there is something to say.

Ready is about the guard, not about the way in: Reachable does not deny it. Not the business of this module: any
single finding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from nodeport_access import checks, exposure
from nodeport_access.api import ConditionType, Isolation
from nodeport_access.checks import Case, claimed
from nodeport_access.conditions import Condition, Status, fails, holds, listed
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
                message = condition.message + _not_held_back(found, told=condition)
                return (*found, *_not_ready(condition.reason, message))
    return (*found, holds(ConditionType.READY, Reason.GUARDED, _guarded(case) + _not_held_back(found)))


def _not_ready(reason: Reason, message: str) -> tuple[Condition, Condition]:
    kind = ConditionType.STALLED if reason.weight is Weight.LASTING else ConditionType.RECONCILING
    return fails(ConditionType.READY, reason, message), holds(kind, reason, message)


def _not_held_back(found: Iterable[Condition], *, told: Condition | None = None) -> str:
    """What Enforceable has to say, for the end of a message of Ready, where people look: whether or not it denies
    Ready, and whatever else does, and what nobody knows for want of nodes. Nothing where that message is its own."""
    return "".join(
        f" {condition.message}"
        for condition in found
        if condition.type is ConditionType.ENFORCEABLE
        and (condition.status is Status.FALSE or condition.reason is Reason.NODES_NOT_LISTED)
        and condition is not told
    )


def _guarded(case: Case) -> str:
    """What is in force."""
    service = case.service
    ports = [str(number) for number in service.node_ports] if service else []
    match ports:
        case []:
            subject = "The Service admits"  # a load balancer may do without (allocateLoadBalancerNodePorts)
        case [port]:
            subject = f"Node port {port} admits"
        case _:
            subject = f"Node ports {listed(ports)} admit"
    scope = "every pod of the namespace" if case.policy.isolation is Isolation.NAMESPACE else "the Service's pods"
    return f"{subject} the allowlist only; deny-all selects {scope}."
