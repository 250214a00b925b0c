"""What GitOps tools make of a policy in each of its states: kstatus and Flux wait for the right thing, and Argo CD
shows the same.

Not the business of this module: which reason applies when (tests/unit/test_checks.py, `test_conditions`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import yaml

from nodeport_access.api import Body
from nodeport_access.checks import Case
from nodeport_access.reasons import Reason, Weight
from nodeport_access.status import status_after_fault, status_of
from testbed import objects
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, OperatorProcess
from tests.api.access import Site, entries, until
from tests.api.gitops_health import HEALTH, argo_cd, health, kstatus, unknown_to_flux
from tests.unit.builders import NOW, policy, policy_in, snapshot_of
from tests.unit.test_checks import CASES

FLUX = ROOT / "manifests" / "flux"
ARGO = {"Current": "Healthy", "InProgress": "Progressing", "Failed": "Degraded", "Terminating": "Progressing"}
BY_WEIGHT = {
    Weight.GOOD: "Current",
    Weight.WARNING: "Current",
    Weight.PASSING: "InProgress",
    Weight.LASTING: "Failed",
}


def in_flux(objects: list[Body]) -> list[str]:
    """What Flux says by the expressions of the example."""
    (policies,) = (one for one in flux_objects() if one["spec"].get("healthCheckExprs"))
    (expressions,) = policies["spec"]["healthCheckExprs"]
    kind = {key: expressions.pop(key) for key in ("apiVersion", "kind")}
    assert kind == {"apiVersion": objects[0]["apiVersion"], "kind": objects[0]["kind"]}
    return kstatus(objects, by=expressions)


def flux_objects() -> list[dict[str, Any]]:
    files = sorted(FLUX.glob("*.yaml"))
    return [document for file in files for document in yaml.safe_load_all(file.read_text(encoding="utf-8"))]


def with_status(reason: Reason) -> Body:
    """The policy of the case of this reason, with the status that the operator gives it."""
    case = CASES[reason]
    listed = {name: value for name, value in case.judging.items() if name.endswith("_listed")}
    snapshot = replace(snapshot_of(*case.bodies), **listed)
    judged = {name: value for name, value in case.judging.items() if name not in listed}
    found = policy_in(snapshot)
    status = status_of(Case(snapshot=snapshot, policy=found, **judged), drift=None)
    (body,) = (
        one for one in case.bodies if one["kind"] == "NodePortAccessPolicy" and one["metadata"]["name"] == "shop"
    )
    return {**body, "status": status}


def failed_by_a_fault() -> Body:
    body = policy()
    return {**body, "status": status_after_fault(policy_in(snapshot_of(body)), fault="ValueError", now=NOW)}


@pytest.fixture(scope="module")
def judged() -> dict[Reason, Body]:
    """A policy for every reason that there is."""
    found = {reason: with_status(reason) for reason in CASES} | {Reason.OPERATOR_FAILED: failed_by_a_fault()}
    assert found.keys() == set(Reason)
    return found


def ready_reason(body: Body) -> Reason:
    (ready,) = (one for one in body["status"]["conditions"] if one["type"] == "Ready")
    return {str(reason): reason for reason in Reason}[ready["reason"]]


def test_every_reason_is_waited_for_as_its_weight_says(judged: dict[Reason, Body]) -> None:
    bodies = [body for body in judged.values() if ready_reason(body) is not Reason.AUDIT_MODE]
    expected = [BY_WEIGHT[ready_reason(body).weight] for body in bodies]
    assert len(bodies) == len(Reason) - 1
    assert set(expected) == {"Current", "InProgress", "Failed"}
    assert kstatus(bodies) == expected
    assert in_flux(bodies) == expected
    assert argo_cd(bodies) == [ARGO[status] for status in expected]


def test_a_policy_that_only_reports_is_done_for_flux_and_suspended_for_argo_cd(judged: dict[Reason, Body]) -> None:
    bodies = [judged[Reason.AUDIT_MODE]]
    assert in_flux(bodies) == ["Current"]
    assert argo_cd(bodies) == ["Suspended"]
    assert kstatus(bodies) == ["InProgress"], "it is not Ready, and kstatus has no word for that this is as asked for"


def test_argo_cd_shows_the_reason_and_the_sentence(judged: dict[Reason, Body]) -> None:
    for body in judged.values():
        assert health(body)["message"].startswith(f"{ready_reason(body)}: ")


@pytest.mark.parametrize(("observed", "expected"), [(1, "InProgress"), (2, "Current")])
def test_a_generation_that_was_not_looked_at_is_in_progress(
    judged: dict[Reason, Body], observed: int, expected: str
) -> None:
    body = json.loads(json.dumps(judged[Reason.GUARDED]))
    body["metadata"]["generation"] = 2
    body["status"]["observedGeneration"] = observed
    assert kstatus([body]) == in_flux([body]) == [expected]
    assert argo_cd([body]) == [ARGO[expected]]


# --- what the real API server gives out -------------------------------------------------------------------------------


def assert_is(site: Site, expected: str, *, argo: str = "", name: str = "web") -> None:
    def seen() -> bool:
        body = site.policy(name)
        assert kstatus([body]) == [expected], body.get("status")
        assert argo_cd([body]) == [argo or ARGO[expected]]
        return True

    until(seen, f"policy {name} to be {expected}")


def test_each_state_on_a_real_api_server(site: Site, shared_operator: OperatorProcess) -> None:
    with shared_operator.paused():
        site.create_policy()
        assert site.policy()["status"] == {"observedGeneration": 0}
        assert_is(site, "InProgress")
    assert_is(site, "InProgress")  # there is no such Service yet
    site.create_service()
    site.await_ready()
    assert_is(site, "Current")
    with shared_operator.paused():
        site.edit_policy(allowedCIDRs=entries(["198.51.100.0/24"]))
        assert_is(site, "InProgress")
    assert_is(site, "Current")
    site.edit_service(type="ClusterIP", externalTrafficPolicy=None, ports=[{"port": 80, "nodePort": None}])
    site.await_condition("Stalled", "True ServiceTypeUnsupported")
    assert_is(site, "Failed")
    site.edit_service(type="NodePort")
    assert_is(site, "Current")
    site.edit_policy(mode="Audit")
    site.await_condition("Ready", "False AuditMode")
    assert_is(site, "InProgress", argo="Suspended")
    assert in_flux([site.policy()]) == ["Current"]
    site.edit("NodePortAccessPolicy", metadata={"finalizers": ["example.org/held"]})
    site.delete("NodePortAccessPolicy")
    assert_is(site, "Terminating")
    site.edit("NodePortAccessPolicy", metadata={"finalizers": None})


def test_a_policy_that_nobody_serves_is_never_taken_for_done(quiet_control_plane: ControlPlane) -> None:
    body = objects.policy(namespace="default", name="unserved", service="web")
    path = "/apis/nodeport-access.io/v1alpha1/namespaces/default/nodeportaccesspolicies"
    code, created = quiet_control_plane.request("POST", path, body)
    assert code == 201, created
    assert kstatus([created]) == in_flux([created]) == ["InProgress"]
    assert argo_cd([created]) == ["Progressing"]
    quiet_control_plane.request("DELETE", f"{path}/unserved")


# --- the files ------------------------------------------------------------------------------------------------------


def test_flux_knows_every_field_of_the_example() -> None:
    found = flux_objects()
    assert sorted({one["kind"] for one in found}) == ["GitRepository", "HelmRelease", "Kustomization"]
    assert unknown_to_flux(found) == []
    misspelt = {**found[0], "spec": {**found[0]["spec"], "healthCheck": []}}
    assert unknown_to_flux([misspelt]) != []


def test_what_flux_applies_is_there_and_waits_for_what_it_needs() -> None:
    kustomizations = {one["metadata"]["name"]: one["spec"] for one in flux_objects() if one["kind"] == "Kustomization"}
    needs = {name: [one["name"] for one in spec.get("dependsOn", ())] for name, spec in kustomizations.items()}
    assert needs == {
        "nodeport-access-crds": [],
        "nodeport-access-operator": ["nodeport-access-crds"],
        "nodeport-access-policies": ["nodeport-access-operator"],
    }
    assert all(spec["wait"] for spec in kustomizations.values())
    assert kustomizations["nodeport-access-crds"]["prune"] is False, "a CRD that goes takes every policy with it"
    for name in ("nodeport-access-crds", "nodeport-access-operator"):
        assert (ROOT / kustomizations[name]["path"]).is_dir()


def test_the_component_for_argo_cd_carries_health_lua_as_it_is(
    control_plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("argo")
    component = folder / "component"
    component.mkdir()
    for file in HEALTH.parent.iterdir():
        (component / file.name).write_text(file.read_text(encoding="utf-8"), encoding="utf-8")
    installed = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "argocd-cm"}, "data": {"url": "x"}}
    overlay = folder / "overlay"
    overlay.mkdir()
    (overlay / "installed.yaml").write_text(yaml.safe_dump(installed))
    (overlay / "kustomization.yaml").write_text("resources: [installed.yaml]\ncomponents: [../component]\n")
    rendered = yaml.safe_load(control_plane.kubectl("kustomize", overlay).stdout)
    assert rendered["data"] == {
        "url": "x",
        "resource.customizations.health.nodeport-access.io_NodePortAccessPolicy": HEALTH.read_text(encoding="utf-8"),
        "resource.customizations.ignoreDifferences.Service": "managedFieldsManagers:\n- nodeport-access-operator\n",
    }


def test_what_argo_cd_is_told_to_overlook_is_all_that_the_operator_writes_to_a_service(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    owned = owned_by(site.service(), manager="nodeport-access-operator")
    assert sorted(owned) == ["metadata.labels.nodeport-access.io/policy", "spec.externalTrafficPolicy"]


def owned_by(body: Body, *, manager: str) -> list[str]:
    (entry,) = (one for one in body["metadata"]["managedFields"] if one["manager"] == manager)
    return list(_leaves(entry["fieldsV1"]))


def _leaves(fields: dict[str, Any], path: str = "") -> Iterator[str]:
    for key, below in fields.items():
        if key.startswith("f:"):
            yield from (
                _leaves(below, f"{path}.{key.removeprefix('f:')}".lstrip("."))
                if below
                else (f"{path}.{key.removeprefix('f:')}",)
            )
