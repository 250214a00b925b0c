"""N policies and their Services on a control plane: made, put back to how they were, and asked whether all is applied.

Services have no pods: a policy is applied all the same, and thousands of pods would be the API server's work alone.

Not its business: who applies the policies (`bench.contenders`), and how long that takes.
"""

from __future__ import annotations

import dataclasses
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from bench.api_server import ApiServer
from testbed import objects, scenario
from testbed.api_client import MERGE_PATCH
from testbed.cluster import Cluster, path
from testbed.control_plane import ControlPlane
from testbed.failure import Failure
from testbed.operator_process import install
from testbed.waiting import wait_for

PER_NAMESPACE = 20
CIDRS = ("10.2.3.4/32", "198.51.100.0/25", "198.51.100.128/25", "203.0.113.64/26")
NODE_PORTS = "10000-65000"
"""The default range has 2,768. No kube-proxy runs here, so that nothing listens on them."""
PEER_NAMESPACE, PEER_ACCOUNT = "bench-peers", "peer"
PEER_USER = f"system:serviceaccount:{PEER_NAMESPACE}:{PEER_ACCOUNT}"

_AT_ONCE = 4
_CALM_SHARE = 0.15
"""Of one core, below which the control plane counts as at rest."""


class WorldFailed(Failure):
    """The API server refused something that the benchmark needs."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """One policy of the world, with its Service."""

    namespace: str
    policy: str
    service: str


class AnyWorld(ABC):
    """The objects of one size of a benchmark, however they were made. Every method raises WorldFailed."""

    def __init__(self, api_server: ApiServer, *, size: int) -> None:
        self.api_server = api_server
        self.guarded = [
            Guarded(namespace=f"bench-{number // PER_NAMESPACE:04d}", policy=f"p{number:05d}", service=f"s{number:05d}")
            for number in range(size)
        ]
        self.namespaces = list(dict.fromkeys(one.namespace for one in self.guarded))

    @abstractmethod
    def create(self) -> None:
        """CRD, nodes, and everything that the contenders find: once for an API server."""

    @abstractmethod
    def reset(self) -> None:
        """As `create` left it: no NetworkPolicies, Services that nobody took, policies without a status."""

    def open_services(self, some: Iterable[Guarded]) -> None:
        """Somebody sets these Services to `Cluster`, as fast as they are taken."""
        self._all(self.open_service, list(some))

    def open_service(self, one: Guarded) -> None:
        """Somebody sets this Service to `Cluster`."""
        address = path(kind="Service", namespace=one.namespace, name=one.service)
        change = {"spec": {"externalTrafficPolicy": "Cluster"}}
        self._send("PATCH", f"{address}?fieldManager=somebody", change, content_type=MERGE_PATCH)

    def close_services(self, some: Iterable[Guarded]) -> None:
        """Somebody deletes the allowlists of these, as fast as they are taken: then nobody gets in."""
        self._all(self._close_service, list(some))

    def _close_service(self, one: Guarded) -> None:
        self._send("DELETE", path(kind="NetworkPolicy", namespace=one.namespace, name=f"{one.policy}-allow"))

    def missing(self) -> str:
        """What is not yet applied, in words; empty where all of it is."""
        local = sum(one["spec"].get("externalTrafficPolicy") == "Local" for one in self._each("Service"))
        children = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in self._each("NetworkPolicy")}
        wanted = {(one.namespace, f"{one.policy}-{suffix}") for one in self.guarded for suffix in ("allow", "deny-all")}
        ready = sum(_is_ready(one) for one in self._each("NodePortAccessPolicy"))
        seen = {"Services": local, "NetworkPolicies": len(children & wanted), "ready policies": ready}
        due = {"Services": len(self.guarded), "NetworkPolicies": len(wanted), "ready policies": len(self.guarded)}
        return ", ".join(f"{seen[what]} of {due[what]} {what}" for what in due if seen[what] < due[what])

    def cluster_list(self, kind: str) -> list[dict[str, Any]]:
        """All objects of a kind."""
        return list(self._each(kind))

    def _each(self, kind: str) -> Iterator[dict[str, Any]]:
        """Read in chunks, no more than one of which is held."""
        follow = ""
        while True:
            page = self._send("GET", f"{path(kind=kind)}?limit=500{follow}")
            yield from page["items"]
            if not (token := page["metadata"].get("continue")):
                return
            follow = f"&continue={token}"

    def _send(self, method: str, where: str, body: object = None, *, content_type: str = "application/json") -> Any:
        code, answer = self.api_server.request(method, where, body, content_type=content_type, seconds=120)
        if code >= 300:
            raise WorldFailed(f"{method} {where}: {code} {answer.get('message', answer)}")
        return answer

    def _all(self, send: Callable[[Any], object], things: Sequence[Any]) -> None:
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            for _ in threads.map(send, things):
                pass


class World(AnyWorld):
    """One on a real control plane, made through its API."""

    def __init__(self, control_plane: ControlPlane, *, size: int) -> None:
        super().__init__(control_plane, size=size)
        self.control_plane = control_plane
        self.cluster = Cluster(control_plane)

    def create(self) -> None:
        """RBAC too."""
        install(self.control_plane)
        scenario.create_nodes(self.cluster)
        for body in _peer_account():
            self._send("POST", _collection(body), body)
        spaces = path(kind="Namespace")
        self._all(lambda name: self._send("POST", spaces, objects.namespace(name=name)), self.namespaces)
        self._all(self._create_service, self.guarded)
        self._all(self._create_policy, self.guarded)
        self.settle()

    def reset(self) -> None:
        for kind in ("NetworkPolicy", "NodePortAccessPolicy"):
            self._delete_all(kind)
        self._all(self._give_back_service, self.guarded)
        self._all(self._create_policy, self.guarded)
        self.settle()

    def settle(self) -> None:
        """Wait until the control plane has digested what it was given: its controllers go on for a while."""

        def calm() -> bool:
            before, begin = self._ticks(), time.monotonic()
            time.sleep(1)
            used = (self._ticks() - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begin)
            assert used < _CALM_SHARE, f"it uses {used:.2f} of a core"
            return True

        wait_for(calm, seconds=600, what="the control plane to come to rest")

    def _ticks(self) -> int:
        return sum(ticks(pid) for pid in self.control_plane.process_ids().values())

    def _delete_all(self, kind: str) -> None:
        self._all(lambda name: self._send("DELETE", path(kind=kind, namespace=name)), self.namespaces)
        spaces = set(self.namespaces)  # the operator has a NetworkPolicy of its own, elsewhere

        def gone() -> bool:
            return not any(one["metadata"]["namespace"] in spaces for one in self._each(kind))

        wait_for(gone, seconds=300, what=f"the last {kind} to go", every=1)

    def _create_service(self, one: Guarded) -> None:
        self._send("POST", path(kind="Service", namespace=one.namespace), service_of(one))

    def _create_policy(self, one: Guarded) -> None:
        self._send("POST", path(kind="NodePortAccessPolicy", namespace=one.namespace), policy_of(one))

    def _give_back_service(self, one: Guarded) -> None:
        address = path(kind="Service", namespace=one.namespace, name=one.service)
        metadata: dict[str, Any] = {"labels": None, "annotations": None, "managedFields": [{}]}
        change = {"metadata": metadata, "spec": {"externalTrafficPolicy": "Cluster"}}
        self._send("PATCH", address, change, content_type=MERGE_PATCH)


def service_of(one: Guarded) -> dict[str, Any]:
    """The Service of a policy, as somebody creates it."""
    body = objects.service(namespace=one.namespace, name=one.service, selector={"app": one.service})
    body["spec"]["ports"] = [{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    return body


def policy_of(one: Guarded) -> dict[str, Any]:
    """A policy, as somebody creates it."""
    cidrs = [{"cidr": cidr} for cidr in CIDRS]
    return objects.policy(namespace=one.namespace, name=one.policy, service=one.service, allowedCIDRs=cidrs)


def ticks(pid: int) -> int:
    """The clock ticks of CPU that a process has used, all its threads together (proc(5), fields 14 and 15)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def _is_ready(policy: dict[str, Any]) -> bool:
    conditions = {one["type"]: one["status"] for one in policy.get("status", {}).get("conditions", ())}
    return conditions.get("Ready") == "True"


