"""What is kept of an object is what matters for access, and who owns our fields is read from managedFields."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest

from nodeport_access.api import FIELD_MANAGER, POLICY_LABEL, SERVICE_LABEL, Body, ServiceKey
from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.managed_fields import Ownership, ownership
from nodeport_access.observed import (
    NETWORK_POLICY_PATHS,
    SERVICE_PATHS,
    TargetPort,
    owner_path,
    parse_endpoint_slice,
    parse_network_policy,
    parse_node,
    parse_pod,
    parse_service,
)
from tests.unit import builders
from tests.unit.builders import endpoint, endpoint_slice, managed_by, ours, owner_field, port, theirs

LABEL_PATH = f"metadata.labels.{POLICY_LABEL}"
POLICY_FIELD, LABEL_FIELD = "spec.externalTrafficPolicy", "metadata.labels"

# --- Services ---


def test_a_service_is_read_as_far_as_access_goes() -> None:
    service = parse_service(
        builders.held_service(
            uid="service-uid",
            type="LoadBalancer",
            families=["IPv6", "IPv4"],
            ports=[port(80, target="web", node=30080), {"port": 53, "protocol": "UDP", "nodePort": 30053}],
            health_check_node_port=31999,
            externalIPs=["198.51.100.7"],
        )
    )
    assert (service.key, service.uid, service.type) == (ServiceKey("web", "shop"), "service-uid", "LoadBalancer")
    assert service.selector == {"app": "shop"}
    assert [(item.name, item.port, item.node_port) for item in service.ports] == [("http", 80, 30080), ("", 53, 30053)]
    assert service.targets == {TargetPort(protocol="TCP", port="web"), TargetPort(protocol="UDP", port=53)}
    assert service.families == (Family.IPV6, Family.IPV4)
    assert (service.external_traffic_policy, service.health_check_node_port) == ("Local", 31999)
    assert service.external_ips == ("198.51.100.7",)
    assert service.policy_label == "shop"
    assert service.ownership == Ownership(ours=(LABEL_FIELD, POLICY_FIELD))


@pytest.mark.parametrize(
    ("tweaks", "node_ports", "exposed"),
    [
        ({"type": "NodePort"}, True, True),
        ({"type": "LoadBalancer"}, True, True),
        ({"type": "ClusterIP"}, False, False),
        ({"type": "ClusterIP", "externalIPs": ["198.51.100.7"]}, False, True),
        ({"type": "ExternalName"}, False, False),
    ],
)
def test_a_service_is_exposed_by_its_type_or_its_external_addresses(
    tweaks: dict[str, Any], node_ports: bool, exposed: bool
) -> None:
    service = parse_service(builders.service(**tweaks))
    assert (service.has_node_ports, service.exposed) == (node_ports, exposed)


def test_the_selector_of_an_external_name_service_selects_nothing() -> None:
    body = builders.service(type="ExternalName", selector={"app": "shop"})
    assert body["spec"]["selector"] == {"app": "shop"}
    assert parse_service(body).selector == {}


def test_a_service_without_families_may_have_both() -> None:
    assert parse_service(builders.service(families=[])).families == (Family.IPV4, Family.IPV6)


@pytest.mark.parametrize(
    ("managed", "taken"),
    [
        ([], False),
        ([theirs(POLICY_FIELD, LABEL_PATH)], False),
        ([ours(POLICY_FIELD)], True),
        ([ours(LABEL_PATH)], True),
        ([ours("metadata.labels.unrelated")], False),
        ([managed_by(FIELD_MANAGER, "Update", POLICY_FIELD)], False),
        ([managed_by("somebody", "Apply", POLICY_FIELD)], False),
        ([{**ours(POLICY_FIELD), "subresource": "status"}], False),
    ],
)
def test_a_service_is_taken_where_our_apply_owns_a_field_of_it(managed: list[Body], taken: bool) -> None:
    assert parse_service(builders.service(managed=managed)).taken is taken


@pytest.mark.parametrize(
    ("managed", "mine", "writer"),
    [
        ([theirs(POLICY_FIELD, manager="argocd")], False, "argocd"),
        ([ours(POLICY_FIELD), theirs("spec.ports")], True, ""),
        # two owners of one value: ours stays ours
        ([ours(POLICY_FIELD), theirs(POLICY_FIELD, manager="helm")], True, "helm"),
        # of several others, the one that wrote last
        (
            [
                managed_by("late", "Update", POLICY_FIELD, time="2026-06-02T00:00:00Z"),
                managed_by("early", "Update", POLICY_FIELD, time="2026-06-01T00:00:00Z"),
            ],
            False,
            "late",
        ),
        ([{**theirs(POLICY_FIELD), "subresource": "status"}], False, ""),
        ([], False, ""),
    ],
)
def test_who_holds_a_field_is_read_from_managed_fields(managed: list[Body], mine: bool, writer: str) -> None:
    found = ownership({"managedFields": managed}, SERVICE_PATHS)
    assert (POLICY_FIELD in found.ours, found.writer(POLICY_FIELD)) == (mine, writer)


def test_owners_by_uid_count_as_the_field_of_owners() -> None:
    fields = {"f:metadata": {"f:ownerReferences": {".": {}, 'k:{"uid":"x"}': {}}}, "f:spec": {"f:podSelector": {}}}
    entry = {"manager": FIELD_MANAGER, "operation": "Apply", "fieldsV1": fields}
    assert ownership({"managedFields": [entry]}, NETWORK_POLICY_PATHS).ours == (
        "metadata.ownerReferences",
        "spec.podSelector",
    )


# --- NetworkPolicies ---


OWNER = {"apiVersion": "nodeport-access.io/v1alpha1", "kind": "NodePortAccessPolicy", "name": "owner", "uid": "x"}
UNRELATED = {**OWNER, "name": "unrelated"}
STRANGE_OWNER = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "stranger", "uid": "y"}


MADE = [ours("spec.podSelector", "spec.policyTypes")]
SHARED = [*MADE, theirs("spec.podSelector", "spec.policyTypes")]
TAKEN = [theirs("spec.podSelector", "spec.policyTypes")]


@pytest.mark.parametrize(
    ("before", "uid", "after", "is_ours"),
    [
        (MADE, "same", TAKEN, True),
        (MADE, "other", TAKEN, False),
        # who had it before us, and shared it for a moment, has not lost it to us
        (SHARED, "same", TAKEN, False),
        (TAKEN, "same", TAKEN, False),
        (TAKEN, "same", MADE, True),
    ],
)
def test_an_object_that_we_made_stays_ours_whatever_becomes_of_it(
    before: list[Body], uid: str, after: list[Body], is_ours: bool
) -> None:
    labels = {POLICY_LABEL: "shop"}
    old = parse_network_policy(builders.network_policy(uid="same", managed=before, labels=labels))
    new = parse_network_policy(builders.network_policy(uid=uid, managed=after, labels=labels)).succeeding(old)
    assert (new.is_ours, new.claims) == (is_ours, frozenset({"shop"} if is_ours else ()))
    later = parse_network_policy(builders.network_policy(uid=uid, managed=TAKEN, labels=labels)).succeeding(new)
    assert (later.is_ours, later.claims) == (new.is_ours, new.claims), "it is not forgotten with the next change"


@pytest.mark.parametrize(
    ("tweaks", "claims", "owned"),
    [
        ({"managed": [ours("spec.podSelector")], "labels": {POLICY_LABEL: "shop"}}, {"shop"}, False),
        ({"managed": [ours("spec.podSelector")], "owners": [OWNER]}, {"owner"}, True),
        (
            {"managed": [ours("spec.podSelector")], "labels": {POLICY_LABEL: "shop"}, "owners": [OWNER]},
            {"shop", "owner"},
            True,
        ),
        ({"managed": [ours("spec.podSelector")]}, set(), False),
        ({"managed": [ours("spec.podSelector")], "labels": {POLICY_LABEL: ""}}, set(), False),
        ({"managed": [ours("spec.podSelector")], "owners": [STRANGE_OWNER]}, set(), False),
        # whose child would have another name is no parent
        ({"managed": [ours("spec.podSelector")], "owners": [UNRELATED, OWNER]}, {"owner"}, True),
        ({"managed": [ours("spec.podSelector")], "owners": [UNRELATED]}, set(), True),
        # the label and the owner alone prove nothing: anybody can write them
        ({"labels": {POLICY_LABEL: "shop"}, "owners": [OWNER]}, set(), True),
        ({"managed": [theirs("spec.podSelector")], "labels": {POLICY_LABEL: "shop"}}, set(), False),
    ],
)
def test_an_object_is_ours_by_our_apply_and_a_label_or_an_owner(
    tweaks: dict[str, Any], claims: set[str], owned: bool
) -> None:
    found = parse_network_policy(builders.network_policy(name="owner-allow", **tweaks))
    assert set(found.claims) == claims
    assert found.owned_by_policy is owned


def test_what_holds_a_network_policy_and_whether_it_is_going_is_kept() -> None:
    found = parse_network_policy(builders.network_policy())
    assert (found.finalizers, found.deleting) == ((), False)
    body = builders.network_policy()
    body["metadata"] |= {"finalizers": ["example.com/hold"], "deletionTimestamp": builders.LATER}
    held = parse_network_policy(body)
    assert (held.finalizers, held.deleting) == (("example.com/hold",), True)
    assert held != found


def test_each_owner_has_a_holder_of_its_own() -> None:
    found = parse_network_policy(
        builders.network_policy(
            owners=[OWNER, STRANGE_OWNER], managed=[ours(owner_field("x")), theirs(owner_field("y"), manager="gitops")]
        )
    ).ownership
    assert [found.ours_alone(owner_path(uid)) for uid in "xy"] == [True, False]
    assert [found.writer(owner_path(uid)) for uid in "xy"] == ["", "gitops"]
    both = [ours(owner_field("x")), theirs(owner_field("x"))]
    shared = parse_network_policy(builders.network_policy(owners=[OWNER], managed=both)).ownership
    assert not shared.ours_alone(owner_path("x"))


def test_a_network_policy_is_kept_whole_and_compares_without_its_version() -> None:
    body = builders.network_policy(ingress=[{}], labels={SERVICE_LABEL: "shop"}, resource_version=1)
    found = parse_network_policy(body)
    assert found.spec == body["spec"]
    assert found == parse_network_policy({**body, "metadata": {**body["metadata"], "resourceVersion": "2"}})
    assert found != parse_network_policy({**body, "metadata": {**body["metadata"], "uid": "another"}})


# --- EndpointSlices ---


@pytest.mark.parametrize(
    ("conditions", "ready", "draining"),
    [
        ({}, True, False),
        ({"ready": True}, True, False),
        ({"ready": True, "serving": True, "terminating": False}, True, False),
        ({"ready": False}, False, False),
        ({"ready": False, "serving": True, "terminating": True}, False, True),
        ({"ready": False, "terminating": True}, False, True),
        ({"ready": False, "serving": False, "terminating": True}, False, False),
        ({"ready": False, "serving": True}, False, False),
        # publishNotReadyAddresses: ready although it terminates
        ({"ready": True, "serving": True, "terminating": True}, True, False),
    ],
)
def test_an_endpoint_is_ready_or_draining_or_neither(conditions: dict[str, Any], ready: bool, draining: bool) -> None:
    (found,) = parse_endpoint_slice(endpoint_slice(endpoint(**conditions))).endpoints
    assert (found.ready, found.draining) == (ready, draining)


def test_a_slice_knows_its_service_its_nodes_and_its_ports() -> None:
    body = endpoint_slice(
        endpoint("10.233.90.7", "not-an-address.example", node="node-2"),
        endpoint("2001:db8::7", node=""),
        ports=[("http", 8080)],
    )
    body["ports"].append({"name": None, "protocol": "UDP", "port": 53})
    body["ports"].append({"name": "unknown", "port": None})
    piece = parse_endpoint_slice(body)
    assert piece.service == ServiceKey("web", "shop")
    assert [item.node for item in piece.endpoints] == ["node-2", ""]
    assert piece.endpoints[0].addresses == AddressSet.from_texts(["10.233.90.7/32"])
    assert piece.ports == (("TCP", "http", 8080), ("UDP", "", 53))


def test_a_slice_without_endpoints_or_a_service_is_read_too() -> None:
    metadata = {"namespace": "web", "name": "x", "resourceVersion": "1"}
    piece = parse_endpoint_slice({"metadata": metadata, "endpoints": None, "ports": None})
    assert (piece.service, piece.endpoints, piece.ports) == (ServiceKey("web", ""), (), ())


# --- Nodes and Pods ---


def test_a_nodes_addresses_hold_its_tunnels_and_its_pod_ranges_stand_apart() -> None:
    node = parse_node(
        builders.node(
            addresses=["10.102.123.117", "2001:db8::1"],
            pod_cidrs=["10.233.90.0/24", "fd00::/64"],
            annotations={"projectcalico.org/IPv4IPIPTunnelAddr": "10.233.90.0", "unrelated": "10.9.9.9"},
        )
    )
    assert node.name == "node-1"
    assert set(node.addresses.texts()) == {"10.102.123.117/32", "2001:db8::1/128", "10.233.90.0/32"}
    assert node.tunnels.texts() == ("10.233.90.0/32",)
    assert set(node.pod_ranges.texts()) == {"10.233.90.0/24", "fd00::/64"}


def test_a_node_that_has_reported_nothing_yet_has_no_addresses() -> None:
    node = parse_node({"metadata": {"name": "new", "resourceVersion": "1"}})
    assert not node.addresses
    assert not node.pod_ranges


def test_a_single_pod_range_counts_where_the_list_is_absent() -> None:
    body = builders.node(pod_cidrs=["10.233.90.0/24"])
    del body["spec"]["podCIDRs"]
    assert ip_address("10.233.90.77") in parse_node(body).pod_ranges


def test_heartbeats_of_a_node_and_restarts_of_a_pod_change_nothing() -> None:
    node, pod = builders.node(), builders.pod()
    beat: Body = {
        **node,
        "metadata": {**node["metadata"], "resourceVersion": "9", "labels": {"x": "y"}},
        "status": {**node["status"], "conditions": [{"type": "Ready", "lastHeartbeatTime": "now"}]},
    }
    assert parse_node(beat) == parse_node(node)
    restarted = {**pod, "metadata": {**pod["metadata"], "resourceVersion": "9", "annotations": {"x": "y"}}}
    assert parse_pod(restarted) == parse_pod(pod)
    assert parse_pod({**pod, "metadata": {**pod["metadata"], "labels": None}}).labels == {}


def test_a_service_that_only_got_a_load_balancer_address_is_the_same() -> None:
    body = builders.service(type="LoadBalancer")
    settled = {**body, "status": {"loadBalancer": {"ingress": [{"ip": "198.51.100.1"}]}}}
    assert parse_service(settled) == parse_service(body)
