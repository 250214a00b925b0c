"""Who gets at the pods in fact: which nodes answer, which other NetworkPolicy opens them, and what no NetworkPolicy
holds back.

Not the business of this module: the policy's own objects (``checks``), or what the findings come to (``verdict``).
"""

from __future__ import annotations

from collections.abc import Mapping

from nodeport_access import covering, desired, rules
from nodeport_access.api import ConditionType
from nodeport_access.checks import Case, service_resolved
from nodeport_access.cidrs import AddressSet
from nodeport_access.conditions import NAMED, Condition, fails, holds, listed, undecided, unknown
from nodeport_access.observed import NetworkPolicy, Service
from nodeport_access.reasons import Reason
from nodeport_access.snapshot import Snapshot


def reachable(case: Case) -> Condition:
    """At least one node has a ready endpoint of its own: under Local only such a node answers."""
    kind, service = ConditionType.REACHABLE, case.snapshot.service
    if service is None or not service.has_node_ports:
        return unknown(kind, service_resolved(case))
    ready, draining = ready_nodes(case.snapshot)
    total = str(len(case.snapshot.nodes)) if case.snapshot.nodes_listed else "an unknown number of"
    tail = f"; draining: {listed(sorted(draining))}" if draining else ""
    if not ready:
        none = f"None of {total} nodes" if case.snapshot.nodes_listed else "No node"
        return fails(kind, Reason.NO_READY_ENDPOINTS, f"{none} has a ready endpoint{tail}.")
    names = listed(sorted(ready))
    if service.external_traffic_policy != "Local":
        message = (
            f"Under Cluster every node answers; {len(ready)} of {total} nodes have a ready endpoint: {names}{tail}."
        )
    else:
        message = f"{len(ready)} of {total} nodes answer: {names}{tail}."
    return holds(kind, Reason.NODES_ANSWER, message)


