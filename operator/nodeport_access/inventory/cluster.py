"""An inventory from a cluster: every kind that bears on access, listed at once.

Not the business of this module: credentials and requests (``kube``).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Protocol

from nodeport_access.api import Body
from nodeport_access.inventory.items import RESOURCES, Inventory, Item, ObjectKey, key_of
from nodeport_access.inventory.origins import InventoryError, Origin
from nodeport_access.inventory.settling import settled
from nodeport_access.kube import (
    NAMESPACES,
    POLICIES,
    ApiError,
    Forbidden,
    Listing,
    NotFound,
    Resource,
    Unauthorized,
    Unreachable,
)


class ClusterError(InventoryError):
    """The cluster does not give its objects: one sentence."""


class Lists(Protocol):
    """What is needed of the API server: ``kube.Client``."""

    async def list(self, resource: Resource, *, namespace: str | None = None) -> Listing[Body]:
        """The complete collection."""


async def fetch(
    client: Lists, *, namespaces: Sequence[str] = (), may_lack: Collection[str] = (), source: str = "the cluster"
) -> Inventory:
    """The objects of these namespaces, or of all, with all Nodes and Namespaces; ``source`` is what messages call the
    cluster. A namespace that is not there is an error, but for those that it ``may_lack``. Without the CRD there are no
    policies, and a note says so. Raises ClusterError."""
    notes: list[str] = []
    wanted = [
        (resource, namespace)
        for resource in RESOURCES
        for namespace in (namespaces if resource.namespaced and namespaces else (None,))
    ]
    listed = await asyncio.gather(*(_listed(client, resource, namespace, notes) for resource, namespace in wanted))
    items = {
        key_of(resource, body): Item(body=body, written=body, origin=Origin(source))
        for (resource, _), bodies in zip(wanted, listed, strict=True)
        for body in bodies
    }
    for namespace in namespaces:
        if ObjectKey(NAMESPACES, "", namespace) not in items and namespace not in may_lack:
            raise ClusterError(f"{source} has no namespace {namespace}.")
    return settled(items, notes=dict.fromkeys(notes))


async def _listed(client: Lists, resource: Resource, namespace: str | None, notes: list[str]) -> tuple[Body, ...]:
    try:
        return (await client.list(resource, namespace=namespace)).items
    except NotFound as error:
        if resource != POLICIES:
            raise ClusterError(f"{resource.plural} cannot be listed: {error.message}.") from error
        notes.append(
            "The cluster has no NodePortAccessPolicy yet: its CustomResourceDefinition is not installed there (crds/)."
        )
        return ()
    except Forbidden as error:
        raise ClusterError(_refused(resource, namespace)) from error
    except Unauthorized as error:
        raise ClusterError(f"the API server does not accept your credentials: {error.message}.") from error
    except Unreachable as error:
        raise ClusterError(f"the API server does not answer: {error.message}.") from error
    except ApiError as error:
        raise ClusterError(f"{resource.plural} cannot be listed: {error.message}.") from error


def _refused(resource: Resource, namespace: str | None) -> str:
    where = "in the whole cluster" if namespace is None else f"in namespace {namespace}"
    if not resource.namespaced:
        way_out = "it is needed with -n too, so have a ClusterRole grant it, or give files with -f"
    elif namespace is None:
        way_out = "have it granted, or name a namespace in which you may with -n"
    else:
        way_out = "have it granted, or give files with -f"
    return f"you may not list {resource} {where} (verb list): {way_out}."
