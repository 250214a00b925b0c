"""Each condition for each of its reasons, and what all of them come to in Ready, Reconciling and Stalled.

One case for every reason, in a cluster of API bodies that is converged but for what the case is about. Not its
business: how conditions are written (`test_conditions`), or what is done about a violation (`test_plan`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from nodeport_access import desired
from nodeport_access.api import Body, ConditionType
from nodeport_access.checks import Case
from nodeport_access.conditions import Condition, Status
from nodeport_access.observed import Node, parse_service
from nodeport_access.outcome import Failure
from nodeport_access.policy_body import parse_policy
from nodeport_access.reasons import Reason, Weight
from nodeport_access.verdict import CHECKS, judge
from tests.unit import builders
from tests.unit.builders import (
    LATER,
    NOW,
    endpoint,
    endpoint_slice,
    entry,
    held_service,
    network_policy,
    node,
    pod,
    policy,
    policy_in,
    port,
    service,
    snapshot_of,
    stored,
)

NODES = (
    node("node-1", addresses=["10.102.123.117"], pod_cidrs=["10.233.90.0/24"]),
    node(
        "node-2",
        addresses=["10.102.123.104"],
        pod_cidrs=["10.233.92.0/24"],
        annotations={"projectcalico.org/IPv4IPIPTunnelAddr": "10.99.92.0"},
    ),
)
BACKENDS = (endpoint_slice(endpoint("10.233.90.7", node="node-1")), pod())


def children(policy_body: Body, service_body: Body) -> tuple[Body, Body]:
    """Both children as they should be."""
    mine, target = parse_policy(policy_body), parse_service(service_body)
    return stored(desired.allow_body(mine, target, NOW)), stored(desired.deny_body(mine, target, holder=True))


def converged(
    *more: Body,
    policy_body: Body | None = None,
    service_body: Body | None = None,
    backends: tuple[Body, ...] = BACKENDS,
) -> tuple[Body, ...]:
    """A guarded Service with all that belongs to it, and more."""
    mine, target = policy_body or policy(), service_body or held_service()
    return (mine, target, *children(mine, target), *NODES, *backends, *more)


def judged(
    *bodies: Body,
    name: str = "shop",
    failures: Mapping[str, Failure] | None = None,
    contender: str = "",
    pods_listed: bool = True,
    nodes_listed: bool = True,
) -> dict[ConditionType, Condition]:
    """All conditions of a policy, by type; each type at most once."""
    snapshot = replace(snapshot_of(*bodies), pods_listed=pods_listed, nodes_listed=nodes_listed)
    found = judge(
        Case(snapshot=snapshot, policy=policy_in(snapshot, name), failures=failures or {}, contender=contender)
    )
    by_type = {condition.type: condition for condition in found}
    assert len(by_type) == len(found)
    return by_type


T = ConditionType


@dataclass(frozen=True, kw_only=True)
class Told:
    """A cluster, the condition that it is about, and what that does to Ready."""

    bodies: tuple[Body, ...]
    type: ConditionType
    status: Status = Status.FALSE
    says: str = ""
    ready: Reason | None = None
    """The reason of Ready where it is not the case's own."""
    judging: dict[str, Any] = field(default_factory=dict)


def failed(reason: Reason, name: str = "NetworkPolicy/shop-allow") -> dict[str, Any]:
    return {"failures": {name: Failure(reason=reason, message="what the API server said")}}


def without(bodies: tuple[Body, ...], name: str) -> tuple[Body, ...]:
    return tuple(body for body in bodies if body["metadata"]["name"] != name)


def without_nodes(bodies: tuple[Body, ...]) -> tuple[Body, ...]:
    return tuple(body for body in bodies if body["kind"] != "Node")


