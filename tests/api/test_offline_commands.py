"""`plan` and `render` against a real API server: what they print is taken there, what they foresee comes true, and a
missing permission is told.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, clean_environment
from tests.api.access import WEB, Site, a_site
from tests.api.conftest import StartOperator

PLUGIN = "kubectl-npap"
APPLIES = [[], ["--server-side", "--force-conflicts"]]
"""Ways to apply; to the API server, a merely defaulted externalTrafficPolicy is owned by whoever made the Service."""


def call(
    *words: str | Path, kubeconfig: Path | None, stdin: str = "", home: Path = Path("/nonexistent")
) -> subprocess.CompletedProcess[str]:
    """The plugin's program, with a kubeconfig of the control plane, or with what this home folder holds."""
    configured = {"KUBECONFIG": str(kubeconfig)} if kubeconfig is not None else {}
    return subprocess.run(
        [Path(sys.executable).with_name(PLUGIN), *words],
        env={**clean_environment(os.environ), "HOME": str(home), **configured},
        cwd=ROOT,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def site(quiet_control_plane: ControlPlane) -> Iterator[Site]:
    """A Service and its pod on a control plane without an operator."""
    site = a_site(quiet_control_plane, "offline")
    site.create_service()
    site.create_pod()
    site.cluster.wait_for_endpoints(WEB, namespace=site.namespace, ready=["10.233.96.32"])
    yield site
    site.cluster.vacate_namespace(site.namespace)


@pytest.fixture
def policy(site: Site) -> Iterator[dict[str, Any]]:
    """A policy that nobody carries out."""
    yield site.create_policy()
    site.cluster.delete("NodePortAccessPolicy", WEB, namespace=site.namespace)


def plane_of(site: Site) -> ControlPlane:
    return site.cluster.control_plane


def planned(ran: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def manifest(site: Site, *, cidr: str = "10.2.3.4/32") -> str:
    return json.dumps(
        {
            "apiVersion": "nodeport-access.io/v1alpha1",
            "kind": "NodePortAccessPolicy",
            "metadata": {"name": WEB, "namespace": site.namespace},
            "spec": {"serviceRef": {"name": WEB}, "allowedCIDRs": [{"cidr": cidr}]},
        }
    )


@pytest.mark.parametrize("how", APPLIES)
@pytest.mark.usefixtures("policy")
def test_the_api_server_takes_what_render_prints_from_the_cluster(site: Site, how: list[str]) -> None:
    plane = plane_of(site)
    ran = call("render", "-n", site.namespace, kubeconfig=plane.admin_kubeconfig)
    assert (ran.returncode, ran.stderr) == (0, "")
    applied = plane.kubectl("apply", "--dry-run=server", *how, "-f", "-", input=ran.stdout).stdout
    assert [line.split()[0] for line in applied.splitlines()] == [
        f"networkpolicy.networking.k8s.io/{WEB}-allow",
        f"service/{WEB}",
        f"networkpolicy.networking.k8s.io/{WEB}-deny-all",
    ]


@pytest.mark.parametrize("how", APPLIES)
def test_the_api_server_takes_what_render_prints_from_a_file(site: Site, how: list[str]) -> None:
    plane = plane_of(site)
    service = plane.kubectl("-n", site.namespace, "get", "service", WEB, "-o", "json").stdout
    ran = call("render", "-f", "-", kubeconfig=plane.admin_kubeconfig, stdin=f"{service}\n---\n{manifest(site)}")
    assert (ran.returncode, ran.stderr) == (0, "")
    applied = plane.kubectl("apply", "--dry-run=server", *how, "-f", "-", input=ran.stdout).stdout
    assert len(applied.splitlines()) == 3


def test_a_plan_of_files_over_the_cluster_says_what_would_change(site: Site) -> None:
    plane = plane_of(site)
    ran = call("plan", "-f", "-", "--cluster", "-o", "json", kubeconfig=plane.admin_kubeconfig, stdin=manifest(site))
    found = planned(ran)
    assert [(one["change"], one["kind"], one["name"]) for one in found["changes"]] == [
        ("changed", "Service", WEB),
        ("created", "NetworkPolicy", f"{WEB}-allow"),
        ("created", "NetworkPolicy", f"{WEB}-deny-all"),
        ("created", "NodePortAccessPolicy", WEB),
    ]
    assert {one["change"] for one in found["access"]} == {"loses", "may lose"}
    (itself,) = [one["pods"] for one in found["access"] if one["change"] == "may lose"]
    assert itself == [f"{site.namespace}/web-0"], "what comes of a pod that calls itself, no object tells"
    assert ["node1", "node3"] in [one["nodes"] for one in found["access"]]
    assert site.cluster.list("NetworkPolicy", namespace=site.namespace) == [], "nothing is written"


@pytest.mark.usefixtures("policy")
def test_what_a_plan_foresees_is_what_the_operator_does(site: Site, start_operator: StartOperator) -> None:
    plane = plane_of(site)
    words = ("plan", "-n", site.namespace, "-o", "json")
    foreseen = planned(call(*words, kubeconfig=plane.admin_kubeconfig))
    operator = start_operator(plane)
    site.await_ready()
    for change in foreseen["changes"]:
        body = site.cluster.get(change["kind"], change["name"], namespace=site.namespace)
        wanted = change["after"]
        assert body["spec"] == wanted["spec"]
        assert wanted["metadata"]["labels"].items() <= body["metadata"]["labels"].items()
    left = planned(call(*words, kubeconfig=plane.admin_kubeconfig))
    assert (left["changes"], left["access"], left["policies"]) == ([], [], [])
    wider = call(
        *("plan", "-f", "-", "--cluster", "-o", "json"),
        kubeconfig=plane.admin_kubeconfig,
        stdin=manifest(site, cidr="0.0.0.0/0"),
    )
    assert {one["change"] for one in planned(wider)["access"] if one["by"] == "node port"} == {"gains"}
    site.cluster.delete("NodePortAccessPolicy", WEB, namespace=site.namespace)
    site.await_guard("Cluster", None)
    site.await_network_policies()
    operator.close()
    site.create_policy()  # which the fixture takes away


def test_mode_audit_puts_into_status_what_a_plan_foresees_of_the_same_policy(
    site: Site, start_operator: StartOperator
) -> None:
    plane = plane_of(site)
    operator = start_operator(plane)
    site.create_policy(mode="Audit")
    site.await_condition("Ready", "False AuditMode")
    written = {write["object"] for write in site.status()["plan"]}
    site.cluster.delete("NodePortAccessPolicy", WEB, namespace=site.namespace)
    ran = call("plan", "-f", "-", "--cluster", "-o", "json", kubeconfig=plane.admin_kubeconfig, stdin=manifest(site))
    operator.close()
    changes = planned(ran)["changes"]
    foreseen = {f"{one['kind']}/{one['name']}" for one in changes if one["kind"] != "NodePortAccessPolicy"}
    assert written == foreseen == {f"Service/{WEB}", f"NetworkPolicy/{WEB}-allow", f"NetworkPolicy/{WEB}-deny-all"}


@pytest.mark.usefixtures("policy")
def test_a_missing_permission_is_told_with_verb_and_resource(site: Site) -> None:
    plane = plane_of(site)
    rules = [
        {"apiGroups": ["", "networking.k8s.io", "discovery.k8s.io", "nodeport-access.io"], "verbs": ["list"]}
        | {"resources": ["services", "pods", "networkpolicies", "endpointslices", "nodeportaccesspolicies"]},
    ]
    role = {"metadata": {"name": "reader", "namespace": site.namespace}}
    api = "rbac.authorization.k8s.io"
    binding = {
        "apiVersion": f"{api}/v1",
        "kind": "RoleBinding",
        **role,
        "roleRef": {"apiGroup": api, "kind": "Role", "name": "reader"},
        "subjects": [{"apiGroup": api, "kind": "User", "name": "reader"}],
    }
    for body in ({"apiVersion": f"{api}/v1", "kind": "Role", **role, "rules": rules}, binding):
        plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    reader = plane.kubeconfig(user="reader")
    everywhere = call("plan", "-A", kubeconfig=reader)
    assert (everywhere.returncode, everywhere.stdout) == (2, "")
    here = call("plan", "-n", site.namespace, kubeconfig=reader)
    assert here.returncode == 2
    assert here.stderr.startswith("kubectl npap: you may not list n")
    assert "in the whole cluster (verb list): it is needed with -n too" in here.stderr
    assert here.stderr.count("\n") == 1


def test_a_namespace_that_is_not_there_and_a_context_that_is_unknown_are_told(site: Site) -> None:
    admin = plane_of(site).admin_kubeconfig
    missing = call("plan", "-n", "nowhere", kubeconfig=admin)
    assert (missing.returncode, missing.stderr) == (2, "kubectl npap: the cluster has no namespace nowhere.\n")
    unknown = call("plan", "--context", "nothing", kubeconfig=admin)
    assert unknown.returncode == 2
    assert "has no context 'nothing': choose one with --context" in unknown.stderr


@pytest.mark.usefixtures("policy")
def test_without_flags_kubectls_own_file_and_the_namespace_of_its_context_are_used(site: Site, tmp_path: Path) -> None:
    config = yaml.safe_load(plane_of(site).admin_kubeconfig.read_text(encoding="utf-8"))
    config["contexts"][0]["context"]["namespace"] = site.namespace
    (tmp_path / ".kube").mkdir()
    (tmp_path / ".kube" / "config").write_text(yaml.safe_dump(config), encoding="utf-8")
    ran = call("render", kubeconfig=None, home=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {body["metadata"]["namespace"] for body in yaml.safe_load_all(ran.stdout)} == {site.namespace}
