"""What the operator makes of an inventory: its own plan, carried out until there is nothing left to write.

The plan is the operator's (``plan``), from the operator's store. Not the business of this module: what one write does
(``carrying_out``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from typing import Any

from nodeport_access.api import Body, PolicyKey, ServiceKey
from nodeport_access.checks import Case
from nodeport_access.conditions import Condition
from nodeport_access.inventory.carrying_out import carried_out, key_of_write
from nodeport_access.inventory.items import Inventory, Item
from nodeport_access.inventory.origins import Origin
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    Resource,
)
from nodeport_access.plan import Write, plan
from nodeport_access.shelf import Shelf
from nodeport_access.store import Store
from nodeport_access.verdict import judge

PASSES = 20
"""Passes over one Service; more than a handful would be a fault of the plan."""


class DoesNotConverge(Exception):  # noqa: N818 - what it is, as the operator's own outcomes are named
    """The plan goes on and on: a fault of this program, never of the input."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Converged:
    """The inventory with everything written, and the writes in their order."""

    inventory: Inventory
    writes: tuple[Write, ...]


def store(inventory: Inventory) -> Store:
    """The operator's store with these objects, as if it had listed them all."""
    filled = Store()
    for resource, shelf in _shelves(filled).items():
        shelf.replace(inventory.bodies(resource), "0")
    return filled


def converged(inventory: Inventory, now: datetime) -> Converged:
    """What the operator makes of the inventory at this instant. Pure: the same input gives the same result."""
    held = store(inventory)
    pending = set(held.service_keys())
    held.on_touched = pending.add
    work = _Work(inventory, held)
    passes = dict[ServiceKey, int]()
    while pending:
        key = min(pending)
        pending.discard(key)
        if due := plan(held.snapshot(key, now)):
            passes[key] = passes.get(key, 0) + 1
            if passes[key] > PASSES:
                raise DoesNotConverge(f"after {PASSES} passes there is more to write for Service {key}: {due[0]}")
            for write in due:
                work.carry_out(write)
            pending.add(key)
    return Converged(inventory=work.result(), writes=tuple(work.writes))


def judged(inventory: Inventory, now: datetime) -> dict[PolicyKey, tuple[Condition, ...]]:
    """The conditions of every living policy, by the operator's own checks."""
    held = store(inventory)
    found: dict[PolicyKey, tuple[Condition, ...]] = {}
    for policy in sorted(held.policies, key=lambda policy: policy.key):
        if not policy.deleting:
            snapshot = held.snapshot(policy.service, now)
            found[policy.key] = judge(Case(snapshot=snapshot, policy=policy))
    return found


def _shelves(held: Store) -> Mapping[Resource, Shelf[Any]]:
    return {
        NODES: held.nodes,
        SERVICES: held.services,
        PODS: held.pods,
        ENDPOINT_SLICES: held.slices,
        NETWORK_POLICIES: held.network_policies,
        POLICIES: held.policies,
    }


class _Work:
    """The objects while writes are carried out, in the inventory and in the store alike."""

    def __init__(self, inventory: Inventory, held: Store) -> None:
        self.writes: list[Write] = []
        self._inventory = inventory
        self._items = dict(inventory.items)
        self._shelves = _shelves(held)
        newest = max((int(item.body["metadata"]["resourceVersion"]) for item in self._items.values()), default=0)
        # A deletion is remembered with a version of its own, so that of the next write is two later.
        self._versions = count(newest + 2, 2)

    def carry_out(self, write: Write) -> None:
        key = key_of_write(write)
        before = self._items.get(key)
        body = carried_out(write, before.body if before is not None else None)
        shelf = self._shelves[key.resource]
        if body is None:
            if before is not None:
                del self._items[key]
                shelf.forget(key.namespace, key.name, before.body["metadata"]["uid"])
        else:
            body = _versioned(body, next(self._versions))
            self._items[key] = _item(before, body, write)
            shelf.put(body)
        self.writes.append(write)

    def result(self) -> Inventory:
        return Inventory.of(self._items, notes=self._inventory.notes) if self.writes else self._inventory


def _versioned(body: Body, version: int) -> Body:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}}


def _item(before: Item | None, body: Body, write: Write) -> Item:
    if before is not None:
        return Item(body=body, written=before.written, origin=before.origin)
    return Item(body=body, written=body, origin=Origin(f"policy {write.policy}"))
