"""A difference is named by its field, told from a change of what is wanted, and weighed by what it did to access."""

from __future__ import annotations

from typing import Any

import pytest

from nodeport_access import desired
from nodeport_access.api import API_VERSION, KIND, POLICY_LABEL, Body, Effect
from nodeport_access.drift import (
    Difference,
    has_second_controller,
    network_policy_additions,
    network_policy_drift,
    service_drift,
    stripped_metadata,
)
from nodeport_access.observed import NetworkPolicy, parse_network_policy, parse_service
from nodeport_access.policy_body import parse_policy
from tests.unit import builders
from tests.unit.builders import CHILD_FIELDS, NOW, ours, owner_field, stored, theirs

POLICY = parse_policy(builders.policy(allowed=["203.0.113.0/24"], allowedPeers=[{"podSelector": {}}]))
SERVICE = parse_service(builders.service())
ALLOW = desired.allow_body(POLICY, SERVICE, NOW)
DENY = desired.deny_body(POLICY, SERVICE, holder=True)
LABEL_PATH = f"metadata.labels.{POLICY_LABEL}"


def differences(want: Body, change: Body | None = None, *, taken: str = "", manager: str = "kubectl-edit") -> Any:
    """What differs after somebody changed the spec of a child, and with that took the field."""
    body = stored(want)
    kept = [path for path in CHILD_FIELDS if path != taken]
    managed = [ours(*kept), *([theirs(taken, manager=manager)] if taken else [])]
    spec = {key: value for key, value in {**body["spec"], **(change or {})}.items() if value is not None}
    changed = {**body, "metadata": {**body["metadata"], "managedFields": managed}, "spec": spec}
    return network_policy_drift(want, parse_network_policy(changed))


@pytest.mark.parametrize("want", [ALLOW, DENY])
def test_what_the_api_server_keeps_of_what_we_applied_does_not_differ(want: Body) -> None:
    assert network_policy_drift(want, parse_network_policy(stored(want))) == ()


RULE: Body = ALLOW["spec"]["ingress"][0]
BLOCK: Body = {"ipBlock": {"cidr": "203.0.113.0/24"}}
PEER: Body = {"podSelector": {}}
PORTS: list[Body] = RULE["ports"]


def rule(*peers: Body, ports: list[Body] = PORTS) -> Body:
    return {"from": list(peers), "ports": ports}


@pytest.mark.parametrize(
    ("want", "change", "effect"),
    [
        (ALLOW, {"ingress": [rule({"ipBlock": {"cidr": "0.0.0.0/0"}})]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule(BLOCK, PEER, {"ipBlock": {"cidr": "192.0.2.0/24"}})]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule({"ipBlock": {"cidr": "203.0.112.0/23"}})]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule(BLOCK, PEER, {"namespaceSelector": {}})]}, Effect.OPENED),
        (ALLOW, {"ingress": [RULE, {}]}, Effect.OPENED),
        (ALLOW, {"ingress": [{"from": [BLOCK, PEER]}]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule(BLOCK, PEER, ports=[{"protocol": "TCP"}])]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule(BLOCK, PEER, ports=[*PORTS, {"protocol": "TCP", "port": 1}])]}, Effect.OPENED),
        # somebody in, somebody else out: opened is what counts
        (ALLOW, {"ingress": [rule({"ipBlock": {"cidr": "192.0.2.0/24"}})]}, Effect.OPENED),
        (ALLOW, {"ingress": [rule(BLOCK)]}, Effect.CLOSED),
        (ALLOW, {"ingress": [rule(PEER)]}, Effect.CLOSED),
        (ALLOW, {"ingress": [rule({"ipBlock": {"cidr": "203.0.113.0/25"}}, PEER)]}, Effect.CLOSED),
        (
            ALLOW,
            {"ingress": [rule({"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.7/32"]}}, PEER)]},
            Effect.CLOSED,
        ),
        (ALLOW, {"ingress": None}, Effect.CLOSED),
        # the same people, said in other words
        (ALLOW, {"ingress": [rule(BLOCK), rule(PEER)]}, Effect.NONE),
        (ALLOW, {"ingress": [rule(PEER, BLOCK)]}, Effect.NONE),
        (DENY, {"ingress": [{}]}, Effect.OPENED),
        (DENY, {"ingress": [rule(BLOCK)]}, Effect.OPENED),
    ],
)
def test_other_rules_are_weighed_by_who_gained_and_who_lost(want: Body, change: Body, effect: Effect) -> None:
    (found,) = differences(want, change, taken="spec.ingress", manager="kubectl-patch")
    assert (found.path, found.foreign, found.writer) == ("spec.ingress", True, "kubectl-patch")
    assert found.effect is effect


