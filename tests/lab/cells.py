"""The table that every set-up fills in: who dials, and by which way in; one cell for each, family and protocol.

Not its business: what should become of it (`tests.lab.expected`).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Protocol
from testbed.lab.lab import Lab
from testbed.lab.topology import V4, V6, Entry, Node, Pair


class Kind(Enum):
    """Where a client is."""

    OUTSIDE = auto()
    POD = auto()
    NODE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Client:
    """Who dials. `namespace` is a pod's, `node` a pod's or the node itself."""

    name: str
    kind: Kind
    addresses: Pair
    node: Node | None = None
    namespace: str = ""


def _pod(namespace: str, name: str, node: Node, number: int) -> Client:
    return Client(name=name, kind=Kind.POD, addresses=node.pod(number), node=node, namespace=namespace)


NODE_1, NODE_2, NODE_3 = topology.NODES
BACKEND = _pod(stage.NAMESPACE, stage.BACKEND, stage.BACKEND_NODE, 10)
CLIENTS = (
    *(Client(name=host.name, kind=Kind.OUTSIDE, addresses=host.addresses) for host in topology.OUTSIDE),
    _pod("foo", "foo-1", NODE_1, 20),
    _pod("foo", "foo-2", NODE_2, 20),
    _pod("bar", "bar-1", NODE_1, 30),
    _pod("bar", "bar-2", NODE_2, 30),
    Client(name="node-1", kind=Kind.NODE, addresses=NODE_1.addresses, node=NODE_1),
    Client(name="node-2", kind=Kind.NODE, addresses=NODE_2.addresses, node=NODE_2),
    BACKEND,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One question. `node` is the one whose kube-proxy sees the connection first; for a pod's address, the first that
    the connection passes.
    """

    client: Client
    entry: Entry
    node: Node
    family: int
    protocol: Protocol

    def __str__(self) -> str:
        way = f"{self.entry} of {self.node.name}" if self.entry is not Entry.POD else str(self.entry)
        return f"{self.client.name} by {way}, {self.protocol} over {('IPv4', 'IPv6')[self.family]}"

    @property
    def is_own(self) -> bool:
        """Whether the node itself is the client: what it sends is not forwarded."""
        return self.client.kind is Kind.NODE and self.client.node == self.node

    def dial(self, cluster_ips: Pair) -> tuple[Dial, str]:
        """As `Lab.dial` takes it."""
        addresses, port = {
            Entry.NODE_PORT: (self.node.addresses, stage.NODE_PORT),
            Entry.EXTERNAL_IP: (self.node.external_ips, stage.SERVICE_PORT),
            Entry.LOAD_BALANCER: (self.node.load_balancer_ips, stage.SERVICE_PORT),
            Entry.CLUSTER_IP: (cluster_ips, stage.SERVICE_PORT),
            Entry.POD: (BACKEND.addresses, stage.POD_PORT),
        }[self.entry]
        tos = self.node.tos if self.entry is Entry.CLUSTER_IP else 0
        dial = Dial(address=addresses[self.family], port=port, protocol=self.protocol, tos=tos)
        return dial, self.client.name


def _ways(client: Client) -> Iterator[tuple[Entry, Node]]:
    for entry in Entry:
        if entry is Entry.POD:
            yield entry, client.node or stage.BACKEND_NODE
        elif entry is Entry.NODE_PORT or client.node is None:
            yield from ((entry, node) for node in topology.NODES)
        else:  # its own node's kube-proxy takes every address of the Service, wherever the fabric would send it
            yield entry, client.node


CELLS = tuple(
    Cell(client=client, entry=entry, node=node, family=family, protocol=protocol)
    for client in CLIENTS
    for entry, node in _ways(client)
    for family, protocol in itertools.product((V4, V6), Protocol)
)


def cluster_ips(lab: Lab) -> Pair:
    """The Service's cluster addresses."""
    found: Sequence[str] = lab.cluster.get("Service", stage.SERVICE, namespace=stage.NAMESPACE)["spec"]["clusterIPs"]
    return found[V4], found[V6]
