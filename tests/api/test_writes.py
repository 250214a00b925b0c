"""What the operator sends, how much of it, and in which order: read from the API server's audit log."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from nodeport_access.workers import MOST_WORKERS, WORKERS
from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT, USER, OperatorProcess
from testbed.waiting import wait_for
from tests.api.access import Site
from tests.api.faulty import operator_behind_proxy

WRITING = ("create", "update", "patch", "delete", "deletecollection")
QUIET_SECONDS = 2.0
"""How long nothing may be written for the operator to count as settled."""
POLICIES = 12


@pytest.fixture
def quiet(quiet_control_plane: ControlPlane) -> Cluster:
    """A cluster on which each test starts and ends an operator of its own."""
    return Cluster(quiet_control_plane)


def writes(control_plane: ControlPlane, *, since: int, namespace: str = "") -> list[str]:
    """What the operator wrote, each as ``verb resource[/subresource] name``, in the order of arrival."""
    events = [
        event
        for event in control_plane.audit_events(since=since, user=USER)
        if event["verb"] in WRITING and namespace in ("", event["objectRef"].get("namespace"))
    ]
    events.sort(key=lambda event: event["requestReceivedTimestamp"])
    return [_named(event) for event in events]


def _named(event: dict[str, Any]) -> str:
    reference = event["objectRef"]
    resource = "/".join(part for part in (reference["resource"], reference.get("subresource")) if part)
    return f"{event['verb']} {resource} {reference['name']}"


def without_events(sent: list[str]) -> list[str]:
    """Events are posted beside the passes: they come when they come, or not at all."""
    return [write for write in sent if not write.startswith("create events ")]


def create_pair(cluster: Cluster, *, namespace: str, name: str, **spec: object) -> None:
    """A Service and its policy, both of the same name."""
    cluster.create(objects.service(namespace=namespace, name=name, selector={"app": name}))
    allowed = spec.pop("allowedCIDRs", [{"cidr": "10.2.3.4/32"}])
    cluster.create(objects.policy(namespace=namespace, name=name, service=name, allowedCIDRs=allowed, **spec))


def wait_until_observed(cluster: Cluster, *, namespace: str, count: int) -> None:
    """Until every policy of the namespace carries a status of its own generation."""

    def observed() -> bool:
        policies = cluster.list("NodePortAccessPolicy", namespace=namespace)
        done = [p for p in policies if p.get("status", {}).get("observedGeneration") == p["metadata"]["generation"]]
        assert len(done) == count, f"{len(done)} of {count} policies have their status"
        return True

    wait_for(observed, seconds=30, what=f"the status of all policies in {namespace}")


def test_a_first_convergence_writes_allowlist_service_deny_all_and_status_once_each_in_that_order(
    cluster: Cluster, shared_operator: OperatorProcess, namespace: str
) -> None:
    mark = cluster.control_plane.audit_mark()
    create_pair(cluster, namespace=namespace, name="web")
    wait_until_observed(cluster, namespace=namespace, count=1)
    assert shared_operator.exit_code is None
    assert writes(cluster.control_plane, since=mark, namespace=namespace) == [
        "patch networkpolicies web-allow",
        "patch services web",
        "patch networkpolicies web-deny-all",
        "patch nodeportaccesspolicies/status web",
    ]


def test_a_changed_allowlist_is_one_apply_and_never_a_deletion(
    cluster: Cluster, shared_operator: OperatorProcess, namespace: str
) -> None:
    create_pair(cluster, namespace=namespace, name="web")
    wait_until_observed(cluster, namespace=namespace, count=1)
    mark = cluster.control_plane.audit_mark()
    cluster.patch(
        "NodePortAccessPolicy", "web", {"spec": {"allowedCIDRs": [{"cidr": "192.0.2.0/24"}]}}, namespace=namespace
    )
    wait_until_observed(cluster, namespace=namespace, count=1)
    assert shared_operator.exit_code is None
    assert writes(cluster.control_plane, since=mark, namespace=namespace) == [
        "patch networkpolicies web-allow",
        "patch nodeportaccesspolicies/status web",
    ]


def test_what_opened_access_is_repaired_before_what_closed_it(quiet: Cluster, tmp_path: Path) -> None:
    namespace = "opened-first"
    quiet.create_namespace(objects.namespace(name=namespace))
    create_pair(quiet, namespace=namespace, name="web")
    with_operator(quiet, tmp_path / "first.log", namespace=namespace, count=1)
    # While the operator is away: the allowlist admits nobody any more (closed), the deny-all admits everyone (opened).
    quiet.patch("NetworkPolicy", "web-allow", {"spec": {"ingress": []}}, namespace=namespace, manager="closer")
    quiet.patch("NetworkPolicy", "web-deny-all", {"spec": {"ingress": [{}]}}, namespace=namespace, manager="opener")
    mark = quiet.control_plane.audit_mark()
    with_operator(quiet, tmp_path / "second.log", namespace=namespace, count=1, writes_expected=3, since=mark)
    assert without_events(writes(quiet.control_plane, since=mark, namespace=namespace)) == [
        "patch networkpolicies web-deny-all",
        "patch networkpolicies web-allow",
        "patch nodeportaccesspolicies/status web",
    ]
    drift = quiet.get("NodePortAccessPolicy", "web", namespace=namespace)["status"]["lastDrift"]
    assert (drift["object"], drift["writer"], drift["effect"]) == ("NetworkPolicy/web-deny-all", "opener", "opened")


def with_operator(
    cluster: Cluster, log: Path, *, namespace: str, count: int, writes_expected: int = 0, since: int = 0
) -> None:
    """Runs an operator until the policies have their status and the writes expected have been sent, then ends it."""
    operator = OperatorProcess(cluster.control_plane, log=log)
    try:
        operator.wait_until_ready()
        wait_until_observed(cluster, namespace=namespace, count=count)
        wait_for(
            lambda: (
                len(without_events(writes(cluster.control_plane, since=since, namespace=namespace))) >= writes_expected
            ),
            seconds=10,
            what=f"{writes_expected} writes",
        )
        operator.stop()
    finally:
        operator.close()


def test_many_policies_converge_in_four_writes_each_and_a_restart_writes_nothing(
    quiet: Cluster, tmp_path: Path
) -> None:
    namespace = "many"
    quiet.create_namespace(objects.namespace(name=namespace))
    for number in range(POLICIES):
        create_pair(quiet, namespace=namespace, name=f"web-{number}", **VARIANTS[number % len(VARIANTS)])
    # A second claimant, a policy that only reports, and one whose Service does not exist.
    quiet.create(objects.policy(namespace=namespace, name="zz-waiting", service="web-0", allowedCIDRs=[]))
    quiet.create(objects.policy(namespace=namespace, name="zz-audit", service="web-1", mode="Audit", allowedCIDRs=[]))
    quiet.create(objects.policy(namespace=namespace, name="zz-lost", service="nowhere", allowedCIDRs=[]))
    mark = quiet.control_plane.audit_mark()
    operator = OperatorProcess(quiet.control_plane, log=tmp_path / "first.log")
    try:
        operator.wait_until_ready()
        wait_until_observed(quiet, namespace=namespace, count=POLICIES + 3)
        # What other tests have left is settled too, so that afterwards the whole cluster is.
        wait_for(lambda: is_quiet(quiet.control_plane), seconds=60, what="the operator to settle")
        operator.stop()
    finally:
        operator.close()
    sent = writes(quiet.control_plane, since=mark, namespace=namespace)
    assert len(sent) == len(set(sent)), "something was written twice"
    assert len(sent) <= 4 * POLICIES + 2 + 1 + 1

    before = world(quiet, namespace)
    mark = quiet.control_plane.audit_mark()
    restarted = OperatorProcess(quiet.control_plane, log=tmp_path / "second.log")
    try:
        restarted.wait_until_ready()
        assert is_quiet(quiet.control_plane, since=mark)
        restarted.stop()
    finally:
        restarted.close()
    assert writes(quiet.control_plane, since=mark) == []
    assert world(quiet, namespace) == before


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"allowedCIDRs": []},
    {"allowedCIDRs": [{"cidr": "203.0.113.0/24", "except": ["203.0.113.66/32"], "ports": ["http"]}]},
    {"isolation": "Namespace"},
    {"allowedPeers": [{"namespaceSelector": {"matchLabels": {}, "matchExpressions": []}}, {"podSelector": {}}]},
    {"trafficPolicy": "Unmanaged"},
    {"allowedCIDRs": [{"cidr": "10.2.3.4/32", "expiresAt": "2000-01-01T00:00:00Z"}]},
    {"allowedCIDRs": [{"cidr": "10.0.0.0/8", "ports": ["no-such-port"]}]},
)


def is_quiet(control_plane: ControlPlane, *, since: int | None = None) -> bool:
    """Whether nothing is written for as long as the operator would take, had it something to write."""
    mark = control_plane.audit_mark() if since is None else since
    sleep(QUIET_SECONDS)
    return not writes(control_plane, since=mark)


def world(cluster: Cluster, namespace: str) -> dict[str, str]:
    """Versions of everything that the operator may write."""
    return {
        f"{kind}/{item['metadata']['name']}": item["metadata"]["resourceVersion"]
        for kind in ("NetworkPolicy", "Service", "NodePortAccessPolicy")
        for item in cluster.list(kind, namespace=namespace)
    }


def test_after_sigterm_what_is_under_way_is_finished(quiet: Cluster, tmp_path: Path) -> None:
    site = Site(quiet, "in-the-middle")
    names = {"web-0", "web-1", "web-2"}
    quiet.create_namespace(objects.namespace(name=site.namespace))
    with operator_behind_proxy(quiet.control_plane, folder=tmp_path) as behind:
        with behind.proxy.hold_after(writes=1, namespaces={site.namespace}) as gate:
            for name in sorted(names):
                create_pair(quiet, namespace=site.namespace, name=name)
            wait_for(lambda: gate.reached.is_set() and len(gate.held) == 3, seconds=30, what="three passes under way")
            os.kill(behind.operator.pid, signal.SIGTERM)
        behind.operator.stop()
    assert guarded_in(site) == (names, names, names)
    assert {name: site.conditions(name)["Ready"] for name in names} == dict.fromkeys(names, "True Guarded")


def test_after_sigterm_nothing_is_begun(quiet: Cluster, tmp_path: Path) -> None:
    site, count = Site(quiet, "not-begun"), MOST_WORKERS + 4
    quiet.create_namespace(objects.namespace(name=site.namespace))
    for number in range(count):
        create_pair(quiet, namespace=site.namespace, name=f"web-{number}")
    with FaultProxy(quiet.control_plane) as proxy, proxy.hold_after(writes=1, namespaces={site.namespace}) as gate:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = OperatorProcess(quiet.control_plane, log=tmp_path / "operator.log", kubeconfig=kubeconfig)
        try:
            wait_for(lambda: len(gate.held) >= WORKERS, seconds=30, what="a pass of each worker")
            os.kill(operator.pid, signal.SIGTERM)
            gate.release()
            operator.stop()
        finally:
            operator.close()
    allowed, local, denied = guarded_in(site)
    assert denied <= local & allowed
    assert 0 < len(allowed | local | denied) <= MOST_WORKERS


def guarded_in(site: Site) -> tuple[set[str], set[str], set[str]]:
    """The Services of a namespace that have an allowlist, that are Local, and that have a deny-all."""
    children = site.network_policies()
    services = site.cluster.list("Service", namespace=site.namespace)
    return (
        {name.removesuffix("-allow") for name in children if name.endswith("-allow")},
        {item["metadata"]["name"] for item in services if item["spec"]["externalTrafficPolicy"] == "Local"},
        {name.removesuffix("-deny-all") for name in children if name.endswith("-deny-all")},
    )
