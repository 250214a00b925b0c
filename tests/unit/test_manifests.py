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

from nodeport_access.api import POLICY_LABEL
from nodeport_access.lease import NAME as LEASE
from testbed.kubectl import kustomize
from tests.pages import blocks

ROOT = Path(__file__).resolve().parents[2]
MANIFESTS = ROOT / "manifests"
BASE = MANIFESTS / "base"
NAMESPACE, NAME = "nodeport-access-system", "nodeport-access-operator"
Document = dict[str, Any]


def documents(file: Path) -> list[Document]:
    return list(yaml.safe_load_all(file.read_text(encoding="utf-8")))


def installed() -> Iterator[Document]:
    """Every object that `kubectl apply -k manifests/` sends."""
    (kustomization,) = documents(BASE / "kustomization.yaml")
    for name in kustomization["resources"]:
        yield from documents(BASE / name)


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


def test_what_is_applied_is_every_file_of_the_base() -> None:
    (applied,) = documents(MANIFESTS / "kustomization.yaml")
    (kustomization,) = documents(BASE / "kustomization.yaml")

    files = {file.name for file in BASE.glob("*.yaml")}

    assert applied["resources"] == ["base"]

    assert set(kustomization["resources"]) == files - {"kustomization.yaml"}
    assert sorted(document["kind"] for document in installed()) == [
        "ClusterRole",
        "ClusterRoleBinding",
        "Deployment",
        "Namespace",
        "NetworkPolicy",
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


def test_only_metrics_can_be_called_and_only_by_pods() -> None:
    spec = one("NetworkPolicy")["spec"]

    assert spec["podSelector"] == one("Deployment")["spec"]["selector"]
    assert (spec["policyTypes"], spec["ingress"]) == (
        ["Ingress"],
        [{"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": "metrics"}]}],
    )


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


NAMESPACED = MANIFESTS / "components" / "namespaced"
OVERLAY = MANIFESTS / "overlays" / "namespaced"


def test_the_role_of_a_namespace_gives_what_the_cluster_role_gives_but_for_nodes() -> None:
    role, binding = documents(NAMESPACED / "role" / "role.yaml")

    def permissions(rules: list[Document]) -> set[tuple[str, str, str]]:
        return {
            (group, resource, verb)
            for rule in rules
            for group in rule["apiGroups"]
            for resource in rule["resources"]
            for verb in rule["verbs"]
        }

    nodes = {("", "nodes", verb) for verb in ("list", "watch")}
    assert permissions(role["rules"]) == permissions(rules()) - nodes
    assert (role["kind"], role["metadata"]["name"]) == ("Role", NAME)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME}
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE}]


def test_the_overlay_for_some_namespaces_has_a_role_for_each_that_it_serves_and_nothing_in_the_whole_cluster() -> None:
    made = list(yaml.safe_load_all(kustomize(OVERLAY)))
    (deployment,) = (one for one in made if one["kind"] == "Deployment")
    command, *flags = deployment["spec"]["template"]["spec"]["containers"][0]["args"]
    folders = sorted(folder.name for folder in OVERLAY.iterdir() if folder.is_dir())

    assert (command, flags) == ("run", [f"--namespace={name}" for name in folders])
    for kind in ("Role", "RoleBinding"):
        assert sorted(one["metadata"]["namespace"] for one in made if one["kind"] == kind) == folders
    assert sorted({one["kind"] for one in made} - {"Role", "RoleBinding"}) == sorted(
        {one["kind"] for one in installed()} - {"ClusterRole", "ClusterRoleBinding"}
    )


def test_policies_are_only_read_and_services_are_never_made_or_removed() -> None:
    verbs = {resource: set(rule["verbs"]) for rule in rules() for resource in rule["resources"]}

    assert verbs["nodeportaccesspolicies"] == {"get", "list", "watch"}
    assert verbs["nodeportaccesspolicies/status"] == {"patch"}
    assert not {"create", "update", "delete", "deletecollection"} & verbs["services"]


