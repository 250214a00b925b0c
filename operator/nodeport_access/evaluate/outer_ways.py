"""Ways in by an address that is meant for the outside: a node's port, an external IP, a load-balancer address.

Not the business of this module: addresses that are meant for the inside (``inner_ways``), or the steps themselves
(``hops``).
"""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from nodeport_access.cidrs import Family
from nodeport_access.evaluate.backends import Target
from nodeport_access.evaluate.hops import Dropped, Hidden, Passage, Route, Source, addresses_of, dropped
from nodeport_access.evaluate.question import Client
from nodeport_access.evaluate.unknowns import Chance, Forwarding, LocalPods, PodEgress, Proxy, Unknown
from nodeport_access.observed import Node


def by_node_port(passage: Passage, entered: Node) -> Route | Dropped:
    """In through this node's port."""
    port, family = passage.port, passage.family
    if not (port.node_port or passage.scene.service.allocates_node_ports):
        return dropped(f"Port {port.name or port.port} of Service {passage.scene.service.key} has no node port.")
    if entered.addresses and not addresses_of(entered.addresses - entered.tunnels, family):
        return dropped(f"Node {entered.name} has no {family} address.")
    return _by_outer_address(passage, entered, "its port")


def by_external_ip(passage: Passage, entered: Node) -> Route | Dropped:
    """To an address of spec.externalIPs, which is routed to this node."""
    service, version = passage.scene.service, 4 if passage.family is Family.IPV4 else 6
    if not any(ip_address(text).version == version for text in service.external_ips):
        return dropped(f"Service {service.key} has no external IP of {passage.family}.")
    return _by_announced_address(passage, entered, "its external IP")


def by_load_balancer(passage: Passage, entered: Node) -> Route | Dropped:
    """To an address of status.loadBalancer, which this node announces. "If specified and supported by the platform,
    this will restrict traffic through the cloud-provider load-balancer [...] to the specified client IPs."
    (ServiceSpec, loadBalancerSourceRanges); kube-proxy drops what comes by the address from anywhere else."""
    frontends = passage.scene.frontends
    if not frontends.load_balancer.restricted_to([passage.family]):
        return dropped(f"Service {passage.scene.service.key} has no load-balancer address of {passage.family}.")
    way = _by_announced_address(passage, entered, "its load-balancer address")
    if not frontends.source_ranges or isinstance(way, Dropped):
        return way
    return replace(way, only=frontends.source_ranges)


def _by_announced_address(passage: Passage, announcing: Node, what: str) -> Route | Dropped:
    """What a pod or a node sends to such an address its own node's kube-proxy takes, wherever the network outside would
    send it."""
    client = passage.client
    if not isinstance(client, Client):
        return _by_outer_address(passage, announcing, what)
    if client.pod is None:
        return _by_outer_address(passage, passage.scene.node_with(client.address) or announcing, what)
    own = passage.scene.node(client.pod.node or announcing.name)
    at_home = Client(client.address, replace(client.pod, node=own.name))
    return _by_outer_address(replace(passage, client=at_home), own, what)


def _by_outer_address(passage: Passage, entered: Node, what: str) -> Route | Dropped:
    backends = passage.backends()
    if not backends:
        return passage.nobody_there()
    if passage.is_from(entered):
        # "masquerade LOCAL traffic": it is served as under Cluster, whatever the traffic policy.
        return passage.masqueraded(entered, passage.pick(backends), sent=True)
    if _is_hidden_by_its_node(passage, entered):
        return _as_its_node(passage, entered, what)
    if not passage.is_local:
        return _under_cluster(passage, entered, passage.pick(backends))
    if _is_local_pod(passage, entered):
        return _past_the_policy(passage, entered, passage.pick(backends))
    return _under_local(passage, entered)


def _under_local(passage: Passage, entered: Node) -> Route | Dropped:
    """ "Each node will deliver traffic only to the node-local endpoints of the service, without masquerading the client
    source IP. (Traffic mistakenly sent to a node with no endpoints will be dropped.)" (ServiceSpec,
    externalTrafficPolicy)"""
    name, local = entered.name, passage.backends_on(entered.name)
    if not local:
        return dropped(f"Under Local, {name} drops it, because no ready pod of the Service is there: a time-out.")
    target = passage.pick(local)
    return passage.kept(entered, target, f"Under Local, {name} sends it to {target} and keeps the source.")