@pytest.mark.parametrize("want", [ALLOW, DENY])
@pytest.mark.parametrize(
    ("path", "change", "effect"),
    [
        ("spec.podSelector", {"podSelector": {"matchLabels": {"app": "nothing"}}}, Effect.OPENED),
        ("spec.policyTypes", {"policyTypes": ["Egress"]}, Effect.OPENED),
        ("spec.policyTypes", {"policyTypes": ["Ingress", "Egress"]}, Effect.CLOSED),
        ("spec.egress", {"egress": [{}]}, Effect.NONE),
    ],
)
def test_every_other_field_of_the_spec_has_its_effect(want: Body, path: str, change: Body, effect: Effect) -> None:
    (found,) = differences(want, change, taken=path)
    assert (found.path, found.foreign, found.writer, found.effect) == (path, True, "kubectl-edit", effect)


def test_a_field_that_differs_and_is_still_ours_is_a_change_of_what_is_wanted() -> None:
    wider = desired.allow_body(parse_policy(builders.policy(allowed=["203.0.112.0/23"])), SERVICE, NOW)
    (found,) = network_policy_drift(wider, parse_network_policy(stored(ALLOW)))
    assert (found.path, found.foreign, found.writer) == ("spec.ingress", False, "")


def test_a_field_that_nobody_holds_was_changed_by_somebody_unknown() -> None:
    body = stored(ALLOW, managed=[ours("spec.podSelector")])
    del body["spec"]["ingress"]
    (found,) = network_policy_drift(ALLOW, parse_network_policy(body))
    assert (found.path, found.foreign, found.writer) == ("spec.ingress", True, "")


@pytest.mark.parametrize(
    ("labels", "differs"),
    [
        ({}, False),
        ({"foreign": "label"}, False),
        ({POLICY_LABEL: "another"}, True),
        ({POLICY_LABEL: None}, True),
    ],
)
def test_only_our_own_labels_matter(labels: dict[str, str | None], differs: bool) -> None:
    body = stored(ALLOW)
    changed = {**body["metadata"]["labels"], **labels}
    body["metadata"]["labels"] = {key: value for key, value in changed.items() if value is not None}
    body["metadata"]["annotations"] = {"foreign": "annotation"}
    found = network_policy_drift(ALLOW, parse_network_policy(body))
    assert [(difference.path, difference.effect) for difference in found] == (
        [("metadata.labels", Effect.NONE)] if differs else []
    )


OWNER: Body = {"apiVersion": API_VERSION, "kind": KIND, "name": POLICY.key.name, "uid": POLICY.uid, "controller": True}


@pytest.mark.parametrize(
    ("owners", "differs"),
    [
        ([OWNER], False),
        ([{"kind": "ConfigMap", "name": "x", "uid": "y"}, OWNER], False),  # an addition, see below
        ([OWNER, {**OWNER, "controller": False}], True),
        ([{**OWNER, "blockOwnerDeletion": True}], True),
        ([], True),
        ([{**OWNER, "uid": "predecessor"}], True),
        ([{**OWNER, "controller": False}], True),
        ([{key: value for key, value in OWNER.items() if key != "controller"}], True),
    ],
)
def test_our_owner_must_be_there_as_we_wrote_it(owners: list[Body], differs: bool) -> None:
    body = stored(ALLOW)
    body["metadata"]["ownerReferences"] = owners
    found = network_policy_drift(ALLOW, parse_network_policy(body))
    assert [difference.path for difference in found] == (["metadata.ownerReferences"] if differs else [])