STRANGER = network_policy(name="open", ingress=[{"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}])
BALANCER = network_policy(name="balancer", ingress=[{"from": [{"ipBlock": {"cidr": "10.102.0.0/16"}}]}])
OLDER = policy(name="elder", created=builders.CREATED)
LATECOMER = policy(created=LATER)
AUDIT = policy(mode="Audit")
UNMANAGED = policy(trafficPolicy="Unmanaged")
BESIDE: dict[str, Any] = {"name": "beside", "ports": [port(81, node=30081)]}
ENDLESS = policy(
    allowed=[
        entry(f"2001:db8:{number}::/48", excepts=[f"2001:db8:{number}:{part:x}000::1/128" for part in range(16)])
        for number in range(20)
    ]
)

CASES: dict[Reason, Told] = {
    Reason.GUARDED: Told(
        bodies=converged(),
        type=T.READY,
        status=Status.TRUE,
        says="Node port 30080 admits the allowlist only; deny-all selects the Service's pods.",
    ),
    Reason.AUDIT_MODE: Told(bodies=(AUDIT, service(), *NODES, *BACKENDS), type=T.ALLOWLIST_APPLIED),
    Reason.SERVICE_FOUND: Told(bodies=converged(), type=T.SERVICE_RESOLVED, status=Status.TRUE, ready=Reason.GUARDED),
    Reason.SERVICE_NOT_FOUND: Told(
        bodies=(policy(), *NODES), type=T.SERVICE_RESOLVED, says="Service 'shop' does not exist"
    ),
    Reason.SERVICE_TYPE_UNSUPPORTED: Told(
        bodies=converged(service_body=service(type="ClusterIP")), type=T.SERVICE_RESOLVED, says="is of type ClusterIP"
    ),
    Reason.EXTERNAL_NAME_SERVICE: Told(bodies=(policy(), service(type="ExternalName")), type=T.SERVICE_RESOLVED),
    Reason.SELECTOR_MISSING: Told(bodies=(policy(), held_service(selector=None)), type=T.SERVICE_RESOLVED),
    Reason.PORT_NOT_FOUND: Told(
        bodies=converged(policy_body=policy(allowed=[entry("10.2.3.4/32", ports=["grpc", 81, "http"])])),
        type=T.SERVICE_RESOLVED,
        says="Service 'shop' has no port grpc, 81; its ports are http (80).",
    ),
    Reason.SERVICE_ALREADY_CLAIMED: Told(
        bodies=converged(OLDER, policy_body=LATECOMER),
        type=T.ALLOWLIST_APPLIED,
        says="Service 'shop' is guarded by the older policy 'elder'.",
    ),
    Reason.INVALID_SPEC: Told(
        bodies=converged(policy_body=policy(allowed=["10.2.3.4/32", entry("10.0.0.1/8")])),
        type=T.SERVICE_RESOLVED,
        says="spec.allowedCIDRs[1].cidr: '10.0.0.1/8'",
    ),
    Reason.LOCAL_IN_FORCE: Told(
        bodies=converged(), type=T.CLIENT_IP_PRESERVED, status=Status.TRUE, ready=Reason.GUARDED
    ),
    Reason.CLUSTER_IN_FORCE: Told(bodies=converged(service_body=service()), type=T.CLIENT_IP_PRESERVED),
    Reason.CLUSTER_UNMANAGED: Told(
        bodies=converged(policy_body=UNMANAGED, service_body=service()), type=T.CLIENT_IP_PRESERVED
    ),
    Reason.FOREIGN_WRITER: Told(
        bodies=converged(service_body=service()),
        type=T.CLIENT_IP_PRESERVED,
        says="argocd keeps setting externalTrafficPolicy",
        judging={"contender": "argocd"},
    ),
    Reason.APPLIED: Told(bodies=converged(), type=T.ALLOWLIST_APPLIED, status=Status.TRUE, ready=Reason.GUARDED),
    Reason.NOT_APPLIED: Told(
        bodies=without(converged(), "shop-deny-all"),
        type=T.DEFAULT_DENY_APPLIED,
        says="NetworkPolicy 'shop-deny-all' is absent.",
    ),
    Reason.ALLOWLIST_TOO_LONG: Told(
        bodies=(ENDLESS, held_service(families=["IPv6"]), *NODES, *BACKENDS),
        type=T.ALLOWLIST_APPLIED,
        says="networks, and 20,000 is the most",
    ),
    Reason.NAME_CONFLICT: Told(
        bodies=(*without(converged(), "shop-allow"), network_policy(name="shop-allow")),
        type=T.ALLOWLIST_APPLIED,
        says="NetworkPolicy 'shop-allow' is not the operator's",
    ),
    Reason.APPLY_FORBIDDEN: Told(
        bodies=without(converged(), "shop-allow"),
        type=T.ALLOWLIST_APPLIED,
        says="what the API server said",
        judging=failed(Reason.APPLY_FORBIDDEN),
    ),
    Reason.APPLY_REFUSED: Told(
        bodies=without(converged(), "shop-allow"), type=T.ALLOWLIST_APPLIED, judging=failed(Reason.APPLY_REFUSED)
    ),
    Reason.APPLY_FAILED: Told(
        bodies=without(converged(), "shop-allow"), type=T.ALLOWLIST_APPLIED, judging=failed(Reason.APPLY_FAILED)
    ),
    Reason.NODES_ANSWER: Told(
        bodies=converged(),
        type=T.REACHABLE,
        status=Status.TRUE,
        says="1 of 2 nodes answer: node-1.",
        ready=Reason.GUARDED,
    ),
    Reason.NO_READY_ENDPOINTS: Told(
        bodies=converged(backends=()),
        type=T.REACHABLE,
        says="None of 2 nodes has a ready endpoint.",
        ready=Reason.GUARDED,
    ),
    Reason.NO_OTHER_OPENING: Told(bodies=converged(), type=T.EXCLUSIVE, status=Status.TRUE, ready=Reason.GUARDED),
    Reason.OPENED_BY_OTHER_POLICY: Told(
        bodies=converged(STRANGER), type=T.EXCLUSIVE, says="NetworkPolicy 'open' admits 0.0.0.0/0."
    ),
    Reason.PODS_NOT_LISTED: Told(
        bodies=converged(),
        type=T.EXCLUSIVE,
        status=Status.UNKNOWN,
        says="nobody knows what else bears on them",
        judging={"pods_listed": False},
    ),
    Reason.NODES_NOT_LISTED: Told(
        bodies=without_nodes(converged()),
        type=T.ENFORCEABLE,
        status=Status.UNKNOWN,
        says="Nodes cannot be listed, so nobody knows",
        ready=Reason.GUARDED,
        judging={"nodes_listed": False},
    ),
    Reason.NOTHING_BYPASSES: Told(bodies=converged(), type=T.ENFORCEABLE, status=Status.TRUE, ready=Reason.GUARDED),
    Reason.HOST_NETWORK_BACKEND: Told(
        bodies=converged(backends=(endpoint_slice(endpoint("10.102.123.117", node="node-1")), pod())),
        type=T.ENFORCEABLE,
        says="Backends in the host network of node-1 are open to everyone.",
    ),
    Reason.UNGUARDED_CLUSTER_SERVICE: Told(
        bodies=converged(service(**BESIDE)),
        type=T.ENFORCEABLE,
        says="Service beside exposes the same pods under Cluster",
    ),
    Reason.OTHER_POLICY_COVERS_NODES: Told(
        bodies=converged(BALANCER),
        type=T.ENFORCEABLE,
        says="NetworkPolicy 'balancer' admits addresses of node-1, node-2 or of pods there: whoever is masqueraded",
        ready=Reason.OPENED_BY_OTHER_POLICY,
    ),
    Reason.UNGUARDED_SERVICE: Told(
        bodies=converged(service(traffic_policy="Local", **BESIDE)),
        type=T.ENFORCEABLE,
        says="Service beside exposes the same pods and no policy keeps it Local.",
        ready=Reason.GUARDED,
    ),
    Reason.ALLOWLIST_COVERS_NODES: Told(
        bodies=converged(policy_body=policy(allowed=["10.102.0.0/16"])),
        type=T.ENFORCEABLE,
        says="The allowlist covers addresses of node-1, node-2",
        ready=Reason.GUARDED,
    ),
}


def with_metadata(bodies: tuple[Body, ...], name: str, **metadata: Any) -> tuple[Body, ...]:
    """The bodies, with more metadata in the one of this name."""
    return tuple(
        {**body, "metadata": {**body["metadata"], **metadata}} if body["metadata"]["name"] == name else body
        for body in bodies
    )


HELD = with_metadata(converged(), "shop-allow", finalizers=["example.com/hold"])


def test_what_others_added_to_a_child_denies_nothing_and_is_told() -> None:
    found = judged(*HELD)[T.ALLOWLIST_APPLIED]
    assert (found.status, found.reason) == (Status.TRUE, Reason.APPLIED)
    assert found.message == "NetworkPolicy 'shop-allow' is as wanted, but something was added to metadata.finalizers."
    assert judged(*HELD)[T.READY].reason is Reason.GUARDED


def test_that_it_cannot_be_taken_off_is_told_too_and_denies_nothing() -> None:
    found = judged(*HELD, **failed(Reason.APPLY_REFUSED))
    assert found[T.ALLOWLIST_APPLIED].holds
    assert found[T.ALLOWLIST_APPLIED].message.endswith(", and it cannot be taken off: what the API server said")
    assert found[T.READY].holds


def test_a_child_that_is_being_deleted_is_not_relied_on() -> None:
    found = judged(*with_metadata(HELD, "shop-allow", deletionTimestamp=LATER))
    assert found[T.ALLOWLIST_APPLIED].reason is Reason.NOT_APPLIED
    assert found[T.ALLOWLIST_APPLIED].message == (
        "NetworkPolicy 'shop-allow' is being deleted, and held by example.com/hold."
    )
    assert found[T.READY].reason is Reason.NOT_APPLIED


def test_a_child_that_differs_is_not_excused_by_what_was_added_to_it() -> None:
    emptied = tuple(
        {**body, "spec": {**body["spec"], "ingress": []}} if body["metadata"]["name"] == "shop-allow" else body
        for body in HELD
    )
    assert judged(*emptied)[T.ALLOWLIST_APPLIED].reason is Reason.NOT_APPLIED
    refused = judged(*emptied, **failed(Reason.APPLY_REFUSED))[T.ALLOWLIST_APPLIED]
    assert refused.reason is Reason.APPLY_REFUSED


JUDGED = [reason for reason in Reason if reason is not Reason.OPERATOR_FAILED]
"""That one is told where nothing could be judged (`test_status`)."""


@pytest.mark.parametrize("reason", JUDGED)
def test_every_reason_is_told_in_a_case_of_its_own(reason: Reason) -> None:
    case = CASES[reason]
    found = judged(*case.bodies, **case.judging)[case.type]
    assert (found.status, found.reason) == (case.status, reason)
    assert case.says in found.message


@pytest.mark.parametrize("reason", JUDGED)
def test_ready_and_what_explains_it_follow_from_the_weight_of_the_reason(reason: Reason) -> None:
    case = CASES[reason]
    found = judged(*case.bodies, **case.judging)
    ready = found[T.READY]
    assert ready.reason is (case.ready or reason)
    weight = ready.reason.weight
    assert ready.status is (Status.TRUE if weight is Weight.GOOD else Status.FALSE)
    explaining = {
        Weight.PASSING: {T.RECONCILING},
        Weight.LASTING: {T.STALLED},
    }.get(weight, set())
    assert found.keys() & {T.RECONCILING, T.STALLED} == explaining
    for kind in explaining:
        assert (found[kind].status, found[kind].reason, found[kind].message) == (
            Status.TRUE,
            ready.reason,
            ready.message,
        )


def test_every_check_gives_the_type_that_comes_in_its_place() -> None:
    assert [kind for kind in judged(*converged()) if kind is not T.READY] == [
        kind for kind in T if kind not in (T.READY, T.RECONCILING, T.STALLED)
    ]
    assert len(CHECKS) == 7


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"service_body": service()}, Reason.OPENED_BY_OTHER_POLICY),  # lasting beats passing
        ({"service_body": service(type="ClusterIP")}, Reason.SERVICE_TYPE_UNSUPPORTED),  # the first of two lasting ones
    ],
)
def test_what_only_a_person_can_mend_is_said_first(more: dict[str, Any], reason: Reason) -> None:
    assert judged(*converged(STRANGER, **more))[T.READY].reason is reason


