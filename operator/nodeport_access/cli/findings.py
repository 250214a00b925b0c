"""What the operator's own checks say of policies: which cannot be carried out as they stand, and what else people
should know of.

Not the business of this module: the checks themselves (``checks``, ``exposure``, ``verdict``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from nodeport_access.api import ConditionType, PolicyKey
from nodeport_access.conditions import Condition, Status
from nodeport_access.inventory import Inventory, ObjectKey, judged
from nodeport_access.kube import NODES, POLICIES
from nodeport_access.reasons import Reason, Weight


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One sentence about a policy, with the reason of its condition and the place of the policy. ``blocked``: the
    policy is not in force, and no write of the operator would change that."""

    policy: PolicyKey
    reason: Reason
    message: str
    place: str
    blocked: bool


def findings(inventory: Inventory, now: datetime) -> tuple[Finding, ...]:
    """What there is to say about the policies of an inventory, by policy; for one on which the operator's work is
    done."""
    found: list[Finding] = []
    nodes_known = bool(inventory.bodies(NODES))
    for policy, conditions in judged(inventory, now).items():
        place = inventory.place(ObjectKey(POLICIES, policy.namespace, policy.name))
        for condition in conditions:
            if _worth_telling(condition, nodes_known=nodes_known):
                blocked = condition.type is ConditionType.READY and condition.reason is not Reason.AUDIT_MODE
                found.append(
                    Finding(
                        policy=policy,
                        reason=condition.reason,
                        message=condition.message,
                        place=place,
                        blocked=blocked,
                    )
                )
    return tuple(found)


def _worth_telling(condition: Condition, *, nodes_known: bool) -> bool:
    """Ready where it is denied, and what warns; files without nodes say nothing about where the pods are."""
    if condition.type is ConditionType.READY:
        return not condition.holds
    warns = condition.status is Status.FALSE and condition.reason.weight is Weight.WARNING
    return warns and (nodes_known or condition.type is not ConditionType.REACHABLE)
