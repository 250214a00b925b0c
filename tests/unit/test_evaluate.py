"""What becomes of a connection: the table that was seen with real packets, and each rule behind it.

The table's rows are set-ups, its cells clients by the node they enter. What was seen is a letter for each node: y for
through, - for refused. The scene is that of the table: three nodes, the pod on the second, node port 31602.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.evaluate import (
    Answer,
    BackendPod,
    ByClusterAddress,
    ByNodePort,
    Caller,
    Client,
    Entry,
    Known,
    Scene,
    Unknown,
    Verdict,
    evaluate,
)
from nodeport_access.evaluate.cni import settle
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_service
from tests.unit import builders
from tests.unit.builders import PODS, endpoint, endpoint_slice, network_policy, port
from tests.unit.strategies import properties

LETTERS = {Answer.THROUGH: "y", Answer.REFUSED: "-", Answer.DEPENDS: "?"}
NAMES = ("node1", "node2", "node3")
NODES = tuple(
    builders.node(name, addresses=[f"10.99.0.{number}"], pod_cidrs=[f"10.244.{number}.0/24"])
    for number, name in enumerate(NAMES, start=1)
)
HTTP = port(9097, target="http", node=31602)
POD = endpoint("10.244.2.32", node="node2", ready=True)

LOAD_BALANCER = Client(ip_address("10.2.3.4"))
STRANGER = Client(ip_address("198.51.100.7"))


def caller(namespace: str, address: str, **labels: str) -> Client:
    """A pod in a namespace whose region bears the namespace's name."""
    return Client(
        ip_address(address), Caller(namespace=namespace, namespace_labels={"region": namespace}, labels=labels)
    )


FOO, BAR = caller("foo", "10.244.1.21"), caller("bar", "10.244.3.45")


def allow(*cidrs: str, peers: Sequence[Body] = (), ports: Sequence[Body] = ({"port": "http"},), **tweaks: Any) -> Body:
    """An allowlist for the pods, on the port that the Service leads to."""
    peers = [*({"ipBlock": {"cidr": cidr}} for cidr in cidrs), *peers]
    return network_policy(name="allow", ingress=[{"from": peers, "ports": list(ports)}], **tweaks)


DENY = network_policy(name="deny-all")
NODE_RANGE = "10.99.0.0/24"


def scene(
    *policies: Body,
    local: bool = False,
    nodes: Sequence[Body] = NODES,
    endpoints: Sequence[Body] = (POD,),
    pods: Sequence[Mapping[str, str]] = (PODS,),
    ports: Sequence[Body] = (HTTP,),
    resolved: Sequence[tuple[str, int]] = (("http", 9097),),
    **service: Any,
) -> Scene:
    """The scene of the table; `local` sets externalTrafficPolicy, `resolved` is what the slices say of ports."""
    traffic_policy = "Local" if local else "Cluster"
    return Scene(
        service=parse_service(builders.service(ports=ports, traffic_policy=traffic_policy, **service)),
        slices=(parse_endpoint_slice(endpoint_slice(*endpoints, ports=resolved)),),
        nodes=tuple(map(parse_node, nodes)),
        network_policies=tuple(map(parse_network_policy, policies)),
        pods=tuple(BackendPod(labels=labels) for labels in pods),
    )


KNOWN = settle(
    proxy_mode="iptables",
    assumptions=[
        (Unknown.PLACEMENT, "own-node"),
        (Unknown.POD_EGRESS, "own"),
        (Unknown.NODES_IN_IPBLOCK, "matched"),
    ],
)
"""Of the cluster in which the table was seen: verdicts of the pod's own node, and kube-proxy by iptables."""


def ask(found: Scene, client: Client, entry: Entry | str, known: Known = KNOWN) -> Verdict:
    """By the first port of the Service; a text is the name of the node to enter by."""
    way = ByNodePort(entry) if isinstance(entry, str) else entry
    return evaluate(found, client=client, port=found.service.ports[0], entry=way, known=known)