@pytest.mark.parametrize(
    "bodies", [(policy(),), (policy(), held_service(selector=None)), (policy(), service(type="ExternalName"))]
)
def test_what_cannot_be_judged_is_unknown_and_gives_the_cause(bodies: tuple[Body, ...]) -> None:
    found = judged(*bodies)
    cause = found[T.SERVICE_RESOLVED]
    for kind in (T.ALLOWLIST_APPLIED, T.DEFAULT_DENY_APPLIED, T.EXCLUSIVE, T.ENFORCEABLE):
        assert (found[kind].status, found[kind].reason) == (Status.UNKNOWN, cause.reason)
    assert not cause.holds


def test_without_a_list_of_pods_what_was_found_is_told_and_what_was_not_found_is_unknown() -> None:
    unseen = judged(*converged(), pods_listed=False)
    for kind in (T.EXCLUSIVE, T.ENFORCEABLE):
        assert (unseen[kind].status, unseen[kind].reason) == (Status.UNKNOWN, Reason.PODS_NOT_LISTED)
    assert unseen[T.ALLOWLIST_APPLIED].holds
    assert unseen[T.DEFAULT_DENY_APPLIED].holds
    seen = judged(*converged(STRANGER, service(**BESIDE)), pods_listed=False)
    assert seen[T.EXCLUSIVE].reason is Reason.OPENED_BY_OTHER_POLICY
    assert seen[T.ENFORCEABLE].reason is Reason.UNGUARDED_CLUSTER_SERVICE


