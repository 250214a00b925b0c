"""Whether a policy is in force: the Service it names, the fields of it, and the two children.

One small function for each condition type, each from the same gathered case; what is judged is what was observed at
the API, never what was merely sent. Not the business of this module: who else gets at the pods (``exposure``), what
all of it comes to (``verdict``), or what is done about a violation (``plan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from nodeport_access import desired
from nodeport_access.api import Body, ConditionType, Policy, TrafficPolicy
from nodeport_access.cidrs import AddressSet
from nodeport_access.conditions import Condition, fails, holds, listed, unknown
from nodeport_access.drift import network_policy_additions, network_policy_drift
from nodeport_access.observed import NetworkPolicy, Service
from nodeport_access.outcome import Failure, Kind
from nodeport_access.reasons import Reason
from nodeport_access.snapshot import Role, Snapshot


@dataclass(frozen=True, kw_only=True)
class Case:
    """What a check judges: one policy in its snapshot, the failures of the pass, and the foreign writer that is being
    out-waited. It remembers what many checks ask for."""

    snapshot: Snapshot
    policy: Policy
    failures: Mapping[str, Failure] = field(default_factory=dict)
    contender: str = ""

    @cached_property
    def role(self) -> Role:
        """What the policy is to its Service."""
        return self.snapshot.role(self.policy)

    @cached_property
    def allowed(self) -> Mapping[desired.TargetPorts, AddressSet]:
        """Who may come in from outside, per distinct set of ports at the pod; nobody where there is no Service."""
        service = self.snapshot.service
        return desired.allowed_addresses(self.policy, service, self.snapshot.now) if service is not None else {}

    @property
    def service(self) -> Service | None:
        """The Service, where pods can be selected through it."""
        service = self.snapshot.service
        return service if service is not None and service.selector else None


def service_resolved(case: Case) -> Condition:
    """The Service exists, is of a type that has node ports, has a selector, and every port that the policy names."""
    kind, service, policy = ConditionType.SERVICE_RESOLVED, case.snapshot.service, case.policy
    if policy.problems:
        return fails(kind, Reason.INVALID_SPEC, f"{listed(policy.problems, separator='; ')}.")
    if service is None:
        return fails(
            kind, Reason.SERVICE_NOT_FOUND, f"Service {policy.service.name!r} does not exist in this namespace."
        )
    if service.type == "ExternalName":
        return fails(kind, Reason.EXTERNAL_NAME_SERVICE)
    if not service.has_node_ports:
        return fails(
            kind,
            Reason.SERVICE_TYPE_UNSUPPORTED,
            f"Service {service.key.name!r} is of type {service.type}; only NodePort and LoadBalancer have node ports.",
        )
    if not service.selector:
        return fails(kind, Reason.SELECTOR_MISSING)
    if unknown := desired.unknown_ports(policy, service):
        ports = ", ".join(f"{port.name} ({port.port})" if port.name else str(port.port) for port in service.ports)
        return fails(
            kind,
            Reason.PORT_NOT_FOUND,
            f"Service {service.key.name!r} has no port {listed(map(str, unknown))}; its ports are {ports}.",
        )
    return holds(kind, Reason.SERVICE_FOUND)


def client_ip_preserved(case: Case) -> Condition:
    """``externalTrafficPolicy: Local`` is in force."""
    kind, service = ConditionType.CLIENT_IP_PRESERVED, case.snapshot.service
    if service is None or not service.has_node_ports:
        return unknown(kind, service_resolved(case))
    if service.external_traffic_policy == "Local":
        return holds(kind, Reason.LOCAL_IN_FORCE)
    if failure := case.failures.get(f"{Kind.SERVICE}/{service.key.name}"):
        return fails(kind, failure.reason, failure.message)
    if case.contender:
        return fails(
            kind,
            Reason.FOREIGN_WRITER,
            f"{case.contender} keeps setting externalTrafficPolicy; set it to Local at its source.",
        )
    if case.policy.traffic_policy is TrafficPolicy.UNMANAGED:
        return fails(kind, Reason.CLUSTER_UNMANAGED)
    return fails(kind, Reason.CLUSTER_IN_FORCE)


def allowlist_applied(case: Case) -> Condition:
    """The allowlist NetworkPolicy is there and equal to what is wanted."""
    kind = ConditionType.ALLOWLIST_APPLIED
    if case.role is Role.WAITING:
        return fails(kind, Reason.SERVICE_ALREADY_CLAIMED, claimed(case))
    if case.service is None:
        return unknown(kind, service_resolved(case))
    if (count := desired.networks_count(case.allowed)) > desired.NETWORKS_LIMIT:
        return fails(
            kind,
            Reason.ALLOWLIST_TOO_LONG,
            f"spec.allowedCIDRs comes to {count:,} networks, and {desired.NETWORKS_LIMIT:,} is the most; an exception"
            " costs up to one for each bit of its prefix. What was in force before stays.",
        )
    return _child(case, kind, desired.allow_body(case.policy, case.service, case.snapshot.now))


def default_deny_applied(case: Case) -> Condition:
    """The deny-all NetworkPolicy is there and equal to what is wanted."""
    kind = ConditionType.DEFAULT_DENY_APPLIED
    if case.service is None:
        return unknown(kind, service_resolved(case))
    holder = case.role is not Role.WAITING
    return _child(case, kind, desired.deny_body(case.policy, case.service, holder=holder))


def _child(case: Case, kind: ConditionType, body: Body) -> Condition:
    name = body["metadata"]["name"]
    observed = case.snapshot.children.get(name)
    if case.role is Role.AUDITOR:
        return fails(kind, Reason.AUDIT_MODE)
    failure = case.failures.get(f"{Kind.NETWORK_POLICY}/{name}")
    amiss = _amiss(case.policy, kind, body, observed)
    if observed is not None and amiss is None and (added := _added(body, observed, failure)):
        return holds(kind, Reason.APPLIED, added)
    if failure is not None:
        return fails(kind, failure.reason, failure.message)
    return amiss or holds(kind, Reason.APPLIED)


def _amiss(policy: Policy, kind: ConditionType, body: Body, observed: NetworkPolicy | None) -> Condition | None:
    """What keeps a child from standing as wanted; None where it does."""
    name = body["metadata"]["name"]
    if observed is None:
        return fails(kind, Reason.NOT_APPLIED, f"NetworkPolicy {name!r} is absent.")
    if not observed.is_child_of(policy.key.name):
        return fails(kind, Reason.NAME_CONFLICT, not_ours(name))
    if observed.deleting:
        held = f"held by {listed(observed.finalizers)}"
        return fails(kind, Reason.NOT_APPLIED, f"NetworkPolicy {name!r} is being deleted, and {held}.")
    if differences := network_policy_drift(body, observed):
        fields = ", ".join(difference.path for difference in differences)
        return fails(kind, Reason.NOT_APPLIED, f"NetworkPolicy {name!r} differs from what is wanted in {fields}.")
    return None


def _added(body: Body, observed: NetworkPolicy, failure: Failure | None) -> str:
    """The sentence about what others added to a child that stands as wanted; empty where nobody did. It denies nothing,
    because it changes nobody's access."""
    if not (added := network_policy_additions(body, observed)):
        return ""
    fields = listed(f"{one.path} by {one.writer}" if one.writer else one.path for one in added)
    refused = f", and it cannot be taken off: {failure.message}" if failure is not None else "."
    return f"NetworkPolicy {observed.name!r} is as wanted, but something was added to {fields}{refused}"


def not_ours(name: str) -> str:
    """The sentence about a stranger's NetworkPolicy that stands under the name of a child."""
    return f"NetworkPolicy {name!r} is not the operator's; delete it, or give this policy another name."


def claimed(case: Case) -> str:
    """The sentence that names the holder to a policy that waits."""
    holder = case.snapshot.holder
    return f"Service {case.policy.service.name!r} is guarded by the older policy {holder.key.name if holder else ''!r}."