def row(found: Scene, client: Client) -> str:
    """A letter for each node entered."""
    return "".join(LETTERS[ask(found, client, name).answer] for name in NAMES)


def sources(found: Scene, client: Client) -> list[str]:
    """What the pod sees, by each node entered."""
    return ["/".join(map(str, ask(found, client, name).sources)) for name in NAMES]


# --- the table ---

SET_UPS = {
    "no policy, Cluster": scene(),
    "deny-all + ipBlock, Cluster": scene(allow("10.2.3.4/32"), DENY),
    "+ ipBlock of the nodes, Cluster": scene(allow("10.2.3.4/32", NODE_RANGE), DENY),
    "deny-all + ipBlock, Local": scene(allow("10.2.3.4/32"), DENY, local=True),
    "allowlist deleted, deny-all left, Local": scene(DENY, local=True),
    "allowlist deleted, deny-all left, Cluster": scene(DENY),
}


@pytest.mark.parametrize(
    ("set_up", "load_balancer", "stranger"),
    [
        ("no policy, Cluster", "yyy", "yyy"),
        ("deny-all + ipBlock, Cluster", "-y-", "---"),
        ("+ ipBlock of the nodes, Cluster", "yyy", "y-y"),
        ("deny-all + ipBlock, Local", "-y-", "---"),
        ("allowlist deleted, deny-all left, Local", "---", "---"),
        ("allowlist deleted, deny-all left, Cluster", "---", "---"),
    ],
)
def test_the_answers_are_those_of_real_packets(set_up: str, load_balancer: str, stranger: str) -> None:
    found = SET_UPS[set_up]
    assert (row(found, LOAD_BALANCER), row(found, STRANGER)) == (load_balancer, stranger)


@pytest.mark.parametrize("pod", [FOO, BAR], ids=["foo", "bar"])
@pytest.mark.parametrize("set_up", [name for name in SET_UPS if "Local" not in name])
def test_pods_that_dial_a_node_port_are_strangers_like_others_under_cluster(set_up: str, pod: Client) -> None:
    assert row(SET_UPS[set_up], pod) == row(SET_UPS[set_up], STRANGER)


def test_under_local_pods_that_the_list_does_not_name_are_refused_by_every_node() -> None:
    assert row(SET_UPS["deny-all + ipBlock, Local"], BAR) == "---"


def test_the_pod_sees_a_nodes_address_under_cluster_and_the_clients_own_under_local() -> None:
    assert sources(SET_UPS["no policy, Cluster"], STRANGER) == ["10.99.0.1", "10.99.0.2", "10.99.0.3"]
    assert sources(SET_UPS["deny-all + ipBlock, Cluster"], LOAD_BALANCER) == ["", "10.99.0.2", ""]
    assert sources(SET_UPS["deny-all + ipBlock, Local"], LOAD_BALANCER) == ["", "10.2.3.4", ""]


# --- node ports ---


def test_behind_a_tunnel_the_pod_sees_the_tunnels_address_and_an_allowlist_with_it_lets_the_world_in() -> None:
    nodes = [
        builders.node(
            name,
            addresses=[f"10.102.123.{last}"],
            pod_cidrs=[f"10.233.{third}.0/24"],
            annotations={"projectcalico.org/IPv4IPIPTunnelAddr": f"10.233.{third}.0"},
        )
        for name, last, third in (("node1", 117, 90), ("node2", 104, 96), ("node3", 143, 92))
    ]
    endpoints = [endpoint("10.233.96.32", node="node2", ready=True)]
    tunnels = allow("10.2.3.4/32", "10.233.90.0/32", "10.233.92.0/32", "10.233.96.0/32")
    open_door = scene(nodes=nodes, endpoints=endpoints)
    assert sources(open_door, STRANGER) == ["10.233.90.0", "10.102.123.104", "10.233.92.0"]
    assert row(scene(tunnels, DENY, nodes=nodes, endpoints=endpoints), STRANGER) == "y-y"
    assert row(scene(allow("10.0.0.0/8"), DENY, nodes=nodes, endpoints=endpoints), STRANGER) == "y-y"


