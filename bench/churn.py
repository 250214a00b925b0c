"""What goes on in a cluster all day: EndpointSlices follow their pods, and Nodes say that they are alive. Made at a
fixed pace, and told how fast it really went.

Requests are small, their bodies made while nothing is due, and two threads send them: whoever makes the churn takes the
CPU from those who are watched. Not its business: who is watched meanwhile, and by what (`bench.measures`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from bench.world import World, WorldFailed
from testbed import objects
from testbed.api_client import MERGE_PATCH
from testbed.cluster import path
from testbed.scenario import NODES

Json = dict[str, Any]
Send = Callable[[int], None]

UNGUARDED = "unguarded Services, pods replaced"
SAME = "guarded Services, nothing new"
REPLACED = "guarded Services, pods replaced"
MOVED = "guarded Services, nodes come and go"
HEARTBEATS = "Nodes' heartbeats"
KINDS = (UNGUARDED, SAME, REPLACED, MOVED, HEARTBEATS)
"""In the order in which they are made."""
QUIET_KINDS = (UNGUARDED, SAME, REPLACED, HEARTBEATS)
"""Those that change nothing of what a status tells."""

UPDATES_PER_SECOND = 50.0
SERVICES = 50
"""Of each sort, so that each has a new slice once a second."""
NODES_COUNT = 1000
LEASE_SECONDS, STATUS_SECONDS = 10, 300
"""Between two heartbeats of one kubelet: it renews its lease every 10 s, and where nothing has changed it reports the
status of its node every 5 minutes (Kubernetes documentation, "Node status", "Node heartbeats")."""

_PODS_PER_NODE = 2
_PODS = _PODS_PER_NODE * len(NODES)
_THREADS = 2
_CREATING_THREADS = 4
_MANAGED_BY = "endpointslice.kubernetes.io/managed-by"
_MINE = "bench"
"""Not the EndpointSlice controller's name, or it would put back what it has not written."""
_LEASES = "kube-node-lease"
_IMAGES = 50
"""What a kubelet tells of the images on its node (nodeStatusMaxImages): most of the size of a Node."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """The EndpointSlice of one Service."""

    namespace: str
    service: str
    number: int

    def body(self, endpoints: Sequence[Json], *, trigger: str) -> Json:
        """Whole, as its controller would send it. `trigger` is when that was moved to look at it, which says nothing of
        what it holds."""
        return {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {
                "namespace": self.namespace,
                "name": f"{self.service}-churn",
                "labels": {"kubernetes.io/service-name": self.service, _MANAGED_BY: _MINE},
                "annotations": {"endpoints.kubernetes.io/last-change-trigger-time": trigger},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            "endpoints": list(endpoints),
        }

    def endpoint(self, pod: int, *, ready: bool = True, terminating: bool = False) -> Json:
        """One pod. Number n and n + 3 are on the same node."""
        address = IPv4Address("10.128.0.0") + 256 * self.number + pod % 256
        return {
            "addresses": [str(address)],
            "conditions": {"ready": ready, "serving": ready or terminating, "terminating": terminating},
            "nodeName": NODES[pod % len(NODES)][0],
            "targetRef": {"kind": "Pod", "namespace": self.namespace, "name": f"{self.service}-{pod}"},
        }

    def same(self, _: int) -> list[Json]:
        """All pods are ready, at every step."""
        return [self.endpoint(pod) for pod in range(_PODS)]

    def replaced(self, step: int) -> list[Json]:
        """A rolling deployment: in four steps a new pod comes, is ready, and the oldest on its node drains and goes. No
        node is without a ready one at any step."""
        oldest, phase = divmod(step, 4)
        stays = [self.endpoint(pod) for pod in range(oldest + 1, oldest + _PODS)]
        new = self.endpoint(oldest + _PODS, ready=phase > 0)
        old = self.endpoint(oldest, ready=phase < 2, terminating=phase == 2)
        return [*stays, new, *([old] if phase < 3 else [])]

    def moved(self, step: int) -> list[Json]:
        """At every other step one of the nodes has no ready pod, each in its turn."""
        without = step // 2 % len(NODES) if step % 2 == 0 else None
        return [self.endpoint(pod, ready=pod % len(NODES) != without) for pod in range(_PODS)]


class Churn:
    """The churn of one world. Every method raises WorldFailed, and Refused where the API server does not create or
    delete what it needs."""

    def __init__(self, world: World, *, nodes: int = NODES_COUNT) -> None:
        self._world = world
        self._cluster = world.cluster
        self._guarded = [
            Slice(namespace=one.namespace, service=one.service, number=number)
            for number, one in enumerate(world.guarded[:SERVICES])
        ]
        self._unguarded = [
            Slice(namespace=world.namespaces[0], service=f"unguarded-{number:02d}", number=SERVICES + number)
            for number in range(SERVICES)
        ]
        self._nodes = [f"kubelet-{number:04d}" for number in range(nodes)]

    def create(self) -> None:
        """All that `run` will update: how many nodes there are is part of every status, so before anybody looks."""
        slices = [*self._guarded, *self._unguarded]
        self._all(self._cluster.create, [_service(one) for one in self._unguarded])
        self._all(self._cluster.create, [one.body(one.same(0), trigger=_now()) for one in slices])
        self._all(self._cluster.create, [_node(name, number) for number, name in enumerate(self._nodes)])
        self._all(self._cluster.create, [_lease(name) for name in self._nodes])
        self._world.settle()

    def remove(self) -> None:
        """As it was before `create`."""
        for namespace in dict.fromkeys(one.namespace for one in (*self._guarded, *self._unguarded)):
            mine = f"?labelSelector={_MANAGED_BY}={_MINE}"
            self._send("DELETE", path(kind="EndpointSlice", namespace=namespace) + mine)
        for one in self._unguarded:
            self._cluster.delete("Service", one.service, namespace=one.namespace)
        self._send("DELETE", f"{path(kind='Node')}?labelSelector={_MINE}")
        self._send("DELETE", f"{path(kind='Lease', namespace=_LEASES)}?labelSelector={_MINE}")
        self._world.settle()

    def run(self, kind: str, *, seconds: float) -> float:
        """Make churn of one of the KINDS; how many updates a second were answered, of `rate` that should be."""
        sends: Mapping[str, Send] = {
            UNGUARDED: lambda number: self._update(self._unguarded, Slice.replaced, number),
            SAME: lambda number: self._update(self._guarded, Slice.same, number),
            REPLACED: lambda number: self._update(self._guarded, Slice.replaced, number),
            MOVED: lambda number: self._update(self._guarded, Slice.moved, number),
            HEARTBEATS: self._heartbeat,
        }
        sent, took = paced(sends[kind], rate=self.rate(kind), seconds=seconds)
        return sent / took

    def rate(self, kind: str) -> float:
        """How many updates a second there should be."""
        if kind != HEARTBEATS:
            return UPDATES_PER_SECOND
        return len(self._nodes) * (1 / LEASE_SECONDS + 1 / STATUS_SECONDS)

    def _update(self, slices: Sequence[Slice], endpoints: Callable[[Slice, int], list[Json]], number: int) -> None:
        step, index = divmod(number, len(slices))
        one = slices[index]
        body = one.body(endpoints(one, step), trigger=_now())
        self._send("PUT", path(kind="EndpointSlice", namespace=one.namespace, name=body["metadata"]["name"]), body)

    def _heartbeat(self, number: int) -> None:
        """Of the requests of a kubelet one tells a status, and all others renew its lease."""
        each = STATUS_SECONDS // LEASE_SECONDS + 1
        name = self._nodes[number % len(self._nodes)]
        if number % each:
            where = path(kind="Lease", namespace=_LEASES, name=name)
            self._send("PATCH", where, {"spec": {"renewTime": _now()}}, content_type=MERGE_PATCH)
        else:
            where = path(kind="Node", name=name, subresource="status")
            self._send("PATCH", where, {"status": {"conditions": _conditions()}}, content_type=MERGE_PATCH)

    def _send(self, method: str, where: str, body: object = None, *, content_type: str = "application/json") -> None:
        code, answer = self._world.control_plane.request(method, where, body, content_type=content_type, seconds=60)
        if code >= 300:
            raise WorldFailed(f"{method} {where}: {code} {answer.get('message', answer)}")

    def _all(self, send: Callable[[Json], object], bodies: Sequence[Json]) -> None:
        with ThreadPoolExecutor(_CREATING_THREADS) as threads:
            for _ in threads.map(send, bodies):
                pass


def paced(
    send: Send,
    *,
    rate: float,
    seconds: float,
    threads: int = _THREADS,
    monotonic: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> tuple[int, float]:
    """Call `send` with 0, 1, 2, ... `rate` times a second, for so long: how often it returned, and the seconds that
    this took. Each is due at a time of its own, so that a slow one delays none but those right behind it. What is not
    sent by the end is left out: who asks for more than the machine can do must see it. Raises what `send` raises."""
    begin, total = monotonic(), round(rate * seconds)

    def sending(first: int) -> int:
        sent = 0
        for number in range(first, total, threads):
            sleep(max(0.0, begin + number / rate - monotonic()))
            if monotonic() - begin >= seconds:
                break
            send(number)
            sent += 1
        return sent

    with ThreadPoolExecutor(threads) as pool:
        sent = sum(pool.map(sending, range(threads)))
    sleep(max(0.0, begin + seconds - monotonic()))
    return sent, monotonic() - begin


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _service(one: Slice) -> Json:
    """A Service with a node port that nobody guards, and whose slices nobody makes."""
    return objects.service(namespace=one.namespace, name=one.service, selector=None)


def _node(name: str, number: int) -> Json:
    address = IPv4Address("172.16.0.0") + number + 1
    pods = IPv4Network((int(IPv4Address("10.64.0.0")) + 256 * number, 24))
    body = objects.node(name=name, addresses=[str(address)], pod_cidrs=[str(pods)], labels={_MINE: "true"})
    body["status"] |= {
        "conditions": _conditions(),
        "capacity": {"cpu": "16", "memory": "65541676Ki", "pods": "110", "ephemeral-storage": "129886128Ki"},
        "allocatable": {"cpu": "15", "memory": "61234567Ki", "pods": "110", "ephemeral-storage": "119703055367"},
        "images": list(_images()),
    }
    return body


def _images() -> Iterator[Json]:
    for number in range(_IMAGES):
        name = f"registry.invalid/some-team/some-program-{number}"
        yield {"names": [f"{name}@sha256:{number:064x}", f"{name}:v1.{number}.0"], "sizeBytes": 50_000_000 + number}


def _conditions() -> list[Json]:
    kinds = {"MemoryPressure": False, "DiskPressure": False, "PIDPressure": False, "Ready": True}
    return [
        {**objects.condition(type=kind, status=status, reason="AsBefore"), "lastHeartbeatTime": _now()[:-8] + "Z"}
        for kind, status in kinds.items()
    ]


def _lease(name: str) -> Json:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"namespace": _LEASES, "name": name, "labels": {_MINE: "true"}},
        "spec": {"holderIdentity": name, "leaseDurationSeconds": 40, "renewTime": _now()},
    }
