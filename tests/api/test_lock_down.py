"""The lock-down on a real API server: who may change the guard and who may not, what he is told, that nothing of the
operator's own life is refused, and what is left when it is broken, switched to warnings, or short of its parameters.

Not the business of this module: what the operator repairs where nothing is refused (`test_drift`).
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from nodeport_access.desired import NETWORKS_LIMIT
from testbed import objects
from testbed.api_client import APPLY, JSON_PATCH
from testbed.cluster import path
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, USER, OperatorProcess
from tests.api import locked
from tests.api.access import LABEL, LABELS, WEB, Json, Site, next_second, until
from tests.api.locked import BREAK_GLASS, POLICIES, USERS, Answer, guarded_site, patch, request
from tests.api.witness import Witness

pytestmark = pytest.mark.usefixtures("locked_operator")

EVERYBODY = frozenset(USERS)
TRUSTED = frozenset({"operator", "on-call"})
COLLECTORS = frozenset({"garbage collector", "namespace controller"})
ALLOW = f"{WEB}-allow"


@pytest.fixture(scope="module")
def plane(locked_control_plane: ControlPlane) -> ControlPlane:
    return locked_control_plane


@pytest.fixture(scope="module")
def standing(plane: ControlPlane, locked_operator: OperatorProcess) -> Site:
    """A guarded Service that every request of the table is tried on, and none changes."""
    assert locked_operator.exit_code is None
    site = guarded_site(plane, type="LoadBalancer")
    site.create_service("plain", selector={"app": "plain"})
    site.create_network_policy("theirs", podSelector={"matchLabels": LABELS}, ingress=[{}], policyTypes=["Ingress"])
    return site


# --- who may do what --------------------------------------------------------------------------------------------------

GUARDED = (
    "Service {namespace}/web is guarded by NodePortAccessPolicy web: externalTrafficPolicy has to stay Local. Say Local"
    " in your manifest too; to end the guard, delete that policy and wait until the label nodeport-access.io/policy is"
    " gone."
)
LABELLED = (
    "Service {namespace}/web: only the operator sets the label nodeport-access.io/policy, changes it and takes it off."
    " To end the guard, delete NodePortAccessPolicy web."
)
UNLABELLED = (
    "Service {namespace}/plain: only the operator sets the label nodeport-access.io/policy, changes it and takes it"
    " off. Leave it out."
)
KEPT = (
    "NetworkPolicy {namespace}/web-allow is kept by the operator for NodePortAccessPolicy web: change that policy, and"
    " it follows; delete that policy, and it goes."
)
FORGED = "NetworkPolicy {namespace}/theirs: only the operator sets the label nodeport-access.io/policy. Leave it out."


@dataclass(frozen=True, slots=True)
class Try:
    """One request: what changes, who may, and the sentence for everybody else."""

    change: Any
    allowed: frozenset[str]
    sentence: str = ""
    kind: str = "Service"
    name: str = WEB
    more: dict[str, Any] = field(default_factory=dict)

    def by(self, who: str, site: Site) -> Answer:
        return patch(site, who, self.kind, self.name, self.change, dry=True, **self.more)


def child(change: Any, allowed: frozenset[str], sentence: str = KEPT, **more: Any) -> Try:
    return Try(change, allowed, sentence, "NetworkPolicy", ALLOW, more)


def labels(**values: str | None) -> Json:
    return {"metadata": {"labels": {f"nodeport-access.io/{name}": value for name, value in values.items()}}}


ROUTE: Json = {"status": {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}}
WIPED: Json = {"metadata": {"managedFields": [{}]}}
HOLD: Json = {"metadata": {"finalizers": ["example.com/hold"]}}

TRIES = {
    "Cluster": Try({"spec": {"externalTrafficPolicy": "Cluster"}}, TRUSTED, GUARDED),
    "the default, by leaving it out": Try({"spec": {"externalTrafficPolicy": None}}, TRUSTED, GUARDED),
    "ClusterIP": Try({"spec": {"type": "ClusterIP"}}, TRUSTED, GUARDED),
    "ExternalName": Try({"spec": {"type": "ExternalName", "externalName": "example.com"}}, TRUSTED, GUARDED),
    "Cluster, without the label": Try(
        labels(policy=None) | {"spec": {"externalTrafficPolicy": "Cluster"}}, TRUSTED, GUARDED
    ),
    "a Service without its label": Try(labels(policy=None), TRUSTED, LABELLED),
    "a Service without labels": Try(
        [{"op": "remove", "path": "/metadata/labels"}], TRUSTED, LABELLED, more={"content_type": JSON_PATCH}
    ),
    "a Service of another policy": Try(labels(policy="other"), TRUSTED, LABELLED),
    "a Service without its label, by its status": Try(
        labels(policy=None), TRUSTED, LABELLED, more={"subresource": "status"}
    ),
    "a Service that claims to be guarded": Try(labels(policy="web"), TRUSTED, UNLABELLED, name="plain"),
    "Local, in so many words": Try({"spec": {"externalTrafficPolicy": "Local"}}, EVERYBODY),
    "a Service without managedFields": Try(WIPED, EVERYBODY),
    "labels and annotations of a Service": Try(
        {"metadata": {"labels": {"team": "shop"}, "annotations": {"example.com/note": "x"}}}, EVERYBODY
    ),
    "another selector and another type": Try({"spec": {"type": "NodePort", "selector": {"app": "new"}}}, EVERYBODY),
    "the address of a load balancer": Try(ROUTE, EVERYBODY, more={"subresource": "status"}),
    "a finalizer on a Service": Try(
        {"metadata": {"finalizers": ["service.kubernetes.io/load-balancer-cleanup"]}}, EVERYBODY
    ),
    "an unguarded Service under Local": Try({"spec": {"externalTrafficPolicy": "Local"}}, EVERYBODY, name="plain"),
    "an allowlist for everyone": child({"spec": {"ingress": [{}]}}, TRUSTED),
    "an allowlist of no pods": child({"spec": {"podSelector": {"matchLabels": {"app": "x"}}}}, TRUSTED),
    "an allowlist without its label": child(labels(policy=None), TRUSTED),
    "an allowlist of another policy": child(labels(policy="other"), TRUSTED),
    "an allowlist of another Service": child(labels(service="other"), TRUSTED),
    "an allowlist with an annotation": child(
        {"metadata": {"annotations": {"example.com/note": "x"}}}, TRUSTED | COLLECTORS
    ),
    "an allowlist without managedFields": child(WIPED, TRUSTED | COLLECTORS),
    "an allowlist without an owner": child({"metadata": {"ownerReferences": None}}, TRUSTED | COLLECTORS),
    "a finalizer on an allowlist": child(HOLD, TRUSTED | COLLECTORS),
    "a NetworkPolicy that claims to be ours": Try(labels(policy="web"), TRUSTED, FORGED, "NetworkPolicy", "theirs"),
    "a NetworkPolicy of one's own": Try({"spec": {"ingress": []}}, EVERYBODY, "", "NetworkPolicy", "theirs"),
}


@pytest.mark.parametrize("name", TRIES)
def test_a_change_is_open_to_those_whom_it_concerns_and_everybody_else_is_told_why_not(
    name: str, standing: Site
) -> None:
    tried = TRIES[name]
    answers = {who: tried.by(who, standing) for who in USERS}

    assert {who for who, answer in answers.items() if not answer.refused} == tried.allowed
    told = {answer.sentence for answer in answers.values() if answer.refused}
    assert told == ({tried.sentence.format(namespace=standing.namespace)} if tried.allowed != EVERYBODY else set())


def test_only_the_operator_and_who_collects_garbage_deletes_a_child_one_by_one_or_all_at_once(standing: Site) -> None:
    one = path(kind="NetworkPolicy", namespace=standing.namespace, name=ALLOW)
    every = path(kind="NetworkPolicy", namespace=standing.namespace) + f"?labelSelector={LABEL}"
    for address in (one, every):
        answers = {who: request(standing.cluster.control_plane, who, "DELETE", address) for who in USERS}
        assert {who for who, answer in answers.items() if not answer.refused} == TRUSTED | COLLECTORS
        assert answers["owner"].sentence == KEPT.format(namespace=standing.namespace)


def test_nobody_makes_an_object_that_looks_guarded(standing: Site) -> None:
    looks = labels(policy="web")
    copies = (
        objects.service(namespace=standing.namespace, name="copy", selector=LABELS, externalTrafficPolicy="Local"),
        objects.network_policy(namespace=standing.namespace, name="copy", spec={"podSelector": {}, "ingress": [{}]}),
    )
    for body in copies:
        collection = path(kind=body["kind"], namespace=standing.namespace)
        applied = path(kind=body["kind"], namespace=standing.namespace, name="copy") + "?fieldManager=gitops"
        for method, address, kind in (("POST", collection, "application/json"), ("PATCH", applied, APPLY)):
            answers = {
                who: request(
                    standing.cluster.control_plane,
                    who,
                    method,
                    address,
                    objects.changed(body, looks),
                    content_type=kind,
                )
                for who in USERS
            }
            assert {who for who, answer in answers.items() if not answer.refused} == TRUSTED
            assert "only the operator sets the label nodeport-access.io/policy" in answers["owner"].sentence


def test_a_controller_that_the_parameters_name_may_mark_a_child_and_no_more(
    plane: ControlPlane, standing: Site
) -> None:
    def mark(who: str = "load balancer controller") -> Answer:
        return child(HOLD, EVERYBODY).by(who, standing)

    name = USERS["load balancer controller"][0]
    with parameters(plane, controllers=f"  system:serviceaccount:kube-system:other\n{name}  \n"):
        until(lambda: not mark().refused, "the parameters to be heard of")
        assert child({"spec": {"ingress": [{}]}}, TRUSTED).by("load balancer controller", standing).refused
        assert child(labels(service=None), TRUSTED).by("load balancer controller", standing).refused
        address = path(kind="NetworkPolicy", namespace=standing.namespace, name=ALLOW)
        assert request(plane, "load balancer controller", "DELETE", address).refused
        assert mark("owner").refused
    until(lambda: mark().refused, "the parameters to be as before")


def test_an_allowlist_of_the_greatest_length_is_no_dearer_to_judge_than_expressions_may_be(plane: ControlPlane) -> None:
    site = locked.empty_site(plane)
    networks = [{"ipBlock": {"cidr": f"2001:db8:{high:x}:{low:x}::/64"}} for high in range(200) for low in range(100)]
    assert len(networks) == NETWORKS_LIMIT
    spec = {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"], "ingress": [{"from": networks}]}
    body = objects.changed(objects.network_policy(namespace=site.namespace, name=ALLOW, spec=spec), labels(policy=WEB))
    collection = path(kind="NetworkPolicy", namespace=site.namespace)
    assert request(plane, "operator", "POST", collection, body, dry=False).code == 201

    assert patch(site, "garbage collector", "NetworkPolicy", ALLOW, HOLD, dry=True).code == 200
    shorter = {"spec": {"ingress": [{"from": networks[:-1]}]}}
    told = patch(site, "garbage collector", "NetworkPolicy", ALLOW, shorter, dry=True)
    assert told.refused
    assert told.sentence == KEPT.format(namespace=site.namespace)


# --- the operator's own life ------------------------------------------------------------------------------------------


def test_a_policy_lives_and_dies_under_the_lock_down_and_the_operator_is_refused_nothing(
    plane: ControlPlane, locked_operator: OperatorProcess
) -> None:
    begin, lines = plane.audit_mark(), len(locked_operator.log_lines())
    site = guarded_site(plane, type="LoadBalancer")
    port = site.service()["spec"]["healthCheckNodePort"]
    witness = Witness(site)

    site.edit_policy(allowedCIDRs=[{"cidr": "198.51.100.0/24"}])
    site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]})
    site.edit_service(selector={"app": "other"})
    until(
        lambda: site.network_policies()[ALLOW]["spec"]["podSelector"] == {"matchLabels": {"app": "other"}},
        "the allowlist of the new pods",
    )
    site.edit_service(selector=LABELS)

    site.await_ready()

    # What those change whom the lock-down lets through is undone as ever.
    before = substance(site.network_policies()[ALLOW])
    changes: tuple[Json, ...] = (HOLD, {"spec": {"ingress": [{}]}}, labels(policy=None))
    for change in changes:
        assert patch(site, "on-call", "NetworkPolicy", ALLOW, change).code == 200
        until(lambda: substance(site.network_policies()[ALLOW]) == before, "the allowlist as it was")
    assert patch(site, "on-call", "Service", WEB, {"spec": {"externalTrafficPolicy": "Cluster"}}).code == 200
    site.await_guard("Local", WEB)
    until(lambda: site.service()["spec"]["healthCheckNodePort"] == port, "the load balancer's port as it was")

    # Another policy waits, and takes over; modes are changed there and back.
    next_second()
    site.create_policy("later", allowed=["10.9.8.7/32"])
    site.await_condition("Ready", "False ServiceAlreadyClaimed", "later")
    site.delete("NodePortAccessPolicy", propagationPolicy="Orphan")
    site.await_guard("Local", "later")
    site.await_network_policies("later-allow", "later-deny-all")
    site.edit_policy("later", trafficPolicy="Unmanaged")
    site.await_guard("Cluster", None)
    site.edit_policy("later", trafficPolicy="Local", isolation="Namespace")
    site.await_ready("later")
    site.edit_policy("later", mode="Audit")
    site.await_network_policies()
    site.await_guard("Cluster", None)
    site.edit_policy("later", mode="Enforce")
    site.await_ready("later")

    site.delete("NodePortAccessPolicy", "later")
    site.await_network_policies()
    site.await_guard("Cluster", None)

    assert witness.states()
    refused = [
        event
        for event in plane.audit_events(since=begin, user=USER)
        if event.get("objectRef", {}).get("namespace") == site.namespace and event["responseStatus"]["code"] == 403
    ]
    assert refused == []
    assert [line for line in locked_operator.log_lines()[lines:] if "ValidatingAdmissionPolicy" in line] == []


def substance(network_policy: Json) -> Json:
    """What is the operator's in a child."""
    metadata = network_policy["metadata"]
    return {"spec": network_policy["spec"]} | {key: metadata.get(key) for key in ("labels", "finalizers")}


