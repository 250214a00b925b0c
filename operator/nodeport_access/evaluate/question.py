"""The question, what it is asked about, and the answer: types alone.

Not the business of this module: finding the answer (``routes`` up to the pod, ``admission`` at the pod), or what
nobody knows (``unknowns``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address

from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate.unknowns import Unknown
from nodeport_access.label_selectors import Labels
from nodeport_access.observed import EndpointSlice, NetworkPolicy, Node, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendPod:
    """A pod behind a Service, as far as NetworkPolicies look at it; ``ports`` are its container ports that have a name,
    by protocol and name, None where they are not known."""

    labels: Labels
    addresses: AddressSet = AddressSet.EMPTY
    ports: Mapping[tuple[str, str], int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frontends:
    """A Service's addresses of its own, beside its node ports.

    source_ranges: spec.loadBalancerSourceRanges, which kube-proxy holds against whoever comes by a load-balancer
    address; empty: everybody. internal_local: spec.internalTrafficPolicy is Local.
    """

    cluster: AddressSet = AddressSet.EMPTY
    load_balancer: AddressSet = AddressSet.EMPTY
    source_ranges: AddressSet = AddressSet.EMPTY
    internal_local: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The objects that decide about one Service.

    slices: its EndpointSlices.
    network_policies: those of its namespace, whichever pods they select.
    pods: the pods behind it; of an endpoint whose pod is not among them, any may be it, and where there are none, the
        Service's selector stands for its labels.
    """

    service: Service
    slices: tuple[EndpointSlice, ...]
    nodes: tuple[Node, ...]
    network_policies: tuple[NetworkPolicy, ...]
    pods: tuple[BackendPod, ...]
    frontends: Frontends = field(default_factory=Frontends)

    def node(self, name: str) -> Node:
        """The node of this name. Raises KeyError."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    def node_with(self, address: Address) -> Node | None:
        """The node that has this address."""
        return next((node for node in self.nodes if address in node.addresses), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Which pod a client is, as far as the peers of a NetworkPolicy can tell, and the node it runs on, where that is
    known."""

    namespace: str
    namespace_labels: Labels
    labels: Labels
    node: str = ""


@dataclass(frozen=True, slots=True)
class Client:
    """Who opens the connection: an address, and the pod that has it, where one does."""

    address: Address
    pod: Caller | None = None

    @property
    def family(self) -> Family:
        """That of its address."""
        return Family.IPV4 if isinstance(self.address, IPv4Address) else Family.IPV6

    def __str__(self) -> str:
        return f"{self.address}, a pod of namespace {self.pod.namespace}" if self.pod else str(self.address)


@dataclass(frozen=True, slots=True)
class Outsiders:
    """Every client outside the cluster, all at once: any address of the family that is no node's and no pod's."""

    family: Family


@dataclass(frozen=True, slots=True)
class ByNodePort:
    """In through this node's port."""

    node: str


@dataclass(frozen=True, slots=True)
class ByExternalIP:
    """To an address of spec.externalIPs, which is routed to this node."""

    node: str


@dataclass(frozen=True, slots=True)
class ByLoadBalancer:
    """To an address of status.loadBalancer, which is announced by this node: the connection arrives there under the
    client's own address. A load balancer that dials node ports is a client of those, under its own."""

    node: str


@dataclass(frozen=True, slots=True)
class ByClusterAddress:
    """To the Service's cluster address; a pod's own node sees it first, and that of another client is named."""

    node: str = ""


@dataclass(frozen=True, slots=True)
class ByPodAddress:
    """To a pod of the Service by its own address, past the Service; ``node`` is the first that forwards it, empty for
    one that goes straight to the pod's node."""

    node: str = ""


Entry = ByNodePort | ByExternalIP | ByLoadBalancer | ByClusterAddress | ByPodAddress


class Answer(StrEnum):
    """What becomes of a new connection."""

    THROUGH = "through"
    REFUSED = "refused"
    DEPENDS = "depends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Possibility:
    """One way that an answer may go: ``conditions`` are sentences without the "if" before them."""

    conditions: tuple[str, ...]
    answer: Answer
    derivation: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``sources`` are the addresses that the pod may see as the client's, none where nothing gets to it; ``derivation``
    is how the answer comes about, a sentence a step, with the names of nodes, policies and rules.

    Where it depends, ``depends_on`` are the unknowns that change the answer, in the order in which they arise, and
    ``possibilities`` the ways that it may go, which the derivation tells one after the other.
    """

    answer: Answer
    sources: tuple[Address, ...]
    derivation: tuple[str, ...]
    depends_on: tuple[Unknown, ...] = ()
    possibilities: tuple[Possibility, ...] = ()