def _is_hidden_by_its_node(passage: Passage, entered: Node) -> bool:
    """Whether a pod's connection to another node's port comes there under the address of the pod's own."""
    if passage.pod is None or not _is_foreign(passage, entered):
        return False
    return passage.case.ask(Unknown.POD_EGRESS) == PodEgress.NODE


def _is_foreign(passage: Passage, entered: Node) -> bool:
    """Whether the pod runs on another node than the one that is entered."""
    assert passage.pod is not None, "asked for pods only"
    if not passage.pod.node:
        return passage.case.ask(Unknown.CALLER_NODE) == Chance.NO
    return passage.pod.node != entered.name


def _is_local_pod(passage: Passage, entered: Node) -> bool:
    """ "Treat all locally-originated pod -> external destination traffic as a special-case. It is subject to
    neither form of traffic policy" (pkg/proxy/iptables/proxier.go). Which pods that means, detectLocalMode
    decides."""
    if passage.pod is None:
        return False
    return not _is_foreign(passage, entered) or passage.case.ask(Unknown.LOCAL_PODS) == LocalPods.CLUSTER


def _as_its_node(passage: Passage, entered: Node, what: str) -> Route | Dropped:
    """A pod behind its own node's address is a client like any other that has it."""
    assert passage.pod is not None, "asked for pods only"
    name = passage.pod.node or "its node"
    known = next((node for node in passage.scene.nodes if node.name == passage.pod.node), None)
    address = passage.choose(known, name) if known is not None else None
    arriving = Hidden(name, address)
    step = f"The CNI hides the pod behind {address or 'the address'} of {name} on the way to {entered.name}."
    backends = passage.backends()
    if passage.is_local:
        backends = passage.backends_on(entered.name)
        if not backends:
            return dropped(step, f"Under Local, {entered.name} drops it, because no ready pod of the Service is there.")
    target = passage.pick(backends)
    if passage.is_local:
        source: Source = arriving
        told = f"Under Local, {entered.name} sends it to {target} by {what} and keeps that address."
    else:
        source = passage.hidden_by(entered, target)
        told = f"Under Cluster, {entered.name} sends it to {target} and hides it once more."
    return Route(
        target=target,
        entered=entered.name,
        sent=False,
        arriving=arriving,
        source=source,
        steps=(step, told),
    )


def _under_cluster(passage: Passage, entered: Node, target: Target) -> Route | Dropped:
    """ "Cluster uses the standard behavior of routing to all endpoints evenly" (ServiceSpec,
    externalTrafficPolicy); "if we are using non-local endpoints we need to masquerade" (kube-proxy), which it does
    for the local ones too. An eBPF proxy does without where the pod is on the node itself, and with DSR always."""
    if passage.case.ask(Unknown.PROXY) != Proxy.EBPF:
        return passage.masqueraded(entered, target)
    if target.endpoint.node == entered.name:
        return passage.kept(entered, target, f"{entered.name}'s eBPF proxy sends it to {target} and keeps the source.")
    if passage.case.ask(Unknown.FORWARDING) == Forwarding.HIDDEN:
        return passage.masqueraded(entered, target)
    step = f"{entered.name}'s eBPF proxy forwards it to {target} and keeps the source (DSR)."
    return passage.kept(entered, target, step)


def _past_the_policy(passage: Passage, entered: Node, target: Target) -> Route | Dropped:
    step = f"{entered.name} takes a pod past the traffic policy, sends it to {target} and keeps the source."
    if passage.comes_back(entered, target):
        return passage.masqueraded(entered, target)
    way = passage.kept(entered, target, step)
    if isinstance(way, Dropped):
        return way
    # The pod answers a pod directly, and not by the node that rewrote the destination.
    if entered.name == target.endpoint.node or not _is_foreign(passage, entered):
        return way
    astray = f"What the pod answers does not pass {entered.name} again, and so does not come from its port."
    if passage.port.target.protocol == "UDP":
        return replace(way, steps=(*way.steps, astray))
    return dropped(*way.steps, astray)
