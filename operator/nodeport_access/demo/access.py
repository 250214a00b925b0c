"""Who asks in the demo, and what becomes of each: clients outside by every node, pods by the Service's cluster
address.

Not the business of this module: the verdicts (``evaluate``), or how they are printed (``show``).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from nodeport_access import desired
from nodeport_access.api import Body, Policy
from nodeport_access.demo.folder import Scenario
from nodeport_access.evaluate import (
    Answer,
    ByNodePort,
    Caller,
    Client,
    Entry,
    Scene,
    Verdict,
    evaluate,
    is_peer,
)
from nodeport_access.evaluate.cni import settle
from nodeport_access.inventory.endpoints import addresses
from nodeport_access.kube import PODS
from nodeport_access.observed import NetworkPolicy, Service, ServicePort, parse_network_policy

KNOWN = settle(cni="calico", proxy_mode="iptables")
"""Of the cluster in memory: what most clusters are like, so that the story has an end."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A client by the name that people know it by."""

    name: str
    client: Client


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One way in of one client. ``against`` says that it gets in, or may get in, although the policy names it not."""

    asker: Asker
    entry: Entry
    verdict: Verdict
    against: bool

    @property
    def place(self) -> str:
        """The way in, as a sentence names it."""
        return self.entry.node if isinstance(self.entry, ByNodePort) else "the cluster address"


@dataclass(frozen=True, slots=True)
class Intent:
    """Whom a policy names, whatever the cluster makes of it."""

    policy: Policy
    now: datetime

    def names(self, client: Client, service: Service, port: ServicePort) -> bool:
        """Whether an entry of the policy covers the address on this port, or a peer of it selects the pod."""
        allowed = desired.allowed_addresses(self.policy, service, self.now)
        if any(port.target in ports and client.address in addresses for ports, addresses in allowed.items()):
            return True
        pod, namespace = client.pod, self.policy.key.namespace
        return pod is not None and any(is_peer(peer, pod, namespace) for peer in self.policy.peers)


def outsiders(scenario: Scenario) -> tuple[Asker, ...]:
    """The clients outside the cluster."""
    return tuple(Asker(name, Client(address)) for name, address in scenario.clients)


def callers(scenario: Scenario) -> tuple[Asker, ...]:
    """Every pod that is no backend of the Service, by its first address."""
    return tuple(_callers(scenario))


def _callers(scenario: Scenario) -> Iterator[Asker]:
    for pod in scenario.of(PODS):
        metadata = pod["metadata"]
        namespace = metadata["namespace"]
        if scenario.is_backend(pod) or not addresses(pod):
            continue
        caller = Caller(
            namespace=namespace,
            namespace_labels=scenario.namespaces[namespace],
            labels=metadata.get("labels") or {},
            node=pod["spec"].get("nodeName", ""),
        )
        yield Asker(f"{namespace}/{metadata['name']}", Client(addresses(pod)[0], caller))


def attempts(
    scene: Scene, askers: Iterable[Asker], entries: Iterable[Entry], port: ServicePort, *, intent: Intent
) -> list[list[Attempt]]:
    """A row for each client, in it an attempt for each entry."""
    entries = tuple(entries)
    return [[_attempt(scene, asker, entry, port, intent) for entry in entries] for asker in askers]


def _attempt(scene: Scene, asker: Asker, entry: Entry, port: ServicePort, intent: Intent) -> Attempt:
    verdict = evaluate(scene, client=asker.client, port=port, entry=entry, known=KNOWN)
    against = verdict.answer is not Answer.REFUSED and not intent.names(asker.client, scene.service, port)
    return Attempt(asker=asker, entry=entry, verdict=verdict, against=against)


def by_nodes(scene: Scene) -> tuple[Entry, ...]:
    """In through each node."""
    return tuple(ByNodePort(node.name) for node in scene.nodes)


def naive(scene: Scene, policy: Policy, now: datetime, *, with_nodes: bool) -> Scene:
    """The scene with an allowlist and a deny-all, and the Service left at Cluster: what people try first. With
    ``with_nodes`` the list also holds the nodes' and tunnels' addresses, behind which clients are hidden."""
    allow = desired.allow_body(policy, scene.service, now)
    if with_nodes:
        nodes = [{"ipBlock": {"cidr": text}} for node in scene.nodes for text in node.addresses.texts()]
        spec = allow["spec"]
        rules = [{**rule, "from": [*rule["from"], *nodes]} for rule in spec["ingress"]]
        allow = {**allow, "spec": {**spec, "ingress": rules}}
    deny = desired.deny_body(policy, scene.service, holder=True)
    return replace(
        scene,
        service=replace(scene.service, external_traffic_policy="Cluster"),
        network_policies=(_observed(allow), _observed(deny)),
    )


def _observed(body: Body) -> NetworkPolicy:
    """A body as if it had been written and read back."""
    return parse_network_policy({**body, "metadata": {**body["metadata"], "uid": "", "resourceVersion": "0"}})
