"""What is installed on a cluster: the folders crds/ and manifests/ as files, without an API server.

Not the business of this module: what an API server makes of them (tests/api).
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
NAMESPACE, NAME = "nodeport-access-system", "nodeport-access-operator"
Document = dict[str, Any]


def documents(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def installed() -> Iterator[Document]:
    """Every object that `kubectl apply -k manifests/` sends."""
    (kustomization,) = documents(MANIFESTS / "kustomization.yaml")
    for name in kustomization["resources"]:
        yield from documents(MANIFESTS / name)


def one(kind: str) -> Document:
    (found,) = (document for document in installed() if document["kind"] == kind)
    return found


def pod() -> Document:
    template: Document = one("Deployment")["spec"]["template"]
    return template


def container() -> Document:
    (only,) = pod()["spec"]["containers"]
    found: Document = only
    return found


def rules() -> list[Document]:
    found: list[Document] = one("ClusterRole")["rules"]
    return found


def test_crds_holds_one_file_with_one_definition_and_nothing_that_kubectl_apply_would_stumble_over() -> None:
    (file,) = (ROOT / "crds").iterdir()

    assert [document["kind"] for document in documents(file)] == ["CustomResourceDefinition"]


def test_the_kustomization_names_every_file_but_the_samples() -> None:
    (kustomization,) = documents(MANIFESTS / "kustomization.yaml")

    files = {file.name for file in MANIFESTS.glob("*.yaml")}

    assert set(kustomization["resources"]) == files - {"kustomization.yaml"}
    assert sorted(document["kind"] for document in installed()) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Namespace",
        "Service",
        "ServiceAccount",
    ]


def test_every_object_carries_the_name_label_and_the_namespaced_ones_the_namespace() -> None:
    for document in installed():
        metadata = document["metadata"]
        assert metadata["labels"]["app.kubernetes.io/name"] == NAME
        cluster_wide = document["kind"] in ("Namespace", "ClusterRole", "ClusterRoleBinding")
        assert metadata.get("namespace") == (None if cluster_wide else NAMESPACE), document["kind"]
    assert one("Namespace")["metadata"]["name"] == NAMESPACE


def test_the_deployment_and_the_metrics_service_select_the_pod() -> None:
    labels = pod()["metadata"]["labels"]

    assert one("Deployment")["spec"]["selector"]["matchLabels"].items() <= labels.items()
    assert one("Service")["spec"]["selector"].items() <= labels.items()


def test_ports_are_found_by_their_names() -> None:
    ports = {port["name"]: port["containerPort"] for port in container()["ports"]}

    assert ports == {"metrics": 8080, "health": 8081}
    assert one("Service")["spec"]["ports"] == [
        {"name": "metrics", "port": 8080, "targetPort": "metrics", "protocol": "TCP"}
    ]
    assert container()["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "health"}
    assert container()["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "health"}


def test_there_are_never_two_operators() -> None:
    spec = one("Deployment")["spec"]

    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})


def test_the_image_is_the_version_of_this_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert container()["image"] == f"{project['name']}:{project['version']}"
    assert container()["args"] == ["run"]


def test_the_namespace_asks_for_restricted_pods_in_every_way() -> None:
    labels = one("Namespace")["metadata"]["labels"]

    for way in ("enforce", "audit", "warn"):
        assert labels[f"pod-security.kubernetes.io/{way}"] == "restricted"
        assert labels[f"pod-security.kubernetes.io/{way}-version"] == "latest"


def test_the_container_can_do_next_to_nothing_on_its_node() -> None:
    assert pod()["spec"]["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod()["spec"].keys()


def test_memory_is_bounded_and_what_is_needed_is_reserved() -> None:
    resources = container()["resources"]

    assert resources["requests"].keys() == {"cpu", "memory"}
    assert resources["limits"].keys() == {"memory"}


def test_only_the_operators_own_pod_gets_the_token() -> None:
    assert one("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["spec"]["automountServiceAccountToken"] is True
    assert pod()["spec"]["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"] == NAME


def test_the_binding_gives_the_role_to_the_service_account_and_to_nobody_else() -> None:
    binding = one("ClusterRoleBinding")

    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]
    assert (binding["roleRef"]["kind"], binding["roleRef"]["name"]) == (
        "ClusterRole",
        one("ClusterRole")["metadata"]["name"],
    )


def test_the_role_has_no_wildcard_and_names_every_resource_once_for_each_purpose() -> None:
    named = [(group, resource) for rule in rules() for group in rule["apiGroups"] for resource in rule["resources"]]

    assert len(named) == len(set(named))
    for rule in rules():
        assert rule.keys() == {"apiGroups", "resources", "verbs"}
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]


@pytest.mark.parametrize(
    "resource", ["secrets", "configmaps", "customresourcedefinitions", "nodeportaccesspolicies/finalizers", "pods/exec"]
)
def test_the_role_leaves_alone_what_the_operator_has_no_business_with(resource: str) -> None:
    assert not any(resource in rule["resources"] for rule in rules())


def test_policies_are_only_read_and_services_are_never_made_or_removed() -> None:
    verbs = {resource: set(rule["verbs"]) for rule in rules() for resource in rule["resources"]}

    assert verbs["nodeportaccesspolicies"] == {"get", "list", "watch"}
    assert verbs["nodeportaccesspolicies/status"] == {"patch"}
    assert not {"create", "update", "delete", "deletecollection"} & verbs["services"]


def test_events_are_only_made_and_only_in_the_group_that_the_operator_posts_to() -> None:
    about_events = [rule for rule in rules() if "events" in rule["resources"]]

    assert about_events == [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}]


def test_samples_are_policies_that_name_their_namespace() -> None:
    samples = [document for file in (MANIFESTS / "samples").glob("*.yaml") for document in documents(file)]

    assert len(samples) >= 2
    for sample in samples:
        assert (sample["apiVersion"], sample["kind"]) == ("nodeport-access.io/v1alpha1", "NodePortAccessPolicy")
        assert sample["metadata"].keys() == {"name", "namespace"}
