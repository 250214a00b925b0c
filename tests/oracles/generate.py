"""Generated cases: clusters so small that names, labels, ports and networks meet, and questions at every boundary.

Parts are drawn whole from pools, which begin with the simple ones, towards which a failing case shrinks. Not its
business: what must hold (the tests).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address, ip_network
from itertools import product
from random import Random

from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.cidrs import Address
from tests.oracles.case import (
    Case,
    Question,
    addresses_of,
    blocks_of,
    container_port,
    in_block,
    key_of,
    namespace,
    network_of,
    pod,
    policy,
    ports_of,
)
from tests.unit.strategies import part_of

QUESTIONS = 16
"""Of one case, at most."""

NAMESPACES = ("web", "shop", "ops")
NAMESPACE_LABELS: list[dict[str, str]] = [
    {},
    {"region": "foo"},
    {"region": "bar"},
    {"region": "foo", "team": "a"},
    {"team": ""},
]
POD_LABELS: list[dict[str, str]] = [
    {},
    {"app": "shop"},
    {"app": "other"},
    {"app": "shop", "tier": "web"},
    {"tier": "web"},
    {"tier": ""},
]
HTTP = container_port("http", 8080)
CONTAINER_PORTS: list[list[Body]] = [
    [HTTP],
    [],
    [HTTP, container_port("dns", 5353, "UDP")],
    [container_port("web", 8443)],
    [container_port("http", 8081), container_port("admin", 9000)],
    [HTTP, container_port("dns", 8080, "UDP")],
    [container_port("http", 8080, "UDP")],
    [container_port("", 8080), container_port("admin", 9000)],
]


def _expression(key: str, operator: str, *values: str) -> Body:
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": list(values)} if values else {})]}


def _selectors(key: str, other: str, *values: str) -> list[Body]:
    """Selectors by a label `key` that has `values`, and by another."""
    first, second = values
    return [
        {},
        {"matchLabels": {key: first}},
        _expression(key, "In", first, second),
        _expression(key, "NotIn", first),
        _expression(key, "Exists"),
        _expression(key, "DoesNotExist"),
        {"matchLabels": {key: second}, **_expression(other, "DoesNotExist")},
        {"matchLabels": {key: first, other: "web"}},
        {"matchLabels": {other: ""}},
        _expression(other, "NotIn", "", "a"),
        _expression(other, "In", "", "web"),
        {"matchLabels": {}, "matchExpressions": []},
    ]


POD_SELECTORS = _selectors("app", "tier", "shop", "other")
NAMESPACE_SELECTORS = [
    *_selectors("region", "team", "foo", "bar"),
    {"matchLabels": {"kubernetes.io/metadata.name": "ops"}},
]
SELECTING_PEERS: list[Body] = [
    *({"podSelector": selector} for selector in POD_SELECTORS),
    *({"namespaceSelector": selector} for selector in NAMESPACE_SELECTORS),
]
BOTH_SELECTED: list[Body] = [
    {"namespaceSelector": outer, "podSelector": inner} for outer, inner in product(NAMESPACE_SELECTORS, POD_SELECTORS)
]


def _blocks(count: int) -> Iterator[Body]:
    """CIDRs with exceptions, most of them in two blocks of 256 addresses, so that they nest, touch and repeat. The
    widest come with and without the pods' own range."""
    random = Random(0)
    yield from ({"cidr": text} for text in ("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25", "10.2.3.4/32"))
    yield from ({"cidr": text} for text in ("2001:db8::/120", "2001:db8::/32", "0.0.0.0/0", "::/0", "128.0.0.0/1"))
    yield {"cidr": "0.0.0.0/0", "except": ["10.244.0.0/16"]}
    yield {"cidr": "::/0", "except": ["fd00:10:244::/48", "2001:db8::/64"]}
    yield {"cidr": "10.0.0.0/8", "except": ["10.244.0.0/16", "10.2.3.4/32"]}
    for _ in range(count):
        within = ip_network(random.choice(("203.0.113.0/24", "203.0.113.0/24", "2001:db8::/120", "128.0.0.0/1")))
        network = part_of(within, random, longer=8)
        roomy = network.prefixlen < network.max_prefixlen
        parts = {str(part_of(network, random, longer=8)) for _ in range(random.randint(0, 3) if roomy else 0)}
        yield {"cidr": str(network)} | ({"except": sorted(parts)} if parts else {})


BLOCKS: list[Body] = [{"ipBlock": block} for block in _blocks(150)]

PORT_LISTS: list[list[Body] | None] = [
    None,
    [],
    [{"port": 8080}],
    [{"protocol": "TCP", "port": "http"}],
    [{"protocol": "TCP"}],
    [{"protocol": "UDP"}],
    [{}],
    [{"port": 8000, "endPort": 8100}],
    [{"port": 8080, "endPort": 8080}],
    [{"port": 8081, "endPort": 65535}, {"protocol": "UDP", "port": 1, "endPort": 8079}],
    [{"port": 8443}, {"protocol": "UDP", "port": 8080}],
    [{"protocol": "UDP", "port": "dns"}, {"port": "web"}],
    [{"port": "admin"}, {"port": 5353, "protocol": "UDP"}],
    [{"protocol": "UDP", "port": "http"}],
]
BARE_PORTS = ((8080, "TCP"), (8080, "UDP"), (8081, "TCP"), (8100, "TCP"), (8101, "TCP"), (1, "UDP"), (65535, "TCP"))
"""Asked about whether or not the pod has them."""

