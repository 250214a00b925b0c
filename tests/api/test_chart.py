"""The Helm chart by itself: it is sound, makes the same objects as kustomize, and refuses values that mean nothing.

Not the business of this module: what an API server makes of it (`test_install`, `test_helm_release`).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from nodeport_access import __version__
from testbed.helm import Helm
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from tests.api.variants import CHART, CRD, RELEASE, VARIANTS, Key, Object, Variant, by_key, objects

DEFINITION = Key("CustomResourceDefinition", "", CRD)
OWN_NAMESPACE = Key("Namespace", "", NAMESPACE)
DEPLOYMENT = Key("Deployment", NAMESPACE, "nodeport-access-operator")
NETWORK_POLICY = Key("NetworkPolicy", NAMESPACE, "nodeport-access-operator")

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)


def rendered(helm: Helm, **values: Any) -> dict[Key, Object]:
    return by_key(objects(helm(*command(values)).stdout))


def command(values: dict[str, Any]) -> list[Any]:
    settings = [word for name, value in values.items() for word in ("--set-json", f"{name}={json.dumps(value)}")]
    return ["template", RELEASE, CHART, "--namespace", NAMESPACE, *settings]


def container(found: dict[Key, Object]) -> dict[str, Any]:
    (only,) = found[DEPLOYMENT]["spec"]["template"]["spec"]["containers"]
    loaded: dict[str, Any] = only
    return loaded


def test_every_way_to_install_it_by_kustomize_has_its_values() -> None:
    assert [variant.name for variant in VARIANTS if not variant.values.exists()] == []


@pytest.mark.parametrize("values", sorted((CHART / "ci").iterdir()), ids=lambda file: file.name)
def test_helm_finds_nothing_wrong_with_it(values: Path, helm: Helm) -> None:
    linted = helm("lint", "--strict", CHART, "--namespace", NAMESPACE, "--values", values, check=False)

    assert (linted.returncode, "[WARNING]" in linted.stdout) == (0, False), linted.stdout + linted.stderr


@each_variant
def test_helm_and_kustomize_make_the_same_objects(variant: Variant, helm: Helm) -> None:
    by_kustomize, by_helm = variant.kustomized(), variant.templated(helm)

    # Helm makes the namespace of a release itself, before anything else, if it is asked to: it is in no chart.
    del by_kustomize[OWN_NAMESPACE]
    # By this mark the CRD stays when the release goes.
    assert by_helm[DEFINITION]["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}

    assert sorted(by_helm) == sorted(by_kustomize)
    for key, wanted in by_kustomize.items():
        assert by_helm[key] == wanted, key


# --- what values do, that no overlay has ------------------------------------------------------------------------------


def test_without_the_crd_the_rest_is_the_same(helm: Helm) -> None:
    whole, rest = rendered(helm), rendered(helm, crds={"install": False})

    assert whole.keys() - rest.keys() == {DEFINITION}
    assert rest == {key: body for key, body in whole.items() if key != DEFINITION}


@pytest.mark.parametrize(
    ("image", "reference"),
    [
        ({"repository": "registry.example:5000/team/operator"}, f"registry.example:5000/team/operator:{__version__}"),
        ({"tag": "1.2.3-rc.1"}, "nodeport-access-operator:1.2.3-rc.1"),
        ({"tag": "1.2.3", "digest": f"sha256:{'0f' * 32}"}, f"nodeport-access-operator@sha256:{'0f' * 32}"),
    ],
    ids=["repository", "tag", "digest"],
)
def test_the_image_is_the_one_that_is_named(image: dict[str, str], reference: str, helm: Helm) -> None:
    assert container(rendered(helm, image=image))["image"] == reference


def test_a_pod_is_what_the_values_make_of_it(helm: Helm) -> None:
    values: dict[str, Any] = {
        "nodeSelector": {"pool": "system"},
        "tolerations": [{"key": "system", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {}},
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
        ],
        "priorityClassName": "system-cluster-critical",
    }
    found = rendered(
        helm,
        **values,
        image={"pullPolicy": "Always", "pullSecrets": [{"name": "registry"}]},
        podAnnotations={"a": "b"},
        podLabels={"team": "edge"},
        logFormat="plain",
        logLevel="debug",
        resources={"limits": {"memory": "1Gi"}},
    )

    template = found[DEPLOYMENT]["spec"]["template"]
    selector = {"kubernetes.io/os": "linux"}
    assert {name: template["spec"][name] for name in values} == {
        **values,
        "nodeSelector": {**selector, "pool": "system"},
    }
    assert template["spec"]["imagePullSecrets"] == [{"name": "registry"}]
    assert template["metadata"]["annotations"] == {"a": "b"}
    assert template["metadata"]["labels"] == {"app.kubernetes.io/name": "nodeport-access-operator", "team": "edge"}
    assert container(found)["imagePullPolicy"] == "Always"
    assert container(found)["args"] == ["run", "--log-format=plain", "--log-level=debug"]
    assert container(found)["resources"] == {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}}


def test_permissions_go_to_the_service_account_that_is_named(helm: Helm) -> None:
    found = rendered(helm, serviceAccount={"create": False, "name": "mine"})

    assert not [key for key in found if key.kind == "ServiceAccount"]
    assert found[DEPLOYMENT]["spec"]["template"]["spec"]["serviceAccountName"] == "mine"
    assert found[Key("ClusterRoleBinding", "", "nodeport-access-operator")]["subjects"] == [
        {"kind": "ServiceAccount", "name": "mine", "namespace": NAMESPACE}
    ]


def test_names_that_look_like_numbers_stay_names(helm: Helm) -> None:
    values: dict[str, Any] = {
        "watchNamespaces": ["0x10"],
        "serviceAccount": {"name": "123"},
        "priorityClassName": "1e3",
    }
    words = ["456" if word == NAMESPACE else word for word in command(values)]

    found = by_key(objects(helm(*words).stdout))

    spec = found[Key("Deployment", "456", "nodeport-access-operator")]["spec"]["template"]["spec"]
    assert (spec["serviceAccountName"], spec["priorityClassName"]) == ("123", "1e3")
    assert found[Key("RoleBinding", "0x10", "nodeport-access-operator")]["subjects"] == [
        {"kind": "ServiceAccount", "name": "123", "namespace": "456"}
    ]


def test_permissions_can_be_somebody_elses_business(helm: Helm) -> None:
    whole, rest = rendered(helm), rendered(helm, rbac={"create": False})

    assert {key.kind for key in whole.keys() - rest.keys()} == {"ClusterRole", "ClusterRoleBinding"}


def test_annotations_of_the_service_account_are_its_own(helm: Helm) -> None:
    found = rendered(helm, serviceAccount={"annotations": {"eks.amazonaws.com/role-arn": "arn"}})

    account = found[Key("ServiceAccount", NAMESPACE, SERVICE_ACCOUNT)]
    assert account["metadata"]["annotations"] == {"eks.amazonaws.com/role-arn": "arn"}


def test_the_network_policy_lets_in_and_out_what_it_is_told(helm: Helm) -> None:
    peer = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    egress = [{"to": [{"ipBlock": {"cidr": "192.0.2.10/32"}}], "ports": [{"protocol": "TCP", "port": 6443}]}]

    spec = rendered(helm, networkPolicy={"metricsFrom": [peer], "egress": egress})[NETWORK_POLICY]["spec"]

    assert [rule["from"] for rule in spec["ingress"]] == [[peer]]
    assert (spec["policyTypes"], spec["egress"]) == (["Ingress", "Egress"], egress)


def test_a_network_policy_without_peers_lets_nobody_in(helm: Helm) -> None:
    spec = rendered(helm, networkPolicy={"metricsFrom": []})[NETWORK_POLICY]["spec"]

    assert (spec["policyTypes"], spec["ingress"]) == (["Ingress"], [])


def test_there_need_not_be_a_network_policy(helm: Helm) -> None:
    assert NETWORK_POLICY not in rendered(helm, networkPolicy={"enabled": False})


def test_the_lock_down_is_of_this_release_and_as_strict_as_it_is_told(helm: Helm) -> None:
    lock_down = {"enabled": True, "validationActions": ["Warn", "Audit"], "collectors": [], "controllers": ["a", "b"]}
    found = rendered(helm, lockDown=lock_down, serviceAccount={"name": "mine"})

    parameters = found[Key("ConfigMap", NAMESPACE, "nodeport-access-lock-down")]["data"]
    assert parameters == {
        "operators": f"system:serviceaccount:{NAMESPACE}:mine\n",
        "collectors": "",
        "controllers": "a\nb\n",
        "breakGlassGroup": "nodeport-access:break-glass",
    }
    bindings = [body["spec"] for key, body in found.items() if key.kind == "ValidatingAdmissionPolicyBinding"]
    assert [(spec["validationActions"], spec["paramRef"]["namespace"]) for spec in bindings] == [
        (["Warn", "Audit"], NAMESPACE),
        (["Warn", "Audit"], NAMESPACE),
    ]


def test_what_prometheus_and_grafana_pick_up_is_labelled_as_they_want_it(helm: Helm) -> None:
    monitoring = {
        "serviceMonitor": {"enabled": True, "labels": {"release": "mine"}, "interval": "5s"},
        "prometheusRule": {"enabled": True, "labels": {"role": "alerts"}, "docsURL": "https://git.example/x/docs/"},
        "dashboard": {"enabled": True, "labels": {"folder": "edge"}},
    }
    found = rendered(helm, monitoring=monitoring)

    ours = {"app.kubernetes.io/name": "nodeport-access-operator"}
    monitor = found[Key("ServiceMonitor", NAMESPACE, "nodeport-access-operator")]
    rule = found[Key("PrometheusRule", NAMESPACE, "nodeport-access-operator")]
    dashboard = found[Key("ConfigMap", NAMESPACE, "nodeport-access-dashboard")]
    assert monitor["metadata"]["labels"] == {**ours, "release": "mine"}
    assert [endpoint["interval"] for endpoint in monitor["spec"]["endpoints"]] == ["5s"]
    assert rule["metadata"]["labels"] == {**ours, "role": "alerts"}
    links = [
        each["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for each in group["rules"]
        if "alert" in each
    ]
    assert links
    assert [link for link in links if not link.startswith("https://git.example/x/docs/runbooks/")] == []
    assert dashboard["metadata"]["labels"] == {**ours, "grafana_dashboard": "1", "folder": "edge"}


def test_replicas_may_watch_the_namespace_that_they_run_in(helm: Helm) -> None:
    found = rendered(helm, replicas=2, watchNamespaces=[NAMESPACE])

    roles = [found[Key("Role", NAMESPACE, f"nodeport-access-operator{part}")] for part in ("", "-lease")]
    groups = [{group for rule in role["rules"] for group in rule["apiGroups"]} for role in roles]
    assert "nodeport-access.io" in groups[0]
    assert groups[1] == {"coordination.k8s.io"}
    assert not [key for key in found if key.kind.startswith("Cluster")]


def test_it_can_be_part_of_another_chart(helm: Helm, tmp_path: Path) -> None:
    parent = tmp_path / "parent"
    (parent / "charts").mkdir(parents=True)
    (parent / "charts" / CHART.name).symlink_to(CHART)
    (parent / "Chart.yaml").write_text("{apiVersion: v2, name: parent, version: 1.0.0}")
    (parent / "values.yaml").write_text("global: {registry: registry.example}")

    found = by_key(objects(helm("template", RELEASE, parent, "--namespace", NAMESPACE).stdout))

    assert found == rendered(helm)


# --- what is refused --------------------------------------------------------------------------------------------------

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"replica": 2}, "additional properties 'replica' not allowed"),
    ({"image": {"registry": "x"}}, "at '/image': additional properties 'registry' not allowed"),
    (
        {"image": {"repository": "Registry.example/x"}},
        "at '/image/repository': 'Registry.example/x' does not match pattern",
    ),
    ({"image": {"repository": "operator:1.0"}}, "at '/image/repository': 'operator:1.0' does not match pattern"),
    ({"image": {"tag": "a b"}}, "at '/image/tag': 'a b' does not match pattern"),
    ({"image": {"tag": 1.25}}, "at '/image/tag': got number, want string"),
    ({"image": {"digest": "0f0f"}}, "at '/image/digest': '0f0f' does not match pattern"),
    (
        {"image": {"pullPolicy": "Sometimes"}},
        "at '/image/pullPolicy': value must be one of '', 'Always', 'IfNotPresent', 'Never'",
    ),
    ({"image": {"pullSecrets": ["registry"]}}, "at '/image/pullSecrets/0': got string, want object"),
    ({"replicas": "2"}, "at '/replicas': got string, want integer"),
    ({"replicas": -1}, "at '/replicas': minimum: got -1, want 0"),
    ({"replicas": 6}, "at '/replicas': maximum: got 6, want 5"),
    ({"watchNamespaces": "web"}, "at '/watchNamespaces': got string, want array"),
    ({"watchNamespaces": ["Web"]}, "at '/watchNamespaces/0': 'Web' does not match pattern"),
    ({"watchNamespaces": ["web", "web"]}, "at '/watchNamespaces': items at 0 and 1 are equal"),
    ({"logFormat": "yaml"}, "at '/logFormat': value must be one of '', 'json', 'plain'"),
    ({"logLevel": "trace"}, "at '/logLevel': value must be one of '', 'debug', 'info', 'warning', 'error'"),
    ({"crds": {"install": "yes"}}, "at '/crds/install': got string, want boolean"),
    ({"crds": {"keep": False}}, "at '/crds': additional properties 'keep' not allowed"),
    ({"serviceAccount": {"name": "My Account"}}, "at '/serviceAccount/name': 'My Account' does not match pattern"),
    ({"serviceAccount": {"annotations": {"a": True}}}, "at '/serviceAccount/annotations/a': got boolean, want string"),
    ({"serviceAccount": {"create": False}}, "Name the ServiceAccount, or set rbac.create to false"),
    ({"rbac": {"create": 1}}, "at '/rbac/create': got number, want boolean"),
    ({"networkPolicy": {"metricsFrom": [{}]}}, "at '/networkPolicy/metricsFrom/0': minProperties: got 0, want 1"),
    (
        {"networkPolicy": {"metricsFrom": [{"namespace": "x"}]}},
        "at '/networkPolicy/metricsFrom/0': additional properties 'namespace' not allowed",
    ),
    ({"networkPolicy": {"egress": True}}, "at '/networkPolicy/egress': got boolean, want array"),
    (
        {"lockDown": {"validationActions": ["Refuse"]}},
        "at '/lockDown/validationActions/0': value must be one of 'Deny', 'Warn', 'Audit'",
    ),
    (
        {"monitoring": {"serviceMonitor": {"interval": "often"}}},
        "at '/monitoring/serviceMonitor/interval': 'often' does",
    ),
    (
        {"monitoring": {"prometheusRule": {"docsURL": "docs"}}},
        "at '/monitoring/prometheusRule/docsURL': 'docs' does not",
    ),
    (
        {"monitoring": {"dashboard": {"labels": {"a": 1}}}},
        "at '/monitoring/dashboard/labels/a': got number, want string",
    ),
    ({"monitoring": {"enabled": True}}, "at '/monitoring': additional properties 'enabled' not allowed"),
    ({"lockDown": {"validationActions": []}}, "at '/lockDown/validationActions': minItems: got 0, want 1"),
    ({"lockDown": {"collectors": ["two words"]}}, "at '/lockDown/collectors/0': 'two words' does not match pattern"),
    ({"resources": "small"}, "at '/resources': got string, want object"),
    ({"nodeSelector": {"gpu": True}}, "at '/nodeSelector/gpu': got boolean, want string"),
    ({"tolerations": {}}, "at '/tolerations': got object, want array"),
    ({"affinity": []}, "at '/affinity': got array, want object"),
    ({"topologySpreadConstraints": ["zone"]}, "at '/topologySpreadConstraints/0': got string, want object"),
    ({"priorityClassName": 1000}, "at '/priorityClassName': got number, want string"),
    ({"podAnnotations": {"a": 1}}, "at '/podAnnotations/a': got number, want string"),
    ({"podLabels": {"app.kubernetes.io/name": "x"}}, "at '/podLabels/app.kubernetes.io~1name': false schema"),
]


@pytest.mark.parametrize(("values", "sentence"), WRONG, ids=[json.dumps(values) for values, _ in WRONG])
def test_values_that_mean_nothing_are_refused_with_a_sentence(
    values: dict[str, Any], sentence: str, helm: Helm
) -> None:
    refused = helm(*command(values), check=False)

    assert refused.returncode == 1
    assert sentence in refused.stderr