def test_without_a_list_of_nodes_ready_says_what_nobody_knows_and_the_nodes_that_answer_are_named_all_the_same() -> (
    None
):
    unseen = judged(*without_nodes(converged()), nodes_listed=False)
    assert unseen[T.READY].holds
    assert unseen[T.READY].message.endswith(f"the Service's pods. {Reason.NODES_NOT_LISTED.sentence}")
    assert unseen[T.REACHABLE].message == "1 of an unknown number of nodes answer: node-1."
    nobody = judged(*without_nodes(converged(backends=())), nodes_listed=False)
    assert nobody[T.REACHABLE].message == "No node has a ready endpoint."


def test_without_a_list_of_nodes_what_was_found_is_told_and_that_more_may_be() -> None:
    seen = judged(*without_nodes(converged(service(**BESIDE))), nodes_listed=False)
    assert seen[T.ENFORCEABLE].reason is Reason.UNGUARDED_CLUSTER_SERVICE
    assert seen[T.ENFORCEABLE].message.endswith(Reason.NODES_NOT_LISTED.sentence)
    neither = judged(*without_nodes(converged()), nodes_listed=False, pods_listed=False)
    assert neither[T.ENFORCEABLE].reason is Reason.PODS_NOT_LISTED, "that one passes, and denies Ready"


def test_a_service_without_node_ports_has_no_nodes_that_answer() -> None:
    found = judged(*converged(service_body=service(type="ClusterIP")))
    for kind in (T.CLIENT_IP_PRESERVED, T.REACHABLE):
        assert (found[kind].status, found[kind].reason) == (Status.UNKNOWN, Reason.SERVICE_TYPE_UNSUPPORTED)
    assert found[T.ALLOWLIST_APPLIED].holds, "the children depend on the selector alone"


