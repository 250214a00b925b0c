"""What a real API server makes of each way to install the operator: it takes every object by strict validation, stores
the same by Helm as by kustomize, and admits the pods under Pod Security `restricted`.

Not the business of this module: the life of a release (`test_helm_release`), and what the operator does.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator, Mapping
from functools import partial
from typing import Any

import pytest

from testbed.control_plane import ControlPlane
from testbed.helm import Helm
from testbed.kubectl import KubectlFailed
from testbed.operator_process import NAMESPACE
from testbed.waiting import wait_for
from tests.api.access import until
from tests.api.variants import ROOT, VARIANTS, Key, Object, Variant, by_key, delete_crd

each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: variant.name)

PROMETHEUS_KINDS = {"PrometheusRule": "prometheusrules", "ServiceMonitor": "servicemonitors"}
PROMETHEUS_OPERATOR = ROOT / "tests" / "monitoring" / "crds"
# What the API server says of an object, or what differs from one time to the next.
TOLD = ("uid", "resourceVersion", "creationTimestamp", "generation", "managedFields", "selfLink")
CHOSEN = ("clusterIP", "clusterIPs", "healthCheckNodePort")
REVISION = "deployment.kubernetes.io/revision"
"""The deployment controller writes it, sooner or later."""


def apply(control_plane: ControlPlane, bodies: Iterable[Object]) -> None:
    """Server-side apply by a manager that owns nothing yet; an unknown or doubled field is an error."""
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})
    words = ("apply", "--server-side", "--validate=strict", "--field-manager=installer", "-f", "-")
    control_plane.kubectl(*words, input=text)


def stored(control_plane: ControlPlane, bodies: Iterable[Object]) -> dict[Key, Object]:
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(bodies)})
    answer = json.loads(control_plane.kubectl("get", "-f", "-", "-o", "json", input=text).stdout)
    return by_key(map(without_what_is_told, answer["items"]))


def without_what_is_told(body: Object) -> Object:
    found = copy.deepcopy(body)
    found.pop("status", None)
    for name in TOLD:
        found["metadata"].pop(name, None)
    annotations = found["metadata"].get("annotations", {})
    if annotations.pop(REVISION, None) and not annotations:
        del found["metadata"]["annotations"]
    for name in CHOSEN if found["kind"] == "Service" else ():
        found["spec"].pop(name, None)
    return found


def remove(control_plane: ControlPlane, bodies: Iterable[Object]) -> None:
    """All but the CRD, which goes at the end: one that comes and goes within seconds may take a minute to go."""
    items = [body for body in bodies if body["kind"] != "CustomResourceDefinition"]
    text = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
    control_plane.kubectl("delete", "--wait=false", "-f", "-", input=text)

    def are_gone() -> bool:
        left = control_plane.kubectl("get", "--ignore-not-found", "-o", "name", "-f", "-", input=text).stdout
        assert left == "", left
        return True

    until(are_gone, "the end of what was installed", seconds=60)


@pytest.fixture(scope="module", autouse=True)
def crd_goes(bare_control_plane: ControlPlane) -> Iterator[None]:
    yield
    delete_crd(bare_control_plane)


def prepare(control_plane: ControlPlane, found: Mapping[Key, Object]) -> None:
    """The namespaces in which there is something, the operator's own as it is shipped; and the CRDs of others."""
    own = Key("Namespace", "", NAMESPACE)
    others = {key.namespace for key in found} - {"", NAMESPACE}
    namespaces = [{"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}} for name in sorted(others)]
    apply(control_plane, [found[own], *namespaces])
    if any(key.kind in PROMETHEUS_KINDS for key in found):
        control_plane.kubectl("apply", "--server-side", "-f", PROMETHEUS_OPERATOR)
        for plural in PROMETHEUS_KINDS.values():
            wait_for(partial(is_served, control_plane, plural), seconds=30, what=plural)


def is_served(control_plane: ControlPlane, plural: str) -> bool:
    return control_plane.request("GET", f"/apis/monitoring.coreos.com/v1/{plural}")[0] == 200


@each_variant
def test_both_are_taken_by_strict_validation_and_stored_alike(
    variant: Variant, bare_control_plane: ControlPlane, helm: Helm
) -> None:
    by_kustomize = variant.kustomized()
    prepare(bare_control_plane, by_kustomize)
    del by_kustomize[Key("Namespace", "", NAMESPACE)]
    results = []
    for bodies in (by_kustomize.values(), variant.templated(helm).values()):
        apply(bare_control_plane, bodies)
        results.append(stored(bare_control_plane, bodies))
        remove(bare_control_plane, bodies)

    first, second = results
    for body in second.values():
        if body["kind"] == "CustomResourceDefinition":
            assert body["metadata"].pop("annotations") == {"helm.sh/resource-policy": "keep"}
    assert first == second


@pytest.fixture
def prepared(variant: Variant, bare_control_plane: ControlPlane) -> Iterator[dict[Key, Object]]:
    """The objects of a variant; its namespaces and ServiceAccounts are there."""
    found = variant.kustomized()
    prepare(bare_control_plane, found)
    accounts = [body for key, body in found.items() if key.kind == "ServiceAccount"]
    apply(bare_control_plane, accounts)
    yield found
    remove(bare_control_plane, accounts)


@each_variant
def test_its_pod_is_admitted_under_pod_security_restricted(
    prepared: dict[Key, Object], bare_control_plane: ControlPlane
) -> None:
    labels = prepared[Key("Namespace", "", NAMESPACE)]["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"

    code, answer = try_pod(bare_control_plane, pod(prepared))

    assert code == 201, answer["message"]


@pytest.mark.parametrize("variant", [Variant("default")], ids=["default"])
def test_the_namespace_would_refuse_another_pod(prepared: dict[Key, Object], bare_control_plane: ControlPlane) -> None:
    body = pod(prepared)
    body["spec"]["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = True

    code, answer = try_pod(bare_control_plane, body)

    assert code == 403
    assert 'violates PodSecurity "restricted:latest"' in answer["message"]


@pytest.mark.parametrize("variant", [Variant("default")], ids=["default"])
def test_a_field_that_nobody_knows_would_be_refused(
    prepared: dict[Key, Object], bare_control_plane: ControlPlane
) -> None:
    body = prepared[Key("NetworkPolicy", NAMESPACE, "nodeport-access-operator")]
    body["spec"]["ingres"] = []

    with pytest.raises(KubectlFailed, match='unknown field "ingres"'):
        apply(bare_control_plane, [body])


def try_pod(control_plane: ControlPlane, body: Object) -> tuple[int, Any]:
    return control_plane.request("POST", f"/api/v1/namespaces/{NAMESPACE}/pods?dryRun=All", body)


def pod(found: Mapping[Key, Object]) -> Object:
    """The pod that a controller would make of the Deployment."""
    template = copy.deepcopy(found[Key("Deployment", NAMESPACE, "nodeport-access-operator")]["spec"]["template"])
    return {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {"name": "probe", **template["metadata"]}}
