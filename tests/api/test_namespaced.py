"""The operator for listed namespaces, under the Roles of manifests/overlays/namespaced and no other permission.

Not the business of this module: the files by themselves (tests/unit/test_manifests.py), and single permissions that
are missing (`test_permissions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import CutStream, FaultProxy
from testbed.operator_process import NAMESPACE, ROOT, SERVICE_ACCOUNT, USER
from testbed.programs import Programs
from tests.api import tampered
from tests.api.access import ALLOWED, Site, until
from tests.api.conftest import StartOperator, running
from tests.api.permissions import Permission, may

OVERLAY = ROOT / "manifests" / "overlays" / "namespaced"
SHOP, TOOLS, OTHER = "shop", "tools", "elsewhere"
ROLE = "nodeport-access-operator"
UNKNOWN = "Nodes cannot be listed, so nobody knows"


@pytest.fixture(scope="module")
def plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane with nodes and three namespaces, on which the overlay is installed and no ClusterRole of ours."""
    with running(programs, tmp_path_factory.mktemp("namespaced")) as plane:
        for kind in ("clusterrolebinding", "clusterrole"):
            plane.kubectl("delete", kind, ROLE)
        for name in (SHOP, TOOLS, OTHER):
            Cluster(plane).create_namespace(objects.namespace(name=name))
        plane.kubectl("apply", "-k", OVERLAY)
        yield plane


@pytest.fixture
def sites(plane: ControlPlane) -> Iterator[dict[str, Site]]:
    """The two listed namespaces and the other one, by their names; emptied afterwards."""
    cluster = Cluster(plane)
    yield {name: Site(cluster, name) for name in (SHOP, TOOLS, OTHER)}
    for name in (SHOP, TOOLS, OTHER):
        cluster.vacate_namespace(name)


def listed(plane: ControlPlane) -> list[str]:
    """The namespaces that the overlay's Deployment names."""
    documents = yaml.safe_load_all(plane.kubectl("kustomize", OVERLAY).stdout)
    (deployment,) = (one for one in documents if one["kind"] == "Deployment")
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    command, *flags = container["args"]
    assert command == "run"
    assert all(flag.startswith("--namespace=") for flag in flags)
    return [flag.removeprefix("--namespace=") for flag in flags]


def own_requests(plane: ControlPlane, *, since: int) -> list[dict[str, Any]]:
    return [
        event
        for event in plane.audit_events(since=since, user=USER)
        if event.get("userAgent", "").startswith(("nodeport-access/", "kopf/"))
    ]


def populate(site: Site) -> None:
    """A Service with a pod and a policy."""
    site.create_pod()
    site.create_service()
    site.create_policy()


def test_roles_alone_are_enough_for_all_that_it_does_and_it_looks_nowhere_else(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    mark = plane.audit_mark()
    for site in sites.values():
        populate(site)
    operator = start_operator(plane, namespace=listed(plane))
    for name in (SHOP, TOOLS):
        sites[name].await_ready()
    site = sites[SHOP]

    site.edit_service(externalTrafficPolicy="Cluster")
    site.await_guard("Local", "web")
    site.delete("NetworkPolicy", "web-allow")
    site.await_network_policies("web-allow", "web-deny-all")
    site.edit("NetworkPolicy", "web-deny-all", spec={"ingress": [{}]})
    until(lambda: not site.network_policies()["web-deny-all"]["spec"].get("ingress"), "the deny-all to deny again")
    site.edit("NetworkPolicy", "web-allow", metadata={"finalizers": ["example.org/held"]})
    until(lambda: not site.network_policies()["web-allow"]["metadata"].get("finalizers"), "the finalizer to be gone")
    site.edit_policy(allowedCIDRs=[{"cidr": "198.51.100.0/24"}])
    site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]})
    until(lambda: site.cluster.list("Event", namespace=SHOP), "an Event")
    sites[TOOLS].edit_policy(mode="Audit")
    sites[TOOLS].await_network_policies()
    sites[TOOLS].await_guard("Cluster", None)
    site.delete("NodePortAccessPolicy")
    site.await_guard("Cluster", None)
    site.await_network_policies()

    assert sites[OTHER].policy()["status"] == {"observedGeneration": 0}
    assert sites[OTHER].guard_of() == ("Cluster", None)
    assert sites[OTHER].network_policies() == {}
    requests = own_requests(plane, since=mark)
    assert {one["objectRef"].get("namespace") for one in requests if "objectRef" in one} == {SHOP, TOOLS, None}
    in_no_namespace = {
        (one["verb"], one["objectRef"]["resource"])
        for one in requests
        if "resource" in one.get("objectRef", {}) and "namespace" not in one["objectRef"]
    }
    assert in_no_namespace == {("list", "nodes")}
    refused = [one["objectRef"]["resource"] for one in requests if one["responseStatus"]["code"] == 403]
    assert refused == ["nodes"], "once: it is asked for again after minutes"
    assert operator.health()[0] == 200
    warnings = [line for line in map(json.loads, operator.log_lines()) if line["level"] in ("WARNING", "ERROR")]
    assert [line for line in warnings if "nodes" in line["message"]] == []


