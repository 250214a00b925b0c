"""How the objects of two inventories differ: object by object, by what matters of each.

Not the business of this module: who gets in before and after.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cli.output import to_yaml
from nodeport_access.inventory import Inventory, ObjectKey
from nodeport_access.kube import NETWORK_POLICIES, POLICIES, SERVICES

SHOWN = (SERVICES, NETWORK_POLICIES, POLICIES)
"""The kinds that the operator writes, and what they are made from."""


class Kind(StrEnum):
    """What becomes of an object."""

    CREATED = "created"
    CHANGED = "changed"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One object that differs; None where it is not there."""

    key: ObjectKey
    before: Body | None
    after: Body | None

    @property
    def kind(self) -> Kind:
        """What becomes of the object."""
        if self.before is None:
            return Kind.CREATED
        return Kind.CHANGED if self.after is not None else Kind.DELETED

    def lines(self) -> Iterator[str]:
        """A unified diff of the object, without line ends."""
        before, after = (_text(body) for body in (self.before, self.after))
        names = [str(self.key) if body is not None else "/dev/null" for body in (self.before, self.after)]
        yield from difflib.unified_diff(before, after, fromfile=names[0], tofile=names[1], lineterm="")


def changes(before: Inventory, after: Inventory) -> tuple[Change, ...]:
    """The objects that differ, in the order of keys."""
    keys = {key for key in (*before.items, *after.items) if key.resource in SHOWN}
    found = []
    for key in sorted(keys, key=lambda key: key.order):
        old, new = (_shown(inventory, key) for inventory in (before, after))
        if old != new:
            found.append(Change(key=key, before=old, after=new))
    return tuple(found)


def _shown(inventory: Inventory, key: ObjectKey) -> Body | None:
    item = inventory.items.get(key)
    return essence(item.body) if item is not None else None


def essence(body: Body) -> Body:
    """What matters of an object: no managedFields, uid, versions, annotations or status. Owners by name: the uid of one
    that no API server has seen says nothing."""
    metadata = body["metadata"]
    kept: dict[str, Any] = {name: metadata[name] for name in ("name", "namespace") if metadata.get(name)}
    for name in ("labels", "finalizers"):
        if metadata.get(name):
            kept[name] = metadata[name]
    if metadata.get("ownerReferences"):
        kept["ownerReferences"] = [
            {"kind": owner.get("kind"), "name": owner.get("name")} for owner in metadata["ownerReferences"]
        ]
    return {name: body[name] for name in ("apiVersion", "kind", "spec") if name in body} | {"metadata": kept}


def _text(body: Body | None) -> list[str]:
    return to_yaml(body, sort_keys=True).splitlines() if body is not None else []