# --- the children ---


def edited(name: str, **spec: Any) -> tuple[Body, ...]:
    return tuple(
        {**body, "spec": {**body["spec"], **spec}} if body["metadata"]["name"] == name else body for body in converged()
    )


def test_a_child_that_differs_names_the_fields() -> None:
    found = judged(*edited("shop-allow", policyTypes=["Egress"], egress=[{}]))[T.ALLOWLIST_APPLIED]
    assert (found.status, found.reason) == (Status.FALSE, Reason.NOT_APPLIED)
    assert "differs from what is wanted in spec.policyTypes, spec.egress." in found.message


def test_a_waiting_policy_keeps_its_deny_all_on_the_services_pods_only() -> None:
    mine = policy(created=LATER, isolation="Namespace")
    target = held_service()
    whole = children(mine, target)[1]
    own = stored(desired.deny_body(parse_policy(mine), parse_service(target), holder=False))
    for deny, status in ((own, Status.TRUE), (whole, Status.FALSE)):
        found = judged(mine, OLDER, target, deny, *NODES, *BACKENDS)
        assert found[T.DEFAULT_DENY_APPLIED].status is status
        assert found[T.ALLOWLIST_APPLIED].reason is Reason.SERVICE_ALREADY_CLAIMED
        assert found[T.STALLED].reason is Reason.SERVICE_ALREADY_CLAIMED


def test_the_holder_is_not_disturbed_by_one_that_waits() -> None:
    late = policy(name="late", created=LATER)
    deny = stored(desired.deny_body(parse_policy(late), parse_service(held_service()), holder=False))
    assert judged(*converged(late, deny))[T.READY].holds


def test_ready_says_what_is_shut_and_adds_what_is_worth_knowing() -> None:
    ports = [port(80, node=30080), port(443, name="https", node=30443)]
    wide = policy(isolation="Namespace", allowed=["10.102.123.117/32"])
    found = judged(*converged(policy_body=wide, service_body=held_service(ports=ports)))[T.READY]
    assert found.message.startswith(
        "Node ports 30080, 30443 admit the allowlist only; deny-all selects every pod of the namespace. "
    )
    assert found.message.endswith(judged(*converged(policy_body=wide))[T.ENFORCEABLE].message)


def test_a_load_balancer_without_node_ports_is_guarded_too() -> None:
    bare = held_service(
        type="LoadBalancer", ports=[{"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP"}]
    )
    assert judged(*converged(service_body=bare))[T.READY].message.startswith("The Service admits the allowlist only;")


# --- who answers ---


def test_draining_nodes_are_told_apart_and_a_ready_endpoint_outweighs_them() -> None:
    draining = {"ready": False, "serving": True, "terminating": True}
    pieces = (
        endpoint_slice(endpoint("10.233.90.7", node="node-1"), endpoint("10.233.90.8", node="node-1", **draining)),
        endpoint_slice(endpoint("10.233.92.7", node="node-2", **draining), name="shop-def"),
    )
    found = judged(*converged(backends=(*pieces, pod())))[T.REACHABLE]
    assert found.message == "1 of 2 nodes answer: node-1; draining: node-2."
    found = judged(*converged(backends=(pieces[1], pod())))[T.REACHABLE]
    assert (found.status, found.message) == (
        Status.FALSE,
        "None of 2 nodes has a ready endpoint; draining: node-2.",
    )


def test_under_cluster_every_node_answers_and_the_message_says_so() -> None:
    found = judged(*converged(service_body=service()))[T.REACHABLE]
    assert found.message == "Under Cluster every node answers; 1 of 2 nodes have a ready endpoint: node-1."


def test_an_endpoint_without_a_node_makes_no_node_answer() -> None:
    backends = (endpoint_slice(endpoint("10.233.90.7", node="")), pod())
    assert judged(*converged(backends=backends))[T.REACHABLE].reason is Reason.NO_READY_ENDPOINTS


# --- who else opens the pods ---


def opening(*peers: Body, ports: list[Body] | None = None, **tweaks: Any) -> Body:
    rule: Body = {"from": list(peers)} if peers else {}
    return network_policy(name="open", ingress=[rule | ({"ports": ports} if ports else {})], **tweaks)


def cidr(text: str, *excepts: str) -> Body:
    return {"ipBlock": {"cidr": text} | ({"except": list(excepts)} if excepts else {})}