def test_children_go_with_their_policy_while_the_operator_is_away(
    plane: ControlPlane, locked_operator: OperatorProcess
) -> None:
    sites = {how: guarded_site(plane) for how in ("Background", "Foreground")}
    with locked_operator.paused():
        for how, site in sites.items():
            site.delete("NodePortAccessPolicy", propagationPolicy=how)
        until(lambda: not any(site.network_policies() for site in sites.values()), "the garbage collector", seconds=60)
        for site in sites.values():
            assert site.guard_of() == ("Local", WEB), "only the operator gives it back"
    for site in sites.values():
        site.await_guard("Cluster", None)


def test_a_namespace_ends_with_a_guard_in_it_also_while_the_operator_is_away(
    plane: ControlPlane, locked_operator: OperatorProcess
) -> None:
    watched, unwatched = guarded_site(plane), guarded_site(plane)

    watched.cluster.delete_namespace(watched.namespace)
    gone(watched)
    with locked_operator.paused():
        unwatched.cluster.delete_namespace(unwatched.namespace)
        gone(unwatched)


def gone(site: Site) -> None:
    until(lambda: site.cluster.find("Namespace", site.namespace) is None, "the end of the namespace", seconds=60)


# --- ways round it ----------------------------------------------------------------------------------------------------


def test_who_wipes_managed_fields_is_no_step_further(plane: ControlPlane, locked_operator: OperatorProcess) -> None:
    site = guarded_site(plane)
    with locked_operator.paused():
        assert patch(site, "owner", "Service", WEB, WIPED).code == 200
        assert "managedFields" not in site.service()["metadata"]

        for change in (
            {"spec": {"externalTrafficPolicy": "Cluster"}},
            {"spec": {"type": "ClusterIP"}},
            labels(policy=None),
        ):
            assert patch(site, "owner", "Service", WEB, change).refused
        assert site.guard_of() == ("Local", WEB)


