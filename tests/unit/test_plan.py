"""The plan: complete, in an order that never opens more than is open before or after, and none where all is as wanted.

Properties run over histories of a namespace (`worlds`), with writes carried out one by one on the model cluster.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given

from nodeport_access import desired
from nodeport_access.api import KIND, POLICY_LABEL, Body, Effect
from nodeport_access.observed import parse_service
from nodeport_access.plan import Verb, Write, audit, plan
from nodeport_access.policy_body import parse_policy
from nodeport_access.rules import EVERYONE
from nodeport_access.snapshot import Role
from tests.unit import builders
from tests.unit.builders import (
    KEY,
    LATER,
    NAMESPACE,
    NOW,
    held_service,
    policy,
    policy_in,
    service,
    snapshot_of,
    stored,
)
from tests.unit.model_cluster import ModelCluster
from tests.unit.strategies import properties
from tests.unit.worlds import (
    HISTORIES,
    SETTLE,
    Event,
    access,
    carry_out,
    opened_beyond,
    planned,
    played,
    pods_of,
    promised,
    settle,
    story,
)

WORK = SETTLE.name


# --- properties over histories ---


@properties(120)
@given(HISTORIES)
@example(story(WORK, "elder is created", "shop is made for a namespace", "shop is made auditing"))
@example(story(WORK, "shop is removed", "elder is created"))
def test_what_a_plan_has_done_needs_no_other_plan(history: list[Event]) -> None:
    cluster = played(history)
    for write in planned(cluster):
        carry_out(cluster, write)
    left = planned(cluster)
    # What is deleted while a finalizer holds it: that comes off once it is seen what its writer makes of it.
    assert all(write.verb is Verb.STRIP and write.policy is None for write in left)
    for write in left:
        carry_out(cluster, write)
    assert planned(cluster) == ()


HAND_OVERS = [
    story(WORK, "twin is created", WORK, "shop is removed"),
    story(WORK, "twin is created", WORK, "shop is removed", "garbage is collected"),
    story(WORK, "twin is created", "shop is being deleted"),
    story(WORK, "elder is created"),
    story(WORK, "twin is created", WORK, "shop is made auditing"),
    story("shop is made for a namespace", WORK, "shop is made for a service", "twin is created"),
    story(WORK, "shop is made for others", "shop is made for a namespace"),
    # The allowlist moves on to other pods, and those that it leaves have only the deny-all that is to come.
    story(
        WORK,
        "the service is removed",
        WORK,
        "shop-deny-all is removed",
        "shop is made for a namespace",
        "the service is created",
        "the service is selecting {'app': 'other'}",
    ),
]


def hand_overs(test: Any) -> Any:
    """Has a property look at the hand-overs and switches that matter most, whatever else is generated."""
    for history in HAND_OVERS:
        test = example(history)(test)
    return test


@properties(120)
@given(HISTORIES)
@hand_overs
def test_no_write_lets_anybody_in_who_gets_in_neither_before_nor_after(history: list[Event]) -> None:
    cluster = played(history)
    pods, states = promised(cluster, history), [access(cluster)]
    writes = planned(cluster)
    for write in writes:
        carry_out(cluster, write)
        states.append(access(cluster))
    for write, state in zip(writes, states[1:], strict=True):
        assert opened_beyond(pods, state, states[0], states[-1]) == [], write


@properties(120)
@given(HISTORIES)
@hand_overs
@example(
    story(
        WORK,
        "shop is removed",
        *(
            f"elder{suffix} is {what}"
            for suffix in ("-allow", "-deny-all")
            for what in ("created by a stranger", "made void")
        ),
        "elder is created",
    )
)
def test_pods_that_were_shut_stay_shut_while_a_policy_holds_their_service(history: list[Event]) -> None:
    cluster = played(history)
    snapshot = cluster.store.snapshot(KEY, NOW)
    if snapshot.holder is None or snapshot.service is None or not snapshot.service.selector:
        return
    mine = pods_of(cluster)
    shut = [way for way, found in access(cluster).items() if way[0] in mine and not found.addresses >= EVERYONE]
    for write in planned(cluster):
        carry_out(cluster, write)
        state = access(cluster)
        assert not [way for way in shut if state[way].addresses >= EVERYONE], write


@properties(80)
@given(HISTORIES)
def test_only_what_is_ours_is_changed_and_only_what_is_missing_is_made(history: list[Event]) -> None:
    cluster = played(history)
    living = {body["metadata"]["name"] for body in cluster.bodies(KIND)}
    for write in planned(cluster):
        found = cluster.get_body(write.kind, write.namespace, write.name)
        if write.verb is Verb.CREATE:
            assert found is None or found["metadata"].get("deletionTimestamp")
            assert write.uid == (found["metadata"]["uid"] if found else "")
            continue
        assert found is not None
        assert write.uid == found["metadata"]["uid"]
        if write.body is not None:
            assert write.body["metadata"]["uid"] == write.uid
        if write.kind == "NetworkPolicy":
            entries = found["metadata"]["managedFields"]
            applied = any(entry["manager"] == "nodeport-access-operator" for entry in entries)
            assert applied or write.uid in cluster.made
        if write.verb is not Verb.STRIP:
            assert (write.policy is None) == (write.verb in (Verb.DELETE, Verb.RELEASE))
        assert write.policy is None or write.policy.name in living


@properties(80)
@given(HISTORIES)
@example(story("shop is made auditing"))
@example(story(WORK, "twin is created to audit", "shop is being deleted"))
@example(story(WORK, "elder is created to audit", WORK))
@example(story(WORK, "shop is made auditing", "shop-allow is removed"))
def test_an_audit_tells_exactly_what_enforcing_would_do_and_does_nothing(history: list[Event]) -> None:
    cluster = played(history)
    snapshot = cluster.store.snapshot(KEY, NOW)
    auditors = [policy for policy in snapshot.policies if snapshot.role(policy) is Role.AUDITOR]
    assert not {write.policy for write in plan(snapshot)} & {policy.key for policy in auditors}
    told = {policy.key: audit(snapshot, policy) for policy in auditors}
    for key, writes in told.items():
        alike = played(history)
        alike.edit(KIND, key.namespace, key.name, lambda body: body["spec"].update(mode="Enforce"), manager="kubectl")
        assert writes == tuple(write for write in planned(alike) if write.policy == key)


# --- the order ---


def objects(writes: tuple[Write, ...]) -> list[str]:
    """Each write as what it does to which object."""
    return [f"{write.verb} {write.object}" for write in writes]


def after(*names: str) -> ModelCluster:
    """The cluster after a history by the names of its events."""
    return played(story(*names))


ALLOW, DENY, SERVICE = "NetworkPolicy/shop-allow", "NetworkPolicy/shop-deny-all", "Service/shop"
HELD = ["shop-allow is given a finalizer"]
MOVED = ["the service is created", "the service is selecting {'app': 'other'}"]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        # closing: an allowed client loses nothing at nodes with a ready pod
        ([], [f"create {ALLOW}", f"update {SERVICE}", f"create {DENY}"]),
        ([WORK], []),
        (["shop is made unmanaged"], [f"create {ALLOW}", f"create {DENY}"]),
        ([WORK, "shop is made for others"], [f"update {ALLOW}"]),
        ([WORK, "shop is made for a namespace"], [f"update {DENY}"]),
        # drift that opens comes before drift that closes, whatever the closing order says
        ([WORK, "shop-allow is closed", "shop-deny-all is opened"], [f"update {DENY}", f"update {ALLOW}"]),
        ([WORK, "shop-allow is closed", "the service is set to Cluster"], [f"update {SERVICE}", f"update {ALLOW}"]),
        (
            [WORK, "shop-allow is opened", "the service is set to Cluster", "shop-deny-all is removed"],
            [f"update {ALLOW}", f"update {SERVICE}", f"create {DENY}"],
        ),
        (
            [WORK, "shop-allow is removed", "the service is set to Cluster", "shop-deny-all is made void"],
            [f"update {SERVICE}", f"update {DENY}", f"create {ALLOW}"],
        ),
        # and before what changed because something else is wanted now
        (
            [WORK, "shop is made for others", "shop-deny-all is made void"],
            [f"update {DENY}", f"update {ALLOW}"],
        ),
        # both gone: open, so in closing order again
        ([WORK, "shop-allow is removed", "shop-deny-all is removed"], [f"create {ALLOW}", f"create {DENY}"]),
        # the pods that the allowlist leaves stay shut by a deny-all that is not there yet, or already going
        *(
            (
                [WORK, "the service is removed", WORK, *gone, "shop is made for a namespace", *MOVED],
                [f"create {DENY}", f"update {ALLOW}", f"update {SERVICE}"],
            )
            for gone in (
                ["shop-deny-all is removed"],
                ["shop-deny-all is given a finalizer", "shop-deny-all is removed"],
            )
        ),
        # what others added changes nobody's access, and comes last
        ([WORK, "shop-allow is given a finalizer"], [f"strip {ALLOW}"]),
        ([WORK, "shop-deny-all is given an owner", "shop-deny-all is given a finalizer"], [f"strip {DENY}"]),
        (
            [WORK, "shop-deny-all is given an owner", "shop-deny-all is opened", "shop-allow is closed"],
            [f"update {DENY}", f"update {ALLOW}", f"strip {DENY}"],
        ),
        # unless the API server would refuse the repair beside it: then both are one
        ([WORK, "shop-allow is closed", "shop-deny-all is given a controller"], [f"update {ALLOW}", f"update {DENY}"]),
        (
            [WORK, "shop-allow is closed", "shop-deny-all is given a controller", "shop-deny-all is opened"],
            [f"update {DENY}", f"update {ALLOW}"],
        ),
        # a child that is held by a finalizer is as good as gone
        ([WORK, *HELD, "shop-allow is removed"], [f"create {ALLOW}"]),
        ([WORK, *HELD, "shop-deny-all is removed"], [f"create {DENY}", f"strip {ALLOW}"]),
        ([WORK, *HELD, "shop-allow is removed", "shop-deny-all is removed"], [f"create {ALLOW}", f"create {DENY}"]),
        # what is to go is deleted first, so that its finalizer can do what it is for
        ([WORK, *HELD, "shop is removed"], [f"delete {DENY}", f"delete {ALLOW}", f"release {SERVICE}"]),
        (
            [WORK, *HELD, "shop is removed", "garbage is collected"],
            [f"strip {ALLOW}", f"release {SERVICE}"],
        ),
        # letting go comes last and runs backwards: the deny-all before the allowlist, the Service at the end
        ([WORK, "shop is removed"], [f"delete {DENY}", f"delete {ALLOW}", f"release {SERVICE}"]),
        ([WORK, "shop is made auditing"], [f"delete {DENY}", f"delete {ALLOW}", f"release {SERVICE}"]),
        ([WORK, "shop is being deleted"], [f"delete {DENY}", f"delete {ALLOW}", f"release {SERVICE}"]),
        ([WORK, "shop is made unmanaged"], [f"release {SERVICE}"]),
        # a hand-over is one plan: what the new holder wants, then what the old one left
        (
            [WORK, "twin is created", WORK, "shop is removed"],
            [
                "create NetworkPolicy/twin-allow",
                f"update {SERVICE}",
                f"delete {DENY}",
                f"delete {ALLOW}",
            ],
        ),
        # an older policy takes over: the one that waits keeps its deny-all, and loses its allowlist last
        (
            [WORK, "elder is created"],
            [
                "create NetworkPolicy/elder-allow",
                "create NetworkPolicy/elder-deny-all",
                f"update {SERVICE}",
                f"delete {ALLOW}",
            ],
        ),
    ],
)
def test_writes_come_in_this_order(history: list[str], expected: list[str]) -> None:
    assert objects(planned(after(*history))) == expected


def test_a_policy_that_waits_keeps_only_its_deny_all() -> None:
    cluster = after(WORK, "twin is created")
    assert objects(planned(cluster)) == ["create NetworkPolicy/twin-deny-all"]
    settle(cluster)
    assert cluster.names("NetworkPolicy") == ["shop-allow", "shop-deny-all", "twin-deny-all"]


@pytest.mark.parametrize(
    "event", ["the service is removed", "the service is selecting None", "the service is made ExternalName"]
)
def test_where_no_pods_can_be_selected_what_stands_stays(event: str) -> None:
    cluster = after(WORK, event, "shop-allow is opened", "shop-deny-all is removed")
    assert not [write for write in planned(cluster) if write.kind == "NetworkPolicy"]


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        ("the service is made LoadBalancer", []),
        ("the service is made ClusterIP", [f"release {SERVICE}"]),
        ("the service is made ExternalName", [f"release {SERVICE}"]),
    ],
)
def test_a_service_that_loses_its_node_ports_is_released_and_stays_shut(event: str, expected: list[str]) -> None:
    cluster = after(WORK, event)
    assert objects(planned(cluster)) == expected
    settle(cluster)
    assert cluster.names("NetworkPolicy") == ["shop-allow", "shop-deny-all"]


def test_a_service_that_never_had_node_ports_is_shut_before_it_opens() -> None:
    assert objects(planned(after("the service is made ClusterIP"))) == [f"create {ALLOW}", f"create {DENY}"]


def test_a_service_made_anew_under_its_name_is_taken_anew() -> None:
    cluster = after(WORK, "the service is removed", "the service is created")
    (write,) = planned(cluster)
    assert write.object == SERVICE
    assert write.drift is None, "nobody took anything back: this is another Service"


def test_a_strangers_object_under_a_childs_name_is_left_alone() -> None:
    for suffix in ("-allow", "-deny-all"):
        cluster = after(f"shop{suffix} is created by a stranger")
        before = cluster.get_body("NetworkPolicy", NAMESPACE, f"shop{suffix}")
        settle(cluster)
        assert cluster.get_body("NetworkPolicy", NAMESPACE, f"shop{suffix}") == before
        assert planned(cluster) == ()


STOLEN = ["shop-allow is removed", "shop-allow is created by a stranger"]


@pytest.mark.parametrize(
    ("history", "expected"),
    [
        # nothing is closed without the allowlist that would let allowed clients in
        (["shop-allow is created by a stranger"], []),
        (["shop-deny-all is created by a stranger"], [f"create {ALLOW}", f"update {SERVICE}"]),
        # and what is in force is kept in force
        ([WORK, *STOLEN], []),
        ([WORK, *STOLEN, "shop-deny-all is opened"], [f"update {DENY}"]),
        ([WORK, *STOLEN, "shop-deny-all is removed"], [f"create {DENY}"]),
        ([WORK, *STOLEN, "the service is set to Cluster"], [f"update {SERVICE}"]),
        ([WORK, *STOLEN, "shop is made for a namespace"], []),
    ],
)
def test_without_an_allowlist_nothing_new_is_closed_and_nothing_is_opened(
    history: list[str], expected: list[str]
) -> None:
    assert objects(planned(after(*history))) == expected


def test_the_policy_of_a_name_is_not_its_predecessor_but_its_children_are_adopted() -> None:
    cluster = after(WORK, "shop is removed", "shop is created")
    writes = planned(cluster)
    assert objects(writes) == [f"update {ALLOW}", f"update {DENY}"]
    for write in writes:
        (difference,) = write.differences
        assert (difference.path, difference.foreign) == ("metadata.ownerReferences", False)


# --- whose doing, and what it did ---


@pytest.mark.parametrize(
    ("history", "drifts"),
    [
        ([], {}),
        ([WORK, "shop is made for others"], {}),
        ([WORK, "the service is selecting {'tier': 'web'}"], {}),
        ([WORK, "shop-allow is removed"], {ALLOW: ("deleted", Effect.CLOSED)}),
        ([WORK, "shop-deny-all is removed"], {DENY: ("deleted", Effect.NONE)}),
        (
            [WORK, "shop-allow is removed", "shop-deny-all is removed"],
            {ALLOW: ("deleted", Effect.OPENED), DENY: ("deleted", Effect.OPENED)},
        ),
        # the deny-all of the namespace holds other pods too
        (
            ["shop is made for a namespace", WORK, "shop-deny-all is removed"],
            {DENY: ("deleted", Effect.OPENED)},
        ),
        # the pods of a Service for which two policies stand are shut by either
        (
            [WORK, "twin is created", WORK, "twin-deny-all is removed"],
            {"NetworkPolicy/twin-deny-all": ("deleted", Effect.NONE)},
        ),
        (
            ["twin is created", "twin is made for a namespace", WORK, "twin-deny-all is removed"],
            {"NetworkPolicy/twin-deny-all": ("deleted", Effect.NONE)},
        ),
        (
            [WORK, "twin is created", WORK, "shop-allow is removed", "shop-deny-all is removed"],
            {ALLOW: ("deleted", Effect.CLOSED), DENY: ("deleted", Effect.NONE)},
        ),
        # never there: nobody removed it
        ([WORK, "twin is created"], {}),
        ([WORK, "elder is created"], {}),
        ([WORK, "shop-deny-all is opened"], {DENY: ("spec.ingress", Effect.OPENED)}),
        ([WORK, "shop-allow is closed"], {ALLOW: ("spec.ingress", Effect.CLOSED)}),
        ([WORK, "shop-allow is stripped of labels"], {ALLOW: ("metadata.labels", Effect.NONE)}),
        ([WORK, "the service is set to Cluster"], {SERVICE: ("spec.externalTrafficPolicy", Effect.DEPENDS)}),
        ([WORK, "the service is stripped of our label"], {SERVICE: ("metadata.labels", Effect.NONE)}),
        ([WORK, *HELD], {ALLOW: ("metadata.finalizers", Effect.NONE)}),
        ([WORK, "shop-deny-all is given an owner"], {DENY: ("metadata.ownerReferences", Effect.NONE)}),
        ([WORK, "shop-deny-all is given a controller"], {DENY: ("metadata.ownerReferences", Effect.NONE)}),
        # a deletion is told as such, held or not
        ([WORK, *HELD, "shop-allow is removed"], {ALLOW: ("deleted", Effect.CLOSED)}),
        # some CNIs let go of what is being deleted, so that it shuts nobody out any more
        (
            [WORK, *HELD, "shop-allow is removed", "shop-deny-all is removed"],
            {ALLOW: ("deleted", Effect.OPENED), DENY: ("deleted", Effect.OPENED)},
        ),
        # the worst is told: void beats the label
        (
            [WORK, "shop-deny-all is stripped of labels", "shop-deny-all is made void"],
            {DENY: ("spec.policyTypes", Effect.OPENED)},
        ),
    ],
)
def test_what_somebody_else_did_is_told_from_what_is_wanted_anew(
    history: list[str], drifts: dict[str, tuple[str, Effect]]
) -> None:
    found = {write.object: write.drift for write in planned(after(*history)) if write.drift is not None}
    assert {name: (drift.path, drift.effect) for name, drift in found.items()} == drifts


# --- letting go ---


@pytest.mark.parametrize(
    ("history", "waits"),
    [
        ([WORK, "shop is removed"], True),
        ([WORK, "shop is being deleted"], True),
        # its policy lives: no garbage collector will come
        ([WORK, "shop is made auditing"], False),
        # kubectl delete --cascade=orphan takes the owners off
        ([WORK, "shop-allow is stripped of owners", "shop-deny-all is stripped of owners", "shop is removed"], False),
    ],
)
def test_the_garbage_collector_is_left_what_is_its(history: list[str], waits: bool) -> None:
    deletes = [write for write in planned(after(*history)) if write.verb is Verb.DELETE]
    assert [write.after_others for write in deletes] == [waits, waits]


@pytest.mark.parametrize(
    ("history", "waits"),
    [
        # who put the finalizer may have something to do first
        ([WORK, *HELD, "shop is removed", "garbage is collected"], True),
        # but while another policy holds the Service, what lingers lets in whom that one does not
        ([WORK, *HELD, "elder is created", WORK], False),
    ],
)
def test_who_holds_what_nobody_wants_gets_some_time_unless_it_lets_somebody_in(history: list[str], waits: bool) -> None:
    (strip,) = [write for write in planned(after(*history)) if write.verb is Verb.STRIP]
    assert (strip.object, strip.policy, strip.after_others) == (ALLOW, None, waits)


@pytest.mark.parametrize(
    ("history", "first"),
    [
        ([WORK, "shop-allow is given an owner"], False),
        ([WORK, "shop-allow is given a controller"], True),
        ([WORK, "shop-allow is given another owner"], True),
        ([WORK, *HELD, "shop-allow is removed"], True),
    ],
)
def test_what_stands_in_the_way_of_a_write_goes_first(history: list[str], first: bool) -> None:
    (write,) = planned(after(*history))
    assert write.strips_first is first


def test_a_child_is_not_kept_by_a_policy_that_somebody_made_its_owner() -> None:
    cluster = after(WORK)
    twin = cluster.create(policy(name="twin", service="other"))["metadata"]
    owner = {"apiVersion": "nodeport-access.io/v1alpha1", "kind": KIND, "name": "twin", "uid": twin["uid"]}
    for name in ("shop-allow", "shop-deny-all"):
        cluster.edit(
            "NetworkPolicy", NAMESPACE, name, lambda body: body["metadata"].update(ownerReferences=[owner]), manager="x"
        )
    cluster.remove(KIND, NAMESPACE, "shop")
    assert objects(planned(cluster)) == [f"delete {DENY}", f"delete {ALLOW}", f"release {SERVICE}"]


def test_a_delete_names_the_very_object_that_was_seen() -> None:
    cluster = after(WORK, "shop is removed")
    for write in planned(cluster):
        if write.verb is Verb.DELETE:
            found = cluster.get_body("NetworkPolicy", NAMESPACE, write.name)
            assert found is not None
            assert (write.uid, write.resource_version) == (
                found["metadata"]["uid"],
                found["metadata"]["resourceVersion"],
            )


def test_a_released_service_gets_back_what_another_wanted_or_the_default() -> None:
    cluster = after(WORK, "shop is removed")
    settle(cluster)
    body = cluster.get_body("Service", NAMESPACE, "shop")
    assert body is not None
    assert body["spec"]["externalTrafficPolicy"] == "Cluster"
    assert POLICY_LABEL not in body["metadata"].get("labels", {})


# --- the health check port ---


@pytest.mark.parametrize(
    ("tweaks", "status", "asked"),
    [
        ({"type": "LoadBalancer"}, {"serviceUID": "same", "healthCheckNodePort": 31999}, 31999),
        ({"type": "LoadBalancer"}, {"serviceUID": "another", "healthCheckNodePort": 31999}, None),
        ({"type": "LoadBalancer"}, {"serviceUID": "same"}, None),
        ({"type": "NodePort"}, {"serviceUID": "same", "healthCheckNodePort": 31999}, None),
        # in force: another number would be refused
        (
            {"type": "LoadBalancer", "traffic_policy": "Local", "health_check_node_port": 32000},
            {"serviceUID": "same", "healthCheckNodePort": 31999},
            None,
        ),
    ],
)
def test_a_repair_asks_for_the_port_that_load_balancers_probe(
    tweaks: dict[str, Any], status: Body, asked: int | None
) -> None:
    writes = plan(snapshot_of(policy(status=status), service(uid="same", **tweaks)))
    (body,) = [write.body for write in writes if write.kind == "Service"]
    assert body is not None
    assert body["spec"].get("healthCheckNodePort") == asked


def test_a_list_that_is_too_long_leaves_everything_as_it_is() -> None:
    endless = [
        builders.entry(
            f"2001:db8:{number}::/48", excepts=[f"2001:db8:{number}:{part:x}000::1/128" for part in range(16)]
        )
        for number in range(20)
    ]
    held = held_service(families=["IPv6"])
    mine, target = parse_policy(policy()), parse_service(held)
    standing = [stored(desired.allow_body(mine, target, NOW)), stored(desired.deny_body(mine, target, holder=True))]
    assert plan(snapshot_of(policy(allowed=endless), held, *standing)) == ()


# --- roles ---


def test_the_oldest_living_enforcer_holds_the_service_and_names_decide_between_twins() -> None:
    bodies = [
        policy(name="gone", created="2020-01-01T00:00:00Z", deleting=True),
        policy(name="auditor", created="2021-01-01T00:00:00Z", mode="Audit"),
        policy(name="b", created="2022-01-01T00:00:00Z"),
        policy(name="a", created="2022-01-01T00:00:00Z"),
        policy(name="late", created=LATER),
        policy(name="elsewhere", created="2019-01-01T00:00:00Z", service="other"),
    ]
    snapshot = snapshot_of(*bodies)
    assert snapshot.holder is policy_in(snapshot, "a")
    assert {each.key.name: snapshot.role(each) for each in snapshot.policies} == {
        "gone": Role.GONE,
        "auditor": Role.AUDITOR,
        "a": Role.HOLDER,
        "b": Role.WAITING,
        "late": Role.WAITING,
    }