@pytest.mark.parametrize(
    ("other", "opens"),
    [
        (opening(), True),
        (opening(cidr("192.0.2.0/24")), True),
        (opening(cidr("10.2.3.4/32")), False),  # whom the allowlist admits anyway
        (opening(cidr("10.2.3.0/24")), True),
        (opening(cidr("2001:db8::/32")), False),  # the Service has no IPv6
        (opening({"podSelector": {}}), False),  # callers inside the cluster
        (opening(cidr("192.0.2.0/24"), ports=[{"protocol": "TCP", "port": 9999}]), False),
        (opening(cidr("192.0.2.0/24"), ports=[{"protocol": "UDP", "port": 8080}]), False),
        (opening(cidr("192.0.2.0/24"), ports=[{"protocol": "TCP", "port": 8000, "endPort": 8100}]), True),
        # a name may be any number, as long as nothing tells: a policy too many is named, never one too few
        (opening(cidr("192.0.2.0/24"), ports=[{"protocol": "TCP", "port": "web"}]), True),
        (opening(cidr("192.0.2.0/24"), pod_selector={"matchLabels": {"app": "bar"}}), False),
        (opening(cidr("192.0.2.0/24"), pod_selector={}), True),
        (opening(cidr("192.0.2.0/24"), policy_types=["Egress"]), False),
        (opening(cidr("192.0.2.0/24"), namespace="another"), False),
        (network_policy(name="open"), False),  # one more deny-all
        # a stranger's under the name of a child of ours, or of another policy's, opens them all the same
        (opening(cidr("192.0.2.0/24")) | {"metadata": network_policy(name="auditor-allow")["metadata"]}, True),
    ],
)
def test_another_policy_opens_the_pods_where_it_admits_addresses_beyond_the_allowlist(other: Body, opens: bool) -> None:
    auditor = policy(name="auditor", mode="Audit")
    found = judged(*converged(other, auditor))[T.EXCLUSIVE]
    assert found.holds is not opens
    if opens:
        assert repr(other["metadata"]["name"]) in found.message


def test_a_stranger_under_the_name_of_the_allowlist_is_named_for_what_it_admits() -> None:
    stranger = {**STRANGER, "metadata": network_policy(name="shop-allow")["metadata"]}
    found = judged(*without(converged(), "shop-allow"), stranger)
    assert found[T.ALLOWLIST_APPLIED].reason is Reason.NAME_CONFLICT
    assert "'shop-allow' admits 0.0.0.0/0" in found[T.EXCLUSIVE].message


def test_the_labels_of_the_pods_decide_and_not_the_selector_of_the_service() -> None:
    canary = opening(cidr("0.0.0.0/0"), pod_selector={"matchLabels": {"track": "canary"}})
    assert judged(*converged(canary))[T.EXCLUSIVE].holds
    labelled = pod("shop-2", labels={"app": "shop", "track": "canary"})
    assert not judged(*converged(canary, labelled))[T.EXCLUSIVE].holds


@pytest.mark.parametrize(("number", "opens"), [(8080, True), (9090, False)])
def test_a_named_target_port_is_resolved_by_the_endpoint_slices(number: int, opens: bool) -> None:
    named = held_service(ports=[port(target="web")])
    other = opening(cidr("192.0.2.0/24"), ports=[{"protocol": "TCP", "port": number}])
    resolved = (endpoint_slice(endpoint("10.233.90.7"), ports=[("http", 8080)]), pod())
    assert judged(*converged(other, service_body=named, backends=resolved))[T.EXCLUSIVE].holds is not opens
    unresolved = (pod(),)
    assert not judged(*converged(other, service_body=named, backends=unresolved))[T.EXCLUSIVE].holds


def test_an_opening_counts_on_the_ports_where_the_allowlist_does_not_admit_it() -> None:
    two = held_service(ports=[port(), port(443, name="https", target=8443)])
    mine = policy(allowed=[entry("192.0.2.0/24", ports=["http"])])
    for number, opens in ((8080, False), (8443, True)):
        other = opening(cidr("192.0.2.0/24"), ports=[{"protocol": "TCP", "port": number}])
        found = judged(*converged(other, policy_body=mine, service_body=two))[T.EXCLUSIVE]
        assert found.holds is not opens


def test_several_openings_are_named_in_order() -> None:
    others = [{**STRANGER, "metadata": network_policy(name=name)["metadata"]} for name in ("c", "a", "b")]
    message = judged(*converged(*others))[T.EXCLUSIVE].message
    assert [part.partition(" ")[0] for part in message.partition("NetworkPolicy ")[2].split("; ")] == [
        "'a'",
        "'b'",
        "'c'",
    ]


# --- what no NetworkPolicy holds back ---


@pytest.mark.parametrize(
    ("allowed", "covers"),
    [
        ("10.102.123.104/32", True),  # a node
        ("10.99.0.0/16", True),  # a tunnel
        ("10.233.92.128/25", True),  # pods of a node
        ("10.2.3.4/32", False),
        ("0.0.0.0/0", False),  # everyone is in it, and hides nobody
    ],
)
def test_an_allowlist_that_covers_nodes_tunnels_or_pods_is_warned_of(allowed: str, covers: bool) -> None:
    found = judged(*converged(policy_body=policy(allowed=[allowed])))[T.ENFORCEABLE]
    assert (found.reason is Reason.ALLOWLIST_COVERS_NODES) is covers