def test_there_is_no_detour_over_cluster_ip_also_where_somebody_broke_the_glass_halfway(
    plane: ControlPlane, locked_operator: OperatorProcess
) -> None:
    site = guarded_site(plane)
    with locked_operator.paused():
        assert patch(site, "owner", "Service", WEB, {"spec": {"type": "ClusterIP"}}).refused

        assert patch(site, "on-call", "Service", WEB, {"spec": {"type": "ClusterIP"}}).code == 200
        assert patch(site, "owner", "Service", WEB, {"metadata": {"annotations": {"a": "b"}}}).code == 200
        back = patch(site, "owner", "Service", WEB, {"spec": {"type": "NodePort"}})
        assert back.refused
        assert back.sentence == GUARDED.format(namespace=site.namespace)
        both = {"spec": {"type": "NodePort", "externalTrafficPolicy": "Local"}}
        assert patch(site, "owner", "Service", WEB, both).code == 200
    site.await_ready()


# --- those who keep a Service in a file -------------------------------------------------------------------------------


def manifest(site: Site, **spec: Any) -> Json:
    return objects.service(namespace=site.namespace, name=WEB, selector=LABELS, type="LoadBalancer", **spec)


def apply(site: Site, body: Json, *flags: str) -> tuple[int, str]:
    """kubectl apply as the owner: its exit code, and what it complains of."""
    as_owner = [f"--as={USERS['owner'][0]}", f"--as-group={locked.EVERYTHING}"]
    ran = site.cluster.control_plane.kubectl("apply", *as_owner, *flags, "-f", "-", input=json.dumps(body), check=False)
    return ran.returncode, ran.stderr


