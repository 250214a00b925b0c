"""Which NetworkPolicies cover nodes, for which Services of the whole cluster: with policies and without, as objects
come, change and go."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access import covering
from nodeport_access.api import Body
from nodeport_access.metrics import Metrics
from nodeport_access.store import Store
from nodeport_access.survey import Survey
from nodeport_access.views import COVERING_LIMIT
from tests.unit.builders import (
    NOW,
    PODS,
    endpoint,
    endpoint_slice,
    network_policy,
    node,
    ours,
    pod,
    policy,
    port,
    service,
    shelf_for,
    store_of,
)
from tests.unit.controllers import controller_of
from tests.unit.strategies import LABELS, properties

NODE = node(pod_cidrs=["10.233.90.0/24"], annotations={"network.cilium.io/ipv4-cilium-host": "10.99.0.7"})
PORT_8080: Body = {"from": [{"ipBlock": {"cidr": "10.102.0.0/16"}}], "ports": [{"protocol": "TCP", "port": 8080}]}
NAMED_PORT = [port(target="http")]
WIDE, NARROW = {"tier": "web"}, {"app": "shop", "tier": "web"}
BY_TIER: Body = {"matchLabels": WIDE}


def balancer(cidr: str = "10.102.0.0/16", **tweaks: Any) -> Body:
    return network_policy(**{"name": "balancer", "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}], **tweaks})


def found(store: Store, survey: Survey | None = None) -> list[tuple[str, str]]:
    """The names of each Service and each NetworkPolicy on its pods that covers nodes."""
    pairs = (survey or Survey()).covering_nodes(store.cluster())
    return sorted((service.key.name, policy.name) for service, policy in pairs)


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([service(), balancer()], id="without a policy"),
        pytest.param([policy(), service(), balancer()], id="with a policy"),
        pytest.param([service(traffic_policy="Local"), balancer()], id="under Local"),
        pytest.param([service(type="LoadBalancer"), balancer()], id="a load balancer"),
        pytest.param([service(), balancer(pod_selector={})], id="every pod"),
        pytest.param([service(), balancer("10.233.90.0/25")], id="pods of a node"),
        pytest.param([service(), balancer("10.99.0.0/24")], id="a tunnel"),
        pytest.param([service(families=["IPv6", "IPv4"]), balancer()], id="one of two families"),
        pytest.param([service(), balancer(ingress=[PORT_8080])], id="the port at the pod"),
        pytest.param([service(ports=[port(target=9), port(81)]), balancer(ingress=[PORT_8080])], id="one of two ports"),
        pytest.param([service(ports=NAMED_PORT), balancer(ingress=[PORT_8080])], id="a name that may be the port"),
        pytest.param(
            [service(ports=NAMED_PORT), endpoint_slice(endpoint()), balancer(ingress=[PORT_8080])],
            id="a name that is the port",
        ),
        pytest.param(
            [service(), pod(labels=NARROW), pod("shop-2"), balancer(pod_selector=BY_TIER)], id="one of two pods"
        ),
        pytest.param(
            [service(), balancer(pod_selector={"matchExpressions": [{"key": "app", "operator": "Exists"}]})],
            id="pods by an expression",
        ),
    ],
)
def test_a_network_policy_that_covers_nodes_is_found_for_a_service_with_node_ports(bodies: list[Body]) -> None:
    assert found(store_of(NODE, *bodies)) == [("shop", "balancer")]


@pytest.mark.parametrize(
    "bodies",
    [
        pytest.param([service(type="ClusterIP"), balancer()], id="no node ports"),
        pytest.param([service(selector=None), balancer(pod_selector={})], id="no selector"),
        pytest.param([service(), balancer("192.0.2.0/24")], id="other addresses"),
        pytest.param([service(), balancer("0.0.0.0/0")], id="everyone"),
        pytest.param([service(), balancer(ingress=[PORT_8080, {}])], id="everyone by another rule"),
        pytest.param([service(), balancer(namespace="db")], id="another namespace"),
        pytest.param([service(families=["IPv6"]), balancer()], id="another family"),
        pytest.param([service(ports=[port(target=9)]), balancer(ingress=[PORT_8080])], id="another port"),
        pytest.param(
            [
                service(ports=NAMED_PORT),
                endpoint_slice(endpoint(), ports=[("http", 9)]),
                balancer(ingress=[PORT_8080]),
            ],
            id="a name that is another port",
        ),
        pytest.param([service(), pod(), balancer(pod_selector=BY_TIER)], id="other pods"),
        # What more a pod carries than the selector asks for is not known before there are pods.
        pytest.param([service(), balancer(pod_selector={"matchLabels": NARROW})], id="pods that nobody has seen"),
        pytest.param([service(), balancer(policy_types=["Egress"])], id="the way out"),
    ],
)
def test_a_network_policy_is_not_found_for(bodies: list[Body]) -> None:
    assert found(store_of(NODE, *bodies)) == []


def test_an_allowlist_of_our_own_is_found_too_where_it_covers_nodes() -> None:
    mine = balancer(name="shop-allow", managed=[ours("spec.podSelector", "spec.ingress", "spec.policyTypes")])
    assert found(store_of(NODE, policy(), service(), mine)) == [("shop", "shop-allow")]


def test_what_was_found_follows_objects_as_they_come_change_and_go() -> None:
    store, survey, versions = store_of(), Survey(), iter(range(2, 100))

    def put(body: Body, *, drop: bool = False) -> list[tuple[str, str]]:
        body["metadata"]["resourceVersion"] = str(next(versions))
        shelf = shelf_for(store, body)
        (shelf.drop if drop else shelf.put)(body)
        return found(store, survey)

    both = [("beside", "balancer"), ("shop", "balancer")]
    for body in (service(), service(name="beside"), balancer(), network_policy(name="deny")):
        assert put(body) == []
    assert put(node()) == both
    assert put(balancer("192.0.2.0/24")) == []
    assert put(balancer("10.0.0.0/8")) == both
    assert put(service(name="beside"), drop=True) == both[1:]
    assert put(pod(labels={"app": "shop", "track": "canary"})) == both[1:]
    assert put(balancer(pod_selector={"matchLabels": {"track": "stable"}})) == []
    assert put(balancer(pod_selector={"matchLabels": {"track": "canary"}})) == both[1:]
    assert put(node(addresses=["172.16.0.1"])) == []
    assert put(node()) == both[1:]
    assert put(balancer(), drop=True) == []
    put(network_policy(name="deny"), drop=True)
    assert not any(vars(survey).values()), "nothing is remembered of what is gone"


RULES: list[list[Body]] = [[PORT_8080], [{}], [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8"}}]}]]
FORMS = [
    *(
        service(name=name, selector=selector, **fields)
        for name in ("one", "two")
        for selector in (*LABELS, None)
        for fields in ({}, {"type": "ClusterIP"}, {"ports": NAMED_PORT}, {"ports": [port(target=9)]})
    ),
    *(pod(name, labels=labels) for name in ("x", "y") for labels in LABELS),
    *(endpoint_slice(endpoint(), name=name, service=name, ports=[("http", 9)]) for name in ("one", "two")),
    *(
        balancer(name=name, pod_selector=selector, ingress=ingress)
        for name in ("first", "second")
        for selector in (
            {},
            {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]},
            *({"matchLabels": labels} for labels in LABELS),
        )
        for ingress in RULES
    ),
    node("node-1"),
    node("node-1", addresses=["192.0.2.1"]),
    node("node-2"),
]


@properties(200)
@given(st.lists(st.sampled_from(FORMS), max_size=12))
@example([service(name="one"), pod("x"), pod("y"), node(), balancer(), network_policy()])
def test_the_look_at_the_whole_cluster_finds_what_the_look_at_each_service_finds(bodies: list[Body]) -> None:
    store, survey = Store(), Survey()
    for version, body in enumerate(bodies, start=1):
        shelf_for(store, body).put({**body, "metadata": {**body["metadata"], "resourceVersion": str(version)}})
        expected = set()
        for seen in store.services:
            snapshot = store.snapshot(seen.key, NOW)
            for other in snapshot.others if seen.has_node_ports else ():
                addresses = covering.narrow_at_ports(other.spec, seen, snapshot.slices)
                if covering.covered(addresses, snapshot.nodes):
                    expected.add((seen.key.name, other.name))
        assert found(store, survey) == sorted(expected)


def test_a_scrape_names_a_bounded_number_of_them() -> None:
    controller = controller_of()
    bodies = [
        *(service(name=f"shop-{number}", selector=PODS) for number in range(COVERING_LIMIT // 100 + 1)),
        *(balancer(name=f"balancer-{number}") for number in range(100)),
    ]
    for body in (NODE, *bodies):
        shelf_for(controller.store, body).put(body)
    text = Metrics().render(controller.view()).decode()
    lines = [line for line in text.splitlines() if line.startswith("nodeport_access_network_policy_covers_nodes{")]
    assert len(set(lines)) == COVERING_LIMIT
