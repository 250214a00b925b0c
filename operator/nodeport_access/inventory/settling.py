"""What follows from the objects of an inventory: defaults that depend on others, the namespaces that objects are in,
and the EndpointSlices of Services whose pods are known.

Not the business of this module: where the objects come from (``files``, ``overlaying``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from nodeport_access.api import Body
from nodeport_access.inventory.completing import completed, first_family, named
from nodeport_access.inventory.endpoints import endpoint_slices
from nodeport_access.inventory.items import Inventory, Item, ObjectKey
from nodeport_access.inventory.origins import Origin
from nodeport_access.kube import ENDPOINT_SLICES, NAMESPACES, NODES, PODS, SERVICES, Resource
from nodeport_access.observed import SERVICE_NAME_LABEL


def settled(items: Mapping[ObjectKey, Item], *, notes: Iterable[str] = ()) -> Inventory:
    """The inventory of these objects, completed, with what follows from them; what followed before is worked out
    anew."""
    stated = {key: item for key, item in items.items() if not item.origin.derived}
    family = first_family(_bodies(stated, NODES))
    whole = {key: replace(item, body=completed(key.resource, item.body, family=family)) for key, item in stated.items()}
    derived = {**dict(_namespaces(whole)), **dict(_slices(whole))}
    return Inventory.of({**derived, **whole}, notes=notes)


def _bodies(items: Mapping[ObjectKey, Item], resource: Resource) -> list[Body]:
    return [item.body for key, item in items.items() if key.resource == resource]


def _namespaces(items: Mapping[ObjectKey, Item]) -> Iterator[tuple[ObjectKey, Item]]:
    """The namespaces that no file holds, but whose objects one does: of their labels only the one is known that the
    API server gives."""
    for name in {key.namespace for key in items if key.namespace}:
        body: Body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
        yield _derived(NAMESPACES, body, source=f"namespace {name}, in which objects are")


def _slices(items: Mapping[ObjectKey, Item]) -> Iterator[tuple[ObjectKey, Item]]:
    """For each Service with a selector that has no EndpointSlice, those that its pods come to."""
    pods: defaultdict[str, list[Body]] = defaultdict(list)
    for pod in _bodies(items, PODS):
        pods[pod["metadata"]["namespace"]].append(pod)
    have = {service_of(body) for body in _bodies(items, ENDPOINT_SLICES)}
    for key, item in items.items():
        if key.resource == SERVICES and (key.namespace, key.name) not in have and key.namespace in pods:
            for body in endpoint_slices(item.body, pods[key.namespace]):
                yield _derived(ENDPOINT_SLICES, body, source=f"the Pods of Service {key.namespace}/{key.name}")


def service_of(piece: Body) -> tuple[str, str]:
    """Namespace and name of the Service that an EndpointSlice belongs to."""
    metadata = piece["metadata"]
    return metadata["namespace"], (metadata.get("labels") or {}).get(SERVICE_NAME_LABEL, "")


def _derived(resource: Resource, body: Body, *, source: str) -> tuple[ObjectKey, Item]:
    key, whole = named(resource, body, namespace="")
    origin = Origin(source, derived=True)
    return key, Item(body=completed(resource, whole, family=first_family(())), written=body, origin=origin)