STRANGE: Body = {"apiVersion": "v1", "kind": "ConfigMap", "name": "settings", "uid": "stranger"}
PREDECESSOR: Body = {**OWNER, "uid": "predecessor"}
FINALIZERS, OWNERS = "metadata.finalizers", "metadata.ownerReferences"


def child(owners: list[Body], *managed: Body, finalizers: tuple[str, ...] = ()) -> NetworkPolicy:
    """The allowlist with these owners and finalizers."""
    body = stored(ALLOW, managed=[ours(*CHILD_FIELDS, owner_field(POLICY.uid)), *managed])
    body["metadata"] |= {"ownerReferences": owners, "finalizers": list(finalizers)}
    return parse_network_policy(body)


THEIR_OWNER = theirs(owner_field("stranger"), manager="gitops")
ADDITIONS: dict[str, tuple[NetworkPolicy, list[tuple[str, bool, str]]]] = {
    "nothing": (child([OWNER]), []),
    "an owner": (child([OWNER, STRANGE], THEIR_OWNER), [(OWNERS, True, "gitops")]),
    "an owner whose entry somebody wiped": (child([OWNER, STRANGE]), [(OWNERS, True, "")]),
    "an owner in place of ours": (child([STRANGE], THEIR_OWNER), [(OWNERS, True, "gitops")]),
    "a finalizer": (
        child([OWNER], theirs(FINALIZERS), finalizers=("example.com/hold",)),
        [(FINALIZERS, True, "kubectl-edit")],
    ),
    "both": (
        child([STRANGE, OWNER], THEIR_OWNER, theirs(FINALIZERS), finalizers=("example.com/hold", "orphan")),
        [(FINALIZERS, True, "kubectl-edit"), (OWNERS, True, "gitops")],
    ),
    "how it was deleted": (child([OWNER], finalizers=("foregroundDeletion",)), [(FINALIZERS, False, "")]),
    # our own, which an apply takes along or away by itself
    "ours in another form": (child([{**OWNER, "blockOwnerDeletion": True}], theirs(owner_field(POLICY.uid))), []),
    "a predecessor": (child([PREDECESSOR], ours(owner_field("predecessor"))), []),
    "a predecessor that another holds too": (
        child([PREDECESSOR], ours(owner_field("predecessor")), theirs(owner_field("predecessor"))),
        [(OWNERS, True, "kubectl-edit")],
    ),
}


@pytest.mark.parametrize("case", ADDITIONS)
def test_what_others_added_is_told_apart_from_what_an_apply_repairs(case: str) -> None:
    observed, expected = ADDITIONS[case]
    found = network_policy_additions(ALLOW, observed)
    assert [(each.path, each.foreign, each.writer) for each in found] == expected
    assert all(each.effect is Effect.NONE and each.want != each.have for each in found)
    assert FINALIZERS not in [each.path for each in network_policy_drift(ALLOW, observed)]
    finalizers = [each for each in found if each.path == FINALIZERS]
    assert list(network_policy_additions(None, observed)) == finalizers, "of what is to go only these matter"


@pytest.mark.parametrize("case", ADDITIONS)
def test_exactly_what_others_added_is_taken_off(case: str) -> None:
    observed, expected = ADDITIONS[case]
    metadata = stripped_metadata(ALLOW, observed)
    assert {f"metadata.{field}" for field in metadata} == {path for path, *_ in expected}
    assert metadata.get("finalizers", []) == []
    kept = metadata.get("ownerReferences", list(observed.owners))
    assert kept == [
        owner for owner in observed.owners if owner != STRANGE and case != "a predecessor that another holds too"
    ]
    assert stripped_metadata(None, observed).keys() == metadata.keys() - {"ownerReferences"}


@pytest.mark.parametrize(
    ("owners", "refused"),
    [
        ([OWNER], False),
        ([OWNER, STRANGE], False),
        ([{**STRANGE, "controller": True}], True),
        ([{**OWNER, "controller": False}, {**STRANGE, "controller": True}], True),
        ([PREDECESSOR], True),  # held by nobody here, so our apply leaves it
    ],
)
def test_an_apply_beside_another_controller_is_known_to_be_refused(owners: list[Body], refused: bool) -> None:
    assert has_second_controller(ALLOW, child(owners, THEIR_OWNER)) is refused


