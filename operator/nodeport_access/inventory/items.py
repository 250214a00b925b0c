"""The objects of a cluster, or of a folder that describes one: whole bodies by kind, and where each comes from.

Not the business of this module: how they are had (``files``, ``cluster``), or what the operator makes of them
(``converging``).
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nodeport_access.api import Body
from nodeport_access.inventory.origins import Origin
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    Resource,
)

RESOURCES = (NAMESPACES, NODES, SERVICES, PODS, ENDPOINT_SLICES, NETWORK_POLICIES, POLICIES)
"""The kinds that bear on access, in the order in which they are shown."""

_SPACE = uuid.UUID("1f1a34a2-2f0c-5d0e-9b6e-6c1e8d0b2f4b")


@dataclass(frozen=True, slots=True)
class ObjectKey:
    """Names one object; ``namespace`` is empty for those of the whole cluster."""

    resource: Resource
    namespace: str
    name: str

    @property
    def order(self) -> tuple[str, int, str]:
        """The order in which objects are shown: namespace by namespace, in each kind by kind."""
        return (self.namespace, RESOURCES.index(self.resource), self.name)

    def __str__(self) -> str:
        return f"{self.resource.kind} {self.namespace}/{self.name}".replace(" /", " ")


def key_of(resource: Resource, body: Body) -> ObjectKey:
    """The key of a body."""
    metadata = body["metadata"]
    return ObjectKey(resource, metadata["namespace"] if resource.namespaced else "", metadata["name"])


def invented_uid(key: ObjectKey) -> str:
    """The uid of an object that no API server has given one: always the same for the same key."""
    return str(uuid.uuid5(_SPACE, str(key)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One object. ``body`` is whole, as the API server would give it back; ``written`` is what the file says of it."""

    body: Body
    written: Body
    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Inventory:
    """All objects that bear on access, by key, in the order of keys. Nobody may change a body. ``notes`` are sentences
    about what was passed over."""

    items: Mapping[ObjectKey, Item]
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, items: Mapping[ObjectKey, Item], *, notes: Iterable[str] = ()) -> Inventory:
        """Sorts the items."""
        ordered = {key: items[key] for key in sorted(items, key=lambda key: key.order)}
        return cls(items=MappingProxyType(ordered), notes=tuple(notes))

    def bodies(self, resource: Resource) -> tuple[Body, ...]:
        """The objects of one kind."""
        return tuple(item.body for key, item in self.items.items() if key.resource == resource)

    def get(self, resource: Resource, *, namespace: str, name: str) -> Body | None:
        """One object; ``namespace`` is empty for kinds of the whole cluster."""
        item = self.items.get(ObjectKey(resource, namespace, name))
        return item.body if item is not None else None

    def place(self, key: ObjectKey, path: str = "") -> str:
        """File and line of an object's field, or the cluster."""
        return self.items[key].origin.place(path)