PEERS = st.one_of(
    st.sampled_from(BLOCKS[:12]),
    st.sampled_from(BLOCKS),
    st.sampled_from(SELECTING_PEERS),
    st.sampled_from(BOTH_SELECTED),
)


def _rule(peers: list[Body] | None, ports: list[Body] | None) -> Body:
    return ({} if peers is None else {"from": peers}) | ({} if ports is None else {"ports": ports})


FROM_LISTS: st.SearchStrategy[list[Body] | None] = st.one_of(
    st.lists(PEERS, min_size=1, max_size=3),
    st.sampled_from(BOTH_SELECTED).map(lambda peer: [peer]),
    st.sampled_from([None, []]),
)
RULES = st.builds(_rule, FROM_LISTS, st.one_of(st.none(), st.sampled_from(PORT_LISTS)))
RULE_LISTS: st.SearchStrategy[list[Body] | None] = st.one_of(
    st.lists(RULES, min_size=1, max_size=3), st.none(), st.just([])
)
POLICY_TYPES: list[list[str] | None] = [
    *([["Ingress"]] * 14),
    *([None] * 6),
    *([["Ingress", "Egress"]] * 4),
    *([["Egress"]] * 2),
    ["Egress", "Ingress"],
]


def _spec(selector: Body, types: list[str] | None, rules: list[Body] | None, egress: bool) -> Body:
    """Egress rules let everything out: who gets in is all that is compared. A policy of Egress alone mostly has no
    ingress rules, as people write it."""
    outward = types is not None and "Egress" in types
    if types == ["Egress"] and not egress:
        rules = None
    return (
        {"podSelector": selector}
        | ({} if types is None else {"policyTypes": types})
        | ({} if rules is None else {"ingress": rules})
        | ({"egress": [{}]} if outward or (types is None and egress) else {})
    )


SPECS = st.builds(
    _spec,
    st.one_of(st.just(POD_SELECTORS[0]), st.sampled_from(POD_SELECTORS)),
    st.sampled_from(POLICY_TYPES),
    RULE_LISTS,
    st.sampled_from([False, False, False, True]),
)
HOMES = ("web", "web", "shop", "ops")


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """A cluster of three namespaces, two to five pods and up to four policies, and questions about it."""
    namespaces = [namespace(name, draw(st.sampled_from(NAMESPACE_LABELS))) for name in NAMESPACES]
    drawn = draw(
        st.lists(
            st.tuples(st.sampled_from(HOMES), st.sampled_from(POD_LABELS), st.sampled_from(CONTAINER_PORTS)),
            min_size=2,
            max_size=5,
        )
    )
    pods = [
        pod(f"{name}/pod-{number}", number=number, labels=labels, ports=ports)
        for number, (name, labels, ports) in enumerate(drawn, start=1)
    ]
    # Policies where there are pods: another namespace's say nothing.
    homes = st.sampled_from([name for name, _, _ in drawn])
    specs = draw(st.lists(st.tuples(homes, SPECS), min_size=draw(st.sampled_from([1, 1, 1, 0])), max_size=4))
    policies = [policy(f"{name}/policy-{number}", spec) for number, (name, spec) in enumerate(specs, start=1)]
    asked = list(questions(pods, policies))
    # A sample by one number, because a draw for each would cost more than the answers.
    picked = Random(draw(st.integers(0, 2**16))).sample(asked, min(QUESTIONS, len(asked)))
    return Case(namespaces=tuple(namespaces), pods=tuple(pods), policies=tuple(policies), questions=tuple(picked))


def questions(pods: Sequence[Body], policies: Sequence[Body]) -> Iterator[Question]:
    """Every question on the common ground: from every pod and every address at and around a boundary, to every port."""
    outside = outsiders(list(blocks_of(policies)))
    for destination in pods:
        own = [each for each in policies if each["metadata"]["namespace"] == destination["metadata"]["namespace"]]
        clients = [("", address) for address in outside]
        for source in pods:
            for address in addresses_of(source) if source is not destination else ():
                if not any(in_block(address, block) for block in blocks_of(own)):
                    clients.append((key_of(source), address))
        for (source_key, address), (port, protocol) in product(clients, asked_ports(destination)):
            yield Question(
                source=source_key, address=address, destination=key_of(destination), protocol=protocol, port=port
            )


def outsiders(blocks: Sequence[Body]) -> list[Address]:
    """Addresses outside the cluster: first, last, one before and one after each network that is named, and two more."""
    found: dict[Address, None] = dict.fromkeys(map(ip_address, ("198.51.100.7", "2001:db8:7::7")))
    for block in blocks:
        for text in (block["cidr"], *block.get("except", ())):
            network = network_of(text)
            for value in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
                if 0 <= value < 2**network.max_prefixlen:
                    found[type(network[0])(value)] = None
    return [address for address in found if not any(address in network_of(text) for text in INSIDE)]


INSIDE = ("10.244.0.0/16", "fd00:10:244::/48", "192.0.2.0/24", "2001:db8:ffff::/48")
"""The pods' and the node's ranges: no client outside has an address of these."""


def asked_ports(destination: Body) -> list[tuple[int, str]]:
    """Ports to ask about: those of the pod, and others."""
    own = [(port["containerPort"], port["protocol"]) for port in ports_of(destination)]
    return list(dict.fromkeys([*own, *BARE_PORTS]))
