"""A connection on its way: what it carries where, and the steps that all ways have in common.

Not the business of this module: which way a connection takes (``outer_ways``, ``inner_ways``).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate.backends import Target, by_name, usable, usable_on
from nodeport_access.evaluate.cases import Case
from nodeport_access.evaluate.question import Caller, Client, Outsiders, Scene
from nodeport_access.evaluate.unknowns import Proxy, Unknown
from nodeport_access.observed import Node, ServicePort


@dataclass(frozen=True, slots=True)
class Own:
    """A connection that carries the address of whoever opened it."""

    client: Client | Outsiders


@dataclass(frozen=True, slots=True)
class Hidden:
    """A connection that carries a node's address in place of its client's; None: which one is not known."""

    node: str
    address: Address | None


Source = Own | Hidden


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A way to a pod.

    entered: the node whose proxy or routes take it first; empty where it comes straight to the pod's node.
    sent: that node is the client itself, so that it forwards nothing there.
    arriving: what the connection carries when it comes there; ``source``: when it goes on, and as the pod sees it.
    only: of all clients, those that have come so far; None: all of them.
    itself: the client is the pod. inside: and the connection never leaves it.
    """

    target: Target
    entered: str
    sent: bool
    arriving: Source
    source: Source
    steps: tuple[str, ...]
    only: AddressSet | None = None
    itself: bool = False
    inside: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """A way that ends before any NetworkPolicy is asked."""

    steps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Passage:
    """A new connection to one port of a Service, in one case; its methods are the steps that it may take."""

    scene: Scene
    client: Client | Outsiders
    port: ServicePort
    case: Case

    @property
    def family(self) -> Family:
        """That of the client."""
        return self.client.family

    @property
    def pod(self) -> Caller | None:
        """The pod that is the client."""
        return self.client.pod if isinstance(self.client, Client) else None

    @property
    def is_local(self) -> bool:
        """Whether externalTrafficPolicy is Local."""
        return self.scene.service.external_traffic_policy == "Local"

    def is_from(self, node: Node) -> bool:
        """Whether the client is that node itself."""
        return isinstance(self.client, Client) and self.client.address in node.addresses

    def backends(self) -> tuple[Target, ...]:
        """All that are usable."""
        return usable(self.scene, self.port, self.client)

    def backends_on(self, node: str) -> tuple[Target, ...]:
        """Those that are usable on this node alone."""
        return usable_on(node, self.scene, self.port, self.client)

    def kept(self, entered: Node | None, target: Target, step: str) -> Route | Dropped:
        """It goes on under the client's own address."""
        own, itself = Own(self.client), target.is_pod(self.client)
        if itself and self.family is Family.IPV4:
            # RFC 1812, 5.3.7; nothing drops such a packet over IPv6.
            return dropped(step, "The pod drops a packet that carries its own address as the source.")
        return Route(
            target=target,
            entered=entered.name if entered is not None else target.endpoint.node,
            sent=False,
            arriving=own,
            source=own,
            steps=(step,),
            itself=itself,
        )

    def masqueraded(self, entered: Node, target: Target, *, sent: bool = False, under: str = "") -> Route:
        """It goes on under an address of the node, which masquerades last of all; ``sent``: the node is the client."""
        hidden = self.hidden_by(entered, target)
        local = target.endpoint.node == entered.name
        under = under or f"Under {self.scene.service.external_traffic_policy or 'Cluster'}"
        if sent:
            step = f"{entered.name} sends it to {target} under {hidden.address or 'its own address'}."
        elif local:
            step = f"{under}, {entered.name} sends it to {target}, and the source becomes {_its_own(hidden)}."
        else:
            step = (
                f"{under}, {entered.name} sends it to {target} and hides the client behind {_named(hidden, entered)}."
            )
        return Route(
            target=target,
            entered=entered.name,
            sent=sent,
            arriving=Own(self.client),
            source=hidden,
            steps=(step,),
            itself=target.is_pod(self.client),
        )

    def hidden_by(self, entered: Node, target: Target) -> Hidden:
        """A tunnel's address hides what leaves its node; what stays there gets one of the node's own."""
        return Hidden(entered.name, self.choose(entered, entered.name, leaves=target.endpoint.node != entered.name))

    def choose(self, node: Node, name: str, *, leaves: bool = True) -> Address | None:
        """The address that a node masquerades with, the client's if that is its own; None where none is known."""
        if isinstance(self.client, Client) and self.client.address in node.addresses:
            return self.client.address
        tunnels = addresses_of(node.tunnels, self.family) if leaves else ()
        found = tunnels or addresses_of(node.addresses - node.tunnels, self.family)
        if not found:
            return None
        options = {f"{address} of {name}": address for address in found}
        return options[self.case.ask(Unknown.NODE_ADDRESS, tuple(options))]

    def comes_back(self, entered: Node, target: Target) -> bool:
        """Whether this node's proxy knows the connection for one of a pod to itself, which it masquerades: in iptables
        mode any node's does, else that of the pod's own node alone ("Add local endpoints to the hairpin set",
        pkg/proxy/nftables/proxier.go)."""
        if not target.is_pod(self.client):
            return False
        return entered.name == target.endpoint.node or self.case.ask(Unknown.PROXY) == Proxy.IPTABLES

    def pick(self, targets: tuple[Target, ...]) -> Target:
        """The one that the proxy picks."""
        told = by_name(targets)
        return told[self.case.ask(Unknown.BACKEND, tuple(told))]

    def nobody_there(self) -> Dropped:
        """It ends, because the Service has no usable endpoint."""
        return dropped(f"Service {self.scene.service.key} has no ready endpoint, so its port is refused on every node.")


def dropped(*steps: str) -> Dropped:
    """A way that ends, by its steps."""
    return Dropped(steps)


def _its_own(hidden: Hidden) -> str:
    return f"{hidden.address}, the node's own address" if hidden.address else "the node's own address"


def _named(hidden: Hidden, entered: Node) -> str:
    if hidden.address is None:
        return f"an address of {entered.name}"
    kind = "its tunnel's address" if hidden.address in entered.tunnels else "its own address"
    return f"{hidden.address}, {kind}"


def addresses_of(known: AddressSet, family: Family) -> tuple[Address, ...]:
    """Each address of the family; the sets are those of nodes, of a few addresses."""
    return tuple(chain.from_iterable(known.restricted_to([family]).networks()))
