"""What a probe is to dial, and what is predicted of each answer: types alone.

A plan is made where the cluster can be read (``planning``), and may be carried to another machine as a file
(``plan_file``). Not the business of this module: dialling, and what an answer means (``judging``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import Address, AddressSet
from nodeport_access.evaluate import Answer, Eventuality


class Protocol(StrEnum):
    """What can be dialled, in the API's words; SCTP cannot."""

    TCP = "TCP"
    UDP = "UDP"


class Way(StrEnum):
    """Which of a Service's addresses a target is."""

    NODE_PORT = "node port"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER = "load-balancer address"


@dataclass(frozen=True, slots=True, kw_only=True)
class Doubt:
    """What a prediction hangs on, as the end of "depends on"; ``key`` is that of ``--assume``, empty where no flag
    settles it."""

    about: str
    key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """Who gets in by one target, of all addresses outside the cluster.

    surely, perhaps: whatever is not known, and if it turns out so; each in ``surely`` is in ``perhaps`` too.
    unenforced: who would surely get in if the CNI did not enforce NetworkPolicy.
    doubts: what the difference between ``surely`` and ``perhaps`` hangs on; ``eventualities`` are the ways that it may
    turn out.
    derivation: how it comes about, a sentence a step, or a paragraph for each way.
    """

    surely: AddressSet
    perhaps: AddressSet
    unenforced: AddressSet
    derivation: tuple[str, ...]
    doubts: tuple[Doubt, ...] = ()
    eventualities: tuple[Eventuality, ...] = ()

    def answer(self, source: Address) -> Answer:
        """What becomes of a connection from this address."""
        if source in self.surely:
            return Answer.THROUGH
        return Answer.DEPENDS if source in self.perhaps else Answer.REFUSED

    def hangs_on_enforcement(self, source: Address) -> bool:
        """Whether NetworkPolicy alone keeps this address out."""
        return source not in self.perhaps and source in self.unenforced


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One address and port to dial. ``node`` is the one whose port it is; empty for an address that the network outside
    sends to some node. ``service_port`` is the Service's name for the port, or its number."""

    way: Way
    node: str
    address: Address
    port: int
    protocol: Protocol
    service_port: str
    prediction: Prediction

    def __str__(self) -> str:
        text = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{text}:{self.port}/{self.protocol}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumption:
    """What was known, or taken for granted, when the plan was made; key and answers as ``--assume`` spells them."""

    key: str
    answers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All targets of one Service.

    made, program: when, and by which version.
    nodes, pods: the cluster's own addresses, of which nothing is predicted.
    only_for: the only addresses of which anything is predicted; None: all outside the cluster.
    notes: sentences about what is not dialled.
    """

    service: ServiceKey
    made: datetime
    program: str
    assumptions: tuple[Assumption, ...]
    nodes: AddressSet
    pods: AddressSet
    targets: tuple[Target, ...]
    only_for: AddressSet | None = None
    notes: tuple[str, ...] = ()

    def is_for(self, source: Address) -> bool:
        """Whether it was made for this address among others."""
        return self.only_for is None or source in self.only_for

    def answer(self, target: Target, source: Address) -> Answer | None:
        """What is predicted of a connection from this address; None for an address of the cluster's own, and for one
        that the plan is not for."""
        if source in self.nodes or source in self.pods or not self.is_for(source):
            return None
        return target.prediction.answer(source)
