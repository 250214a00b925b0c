"""Whether somebody else may have let people in: told from a change that was just seen, or at the start from all that
stands.

For the order in which Services are looked at when there are many, so it is cheap, and may say so once too often, never
once too seldom. Not the business of this module: what is wanted, and so what exactly has drifted (``drift``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nodeport_access import rules
from nodeport_access.api import ConditionType, Effect, Isolation, Policy, TrafficPolicy
from nodeport_access.conditions import is_true
from nodeport_access.observed import NetworkPolicy, Service

ADMITTING = frozenset({"spec.podSelector", "spec.policyTypes", "spec.ingress"})
"""The fields of a NetworkPolicy that decide who gets in."""


def service_opened(old: Service, new: Service) -> bool:
    """Whether node ports have come to hide who calls."""
    return _hides_clients(new) and not _hides_clients(old)


def _hides_clients(service: Service) -> bool:
    return service.has_node_ports and service.external_traffic_policy != "Local"


def edit_opened(old: NetworkPolicy, new: NetworkPolicy) -> bool:
    """Whether somebody else has made a child admit more. What we write ourselves is ours afterwards, and costs a
    comparison of names."""
    foreign = ADMITTING.difference(new.ownership.ours)
    return bool(foreign) and rules.change(before=old.spec, after=new.spec) is Effect.OPENED


def deletion_opened(name: str, *, policies: Sequence[Policy], children: Mapping[str, NetworkPolicy]) -> bool:
    """Whether pods are not isolated any more now that the child of this name is gone, or going. ``policies`` are all
    that name its Service, ``children`` what is left there."""
    enforcing = {policy.key.name: policy for policy in policies if policy.enforcing}
    for policy in enforcing.values():
        if name == policy.deny_name and policy.isolation is Isolation.NAMESPACE:
            return True
    return not any(child.claims & enforcing.keys() and not child.deleting for child in children.values())


def may_be_open(service: Service | None, *, policies: Sequence[Policy], children: Mapping[str, NetworkPolicy]) -> bool:
    """Whether what was guarded may have been opened while nobody looked. ``policies`` are all that name the Service, in
    the order of claims. A child that was only cut down counts too, unless nothing is left of it."""
    enforcing = [policy for policy in policies if policy.enforcing]
    if service is not None and enforcing and _hides_clients(service) and _was_local(service, enforcing[0]):
        return True
    for policy in enforcing:
        applied = {
            policy.allow_name: ConditionType.ALLOWLIST_APPLIED,
            policy.deny_name: ConditionType.DEFAULT_DENY_APPLIED,
        }
        for name, kind in applied.items():
            if (child := children.get(name)) is None or child.deleting:
                if is_true(policy.status, kind) and deletion_opened(name, policies=policies, children=children):
                    return True
            elif child.is_child_of(policy.key.name) and _may_admit_more(child):
                return True
    return False


def _was_local(service: Service, holder: Policy) -> bool:
    if holder.traffic_policy is not TrafficPolicy.LOCAL:
        return False
    same = holder.status.get("serviceUID") == service.uid
    return service.taken or (same and is_true(holder.status, ConditionType.CLIENT_IP_PRESERVED))


def _may_admit_more(child: NetworkPolicy) -> bool:
    foreign = ADMITTING.difference(child.ownership.ours)
    return bool(foreign) and (foreign != {"spec.ingress"} or bool(child.spec.get("ingress")))
