"""What the operator makes of an inventory: held against the model cluster, on which the same plan is carried out.

Histories are those of the plan's own properties (`worlds`).
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import POLICY_LABEL, Body, ConditionType, PolicyKey
from nodeport_access.conditions import Condition
from nodeport_access.inventory import Inventory, Item, Origin, converged, invented_uid, judged, read
from nodeport_access.inventory.items import RESOURCES, key_of
from nodeport_access.inventory.settling import settled
from nodeport_access.kube import NETWORK_POLICIES, SERVICES
from nodeport_access.plan import Verb
from nodeport_access.reasons import Reason
from tests.unit import builders
from tests.unit.builders import KEY, NAME, NAMESPACE, NOW
from tests.unit.model_cluster import ModelCluster
from tests.unit.strategies import policies, properties, services
from tests.unit.worlds import HISTORIES, SETTLE, Event, carry_out, planned, played, story

BY_KIND = {resource.kind: resource for resource in RESOURCES}
WORK = SETTLE.name


def inventory_of(*bodies: Body) -> Inventory:
    """What `fetch` makes of these objects."""
    return settled(
        {
            key_of(resource, body): Item(body=body, written=body, origin=Origin("the cluster"))
            for body in bodies
            for resource in [BY_KIND[body["kind"]]]
        }
    )


def seen(inventory: Inventory) -> dict[tuple[str, str], Any]:
    """What matters of the objects, however they came about."""
    found = {}
    for item in inventory.items.values():
        body = item.body
        if body["kind"] in ("Service", "NetworkPolicy"):
            metadata = body["metadata"]
            owners = sorted((owner["kind"], owner["name"]) for owner in metadata.get("ownerReferences") or ())
            # The number of a health check is the API server's to allocate.
            spec = {name: value for name, value in body["spec"].items() if name != "healthCheckNodePort"}
            for direction in ("ingress", "egress"):
                if not spec.get(direction):
                    spec.pop(direction, None)
            found[body["kind"], metadata["name"]] = (spec, metadata.get("labels") or {}, owners)
    return found


def served(cluster: ModelCluster) -> list[Body]:
    return [body for body in cluster.bodies() if body["kind"] in BY_KIND]


@properties(100)
@given(HISTORIES)
def test_it_ends_where_an_operator_ends_that_starts_on_the_cluster(history: list[Event]) -> None:
    cluster = played(history)
    result = converged(inventory_of(*served(cluster)), NOW)
    # An operator that has just started: what one has seen of objects that were replaced since, no object tells.
    cluster.store = builders.store_of(*cluster.bodies())
    for _ in range(10):
        for write in planned(cluster):
            carry_out(cluster, write)
    assert planned(cluster) == ()
    assert seen(result.inventory) == seen(inventory_of(*served(cluster)))


@properties(100)
@given(HISTORIES)
def test_it_is_idempotent_and_leaves_its_input_alone(history: list[Event]) -> None:
    inventory = inventory_of(*served(played(history)))
    before = repr(inventory)
    once = converged(inventory, NOW)
    again = converged(once.inventory, NOW)
    assert again.writes == ()
    assert again.inventory == once.inventory
    assert repr(inventory) == before


IN_THE_WAY = {
    Reason.SERVICE_NOT_FOUND,
    Reason.SERVICE_TYPE_UNSUPPORTED,
    Reason.EXTERNAL_NAME_SERVICE,
    Reason.SELECTOR_MISSING,
    Reason.PORT_NOT_FOUND,
    Reason.SERVICE_ALREADY_CLAIMED,
    Reason.CLUSTER_UNMANAGED,
    Reason.AUDIT_MODE,
    Reason.OPENED_BY_OTHER_POLICY,
    Reason.NAME_CONFLICT,
}
"""What no write of the operator mends."""


def ready(conditions: tuple[Condition, ...]) -> Condition:
    return next(condition for condition in conditions if condition.type is ConditionType.READY)


@properties(100)
@given(HISTORIES)
def test_a_policy_is_ready_where_nothing_but_writing_was_in_the_way(history: list[Event]) -> None:
    inventory = inventory_of(*served(played(history)))
    for conditions in judged(converged(inventory, NOW).inventory, NOW).values():
        found = ready(conditions)
        assert found.holds or found.reason in IN_THE_WAY, found


@properties(60)
@given(
    policies(varied=("allowed", "allowedPeers", "isolation", "trafficPolicy", "mode")),
    services(varied=("type", "selector", "ports", "families", "traffic_policy")),
    st.booleans(),
)
def test_the_result_is_the_same_from_a_file_as_from_the_cluster(policy: Body, service: Body, bare: bool) -> None:
    """Whatever a file leaves out of what the API server would tell."""

    def text(body: Body) -> str:
        keep = {"namespace", "name", "labels"} if bare else set(body["metadata"])
        metadata = {name: value for name, value in body["metadata"].items() if name in keep}
        return json.dumps({**body, "metadata": metadata})

    from_file = read(["-"], stdin=lambda: f"{text(policy)}\n---\n{text(service)}")
    from_cluster = inventory_of(policy, service)
    results = [converged(one, NOW) for one in (from_file, from_cluster)]
    written, stored = (seen(result.inventory) for result in results)
    assert written == stored
    assert [write.object for write in results[0].writes] == [write.object for write in results[1].writes]


# --- examples ---


def child(inventory: Inventory, name: str) -> Body | None:
    return inventory.get(NETWORK_POLICIES, namespace=NAMESPACE, name=name)


def service_in(inventory: Inventory) -> Body:
    body = inventory.get(SERVICES, namespace=NAMESPACE, name=NAME)
    assert body is not None
    return body


def test_a_policy_closes_in_the_closing_order() -> None:
    result = converged(inventory_of(builders.policy(), builders.service()), NOW)
    assert [(write.verb, write.object) for write in result.writes] == [
        (Verb.CREATE, "NetworkPolicy/shop-allow"),
        (Verb.UPDATE, "Service/shop"),
        (Verb.CREATE, "NetworkPolicy/shop-deny-all"),
    ]
    service = service_in(result.inventory)
    assert service["spec"]["externalTrafficPolicy"] == "Local"
    assert service["metadata"]["labels"] == {POLICY_LABEL: "shop"}
    allow = child(result.inventory, "shop-allow")
    assert allow is not None
    assert allow["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.2.3.4/32"}}]
    key = next(key for key in result.inventory.items if key.name == "shop-allow")
    assert allow["metadata"]["uid"] == invented_uid(key)
    assert result.inventory.place(key) == "policy web/shop"


def test_a_policy_that_is_gone_hands_everything_back() -> None:
    closed = converged(inventory_of(builders.policy(), builders.service()), NOW).inventory
    left = settled({key: item for key, item in closed.items.items() if item.body["kind"] != "NodePortAccessPolicy"})
    result = converged(left, NOW)
    assert {write.verb for write in result.writes} == {Verb.DELETE, Verb.RELEASE}
    assert result.inventory.bodies(NETWORK_POLICIES) == ()
    assert service_in(result.inventory)["spec"]["externalTrafficPolicy"] == "Cluster"
    assert POLICY_LABEL not in service_in(result.inventory)["metadata"]["labels"]


def test_a_value_that_somebody_else_holds_too_stays_when_it_is_handed_back() -> None:
    managed = [
        builders.ours("spec.externalTrafficPolicy", f"metadata.labels.{POLICY_LABEL}"),
        builders.theirs("spec.externalTrafficPolicy", manager="argocd-controller"),
    ]
    result = converged(inventory_of(builders.held_service(managed=managed)), NOW)
    assert service_in(result.inventory)["spec"]["externalTrafficPolicy"] == "Local"


def test_an_expired_entry_is_not_written() -> None:
    entry = builders.entry("10.2.3.4/32", expiresAt="2026-05-31T00:00:00Z")
    result = converged(inventory_of(builders.policy(allowed=[entry, "10.9.9.9/32"]), builders.service()), NOW)
    allow = child(result.inventory, "shop-allow")
    assert allow is not None
    assert allow["spec"]["ingress"][0]["from"] == [{"ipBlock": {"cidr": "10.9.9.9/32"}}]


def test_a_strangers_object_keeps_its_name_and_the_policy_is_stalled() -> None:
    stranger = builders.network_policy(name="shop-allow", ingress=[{}])
    result = converged(inventory_of(builders.policy(), builders.service(), stranger), NOW)
    assert child(result.inventory, "shop-allow") == stranger
    found = judged(result.inventory, NOW)[PolicyKey(NAMESPACE, NAME)]
    assert ready(found).reason is Reason.NAME_CONFLICT


def test_an_audit_policy_writes_nothing() -> None:
    inventory = inventory_of(builders.policy(mode="Audit"), builders.service())
    assert converged(inventory, NOW).inventory is inventory


@pytest.mark.parametrize(
    "history",
    [
        story(WORK, "shop-allow is removed"),
        story(WORK, "twin is created", WORK, "shop is removed"),
        story(WORK, "shop is being deleted"),
    ],
)
def test_a_hand_over_leaves_no_second_write(history: list[Event]) -> None:
    cluster = played(history)
    result = converged(inventory_of(*served(cluster)), NOW)
    assert len({(write.verb, write.object) for write in result.writes}) == len(result.writes)
    assert KEY.name in {body["metadata"]["name"] for body in result.inventory.bodies(SERVICES)}
