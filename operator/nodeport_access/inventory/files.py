"""An inventory from files: those of our kinds among the objects that ``documents`` finds, checked and completed.

Not the business of this module: YAML (``documents``), what is wrong with an object (``checking``), and what the API
server would add (``completing``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence

from nodeport_access.inventory.checking import check
from nodeport_access.inventory.completing import named
from nodeport_access.inventory.documents import Document, read_documents
from nodeport_access.inventory.items import RESOURCES, Inventory, Item, ObjectKey
from nodeport_access.inventory.origins import InputError
from nodeport_access.inventory.settling import settled
from nodeport_access.kube import Resource
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_pod, parse_service

BY_KIND = {resource.kind: resource for resource in RESOURCES}


def read(
    paths: Sequence[str], *, namespace: str = "default", stdin: Callable[[], str] = lambda: sys.stdin.read()
) -> Inventory:
    """The objects that the files of these paths hold; ``namespace`` is that of an object which names none.

    A path is a file, a folder with all in it, or ``-``. A file that is named, and standard input, must hold an object.
    Other kinds are passed over. Raises InputError.
    """
    reading = read_documents(paths, stdin=stdin, kinds=BY_KIND)
    return settled(_items(reading.documents, namespace=namespace), notes=reading.notes)


def _items(documents: Iterable[Document], *, namespace: str) -> dict[ObjectKey, Item]:
    items: dict[ObjectKey, Item] = {}
    for document in documents:
        if (resource := resource_of(document)) is None:
            continue
        check(resource, document)
        key, body = named(resource, document.body, namespace=namespace)
        if (first := items.get(key)) is not None:
            raise InputError(
                f"{document.origin.place()}: {key} is in {first.origin.place()} already; keep one, and of a"
                " kustomization give the output of `kustomize build` to -f."
            )
        _try(key.resource, document, body)
        items[key] = Item(body=body, written=document.body, origin=document.origin)
    return items


def resource_of(document: Document) -> Resource | None:
    """The kind that bears on access; None for others, also for those of the same name in another group."""
    resource = BY_KIND.get(document.kind)
    if resource is None:
        return None
    version = document.body.get("apiVersion")
    group = version.rpartition("/")[0] if isinstance(version, str) else resource.group
    return resource if group == resource.group else None


def _try(resource: Resource, document: Document, body: dict[str, object]) -> None:
    """What the checks have let pass can be read."""
    parse = _PARSERS.get(resource.kind)
    try:
        if parse is not None:
            parse(body)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise document.refuse(f"cannot be read: {' '.join(str(error).split())}") from error


_PARSERS: dict[str, Callable[[dict[str, object]], object]] = {
    "Service": parse_service,
    "NetworkPolicy": parse_network_policy,
    "EndpointSlice": parse_endpoint_slice,
    "Node": parse_node,
    "Pod": parse_pod,
}
