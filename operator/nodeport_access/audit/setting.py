"""Where traps are looked for, and how one is told.

Not the business of this module: any single trap (``traps``, ``policy_traps``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from nodeport_access.api import Policy
from nodeport_access.audit.report import Place, Severity, Trap, TrapKind
from nodeport_access.conditions import Condition
from nodeport_access.inventory import Inventory, ObjectKey
from nodeport_access.kube import Resource
from nodeport_access.observed import NetworkPolicy, Service
from nodeport_access.snapshot import Snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Where traps are looked for: one exposed Service, with the conditions of the policies that name it."""

    inventory: Inventory
    snapshot: Snapshot
    service: Service
    conditions: dict[str, tuple[Condition, ...]] = field(default_factory=dict)

    @property
    def now(self) -> datetime:
        """The time of the audit."""
        return self.snapshot.now

    @property
    def is_cluster(self) -> bool:
        """Whether clients are hidden behind nodes."""
        return self.service.external_traffic_policy != "Local"

    @property
    def selecting(self) -> tuple[NetworkPolicy, ...]:
        """Every NetworkPolicy that selects its pods, the operator's own included."""
        ours = (child for child in self.snapshot.children.values() if child.claims)
        return tuple(sorted((*self.snapshot.others, *ours), key=lambda policy: policy.name))

    @property
    def policies(self) -> tuple[Policy, ...]:
        """The living policies that name it."""
        return tuple(policy for policy in self.snapshot.policies if not policy.deleting)


def sprung(setting: Setting) -> str:
    """What comes of node addresses in a list."""
    if setting.is_cluster:
        return "under Cluster, whoever comes in through another node is masqueraded to one, and gets in"
    return "whoever is masqueraded to one gets in, which is everybody once externalTrafficPolicy is Cluster"


def make_trap(
    inventory: Inventory,
    kind: TrapKind,
    severity: Severity,
    where: tuple[Resource, str, str, str],
    message: str,
    way_out: str,
    mark: str = "",
) -> Trap:
    """A trap in a field of an object: its resource, namespace, name, and the field's path."""
    resource, namespace, name, path = where
    key = ObjectKey(resource, namespace, name)
    return Trap(
        kind=kind,
        severity=severity,
        message=message,
        way_out=way_out,
        object=str(key),
        mark=mark,
        place=place_of(inventory, key, path),
    )


def place_of(inventory: Inventory, key: ObjectKey, path: str = "") -> Place:
    """Where a field of an object was read."""
    origin = inventory.items[key].origin
    return Place(source=origin.source, line=origin.line_of(path))
