"""Who gets at the pods in fact: `Reachable`, `Exclusive` and `Enforceable` as pods, nodes, Services and NetworkPolicies
of others come and go.

Not the business of this module: the conditions of the policy's own objects, which every other module looks at.
"""

from __future__ import annotations

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from testbed import objects
from testbed.operator_process import OperatorProcess
from tests.api.access import ALLOWED, LABELS, WEB, Site, entries, until

NODE1 = "10.102.123.117"


def opening(*cidrs: str, ports: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"from": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]} if cidrs else {}
    return {"podSelector": {"matchLabels": LABELS}, "ingress": [rule | ({"ports": ports} if ports else {})]}


# --- Reachable -------------------------------------------------------------------------------------------------------


def await_nodes(site: Site, share: str, *, draining: int = 0) -> str:
    """Wait until status tells so many nodes; the message of Reachable."""

    def as_expected() -> bool:
        nodes = site.status()["nodes"]
        assert (nodes["share"], nodes["draining"]) == (share, draining), f"nodes are {nodes}"
        return True

    until(as_expected, f"{share} nodes, {draining} draining")
    ready = share.partition("/")[0]
    return site.await_condition("Reachable", "False NoReadyEndpoints" if ready == "0" else "True NodesAnswer")


def test_reachable_follows_pods_that_appear_move_and_vanish(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    assert await_nodes(site, "0/3") == "None of 3 nodes has a ready endpoint."

    site.create_pod("web-0", node="node2", ips=["10.233.96.32"])
    site.create_pod("web-1", node="node1", ips=["10.233.90.7"])
    site.create_pod("web-2", node="node1", ips=["10.233.90.8"])
    assert await_nodes(site, "2/3") == "2 of 3 nodes answer: node1, node2."

    site.cluster.remove("web-0", namespace=site.namespace)
    site.create_pod("web-0", node="node3", ips=["10.233.92.32"])
    until(lambda: site.await_condition("Reachable", "True NodesAnswer").endswith("node1, node3."), "the move to node3")
    for name in ("web-1", "web-2"):
        site.cluster.remove(name, namespace=site.namespace)
    assert await_nodes(site, "1/3") == "1 of 3 nodes answer: node3."
    site.cluster.set_ready("web-0", namespace=site.namespace, ready=False)
    await_nodes(site, "0/3")
    assert site.conditions()["Ready"] == "True Guarded", "nobody gets in, which is not the guard's fault"


def test_a_draining_node_is_told_apart(site: Site) -> None:
    site.create_service()
    site.create_pod("web-0", node="node2", ips=["10.233.96.32"])
    site.create_pod("web-1", node="node1", ips=["10.233.90.7"])
    site.create_policy()
    await_nodes(site, "2/3")

    site.cluster.terminate("web-0", namespace=site.namespace)
    assert await_nodes(site, "1/3", draining=1) == "1 of 3 nodes answer: node1; draining: node2."
    site.cluster.terminate("web-1", namespace=site.namespace)
    assert await_nodes(site, "0/3", draining=2) == "None of 3 nodes has a ready endpoint; draining: node1, node2."
    site.cluster.remove("web-0", namespace=site.namespace)
    await_nodes(site, "0/3", draining=1)


def test_a_node_that_joins_is_counted_and_held_against_the_allowlist(site: Site) -> None:
    site.create_service()
    site.create_pod()
    site.create_policy(allowed=["203.0.113.0/24"])
    await_nodes(site, "1/3")

    site.cluster.create(objects.node(name="node4", addresses=["203.0.113.9"]))
    try:
        await_nodes(site, "1/4")
        assert "node4" in site.await_condition("Enforceable", "False AllowlistCoversNodes")
    finally:
        site.cluster.delete("Node", "node4")
    await_nodes(site, "1/3")
    site.await_condition("Enforceable", "True NothingBypasses")


# --- Enforceable -----------------------------------------------------------------------------------------------------


def test_a_backend_in_the_network_of_its_node_is_an_open_door(site: Site) -> None:
    site.create_service()
    site.create_pod("web-0", node="node2", ips=["10.233.96.32"])
    site.create_policy()
    site.await_ready()

    site.create_pod("host", node="node1", ips=[NODE1], host_network=True)
    message = site.await_condition("Enforceable", "False HostNetworkBackend")
    assert "node1" in message
    assert "node2" not in message
    site.await_condition("Ready", "False HostNetworkBackend")
    assert site.conditions()["Stalled"] == "True HostNetworkBackend"

    site.cluster.remove("host", namespace=site.namespace)
    site.await_ready()
    assert site.conditions()["Enforceable"] == "True NothingBypasses"


def test_an_unguarded_cluster_service_on_the_same_pods_is_an_open_door_until_it_is_guarded_too(site: Site) -> None:
    site.create_service()
    site.create_pod()
    site.create_policy()
    site.await_ready()

    site.create_service("second")
    message = site.await_condition("Enforceable", "False UnguardedClusterService")
    assert "second" in message
    site.await_condition("Ready", "False UnguardedClusterService")
    assert site.conditions()["Stalled"] == "True UnguardedClusterService"

    site.create_policy("second", service="second")
    for name in ("web", "second"):
        site.await_ready(name)
        assert site.conditions(name)["Enforceable"] == "True NothingBypasses"
    site.delete("NodePortAccessPolicy", "second")
    site.await_condition("Ready", "False UnguardedClusterService")


def test_an_unguarded_local_service_on_the_same_pods_is_a_warning(site: Site) -> None:
    site.create_service()
    site.create_pod()
    site.create_service("second", externalTrafficPolicy="Local")
    site.create_policy()

    message = site.await_condition("Enforceable", "False UnguardedService")
    assert "second" in message
    assert "second" in site.await_condition("Ready", "True Guarded")
    assert site.conditions().keys().isdisjoint({"Reconciling", "Stalled"})

    site.edit_service("second", externalTrafficPolicy="Cluster")
    site.await_condition("Ready", "False UnguardedClusterService")
    site.edit_service("second", type="ClusterIP", externalTrafficPolicy=None)
    site.await_ready()
    site.edit_service("second", externalIPs=["198.51.100.9"])
    site.await_condition("Ready", "False UnguardedClusterService")


def test_services_share_a_backend_where_one_pod_is_selected_by_both(site: Site) -> None:
    site.create_service()
    site.create_service("second", selector={"tier": "front"})
    site.create_policy()
    site.create_pod("web-0", labels=LABELS)
    site.create_pod("other", node="node1", ips=["10.233.90.7"], labels={"tier": "front"})
    site.await_ready()

    site.create_pod("both", node="node3", ips=["10.233.92.7"], labels={**LABELS, "tier": "front"})
    site.await_condition("Ready", "False UnguardedClusterService")
    site.cluster.remove("both", namespace=site.namespace)
    site.await_ready()


@pytest.mark.parametrize(
    ("cidr", "nodes"),
    [
        pytest.param(f"{NODE1}/32", ["node1"], id="node-address"),
        pytest.param("10.233.92.0/31", ["node3"], id="tunnel-address"),
        pytest.param("10.233.96.128/25", ["node2"], id="pod-addresses"),
        pytest.param("10.0.0.0/8", ["node1", "node2", "node3"], id="all-of-them"),
        pytest.param("0.0.0.0/1", ["node1", "node2", "node3"], id="half-the-world"),
    ],
)
def test_an_allowlist_that_covers_the_addresses_of_nodes_or_pods_is_told(
    cidr: str, nodes: list[str], site: Site
) -> None:
    site.create_service()
    site.create_policy(allowed=[cidr])

    message = site.await_condition("Enforceable", "False AllowlistCoversNodes")

    assert [node for node in ("node1", "node2", "node3") if node in message] == nodes
    assert message in site.await_condition("Ready", "True Guarded"), "what is worth knowing is where people look"


def test_an_allowlist_of_everyone_hides_nobody_behind_a_node(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=["0.0.0.0/0"])
    site.await_ready()

    assert site.conditions()["Enforceable"] == "True NothingBypasses"


# --- the nodes in a NetworkPolicy of somebody else -------------------------------------------------------------------


def named_by_metrics(operator: OperatorProcess, site: Site) -> set[tuple[str, str, str]]:
    """Of this namespace: each Service, the NetworkPolicy on its pods that covers nodes, and externalTrafficPolicy."""
    families = {family.name: family for family in text_string_to_metric_families(operator.metrics())}
    samples = [sample.labels for sample in families["nodeport_access_network_policy_covers_nodes"].samples]
    return {
        (labels["service"], labels["network_policy"], labels["external_traffic_policy"])
        for labels in samples
        if labels["namespace"] == site.namespace
    }


def await_named_by_metrics(operator: OperatorProcess, site: Site, *expected: tuple[str, str, str]) -> None:
    def as_expected() -> bool:
        assert named_by_metrics(operator, site) == set(expected)
        return True

    until(as_expected, f"/metrics to name {expected}")


def test_a_network_policy_that_lets_in_the_nodes_is_named_with_and_without_a_policy_until_it_goes(
    site: Site, shared_operator: OperatorProcess
) -> None:
    site.create_service()
    site.create_pod()
    site.create_network_policy("balancer", **opening("10.102.123.0/25"))
    site.create_network_policy("visitors", **opening("198.51.100.0/24"))
    await_named_by_metrics(shared_operator, site, (WEB, "balancer", "Cluster"))

    site.create_policy(trafficPolicy="Unmanaged")
    message = site.await_condition("Enforceable", "False OtherPolicyCoversNodes")
    assert message == (
        "NetworkPolicy 'balancer' admits addresses of node1, node2 or of pods there: under Cluster, whoever comes in"
        " through another node is masqueraded to one, and gets in."
    )
    assert site.await_condition("Ready", "False ClusterUnmanaged").endswith(message)
    await_named_by_metrics(shared_operator, site, (WEB, "balancer", "Cluster"))

    site.edit_policy(trafficPolicy="Local")
    message = site.await_condition("Ready", "False OpenedByOtherPolicy")
    assert "'balancer' admits addresses of node1, node2 or of pods there: whoever is masqueraded to one gets" in message
    assert site.conditions()["Enforceable"] == "False OtherPolicyCoversNodes"
    await_named_by_metrics(shared_operator, site, (WEB, "balancer", "Local"))

    site.delete("NetworkPolicy", "visitors")
    site.delete("NetworkPolicy", "balancer")
    site.await_ready()
    assert site.conditions()["Enforceable"] == "True NothingBypasses"
    await_named_by_metrics(shared_operator, site)


def test_without_a_policy_the_network_policy_is_named_until_it_is_narrowed_or_the_service_goes(
    site: Site, shared_operator: OperatorProcess
) -> None:
    site.create_service(type="LoadBalancer")
    site.create_service("second")
    site.create_network_policy("balancer", **opening("10.233.92.0/31"))
    both = ((WEB, "balancer", "Cluster"), ("second", "balancer", "Cluster"))
    await_named_by_metrics(shared_operator, site, *both)

    site.delete("Service", "second")
    await_named_by_metrics(shared_operator, site, both[0])
    site.edit("NetworkPolicy", "balancer", spec=opening("10.2.3.4/32"))
    await_named_by_metrics(shared_operator, site)
    site.edit("NetworkPolicy", "balancer", spec=opening("10.0.0.0/8"))
    await_named_by_metrics(shared_operator, site, both[0])
    site.delete("NetworkPolicy", "balancer")
    await_named_by_metrics(shared_operator, site)


def test_an_allowlist_that_lets_in_the_nodes_is_named_by_metrics_too(
    site: Site, shared_operator: OperatorProcess
) -> None:
    site.create_service()
    site.create_policy(allowed=[f"{NODE1}/32"], trafficPolicy="Unmanaged")
    await_named_by_metrics(shared_operator, site, (WEB, f"{WEB}-allow", "Cluster"))

    site.edit_policy(trafficPolicy="Local")
    await_named_by_metrics(shared_operator, site, (WEB, f"{WEB}-allow", "Local"))
    site.edit_policy(allowedCIDRs=entries(ALLOWED))
    await_named_by_metrics(shared_operator, site)


# --- Exclusive -------------------------------------------------------------------------------------------------------


def test_another_network_policy_that_opens_the_pods_is_named_until_it_goes(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    site.create_network_policy("visitors", **opening("198.51.100.0/24", "203.0.113.0/25"))
    message = site.await_condition("Exclusive", "False OpenedByOtherPolicy")
    assert message == "Beyond the allowlist, NetworkPolicy 'visitors' admits 198.51.100.0/24, 203.0.113.0/25."
    site.await_condition("Ready", "False OpenedByOtherPolicy")
    assert site.conditions()["Stalled"] == "True OpenedByOtherPolicy"

    site.edit("NetworkPolicy", "visitors", spec={"ingress": [{}]})
    everyone = "Beyond the allowlist, NetworkPolicy 'visitors' admits 0.0.0.0/0."
    until(lambda: site.await_condition("Ready", "False OpenedByOtherPolicy") == everyone, "the wider opening in Ready")
    site.delete("NetworkPolicy", "visitors")
    site.await_ready()
    assert site.conditions()["Exclusive"] == "True NoOtherOpening"


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(opening(ports=[{"port": 8080}]), id="the-target-port"),
        pytest.param(opening(ports=[{"port": 8000, "endPort": 9000}]), id="a-range-of-ports"),
        pytest.param({"podSelector": {}, "ingress": [{}]}, id="every-pod"),
        pytest.param(
            {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}, "ingress": [{}]},
            id="pods-by-expression",
        ),
        pytest.param(
            {"podSelector": {"matchLabels": {"version": "2"}}, "ingress": [{}]}, id="pods-by-a-label-of-their-own"
        ),
    ],
)
def test_a_network_policy_opens_the_pods_by(spec: dict[str, Any], site: Site) -> None:
    site.create_service()
    site.create_pod("web-0", labels={**LABELS, "version": "1"})
    site.create_pod("web-1", node="node1", ips=["10.233.90.7"], labels={**LABELS, "version": "2"})
    site.create_network_policy("opener", **spec)
    site.create_policy()

    assert "'opener' admits 0.0.0.0/0" in site.await_condition("Ready", "False OpenedByOtherPolicy")


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param(opening(ports=[{"port": 9090}]), id="another-port"),
        pytest.param(opening(ports=[{"port": 8080, "protocol": "UDP"}]), id="another-protocol"),
        pytest.param({"podSelector": {"matchLabels": {"app": "other"}}, "ingress": [{}]}, id="other-pods"),
        pytest.param(
            {"podSelector": {"matchLabels": {**LABELS, "version": "2"}}, "ingress": [{}]}, id="pods-that-are-not-there"
        ),
        pytest.param(opening("203.0.113.64/26", "10.2.3.4/32"), id="part-of-the-allowlist"),
        pytest.param(opening("2001:db8::/32"), id="a-family-the-service-has-not"),
        pytest.param(
            {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}, id="pods-rather-than-addresses"
        ),
        pytest.param({"podSelector": {}, "policyTypes": ["Ingress"]}, id="nobody"),
        pytest.param({"podSelector": {}, "policyTypes": ["Egress"], "egress": [{}]}, id="the-way-out"),
    ],
)
def test_a_network_policy_opens_nothing_by(spec: dict[str, Any], site: Site) -> None:
    site.create_service()
    site.create_pod("web-0", labels={**LABELS, "version": "1"})
    site.create_network_policy("other", **spec)
    site.create_network_policy("opener", podSelector={}, ingress=[{}])
    site.create_policy()

    # The operator has seen "other" once it says something of "opener", which came later.
    message = site.await_condition("Exclusive", "False OpenedByOtherPolicy")
    assert message == "Beyond the allowlist, NetworkPolicy 'opener' admits 0.0.0.0/0."


def test_the_allowlist_of_another_policy_on_the_same_pods_opens_them_too(site: Site) -> None:
    site.create_service()
    site.create_service("second")
    site.create_pod()
    site.create_policy()
    site.create_policy("second", service="second", allowed=["198.51.100.0/24"])

    assert "'second-allow' admits 198.51.100.0/24" in site.await_condition("Exclusive", "False OpenedByOtherPolicy")
    assert "'web-allow'" in site.await_condition("Exclusive", "False OpenedByOtherPolicy", "second")

    site.edit_policy("second", allowedCIDRs=entries(ALLOWED[:1]))
    site.await_ready()
    site.await_condition("Ready", "False OpenedByOtherPolicy", "second")
