"""kube-proxy's part: to which backends a connection may be sent, and whose address it carries on the way.

Two addresses of one connection matter: the one that NetworkPolicy is held against, and the one that the pod sees.
They differ where the verdict is given before masquerading. What is assumed here is the placement "own node": the
verdict is given on the pod's own node, before that node masquerades (Calico, kube-router, Cilium). Another placement
or another proxy is another set of ways, and nothing else.

Not the business of this module: what NetworkPolicy says to an address (``admission``). What a CNI does to a pod's
address on its way to a node, internalTrafficPolicy, load-balancer addresses and external IPs are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import chain

from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate.question import Answer, ByClusterAddress, ByNodePort, Client, Entry, Scene
from nodeport_access.observed import Endpoint, Node, ServicePort


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way to a backend. NetworkPolicy is held against ``judged``; the pod sees the address ``seen``."""

    endpoint: Endpoint
    judged: Client
    seen: Address
    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A way whose answer stands before any NetworkPolicy is asked."""

    answer: Answer
    steps: tuple[str, ...]


Way = Route | Settled


def ways(scene: Scene, *, client: Client, port: ServicePort, entry: Entry) -> tuple[Way, ...]:
    """Every way that the connection may take, at least one. Raises KeyError for a node that is not in the scene."""
    if _family(client.address) not in scene.service.families:
        return (_refused(f"Service {scene.service.key} does not serve {_family(client.address)}."),)
    match entry:
        case ByNodePort(node=name):
            return tuple(_by_node_port(scene, client, port, scene.node(name)))
        case ByClusterAddress():
            return tuple(_by_cluster_address(scene, client, port))


def _by_cluster_address(scene: Scene, client: Client, port: ServicePort) -> Iterator[Way]:
    """A pod's own address stays: kube-proxy masquerades what comes to a cluster address from outside the cluster's
    pod ranges (KubeProxyConfiguration, ``detectLocalMode``)."""
    if client.pod is None:
        text = "Whether a cluster address answers to clients outside the cluster depends on routes and detectLocalMode."
        yield Settled(answer=Answer.DEPENDS, steps=(text,))
        return
    backends = _backends(scene, port, client.address)
    if not backends:
        yield _nobody_there(scene)
    for endpoint in backends:
        if client.address in endpoint.addresses:
            text = "How a pod's connection to itself through its own Service looks to NetworkPolicy depends on the CNI."
            yield Settled(answer=Answer.DEPENDS, steps=(text,))
        else:
            step = f"The cluster address leads to {_at(endpoint)} and keeps the source."
            yield Route(endpoint=endpoint, judged=client, seen=client.address, steps=(step,))


def _by_node_port(scene: Scene, client: Client, port: ServicePort, entered: Node) -> Iterator[Way]:
    family = _family(client.address)
    if not port.node_port:
        yield _refused(f"Port {port.name or port.port} of Service {scene.service.key} has no node port.")
        return
    if not _addresses(entered.addresses - entered.tunnels, family):
        yield _refused(f"Node {entered.name} has no {family} address.")
        return
    backends = _backends(scene, port, client.address)
    if not backends:
        yield _nobody_there(scene)
    elif scene.service.external_traffic_policy != "Local" or client.address in entered.addresses:
        # A node that dials its own port is served as under Cluster (kube-proxy: "masquerade LOCAL traffic").
        for endpoint in backends:
            yield from _under_cluster(client, endpoint, entered)
    else:
        yield from _under_local(scene, client, port, entered)
        if client.pod is not None:
            # "Treat all locally-originated pod -> external destination traffic as a special-case. It is subject to
            # neither form of traffic policy" (kube-proxy). Which pods that means, detectLocalMode decides.
            yield from _by_cluster_address(scene, client, port)


def _under_cluster(client: Client, endpoint: Endpoint, entered: Node) -> Iterator[Way]:
    """ "Cluster uses the standard behavior of routing to all endpoints evenly" (API reference, ServiceSpec,
    externalTrafficPolicy); "if we are using non-local endpoints we need to masquerade" (kube-proxy), which it does
    for the local ones too. Masquerading is the last that a node does to a packet it forwards: where the pod is on the
    entered node itself, the verdict comes before it and still sees the client's address."""
    family, step = _family(client.address), f"Under Cluster, {entered.name} sends it to {_at(endpoint)}"
    if endpoint.node == entered.name:
        for address in _addresses(entered.addresses - entered.tunnels, family):
            text = f"{step}; NetworkPolicy decides before the source becomes {address}, the node's own address."
            yield Route(endpoint=endpoint, judged=client, seen=address, steps=(text,))
        return
    tunnels = _addresses(entered.tunnels, family)
    kind = "its tunnel's address" if tunnels else "its own address"
    for address in tunnels or _addresses(entered.addresses, family):
        text = f"{step} and hides the client behind {address}, {kind}."
        yield Route(endpoint=endpoint, judged=Client(address), seen=address, steps=(text,))


def _under_local(scene: Scene, client: Client, port: ServicePort, entered: Node) -> Iterator[Way]:
    """ "Each node will deliver traffic only to the node-local endpoints of the service, without masquerading the client
    source IP. (Traffic mistakenly sent to a node with no endpoints will be dropped.)" (API reference, ServiceSpec,
    externalTrafficPolicy)"""
    local = _backends(scene, port, client.address, node=entered.name)
    if not local:
        yield _refused(
            f"Under Local, {entered.name} drops it, because no ready pod of the Service is there: a time-out."
        )
    for endpoint in local:
        step = f"Under Local, {entered.name} sends it to {_at(endpoint)} and keeps the source."
        yield Route(endpoint=endpoint, judged=client, seen=client.address, steps=(step,))


def _backends(scene: Scene, port: ServicePort, client: Address, *, node: str = "") -> tuple[Endpoint, ...]:
    """Where kube-proxy sends a new connection: the ready endpoints, and where there are none, those that terminate
    but still serve (KEP-1669). One for each node, because what decides is the same for all others there."""
    found = [
        endpoint
        for piece in scene.slices
        if any((protocol, name) == (port.target.protocol, port.name) for protocol, name, _ in piece.ports)
        for endpoint in piece.endpoints
        if node in ("", endpoint.node) and endpoint.addresses.restricted_to([_family(client)])
    ]
    usable = [endpoint for endpoint in found if endpoint.ready] or [endpoint for endpoint in found if endpoint.draining]
    # Reversed, so that the first of a node is the one that stays.
    by_node = {(endpoint.node, client in endpoint.addresses): endpoint for endpoint in reversed(usable)}
    return tuple(by_node[key] for key in sorted(by_node))


def _nobody_there(scene: Scene) -> Settled:
    return _refused(f"Service {scene.service.key} has no ready endpoint, so its port is refused on every node.")


def _refused(step: str) -> Settled:
    return Settled(answer=Answer.REFUSED, steps=(step,))


def _family(address: Address) -> Family:
    return Family.IPV4 if isinstance(address, IPv4Address) else Family.IPV6


def _addresses(known: AddressSet, family: Family) -> tuple[Address, ...]:
    return tuple(chain.from_iterable(known.restricted_to([family]).networks()))


def _at(endpoint: Endpoint) -> str:
    return f"the pod {endpoint.addresses.networks()[0].network_address} on {endpoint.node or 'an unknown node'}"
