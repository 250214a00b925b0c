"""The traps in a NodePortAccessPolicy: one that guards nothing, and entries that cover too much, or end.

Not the business of this module: NetworkPolicies and Services (``traps``).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from nodeport_access import covering
from nodeport_access.api import ConditionType, Mode, Policy
from nodeport_access.audit.report import Severity, Trap, TrapKind
from nodeport_access.audit.setting import Setting, make_trap, sprung
from nodeport_access.cidrs import admitted
from nodeport_access.conditions import Condition, listed, timestamp
from nodeport_access.inventory import Inventory
from nodeport_access.kube import POLICIES

SOON = timedelta(days=7)
"""How long before its end an entry is about to expire."""


def of_policy(inventory: Inventory, policy: Policy, conditions: tuple[Condition, ...]) -> Iterator[Trap]:
    """Those of a policy by itself, also where there is no Service for it."""
    stalled = next((one for one in conditions if one.type is ConditionType.STALLED), None)
    if stalled is not None:
        yield make_trap(
            inventory,
            TrapKind.POLICY_STALLED,
            Severity.HIGH,
            (POLICIES, policy.key.namespace, policy.key.name, "spec"),
            f"Policy {policy.key} is Stalled ({stalled.reason}): {stalled.message}",
            "Mend what it names; the operator cannot.",
        )
    if policy.mode is Mode.AUDIT:
        yield make_trap(
            inventory,
            TrapKind.POLICY_IN_AUDIT_MODE,
            Severity.MEDIUM,
            (POLICIES, policy.key.namespace, policy.key.name, "spec.mode"),
            f"Policy {policy.key} is in mode Audit, so it guards nothing.",
            "Set spec.mode to Enforce once status.plan is what you want.",
        )


def by_policies(setting: Setting) -> Iterator[Trap]:
    """What stands against each policy by itself."""
    for policy in setting.policies:
        yield from of_policy(setting.inventory, policy, setting.conditions.get(policy.key.name, ()))


def nodes_in_entries(setting: Setting) -> Iterator[Trap]:
    """Entries that cover nodes, tunnels or pods."""
    for policy in setting.policies:
        for index, entry in enumerate(policy.allowed):
            addresses = covering.narrow(admitted(entry.cidr, entry.excepts))
            covered = covering.covered(addresses, setting.snapshot.nodes) if entry.in_force(setting.now) else []
            if covered:
                yield make_trap(
                    setting.inventory,
                    TrapKind.NODE_ADDRESSES_ALLOWED,
                    Severity.HIGH if setting.is_cluster else Severity.MEDIUM,
                    (POLICIES, policy.key.namespace, policy.key.name, f"spec.allowedCIDRs[{index}]"),
                    f"Entry {entry.cidr} of policy {policy.key} covers addresses of {listed(covered)} or of pods"
                    f" there: {sprung(setting)}.",
                    "Narrow the entry to the clients, or leave those addresses out by except.",
                    mark=str(entry.cidr),
                )


def expiry(setting: Setting) -> Iterator[Trap]:
    """Entries that have ended, or are about to."""
    for policy in setting.policies:
        for index, entry in enumerate(policy.allowed):
            if entry.expires_at is None or entry.expires_at - SOON > setting.now:
                continue
            where = (POLICIES, policy.key.namespace, policy.key.name, f"spec.allowedCIDRs[{index}].expiresAt")
            entry_name, when = f"Entry {entry.cidr} of policy {policy.key}", timestamp(entry.expires_at)
            if entry.in_force(setting.now):
                yield make_trap(
                    setting.inventory,
                    TrapKind.ENTRY_EXPIRES_SOON,
                    Severity.LOW,
                    where,
                    f"{entry_name} ends at {when}.",
                    "Move its expiresAt if it is still needed.",
                    mark=str(entry.cidr),
                )
            else:
                yield make_trap(
                    setting.inventory,
                    TrapKind.EXPIRED_ENTRY,
                    Severity.LOW,
                    where,
                    f"{entry_name} has ended at {when}; it admits nobody.",
                    "Take the entry out.",
                    mark=str(entry.cidr),
                )
