"""Ways in by an address that is meant for the inside: the cluster address of a Service, and the pod's own.

Not the business of this module: addresses that are meant for the outside (``outer_ways``), or the steps themselves
(``hops``).
"""

from __future__ import annotations

from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate.hops import Dropped, Own, Passage, Route, dropped
from nodeport_access.evaluate.question import Client
from nodeport_access.evaluate.unknowns import Routing, Unknown
from nodeport_access.observed import Node


def by_cluster_address(passage: Passage, name: str) -> Route | Dropped:
    """To the Service's cluster address, which this node's proxy takes. kube-proxy masquerades what does not come from a
    pod of its own (``detectLocalMode``)."""
    name = name or (passage.pod.node if passage.pod is not None else "")
    outside = passage.pod is None and not _is_on(passage, name)
    if outside and passage.case.ask(Unknown.CLUSTER_ADDRESS) == Routing.NOT_ROUTED:
        return dropped("The network outside has no route to the Service's cluster address.")
    backends = passage.backends()
    if not backends:
        return passage.nobody_there()
    if passage.scene.frontends.internal_local:
        backends = passage.backends_on(name)
        if not backends:
            return dropped(f"Under internalTrafficPolicy Local, {name or 'the node'} has no pod to send it to.")
    target = passage.pick(backends)
    if target.is_pod(passage.client):
        name = target.endpoint.node
    entered = next((node for node in passage.scene.nodes if node.name == name), None)
    if passage.pod is not None:
        if entered is not None and passage.comes_back(entered, target):
            return passage.masqueraded(entered, target)
        step = f"The cluster address leads to {target} and keeps the source."
        return passage.kept(entered, target, step)
    if entered is None:
        entered = Node(name=name or "the node", addresses=AddressSet.EMPTY, pod_ranges=AddressSet.EMPTY)
    return passage.masqueraded(entered, target, sent=_is_on(passage, name), under="To the cluster address")


def by_pod_address(passage: Passage, name: str) -> Route | Dropped:
    """To a pod by its own address, with this node as the first that forwards it."""
    targets = passage.backends()
    if not targets:
        return dropped(f"Service {passage.scene.service.key} has no ready pod to dial.")
    inside = passage.pod is not None or (
        isinstance(passage.client, Client) and passage.scene.node_with(passage.client.address) is not None
    )
    if not inside and passage.case.ask(Unknown.POD_ADDRESS) == Routing.NOT_ROUTED:
        return dropped("The network outside has no route to the pod's address.")
    target = passage.pick(targets)
    return Route(
        target=target,
        entered=name or target.endpoint.node,
        sent=_is_on(passage, name or target.endpoint.node),
        arriving=Own(passage.client),
        source=Own(passage.client),
        steps=(f"It goes to {target} by the pod's own address.",),
        itself=target.is_pod(passage.client),
        inside=target.is_pod(passage.client),
    )


def _is_on(passage: Passage, name: str) -> bool:
    """Whether the client is that node itself."""
    if not isinstance(passage.client, Client) or not name:
        return False
    return passage.client.address in passage.scene.node(name).addresses