@pytest.mark.parametrize("flags", [(), ("--server-side", "--force-conflicts")], ids=["client-side", "server-side"])
def test_an_owner_goes_on_applying_his_manifest_and_hears_why_cluster_in_it_is_refused(
    flags: Sequence[str], plane: ControlPlane
) -> None:
    site = guarded_site(plane, type="LoadBalancer")

    assert apply(site, manifest(site), *flags)[0] == 0
    assert apply(site, manifest(site, sessionAffinity="ClientIP"), *flags) == (0, "")
    assert site.service()["spec"]["sessionAffinity"] == "ClientIP"
    assert site.guard_of() == ("Local", WEB)

    code, told = apply(site, manifest(site, externalTrafficPolicy="Cluster"), *flags)
    assert code == 1
    assert GUARDED.format(namespace=site.namespace) in told

    assert apply(site, manifest(site, externalTrafficPolicy="Local"), *flags) == (0, "")


def test_who_said_cluster_before_the_guard_came_has_to_say_local_as_leaving_it_out_means_cluster_to_kubectl(
    plane: ControlPlane,
) -> None:
    site = locked.empty_site(plane)
    assert apply(site, manifest(site, externalTrafficPolicy="Cluster"))[0] == 0
    site.create_policy()
    site.await_guard("Local", WEB)

    code, told = apply(site, manifest(site))
    assert code == 1
    assert "externalTrafficPolicy has to stay Local. Say Local in your manifest too" in told
    assert apply(site, manifest(site, externalTrafficPolicy="Local")) == (0, "")
    assert apply(site, manifest(site, externalTrafficPolicy="Local", sessionAffinity="ClientIP")) == (0, "")


