"""Files laid over a cluster, as `kubectl apply` would, and what the API server says to who asks for its objects."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from nodeport_access.api import POLICY_LABEL, Body
from nodeport_access.inventory import ClusterError, Inventory, converged, fetch, overlay, read, succeeding
from nodeport_access.inventory.items import RESOURCES
from nodeport_access.inventory.overlaying import LAST_APPLIED
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NODES,
    POLICIES,
    SERVICES,
    ApiError,
    Forbidden,
    Listing,
    NotFound,
    Resource,
    Unauthorized,
    Unreachable,
)
from tests.unit import builders
from tests.unit.builders import NAME, NAMESPACE, NOW

WEB: Body = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "uid": "u", "resourceVersion": "1", "labels": {"team": "a"}},
}


class Lists:
    """An API server that gives these objects, and refuses what it is told to."""

    def __init__(self, *bodies: Body, refuse: Mapping[Resource, ApiError] | None = None) -> None:
        self._bodies = bodies
        self._refuse = refuse or {}

    async def list(self, resource: Resource, *, namespace: str | None = None) -> Listing[Body]:
        if resource in self._refuse:
            raise self._refuse[resource]
        items = (body for body in self._bodies if body["kind"] == resource.kind)
        within = (body for body in items if namespace in (None, body["metadata"].get("namespace")))
        return Listing(items=tuple(within), resource_version="9")


async def cluster(*bodies: Body) -> Inventory:
    return await fetch(Lists(WEB, *bodies))


def files(*bodies: Body) -> Inventory:
    return read(["-"], stdin=lambda: "\n---\n".join(json.dumps(body) for body in bodies))


def manifest(body: Body, **spec: Any) -> Body:
    """What a repository holds of an object: no more than it has to say."""
    metadata = {"name": body["metadata"]["name"], "namespace": body["metadata"]["namespace"]}
    return {**body, "metadata": metadata, "spec": spec}


def service_of(inventory: Inventory) -> Body:
    body = inventory.get(SERVICES, namespace=NAMESPACE, name=NAME)
    assert body is not None
    return body


PORT = {"name": "http", "port": 80, "targetPort": 8080}
SELECTOR = {"app": "shop"}

# --- laid over ---


async def test_a_file_wins_and_what_was_allocated_stays() -> None:
    taken = builders.held_service(clusterIP="10.96.0.7", ipFamilies=["IPv6"])
    change = files(manifest(taken, type="NodePort", selector=SELECTOR, ports=[{**PORT, "targetPort": 9090}]))
    result = overlay(await cluster(taken), change)
    body = service_of(result)
    assert body["spec"]["ports"] == [{**PORT, "targetPort": 9090, "protocol": "TCP", "nodePort": 30080}]
    assert (body["spec"]["clusterIP"], body["spec"]["ipFamilies"]) == ("10.96.0.7", ["IPv6"])
    assert body["spec"]["externalTrafficPolicy"] == "Local"
    assert body["metadata"] == taken["metadata"]
    assert converged(result, NOW).writes[-1].object == "Service/shop", "nobody asks for it any more"


async def test_a_value_that_a_file_states_takes_the_place_of_ours() -> None:
    taken = builders.held_service()
    change = files(manifest(taken, type="NodePort", selector=SELECTOR, ports=[PORT], externalTrafficPolicy="Cluster"))
    assert service_of(overlay(await cluster(taken), change))["spec"]["externalTrafficPolicy"] == "Cluster"


async def test_what_was_applied_before_and_is_not_any_more_goes() -> None:
    there = builders.service(labels={"old": "1", "by-hand": "2"}, externalIPs=["192.0.2.1"])
    last = {"metadata": {"labels": {"old": "1"}}, "spec": {"externalIPs": ["192.0.2.1"]}}
    there["metadata"]["annotations"] = {LAST_APPLIED: json.dumps(last)}
    change = manifest(there, type="NodePort", selector=SELECTOR, ports=[PORT])
    change["metadata"]["labels"] = {"new": "3"}
    body = service_of(overlay(await cluster(there), files(change)))
    assert body["metadata"]["labels"] == {"by-hand": "2", "new": "3"}
    assert "externalIPs" not in body["spec"]


async def test_a_policy_is_what_its_file_says_and_no_more() -> None:
    there = builders.policy(allowedPeers=[{"podSelector": {}}], status={"serviceUID": "x"})
    change = files(manifest(there, serviceRef={"name": NAME}, allowedCIDRs=[{"cidr": "10.9.9.9/32"}]))
    (body,) = overlay(await cluster(there), change).bodies(POLICIES)
    assert body["spec"] == {
        "serviceRef": {"name": NAME},
        "allowedCIDRs": [{"cidr": "10.9.9.9/32"}],
        "isolation": "Service",
        "trafficPolicy": "Local",
        "mode": "Enforce",
    }
    assert (body["metadata"], body["status"]) == (there["metadata"], there["status"])


async def test_a_policy_that_is_new_takes_no_service_from_one_that_is_there() -> None:
    there = builders.policy(name="b")
    change = files(manifest(builders.policy(name="a"), serviceRef={"name": NAME}, allowedCIDRs=[]))
    result = converged(overlay(await cluster(there, builders.service()), change), NOW)
    assert service_of(result.inventory)["metadata"]["labels"] == {POLICY_LABEL: "b"}


def test_of_two_folders_what_stands_in_both_came_first() -> None:
    old = files(manifest(builders.policy(name="b"), serviceRef={"name": NAME}), builders.service())
    new = files(
        manifest(builders.policy(name="b"), serviceRef={"name": NAME}),
        manifest(builders.policy(name="a"), serviceRef={"name": NAME}),
        builders.service(),
    )
    holders = [
        service_of(converged(inventory, NOW).inventory)["metadata"]["labels"][POLICY_LABEL]
        for inventory in (new, succeeding(old, new))
    ]
    assert holders == ["a", "b"]


@pytest.mark.parametrize(("spec", "left"), [({}, ["shop-abc"]), ({"selector": {"app": "x"}}, [])])
async def test_the_slices_of_a_service_that_selects_otherwise_are_not_its_own(spec: Body, left: list[str]) -> None:
    base = await cluster(builders.service(), builders.endpoint_slice(builders.endpoint()))
    change = files(manifest(builders.service(), **{"type": "NodePort", "selector": SELECTOR, "ports": [PORT], **spec}))
    result = overlay(base, change)
    assert [body["metadata"]["name"] for body in result.bodies(ENDPOINT_SLICES)] == left


async def test_laying_the_same_over_twice_changes_nothing() -> None:
    base = await cluster(builders.service(), builders.policy())
    change = files(manifest(builders.policy(), serviceRef={"name": NAME}), manifest(builders.service(), ports=[PORT]))
    once = overlay(base, change)
    assert {key: item.body for key, item in overlay(once, change).items.items()} == {
        key: item.body for key, item in once.items.items()
    }


async def test_the_labels_of_a_namespace_are_those_of_the_cluster() -> None:
    result = overlay(await cluster(), files(builders.service()))
    (body,) = result.bodies(NAMESPACES)
    assert body["metadata"]["labels"] == {"team": "a", "kubernetes.io/metadata.name": NAMESPACE}


# --- from the cluster ---


async def test_the_cluster_gives_whole_objects() -> None:
    bodies = [builders.policy(), builders.service(), builders.network_policy(), builders.node()]
    inventory = await cluster(*bodies)
    assert [key.resource for key in inventory.items] == sorted(
        (key.resource for key in inventory.items), key=lambda resource: (resource.namespaced, RESOURCES.index(resource))
    )
    assert {key.name: inventory.place(key) for key in inventory.items}[NAME] == "the cluster"
    assert len(inventory.items) == 5


async def test_one_namespace_is_asked_for_with_all_nodes_and_namespaces() -> None:
    elsewhere = builders.service(namespace="other")
    inventory = await fetch(Lists(WEB, builders.service(), elsewhere, builders.node()), namespaces=[NAMESPACE])
    assert {str(key) for key in inventory.items} == {"Namespace web", "Node node-1", "Service web/shop"}


async def test_without_the_crd_there_are_no_policies_and_a_note_says_so() -> None:
    missing = NotFound(status=404, reason="NotFound", message="the server could not find the requested resource")
    inventory = await fetch(Lists(WEB, builders.service(), refuse={POLICIES: missing}), namespaces=[NAMESPACE])
    assert inventory.bodies(POLICIES) == ()
    (note,) = inventory.notes
    assert "CustomResourceDefinition" in note


async def test_a_namespace_that_is_not_there_is_told() -> None:
    with pytest.raises(ClusterError, match=r"^the cluster has no namespace wed\.$"):
        await fetch(Lists(WEB), namespaces=["wed"])


def forbidden(resource: Resource) -> ApiError:
    return Forbidden(status=403, reason="Forbidden", message=f'{resource} is forbidden: User "x" cannot list')


@pytest.mark.parametrize(
    ("resource", "namespaces", "error", "told"),
    [
        (
            NODES,
            ["web"],
            forbidden,
            "you may not list nodes in the whole cluster (verb list): it is needed with -n too",
        ),
        (NAMESPACES, [], forbidden, "you may not list namespaces in the whole cluster (verb list): "),
        (
            SERVICES,
            [],
            forbidden,
            "you may not list services in the whole cluster (verb list): have it granted, or name",
        ),
        (
            ENDPOINT_SLICES,
            ["web"],
            forbidden,
            "you may not list endpointslices.discovery.k8s.io in namespace web (verb list): have it granted",
        ),
        (SERVICES, [], lambda _: Unreachable(message="no route"), "the API server does not answer: no route."),
        (
            SERVICES,
            [],
            lambda _: Unauthorized(status=401, reason="Unauthorized", message="who?"),
            "the API server does not accept your credentials: who?",
        ),
    ],
)
async def test_a_refusal_is_one_sentence_that_says_which(
    resource: Resource, namespaces: list[str], error: Callable[[Resource], ApiError], told: str
) -> None:
    with pytest.raises(ClusterError) as refused:
        await fetch(Lists(WEB, refuse={resource: error(resource)}), namespaces=namespaces)
    assert str(refused.value).startswith(told)
    assert str(refused.value).endswith(".")
