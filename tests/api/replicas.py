"""Two replicas of the operator on a real control plane, who of them wrote what, and the Lease between them.

Not its business: what becomes of either (`test_failover`, `test_failover_locked`).
"""

from __future__ import annotations

import base64
import contextlib
import itertools
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from testbed.audit import Event
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, ROOT, SERVICE_ACCOUNT, USER, OperatorProcess
from tests.api.access import WRITING, Site, a_site, until
from tests.api.conftest import assert_without_fault

OVERLAY = ROOT / "manifests" / "overlays" / "high-availability"
LEASE = "nodeport-access-operator"
LEASE_SECONDS, RENEW_SECONDS, RETRY_SECONDS = 15.0, 10.0, 2.0
ANOTHER_LEADS = LEASE_SECONDS + RETRY_SECONDS + 5.0
"""Within which the other one writes: the lease has to run out, the next look to come, and the work to be done."""
CREDENTIAL = "authentication.kubernetes.io/credential-id"
"""In the audit log, which token of a ServiceAccount it was."""


@dataclass(slots=True)
class Replica:
    """One operator with a token of its own, by which the audit log knows it."""

    name: str
    process: OperatorProcess
    token: str
    proxy: FaultProxy | None = None

    @property
    def leads(self) -> bool:
        return "nodeport_access_leader 1.0\n" in self.process.metrics()

    def says(self, text: str) -> bool:
        return any(text in line for line in self.process.log_lines())


@dataclass(slots=True)
class Pair:
    """Two replicas on one control plane, and what they wrote by its audit log, from when this was made."""

    plane: ControlPlane
    folder: Path
    exits: contextlib.ExitStack
    replicas: list[Replica] = field(default_factory=list)
    begin: int = 0

    def start(self, name: str, *, behind_proxy: bool = False, ready: bool = True, **flags: object) -> Replica:
        proxy = self.exits.enter_context(FaultProxy(self.plane)) if behind_proxy else None
        kubeconfig = (proxy or self.plane).service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        process = OperatorProcess(
            self.plane,
            log=self.folder / f"operator-{name}.log",
            kubeconfig=kubeconfig,
            flags={"leader_elect": True, "leader_elect_namespace": NAMESPACE, **flags},
        )
        self.exits.callback(process.close)
        replica = Replica(name, process, credential(kubeconfig), proxy)
        self.replicas.append(replica)
        if ready:
            process.wait_until_ready()
        return replica

    def writes(self) -> list[tuple[str, Event]]:
        """What was carried out, of all but Leases, in the order in which it was received; each with who wrote it."""
        names = {one.token: one.name for one in self.replicas}
        found = [
            (names[event["user"]["extra"][CREDENTIAL][0]], event)
            for event in self.plane.audit_events(since=self.begin, user=USER)
            if event["verb"] in WRITING
            and event["user"]["extra"][CREDENTIAL][0] in names
            and event["objectRef"]["resource"] != "leases"
            and event["responseStatus"]["code"] < 300
        ]
        return sorted(found, key=lambda one: one[1]["requestReceivedTimestamp"])

    def assert_never_two(self, *order: str) -> None:
        """Those wrote, one after another: nobody's write was carried out after another's first one."""
        writes = self.writes()
        assert tuple(name for name, _ in itertools.groupby(name for name, _ in writes)) == order, listed(writes)
        for before, after in itertools.pairwise(order):
            ended = max(event["stageTimestamp"] for name, event in writes if name == before)
            began = min(event["requestReceivedTimestamp"] for name, event in writes if name == after)
            assert ended < began, listed(writes)

    def lease(self) -> dict[str, Any]:
        spec: dict[str, Any] = Cluster(self.plane).get("Lease", LEASE, namespace=NAMESPACE)["spec"]
        return spec

    def edit_lease(self, **spec: object) -> None:
        Cluster(self.plane).patch("Lease", LEASE, {"spec": spec}, namespace=NAMESPACE)

    def delete_lease(self) -> None:
        Cluster(self.plane).delete("Lease", LEASE, namespace=NAMESPACE)


def credential(kubeconfig: Path) -> str:
    """How the audit log names the token of a kubeconfig: by its id, the claim `jti`."""
    token = yaml.safe_load(kubeconfig.read_text())["users"][0]["user"]["token"]
    claims = token.split(".")[1]
    return f"JTI={json.loads(base64.urlsafe_b64decode(claims + '=' * (-len(claims) % 4)))['jti']}"


def listed(writes: list[tuple[str, Event]]) -> str:
    return "\n".join(
        f"{event['requestReceivedTimestamp']} to {event['stageTimestamp']} {name} {event['verb']} {event['requestURI']}"
        for name, event in writes
    )


_numbers = itertools.count(1)


@contextlib.contextmanager
def a_pair(plane: ControlPlane, folder: Path) -> Iterator[Pair]:
    """Nobody has started yet, and nobody holds the Lease: the first to come need not wait until one has run out."""
    with contextlib.ExitStack() as exits:
        cluster = Cluster(plane)
        if cluster.find("Lease", LEASE, namespace=NAMESPACE) is not None:
            cluster.delete("Lease", LEASE, namespace=NAMESPACE)
        time_of_both = "2026-01-01T00:00:00.000000Z"
        released = {
            "holderIdentity": "",
            "leaseDurationSeconds": 1,
            "acquireTime": time_of_both,
            "renewTime": time_of_both,
        }
        metadata = {"name": LEASE, "namespace": NAMESPACE}
        cluster.create(
            {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": metadata, "spec": released}
        )
        pair = Pair(plane, folder, exits, begin=plane.audit_mark())
        yield pair
        for replica in pair.replicas:
            assert_without_fault(replica.process)


def guarded(plane: ControlPlane) -> Site:
    """A namespace with a Service and a policy."""
    site = a_site(plane, f"failover-{next(_numbers)}")
    site.create_service()
    site.create_policy()
    return site


def repaired(site: Site, *, seconds: float = ANOTHER_LEADS) -> float:
    """Wait until the Service is Local again; the time when it was."""
    until(lambda: site.guard_of()[0] == "Local", f"the repair of {site.namespace}", seconds=seconds)
    return time.monotonic()


def two(pair: Pair, site: Site, **first: Any) -> tuple[Replica, Replica]:
    """The first one leads and has made the guard, the second stands by, ready."""
    a = pair.start("a", **first)
    site.await_ready()
    b = pair.start("b")
    assert (a.leads, b.leads) == (True, False)
    until(lambda: b.says("waiting for the lease held by"), "the second one to stand by")
    return a, b
