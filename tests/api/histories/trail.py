"""Everything that happened to Services, NetworkPolicies and policies, in every namespace, in the order in which etcd
has it, and which of it was the harness's own doing.

Not its business: whether it was right (`guarding`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from testbed import objects
from testbed.cluster import Cluster, path
from tests.api.access import Json

KINDS = ("NodePortAccessPolicy", "Service", "NetworkPolicy")


@dataclass(slots=True)
class OwnWrites:
    """What the harness itself has written: versions of objects, and the uids of those that it deleted."""

    versions: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)

    def made(self, event: Json) -> bool:
        """Whether a watch event shows one of them."""
        metadata = event["object"]["metadata"]
        ends = event["type"] == "DELETED" or "deletionTimestamp" in metadata
        return metadata["resourceVersion"] in self.versions or (ends and metadata["uid"] in self.deleted)


class Trail:
    """Reads on from where it was left. The API server keeps what it tells for about a minute."""

    def __init__(self, cluster: Cluster, *, place: str) -> None:
        """``place`` is a namespace to be made, for the objects that are touched to know how far a watch has come."""
        self._cluster = cluster
        self._place = place
        self._count = 0
        self._left: list[Json] = []
        cluster.create(objects.namespace(name=place))
        marks = (
            objects.policy(namespace=place, name="mark", service="none", mode="Audit"),
            objects.service(namespace=place, name="mark", selector=None, type="ClusterIP"),
            objects.network_policy(namespace=place, name="mark", spec={"podSelector": {"matchLabels": {"no": "pod"}}}),
        )
        self._read = {mark["kind"]: cluster.create(mark)["metadata"]["resourceVersion"] for mark in marks}

    def events(self) -> list[Json]:
        """Every watch event since the last call, of all kinds together, up to this moment.

        Each kind is read up to a mark of its own, so what came after the first of the marks is left for the next call:
        what led to it may be beyond the mark of its kind.
        """
        marks = self._marks()
        found = [*self._left, *(event for kind, version in marks.items() for event in self._until(kind, version))]
        found.sort(key=_version)
        end = min(map(int, marks.values()))
        self._left = [event for event in found if _version(event) > end]
        return [event for event in found if _version(event) <= end]

    def skip(self) -> None:
        """Goes on from here: an API server that was restarted tells nothing of what was before."""
        self._read = self._marks()
        self._left.clear()

    def _marks(self) -> dict[str, str]:
        """Versions, by kind, that come after everything that has happened."""
        self._count += 1
        change = {"metadata": {"annotations": {"count": str(self._count)}}}
        marks = {kind: self._cluster.patch(kind, "mark", change, namespace=self._place) for kind in KINDS}
        return {kind: mark["metadata"]["resourceVersion"] for kind, mark in marks.items()}

    def _until(self, kind: str, last: str) -> Iterator[Json]:
        query = f"?watch=true&resourceVersion={self._read[kind]}&timeoutSeconds=60"
        self._read[kind] = last
        stream = self._cluster.control_plane.stream(path(kind=kind) + query)
        try:
            for event in stream:
                assert event["type"] in ("ADDED", "MODIFIED", "DELETED"), event
                metadata = event["object"]["metadata"]
                if metadata["resourceVersion"] == last:
                    return
                if metadata["namespace"] != self._place:
                    yield event
        finally:
            stream.close()
        raise AssertionError(f"the watch of {kind} ended before {last}")


def _version(event: Json) -> int:
    return int(event["object"]["metadata"]["resourceVersion"])
