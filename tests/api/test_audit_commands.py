"""`audit` and `explain` against a real API server, as somebody who may read and nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, clean_environment
from tests.api.access import WEB, Site, a_site
from tests.api.conftest import StartOperator

API = "rbac.authorization.k8s.io"
READS = [
    ("", ["namespaces", "nodes", "services", "pods"]),
    ("discovery.k8s.io", ["endpointslices"]),
    ("networking.k8s.io", ["networkpolicies"]),
    ("nodeport-access.io", ["nodeportaccesspolicies"]),
]


@pytest.fixture(scope="module")
def site(quiet_control_plane: ControlPlane) -> Iterator[Site]:
    """A Service and its pod on a control plane without an operator."""
    site = a_site(quiet_control_plane, "audited")
    site.create_service()
    site.create_pod()
    site.cluster.wait_for_endpoints(WEB, namespace=site.namespace, ready=["10.233.96.32"])
    yield site
    site.cluster.vacate_namespace(site.namespace)


@pytest.fixture(scope="module")
def auditor(site: Site) -> Path:
    """The kubeconfig of a user who may list what bears on access."""
    plane = site.cluster.control_plane
    rules = [{"apiGroups": [group], "resources": resources, "verbs": ["list"]} for group, resources in READS]
    binding = {
        "roleRef": {"apiGroup": API, "kind": "ClusterRole", "name": "auditor"},
        "subjects": [{"apiGroup": API, "kind": "User", "name": "auditor"}],
    }
    for kind, more in (("ClusterRole", {"rules": rules}), ("ClusterRoleBinding", binding)):
        body = {"apiVersion": f"{API}/v1", "kind": kind, "metadata": {"name": "auditor"}, **more}
        plane.kubectl("apply", "-f", "-", input=json.dumps(body))
    return plane.kubeconfig(user="auditor")


def call(kubeconfig: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [Path(sys.executable).with_name("nodeport-access"), *words],
        env={**clean_environment(os.environ), "HOME": "/nonexistent", "KUBECONFIG": str(kubeconfig)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def audited(kubeconfig: Path, site: Site) -> dict[str, Any]:
    """What an audit of the namespace says of the Service."""
    ran = call(kubeconfig, "audit", "-n", site.namespace, "-o", "json")
    assert (ran.returncode, ran.stderr) == (0, "")
    (service,) = json.loads(ran.stdout)["services"]
    return dict(service)


def test_a_service_without_policy_is_open_and_then_guarded(
    site: Site, auditor: Path, start_operator: StartOperator
) -> None:
    before = audited(auditor, site)
    assert (before["name"], before["openness"], before["guard"]) == (WEB, "open", None)
    assert call(auditor, "audit", "-A", "--fail-on", "open").returncode == 1
    operator = start_operator(site.cluster.control_plane)
    site.create_policy()
    site.await_ready()
    after = audited(auditor, site)
    assert (after["openness"], after["externalTrafficPolicy"]) == ("listed", "Local")
    assert (after["guard"]["policy"], after["guard"]["ready"]) == (WEB, True)
    assert [port["surely"] for port in after["ports"]] == [["10.2.3.4/32", "203.0.113.0/24"]]
    asked = ("explain", f"{site.namespace}/{WEB}", "--from")
    allowed = call(auditor, *asked, "10.2.3.4", "--expect", "through")
    assert (allowed.returncode, allowed.stderr) == (0, "")
    assert f"of NetworkPolicy {WEB}-allow admits: ipBlock 10.2.3.4/32 holds 10.2.3.4." in allowed.stdout
    stranger = call(auditor, *asked, "198.51.100.7", "--expect", "refused")
    assert (stranger.returncode, stranger.stderr) == (0, "")
    operator.close()


def test_a_page_and_sarif_are_made_of_a_cluster(site: Site, auditor: Path) -> None:
    page = call(auditor, "audit", "-n", site.namespace, "-o", "html")
    assert (page.returncode, page.stderr) == (0, "")
    assert f"{site.namespace}/{WEB}" in page.stdout
    log = json.loads(call(auditor, "audit", "-n", site.namespace, "-o", "sarif").stdout)
    for result in log["runs"][0]["results"]:
        (location,) = result["locations"]
        assert list(location) == ["logicalLocations"], "no file holds an object of a cluster"
