"""What an answer depends on, what settles it, and the set form: all outside addresses at once.

Not the business of this module: the table of the lab (`test_evaluate_lab`), or single rules (`test_evaluate`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from ipaddress import ip_address, ip_network
from itertools import product
from operator import and_
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.cidrs import AddressSet, Family
from nodeport_access.evaluate import (
    DEFAULT,
    Answer,
    BackendPod,
    ByClusterAddress,
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    ByPodAddress,
    Caller,
    Client,
    Entry,
    Known,
    Scene,
    Unknown,
    Verdict,
    evaluate,
    reach,
)
from nodeport_access.evaluate.bodies import parse_backend_pod, parse_frontends
from nodeport_access.evaluate.cases import Case, asked, explore, leaves
from nodeport_access.evaluate.cni import CNIS, settle
from nodeport_access.observed import parse_node, parse_service
from tests.unit import builders
from tests.unit.builders import PODS, endpoint
from tests.unit.strategies import properties
from tests.unit.test_evaluate import DENY, LOAD_BALANCER, NODES, STRANGER, allow, scene

UNGUARDED, GUARDED, CLUSTER = scene(), scene(allow("10.2.3.4/32"), DENY, local=True), scene(allow("10.2.3.4/32"), DENY)
FREE: Known = {}


def ask(found: Scene, client: Client, entry: Entry, known: Known = DEFAULT) -> Verdict:
    return evaluate(found, client=client, port=found.service.ports[0], entry=entry, known=known)


def keys(verdict: Verdict) -> list[str]:
    return [unknown.key for unknown in verdict.depends_on]


# --- exploring ---

SOME = (Unknown.PLACEMENT, Unknown.PROXY, Unknown.HAIRPIN)
ALL_ANSWERS = list(product(*(unknown.options for unknown in SOME)))


@properties(max_examples=100)
@given(outcomes=st.lists(st.booleans(), min_size=len(ALL_ANSWERS), max_size=len(ALL_ANSWERS)))
def test_a_tree_gives_the_outcome_of_every_case_and_asks_only_what_changes_it(outcomes: list[bool]) -> None:
    table = dict(zip(ALL_ANSWERS, outcomes, strict=True))

    def run(case: Case) -> bool:
        return table[tuple(case.ask(unknown) for unknown in SOME)]

    tree, found = explore(run, known=FREE, alike=lambda outcome: outcome)
    assert sorted(found) == sorted(outcomes)
    for answers, outcome in table.items():
        fitting = [
            told
            for conditions, told in leaves(tree)
            if all(answers[SOME.index(unknown)] in options for unknown, options in conditions)
        ]
        assert fitting == [outcome]
    for number, unknown in enumerate(SOME):
        changes = any(
            table[answers] != table[(*answers[:number], option, *answers[number + 1 :])]
            for answers in ALL_ANSWERS
            for option in unknown.options
        )
        assert not (unknown in asked(tree) and not changes)


# --- what an answer depends on ---


def test_under_local_nothing_is_left_to_depend_on() -> None:
    for name, answer in (("node1", Answer.REFUSED), ("node2", Answer.THROUGH)):
        verdict = ask(GUARDED, LOAD_BALANCER, ByNodePort(name))
        assert (verdict.answer, verdict.depends_on) == (answer, ())
        assert ask(GUARDED, STRANGER, ByNodePort(name)).answer is Answer.REFUSED


def test_under_cluster_the_verdict_before_or_after_masquerading_decides_about_strangers_by_the_pods_own_node() -> None:
    verdict = ask(CLUSTER, STRANGER, ByNodePort("node2"))
    assert (verdict.answer, keys(verdict)) == (Answer.DEPENDS, ["proxy-mode", "placement"])
    told = {possibility.conditions: possibility.answer for possibility in verdict.possibilities}
    after = "the CNI gives its verdict after masquerading, at the pod's interface"
    kube_proxy = "proxy-mode is iptables, nftables or ipvs"
    assert told[kube_proxy, after] is Answer.THROUGH
    assert [answer for conditions, answer in told.items() if conditions != (kube_proxy, after)] == [Answer.REFUSED] * 2
    assert verdict.derivation[1].startswith(f"If {kube_proxy}, and {after}: through.")


@pytest.mark.parametrize(
    ("placement", "answer"),
    [("every-hop", Answer.REFUSED), ("own-node", Answer.REFUSED), ("after-snat", Answer.THROUGH)],
)
def test_a_flag_turns_it_into_one_of_the_first_two(placement: str, answer: Answer) -> None:
    known = settle(proxy_mode="nftables", assumptions=[(Unknown.PLACEMENT, placement)])
    verdict = ask(CLUSTER, STRANGER, ByNodePort("node2"), known)
    assert (verdict.answer, verdict.possibilities) == (answer, ())


def test_dsr_keeps_the_client_and_so_the_allowlist_matches_on_every_node() -> None:
    dsr = settle(proxy_mode="ebpf", assumptions=[(Unknown.FORWARDING, "kept")])
    assert ask(CLUSTER, LOAD_BALANCER, ByNodePort("node1"), dsr).answer is Answer.THROUGH
    assert ask(CLUSTER, STRANGER, ByNodePort("node1"), dsr).answer is Answer.REFUSED
    hidden = settle(proxy_mode="ebpf", assumptions=[(Unknown.FORWARDING, "hidden")])
    assert ask(CLUSTER, LOAD_BALANCER, ByNodePort("node1"), hidden).answer is Answer.REFUSED


def test_where_networkpolicy_is_not_enforced_everybody_gets_in() -> None:
    for found in (GUARDED, CLUSTER):
        verdict = ask(found, STRANGER, ByNodePort("node2"), settle(cni="flannel"))
        assert verdict.answer is Answer.THROUGH
        assert verdict.derivation[-1] == "The CNI does not enforce NetworkPolicy, so the pod takes everything."
    assert keys(ask(GUARDED, STRANGER, ByNodePort("node2"), FREE)) == ["enforcement"]


def test_whether_an_ipblock_covers_pods_is_the_cnis_to_say() -> None:
    found = scene(allow("10.244.0.0/16"), DENY, local=True)
    pod = Client(ip_address("10.244.3.45"), Caller(namespace="bar", namespace_labels={}, labels={}, node="node3"))
    assert keys(ask(found, pod, ByClusterAddress())) == ["pods-in-ipblock"]
    assert ask(found, pod, ByClusterAddress(), settle(cni="calico")).answer is Answer.THROUGH
    assert ask(found, pod, ByClusterAddress(), settle(cni="cilium")).answer is Answer.REFUSED


def test_a_pod_that_is_hidden_by_its_own_node_is_a_client_with_that_address() -> None:
    found = scene(allow("10.99.0.3/32"), DENY, local=True)
    pod = Client(ip_address("10.244.3.45"), Caller(namespace="bar", namespace_labels={}, labels={}, node="node3"))
    hidden = settle(cni="calico", assumptions=[(Unknown.POD_EGRESS, "node")])
    verdict = ask(found, pod, ByNodePort("node2"), hidden)
    assert (verdict.answer, verdict.sources) == (Answer.THROUGH, (ip_address("10.99.0.3"),))
    own = settle(cni="calico", assumptions=[(Unknown.POD_EGRESS, "own")])
    assert ask(found, pod, ByNodePort("node2"), own).answer is Answer.REFUSED


def test_behind_a_node_whose_address_is_not_known_it_depends_on_that() -> None:
    blank = [builders.node(name, addresses=[]) for name in ("node1", "node2")]
    found = scene(allow("10.0.0.0/8"), DENY, nodes=blank)
    known = settle(proxy_mode="iptables", assumptions=[(Unknown.PLACEMENT, "own-node")])
    assert keys(ask(found, STRANGER, ByNodePort("node1"), known)) == ["hidden-address"]
    assert ask(scene(DENY, nodes=blank), STRANGER, ByNodePort("node1"), known).answer is Answer.REFUSED
    assert ask(scene(nodes=blank), STRANGER, ByNodePort("node1"), known).answer is Answer.THROUGH


def test_the_pods_own_names_tell_which_port_a_rule_means() -> None:
    found = scene(
        allow("198.51.100.7/32", ports=[{"port": "web"}]),
        local=True,
        ports=[builders.port(80, node=31602, target=9097)],
    )
    assert keys(ask(found, STRANGER, ByNodePort("node2"))) == ["named-port"]
    for name, answer in (("web", Answer.THROUGH), ("metrics", Answer.REFUSED)):
        pod = BackendPod(labels=PODS, ports={("TCP", name): 9097})
        assert ask(replace(found, pods=(pod,)), STRANGER, ByNodePort("node2")).answer is answer


def test_of_pods_with_other_labels_each_is_held_against_its_own_policies() -> None:
    canary = builders.network_policy(name="canary", pod_selector={"matchLabels": {"track": "canary"}})
    one, other = endpoint("10.244.2.32", node="node2", ready=True), endpoint("10.244.1.9", node="node1", ready=True)
    pods = (
        BackendPod(labels=PODS, addresses=AddressSet.from_texts(["10.244.2.32/32"])),
        BackendPod(labels={**PODS, "track": "canary"}, addresses=AddressSet.from_texts(["10.244.1.9/32"])),
    )
    found = replace(scene(canary, endpoints=[one, other], local=True), pods=pods)
    assert ask(found, STRANGER, ByNodePort("node2")).answer is Answer.THROUGH
    assert ask(found, STRANGER, ByNodePort("node1")).answer is Answer.REFUSED
    under_cluster = replace(found, service=replace(found.service, external_traffic_policy="Cluster"))
    assert "backend" in keys(ask(under_cluster, STRANGER, ByNodePort("node1")))


def test_of_a_pod_that_terminates_only_the_cni_knows_whether_it_is_isolated() -> None:
    draining = endpoint("10.244.2.32", node="node2", ready=False, serving=True, terminating=True)
    verdict = ask(scene(DENY, endpoints=[draining], local=True), STRANGER, ByNodePort("node2"))
    assert (verdict.answer, keys(verdict)) == (Answer.DEPENDS, ["terminating-pods"])


# --- other ways in ---


def with_addresses(**service: Any) -> Scene:
    """A guarded LoadBalancer Service with addresses of its own."""
    body = builders.service(type="LoadBalancer", ports=[builders.port(9097, target="http", node=31602)], **service)
    body["status"] = {"loadBalancer": {"ingress": [{"ip": "203.0.113.9"}]}}
    return replace(GUARDED, service=parse_service(body), frontends=parse_frontends(body))


def test_external_ips_and_load_balancer_addresses_obey_local_and_networkpolicy() -> None:
    found = with_addresses(traffic_policy="Local", externalIPs=["203.0.113.5"])
    for way in (ByExternalIP, ByLoadBalancer):
        assert [ask(found, LOAD_BALANCER, way(name)).answer for name in ("node1", "node2")] == ["refused", "through"]
        assert ask(found, STRANGER, way("node2")).answer is Answer.REFUSED
    assert "no external IP" in ask(GUARDED, LOAD_BALANCER, ByExternalIP("node2")).derivation[0]
    assert "no load-balancer address" in ask(GUARDED, LOAD_BALANCER, ByLoadBalancer("node2")).derivation[0]


def test_load_balancer_source_ranges_guard_that_address_alone() -> None:
    found = replace(with_addresses(loadBalancerSourceRanges=["198.51.100.0/24"]), network_policies=())
    assert ask(found, STRANGER, ByLoadBalancer("node2")).answer is Answer.THROUGH
    verdict = ask(found, LOAD_BALANCER, ByLoadBalancer("node2"))
    assert verdict.answer is Answer.REFUSED
    assert verdict.derivation[-1] == "kube-proxy drops it, because loadBalancerSourceRanges are 198.51.100.0/24."
    assert ask(found, LOAD_BALANCER, ByNodePort("node2")).answer is Answer.THROUGH


def test_a_cluster_address_from_outside_depends_on_routes_and_on_the_placement() -> None:
    assert keys(ask(GUARDED, STRANGER, ByClusterAddress("node2"))) == ["cluster-address", "placement"]
    routed = settle(assumptions=[(Unknown.CLUSTER_ADDRESS, "routed"), (Unknown.PLACEMENT, "after-snat")])
    assert ask(GUARDED, STRANGER, ByClusterAddress("node2"), routed).answer is Answer.THROUGH
    assert ask(GUARDED, STRANGER, ByClusterAddress("node1"), routed).answer is Answer.REFUSED


def test_past_the_service_the_allowlist_holds_too() -> None:
    assert keys(ask(GUARDED, LOAD_BALANCER, ByPodAddress())) == ["pod-address"]
    assert ask(GUARDED, STRANGER, ByPodAddress()).answer is Answer.REFUSED


def test_under_internal_traffic_policy_local_the_callers_node_must_have_a_pod() -> None:
    body = builders.service(internalTrafficPolicy="Local", ports=[builders.port(9097, target="http")])
    found = replace(UNGUARDED, service=parse_service(body), frontends=parse_frontends(body))
    for name, answer in (("node1", Answer.REFUSED), ("node2", Answer.THROUGH)):
        pod = Client(ip_address("10.244.1.5"), Caller(namespace="foo", namespace_labels={}, labels={}, node=name))
        assert ask(found, pod, ByClusterAddress()).answer is answer


def test_a_node_port_that_the_api_server_will_allocate_counts_as_open() -> None:
    port = {"name": "http", "port": 9097, "targetPort": "http"}
    assert ask(scene(ports=[port]), STRANGER, ByNodePort("node2")).answer is Answer.THROUGH
    none = scene(ports=[port], type="LoadBalancer", allocateLoadBalancerNodePorts=False)
    assert "has no node port" in ask(none, STRANGER, ByNodePort("node2")).derivation[0]


# --- the set form ---


def test_reach_is_the_fewest_cidrs_and_tells_apart_what_is_sure() -> None:
    def of(found: Scene, node: str, known: Known = DEFAULT) -> tuple[Sequence[str], Sequence[str]]:
        each = reach(found, port=found.service.ports[0], entry=ByNodePort(node), families=Family, known=known)
        return each.surely.texts(), each.perhaps.texts()

    listed = scene(allow("10.2.3.4/32", "10.2.3.5/32", "192.0.2.0/25", "192.0.2.128/25"), DENY, local=True)
    assert of(listed, "node2") == (("10.2.3.4/31", "192.0.2.0/24"),) * 2
    assert of(listed, "node1") == ((), ())
    assert of(UNGUARDED, "node1") == (("0.0.0.0/0",),) * 2
    assert of(CLUSTER, "node2") == (("10.2.3.4/32",), ("0.0.0.0/0",))
    assert of(CLUSTER, "node2", settle(cni="calico", proxy_mode="iptables")) == (("10.2.3.4/32",),) * 2


ADDRESSES = st.ip_addresses(v=4)
KNOWNS = st.dictionaries(
    st.sampled_from([unknown for unknown in Unknown if unknown.can_be_known]), st.integers(0, 3)
).map(lambda chosen: {unknown: frozenset({unknown.options[n % len(unknown.options)]}) for unknown, n in chosen.items()})


@properties(max_examples=100)
@given(
    listed=st.lists(st.tuples(ADDRESSES, st.integers(0, 32)), max_size=3),
    other=ADDRESSES,
    local=st.booleans(),
    node=st.sampled_from(["node1", "node2"]),
    known=KNOWNS,
)
def test_an_address_is_in_the_set_exactly_if_it_gets_in_by_itself(
    listed: list[tuple[Any, int]], other: Any, local: bool, node: str, known: Known
) -> None:
    """For clients outside the cluster, on both sides of every boundary."""
    networks = [ip_network(f"{address}/{length}", strict=False) for address, length in listed]
    found = scene(*([allow(*map(str, networks))] if networks else []), DENY, local=local)
    port, entry = found.service.ports[0], ByNodePort(node)
    sets = reach(found, port=port, entry=entry, families=[Family.IPV4], known=known)
    assert sets.surely <= sets.perhaps
    assert bool(sets.depends_on) == bool(sets.eventualities) == (sets.surely != sets.perhaps)
    if sets.eventualities:
        admitted = [each.admitted for each in sets.eventualities]
        assert (reduce(and_, admitted), AddressSet.union(*admitted)) == (sets.surely, sets.perhaps)
    for address in (other, *(end for network in networks for end in (network[0], network[-1]))):
        if found.node_with(address) is not None:
            continue
        answer = evaluate(found, client=Client(address), port=port, entry=entry, known=known).answer
        expected = Answer.DEPENDS if address in sets.perhaps else Answer.REFUSED
        assert answer is (Answer.THROUGH if address in sets.surely else expected)


@properties(max_examples=100)
@given(known=KNOWNS, node=st.sampled_from(["node1", "node2", "node3"]), local=st.booleans())
def test_whoever_knows_everything_is_never_told_that_it_depends(known: Known, node: str, local: bool) -> None:
    everything = {
        unknown: known.get(unknown, frozenset({unknown.options[0]})) for unknown in Unknown if unknown.can_be_known
    }
    found = scene(allow("10.2.3.4/32", "10.99.0.0/24"), DENY, local=local)
    for client in (LOAD_BALANCER, STRANGER, Client(ip_address("10.99.0.1"))):
        for entry in (ByNodePort(node), ByClusterAddress(node), ByPodAddress(node)):
            assert ask(found, client, entry, everything).answer is not Answer.DEPENDS


# --- flags, and bodies ---


def test_every_cni_that_is_known_says_where_that_is_written() -> None:
    for cni in CNIS:
        assert cni.sources
        assert all(answer in unknown.options for unknown, answer in cni.settled.items())


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({"cni": "weave"}, "'weave' is none of the CNIs that are known here: calico, "),
        ({"proxy_mode": "userspace"}, "'userspace' is no answer to proxy-mode; it is one of iptables, nftables, "),
        ({"assumptions": [(Unknown.BACKEND, "yes")]}, "'yes' is no answer to backend"),
    ],
)
def test_a_name_that_is_not_known_is_refused(flags: Mapping[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        settle(**flags)


def test_what_is_said_last_wins() -> None:
    known = settle(cni="flannel", assumptions=[(Unknown.ENFORCEMENT, "enforced")])
    assert known[Unknown.ENFORCEMENT] == {"enforced"}


def test_frontends_and_pods_are_read_of_bodies() -> None:
    body = builders.service(
        type="LoadBalancer",
        clusterIPs=["10.96.0.7", "fd00:96::7"],
        loadBalancerSourceRanges=["10.0.0.0/8", " 192.0.2.0/24"],
    )
    ingress = [{"ip": "203.0.113.9"}, {"ip": "203.0.113.10", "ipMode": "Proxy"}, {"hostname": "lb.example"}]
    found = parse_frontends(body | {"status": {"loadBalancer": {"ingress": ingress}}})
    assert found.cluster.texts() == ("10.96.0.7/32", "fd00:96::7/128")
    assert found.load_balancer.texts() == ("203.0.113.9/32",)
    assert found.source_ranges.texts() == ("10.0.0.0/8", "192.0.2.0/24")
    assert not parse_frontends(builders.service(clusterIP="None")).cluster
    pod = parse_backend_pod(
        {
            "metadata": {"labels": PODS},
            "spec": {
                "containers": [{"ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9}]}],
                "initContainers": [{"ports": [{"name": "dns", "protocol": "UDP", "containerPort": 53}]}],
            },
            "status": {"podIP": "10.244.2.32", "podIPs": [{"ip": "10.244.2.32"}, {"ip": "fd00::32"}]},
        }
    )
    assert pod.addresses.texts() == ("10.244.2.32/32", "fd00::32/128")
    assert pod.ports == {("TCP", "http"): 8080, ("UDP", "dns"): 53}


def test_the_nodes_of_the_table_have_one_address_each() -> None:
    """What the other tests take for granted."""
    assert all(len(parse_node(body).addresses.networks()) == 1 for body in NODES)
