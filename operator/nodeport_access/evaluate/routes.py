"""The way of a new connection, from the address that is dialled to a pod.

It ends as a ``Route`` to one pod, or as ``Dropped`` with the sentence that says why. What the objects do not tell is
asked of the ``Case``: a route is one of those that are possible. Not the business of this module: where on the route
verdicts are given (``placement``), and what NetworkPolicy says there (``admission``).
"""

from __future__ import annotations

from nodeport_access.evaluate.cases import Case
from nodeport_access.evaluate.hops import Dropped, Passage, Route, dropped
from nodeport_access.evaluate.inner_ways import by_cluster_address, by_pod_address
from nodeport_access.evaluate.outer_ways import by_external_ip, by_load_balancer, by_node_port
from nodeport_access.evaluate.question import (
    ByClusterAddress,
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    ByPodAddress,
    Client,
    Entry,
    Outsiders,
    Scene,
)
from nodeport_access.observed import ServicePort


def route(scene: Scene, *, client: Client | Outsiders, port: ServicePort, entry: Entry, case: Case) -> Route | Dropped:
    """The way of a new connection in this case. Raises KeyError for a node that is not in the scene."""
    if client.family not in scene.service.families:
        return dropped(f"Service {scene.service.key} does not serve {client.family}.")
    passage = Passage(scene=scene, client=client, port=port, case=case)
    match entry:
        case ByNodePort(node=name):
            return by_node_port(passage, scene.node(name))
        case ByExternalIP(node=name):
            return by_external_ip(passage, scene.node(name))
        case ByLoadBalancer(node=name):
            return by_load_balancer(passage, scene.node(name))
        case ByClusterAddress(node=name):
            return by_cluster_address(passage, name)
        case ByPodAddress(node=name):
            return by_pod_address(passage, name)
