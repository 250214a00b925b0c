"""The question, what it is asked about, and the answer: types alone.

Not the business of this module: finding the answer (``routes`` up to the pod, ``admission`` at the pod).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from nodeport_access.cidrs import Address
from nodeport_access.label_selectors import Labels
from nodeport_access.observed import EndpointSlice, NetworkPolicy, Node, Service


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The objects that decide about one Service.

    slices: its EndpointSlices.
    network_policies: those of its namespace, whichever pods they select.
    pods: the labels of the pods behind it; while there are none, the Service's selector stands for them.
    """

    service: Service
    slices: tuple[EndpointSlice, ...]
    nodes: tuple[Node, ...]
    network_policies: tuple[NetworkPolicy, ...]
    pods: tuple[Labels, ...]

    def node(self, name: str) -> Node:
        """The node of this name. Raises KeyError."""
        found = next((node for node in self.nodes if node.name == name), None)
        if found is None:
            raise KeyError(name)
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """Which pod a client is, as far as the peers of a NetworkPolicy can tell."""

    namespace: str
    namespace_labels: Labels
    labels: Labels


@dataclass(frozen=True, slots=True)
class Client:
    """Who opens the connection: an address, and the pod that has it, where one does."""

    address: Address
    pod: Caller | None = None


@dataclass(frozen=True, slots=True)
class ByNodePort:
    """In through this node's port."""

    node: str


@dataclass(frozen=True, slots=True)
class ByClusterAddress:
    """To the Service's cluster address, from inside the cluster."""


Entry = ByNodePort | ByClusterAddress


class Answer(StrEnum):
    """What becomes of a new connection."""

    THROUGH = "through"
    REFUSED = "refused"
    DEPENDS = "depends"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """``sources`` are the addresses that the pod may see as the client's, none where nothing gets to it; ``derivation``
    is how the answer comes about, a sentence a step, with the names of nodes, policies and rules."""

    answer: Answer
    sources: tuple[Address, ...]
    derivation: tuple[str, ...]