# --- broken, tried out, short of something ----------------------------------------------------------------------------


def test_who_breaks_the_glass_gets_through_and_the_audit_log_has_his_name(
    plane: ControlPlane, locked_operator: OperatorProcess
) -> None:
    site = guarded_site(plane)
    begin = plane.audit_mark()
    # As an administrator does: nobody has to be in that group for good.
    glass = ("--as=anna", f"--as-group={locked.EVERYTHING}", f"--as-group={BREAK_GLASS}", "-n", site.namespace)

    with locked_operator.paused():
        plane.kubectl(*glass, "delete", "networkpolicy", ALLOW)
        plane.kubectl(*glass, "label", "service", WEB, f"{LABEL}-")
        plane.kubectl(*glass, "annotate", "service", WEB, "example.com/note=x")
        change = json.dumps({"spec": {"externalTrafficPolicy": "Cluster"}})
        plane.kubectl(*glass, "patch", "service", WEB, "--patch", change)
        assert site.guard_of() == ("Cluster", None)
    site.await_ready()

    events = plane.audit_events(since=begin)
    told = [
        value
        for event in events
        for key, value in event.get("annotations", {}).items()
        if key.endswith("/break-glass") and event["objectRef"]["namespace"] == site.namespace
    ]
    assert told == [
        f"anna did what only the operator may: DELETE of NetworkPolicy {site.namespace}/{ALLOW}",
        f"anna changed the guard of Service {site.namespace}/{WEB}",
    ], "what is free to everybody breaks no glass, nor does an unguarded Service"


def test_who_is_refused_is_in_the_audit_log(plane: ControlPlane, standing: Site) -> None:
    begin = plane.audit_mark()
    assert patch(standing, "owner", "Service", WEB, {"spec": {"externalTrafficPolicy": "Cluster"}}).refused

    (event,) = (one for one in plane.audit_events(since=begin) if "impersonatedUser" in one)
    assert event["impersonatedUser"]["username"] == USERS["owner"][0]
    (failure,) = json.loads(event["annotations"]["validation.policy.admission.k8s.io/validation_failure"])
    assert failure["message"] == GUARDED.format(namespace=standing.namespace)


