"""What the operator waits for, what it says meanwhile, and what ends it; started by its command, not forked."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, OperatorProcess, install_crd
from testbed.waiting import wait_for

SECONDS = 15.0
"""Within which the operator works once what it lacked is there; it asks again every 2 to 10 s."""


@pytest.fixture
def plane(quiet_control_plane: ControlPlane) -> ControlPlane:
    """A control plane that each test leaves complete."""
    return quiet_control_plane


@pytest.fixture
def operator() -> Iterator[list[OperatorProcess]]:
    """Holds what a test starts, and ends it."""
    started: list[OperatorProcess] = []
    yield started
    for process in started:
        process.close()


def start(plane: ControlPlane, started: list[OperatorProcess], tmp_path: Path, **flags: object) -> OperatorProcess:
    process = OperatorProcess(plane, log=tmp_path / f"operator-{len(started)}.log", flags=flags, forked=False)
    started.append(process)
    return process


def wait_unready(process: OperatorProcess, *, saying: str) -> None:
    """Until /readyz says 503 with this in its reason, while /healthz says 200: a new process would not help."""

    def says() -> bool:
        code, text = process.health("/readyz")
        assert code == 503
        assert saying in text, text
        return True

    wait_for(says, seconds=SECONDS, what=f"/readyz to say {saying!r}")
    assert process.health("/healthz")[0] == 200
    assert process.exit_code is None


def guard(cluster: Cluster, *, namespace: str, name: str = "web") -> None:
    """A Service with a policy, in a namespace that is there already or made now."""
    if cluster.find("Namespace", namespace) is None:
        cluster.create_namespace(objects.namespace(name=namespace))
    cluster.create(objects.service(namespace=namespace, name=name, selector={"app": name}))
    cluster.create(objects.policy(namespace=namespace, name=name, service=name, allowedCIDRs=[{"cidr": "10.2.3.4/32"}]))


def condition(cluster: Cluster, kind: str, *, namespace: str, name: str = "web") -> tuple[str, str]:
    """Status and reason of a condition; empty where it is absent."""
    status = cluster.get("NodePortAccessPolicy", name, namespace=namespace).get("status", {})
    found = {item["type"]: (item["status"], item["reason"]) for item in status.get("conditions", ())}
    return found.get(kind, ("", ""))


def wait_guarded(cluster: Cluster, *, namespace: str, seconds: float = SECONDS) -> None:
    wait_for(
        lambda: condition(cluster, "Ready", namespace=namespace) == ("True", "Guarded"),
        seconds=seconds,
        what=f"Ready of the policy in {namespace}",
    )


def restrict(plane: ControlPlane, resource: str, *, verbs: list[str]) -> None:
    """Leave the operator these verbs on a resource, until the manifests are applied again."""
    role = json.loads(plane.kubectl("get", "clusterrole", "nodeport-access-operator", "-o", "json").stdout)
    rules = [
        {**rule, "resources": [one], "verbs": verbs if one == resource else rule["verbs"]}
        for rule in role["rules"]
        for one in rule["resources"]
    ]
    plane.kubectl("replace", "-f", "-", input=json.dumps({**role, "rules": rules}))


def test_an_absent_api_server_is_waited_for(
    own_control_plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    # One of its own: the controller manager takes half a minute to find the API server again.
    plane = own_control_plane
    guard(Cluster(plane), namespace="late-server")
    kubeconfig = plane.service_account_kubeconfig(namespace="nodeport-access-system", name="nodeport-access-operator")
    plane.stop_api_server()
    try:
        process = OperatorProcess(plane, log=tmp_path / "operator.log", kubeconfig=kubeconfig, forked=False)
        operator.append(process)
        wait_unready(process, saying="cannot be reached")
    finally:
        plane.start_api_server()
    process.wait_until_ready(seconds=SECONDS)
    wait_guarded(Cluster(plane), namespace="late-server")


def test_an_absent_crd_is_waited_for_and_named(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    plane.kubectl("delete", "-f", ROOT / "crds")
    try:
        process = start(plane, operator, tmp_path)
        wait_unready(process, saying="nodeportaccesspolicies")
        wait_for(
            lambda: any("CustomResourceDefinition" in line for line in process.log_lines()),
            seconds=SECONDS,
            what="the log to name the CRD",
        )
    finally:
        install_crd(plane)
    process.wait_until_ready(seconds=SECONDS)
    guard(Cluster(plane), namespace="late-crd")
    wait_guarded(Cluster(plane), namespace="late-crd")


def test_a_crd_deleted_under_the_operator_ends_it_and_the_next_one_finds_its_way(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster, namespace = Cluster(plane), "lost-crd"
    guard(cluster, namespace=namespace)
    process = start(plane, operator, tmp_path)
    process.wait_until_ready()
    wait_guarded(cluster, namespace=namespace)
    plane.kubectl("delete", "-f", ROOT / "crds")
    try:
        assert process.wait_for_end(seconds=30) == 1
        last = json.loads(process.log_lines()[-1])
        assert last["level"] == "ERROR"
        assert "CustomResourceDefinition was deleted" in last["message"]
        # All policies went with it. Those of which that was still heard were released; of the others, a kind that is
        # not served any more proves nothing (record 0016), so the pods stay shut until it is back.
    finally:
        install_crd(plane)
    start(plane, operator, tmp_path).wait_until_ready()

    def is_released() -> bool:
        service = cluster.get("Service", "web", namespace=namespace)
        is_handed_back = service["spec"]["externalTrafficPolicy"] == "Cluster"
        return is_handed_back and cluster.list("NetworkPolicy", namespace=namespace) == []

    wait_for(is_released, seconds=SECONDS, what="what the policy left behind to be let go")
    cluster.create(objects.policy(namespace=namespace, name="web", service="web"))
    wait_guarded(cluster, namespace=namespace)


def test_a_missing_permission_to_read_is_waited_for_and_named(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    guard(Cluster(plane), namespace="late-rights")
    plane.kubectl("delete", "clusterrolebinding", "nodeport-access-operator")
    try:
        process = start(plane, operator, tmp_path)
        wait_unready(process, saying="forbidden")
        warnings = [json.loads(line) for line in process.log_lines() if '"WARNING"' in line]
        assert any("not allowed to list" in line["message"] for line in warnings)
    finally:
        plane.kubectl("apply", "-k", ROOT / "manifests")
    process.wait_until_ready(seconds=SECONDS)
    wait_guarded(Cluster(plane), namespace="late-rights")


def test_without_a_list_of_pods_it_is_unready_and_guards_all_the_same(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster, namespace = Cluster(plane), "no-pods"
    guard(cluster, namespace=namespace)
    restrict(plane, "pods", verbs=["watch"])
    try:
        process = start(plane, operator, tmp_path)
        wait_for(
            lambda: condition(cluster, "Exclusive", namespace=namespace) == ("Unknown", "PodsNotListed"),
            seconds=SECONDS,
            what="the status to tell that nobody knows the pods",
        )
        assert cluster.get("Service", "web", namespace=namespace)["spec"]["externalTrafficPolicy"] == "Local"
        assert condition(cluster, "AllowlistApplied", namespace=namespace) == ("True", "Applied")
        wait_unready(process, saying="pods")
    finally:
        plane.kubectl("apply", "-k", ROOT / "manifests")
    wait_guarded(cluster, namespace=namespace)
    process.wait_until_ready(seconds=SECONDS)


def test_without_a_list_of_nodes_it_is_unready_and_guards_all_the_same(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster, namespace = Cluster(plane), "no-nodes"
    guard(cluster, namespace=namespace)
    restrict(plane, "nodes", verbs=["watch"])
    try:
        process = start(plane, operator, tmp_path)
        wait_guarded(cluster, namespace=namespace)
        assert condition(cluster, "Enforceable", namespace=namespace) == ("Unknown", "NodesNotListed")
        wait_unready(process, saying="nodes: 403")
    finally:
        plane.kubectl("apply", "-k", ROOT / "manifests")
    wait_for(
        lambda: condition(cluster, "Enforceable", namespace=namespace) == ("True", "NothingBypasses"),
        seconds=SECONDS,
        what="the status to tell what is known by the nodes",
    )
    process.wait_until_ready(seconds=SECONDS)


def test_a_missing_permission_to_write_is_told_in_status_and_works_seconds_after_it_is_granted(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster, namespace = Cluster(plane), "no-writing"
    restrict(plane, "networkpolicies", verbs=["list", "watch"])
    try:
        start(plane, operator, tmp_path).wait_until_ready()
        guard(cluster, namespace=namespace)
        wait_for(
            lambda: condition(cluster, "Stalled", namespace=namespace) == ("True", "ApplyForbidden"),
            seconds=SECONDS,
            what="the status to tell of the missing permission",
        )
        assert condition(cluster, "AllowlistApplied", namespace=namespace) == ("False", "ApplyForbidden")
        # What comes after the allowlist in the closing order was not tried: allowed clients would be cut off.
        assert cluster.get("Service", "web", namespace=namespace)["spec"]["externalTrafficPolicy"] == "Cluster"
    finally:
        plane.kubectl("apply", "-k", ROOT / "manifests")
    wait_guarded(cluster, namespace=namespace)
    assert condition(cluster, "Stalled", namespace=namespace) == ("", "")


def test_only_the_namespaces_named_are_served(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster = Cluster(plane)
    for namespace in ("served", "served-too", "passed-over"):
        guard(cluster, namespace=namespace)
    process = start(plane, operator, tmp_path, namespace=["served", "served-too"])
    process.wait_until_ready()
    wait_guarded(cluster, namespace="served")
    wait_guarded(cluster, namespace="served-too")
    assert cluster.list("NetworkPolicy", namespace="passed-over") == []
    assert condition(cluster, "Ready", namespace="passed-over") == ("", "")
    assert 'namespace="passed-over"' not in process.metrics()


def test_the_log_has_one_line_of_json_for_each_change_and_none_for_passes_without(
    plane: ControlPlane, operator: list[OperatorProcess], tmp_path: Path
) -> None:
    cluster, namespace = Cluster(plane), "logged"
    process = start(plane, operator, tmp_path, namespace=[namespace])
    cluster.create_namespace(objects.namespace(name=namespace))
    process.wait_until_ready()
    guard(cluster, namespace=namespace)
    wait_guarded(cluster, namespace=namespace)
    cluster.patch("Service", "web", {"metadata": {"annotations": {"of-no": "concern"}}}, namespace=namespace)
    process.stop()
    lines = [json.loads(line) for line in process.log_lines()]
    assert all({"time", "level", "message"} <= line.keys() for line in lines)
    changed = [line["object"] for line in lines if "object" in line]
    assert changed == ["NetworkPolicy/web-allow", "Service/web", "NetworkPolicy/web-deny-all"]
