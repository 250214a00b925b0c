"""The demo's cluster in memory answers as a real API server 1.37 answered: each test is a row of what was seen there.

Ownership is read as the operator reads it (`observed`), so that what is tested is what the operator goes by.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest

from nodeport_access.api import API_VERSION, KIND, Body
from nodeport_access.demo.cluster import Cluster, NotModelled
from nodeport_access.kube import (
    NETWORK_POLICIES,
    NODES,
    POLICIES,
    SERVICES,
    ApiError,
    Applied,
    Conflict,
    Invalid,
    NotFound,
    Resource,
)
from nodeport_access.observed import parse_network_policy, parse_service

NAMESPACE = "web"
LABEL = {"nodeport-access.io/policy": "shop"}


class Server:
    """A cluster in memory with one policy in it, and what it has told the watches."""

    def __init__(self) -> None:
        self.events: list[tuple[str, str, bool]] = []
        self.cluster = Cluster(clock=lambda: datetime(2026, 6, 1, tzinfo=UTC), on_change=self._heard)
        self.policy = self.create(policy())

    def _heard(self, resource: Resource, body: Body, gone: bool) -> None:
        self.events.append((resource.kind, body["metadata"]["name"], gone))

    def create(self, body: Body, *, manager: str = "kubectl-create") -> Body:
        return self.cluster.create(resource_of(body), body, manager=manager)

    def patch(self, resource: Resource, name: str, patch: Body, *, manager: str = "kubectl-edit") -> Body:
        return self.cluster.patch(resource, namespace=NAMESPACE, name=name, patch=patch, manager=manager)

    async def apply(self, body: Body, *, force: bool = False) -> Applied:
        name = body["metadata"]["name"]
        return await self.cluster.apply(resource_of(body), namespace=NAMESPACE, name=name, body=body, force=force)

    def apply_as(self, manager: str, body: Body, *, force: bool = False) -> Applied:
        return self.cluster.server_side_apply(
            resource_of(body),
            namespace=NAMESPACE,
            name=body["metadata"]["name"],
            body=body,
            manager=manager,
            force=force,
        )

    async def apply_status(self, status: Body, *, version: str, name: str = "shop") -> Body:
        metadata = {"name": name, "namespace": NAMESPACE, "resourceVersion": version}
        body = {"apiVersion": API_VERSION, "kind": KIND, "metadata": metadata, "status": status}
        return await self.cluster.apply_status(POLICIES, namespace=NAMESPACE, name=name, body=body)

    async def get(self, resource: Resource, name: str) -> Body:
        return await self.cluster.get(resource, namespace=NAMESPACE, name=name)

    async def delete(self, body: Body, **guards: str) -> Body | None:
        metadata = body["metadata"]
        seen = {"uid": metadata["uid"], "resource_version": metadata["resourceVersion"]}
        return await self.cluster.delete(
            resource_of(body), namespace=NAMESPACE, name=metadata["name"], **{**seen, **guards}
        )

    async def replace_metadata(self, body: Body, metadata: Body, **guards: str) -> Body:
        seen = {"uid": body["metadata"]["uid"], "resource_version": body["metadata"]["resourceVersion"]}
        return await self.cluster.replace_metadata(
            resource_of(body),
            namespace=NAMESPACE,
            name=body["metadata"]["name"],
            metadata=metadata,
            **{**seen, **guards},
        )

    def owner(self) -> Body:
        uid = self.policy["metadata"]["uid"]
        return {"apiVersion": API_VERSION, "kind": KIND, "name": "shop", "uid": uid, "controller": True}

    def child(self, name: str = "shop-allow", **spec: Any) -> Body:
        """A NetworkPolicy as the operator sends it."""
        fields: Body = {
            "podSelector": {"matchLabels": {"app": "shop"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": "10.2.3.4/32"}}], "ports": [{"protocol": "TCP", "port": 80}]}],
            "egress": [],
        }
        metadata = {
            "name": name,
            "namespace": NAMESPACE,
            "labels": dict(LABEL),
            "ownerReferences": [self.owner()],
        }
        return {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata,
            "spec": {**fields, **spec},
        }


@pytest.fixture
def server() -> Server:
    return Server()


def resource_of(body: Body) -> Resource:
    known = {resource.kind: resource for resource in (NETWORK_POLICIES, NODES, POLICIES, SERVICES)}
    return known[body["kind"]]


def policy(name: str = "shop") -> Body:
    spec = {"serviceRef": {"name": "shop"}, "allowedCIDRs": [{"cidr": "10.2.3.4/32"}]}
    return {"apiVersion": API_VERSION, "kind": KIND, "metadata": {"name": name, "namespace": NAMESPACE}, "spec": spec}


def service(type: str = "NodePort", **spec: Any) -> Body:
    ports = [{"name": "http", "port": 80, "targetPort": "http", "nodePort": 31602}]
    fields = {"type": type, "selector": {"app": "shop"}, "ports": ports, **spec}
    metadata = {"name": "shop", "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": fields}


def taking(seen: Body, **spec: Any) -> Body:
    """What the operator applies to take a Service that it has seen; without `spec`, what releases it."""
    metadata = {"name": "shop", "namespace": NAMESPACE, "uid": seen["metadata"]["uid"]}
    if spec:
        return {"apiVersion": "v1", "kind": "Service", "metadata": {**metadata, "labels": LABEL}, "spec": spec}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata}


def version(body: Body) -> str:
    return str(body["metadata"]["resourceVersion"])


async def refusal(call: Coroutine[Any, Any, Any]) -> ApiError:
    with pytest.raises(ApiError) as caught:
        await call
    return caught.value


LOCAL, TRAFFIC, HEALTH = {"externalTrafficPolicy": "Local"}, "spec.externalTrafficPolicy", "healthCheckNodePort"

# --- the Service ---


async def test_local_is_taken_and_handed_back_to_the_default(server: Server) -> None:
    seen = server.create(service())
    assert seen["spec"]["externalTrafficPolicy"] == "Cluster"
    taken = await server.apply(taking(seen, **LOCAL), force=True)
    assert not taken.created
    assert taken.object["spec"]["externalTrafficPolicy"] == "Local"
    assert taken.object["metadata"]["labels"] == LABEL
    assert parse_service(taken.object).ownership.ours == ("metadata.labels", TRAFFIC)
    released = (await server.apply(taking(seen), force=True)).object
    assert released["spec"]["externalTrafficPolicy"] == "Cluster"
    assert "labels" not in released["metadata"]
    assert not parse_service(released).taken
    assert parse_service(released).ownership.others == {}


async def test_an_apply_that_changes_nothing_leaves_the_version_alone_and_tells_nobody(server: Server) -> None:
    seen = server.create(service())
    first = await server.apply(taking(seen, **LOCAL), force=True)
    heard = len(server.events)
    second = await server.apply(taking(seen, **LOCAL), force=True)
    assert version(second.object) == version(first.object)
    assert len(server.events) == heard


async def test_the_defaulted_cluster_counts_as_owned_by_who_created_the_service(server: Server) -> None:
    seen = server.create(service())
    error = await refusal(server.apply(taking(seen, **LOCAL)))
    assert isinstance(error, Conflict)
    assert [(cause.reason, cause.field) for cause in error.causes] == [
        ("FieldManagerConflict", ".spec.externalTrafficPolicy")
    ]
    assert error.message == (
        'Apply failed with 1 conflict: conflict with "kubectl-create" using v1: .spec.externalTrafficPolicy'
    )


async def test_a_service_that_was_applied_without_the_field_can_be_taken_without_force(server: Server) -> None:
    seen = server.apply_as("gitops", service()).object
    taken = await server.apply(taking(seen, **LOCAL))
    assert taken.object["spec"]["externalTrafficPolicy"] == "Local"
    again = server.apply_as("gitops", service())
    assert again.object["spec"]["externalTrafficPolicy"] == "Local"


async def test_an_applier_that_wants_cluster_is_named_and_taken_back_by_it(server: Server) -> None:
    seen = server.apply_as("gitops", service(externalTrafficPolicy="Cluster")).object
    error = await refusal(server.apply(taking(seen, **LOCAL)))
    assert "gitops" in error.message
    await server.apply(taking(seen, **LOCAL), force=True)
    with pytest.raises(Conflict, match="nodeport-access-operator"):
        server.apply_as("gitops", service(externalTrafficPolicy="Cluster"))
    back = server.apply_as("gitops", service(externalTrafficPolicy="Cluster"), force=True).object
    assert parse_service(back).ownership.writer(TRAFFIC) == "gitops"


async def test_what_another_owns_too_stays_when_we_let_go(server: Server) -> None:
    seen = server.create(service())
    await server.apply(taking(seen, **LOCAL), force=True)
    server.apply_as("gitops", {**service(), "spec": LOCAL})
    released = (await server.apply(taking(seen), force=True)).object
    assert released["spec"]["externalTrafficPolicy"] == "Local"


async def test_a_foreign_write_of_the_field_removes_our_entry_for_it(server: Server) -> None:
    seen = server.create(service())
    await server.apply(taking(seen, **LOCAL), force=True)
    flipped = parse_service(server.patch(SERVICES, "shop", {"spec": {"externalTrafficPolicy": "Cluster"}}))
    assert flipped.external_traffic_policy == "Cluster"
    assert flipped.ownership.ours == ("metadata.labels",)
    assert flipped.ownership.writer(TRAFFIC) == "kubectl-edit"
    repaired = parse_service((await server.apply(taking(seen, **LOCAL), force=True)).object)
    assert (repaired.external_traffic_policy, repaired.ownership.others) == ("Local", {})


async def test_a_uid_guards_against_creating_and_against_another_object(server: Server) -> None:
    seen = server.create(service())
    elsewhere = {"metadata": {"uid": "another", "name": "shop"}}
    wrong = await refusal(server.apply(taking(elsewhere, **LOCAL), force=True))
    assert (type(wrong), wrong.status) == (Invalid, 422)
    assert 'metadata.uid: Invalid value: "another": field is immutable' in wrong.message
    server.cluster.remove(SERVICES, namespace=NAMESPACE, name="shop")
    for body in (taking(seen, **LOCAL), taking(seen)):
        gone = await refusal(server.apply(body, force=True))
        assert isinstance(gone, Conflict)
        assert gone.object_missing
    assert list(server.cluster.objects(SERVICES)) == []


async def test_local_is_refused_where_there_are_no_node_ports(server: Server) -> None:
    seen = server.create(service("ClusterIP"))
    assert "externalTrafficPolicy" not in seen["spec"]
    error = await refusal(server.apply(taking(seen, **LOCAL), force=True))
    assert error.status == 422
    assert "may only be set for externally-accessible services" in error.message


async def test_turning_a_service_to_clusterip_clears_the_field_and_back_brings_the_default(server: Server) -> None:
    seen = server.create(service())
    await server.apply(taking(seen, **LOCAL), force=True)
    inside = server.patch(SERVICES, "shop", {"spec": {"type": "ClusterIP"}})
    assert "externalTrafficPolicy" not in inside["spec"]
    assert parse_service(inside).ownership.ours == ("metadata.labels",)
    outside = server.patch(SERVICES, "shop", {"spec": {"type": "NodePort"}})
    assert outside["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_a_load_balancer_gets_a_health_check_port_and_the_old_one_on_demand(server: Server) -> None:
    seen = server.create(service("LoadBalancer"))
    first = (await server.apply(taking(seen, **LOCAL), force=True)).object["spec"][HEALTH]
    flipped = server.patch(SERVICES, "shop", {"spec": {"externalTrafficPolicy": "Cluster"}})
    assert HEALTH not in flipped["spec"]
    other = (await server.apply(taking(seen, **LOCAL), force=True)).object["spec"][HEALTH]
    assert other != first
    server.patch(SERVICES, "shop", {"spec": {"externalTrafficPolicy": "Cluster"}})
    wanted = taking(seen, **LOCAL, healthCheckNodePort=first)
    assert (await server.apply(wanted, force=True)).object["spec"][HEALTH] == first
    error = await refusal(server.apply(taking(seen, **LOCAL, healthCheckNodePort=other), force=True))
    assert (error.status, "field is immutable" in error.message) == (422, True)
    assert (await server.apply(taking(seen, **LOCAL), force=True)).object["spec"][HEALTH] == first
    assert HEALTH not in (await server.apply(taking(seen), force=True)).object["spec"]


async def test_a_health_check_port_on_a_node_port_service_is_refused(server: Server) -> None:
    seen = server.create(service())
    error = await refusal(server.apply(taking(seen, **LOCAL, healthCheckNodePort=31990), force=True))
    assert (error.status, error.causes[0].field) == (422, "spec.healthCheckNodePort")


# --- NetworkPolicies ---


async def test_the_first_apply_creates_and_only_that_one_says_so(server: Server) -> None:
    first, second = await server.apply(server.child()), await server.apply(server.child())
    assert (first.created, second.created) == (True, False)
    assert parse_network_policy(first.object).claims == {"shop"}
    assert first.object["metadata"]["generation"] == 1


async def test_empty_lists_are_owned_but_not_stored_and_count_as_a_change_each_time(server: Server) -> None:
    first = await server.apply(server.child(ingress=[]))
    assert set(first.object["spec"]) == {"podSelector", "policyTypes"}
    assert {"spec.ingress", "spec.egress"} <= {*parse_network_policy(first.object).ownership.ours}
    second = await server.apply(server.child(ingress=[]))
    assert second.object["metadata"]["generation"] == 2
    assert version(second.object) != version(first.object)


async def test_an_empty_list_inside_a_rule_is_dropped_and_a_protocol_is_filled_in(server: Server) -> None:
    stored = (await server.apply(server.child(ingress=[{"from": [], "ports": [{"port": 80}]}]))).object
    assert stored["spec"]["ingress"] == [{"ports": [{"port": 80, "protocol": "TCP"}]}]


EDITS: dict[str, Body] = {
    "ingress": {"spec": {"ingress": [{}]}},
    "egress": {"spec": {"egress": [{}], "policyTypes": ["Ingress", "Egress"]}},
    "podSelector": {"spec": {"podSelector": {"matchLabels": {"app": "nobody"}}}},
    "labels": {"metadata": {"labels": {"nodeport-access.io/policy": "other"}}},
    "everything ours in metadata": {"metadata": {"labels": None, "ownerReferences": None}},
}


@pytest.mark.parametrize("edit", EDITS)
async def test_what_somebody_edits_is_his_until_a_forced_apply_repairs_it(server: Server, edit: str) -> None:
    wanted = server.child(ingress=[])
    before = (await server.apply(wanted)).object
    edited = server.patch(NETWORK_POLICIES, "shop-allow", deepcopy(EDITS[edit]))
    assert {*parse_network_policy(edited).ownership.ours} < {*parse_network_policy(before).ownership.ours}
    after = (await server.apply(wanted, force=True)).object
    for part in ("labels", "ownerReferences"):
        assert after["metadata"][part] == before["metadata"][part]
    assert after["spec"] == before["spec"]
    assert parse_network_policy(after).ownership == parse_network_policy(before).ownership


async def test_a_forced_apply_does_not_undo_what_it_does_not_speak_of(server: Server) -> None:
    await server.apply(server.child())
    server.patch(NETWORK_POLICIES, "shop-allow", {"metadata": {"labels": {"theirs": "x"}}})
    after = (await server.apply(server.child(), force=True)).object
    assert after["metadata"]["labels"] == {**LABEL, "theirs": "x"}


@pytest.mark.parametrize(
    ("spec", "conflict"),
    [
        ({"podSelector": {"matchLabels": {"app": "shop"}}, "policyTypes": ["Ingress"]}, None),
        ({"podSelector": {}, "ingress": [{"from": []}]}, ".spec.ingress"),
        ({"podSelector": {"matchLabels": {"app": "x"}}, "policyTypes": ["Ingress"]}, ".spec.podSelector"),
    ],
)
async def test_a_strangers_object_conflicts_only_where_a_field_differs(
    server: Server, spec: Body, conflict: str | None
) -> None:
    body = server.child(ingress=[])
    server.create({**body, "metadata": {"name": "shop-allow", "namespace": NAMESPACE}, "spec": spec})
    if conflict is not None:
        error = await refusal(server.apply(body))
        assert conflict in [cause.field for cause in error.causes]
        return
    applied = await server.apply(body)
    assert not applied.created
    assert applied.object["metadata"]["ownerReferences"] == [server.owner()]
    nothing = {**body, "metadata": {"name": "shop-allow", "namespace": NAMESPACE}}
    del nothing["spec"]
    withdrawn = (await server.apply(nothing)).object
    assert withdrawn["spec"] == spec
    assert "ownerReferences" not in withdrawn["metadata"]
    assert not parse_network_policy(withdrawn).applied_by_us


async def test_a_second_controller_is_refused(server: Server) -> None:
    await server.apply(server.child())
    other = {**server.owner(), "uid": "another", "name": "other"}
    server.patch(NETWORK_POLICIES, "shop-allow", {"metadata": {"ownerReferences": [other]}})
    error = await refusal(server.apply(server.child(), force=True))
    assert (error.status, "Only one reference can have Controller" in error.message) == (422, True)


async def test_a_patch_of_metadata_takes_off_what_an_apply_leaves_and_makes_nothing_ours(server: Server) -> None:
    await server.apply(server.child())
    stranger = {"apiVersion": "v1", "kind": "ConfigMap", "name": "s", "uid": "stranger"}
    added = {"finalizers": ["example.com/hold"], "ownerReferences": [server.owner(), stranger]}
    server.patch(NETWORK_POLICIES, "shop-allow", {"metadata": added})
    applied = (await server.apply(server.child(), force=True)).object
    assert {field: applied["metadata"][field] for field in added} == added
    metadata = {"finalizers": [], "ownerReferences": [server.owner()]}
    for guards in ({"resource_version": "1"}, {"uid": "another"}):
        assert (await refusal(server.replace_metadata(applied, metadata, **guards))).status in (409, 422)
    replaced = await server.replace_metadata(applied, metadata)
    assert replaced["metadata"]["ownerReferences"] == [server.owner()]
    assert "finalizers" not in replaced["metadata"]
    (entry,) = replaced["metadata"]["managedFields"]
    assert entry["operation"] == "Apply"


async def test_a_delete_holds_to_uid_and_version(server: Server) -> None:
    made = (await server.apply(server.child())).object
    for guards in ({"uid": "another"}, {"resource_version": "1"}):
        assert isinstance(await refusal(server.delete(made, **guards)), Conflict)
    assert await server.delete(made) is None
    assert server.cluster.sent[-1].verb == "deleted"
    assert await server.delete(made) is None, "which is no error"
    assert server.events[-1] == ("NetworkPolicy", "shop-allow", True)


async def test_the_children_of_a_deleted_policy_are_collected_and_those_of_others_stay(server: Server) -> None:
    await server.apply(server.child())
    await server.apply(server.child("shop-deny-all", ingress=[]))
    orphan = server.child("orphan")
    del orphan["metadata"]["ownerReferences"]
    await server.apply(orphan)
    server.cluster.remove(POLICIES, namespace=NAMESPACE, name="shop")
    left = [body["metadata"]["name"] for body in server.cluster.objects(NETWORK_POLICIES)]
    assert left == ["orphan"]
    assert {event[1] for event in server.events if event[2]} == {"shop", "shop-allow", "shop-deny-all"}


# --- status ---


def ready(status: str) -> Body:
    condition = {
        "type": "Ready",
        "status": status,
        "reason": "X",
        "message": "m",
        "lastTransitionTime": "2026-06-01T00:00:00Z",
    }
    return {"observedGeneration": 1, "conditions": [condition]}


async def test_an_apply_with_a_version_creates_and_is_refused_where_the_version_is_another(server: Server) -> None:
    applied = await server.apply(guarded_by_version(server, "1"))
    assert applied.created
    stale = await refusal(server.apply(guarded_by_version(server, "1")))
    assert (stale.status, "the object has been modified" in stale.message) == (409, True)
    assert not (await server.apply(guarded_by_version(server, version(applied.object)))).created


async def test_a_status_is_guarded_by_the_version_and_replaces_what_we_set(server: Server) -> None:
    first = version(server.policy)
    stored = await server.apply_status({**ready("True"), "nodePorts": [31602]}, version=first)
    assert stored["status"] == {**ready("True"), "nodePorts": [31602]}
    assert stored["metadata"]["generation"] == 1
    stale = await refusal(server.apply_status(ready("False"), version=first))
    assert (stale.status, "the object has been modified" in stale.message) == (409, True)
    same = await server.apply_status({**ready("True"), "nodePorts": [31602]}, version=version(stored))
    assert version(same) == version(stored)
    changed = await server.apply_status(ready("False"), version=version(same))
    assert changed["status"] == ready("False")


async def test_conditions_of_others_stay(server: Server) -> None:
    theirs = {"type": "Theirs", "status": "True"}
    seen = server.patch(POLICIES, "shop", {"status": {"conditions": [theirs]}}, manager="their-controller")
    stored = await server.apply_status(ready("True"), version=version(seen))
    assert stored["status"]["conditions"] == [theirs, *ready("True")["conditions"]]


async def test_what_is_not_there_is_not_found(server: Server) -> None:
    for call in (server.get(POLICIES, "none"), server.apply_status({}, version="1", name="none")):
        error = await refusal(call)
        assert (type(error), error.status) == (NotFound, 404)


# --- what it does not know ---

UNKNOWN: dict[str, Callable[[Server], Coroutine[Any, Any, Any]]] = {
    "another kind": lambda server: server.cluster.apply(
        NODES, namespace=None, name="n", body={"apiVersion": "v1", "kind": "Node", "metadata": {}}, force=True
    ),
    "another field": lambda server: server.apply({**taking(service_in(server), sessionAffinity="ClientIP")}),
    "any version as guard": lambda server: server.apply(guarded_by_version(server, "0")),
    "a deletion that has to wait": lambda server: held_and_deleted(server),
    "a kind that is not the resource's": lambda server: server.cluster.apply(
        SERVICES, namespace=NAMESPACE, name="shop", body=server.child(), force=True
    ),
}


def service_in(server: Server) -> Body:
    return server.create(service())


async def held_and_deleted(server: Server) -> None:
    await server.apply(server.child())
    await server.delete(server.patch(NETWORK_POLICIES, "shop-allow", {"metadata": {"finalizers": ["hold"]}}))


def guarded_by_version(server: Server, version: str) -> Body:
    body = server.child()
    body["metadata"]["resourceVersion"] = version
    return body


@pytest.mark.parametrize("what", UNKNOWN)
async def test_what_it_does_not_know_is_an_error_and_no_guess(server: Server, what: str) -> None:
    with pytest.raises(NotModelled):
        await UNKNOWN[what](server)


async def test_nothing_that_is_given_out_can_change_what_is_stored(server: Server) -> None:
    body = server.child()
    given = (await server.apply(body)).object
    given["spec"]["podSelector"]["matchLabels"]["app"] = "changed"
    body["spec"]["podSelector"]["matchLabels"]["app"] = "changed too"
    stored = await server.get(NETWORK_POLICIES, "shop-allow")
    assert stored["spec"]["podSelector"] == {"matchLabels": {"app": "shop"}}
