"""The status tells what was observed, keeps still while nothing changes, and leaves alone what others wrote."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from nodeport_access import desired
from nodeport_access.api import Body, Effect
from nodeport_access.checks import Case
from nodeport_access.conditions import Status
from nodeport_access.drift import Difference
from nodeport_access.observed import parse_service
from nodeport_access.outcome import Kind
from nodeport_access.plan import Verb, Write
from nodeport_access.policy_body import parse_policy
from nodeport_access.status import PLAN_LIMIT, Drift, drift_of, same_status, status_after_fault, status_body, status_of
from tests.unit import builders
from tests.unit.builders import (
    NOW,
    endpoint,
    endpoint_slice,
    entry,
    held_service,
    node,
    pod,
    policy,
    policy_in,
    port,
    service,
    snapshot_of,
    stored,
)


def status(*bodies: Body, drift: Drift | None = None, **snapshot: Any) -> Body:
    """The status of the policy `shop` in a cluster of these objects."""
    found = snapshot_of(*bodies, **snapshot)
    return status_of(Case(snapshot=found, policy=policy_in(found)), drift=drift)


WORLD = (
    service(ports=[port(80, node=30080), port(443, name="https", target=8443, node=30443)]),
    node("node-1", addresses=["10.0.0.1"]),
    node("node-2", addresses=["10.0.0.2"]),
    node("node-3", addresses=["10.0.0.3"]),
    endpoint_slice(
        endpoint("10.233.0.1", node="node-1"),
        endpoint("10.233.0.2", node="node-2", ready=False, terminating=True),
        endpoint("10.233.0.3", node="node-1", ready=False, terminating=True),
    ),
    pod(),
)


def test_without_a_list_of_nodes_the_total_is_left_open() -> None:
    found = replace(snapshot_of(policy(), *(body for body in WORLD if body["kind"] != "Node")), nodes_listed=False)
    told = status_of(Case(snapshot=found, policy=policy_in(found)), drift=None)
    assert told["nodes"] == {"ready": 1, "draining": 1, "share": "1/?"}


def test_a_status_is_whole() -> None:
    found = status(policy(generation=4, allowed=["203.0.113.0/25", "203.0.113.128/25", "192.0.2.1/32"]), *WORLD)
    assert [condition["type"] for condition in found.pop("conditions")] == [
        "Ready",
        "ServiceResolved",
        "ClientIPPreserved",
        "AllowlistApplied",
        "DefaultDenyApplied",
        "Reachable",
        "Exclusive",
        "Enforceable",
        "Reconciling",
    ]
    assert found == {
        "observedGeneration": 4,
        "serviceUID": builders.uid_of("Service", "web", "shop"),
        "nodePorts": [30080, 30443],
        "effectiveCIDRs": 2,
        "nodes": {"ready": 1, "draining": 1, "total": 3, "share": "1/3"},
    }


def test_without_a_service_nothing_is_told_of_one() -> None:
    old = {"serviceUID": "x", "nodePorts": [1], "healthCheckNodePort": 31999, "effectiveCIDRs": 9}
    found = status(policy(status=old))
    assert set(found) == {"observedGeneration", "conditions"}


def test_a_node_port_that_is_taken_for_two_protocols_is_told_once() -> None:
    ports = [
        {"name": "dns", "port": 53, "protocol": protocol, "targetPort": 5353, "nodePort": 30053}
        for protocol in ("TCP", "UDP")
    ]
    found = status(policy(), service(ports=ports))
    assert found["nodePorts"] == [30053]


def test_node_ports_of_zero_are_not_told() -> None:
    found = status(policy(), service(type="ClusterIP"))
    assert found["nodePorts"] == []


@pytest.mark.parametrize(
    ("allowed", "count"),
    [
        ([], 0),
        (["203.0.113.0/24"], 1),
        ([entry("203.0.113.0/24", excepts=["203.0.113.0/32"])], 8),
        (["2001:db8::/32"], 0),  # a family that the Service does not serve
        ([entry("203.0.113.0/24", expiresAt="2026-06-01T12:00:00Z")], 0),
        ([entry("192.0.2.1/32", ports=["http"]), entry("192.0.2.1/32", ports=["https"])], 2),
    ],
)
def test_effective_cidrs_are_counted_as_they_are_written(allowed: list[Any], count: int) -> None:
    assert status(policy(allowed=allowed), *WORLD)["effectiveCIDRs"] == count


@pytest.mark.parametrize(
    ("tweaks", "before", "expected"),
    [
        ({"type": "LoadBalancer", "traffic_policy": "Local", "health_check_node_port": 31999}, {}, 31999),
        # somebody flipped it to Cluster: the number that the load balancer probes is remembered
        ({"type": "LoadBalancer"}, {"serviceUID": "same", "healthCheckNodePort": 31999}, 31999),
        ({"type": "LoadBalancer"}, {"serviceUID": "another", "healthCheckNodePort": 31999}, None),
        ({"type": "NodePort"}, {"serviceUID": "same", "healthCheckNodePort": 31999}, None),
        # the number in force counts
        (
            {"type": "LoadBalancer", "traffic_policy": "Local", "health_check_node_port": 32000},
            {"serviceUID": "same", "healthCheckNodePort": 31999},
            32000,
        ),
    ],
)
def test_the_health_check_port_is_remembered_for_the_same_service(
    tweaks: dict[str, Any], before: Body, expected: int | None
) -> None:
    found = status(policy(status=before), service(uid="same", **tweaks))
    assert found.get("healthCheckNodePort") == expected


DRIFT = Drift(
    object="Service/shop", field="spec.x", writer="argocd", effect=Effect.DEPENDS, time="2026-01-01T00:00:00Z"
)
TOLD = {
    "object": "Service/shop",
    "field": "spec.x",
    "writer": "argocd",
    "effect": "depends",
    "time": "2026-01-01T00:00:00Z",
}


def test_the_last_drift_is_told_and_kept_until_there_is_another() -> None:
    assert status(policy(), *WORLD, drift=DRIFT)["lastDrift"] == TOLD
    assert status(policy(status={"lastDrift": {"object": "old"}}), *WORLD, drift=DRIFT)["lastDrift"] == TOLD
    assert status(policy(status={"lastDrift": TOLD}), *WORLD)["lastDrift"] == TOLD
    assert "lastDrift" not in status(policy(), *WORLD)


def write(*differences: Difference) -> Write:
    return Write(
        verb=Verb.UPDATE, kind=Kind.SERVICE, namespace="web", name="shop", policy=None, differences=differences
    )


def difference(path: str, effect: Effect, *, foreign: bool = True) -> Difference:
    return Difference(path=path, want="a", have="b", foreign=foreign, writer="argocd", effect=effect)


@pytest.mark.parametrize(
    ("differences", "told"),
    [
        ([], None),
        ([difference("mine", Effect.OPENED, foreign=False)], None),
        ([difference("label", Effect.NONE), difference("policy", Effect.DEPENDS)], "policy"),
        ([difference("closed", Effect.CLOSED), difference("opened", Effect.OPENED)], "opened"),
        ([difference("closed", Effect.CLOSED), difference("depends", Effect.DEPENDS)], "depends"),
        ([difference("none", Effect.NONE), difference("closed", Effect.CLOSED)], "closed"),
    ],
)
def test_a_write_tells_the_worst_of_what_somebody_else_did(differences: list[Difference], told: str | None) -> None:
    drift = drift_of(write(*differences), NOW)
    assert (drift.field if drift else None) == told
    if drift is not None:
        assert (drift.object, drift.writer, drift.time) == ("Service/shop", "argocd", "2026-06-01T12:00:00Z")


def test_an_audit_tells_the_writes_that_it_holds_back() -> None:
    found = status(policy(mode="Audit"), *WORLD)
    assert found["plan"] == [
        {"action": "create", "object": "NetworkPolicy/shop-allow"},
        {
            "action": "update",
            "object": "Service/shop",
            "fields": ["spec.externalTrafficPolicy", "metadata.labels"],
        },
        {"action": "create", "object": "NetworkPolicy/shop-deny-all"},
    ]
    assert len(found["plan"]) <= PLAN_LIMIT
    assert "plan" not in status(policy(), *WORLD)
    assert status(policy(mode="Audit"))["plan"] == []


def test_an_audit_tells_what_it_would_take_off() -> None:
    held = stored(desired.deny_body(parse_policy(policy()), parse_service(held_service()), holder=True))
    held["metadata"]["finalizers"] = ["example.com/hold"]
    found = status(policy(mode="Audit"), *WORLD, held)["plan"]
    assert found[-1] == {
        "action": "strip",
        "object": "NetworkPolicy/shop-deny-all",
        "fields": ["metadata.finalizers"],
    }


def test_nothing_in_a_status_moves_while_nothing_changes() -> None:
    once = status(policy(), *WORLD)
    again = status(policy(status=once), *WORLD, now=NOW + timedelta(hours=5))
    assert again == once
    assert same_status(once, again)


# --- what counts as the same ---


OURS = {"type": "Ready", "status": "True", "reason": "Guarded", "message": "m", "observedGeneration": 1}
FOREIGN = {"type": "example.com/Reviewed", "status": "False"}


@pytest.mark.parametrize(
    ("existing", "same"),
    [
        ({"observedGeneration": 1, "conditions": [OURS]}, True),
        ({"observedGeneration": 1, "conditions": [FOREIGN, OURS]}, True),  # a condition of another writer is his
        ({"observedGeneration": 1, "conditions": [{**OURS, "message": "other"}]}, False),
        ({"observedGeneration": 1, "conditions": [{**OURS, "observedGeneration": 2}]}, False),
        ({"observedGeneration": 1, "conditions": [OURS, {**OURS, "type": "Stalled"}]}, False),
        ({"observedGeneration": 1, "conditions": []}, False),
        ({"observedGeneration": 2, "conditions": [OURS]}, False),
        ({"observedGeneration": 1, "conditions": [OURS], "serviceUID": "x"}, False),
        ({"conditions": [OURS]}, False),
        ({}, False),
    ],
)
def test_a_status_is_the_same_where_our_own_fields_are(existing: Body, same: bool) -> None:
    assert same_status(existing, {"observedGeneration": 1, "conditions": [OURS]}) is same


def test_the_order_of_conditions_does_not_matter() -> None:
    one, other = OURS, {**OURS, "type": "Reachable"}
    assert same_status({"conditions": [one, other]}, {"conditions": [other, one]})


def test_the_body_is_guarded_by_the_version_that_was_judged_and_carries_nothing_else() -> None:
    found = snapshot_of(policy(resource_version=77), held_service())
    assert status_body(policy_in(found), {"conditions": []}) == {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"name": "shop", "namespace": "web", "resourceVersion": "77"},
        "status": {"conditions": []},
    }


def test_after_a_fault_of_our_own_ready_is_denied_and_all_else_stays_as_it_was() -> None:
    before = status(policy(), *WORLD)
    found = policy_in(snapshot_of(policy(generation=7, status=before), held_service()))

    after = status_after_fault(found, fault="KeyError", now=NOW)

    conditions = {one["type"]: one for one in after["conditions"]}
    for kind, expected in (("Ready", Status.FALSE), ("Stalled", Status.TRUE)):
        told = conditions.pop(kind)
        assert (told["status"], told["reason"], told["observedGeneration"]) == (expected, "OperatorFailed", 7)
        assert told["message"].endswith("please report them. (KeyError)")
    assert conditions == {
        one["type"]: one for one in before["conditions"] if one["type"] not in ("Ready", "Stalled", "Reconciling")
    }
    assert {**after, "conditions": [], "observedGeneration": 1} == {**before, "conditions": []}
    again = policy_in(snapshot_of(policy(generation=7, status=after), held_service()))
    assert same_status(after, status_after_fault(again, fault="KeyError", now=NOW + timedelta(hours=1)))


def test_a_condition_keeps_its_time_from_the_status_that_is_there() -> None:
    before = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": "2020-01-01T00:00:00Z"}]}
    ready = status(policy(status=before), *WORLD)["conditions"][0]
    assert ready["status"] == Status.FALSE
    assert ready["lastTransitionTime"] == "2020-01-01T00:00:00Z"
