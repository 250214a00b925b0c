"""What an audit comes to: types alone.

Not the business of this module: how it is found (``auditing``), or shown (``document``, ``sarif``, ``page``).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from nodeport_access.api import PolicyKey, ServiceKey
from nodeport_access.audit.openness import Openness, worst
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate import Unknown


class Way(StrEnum):
    """A way in from outside."""

    NODE_PORT = "node-port"
    EXTERNAL_IP = "external-ip"
    LOAD_BALANCER = "load-balancer"


class Severity(StrEnum):
    """How bad a trap is: ``high`` where somebody gets in by it or nothing guards, ``medium`` where it takes one more
    change, ``low`` where something is merely due."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"

    @property
    def rank(self) -> int:
        """0 is the worst."""
        return tuple(Severity).index(self)


class TrapKind(StrEnum):
    """The closed list of traps."""

    NODE_ADDRESSES_ALLOWED = "node-addresses-allowed"
    CLUSTER_UNDER_ALLOWLIST = "cluster-under-allowlist"
    SHARED_BACKENDS = "shared-backends"
    HOST_NETWORK_BACKEND = "host-network-backend"
    RULE_WITHOUT_FROM = "rule-without-from"
    EXPIRED_ENTRY = "expired-entry"
    ENTRY_EXPIRES_SOON = "entry-expires-soon"
    POLICY_STALLED = "policy-stalled"
    POLICY_IN_AUDIT_MODE = "policy-in-audit-mode"

    @property
    def sentence(self) -> str:
        """What it is about, whatever the names."""
        return _ABOUT[self]


_ABOUT = {
    TrapKind.NODE_ADDRESSES_ALLOWED: "An allowlist covers addresses of nodes, tunnels or pods.",
    TrapKind.CLUSTER_UNDER_ALLOWLIST: "An allowlist stands behind externalTrafficPolicy Cluster.",
    TrapKind.SHARED_BACKENDS: "Another exposed Service leads to the same pods and is not guarded alike.",
    TrapKind.HOST_NETWORK_BACKEND: "A backend runs in its node's network, where NetworkPolicy does not apply.",
    TrapKind.RULE_WITHOUT_FROM: "A NetworkPolicy has a rule without from, which admits everyone.",
    TrapKind.EXPIRED_ENTRY: "An entry of an allowlist has expired.",
    TrapKind.ENTRY_EXPIRES_SOON: "An entry of an allowlist is about to expire.",
    TrapKind.POLICY_STALLED: "A policy is Stalled: only a person can mend it.",
    TrapKind.POLICY_IN_AUDIT_MODE: "A policy is in mode Audit: it writes nothing.",
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where an object was read: ``source`` is a file or the cluster, ``line`` 0 where there is none."""

    source: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.source}, line {self.line}" if self.line else self.source


@dataclass(frozen=True, slots=True, kw_only=True)
class Trap:
    """One trap. ``object`` is the kind, namespace and name of what holds it, ``mark`` what tells it from others of its
    kind there, ``place`` where that was read; ``message`` is a sentence with names, ``way_out`` says what to do."""

    kind: TrapKind
    severity: Severity
    message: str
    way_out: str
    object: str
    mark: str
    place: Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Guard:
    """The NodePortAccessPolicy that guards a Service, and its condition Ready."""

    policy: PolicyKey
    mode: str
    ready: bool
    reason: str
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One way in through nodes that are alike: the addresses outside the cluster that get in for sure, and perhaps.

    ``derivation`` is told of the first of the ``nodes``; each has ``has_pod``, a usable backend of its own, or not.
    """

    way: Way
    nodes: tuple[str, ...]
    has_pod: bool
    surely: AddressSet
    perhaps: AddressSet
    openness: Openness
    depends_on: tuple[Unknown, ...]
    derivation: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PortReport:
    """One port of a Service; ``node_port`` is 0 where it has none, or none yet."""

    name: str
    port: int
    protocol: str
    node_port: int
    cells: tuple[Cell, ...]

    @property
    def openness(self) -> Openness:
        """That of the worst cell."""
        return worst(cell.openness for cell in self.cells)

    @property
    def surely(self) -> AddressSet:
        """Who gets in by some way and some node for sure."""
        return AddressSet.union(*(cell.surely for cell in self.cells))

    @property
    def perhaps(self) -> AddressSet:
        """Who may get in by some way and some node."""
        return AddressSet.union(*(cell.perhaps for cell in self.cells))

    @property
    def depends_on(self) -> tuple[Unknown, ...]:
        """What the difference hangs on."""
        return tuple(dict.fromkeys(unknown for cell in self.cells for unknown in cell.depends_on))

    def __str__(self) -> str:
        return self.name or f"{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceReport:
    """One exposed Service."""

    key: ServiceKey
    type: str
    external_traffic_policy: str
    ports: tuple[PortReport, ...]
    guard: Guard | None
    traps: tuple[Trap, ...]
    place: Place

    @property
    def openness(self) -> Openness:
        """That of the worst port."""
        return worst(port.openness for port in self.ports)


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """An audit. ``source`` says of what it was made, ``assumed`` are sentences about what was taken for granted;
    ``services`` are the exposed ones, worst first; ``traps`` those of policies that belong to none of them."""

    made_at: datetime
    source: str
    assumed: tuple[str, ...]
    nodes: tuple[str, ...]
    services: tuple[ServiceReport, ...]
    traps: tuple[Trap, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def rows(self) -> tuple[tuple[ServiceReport, PortReport], ...]:
        """Every port with its Service, worst first."""
        found = ((service, port) for service in self.services for port in service.ports)
        return tuple(sorted(found, key=lambda row: (row[1].openness.rank, -len(row[0].traps), row[0].key, row[1].port)))

    @property
    def all_traps(self) -> tuple[Trap, ...]:
        """Those of Services and of policies without one, worst first."""
        found = (*(trap for service in self.services for trap in service.traps), *self.traps)
        return tuple(sorted(dict.fromkeys(found), key=lambda trap: (trap.severity.rank, trap.kind, trap.object)))


CLAIM = "It speaks of new connections, from objects alone; what becomes of open ones, no object tells."
"""What every report says of itself."""