def test_a_predecessor_that_only_we_hold_makes_way_by_itself() -> None:
    observed = child([PREDECESSOR], ours(owner_field("predecessor")))
    assert not has_second_controller(ALLOW, observed)
    (found,) = network_policy_drift(ALLOW, observed)
    assert (found.path, found.foreign, found.have) == (OWNERS, False, [PREDECESSOR])


def test_several_differences_are_all_named_spec_first() -> None:
    body = stored(ALLOW)
    body["metadata"]["labels"] = {}
    body["spec"] = {"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}
    found = network_policy_drift(ALLOW, parse_network_policy(body))
    assert [difference.path for difference in found] == [
        "spec.podSelector",
        "spec.policyTypes",
        "spec.ingress",
        "spec.egress",
        "metadata.labels",
    ]
    assert all(difference.want != difference.have for difference in found)


# --- the Service ---


BODY = desired.service_body(POLICY, SERVICE, health_check_node_port=0)


def summary(found: tuple[Difference, ...]) -> list[tuple[str, bool, str, Effect]]:
    return [(each.path, each.foreign, each.writer, each.effect) for each in found]


BOTH_OURS = ours("spec.externalTrafficPolicy", LABEL_PATH)
THEIRS = theirs("spec.externalTrafficPolicy", manager="argocd")
FIELD, LABEL = "spec.externalTrafficPolicy", "metadata.labels"


@pytest.mark.parametrize(
    ("tweaks", "held_before", "expected"),
    [
        # as wanted and ours
        ({"traffic_policy": "Local", "labels": {POLICY_LABEL: "shop"}, "managed": [BOTH_OURS]}, False, []),
        # never ours: nobody has done anything to us
        (
            {"managed": [theirs("spec.externalTrafficPolicy", manager="kubectl-create")]},
            False,
            [(FIELD, False, "kubectl-create", Effect.DEPENDS), (LABEL, False, "", Effect.NONE)],
        ),
        # taken back, and the label left: the label proves that the rest was ours
        (
            {"labels": {POLICY_LABEL: "shop"}, "managed": [ours(LABEL_PATH), THEIRS]},
            False,
            [(FIELD, True, "argocd", Effect.DEPENDS)],
        ),
        # replaced whole: no trace of ours is left, status alone knows
        ({"managed": [THEIRS]}, True, [(FIELD, True, "argocd", Effect.DEPENDS), (LABEL, True, "", Effect.NONE)]),
        # as wanted, and somebody else's: taken all the same, because only an owner keeps a field
        (
            {"traffic_policy": "Local", "labels": {POLICY_LABEL: "shop"}, "managed": [ours(LABEL_PATH), THEIRS]},
            False,
            [(FIELD, True, "argocd", Effect.NONE)],
        ),
        # the label of another policy, still ours: a hand-over
        (
            {"traffic_policy": "Local", "labels": {POLICY_LABEL: "before"}, "managed": [BOTH_OURS]},
            False,
            [(LABEL, False, "", Effect.NONE)],
        ),
        # the label edited by somebody
        (
            {
                "traffic_policy": "Local",
                "labels": {POLICY_LABEL: "stranger"},
                "managed": [ours("spec.externalTrafficPolicy"), theirs(LABEL_PATH, manager="kubectl-label")],
            },
            False,
            [(LABEL, True, "kubectl-label", Effect.NONE)],
        ),
        # the label removed by somebody
        (
            {"traffic_policy": "Local", "managed": [ours("spec.externalTrafficPolicy")]},
            False,
            [(LABEL, True, "", Effect.NONE)],
        ),
    ],
)
def test_a_service_differs_where_a_field_is_not_as_wanted_or_not_ours(
    tweaks: dict[str, Any], held_before: bool, expected: list[tuple[str, bool, str, Effect]]
) -> None:
    found = service_drift(BODY, parse_service(builders.service(**tweaks)), held_before=held_before)
    assert summary(found) == expected