def ready_nodes(snapshot: Snapshot) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the nodes with a ready endpoint of the Service, and of those whose only endpoints are draining."""
    endpoints = [endpoint for piece in snapshot.slices for endpoint in piece.endpoints]
    ready = frozenset(endpoint.node for endpoint in endpoints if endpoint.ready and endpoint.node)
    draining = frozenset(endpoint.node for endpoint in endpoints if endpoint.draining and endpoint.node)
    return ready, draining - ready


def exclusive(case: Case) -> Condition:
    """No other NetworkPolicy selecting these pods opens them to addresses outside the allowlist."""
    kind, service = ConditionType.EXCLUSIVE, case.service
    if service is None:
        return unknown(kind, service_resolved(case))
    openings = []
    for other in sorted(case.snapshot.others, key=lambda other: other.name):
        opened = _opened(other, case.snapshot, service, case.allowed)
        if opened:
            openings.append(f"{other.name!r} admits {listed(opened.texts())}")
    if openings:
        return fails(
            kind, Reason.OPENED_BY_OTHER_POLICY, f"Beyond the allowlist, NetworkPolicy {'; '.join(openings[:NAMED])}."
        )
    if not case.snapshot.pods_listed:
        return undecided(kind, Reason.PODS_NOT_LISTED)
    return holds(kind, Reason.NO_OTHER_OPENING)


def _opened(
    other: NetworkPolicy, snapshot: Snapshot, service: Service, allowed: Mapping[desired.TargetPorts, AddressSet]
) -> AddressSet:
    """All that it admits on the ports where that is more than the allowlist does. Not the difference: 0.0.0.0/0 less
    an allowlist is a list of dozens in which nobody finds the rule that he wrote."""
    opened = AddressSet.EMPTY
    for port in service.ports:
        mine = AddressSet.union(*(addresses for ports, addresses in allowed.items() if port.target in ports))
        targets, names_may_match = rules.spellings(port, snapshot.slices)
        for target in targets:
            admission = rules.admission(other.spec, target=target, names_may_match=names_may_match)
            admitted = admission.addresses.restricted_to(service.families)
            if not admitted <= mine:
                opened |= admitted
    return opened


def enforceable(case: Case) -> Condition:
    """Nothing that a NetworkPolicy cannot hold back; the worst finding gives the reason, the message names all."""
    kind, service = ConditionType.ENFORCEABLE, case.service
    if service is None:
        return unknown(kind, service_resolved(case))
    findings = [
        finding
        for finding in (
            _host_network(case),
            _cluster_services(case),
            _covered_by_others(case, service),
            _local_services(case),
            _covered_by_allowlist(case),
        )
        if finding is not None
    ]
    if not findings and not case.snapshot.pods_listed:
        return undecided(kind, Reason.PODS_NOT_LISTED)
    if not findings and not case.snapshot.nodes_listed:
        return undecided(kind, Reason.NODES_NOT_LISTED)
    if not findings:
        return holds(kind, Reason.NOTHING_BYPASSES)
    messages = [message for _, message in findings]
    if not case.snapshot.nodes_listed:
        messages.append(Reason.NODES_NOT_LISTED.sentence)
    return fails(kind, findings[0][0], " ".join(messages))


Finding = tuple[Reason, str] | None


def _host_network(case: Case) -> Finding:
    """A pod in its node's network has the node's address, and NetworkPolicy does not apply to it (NetworkPolicy
    concept page)."""
    nodes = case.snapshot.node_addresses
    backends = {
        endpoint.node or "an unnamed node"
        for piece in case.snapshot.slices
        for endpoint in piece.endpoints
        if endpoint.addresses.overlaps(nodes)
    }
    if not backends:
        return None
    return (
        Reason.HOST_NETWORK_BACKEND,
        f"Backends in the host network of {listed(sorted(backends))} are open to everyone.",
    )


def _cluster_services(case: Case) -> Finding:
    names = [service.key.name for service in _unguarded(case) if service.external_traffic_policy != "Local"]
    if not names:
        return None
    return (
        Reason.UNGUARDED_CLUSTER_SERVICE,
        f"Service {listed(sorted(names))} exposes the same pods under Cluster, where clients' addresses are hidden;"
        " guard it too, or make it Local.",
    )


def _local_services(case: Case) -> Finding:
    names = [service.key.name for service in _unguarded(case) if service.external_traffic_policy == "Local"]
    if not names:
        return None
    return (
        Reason.UNGUARDED_SERVICE,
        f"Service {listed(sorted(names))} exposes the same pods and no policy keeps it Local.",
    )


def _unguarded(case: Case) -> list[Service]:
    return [service for service, guarded in case.snapshot.sharing if not guarded]


def _covered_by_others(case: Case, service: Service) -> Finding:
    """Under Cluster the door is open by it, and Ready is False there anyway; under Local the trap has not sprung. There
    may be thousands of nodes, so each is looked at for those alone that cover any."""
    nodes, slices = case.snapshot.nodes, case.snapshot.slices
    admitted = {other.name: covering.narrow_at_ports(other.spec, service, slices) for other in case.snapshot.others}
    if not any(admitted.values()):
        return None
    found = [
        f"{name!r} admits addresses of {listed(covering.covered(addresses, nodes))} or of pods there"
        for name, addresses in sorted(admitted.items())
        if addresses.overlaps(case.snapshot.node_ranges)
    ]
    if not found:
        return None
    if service.exposed and service.external_traffic_policy != "Local":
        outcome = "under Cluster, whoever comes in through another node is masqueraded to one, and gets in"
    else:
        outcome = "whoever is masqueraded to one gets in, which is everybody once externalTrafficPolicy is Cluster"
    return Reason.OTHER_POLICY_COVERS_NODES, f"NetworkPolicy {listed(found, separator='; ')}: {outcome}."


def _covered_by_allowlist(case: Case) -> Finding:
    narrow = covering.narrow(AddressSet.union(*case.allowed.values()))
    if not narrow.overlaps(case.snapshot.node_ranges):
        return None
    covered = covering.covered(narrow, case.snapshot.nodes)
    return (
        Reason.ALLOWLIST_COVERS_NODES,
        f"The allowlist covers addresses of {listed(covered)} or of pods there: whoever is masqueraded to one gets in.",
    )