def test_without_its_parameters_nothing_is_refused_and_the_operator_repairs_as_ever(plane: ControlPlane) -> None:
    site = guarded_site(plane)
    plane.kubectl("-n", "nodeport-access-system", "delete", "configmap", locked.PARAMETERS)
    try:
        locked.await_refusing(plane, refusing=False)
        assert patch(site, "owner", "Service", WEB, {"spec": {"externalTrafficPolicy": "Cluster"}}).code == 200
        site.await_guard("Local", WEB)
        guarded_site(plane)
    finally:
        plane.kubectl("apply", "-k", locked.OVERLAY)
    locked.await_refusing(plane, refusing=True)
    assert patch(site, "owner", "Service", WEB, {"spec": {"externalTrafficPolicy": "Cluster"}}).refused


def test_an_operator_whom_the_parameters_forget_says_so_and_goes_on_once_they_name_it(plane: ControlPlane) -> None:
    with parameters(plane, operators=None, collectors=None, breakGlassGroup=None):
        until(lambda: refused_on_a_new_service(plane), "the parameters to be heard of")
        site = locked.empty_site(plane)
        site.create_service()
        site.create_policy()
        told = site.await_condition("Ready", "False ApplyForbidden")
        assert "only the operator sets the label nodeport-access.io/policy" in told
    until(lambda: not refused_on_a_new_service(plane), "the parameters to be as before")
    until(lambda: site.conditions()["Ready"] == "True Guarded", "the guard", seconds=90)


def refused_on_a_new_service(plane: ControlPlane) -> bool:
    body = objects.changed(objects.service(namespace="default", name="new", selector=None), labels(policy="web"))
    return request(plane, "operator", "POST", path(kind="Service", namespace="default"), body).refused


def test_it_can_be_tried_out_by_warnings_alone(
    plane: ControlPlane, locked_operator: OperatorProcess, tmp_path: Path
) -> None:
    site = guarded_site(plane)
    page = (ROOT / "docs" / "lock-down.md").read_text(encoding="utf-8")
    (kustomization,) = re.findall(r"```yaml\n# kustomization.yaml\n(.*?)```", page, re.DOTALL)
    (tmp_path / "kustomization.yaml").write_text(kustomization, encoding="utf-8")
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    plane.kubectl("apply", "-k", tmp_path)
    try:
        locked.await_refusing(plane, refusing=False)
        with locked_operator.paused():
            body = manifest(site, externalTrafficPolicy="Cluster")
            code, told = apply(site, body)
            assert code == 0
            assert "Warning: Validation failed for ValidatingAdmissionPolicy 'nodeport-access-services'" in told
            assert GUARDED.format(namespace=site.namespace) in told
            assert site.guard_of() == ("Cluster", WEB)
        site.await_ready()
    finally:
        plane.kubectl("apply", "-k", locked.OVERLAY)
    locked.await_refusing(plane, refusing=True)


@contextlib.contextmanager
def parameters(plane: ControlPlane, **data: str | None) -> Iterator[None]:
    """The ConfigMap with other values within, and as it is shipped afterwards."""
    locked.set_parameters(plane, **data)
    try:
        yield
    finally:
        plane.kubectl("apply", "-k", locked.OVERLAY)


# --- what the API server thinks of it ---------------------------------------------------------------------------------


def test_the_api_server_finds_no_fault_with_its_types_and_does_find_one_with_a_field_that_is_not_there(
    plane: ControlPlane,
) -> None:
    for name in POLICIES:
        assert until(settled(plane, name), f"type checking of {name}", seconds=30) == ([],)

    _, faulty = plane.request("GET", f"{locked.VALIDATING}/{POLICIES[0]}")
    faulty["metadata"] = {"name": "faulty"}
    faulty["spec"]["validations"] = [{"expression": "object.spec.externalTraficPolicy == 'Local'"}]
    assert plane.request("POST", locked.VALIDATING, faulty)[0] == 201
    try:
        (found,) = until(settled(plane, "faulty"), "type checking of a faulty one", seconds=30)
        assert "externalTraficPolicy" in found[0]["warning"]
    finally:
        plane.request("DELETE", f"{locked.VALIDATING}/faulty")


def settled(plane: ControlPlane, name: str) -> Callable[[], tuple[list[Json]]]:
    return lambda: (locked.expression_warnings(plane, name),)


def test_it_can_be_applied_again_and_again(plane: ControlPlane) -> None:
    again = plane.kubectl("apply", "-k", locked.OVERLAY)

    assert again.stderr == ""
    assert [line for line in again.stdout.splitlines() if not line.endswith(" unchanged")] == []
