"""What is asked: a Service, its ports, the ways in, and the nodes, found by the names that somebody typed.

Not the business of this module: who asks (``clients``).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.api import ServiceKey
from nodeport_access.audit.reaching import ways
from nodeport_access.evaluate import (
    ByClusterAddress,
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    ByPodAddress,
    Entry,
    Scene,
)
from nodeport_access.inventory import Inventory
from nodeport_access.inventory.scenes import scene
from nodeport_access.kube import SERVICES
from nodeport_access.observed import ServicePort


class NotThere(Exception):  # noqa: N818 - what it is
    """Nothing bears the name that was typed: one sentence with what there is."""


class By(StrEnum):
    """A way in, as a flag spells it."""

    NODE_PORT = "node-port"
    EXTERNAL_IP = "external-ip"
    LOAD_BALANCER = "load-balancer"
    CLUSTER_ADDRESS = "cluster-address"
    POD_ADDRESS = "pod-address"

    def entry(self, node: str) -> Entry:
        """The way in through this node, as the evaluator calls it."""
        match self:
            case By.NODE_PORT:
                return ByNodePort(node)
            case By.EXTERNAL_IP:
                return ByExternalIP(node)
            case By.LOAD_BALANCER:
                return ByLoadBalancer(node)
            case By.CLUSTER_ADDRESS:
                return ByClusterAddress(node)
            case By.POD_ADDRESS:
                return ByPodAddress(node)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A scene, and what is asked about it; ``by`` is empty where every way is meant that there is."""

    scene: Scene
    ports: tuple[ServicePort, ...]
    nodes: tuple[str, ...]
    by: tuple[By, ...]

    def ways_of(self, port: ServicePort, *, inside: bool) -> tuple[By, ...]:
        """The ways in that are asked about for this port; one from ``inside`` takes the cluster address too."""
        if self.by:
            return self.by
        found = tuple(By(str(way)) for way in ways(self.scene, port))
        return (*found, By.CLUSTER_ADDRESS) if inside or not found else found


def ask(inventory: Inventory, key: ServiceKey, *, port: str = "", node: str = "", by: Iterable[By] = ()) -> Ask:
    """What these names mean; an empty one means all. Raises NotThere."""
    if inventory.get(SERVICES, namespace=key.namespace, name=key.name) is None:
        here = sorted(
            f"{body['metadata']['namespace']}/{body['metadata']['name']}" for body in inventory.bodies(SERVICES)
        )
        raise NotThere(f"there is no Service {key}; there is {_shown(here)}.")
    found = scene(inventory, key)
    nodes = tuple(each.name for each in found.nodes)
    if node and node not in nodes:
        raise NotThere(f"there is no node {node}; there is {_shown(nodes)}.")
    ports = tuple(one for one in found.service.ports if not port or port in (one.name, str(one.port)))
    if not ports:
        names = [f"{one.name} ({one.port})" if one.name else str(one.port) for one in found.service.ports]
        raise NotThere(f"Service {key} has no port {port}; it has {_shown(names)}.")
    return Ask(scene=found, ports=ports, nodes=(node,) if node else nodes, by=tuple(by))


MOST = 12
"""How many names a sentence offers."""


def _shown(names: Iterable[str]) -> str:
    names = list(names)
    rest = f" and {len(names) - MOST} more" if len(names) > MOST else ""
    return (", ".join(names[:MOST]) or "none") + rest