def test_events_are_only_made_and_only_in_the_group_that_the_operator_posts_to() -> None:
    about_events = [rule for rule in rules() if "events" in rule["resources"]]

    assert about_events == [{"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]}]


def lock_down() -> list[Document]:
    folder = MANIFESTS / "components" / "lock-down"
    (kustomization,) = documents(folder / "kustomization.yaml")
    assert kustomization["kind"] == "Component"
    assert set(kustomization["resources"]) == {file.name for file in folder.iterdir()} - {"kustomization.yaml"}
    return [document for name in kustomization["resources"] for document in documents(folder / name)]


def test_the_lock_down_trusts_the_operators_own_service_account_and_each_half_asks_the_same_parameters() -> None:
    (parameters,) = (document for document in lock_down() if document["kind"] == "ConfigMap")
    bindings = [document for document in lock_down() if document["kind"] == "ValidatingAdmissionPolicyBinding"]
    policies = [document for document in lock_down() if document["kind"] == "ValidatingAdmissionPolicy"]

    assert parameters["data"]["operators"].splitlines() == [f"system:serviceaccount:{NAMESPACE}:{NAME}"]
    assert parameters["metadata"]["namespace"] == NAMESPACE
    for binding in bindings:
        reference = binding["spec"]["paramRef"]
        assert reference.pop("parameterNotFoundAction") == "Allow"
        assert reference == {key: parameters["metadata"][key] for key in ("name", "namespace")}
        assert binding["spec"]["validationActions"] == ["Deny", "Audit"]
    assert [one["spec"]["policyName"] for one in bindings] == [one["metadata"]["name"] for one in policies]


def test_the_lock_down_looks_at_nothing_but_what_has_the_operators_label() -> None:
    for policy in (document for document in lock_down() if document["kind"] == "ValidatingAdmissionPolicy"):
        assert policy["spec"]["matchConstraints"]["objectSelector"] == {
            "matchExpressions": [{"key": POLICY_LABEL, "operator": "Exists"}]
        }


# --- two replicas, of which one leads


def built(folder: Path) -> dict[str, Document]:
    """What `kubectl apply -k` sends of a folder, by kind."""
    documents = list(yaml.safe_load_all(kustomize(folder)))
    found = {document["kind"]: document for document in documents}
    assert len(found) == len(documents)
    return found


@pytest.fixture(scope="module")
def high_availability() -> dict[str, Document]:
    return built(MANIFESTS / "overlays" / "high-availability")


def test_two_replicas_are_the_base_and_what_the_lease_needs(high_availability: dict[str, Document]) -> None:
    base = built(MANIFESTS)

    assert high_availability.keys() - base.keys() == {"Role", "RoleBinding", "PodDisruptionBudget"}
    assert {kind for kind in base if base[kind] != high_availability[kind]} == {"Deployment"}
    for document in high_availability.values():
        assert document["metadata"]["labels"]["app.kubernetes.io/name"] == NAME


def test_two_replicas_elect_their_leader_and_differ_in_nothing_else(high_availability: dict[str, Document]) -> None:
    ours, bases = (documents["Deployment"]["spec"] for documents in (high_availability, built(MANIFESTS)))
    (container,) = ours["template"]["spec"]["containers"]
    (spread,) = ours["template"]["spec"]["topologySpreadConstraints"]

    assert (ours["replicas"], container["args"]) == (2, ["run", "--leader-elect"])
    # Never fewer than before an update: the new one stands by before an old one ends.
    assert ours["strategy"] == {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}
    assert (spread["topologyKey"], spread["whenUnsatisfiable"]) == ("kubernetes.io/hostname", "ScheduleAnyway")
    assert spread["labelSelector"] == ours["selector"]

    container["args"] = ["run"]
    del ours["template"]["spec"]["topologySpreadConstraints"]
    assert ours["template"] == bases["template"]


def test_the_role_for_the_lease_names_it_where_a_request_does(high_availability: dict[str, Document]) -> None:
    one_lease, any_lease = high_availability["Role"]["rules"]

    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert one_lease == {**lease, "resourceNames": [LEASE], "verbs": ["get", "update"]}
    assert any_lease == {**lease, "verbs": ["create"]}
    for kind in ("Role", "RoleBinding", "PodDisruptionBudget"):
        assert high_availability[kind]["metadata"]["namespace"] == NAMESPACE
    assert high_availability["RoleBinding"]["subjects"] == one("ClusterRoleBinding")["subjects"]
    assert high_availability["RoleBinding"]["roleRef"]["name"] == high_availability["Role"]["metadata"]["name"]


def test_a_drain_takes_one_of_two_replicas_at_a_time(high_availability: dict[str, Document]) -> None:
    budget = high_availability["PodDisruptionBudget"]["spec"]

    assert budget["selector"] == high_availability["Deployment"]["spec"]["selector"]
    assert (budget["maxUnavailable"], budget["unhealthyPodEvictionPolicy"]) == (1, "AlwaysAllow")


def test_the_overlay_on_the_page_has_what_each_component_brings(tmp_path: Path) -> None:
    (block,) = (one for one in blocks(ROOT / "docs" / "install.md", "yaml") if "kind: Kustomization" in one.text)
    (tmp_path / "manifests").symlink_to(MANIFESTS)
    (tmp_path / "kustomization.yaml").write_text(block.text, encoding="utf-8")

    made = list(yaml.safe_load_all(kustomize(tmp_path)))

    alone = [MANIFESTS / "overlays" / name for name in ("high-availability", "monitoring", "lock-down")]
    brought = {key(one) for folder in alone for one in yaml.safe_load_all(kustomize(folder))}
    assert {key(one) for one in made} == brought
    (spec,) = (one["spec"] for one in made if one["kind"] == "Deployment")
    (container,) = spec["template"]["spec"]["containers"]
    assert spec["replicas"] == 2
    assert container["image"].startswith("registry.example/nodeport-access-operator:")


def key(document: Document) -> tuple[str, str]:
    return document["kind"], document["metadata"]["name"]


def test_samples_are_policies_that_name_their_namespace() -> None:
    samples = [document for file in (MANIFESTS / "samples").glob("*.yaml") for document in documents(file)]

    assert len(samples) >= 2
    for sample in samples:
        assert (sample["apiVersion"], sample["kind"]) == ("nodeport-access.io/v1alpha1", "NodePortAccessPolicy")
        assert sample["metadata"].keys() == {"name", "namespace"}