def test_status_says_what_is_known_without_nodes_and_what_is_not(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    start_operator(plane, namespace=listed(plane))
    site = sites[SHOP]
    populate(site)
    site.await_ready()
    assert site.await_condition("Enforceable", "Unknown NodesNotListed").startswith(UNKNOWN)
    assert UNKNOWN in site.await_condition("Ready", "True Guarded")
    until(
        lambda: (
            site.await_condition("Reachable", "True NodesAnswer") == "1 of an unknown number of nodes answer: node2."
        ),
        "the node that answers",
    )
    assert site.status()["nodes"] == {"ready": 1, "draining": 0, "share": "1/?"}
    assert "1/?" in site.kubectl("get", "npap", "web")


def test_a_namespace_named_twice_is_served_once(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    mark = plane.audit_mark()
    start_operator(plane, namespace=[SHOP, TOOLS, SHOP])
    populate(sites[SHOP])
    sites[SHOP].await_ready()
    lists = [
        (one["objectRef"]["namespace"], one["objectRef"]["resource"])
        for one in own_requests(plane, since=mark)
        if one["verb"] == "list" and one["objectRef"]["resource"] == "services"
    ]
    assert sorted(lists) == [(SHOP, "services"), (TOOLS, "services")]


def test_a_namespace_that_is_not_there_holds_up_no_other_and_is_served_once_it_is(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    cluster = Cluster(plane)
    remove(cluster, TOOLS)
    try:
        operator = start_operator(plane, ready=False, namespace=listed(plane))
        populate(sites[SHOP])
        sites[SHOP].await_ready()
        sites[SHOP].edit_policy(allowedCIDRs=[{"cidr": "198.51.100.0/24"}])
        sites[SHOP].await_allowlist({"TCP/8080": ["198.51.100.0/24"]})
        code, text = operator.health()
        assert (code, f"in {TOOLS}: 403 Forbidden" in text) == (503, True), text
    finally:
        make_again(plane)
    operator.wait_until_ready(seconds=15)
    populate(sites[TOOLS])
    sites[TOOLS].await_ready()


def test_a_namespace_deleted_and_made_again_is_served_again_and_the_others_all_the_while(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    operator = start_operator(plane, namespace=listed(plane))
    for name in (SHOP, TOOLS):
        populate(sites[name])
        sites[name].await_ready()
    try:
        remove(Cluster(plane), TOOLS)
        sites[SHOP].edit_service(externalTrafficPolicy="Cluster")
        sites[SHOP].await_guard("Local", "web")
    finally:
        make_again(plane)
    populate(sites[TOOLS])
    until(lambda: sites[TOOLS].conditions()["Ready"] == "True Guarded", "the guard of the new namespace", seconds=20)
    sites[TOOLS].await_allowlist({"TCP/8080": list(ALLOWED)})
    operator.wait_until_ready(seconds=15)


def test_nodes_that_are_granted_are_taken_and_missed_when_they_are_taken_away(
    plane: ControlPlane, sites: dict[str, Site], start_operator: StartOperator
) -> None:
    with FaultProxy(plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = start_operator(
            plane,
            kubeconfig=kubeconfig,
            module=tampered.MODULE,
            environment={"TAMPER": "impatient"},
            namespace=listed(plane),
        )
        site = sites[SHOP]
        populate(site)
        site.await_condition("Enforceable", "Unknown NodesNotListed")
        plane.kubectl("create", "clusterrole", "nodes", "--verb=list,watch", "--resource=nodes")
        plane.kubectl(
            "create", "clusterrolebinding", "nodes", "--clusterrole=nodes", f"--serviceaccount={NAMESPACE}:{ROLE}"
        )
        try:
            site.await_condition("Enforceable", "True NothingBypasses")
            until(lambda: site.status()["nodes"].get("share") == "1/3", "the number of nodes")
            operator.wait_until_ready(seconds=10)
        finally:
            plane.kubectl("delete", "clusterrolebinding,clusterrole", "nodes")
        until(lambda: not may(plane, Permission("", "nodes", "list")), "RBAC to refuse it")
        proxy.inject(CutStream()).remove()
        until(lambda: "nodes: 403 Forbidden" in operator.health()[1], "nodes to be missed")
        assert site.guard_of() == ("Local", "web")


def remove(cluster: Cluster, namespace: str) -> None:
    cluster.delete_namespace(namespace)
    until(lambda: cluster.find("Namespace", namespace) is None, f"namespace {namespace} to be gone", seconds=30)


def make_again(plane: ControlPlane) -> None:
    Cluster(plane).create_namespace(objects.namespace(name=TOOLS))
    plane.kubectl("apply", "-k", OVERLAY)