def _collection(body: dict[str, Any]) -> str:
    group = {"v1": "/api/v1"}.get(body["apiVersion"], f"/apis/{body['apiVersion']}")
    namespace = body["metadata"].get("namespace")
    return f"{group}{f'/namespaces/{namespace}' if namespace else ''}/{body['kind'].lower()}s"


def _peer_account() -> list[dict[str, Any]]:
    """Who the rivals are: like the operator's own ServiceAccount, with what they need besides."""
    rbac = "rbac.authorization.k8s.io"
    read, write = ["get", "list", "watch"], ["get", "list", "watch", "create", "patch", "update", "delete"]
    rules = [
        ("nodeport-access.io", ["nodeportaccesspolicies", "nodeportaccesspolicies/status"], write),
        ("", ["services", "events"], write),
        ("events.k8s.io", ["events"], write),
        ("networking.k8s.io", ["networkpolicies"], write),
        ("discovery.k8s.io", ["endpointslices"], read),
        ("", ["nodes", "pods", "namespaces"], read),
        ("apiextensions.k8s.io", ["customresourcedefinitions"], read),  # Kopf looks which resources there are
    ]
    return [
        objects.namespace(name=PEER_NAMESPACE),
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"namespace": PEER_NAMESPACE, "name": PEER_ACCOUNT},
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "bench-peer"},
            "rules": [{"apiGroups": [group], "resources": names, "verbs": verbs} for group, names, verbs in rules],
        },
        {
            "apiVersion": f"{rbac}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "bench-peer"},
            "roleRef": {"apiGroup": rbac, "kind": "ClusterRole", "name": "bench-peer"},
            "subjects": [{"kind": "ServiceAccount", "name": PEER_ACCOUNT, "namespace": PEER_NAMESPACE}],
        },
    ]
