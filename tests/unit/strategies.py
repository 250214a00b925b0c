"""Generated API bodies for properties: small worlds, so crowded that names, labels, ports and networks meet.

Parts are drawn whole from pools, because drawing costs more than what is tested; pools begin with the simple cases,
towards which a failing example shrinks. A failing example prints the line that replays it; on CI the examples are
always the same (Hypothesis' own profile for CI). No deadline, because it measures the machine. Not their business:
what must hold (the tests).
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from itertools import product
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.cidrs import Network
from tests.unit import builders
from tests.unit.builders import NOW, port


def properties(max_examples: int, **more: Any) -> settings:
    """Settings of a property. Slow drawing is no failure either."""
    health = [HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(max_examples=max_examples, deadline=None, print_blob=True, suppress_health_check=health, **more)


# --- JSON that nobody has checked ---

WORDS: list[Any] = [
    *(None, True, 0, 80, -1, 0.5, "", "http", "10.0.0.0/8", "::/0", "shop", "Audit", "Local", "2027-01-01T00:00:00Z"),
    *("In", "Exists", "True", "Ready", "0001-01-01T00:00:00+14:00", [], {}, {"cidr": "10.0.0.0/8"}, "\ud800"),
]
NAMES = [
    *("serviceRef", "name", "allowedCIDRs", "allowedPeers", "isolation", "trafficPolicy", "mode", "cidr", "except"),
    *("ports", "expiresAt", "namespaceSelector", "podSelector", "matchLabels", "matchExpressions", "key", "operator"),
    *("values", "conditions", "type", "status", "lastDrift", "healthCheckNodePort", "serviceUID", "other"),
]
ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.sampled_from(WORDS), st.text(max_size=3), st.integers()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=4)),
    max_leaves=8,
)
"""Any JSON, more often than not with names and values that mean something somewhere."""

# --- networks ---


def part_of(network: Network, random: Random, *, longer: int) -> Network:
    """A network inside this one, its prefix longer by up to so many bits."""
    prefix = min(network.prefixlen + random.randint(1, longer), network.max_prefixlen)
    kind = IPv4Network if network.version == 4 else IPv6Network
    offset = random.randrange(2 ** (prefix - network.prefixlen)) << (network.max_prefixlen - prefix)
    return kind((int(network[0]) + offset, prefix))


def _blocks(count: int) -> Iterator[Body]:
    """CIDRs with exceptions, most of them in two blocks of 256 addresses, so that they nest, touch and repeat."""
    random = Random(0)
    wide = ("0.0.0.0/0", "128.0.0.0/1", "10.0.0.0/8", "::/0", "2001:db8::/32")
    for text in ("203.0.113.0/24", "203.0.113.0/25", "203.0.113.128/25", "2001:db8::/120", "10.2.3.4/32", *wide):
        yield {"cidr": text}
    for _ in range(count):
        within = ip_network(random.choice(("203.0.113.0/24", "203.0.113.0/24", "2001:db8::/120", *wide)))
        network = part_of(within, random, longer=8)
        roomy = network.prefixlen < network.max_prefixlen
        parts = {str(part_of(network, random, longer=8)) for _ in range(random.randint(0, 3) if roomy else 0)}
        yield {"cidr": str(network)} | ({"except": sorted(parts)} if parts else {})


BLOCKS = list(_blocks(300))

# --- policies ---

PORT_REFS: list[list[str | int]] = [[], ["http"], [80], ["https"], ["http", 443], [9000], ["nowhere"], [1, "admin"]]
EXPIRIES = [None, *((NOW + timedelta(seconds=delta)).isoformat() for delta in (0, 1, -1, 3600, -3600))]
PEERS: list[Body] = [
    {"podSelector": {}},
    {"namespaceSelector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["bar"]}]}},
    {"namespaceSelector": {"matchLabels": {"team": "a"}}, "podSelector": {"matchLabels": {"role": "caller"}}},
]
PEER_LISTS: list[list[Body]] = [[], [], *([peer] for peer in PEERS), PEERS[1:]]

ENTRIES = st.builds(
    lambda block, refs, expires: (
        block | ({"ports": refs} if refs else {}) | ({"expiresAt": expires} if expires else {})
    ),
    st.one_of(st.sampled_from(BLOCKS[:10]), st.sampled_from(BLOCKS)),
    st.sampled_from([*([[]] * 6), *PORT_REFS]),
    st.sampled_from([*([None] * 6), *EXPIRIES]),
)


def distinct(entries: list[Body]) -> list[Body]:
    """The entries without those that repeat a CIDR, which the API server refuses."""
    return list({entry["cidr"]: entry for entry in entries}.values())


ALLOWED = st.lists(ENTRIES, max_size=5).map(distinct)


def policies(*, varied: tuple[str, ...] = ("allowed", "allowedPeers", "isolation"), **fixed: Any) -> Any:
    """Policies whose named fields vary; all others are as usual, or as `fixed` says."""
    every: dict[str, st.SearchStrategy[Any]] = {
        "allowed": ALLOWED,
        "allowedPeers": st.sampled_from(PEER_LISTS),
        "isolation": st.sampled_from(["Service", "Namespace"]),
        "trafficPolicy": st.sampled_from(["Local", "Local", "Unmanaged"]),
        "mode": st.sampled_from(["Enforce", "Enforce", "Audit"]),
        "deleting": st.sampled_from([False, False, False, True]),
        "created": st.sampled_from([builders.CREATED, builders.LATER]),
    }
    return st.builds(
        builders.policy,
        **{name: every[name] for name in varied},
        **{name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fixed.items()},
    )


# --- Services ---


def _port_lists(count: int) -> Iterator[list[Body]]:
    yield [port()]
    yield [port(), port(443, name="https", target=8443)]
    random = Random(0)
    targets: tuple[int | str, ...] = (8080, 8443, "web", "tls")
    every = [
        port(number, name=name, target=target, protocol=protocol)
        for (number, name), target, protocol in product(
            zip((80, 443, 9000, 53), ("http", "https", "admin", "dns"), strict=True),
            targets,
            ("TCP", "TCP", "UDP"),
        )
    ]
    for _ in range(count):
        picked = random.sample(every, random.randint(1, 4))
        yield list({item["name"]: item for item in picked}.values())


PORT_LISTS = list(_port_lists(60))
FAMILIES = [["IPv4"], ["IPv4"], ["IPv6"], ["IPv4", "IPv6"]]
LABELS: list[dict[str, str]] = [
    {"app": "shop"},
    {"app": "shop", "tier": "web"},
    {"tier": "web"},
    {"app": "other"},
]
TYPES = ["NodePort", "NodePort", "NodePort", "LoadBalancer", "ClusterIP", "ExternalName"]


def services(*, varied: tuple[str, ...] = ("ports", "families"), **fixed: Any) -> Any:
    """Services whose named fields vary; all others are as usual, or as `fixed` says."""
    every: dict[str, st.SearchStrategy[Any]] = {
        "type": st.sampled_from(TYPES),
        "selector": st.sampled_from([*LABELS, *LABELS, None]),
        "ports": st.sampled_from(PORT_LISTS),
        "families": st.sampled_from(FAMILIES),
        "traffic_policy": st.sampled_from(["Cluster", "Local"]),
    }
    return st.builds(
        builders.service,
        **{name: every[name] for name in varied},
        **{name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fixed.items()},
    )


# --- NetworkPolicies ---

INGRESS_PORTS: list[list[Body]] = [
    [],
    [{"protocol": "TCP", "port": 8080}],
    [{"protocol": "TCP", "port": "web"}],
    [{"protocol": "TCP"}],
    [{"protocol": "TCP", "port": 8000, "endPort": 8100}],
    [{"protocol": "TCP", "port": 8443}, {"protocol": "UDP", "port": 8080}],
]


def _rule_lists(count: int) -> Iterator[list[Body]]:
    yield []
    yield [{}]
    random = Random(0)
    for _ in range(count):
        rules = []
        for _ in range(random.randint(1, 2)):
            peers = [{"ipBlock": dict(block)} for block in random.sample(BLOCKS, random.randint(0, 2))]
            peers += random.sample(PEERS, random.choice((0, 0, 1)))
            ports = random.choice(INGRESS_PORTS)
            rules.append(({"from": peers} if peers else {}) | ({"ports": ports} if ports else {}))
        yield rules


RULE_LISTS = list(_rule_lists(100))
POD_SELECTORS: list[Body] = [
    *({"matchLabels": labels} for labels in LABELS),
    {},
    {"matchExpressions": [{"key": "app", "operator": "In", "values": ["shop", "other"]}]},
]
POLICY_TYPES = [["Ingress"], ["Ingress"], ["Ingress", "Egress"], ["Egress"]]
