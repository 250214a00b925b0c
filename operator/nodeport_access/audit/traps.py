"""What makes an allowlist say less than it seems to, or soon will: one function for each trap.

Not the business of this module: who gets in (``reaching``). A trap is also told where it has not sprung.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from nodeport_access import covering, rules
from nodeport_access.audit import policy_traps
from nodeport_access.audit.report import Severity, Trap, TrapKind
from nodeport_access.audit.setting import Setting, make_trap, sprung
from nodeport_access.conditions import listed
from nodeport_access.kube import NETWORK_POLICIES, SERVICES


def found_in(setting: Setting) -> tuple[Trap, ...]:
    """All traps around one Service, worst first."""
    found = [trap for look in _LOOKS for trap in look(setting)]
    return tuple(sorted(found, key=lambda trap: (trap.severity.rank, trap.kind, trap.object, trap.message)))


def _nodes_in_network_policies(setting: Setting) -> Iterator[Trap]:
    snapshot, service = setting.snapshot, setting.service
    for policy in setting.selecting:
        if policy.claims:
            continue  # its entries are told of by the policy that it was made for
        addresses = covering.narrow_at_ports(policy.spec, service, snapshot.slices)
        if addresses.overlaps(snapshot.node_ranges):
            yield make_trap(
                setting.inventory,
                TrapKind.NODE_ADDRESSES_ALLOWED,
                Severity.HIGH if setting.is_cluster else Severity.MEDIUM,
                (NETWORK_POLICIES, policy.namespace, policy.name, "spec.ingress"),
                f"NetworkPolicy {policy.namespace}/{policy.name} admits addresses of"
                f" {listed(covering.covered(addresses, snapshot.nodes))} or of pods there to Service {service.key}:"
                f" {sprung(setting)}.",
                "Take those addresses out of its ipBlocks; name the clients, and make the Service Local.",
                mark=str(service.key),
            )


def _cluster_under_allowlist(setting: Setting) -> Iterator[Trap]:
    if not setting.is_cluster:
        return
    lists = [
        policy.name
        for policy in setting.selecting
        if covering.narrow_at_ports(policy.spec, setting.service, setting.snapshot.slices)
    ]
    if lists:
        key = setting.service.key
        yield make_trap(
            setting.inventory,
            TrapKind.CLUSTER_UNDER_ALLOWLIST,
            Severity.HIGH,
            (SERVICES, key.namespace, key.name, "spec.externalTrafficPolicy"),
            f"Service {key} is Cluster, and NetworkPolicy {listed(lists)} admits its clients by address: on the way to"
            " a pod on another node the pod sees a node's address in place of the client's.",
            "Set externalTrafficPolicy to Local, or have a NodePortAccessPolicy keep it so.",
        )


def _shared_backends(setting: Setting) -> Iterator[Trap]:
    if setting.snapshot.holder is None:
        return
    for other, guarded in setting.snapshot.sharing:
        if not guarded:
            cluster = other.external_traffic_policy != "Local"
            how = " under Cluster, where clients' addresses are hidden" if cluster else ", and nothing keeps it Local"
            yield make_trap(
                setting.inventory,
                TrapKind.SHARED_BACKENDS,
                Severity.HIGH if cluster else Severity.MEDIUM,
                (SERVICES, other.key.namespace, other.key.name, "spec.selector"),
                f"Service {other.key} exposes pods of the guarded Service {setting.service.key}{how}.",
                f"Give {other.key.name} a policy of its own, or take its node ports away.",
                mark=setting.service.key.name,
            )


def _host_network(setting: Setting) -> Iterator[Trap]:
    nodes = setting.snapshot.node_addresses
    places = {
        endpoint.node or "an unnamed node"
        for piece in setting.snapshot.slices
        for endpoint in piece.endpoints
        if endpoint.addresses.overlaps(nodes)
    }
    if places:
        key = setting.service.key
        yield make_trap(
            setting.inventory,
            TrapKind.HOST_NETWORK_BACKEND,
            Severity.HIGH,
            (SERVICES, key.namespace, key.name, "spec.selector"),
            f"Backends of Service {key} are in the network of {listed(sorted(places))}: no NetworkPolicy holds back who"
            " dials them.",
            "Take hostNetwork off these pods, or filter on the nodes.",
        )


def _rules_without_from(setting: Setting) -> Iterator[Trap]:
    for policy in setting.selecting:
        for index, rule in enumerate(policy.spec.get("ingress") or ()):
            alone = {"policyTypes": ["Ingress"], "ingress": [rule]}
            here = any(
                rules.admission(alone, target=target, names_may_match=maybe).addresses
                for target, maybe in covering.targets(setting.service, setting.snapshot.slices)
            )
            if not rule.get("from") and rules.isolates(policy.spec) and here:
                yield make_trap(
                    setting.inventory,
                    TrapKind.RULE_WITHOUT_FROM,
                    Severity.HIGH,
                    (NETWORK_POLICIES, policy.namespace, policy.name, f"spec.ingress[{index}]"),
                    f"Rule {index + 1} of NetworkPolicy {policy.namespace}/{policy.name} has no from, so it admits"
                    f" everyone to pods of Service {setting.service.key}.",
                    "Name in its from who may get in, or take the rule out.",
                    mark=f"{setting.service.key.name} {index + 1}",
                )


_LOOKS: tuple[Callable[[Setting], Iterator[Trap]], ...] = (
    policy_traps.by_policies,
    _nodes_in_network_policies,
    policy_traps.nodes_in_entries,
    _cluster_under_allowlist,
    _shared_backends,
    _host_network,
    _rules_without_from,
    policy_traps.expiry,
)