def test_the_pods_own_node_is_always_let_in_and_no_other_is() -> None:
    own, other = (Client(ip_address(address)) for address in ("10.99.0.2", "10.99.0.1"))
    for found in (scene(DENY), scene(DENY, local=True)):
        assert ask(found, own, "node2").answer is Answer.THROUGH
        assert ask(found, other, "node2").answer is Answer.REFUSED
    assert "10.99.0.2 is the pod's own node" in ask(scene(DENY), own, "node2").derivation[-1]


def test_a_node_that_dials_its_own_port_is_served_as_under_cluster() -> None:
    node1 = Client(ip_address("10.99.0.1"))
    assert row(scene(local=True), node1) == "yy-"
    assert ask(scene(local=True), node1, "node1").sources == (ip_address("10.99.0.1"),)


def test_without_ready_endpoints_those_that_drain_are_used_and_without_any_the_port_is_refused() -> None:
    draining = endpoint("10.244.3.9", node="node3", ready=False, serving=True, terminating=True)
    dead = endpoint("10.244.1.9", node="node1", ready=False, serving=False, terminating=True)
    assert row(scene(local=True, endpoints=[POD, draining, dead]), STRANGER) == "-yy"
    assert row(scene(local=True, endpoints=[draining, dead]), STRANGER) == "--y"
    assert sources(scene(endpoints=[POD, draining]), STRANGER) == ["10.99.0.1", "10.99.0.2", "10.99.0.3"]
    assert row(scene(endpoints=[dead]), STRANGER) == "---"
    assert "has no ready endpoint" in ask(scene(endpoints=[dead]), STRANGER, "node1").derivation[0]


def test_where_backends_differ_it_depends_on_the_one_that_kube_proxy_picks() -> None:
    both = [POD, endpoint("10.244.1.9", node="node1", ready=True)]
    verdict = ask(scene(allow("10.2.3.4/32"), DENY, endpoints=both), LOAD_BALANCER, "node1")
    assert verdict.answer is Answer.DEPENDS
    assert verdict.sources == (ip_address("10.99.0.1"),)
    assert len(verdict.derivation) == 2
    assert row(scene(allow("10.2.3.4/32"), DENY, endpoints=both, local=True), LOAD_BALANCER) == "yy-"


def test_a_node_with_two_addresses_may_hide_clients_behind_either() -> None:
    nodes = [builders.node("node1", addresses=["10.99.0.1", "192.0.2.1"]), *NODES[1:]]
    verdict = ask(scene(allow("192.0.2.0/24"), DENY, nodes=nodes), STRANGER, "node1")
    assert verdict.answer is Answer.DEPENDS
    assert verdict.sources == (ip_address("192.0.2.1"),)


def test_a_backend_in_its_nodes_network_is_open_whatever_the_policies_say() -> None:
    found = scene(DENY, endpoints=[endpoint("10.99.0.2", node="node2", ready=True)])
    assert row(found, STRANGER) == "yyy"
    assert "NetworkPolicy does not apply" in ask(found, STRANGER, "node2").derivation[-1]


def test_a_port_without_node_port_and_a_family_that_is_not_served_are_refused() -> None:
    assert row(scene(type="ClusterIP"), STRANGER) == "---"
    six = Client(ip_address("2001:db8::7"))
    assert row(scene(), six) == "---"
    assert "does not serve IPv6" in ask(scene(), six, "node1").derivation[0]
    assert "no IPv6 address" in ask(scene(families=["IPv6"]), six, "node1").derivation[0]


