"""That the trail tells what happened in the order in which it did, also while it is being read.

That the API server's watches come to this is in tests/api.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from testbed.cluster import Cluster, path
from tests.api.histories.trail import KINDS, Trail

Json = dict[str, Any]


class World(Cluster):
    """Objects of which some are written while the trail makes its marks: those of ``before``, by kind and name, before
    the mark of a kind."""

    def __init__(self) -> None:
        self.before: dict[str, list[tuple[str, str]]] = {}
        self._version = 0
        self._events: dict[str, list[Json]] = {kind: [] for kind in KINDS}
        self.control_plane = self  # type: ignore[assignment]  # streams are all that is asked of it

    def create(self, body: Any) -> Json:
        return self._write(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])

    def patch(self, kind: str, name: str, *_: object, namespace: str | None = None, **__: object) -> Json:
        for other in self.before.pop(kind, ()):
            self._write(other[0], "elsewhere", other[1])
        return self._write(kind, namespace or "", name)

    def stream(self, address: str) -> Iterator[Json]:
        kind = next(kind for kind in KINDS if address.startswith(path(kind=kind)))
        since = int(address.partition("resourceVersion=")[2].partition("&")[0])
        yield from [one for one in self._events[kind] if int(one["object"]["metadata"]["resourceVersion"]) > since]

    def _write(self, kind: str, namespace: str, name: str) -> Json:
        self._version += 1
        metadata = {"namespace": namespace, "name": name, "resourceVersion": str(self._version)}
        found = {"kind": kind, "metadata": metadata}
        self._events.setdefault(kind, []).append({"type": "MODIFIED", "object": found})
        return found


def names(events: list[Json]) -> list[str]:
    return [event["object"]["metadata"]["name"] for event in events]


def test_what_follows_from_something_is_not_told_before_it() -> None:
    world = World()
    trail = Trail(world, place="here")
    policies, services, network_policies = KINDS
    world.before = {
        policies: [(policies, "first")],
        network_policies: [(policies, "an edit"), (services, "its Service"), (network_policies, "what came of it")],
    }
    assert names(trail.events()) == ["first"], "the mark of policies was before the edit"
    assert names(trail.events()) == ["an edit", "its Service", "what came of it"]
    assert names(trail.events()) == []
