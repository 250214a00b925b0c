"""What a contender makes of a world, told so that two of them can be compared.

What differs by design is left out: who wrote a field, when, and the sentences for people.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.contenders import Contender
from bench.trace import Trace
from bench.world import AnyWorld
from testbed.waiting import wait_for

Json = dict[str, Any]


def outcome(world: AnyWorld, contender: Contender, *, folder: Path) -> list[Json]:
    """What a contender makes of the world, without what differs by design; the world is reset afterwards."""
    trace = Trace(world.api_server, user=contender.user)
    running = contender.start(world.api_server, log=folder / "log")
    try:

        def applied() -> bool:
            running.check()
            assert trace.count("nodeportaccesspolicies/status") >= len(world.guarded)
            missing = world.missing()
            assert not missing, missing
            return True

        wait_for(applied, seconds=60, what=f"{contender.name} to apply everything")
        objects = [one for kind in ("NetworkPolicy", "Service", "NodePortAccessPolicy") for one in own(world, kind)]
        names = {one["metadata"]["uid"]: one["metadata"]["name"] for one in objects}
        return sorted((_told(one, names) for one in objects), key=lambda one: str(one["name"]))
    finally:
        running.stop()
        world.reset()


def own(world: AnyWorld, kind: str) -> list[Json]:
    """The objects of a kind that are the world's: a real control plane has others beside them."""
    return [one for one in world.cluster_list(kind) if one["metadata"]["namespace"] in world.namespaces]


def _told(one: Json, names: dict[str, str]) -> Json:
    """An object by what a policy is about; uids by the names of those who have them now."""
    metadata, status = one["metadata"], one.get("status", {})
    owners = [
        {**owner, "uid": names.get(owner["uid"]), "blockOwnerDeletion": owner.get("blockOwnerDeletion", False)}
        for owner in metadata.get("ownerReferences", ())
    ]
    conditions = {
        entry["type"]: (entry["status"], entry["reason"], entry["observedGeneration"])
        for entry in status.get("conditions", ())
    }
    rest = {key: value for key, value in status.items() if key not in ("conditions", "loadBalancer")}
    return {
        "name": metadata["name"],
        "labels": metadata.get("labels"),
        "owners": owners,
        "spec": one["spec"],
        "status": {**rest, "serviceUID": names.get(rest.get("serviceUID", ""))},
        "conditions": conditions,
    }
