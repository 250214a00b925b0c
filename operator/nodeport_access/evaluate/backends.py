"""Which pods a connection may be sent to: the usable endpoints of a Service, one of those that are alike.

Not the business of this module: which node sends it there, or under whose address (``routes``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.evaluate.question import BackendPod, Client, Outsiders, Scene
from nodeport_access.observed import Endpoint, ServicePort

NOWHERE = AddressSet.from_texts(["0.0.0.1/32", "::1/128"])
"""Where a pod is of which nobody knows the address: addresses that no client and no node can have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An endpoint, and the pod there as NetworkPolicies see it."""

    endpoint: Endpoint
    pod: BackendPod

    def is_pod(self, client: Client | Outsiders) -> bool:
        """Whether the client is this pod."""
        return isinstance(client, Client) and client.address in self.endpoint.addresses

    def __str__(self) -> str:
        where = self.endpoint.node or "an unknown node"
        if self.endpoint.addresses == NOWHERE:
            return f"the pod on {where}"
        return f"the pod {self.endpoint.addresses.networks()[0].network_address} on {where}"


def usable(scene: Scene, port: ServicePort, client: Client | Outsiders) -> tuple[Target, ...]:
    """Where a proxy sends a new connection: the ready endpoints, and where there are none, those that terminate but
    still serve (KEP-1669)."""
    return _targets(scene, client, _ready_or_draining(_endpoints(scene, port, client.family)))


def usable_on(node: str, scene: Scene, port: ServicePort, client: Client | Outsiders) -> tuple[Target, ...]:
    """The same of the endpoints on one node alone, as under Local."""
    there = [endpoint for endpoint in _endpoints(scene, port, client.family) if endpoint.node == node]
    return _targets(scene, client, _ready_or_draining(there))


def by_name(targets: Iterable[Target]) -> dict[str, Target]:
    """Each by what a sentence calls it: its address, and its labels where pods with other ones may have that."""
    found: dict[str, Target] = {}
    targets = tuple(targets)
    for target in targets:
        alike = [other for other in targets if other.endpoint == target.endpoint]
        labels = ", ".join(f"{key}={value}" for key, value in sorted(target.pod.labels.items()))
        found[str(target) if len(alike) == 1 else f"{target} with labels {labels}"] = target
    return found


def _endpoints(scene: Scene, port: ServicePort, family: Family) -> list[Endpoint]:
    return [
        endpoint
        for piece in scene.slices
        if any((protocol, name) == (port.target.protocol, port.name) for protocol, name, _ in piece.ports)
        for endpoint in piece.endpoints
        if endpoint.addresses.restricted_to([family])
    ]


def _ready_or_draining(endpoints: list[Endpoint]) -> list[Endpoint]:
    return [endpoint for endpoint in endpoints if endpoint.ready] or [
        endpoint for endpoint in endpoints if endpoint.draining
    ]


def _targets(scene: Scene, client: Client | Outsiders, endpoints: Iterable[Endpoint]) -> tuple[Target, ...]:
    """What decides is the same for all pods of a node with the same labels and ports, so one stands for them."""
    alike: dict[str, Target] = {}
    for endpoint in endpoints:
        in_node = any(endpoint.addresses.overlaps(node.addresses) for node in scene.nodes)
        for pod in _pods_at(scene, endpoint):
            target = Target(endpoint=endpoint, pod=pod)
            traits = (
                endpoint.node,
                target.is_pod(client),
                in_node,
                sorted(pod.labels.items()),
                sorted((pod.ports or {}).items()),
            )
            alike.setdefault(repr(traits), target)
    return tuple(alike[key] for key in sorted(alike))


def _pods_at(scene: Scene, endpoint: Endpoint) -> tuple[BackendPod, ...]:
    known = tuple(pod for pod in scene.pods if pod.addresses.overlaps(endpoint.addresses))
    unplaced = tuple(pod for pod in scene.pods if not pod.addresses)
    return known or unplaced or (BackendPod(labels=scene.service.selector),)