class Unread(tuple[Node, ...]):
    """Nodes that may be counted, and not looked at one by one."""

    def __iter__(self) -> Iterator[Node]:
        raise AssertionError("there may be thousands")


def test_where_no_node_is_covered_none_is_looked_at_by_itself() -> None:
    """An EndpointSlice that changes brings on a pass, however many nodes there are."""
    snapshot = snapshot_of(*converged())
    snapshot = replace(snapshot, nodes=Unread(snapshot.nodes))
    found = judge(Case(snapshot=snapshot, policy=policy_in(snapshot, "shop"), failures={}, contender=""))
    assert {condition.reason for condition in found} >= {Reason.NOTHING_BYPASSES, Reason.GUARDED}


WEB_FROM_ANYWHERE: Body = {"from": [cidr("0.0.0.0/0")], "ports": [{"protocol": "TCP", "port": "web"}]}


@pytest.mark.parametrize(
    ("other", "nodes"),
    [
        (opening(cidr("10.102.123.104/32")), "node-2"),
        (opening(cidr("10.99.0.0/16")), "node-2"),  # a tunnel
        (opening(cidr("10.233.90.128/25")), "node-1"),  # pods of a node
        (opening(cidr("10.102.0.0/16", "10.102.123.117/32")), "node-2"),
        (opening(cidr("0.0.0.0/1")), "node-1, node-2"),
        (opening(cidr("10.102.0.0/16"), ports=[{"protocol": "TCP", "port": 8000, "endPort": 8100}]), "node-1, node-2"),
        # a name may be any number, as long as nothing tells
        (opening(cidr("10.102.0.0/16"), ports=[{"protocol": "TCP", "port": "web"}]), "node-1, node-2"),
        # and so it may be another one: then everyone is let in there, and here only who is hidden
        (network_policy(ingress=[WEB_FROM_ANYWHERE, {"from": [cidr("10.102.0.0/16")]}]), "node-1, node-2"),
        (opening(cidr("10.102.0.0/16"), pod_selector={}), "node-1, node-2"),
        (opening(cidr("192.0.2.0/24")), ""),
        # everyone is in, and nobody has to hide
        (opening(), ""),
        (opening(cidr("0.0.0.0/0")), ""),
        (opening(cidr("0.0.0.0/0"), cidr("10.102.0.0/16")), ""),
        (opening(cidr("0.0.0.0/1"), cidr("128.0.0.0/1")), ""),
        (network_policy(ingress=[{}, {"from": [cidr("10.102.0.0/16")]}]), ""),
        (network_policy(ingress=[{"from": [cidr("0.0.0.0/1")]}, {"from": [cidr("128.0.0.0/1")]}]), ""),
        (opening(cidr("10.102.0.0/16"), ports=[{"protocol": "TCP", "port": 9999}]), ""),
        (opening(cidr("10.102.0.0/16"), ports=[{"protocol": "UDP", "port": 8080}]), ""),
        (opening(cidr("10.102.0.0/16"), pod_selector={"matchLabels": {"app": "bar"}}), ""),
        (opening(cidr("10.102.0.0/16"), policy_types=["Egress"]), ""),
        (opening({"podSelector": {}}), ""),  # pods by their labels are who they are
    ],
)
def test_another_policy_that_covers_nodes_tunnels_or_pods_is_named_with_the_nodes(other: Body, nodes: str) -> None:
    found = judged(*converged(other))[T.ENFORCEABLE]
    if nodes:
        assert found.reason is Reason.OTHER_POLICY_COVERS_NODES
        name = other["metadata"]["name"]
        assert found.message.startswith(f"NetworkPolicy {name!r} admits addresses of {nodes} or of pods there: ")
    else:
        assert found.holds


@pytest.mark.parametrize("families", [["IPv4"], ["IPv6"], ["IPv4", "IPv6"]])
def test_only_addresses_of_a_family_that_the_service_has_count(families: list[str]) -> None:
    other = opening(cidr("0.0.0.0/0"), cidr("2001:db8::/64"))
    dual = node("node-6", addresses=["2001:db8::6"])
    found = judged(*converged(other, dual, service_body=held_service(families=families)))[T.ENFORCEABLE]
    assert ("addresses of node-6 or" in found.message) is ("IPv6" in families)


@pytest.mark.parametrize(
    ("traffic_policy", "managed", "outcome", "ready"),
    [
        ("Local", "Local", "everybody once externalTrafficPolicy is Cluster.", Reason.OPENED_BY_OTHER_POLICY),
        ("Cluster", "Local", "is masqueraded to one, and gets in.", Reason.OPENED_BY_OTHER_POLICY),
        ("Cluster", "Unmanaged", "is masqueraded to one, and gets in.", Reason.CLUSTER_UNMANAGED),
    ],
)
def test_what_it_lets_in_is_told_in_ready_whatever_that_is_denied_for(
    traffic_policy: str, managed: str, outcome: str, ready: Reason
) -> None:
    mine = policy(trafficPolicy=managed)
    found = judged(*converged(BALANCER, policy_body=mine, service_body=service(traffic_policy=traffic_policy)))
    assert found[T.ENFORCEABLE].message.endswith(outcome)
    assert (found[T.READY].status, found[T.READY].reason) == (Status.FALSE, ready)
    assert found[T.READY].message.endswith(f" {found[T.ENFORCEABLE].message}")


