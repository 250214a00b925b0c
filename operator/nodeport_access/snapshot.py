"""Everything that decides about one Service, gathered once and frozen: the input of the pure core.

Not the business of this module: how it was gathered (``store``), or what follows from it (``checks``, ``plan``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum, auto
from functools import cached_property

from nodeport_access.api import Mode, Policy, ServiceKey
from nodeport_access.cidrs import AddressSet
from nodeport_access.observed import EndpointSlice, NetworkPolicy, Node, Service


class Role(Enum):
    """What a policy is to its Service."""

    HOLDER = auto()
    WAITING = auto()
    AUDITOR = auto()
    GONE = auto()


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """One Service with all that bears on it.

    policies: every policy that names the Service, in the order of claims.
    children: by name, the NetworkPolicies that stand under a child's name of these policies, and those of ours that
        were made for this Service by a policy that no longer enforces.
    others: NetworkPolicies that select at least one of the Service's pods, all but the children that are ours.
    node_addresses: the addresses of all nodes, and of their tunnels, together.
    node_ranges: the same with those of their pods.
    sharing: the other exposed Services of the namespace that select at least one of these pods, with whether a policy
        keeps each Local.
    pods_listed: whether all pods of the namespace are known; if not, ``others`` and ``sharing`` may lack some.
    nodes_listed: whether all nodes are known; if not, ``nodes`` is empty, and nobody knows whose an address is.
    enforcing_names: the names of all enforcing policies of the namespace.
    """

    key: ServiceKey
    now: datetime
    policies: tuple[Policy, ...]
    service: Service | None
    children: Mapping[str, NetworkPolicy]
    others: tuple[NetworkPolicy, ...]
    slices: tuple[EndpointSlice, ...]
    nodes: tuple[Node, ...]
    node_addresses: AddressSet
    node_ranges: AddressSet
    sharing: tuple[tuple[Service, bool], ...]
    pods_listed: bool
    nodes_listed: bool
    enforcing_names: frozenset[str]

    @cached_property
    def holder(self) -> Policy | None:
        """Among living Enforce policies the oldest, by creationTimestamp, then name."""
        return next((policy for policy in self.policies if policy.enforcing), None)

    def role(self, policy: Policy) -> Role:
        """What this policy is to the Service now."""
        if policy.deleting:
            return Role.GONE
        if policy.mode is Mode.AUDIT:
            return Role.AUDITOR
        return Role.HOLDER if policy is self.holder else Role.WAITING


def claim_order(policy: Policy) -> tuple[str, str]:
    """The order of claims: creationTimestamp (RFC 3339 in UTC sorts as text), then name."""
    return (policy.created, policy.key.name)