def test_ipv6_goes_the_same_ways() -> None:
    nodes = [
        builders.node(name, addresses=[f"fd00:99::{number}", f"10.99.0.{number}"])
        for number, name in enumerate(NAMES, start=1)
    ]
    six = Client(ip_address("2001:db8::7"))
    endpoints = [endpoint("fd00:244::32", node="node2", ready=True)]
    listed = [allow("2001:db8::/64"), DENY]
    found = scene(*listed, nodes=nodes, endpoints=endpoints, families=["IPv6", "IPv4"])
    assert row(found, six) == "-y-"
    assert row(scene(nodes=nodes, endpoints=endpoints, families=["IPv6"]), six) == "yyy"


def test_a_node_that_is_not_there_cannot_be_entered() -> None:
    with pytest.raises(KeyError, match="node9"):
        ask(scene(), STRANGER, "node9")


# --- pods, by the cluster address ---

NOT_BAR = {"namespaceSelector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["bar"]}]}}


def by_address(found: Scene, client: Client) -> Verdict:
    return ask(found, client, ByClusterAddress())


@pytest.mark.parametrize("local", [False, True], ids=["Cluster", "Local"])
def test_by_the_cluster_address_a_pod_keeps_its_own_and_peers_decide(local: bool) -> None:
    found = scene(allow("10.2.3.4/32", peers=[NOT_BAR]), DENY, local=local)
    assert (by_address(found, FOO).answer, by_address(found, FOO).sources) == (Answer.THROUGH, (FOO.address,))
    assert (by_address(found, BAR).answer, by_address(found, BAR).sources) == (Answer.REFUSED, ())
    assert by_address(scene(DENY, local=local), FOO).answer is Answer.REFUSED
    assert by_address(scene(local=local), BAR).answer is Answer.THROUGH


@pytest.mark.parametrize(
    ("peer", "client", "through"),
    [
        ({"podSelector": {"matchLabels": {"app": "web"}}}, caller("web", "10.244.1.5", app="web"), True),
        ({"podSelector": {"matchLabels": {"app": "web"}}}, caller("foo", "10.244.1.5", app="web"), False),
        ({"podSelector": {}}, caller("foo", "10.244.1.5"), False),
        ({"namespaceSelector": {}}, caller("foo", "10.244.1.5"), True),
        ({"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}}, FOO, False),
        (
            {"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "web"}}},
            caller("foo", "10.244.1.5", app="web"),
            True,
        ),
        ({"namespaceSelector": {"matchLabels": {"region": "foo"}}}, BAR, False),
    ],
)
def test_a_peer_selects_by_namespace_by_pod_or_by_both(peer: Body, client: Client, through: bool) -> None:
    answer = by_address(scene(allow(peers=[peer])), client).answer
    assert answer is (Answer.THROUGH if through else Answer.REFUSED)


def test_what_only_the_cni_knows_depends() -> None:
    over_pods = scene(allow("10.244.0.0/16"))
    assert by_address(over_pods, BAR).answer is Answer.DEPENDS
    assert "ipBlock" in by_address(over_pods, BAR).derivation[-1]
    assert by_address(scene(), STRANGER).answer is Answer.DEPENDS
    itself = Client(ip_address("10.244.2.32"), FOO.pod)
    assert by_address(scene(DENY), itself).answer is Answer.DEPENDS


def test_a_rule_that_admits_for_sure_counts_for_more_than_one_that_may() -> None:
    may, does = ({"from": [peer]} for peer in ({"ipBlock": {"cidr": "10.244.0.0/16"}}, NOT_BAR))
    verdict = by_address(scene(network_policy(name="allow", ingress=[may, does])), FOO)
    assert verdict.answer is Answer.THROUGH
    assert verdict.derivation[-1].startswith("Rule 2 of NetworkPolicy allow admits")


def test_a_rule_without_from_admits_pods_and_everybody_else() -> None:
    found = scene(network_policy(ingress=[{}]), DENY)
    assert by_address(found, BAR).answer is Answer.THROUGH
    assert row(found, STRANGER) == "yyy"


def test_under_local_a_pod_may_be_taken_past_the_traffic_policy() -> None:
    found = scene(allow(peers=[NOT_BAR]), DENY, local=True)
    assert (row(found, FOO), row(found, BAR)) == ("?y?", "---")


# --- NetworkPolicy ---


def test_the_rule_that_admits_is_named() -> None:
    derivation = ask(SET_UPS["deny-all + ipBlock, Local"], LOAD_BALANCER, "node2").derivation
    assert derivation == (
        "Under Local, node2 sends it to the pod 10.244.2.32 on node2 and keeps the source.",
        "Rule 1 of NetworkPolicy allow admits 10.2.3.4.",
    )


def test_where_none_admits_the_policies_that_select_the_pod_are_named() -> None:
    derivation = ask(SET_UPS["deny-all + ipBlock, Cluster"], LOAD_BALANCER, "node1").derivation
    assert derivation == (
        "Under Cluster, node1 sends it to the pod 10.244.2.32 on node2 and hides the client behind 10.99.0.1, its own "
        "address.",
        "NetworkPolicy allow and deny-all select the pod, and no rule admits 10.99.0.1.",
    )


def test_a_policy_counts_only_where_it_selects_the_pod_and_isolates_ingress() -> None:
    elsewhere = network_policy(name="elsewhere", pod_selector={"matchLabels": {"app": "other"}})
    egress_only = network_policy(name="egress", policy_types=["Egress"])
    assert row(scene(elsewhere, egress_only), STRANGER) == "yyy"
    assert row(scene(network_policy(name="all", pod_selector={})), STRANGER) == "---"


def test_without_pods_the_selector_stands_for_their_labels() -> None:
    assert row(scene(DENY, pods=[]), STRANGER) == "---"


def test_where_pods_carry_different_labels_it_depends_on_the_pod() -> None:
    canary = network_policy(name="canary", pod_selector={"matchLabels": {"track": "canary"}})
    found = scene(canary, pods=[PODS, {**PODS, "track": "canary"}])
    assert row(found, STRANGER) == "???"


@pytest.mark.parametrize(
    ("service_port", "rule_port", "letters"),
    [
        ({"target": "http"}, {"port": "http"}, "yyy"),
        ({"target": "http"}, {"port": 9097}, "yyy"),
        ({"target": "http"}, {"port": "metrics"}, "---"),
        ({"target": 9097}, {"port": 9097}, "yyy"),
        ({"target": 9097}, {"port": 9090, "endPort": 9099}, "yyy"),
        ({"target": 9097}, {"port": 9098}, "---"),
        ({"target": 9097}, {"port": "http"}, "???"),
        ({"target": 9097}, {"port": 9097, "protocol": "UDP"}, "---"),
    ],
)
def test_a_rule_speaks_of_the_port_at_the_pod(service_port: Body, rule_port: Body, letters: str) -> None:
    found = scene(allow("0.0.0.0/0", ports=[rule_port]), ports=[port(80, node=31602, **service_port)])
    assert row(found, STRANGER) == letters


ADDRESSES = st.ip_addresses(v=4)


@properties(max_examples=100)
@given(
    client=ADDRESSES,
    listed=st.lists(st.tuples(ADDRESSES, st.integers(0, 32)), max_size=4),
    local=st.booleans(),
)
def test_on_the_pods_own_node_exactly_the_list_gets_in_under_both_policies(
    client: Any, listed: list[tuple[Any, int]], local: bool
) -> None:
    """Own-node placement: the client's own address is what counts there, masqueraded afterwards or not at all."""
    networks = [ip_network(f"{address}/{length}", strict=False) for address, length in listed]
    found = scene(allow(*map(str, networks)) if networks else DENY, DENY, local=local)
    expected = any(client in network for network in networks) or client == ip_address("10.99.0.2")
    assert (ask(found, Client(client), "node2").answer is Answer.THROUGH) == expected