def test_where_the_allowlist_covers_the_same_nodes_it_is_a_warning_that_names_both() -> None:
    found = judged(*converged(BALANCER, policy_body=policy(allowed=["10.102.0.0/16"])))
    assert found[T.ENFORCEABLE].reason is Reason.OTHER_POLICY_COVERS_NODES
    assert "The allowlist covers addresses of node-1, node-2" in found[T.ENFORCEABLE].message
    assert (found[T.READY].status, found[T.READY].reason) == (Status.TRUE, Reason.GUARDED)
    assert found[T.READY].message.endswith(f" {found[T.ENFORCEABLE].message}")


def test_several_that_cover_nodes_are_named_in_order() -> None:
    others = [{**BALANCER, "metadata": network_policy(name=name)["metadata"]} for name in "cagbefd"]
    message = judged(*converged(*others))[T.ENFORCEABLE].message
    places = [message.index(f"{name!r} admits addresses of node-1, node-2") for name in "abcde"]
    assert places == sorted(places)
    assert " and 2 more: whoever" in message


def test_ready_tells_no_finding_twice_and_none_where_there_is_none() -> None:
    found = judged(*converged(service(**BESIDE)))
    assert found[T.READY].message == found[T.ENFORCEABLE].message
    found = judged(*without(converged(), "shop-deny-all"))
    assert found[T.READY].message == "NetworkPolicy 'shop-deny-all' is absent."
    found = judged(policy())
    assert found[T.READY].message == found[T.SERVICE_RESOLVED].message


@pytest.mark.parametrize(
    ("beside", "reason"),
    [("Cluster", Reason.UNGUARDED_CLUSTER_SERVICE), ("Local", Reason.OTHER_POLICY_COVERS_NODES)],
)
def test_a_policy_that_covers_nodes_is_worse_than_a_local_service_and_better_than_a_cluster_one(
    beside: str, reason: Reason
) -> None:
    found = judged(*converged(BALANCER, service(traffic_policy=beside, **BESIDE)))[T.ENFORCEABLE]
    assert found.reason is reason
    for part in ("Service beside exposes", "'balancer' admits addresses"):
        assert part in found.message


@pytest.mark.parametrize(
    ("beside", "guard", "reason"),
    [
        ({}, None, Reason.UNGUARDED_CLUSTER_SERVICE),
        ({"traffic_policy": "Local"}, None, Reason.UNGUARDED_SERVICE),
        ({"traffic_policy": "Local"}, policy(name="beside-guard", service="beside"), Reason.NOTHING_BYPASSES),
        ({}, policy(name="beside-guard", service="beside"), Reason.NOTHING_BYPASSES),
        ({}, policy(name="beside-guard", service="beside", mode="Audit"), Reason.UNGUARDED_CLUSTER_SERVICE),
        ({}, policy(name="beside-guard", service="beside", deleting=True), Reason.UNGUARDED_CLUSTER_SERVICE),
        (
            {},
            policy(name="beside-guard", service="beside", trafficPolicy="Unmanaged"),
            Reason.UNGUARDED_CLUSTER_SERVICE,
        ),
        ({"type": "ClusterIP"}, None, Reason.NOTHING_BYPASSES),
        ({"type": "ClusterIP", "externalIPs": ["198.51.100.7"]}, None, Reason.UNGUARDED_CLUSTER_SERVICE),
        ({"selector": {"app": "bar"}}, None, Reason.NOTHING_BYPASSES),
        ({"selector": None}, None, Reason.NOTHING_BYPASSES),
        ({"namespace": "another"}, None, Reason.NOTHING_BYPASSES),
    ],
)
def test_another_service_on_the_same_pods_has_to_be_guarded_alike(
    beside: dict[str, Any], guard: Body | None, reason: Reason
) -> None:
    other = service(**(BESIDE | beside))
    found = judged(*converged(other, *([guard] if guard else [])))[T.ENFORCEABLE]
    assert found.reason is reason


def test_the_worst_finding_gives_the_reason_and_the_message_names_all() -> None:
    backends = (endpoint_slice(endpoint("10.102.123.117", node="node-1")), pod())
    bodies = converged(service(**BESIDE), policy_body=policy(allowed=["10.102.0.0/16"]), backends=backends)
    found = judged(*bodies)[T.ENFORCEABLE]
    assert found.reason is Reason.HOST_NETWORK_BACKEND
    for part in ("host network of node-1", "Service beside exposes", "allowlist covers addresses of node-1, node-2"):
        assert part in found.message
