"""The trap in a list of addresses: it covers those of nodes or their pods, and lets in whoever is hidden behind one.

Under externalTrafficPolicy Cluster kube-proxy gives a client the address of the node it came in by, or of that node's
tunnel, on the way to a pod on another node. So who lists those addresses, because his load balancer is refused, lets
everybody in. Not the business of this module: which NetworkPolicies select a Service's pods (``snapshot``,
``survey``), or what it does to a condition (``exposure``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from nodeport_access import rules
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.observed import EndpointSlice, Node, Service, TargetPort


def ranges(nodes: Iterable[Node]) -> AddressSet:
    """Every address behind which a client may be hidden, and the pods' own."""
    return AddressSet.union(*(part for node in nodes for part in (node.addresses, node.pod_ranges)))


def covered(addresses: AddressSet, nodes: Iterable[Node]) -> list[str]:
    """The names of the nodes of which an address, or one of the pods there, is among these."""
    return sorted(
        node.name for node in nodes if addresses.overlaps(node.addresses) or addresses.overlaps(node.pod_ranges)
    )


def narrow(addresses: AddressSet) -> AddressSet:
    """Without the families that are in it whole: they hide nobody's entry behind a node's, as everyone is in anyway."""
    whole = [family for family in Family if AddressSet.everyone([family]) <= addresses]
    return addresses - AddressSet.everyone(whole)


def narrow_on_any_port(spec: Mapping[str, Any]) -> AddressSet:
    """What a NetworkPolicy admits by rules that do not admit everyone, whichever ports they name: nothing that
    ``narrow_at`` finds is missing."""
    return AddressSet.union(*map(narrow, rules.on_any_port(spec)))


def narrow_at(spec: Mapping[str, Any], *, target: TargetPort, names_may_match: bool) -> AddressSet:
    """What a NetworkPolicy admits to a port at the pod, less the families that it admits whole. A rule of which only
    the pod's own spec tells whether it is about this port (``rules.spellings``) counts for the addresses that it
    admits, and not for a whole family."""
    maybe = rules.by_rule(spec, target=target, names_may_match=names_may_match)
    surely = rules.admission(spec, target=target).addresses
    return AddressSet.union(*(narrow(admission.addresses) for admission in maybe)) - (surely - narrow(surely))


def narrow_at_ports(spec: Mapping[str, Any], service: Service, slices: Iterable[EndpointSlice]) -> AddressSet:
    """The same for all ports of a Service, and its families."""
    found = (
        narrow_at(spec, target=target, names_may_match=names_may_match)
        for target, names_may_match in targets(service, slices)
    )
    return AddressSet.union(*found).restricted_to(service.families)


def targets(service: Service, slices: Iterable[EndpointSlice]) -> Iterator[tuple[TargetPort, bool]]:
    """The ports at the pod behind all ports of a Service, with ``names_may_match`` for each (``rules.spellings``)."""
    for port in service.ports:
        spelled, names_may_match = rules.spellings(port, slices)
        yield from ((target, names_may_match) for target in spelled)
