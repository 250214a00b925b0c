"""A look at the whole cluster at once, guarded or not: which NetworkPolicies cover nodes, for which Services.

Takes objects as they were at one instant, so that it can be done beside the event loop, when somebody asks. Not the
business of this module: what it is to cover a node (``covering``), or what bears on one guarded Service (``snapshot``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from nodeport_access import covering
from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.label_selectors import LabelIndex, Labels, SelectorIndex, selects
from nodeport_access.observed import EndpointSlice, NetworkPolicy, Node, Pod, Service, TargetPort


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """Every object that is known, at one instant; pods only of namespaces that hold policies."""

    services: tuple[Service, ...]
    network_policies: tuple[NetworkPolicy, ...]
    slices: tuple[EndpointSlice, ...]
    nodes: tuple[Node, ...]
    pods: tuple[Pod, ...]


class Survey:
    """Remembers from one look to the next what was read of each NetworkPolicy: the texts of a long list take
    milliseconds."""

    def __init__(self) -> None:
        self._narrow: dict[tuple[str, str], tuple[NetworkPolicy, AddressSet]] = {}

    def covering_nodes(self, cluster: Cluster) -> Iterator[tuple[Service, NetworkPolicy]]:
        """Each Service with node ports together with each NetworkPolicy, our own included, that selects pods of it and
        covers addresses of nodes or pods. One after the other, so that who asks can stop."""
        nodes = covering.ranges(cluster.nodes)
        suspects: defaultdict[str, list[NetworkPolicy]] = defaultdict(list)
        for policy, addresses in self._read(cluster.network_policies):
            if addresses.overlaps(nodes):
                suspects[policy.namespace].append(policy)
        services: defaultdict[str, list[Service]] = defaultdict(list)
        for service in cluster.services:
            if service.has_node_ports and service.selector and service.key.namespace in suspects:
                services[service.key.namespace].append(service)
        pods, slices = _pods_by_namespace(cluster.pods, services), _slices_by_service(cluster.slices)
        for namespace, found in services.items():
            known = pods.get(namespace) or LabelIndex()
            yield from _covering(found, suspects[namespace], nodes=nodes, pods=known, slices=slices)

    def _read(self, policies: Iterable[NetworkPolicy]) -> Iterable[tuple[NetworkPolicy, AddressSet]]:
        """What each admits by rules that do not admit everyone. Made anew as a whole and swapped: looks may overlap."""
        before, now = self._narrow, dict[tuple[str, str], tuple[NetworkPolicy, AddressSet]]()
        for policy in policies:
            key = (policy.namespace, policy.name)
            known = before.get(key)
            read = known if known is not None and known[0] is policy else None
            now[key] = read or (policy, covering.narrow_on_any_port(policy.spec))
        self._narrow = now
        return now.values()


def _covering(
    services: Iterable[Service],
    suspects: Iterable[NetworkPolicy],
    *,
    nodes: AddressSet,
    pods: LabelIndex,
    slices: Mapping[ServiceKey, list[EndpointSlice]],
) -> Iterator[tuple[Service, NetworkPolicy]]:
    """Those of one namespace."""
    policies = {policy.name: policy for policy in suspects}
    index = SelectorIndex()
    for name, policy in policies.items():
        index.put(name, _pod_selector(policy).get("matchLabels") or {})

    @cache  # many Services have the same port at the pod
    def families(name: str, target: TargetPort, names_may_match: bool) -> frozenset[Family]:
        addresses = covering.narrow_at(policies[name].spec, target=target, names_may_match=names_may_match)
        return frozenset(family for family in Family if addresses.restricted_to([family]).overlaps(nodes))

    for service in services:
        targets = list(covering.targets(service, slices.get(service.key, ())))
        for name in _selecting(index, policies, _labels(service, pods)):
            if any(not families(name, *target).isdisjoint(service.families) for target in targets):
                yield service, policies[name]


def _selecting(index: SelectorIndex, policies: Mapping[str, NetworkPolicy], labels: Iterable[Labels]) -> Iterator[str]:
    """The names of those that select one of these pods."""
    found = set()
    for pod in labels:
        for name in index.candidates(pod):
            if name not in found and selects(_pod_selector(policies[name]), pod):
                found.add(name)
                yield name


def _labels(service: Service, pods: LabelIndex) -> Iterable[Labels]:
    """Of the Service's pods; while none are known, what a pod must at least carry."""
    return [pods.labels(name) for name in pods.matching(service.selector)] or [service.selector]


def _pod_selector(policy: NetworkPolicy) -> Mapping[str, Any]:
    return policy.spec.get("podSelector") or {}


def _pods_by_namespace(pods: Iterable[Pod], namespaces: Container[str]) -> Mapping[str, LabelIndex]:
    found: defaultdict[str, LabelIndex] = defaultdict(LabelIndex)
    for pod in pods:
        if pod.namespace in namespaces:
            found[pod.namespace].put(pod.name, pod.labels)
    return found


def _slices_by_service(slices: Iterable[EndpointSlice]) -> Mapping[ServiceKey, list[EndpointSlice]]:
    found: defaultdict[ServiceKey, list[EndpointSlice]] = defaultdict(list)
    for piece in slices:
        found[piece.service].append(piece)
    return found
