"""What has to be so when all is over: every policy is what it should be, by two opinions, and nothing is written.

Not its business: the way there (`soak`).
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable

from nodeport_access.inventory.converging import converged
from nodeport_access.inventory.items import RESOURCES, Inventory, Item, key_of
from nodeport_access.inventory.origins import Origin
from nodeport_access.inventory.settling import settled
from testbed.cluster import Cluster
from tests.api.histories import expected
from tests.api.histories.seen import LOOKED_AT, Seen


def differences(cluster: Cluster, namespaces: Iterable[str]) -> list[str]:
    """What is not as the documentation says (`tests.api.histories.expected`), in each of these namespaces."""
    nodes, now = tuple(cluster.list("Node")), datetime.datetime.now(datetime.UTC)
    wrong: list[str] = []
    for namespace in namespaces:
        objects = {
            kind: {one["metadata"]["name"]: {**one, "kind": kind} for one in cluster.list(kind, namespace=namespace)}
            for kind in LOOKED_AT
        }
        found = expected.differences(Seen(objects=objects, nodes=nodes, now=now))
        wrong += [f"{namespace}: {one}" for one in found]
    return wrong


def left_to_write(cluster: Cluster) -> list[str]:
    """What the plan, which is pure, would still write in this cluster: what a fresh operator would do."""
    now = datetime.datetime.now(datetime.UTC)
    return [
        f"{write.namespace}: {write.verb} {write.kind} {write.name}"
        for write in converged(_inventory(cluster), now).writes
    ]


def ends_to_come(cluster: Cluster) -> list[str]:
    """Entries of which the end is still to come: until then there is no rest."""
    now = datetime.datetime.now(datetime.UTC)
    return [
        f"{policy['metadata']['namespace']}/{policy['metadata']['name']} until {entry['expiresAt']}"
        for policy in cluster.list("NodePortAccessPolicy")
        for entry in policy["spec"].get("allowedCIDRs") or ()
        if "expiresAt" in entry and datetime.datetime.fromisoformat(entry["expiresAt"]) > now
    ]


def _inventory(cluster: Cluster) -> Inventory:
    origin = Origin("the cluster")
    return settled(
        {
            key_of(resource, body): Item(body=body, written=body, origin=origin)
            for resource in RESOURCES
            for body in cluster.list(resource.kind)
        }
    )
