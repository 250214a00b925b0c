"""From an inventory to the questions that can be asked of it: the scene of a Service, and the pods that may call it.

A repository of manifests holds neither Nodes nor Pods. Then two nodes stand in, one with a ready pod of the Service and
one without, of which nothing else is known; what hangs on their addresses depends. Not the business of this module: the
answers (``evaluate``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

from nodeport_access.api import Body, ServiceKey
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate import Caller, Client, Scene
from nodeport_access.evaluate.backends import NOWHERE
from nodeport_access.evaluate.bodies import parse_backend_pod, parse_frontends
from nodeport_access.inventory.endpoints import is_backend
from nodeport_access.inventory.items import Inventory
from nodeport_access.inventory.settling import service_of
from nodeport_access.kube import ENDPOINT_SLICES, NAMESPACES, NETWORK_POLICIES, NODES, PODS, SERVICES
from nodeport_access.observed import (
    Endpoint,
    EndpointSlice,
    NetworkPolicy,
    Node,
    Service,
    parse_endpoint_slice,
    parse_network_policy,
    parse_node,
    parse_service,
)

WITH_POD, WITHOUT_POD = "a node with a ready pod", "a node without a ready pod"
"""The names of the nodes that stand in."""


def scene(inventory: Inventory, key: ServiceKey) -> Scene:
    """What decides about a Service. Raises KeyError where the inventory does not hold it."""
    return Scenes(inventory)[key]


class Scenes:
    """The scenes of many Services of one inventory: what they share is read once."""

    def __init__(self, inventory: Inventory) -> None:
        self._inventory = inventory
        self._nodes = tuple(map(parse_node, inventory.bodies(NODES)))
        self._slices = defaultdict[tuple[str, str], list[EndpointSlice]](list)
        for piece in inventory.bodies(ENDPOINT_SLICES):
            self._slices[service_of(piece)].append(parse_endpoint_slice(piece))
        self._policies = defaultdict[str, list[NetworkPolicy]](list)
        for policy in inventory.bodies(NETWORK_POLICIES):
            self._policies[policy["metadata"]["namespace"]].append(parse_network_policy(policy))
        self._pods = defaultdict[str, list[Body]](list)
        for pod in inventory.bodies(PODS):
            self._pods[pod["metadata"]["namespace"]].append(pod)

    def __getitem__(self, key: ServiceKey) -> Scene:
        """What decides about a Service. Raises KeyError where the inventory does not hold it."""
        body = self._inventory.get(SERVICES, namespace=key.namespace, name=key.name)
        if body is None:
            raise KeyError(str(key))
        service = parse_service(body)
        slices, nodes = tuple(self._slices.get((key.namespace, key.name), ())), self._nodes
        if not nodes:
            slices, nodes = _standing_in(service, slices)
        return Scene(
            service=service,
            slices=slices,
            nodes=nodes,
            network_policies=tuple(self._policies.get(key.namespace, ())),
            pods=tuple(parse_backend_pod(pod) for pod in self._pods.get(key.namespace, ()) if is_backend(pod, body)),
            frontends=parse_frontends(body),
        )


def _standing_in(
    service: Service, slices: tuple[EndpointSlice, ...]
) -> tuple[tuple[EndpointSlice, ...], tuple[Node, ...]]:
    """Nodes by the names that endpoints give, or the pod that stands in and its node; and one more."""
    named = {endpoint.node for piece in slices for endpoint in piece.endpoints if endpoint.node}
    if not named and service.selector:
        backend = Endpoint(addresses=NOWHERE, node=WITH_POD, ready=True, draining=False)
        ports = tuple((port.target.protocol, port.name, _number(port.target.port)) for port in service.ports)
        piece = EndpointSlice(
            namespace=service.key.namespace, name="", service=service.key, endpoints=(backend,), ports=ports
        )
        slices, named = (piece,), {WITH_POD}
    nodes = (
        Node(name=name, addresses=AddressSet.EMPTY, pod_ranges=AddressSet.EMPTY)
        for name in (*sorted(named), WITHOUT_POD)
    )
    return slices, tuple(nodes)


def _number(port: int | str) -> int:
    """0 for a name, which only the pod's own spec resolves."""
    return port if isinstance(port, int) else 0


@dataclass(frozen=True, slots=True)
class CallingPod:
    """A pod by its namespace and name, as a client under each of its addresses."""

    name: str
    clients: tuple[Client, ...]


def callers(inventory: Inventory) -> Iterator[CallingPod]:
    """Every pod that has addresses of its own; one in its node's network calls as the node."""
    labels = {body["metadata"]["name"]: body["metadata"].get("labels") or {} for body in inventory.bodies(NAMESPACES)}
    for body in inventory.bodies(PODS):
        metadata, spec = body["metadata"], body.get("spec") or {}
        if spec.get("hostNetwork"):
            continue
        pod = Caller(
            namespace=metadata["namespace"],
            namespace_labels=labels.get(metadata["namespace"], {}),
            labels=metadata.get("labels") or {},
            node=spec.get("nodeName", ""),
        )
        addresses = [address for network in parse_backend_pod(body).addresses.networks() for address in network]
        if addresses:
            name = f"{metadata['namespace']}/{metadata['name']}"
            yield CallingPod(name, tuple(Client(address, pod) for address in addresses))
