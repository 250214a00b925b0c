"""Ingress rules admit whom the API text says, port by port; a change opens exactly where somebody gains a way in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access.api import Body, Effect
from nodeport_access.cidrs import Address, AddressSet
from nodeport_access.observed import TargetPort
from nodeport_access.rules import EVERYONE, NOBODY, Admission, admission, change, isolates
from tests.unit.strategies import BLOCKS, PEERS, RULE_LISTS, properties

SELECTED = {"matchLabels": {"app": "shop"}}


def spec(*ingress: Body, **fields: Any) -> Body:
    return {"podSelector": SELECTED, "policyTypes": ["Ingress"], "ingress": list(ingress), **fields}


def block(cidr: str, *excepts: str) -> Body:
    return {"ipBlock": {"cidr": cidr} | ({"except": list(excepts)} if excepts else {})}


def rule(*peers: Body, ports: list[Body] | None = None) -> Body:
    return {"from": list(peers)} | ({"ports": ports} if ports is not None else {})


def tcp(port: int | str | None = None, **fields: Any) -> Body:
    return {"protocol": "TCP"} | ({"port": port} if port is not None else {}) | fields


def at(port: int | str, protocol: str = "TCP") -> TargetPort:
    return TargetPort(protocol=protocol, port=port)


def addresses(*cidrs: str) -> AddressSet:
    return AddressSet.from_texts(cidrs)


OFFICE = block("203.0.113.0/24")
IN_OFFICE = addresses("203.0.113.0/24")
NONE = AddressSet.EMPTY


@pytest.mark.parametrize(
    ("policy", "target", "admitted"),
    [
        # "If this field is empty then this NetworkPolicy does not allow any traffic"
        (spec(), at(80), NONE),
        ({"podSelector": {}, "policyTypes": ["Ingress"]}, at(80), NONE),
        ({"podSelector": {}, "policyTypes": ["Ingress"], "ingress": None}, at(80), NONE),
        # a rule without peers matches all sources, one without ports all ports
        (spec({}), at(80), EVERYONE),
        (spec({"from": []}), at(80), EVERYONE),
        (spec({"from": None, "ports": None}), at(80), EVERYONE),
        (spec(rule(OFFICE)), at(80), IN_OFFICE),
        (spec(rule(OFFICE, ports=[])), at(80), IN_OFFICE),
        (spec({"ports": [tcp(80)]}), at(80), EVERYONE),
        (spec({"ports": [tcp(80)]}), at(81), NONE),
        # ports: number, name, range, protocol; TCP where none is given
        (spec(rule(OFFICE, ports=[tcp(80)])), at(80), IN_OFFICE),
        (spec(rule(OFFICE, ports=[{"port": 80}])), at(80), IN_OFFICE),
        (spec(rule(OFFICE, ports=[{"port": 80}])), at(80, "UDP"), NONE),
        (spec(rule(OFFICE, ports=[tcp()])), at(12345), IN_OFFICE),
        (spec(rule(OFFICE, ports=[tcp()])), at(80, "UDP"), NONE),
        (spec(rule(OFFICE, ports=[tcp(80, endPort=90)])), at(80), IN_OFFICE),
        (spec(rule(OFFICE, ports=[tcp(80, endPort=90)])), at(90), IN_OFFICE),
        (spec(rule(OFFICE, ports=[tcp(80, endPort=90)])), at(79), NONE),
        (spec(rule(OFFICE, ports=[tcp(80, endPort=90)])), at(91), NONE),
        (spec(rule(OFFICE, ports=[tcp("web")])), at("web"), IN_OFFICE),
        (spec(rule(OFFICE, ports=[tcp("web")])), at("other"), NONE),
        # a port that no rule names
        (spec(rule(OFFICE, ports=[tcp(80)])), None, NONE),
        (spec(rule(OFFICE)), None, IN_OFFICE),
        # rules and peers add up
        (spec(rule(OFFICE), rule(block("192.0.2.0/24"))), at(80), IN_OFFICE | addresses("192.0.2.0/24")),
        (spec(rule(OFFICE, block("192.0.2.0/24"))), at(80), IN_OFFICE | addresses("192.0.2.0/24")),
        # exceptions hold in their own block only
        (spec(rule(block("203.0.113.0/24", "203.0.113.0/25"))), at(80), addresses("203.0.113.128/25")),
        (spec(rule(block("203.0.113.0/24", "203.0.113.0/25"), OFFICE)), at(80), IN_OFFICE),
        # what the API server takes and Python does not: host bits count as their network, old spellings as everyone
        (spec(rule(block("203.0.113.7/24"))), at(80), IN_OFFICE),
        (spec(rule(block("010.0.0.0/8"))), at(80), EVERYONE),
        # a selector admits no address
        (spec(rule({"podSelector": {}})), at(80), NONE),
        # a policy that is not about ingress
        (spec({}, policyTypes=["Egress"]), at(80), NONE),
        (spec({}, policyTypes=["Ingress", "Egress"]), at(80), EVERYONE),
        (spec({}, policyTypes=[]), at(80), EVERYONE),
    ],
)
def test_a_policy_admits_whom_the_api_text_says(policy: Body, target: TargetPort | None, admitted: AddressSet) -> None:
    assert admission(policy, target=target).addresses == admitted


@pytest.mark.parametrize(("ports", "target"), [([tcp("web")], at(8080)), ([tcp(8080)], at("web"))])
def test_a_name_and_a_number_may_be_one_port_where_that_is_asked_for(ports: list[Body], target: TargetPort) -> None:
    policy = spec(rule(OFFICE, ports=ports))
    assert admission(policy, target=target).addresses == NONE
    assert admission(policy, target=target, names_may_match=True).addresses == IN_OFFICE
    assert admission(policy, target=TargetPort(protocol="UDP", port=target.port), names_may_match=True) == NOBODY


@pytest.mark.parametrize(
    ("types", "isolating"),
    [(["Ingress"], True), (["Ingress", "Egress"], True), (["Egress"], False), ([], True), (None, True)],
)
def test_a_policy_isolates_its_pods_unless_it_is_about_egress_alone(types: list[str] | None, isolating: bool) -> None:
    assert isolates({"policyTypes": types}) is isolating


def test_the_same_peer_counts_once_however_its_fields_are_ordered() -> None:
    one: Body = {"podSelector": {}, "namespaceSelector": {}}
    other: Body = {"namespaceSelector": {}, "podSelector": {}}
    assert len(admission(spec(rule(one), rule(other)), target=at(80)).peers) == 1


@pytest.mark.parametrize(
    ("wider", "narrower"),
    [
        (Admission(addresses=IN_OFFICE), NOBODY),
        (Admission(addresses=NONE, peers=frozenset("p")), NOBODY),
        (Admission(addresses=NONE, peers=frozenset("p")), Admission(addresses=IN_OFFICE)),
        (Admission(addresses=EVERYONE), Admission(addresses=IN_OFFICE, peers=frozenset("p"))),
        (Admission(addresses=addresses("::/0")), Admission(addresses=addresses("0.0.0.0/0"))),
    ],
)
def test_who_admits_somebody_more_exceeds(wider: Admission, narrower: Admission) -> None:
    assert wider.exceeds(narrower)
    assert not narrower.exceeds(narrower)
    assert not wider.exceeds(wider)


def test_no_peer_exceeds_everyone() -> None:
    assert not Admission(addresses=EVERYONE, peers=frozenset("p")).exceeds(Admission(addresses=EVERYONE))


# --- against an oracle that asks address by address and port by port ---

PORTS = [
    *(("TCP", number) for number in (1, 7999, 8000, 8001, 8050, 8079, 8080, 8081, 8099, 8100, 8101, 8443, 8444)),
    *(("UDP", number) for number in (8079, 8080, 8081)),
    *(("TCP", name) for name in ("web", "tls")),
    ("SCTP", 1),
]


def gets_in(policy: Body, address: Address | str, protocol: str, port: int | str) -> bool:
    """The oracle; an address, or the canonical text of a peer."""
    if policy["policyTypes"] and "Ingress" not in policy["policyTypes"]:
        return False
    return any(
        _matches_port(item, protocol, port) and _matches_source(item, address) for item in policy.get("ingress") or []
    )


def _matches_port(item: Body, protocol: str, port: int | str) -> bool:
    for wanted in item.get("ports") or [None]:
        if wanted is None:
            return True
        if wanted.get("protocol", "TCP") != protocol:
            continue
        number, last = wanted.get("port"), wanted.get("endPort")
        if number is None or number == port:
            return True
        if last is not None and isinstance(port, int) and number <= port <= last:
            return True
    return False


def _matches_source(item: Body, source: Address | str) -> bool:
    for peer in item.get("from") or [None]:
        if peer is None:
            return True
        if isinstance(source, str):
            if json.dumps(peer, sort_keys=True) == source:
                return True
        elif "ipBlock" in peer:
            inside = source in ip_network(peer["ipBlock"]["cidr"])
            if inside and not any(source in ip_network(text) for text in peer["ipBlock"].get("except", ())):
                return True
    return False


def edges(*policies: Body) -> Iterator[Address]:
    """Both sides of every boundary of every block, and an address that no block names."""
    yield from (ip_address("192.0.2.99"), ip_address("2001:db8:ffff::99"))
    for policy in policies:
        for item in policy.get("ingress") or []:
            for peer in item.get("from") or []:
                blocks = peer.get("ipBlock", {})
                for text in (blocks.get("cidr"), *blocks.get("except", ())):
                    if text is not None:
                        network = ip_network(text)
                        kind = IPv4Address if network.version == 4 else IPv6Address
                        for value in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
                            if 0 <= value < 2**network.max_prefixlen:
                                yield kind(value)


SPECS = st.builds(
    lambda rules, types: spec(*rules, policyTypes=types),
    st.sampled_from(RULE_LISTS),
    st.sampled_from([["Ingress"], ["Ingress"], ["Ingress", "Egress"], ["Egress"]]),
)


@properties(150)
@given(SPECS)
def test_an_address_is_admitted_to_a_port_exactly_where_a_rule_lets_it_in(policy: Body) -> None:
    for protocol, port in PORTS:
        admitted = admission(policy, target=at(port, protocol)).addresses
        for address in set(edges(policy)):
            assert (address in admitted) == gets_in(policy, address, protocol, port), (address, protocol, port)


NARROW = block("203.0.113.0/28")


@properties(300)
@given(st.sampled_from(RULE_LISTS), st.sampled_from(RULE_LISTS))
@example([rule(NARROW, ports=[tcp(8080)])], [rule(NARROW, ports=[tcp()])])
@example([rule(NARROW, ports=[tcp("web")])], [rule(NARROW, ports=[tcp()])])
@example([rule(NARROW, ports=[tcp()])], [rule(NARROW, ports=[tcp(8080)])])
@example([rule(NARROW, ports=[tcp(8000), tcp(8100)])], [rule(NARROW, ports=[tcp(8000, endPort=8100)])])
@example([rule(NARROW, ports=[tcp(8000, endPort=8100)])], [rule(NARROW, ports=[tcp(8000), tcp(8100)])])
@example([], [rule(NARROW, ports=[{"protocol": "SCTP"}])])
def test_a_change_opens_exactly_where_somebody_gains_a_port(before: list[Body], after: list[Body]) -> None:
    was, now = spec(*before), spec(*after)
    sources: list[Address | str] = [*set(edges(was, now)), *(json.dumps(peer, sort_keys=True) for peer in PEERS)]
    ways = [(source, *port) for source in sources for port in PORTS]
    gained = any(gets_in(now, *way) and not gets_in(was, *way) for way in ways)
    lost = any(gets_in(was, *way) and not gets_in(now, *way) for way in ways)
    assert change(before=was, after=now) is (Effect.OPENED if gained else Effect.CLOSED if lost else Effect.NONE)


@properties(50)
@given(SPECS)
def test_no_change_has_no_effect(policy: Body) -> None:
    assert change(before=policy, after=policy) is Effect.NONE


@pytest.mark.parametrize(
    ("fields", "effect"),
    [
        ({"podSelector": {"matchLabels": {"app": "other"}}}, Effect.OPENED),
        ({"podSelector": {}}, Effect.OPENED),
        ({"policyTypes": ["Egress"]}, Effect.OPENED),
        ({"policyTypes": ["Ingress", "Egress"]}, Effect.CLOSED),
        ({"egress": [{}]}, Effect.NONE),
    ],
)
def test_a_change_beside_the_rules_has_an_effect_too(fields: Body, effect: Effect) -> None:
    assert change(before=spec(rule(OFFICE)), after=spec(rule(OFFICE), **fields)) is effect


def test_the_pools_hold_what_matters() -> None:
    everything = json.dumps([BLOCKS, RULE_LISTS])
    assert all(word in everything for word in ("except", "endPort", "podSelector", "::", "203.0.113"))
