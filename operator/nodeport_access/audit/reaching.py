"""Who gets in by each way in and each node, at the cost of one question for all nodes that cannot differ.

A question costs milliseconds, and there may be a thousand nodes: those are alike whose own pods and whose addresses the
rules of NetworkPolicy cannot tell apart. For one of them, of all pods on other nodes that are alike in the same way one
stands for the others. Not the business of this module: the answer itself (``evaluate``), and its rank (``openness``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from dataclasses import replace
from itertools import chain

from nodeport_access import rules
from nodeport_access.audit.openness import openness
from nodeport_access.audit.report import Cell, Way
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.evaluate import (
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    Entry,
    Known,
    Scene,
    reach,
)
from nodeport_access.evaluate.hops import addresses_of
from nodeport_access.observed import Endpoint, EndpointSlice, Node, ServicePort

_ENTRIES: dict[Way, type[ByNodePort] | type[ByExternalIP] | type[ByLoadBalancer]] = {
    Way.NODE_PORT: ByNodePort,
    Way.EXTERNAL_IP: ByExternalIP,
    Way.LOAD_BALANCER: ByLoadBalancer,
}


def entry_of(way: Way, node: str) -> Entry:
    """The way in through this node, as the evaluator calls it."""
    return _ENTRIES[way](node)


def ways(scene: Scene, port: ServicePort) -> Iterator[Way]:
    """The ways in from outside that this port of a Service has."""
    service = scene.service
    if service.has_node_ports and (port.node_port or service.allocates_node_ports):
        yield Way.NODE_PORT
    if service.external_ips:
        yield Way.EXTERNAL_IP
    if service.type == "LoadBalancer" and scene.frontends.load_balancer:
        yield Way.LOAD_BALANCER


class Reaching:
    """Asks for the cells of Services; remembers what the rules of one namespace say of the nodes' addresses."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._traits: dict[str, dict[str, object]] = {}

    def cells(self, scene: Scene, port: ServicePort, *, only: Collection[str] = ()) -> tuple[Cell, ...]:
        """Each way in through each class of nodes; of all, or of ``only`` these."""
        found = []
        for alike in self.classes(scene):
            nodes = tuple(node for node in alike if not only or node in only)
            if not nodes:
                continue
            smaller = _as_seen_from(scene, nodes[0])
            for way in ways(scene, port):
                found.append(self._cell(smaller, port, way, nodes))
        return tuple(sorted(found, key=lambda cell: (tuple(Way).index(cell.way), cell.openness.rank, cell.nodes)))

    def _cell(self, scene: Scene, port: ServicePort, way: Way, nodes: tuple[str, ...]) -> Cell:
        found = reach(
            scene, port=port, entry=entry_of(way, nodes[0]), families=scene.service.families, known=self._known
        )
        return Cell(
            way=way,
            nodes=nodes,
            has_pod=any(each.node == nodes[0] and (each.ready or each.draining) for each in _endpoints(scene)),
            surely=found.surely,
            perhaps=found.perhaps,
            openness=openness(surely=found.surely, perhaps=found.perhaps),
            depends_on=found.depends_on,
            derivation=found.derivation,
        )

    def classes(self, scene: Scene) -> Iterator[tuple[str, ...]]:
        """The names of the nodes that are alike to a client outside the cluster, each class by itself."""
        backends = defaultdict[str, set[object]](set)
        kinds = _Kinds(scene)
        for piece in scene.slices:
            for endpoint in piece.endpoints:
                backends[endpoint.node].add((piece.ports, kinds.of(endpoint)))
        traits, classes = self._node_traits(scene), defaultdict[object, list[str]](list)
        for node in scene.nodes:
            classes[traits[node.name], frozenset(backends.get(node.name, ()))].append(node.name)
        yield from (tuple(sorted(names)) for names in classes.values())

    def _node_traits(self, scene: Scene) -> dict[str, object]:
        """By node, what can be told of its addresses: the family of each, whether it is a tunnel's, and which rules
        cover it."""
        key = scene.service.key.namespace
        if (known := self._traits.get(key)) is None or known.keys() != {node.name for node in scene.nodes}:
            sets = [
                addresses
                for policy in scene.network_policies
                for addresses in rules.on_any_port(policy.spec)
                if addresses != rules.EVERYONE
            ]
            known = {node.name: _traits(node, sets) for node in scene.nodes}
            self._traits[key] = known
        return known


def _traits(node: Node, sets: list[AddressSet]) -> object:
    addresses = (address for family in Family for address in addresses_of(node.addresses, family))
    return frozenset(
        (address.version, address in node.tunnels, tuple(address in one for one in sets)) for address in addresses
    )


def _endpoints(scene: Scene) -> Iterator[Endpoint]:
    for piece in scene.slices:
        yield from piece.endpoints


class _Kinds:
    """What a verdict can tell of an endpoint, beside its node."""

    def __init__(self, scene: Scene) -> None:
        self._pods = scene.pods
        self._by_address = {
            address: pod for pod in scene.pods for address in chain.from_iterable(pod.addresses.networks())
        }
        self._nodes = AddressSet.union(*(node.addresses for node in scene.nodes))

    def of(self, endpoint: Endpoint) -> object:
        addresses = list(chain.from_iterable(endpoint.addresses.networks()))
        pod = next((self._by_address[each] for each in addresses if each in self._by_address), None)
        return (
            endpoint.ready,
            endpoint.draining,
            tuple(sorted({each.version for each in addresses})),
            endpoint.addresses.overlaps(self._nodes),
            (tuple(sorted(pod.labels.items())), tuple(sorted((pod.ports or {}).items()))) if pod is not None else None,
        )


def _as_seen_from(scene: Scene, node: str) -> Scene:
    """The scene with one pod of each kind on this node, and one on another; and only the nodes that those are on. To
    who comes in by this node the others say nothing more."""
    kinds, kept = _Kinds(scene), set[object]()
    slices: list[EndpointSlice] = []
    for piece in scene.slices:
        endpoints = []
        for endpoint in sorted(piece.endpoints, key=lambda each: each.node):
            trait = (piece.ports, endpoint.node == node, endpoint.node == "", kinds.of(endpoint))
            if trait not in kept:
                kept.add(trait)
                endpoints.append(endpoint)
        slices.append(replace(piece, endpoints=tuple(endpoints)))
    placed = {node, *(endpoint.node for piece in slices for endpoint in piece.endpoints)}
    held = AddressSet.union(*(endpoint.addresses for piece in slices for endpoint in piece.endpoints))
    nodes = tuple(each for each in scene.nodes if each.name in placed or held.overlaps(each.addresses))
    pods = tuple(pod for pod in scene.pods if not pod.addresses or pod.addresses.overlaps(held))
    return replace(scene, slices=tuple(slices), nodes=nodes, pods=pods)
