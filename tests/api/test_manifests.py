"""What a real API server makes of manifests/: it can be applied again and again, its pod is admitted under Pod Security
`restricted`, its ServiceAccount may do what the operator does and nothing else, and the samples are valid.

Not the business of this module: the files by themselves (tests/unit/test_manifests.py), and the CRD (`test_crd`).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from testbed.api_client import APPLY
from testbed.control_plane import ControlPlane
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from tests.api.permissions import Permission, may

MANIFESTS = Path(__file__).resolve().parents[2] / "manifests"
SAMPLES = sorted((MANIFESTS / "samples").glob("*.yaml"))
VERBS = ("get", "list", "watch", "create", "update", "patch", "delete", "deletecollection")
RESOURCES = (
    "/configmaps",
    "/events",
    "/namespaces",
    "/nodes",
    "/pods",
    "/secrets",
    "/serviceaccounts",
    "/services",
    "/services/status",
    "apiextensions.k8s.io/customresourcedefinitions",
    "apps/deployments",
    "coordination.k8s.io/leases",
    "discovery.k8s.io/endpointslices",
    "events.k8s.io/events",
    "networking.k8s.io/ingresses",
    "networking.k8s.io/networkpolicies",
    "nodeport-access.io/nodeportaccesspolicies",
    "nodeport-access.io/nodeportaccesspolicies/finalizers",
    "nodeport-access.io/nodeportaccesspolicies/status",
    "rbac.authorization.k8s.io/clusterroles",
)
ALLOWED = {
    "/nodes": {"list", "watch"},
    "/pods": {"list", "watch"},
    "/services": {"list", "watch", "patch"},
    "discovery.k8s.io/endpointslices": {"list", "watch"},
    "events.k8s.io/events": {"create"},
    "networking.k8s.io/networkpolicies": {"list", "watch", "create", "patch", "delete"},
    "nodeport-access.io/nodeportaccesspolicies": {"get", "list", "watch"},
    "nodeport-access.io/nodeportaccesspolicies/status": {"patch"},
}


def deployment() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((MANIFESTS / "base" / "deployment.yaml").read_text(encoding="utf-8"))
    return loaded


def as_operator(control_plane: ControlPlane, method: str, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    kubeconfig = control_plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
    return control_plane.request(method, path, body, content_type=APPLY, kubeconfig=kubeconfig)


def test_it_can_be_applied_again_and_again(control_plane: ControlPlane) -> None:
    control_plane.kubectl("apply", "-k", MANIFESTS)

    again = control_plane.kubectl("apply", "-k", MANIFESTS).stdout.splitlines()
    assert len(again) == 7
    assert [line for line in again if not line.endswith(" unchanged")] == []

    difference = control_plane.kubectl("diff", "-k", MANIFESTS, check=False)
    assert (difference.returncode, difference.stdout) == (0, "")


def test_the_api_server_takes_it_without_a_warning(control_plane: ControlPlane) -> None:
    dry = control_plane.kubectl("apply", "-k", MANIFESTS, "--dry-run=server")

    assert dry.stderr == ""
    assert [line for line in dry.stdout.splitlines() if not line.endswith(" unchanged (server dry run)")] == []


def test_a_second_replica_can_be_added_and_taken_away_again(own_control_plane: ControlPlane) -> None:
    overlay = MANIFESTS / "overlays" / "high-availability"
    for _ in range(2):
        added = own_control_plane.kubectl("apply", "-k", overlay, "--validate=strict")
        assert added.stderr == ""
        assert len(added.stdout.splitlines()) == 10
        again = own_control_plane.kubectl("diff", "-k", overlay, check=False)
        assert (again.returncode, again.stdout) == (0, "")

        assert own_control_plane.kubectl("apply", "-k", MANIFESTS).stderr == ""
        deployment = own_control_plane.kubectl("-n", NAMESPACE, "get", "deployment", "-o", "json")
        (spec,) = (one["spec"] for one in json.loads(deployment.stdout)["items"])
        assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
        assert "topologySpreadConstraints" not in spec["template"]["spec"]

    kubeconfig = own_control_plane.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)

    def may_do(*words: str) -> bool:
        asked = own_control_plane.kubectl("auth", "can-i", *words, kubeconfig=kubeconfig, check=False)
        return asked.stdout == "yes\n"

    name = "leases.coordination.k8s.io/nodeport-access-operator"
    assert all(may_do(verb, name, "-n", NAMESPACE) for verb in ("get", "update", "create"))
    assert not any(may_do(verb, name, "-n", NAMESPACE) for verb in ("list", "watch", "patch", "delete"))
    assert not any(may_do(verb, "leases.coordination.k8s.io/other", "-n", NAMESPACE) for verb in ("get", "update"))
    assert not any(may_do(verb, name, "-n", "kube-node-lease") for verb in ("get", "update", "create"))


def test_the_pods_of_two_replicas_are_admitted_under_pod_security_restricted(control_plane: ControlPlane) -> None:
    overlay = control_plane.kubectl("kustomize", MANIFESTS / "overlays" / "high-availability").stdout
    (template,) = (one["spec"]["template"] for one in yaml.safe_load_all(overlay) if one["kind"] == "Deployment")
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "probe", **template["metadata"]}}

    code, answer = control_plane.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", pod)
    assert code == 201, answer["message"]


def test_its_pod_is_admitted_under_pod_security_restricted(control_plane: ControlPlane) -> None:
    template = deployment()["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "probe", **template["metadata"]}}
    pods = f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All"

    code, answer = control_plane.request("POST", pods, pod)
    assert code == 201, answer["message"]

    loose = json.loads(json.dumps(pod))
    del loose["spec"]["containers"][0]["securityContext"]["capabilities"]
    code, answer = control_plane.request("POST", pods, loose)
    assert code == 403
    assert 'violates PodSecurity "restricted:latest": unrestricted capabilities' in answer["message"]


def test_the_service_account_may_do_what_the_operator_does_and_nothing_else(control_plane: ControlPlane) -> None:
    found: dict[str, set[str]] = {}
    for verb, resource in itertools.product(VERBS, RESOURCES):
        group, _, name = resource.partition("/")
        if may(control_plane, Permission(group, name, verb)):
            found.setdefault(resource, set()).add(verb)

    assert found == ALLOWED


def test_applying_a_network_policy_that_is_not_there_takes_create_and_patch(
    control_plane: ControlPlane, namespace: str
) -> None:
    body = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "probe", "namespace": namespace},
        "spec": {"podSelector": {}, "ingress": [], "policyTypes": ["Ingress"]},
    }
    path = f"/apis/networking.k8s.io/v1/namespaces/{namespace}/networkpolicies/probe?fieldManager=probe"

    assert as_operator(control_plane, "PATCH", path, body)[0] == 201


def test_an_apply_for_a_service_that_is_gone_is_a_conflict_and_not_a_missing_permission(
    control_plane: ControlPlane, namespace: str
) -> None:
    metadata = {"name": "gone", "namespace": namespace, "uid": "6f5e4d3c-0000-4000-8000-000000000000"}
    body = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"externalTrafficPolicy": "Local"},
    }
    path = f"/api/v1/namespaces/{namespace}/services/gone?fieldManager=probe&force=true"

    code, answer = as_operator(control_plane, "PATCH", path, body)
    assert (code, answer["reason"]) == (409, "Conflict")
    assert "no existing object was found" in answer["message"]

    assert control_plane.request("GET", path.partition("?")[0])[0] == 404


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda file: file.stem)
def test_samples_are_valid(control_plane: ControlPlane, namespace: str, sample: Path) -> None:
    body = yaml.safe_load(sample.read_text(encoding="utf-8"))
    body["metadata"]["namespace"] = namespace

    control_plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body))
