"""How long an allowlist takes to compile, and how large what is emitted is: ours, and the obvious way by `ipaddress`.

Both make the whole body of the allowlist NetworkPolicy of the same policy, and neither has seen it before: each list
is timed once. Not its business: the API server.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from ipaddress import IPv4Network, IPv6Network, collapse_addresses
from random import Random
from statistics import median
from typing import Any

from nodeport_access import desired
from nodeport_access.cidrs import Network
from nodeport_access.observed import parse_service
from nodeport_access.policy_body import parse_policy
from testbed import objects

SIZES = (10, 100, 1000)
CIDRS_IN_ALL = 1500
"""How many CIDRs each way compiles for one figure, in lists as short as they come."""
LEAST_LISTS = 3
_NOW = datetime(2026, 1, 1, tzinfo=UTC)
_PORT = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30000}

Json = dict[str, Any]


def mixed(*, count: int, random: Random) -> list[Json]:
    """Addresses, ranges and neighbours that join, every third of IPv6, and every fourth range with an exception."""
    found: dict[str, Json] = {}
    ranges = 0
    while len(found) < count:
        network, part = _network(random, ipv4=(32, 32, 28, 24, 24, 20), ipv6=(128, 128, 64, 64, 56, 48), at=len(found))
        entry: Json = {"cidr": str(network)}
        if network.prefixlen < part:
            ranges += 1
            if ranges % 4 == 0:
                entry["except"] = [_part_of(network, part, random)]
        found[entry["cidr"]] = entry
    return list(found.values())


def pierced(*, count: int, random: Random) -> list[Json]:
    """Close to the worst that is still emitted (``desired.NETWORKS_LIMIT``) at 1,000: ranges alone, each with an
    exception in either half."""
    found: dict[str, Json] = {}
    while len(found) < count:
        network, part = _network(random, ipv4=(24,), ipv6=(56,), at=len(found))
        holes = [_part_of(half, part, random) for half in network.subnets()]
        found[str(network)] = {"cidr": str(network), "except": holes}
    return list(found.values())


def _network(random: Random, *, ipv4: Sequence[int], ipv6: Sequence[int], at: int) -> tuple[Network, int]:
    """A network of one of these prefix lengths, every third of IPv6; and the prefix length of an exception in it."""
    if at % 3 == 2:
        length = random.choice(ipv6)
        return IPv6Network((random.getrandbits(length) << (128 - length), length)), 64
    length = random.choice(ipv4)
    return IPv4Network((random.getrandbits(length) << (32 - length), length)), 32


def _part_of(network: Network, length: int, random: Random) -> str:
    offset = random.getrandbits(length - network.prefixlen) << (network.max_prefixlen - length)
    return str(type(network)((int(network.network_address) + offset, length)))


def ours(policy: Json, service: Json) -> Json:
    """What a first pass over a policy does until the body is there."""
    return desired.allow_body(parse_policy(policy), parse_service(service), _NOW)


def plain(policy: Json, service: Json) -> Json:
    """The allowlist by `ipaddress` alone: exclude the exceptions of each entry, which never overlap here, and collapse
    what is left, family by family."""
    ipv4: list[IPv4Network] = []
    ipv6: list[IPv6Network] = []
    for entry in policy["spec"]["allowedCIDRs"]:
        if ":" in entry["cidr"]:
            ipv6 += _excluding(IPv6Network, entry)
        else:
            ipv4 += _excluding(IPv4Network, entry)
    peers = [{"ipBlock": {"cidr": str(each)}} for each in (*collapse_addresses(ipv4), *collapse_addresses(ipv6))]
    ports = [{"protocol": port["protocol"], "port": port["targetPort"]} for port in service["spec"]["ports"]]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{policy['metadata']['name']}-allow", "namespace": policy["metadata"]["namespace"]},
        "spec": {
            "podSelector": {"matchLabels": service["spec"]["selector"]},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": ports}],
            "egress": [],
        },
    }


def _excluding(kind: Any, entry: Json) -> list[Any]:
    parts = [kind(entry["cidr"])]
    for text in entry.get("except", ()):
        hole = kind(text)
        parts = [part for one in parts for part in (one.address_exclude(hole) if hole.subnet_of(one) else (one,))]
    return parts


WAYS: Mapping[str, Callable[[Json, Json], Json]] = {"ours": ours, "plain": plain}
KINDS: Mapping[str, Callable[..., list[Json]]] = {"": mixed, ", pierced": pierced}
"""Kinds of lists, by what the names of their figures say."""
TIMES = {kind: f"compile{kind} [µs of CPU per CIDR]" for kind in KINDS}


def compiled(*, count: int, random: Random, lists: int | None = None) -> Mapping[str, Mapping[str, float]]:
    """Figures of both ways for allowlists of so many CIDRs: medians over ``lists`` of them, each compiled in turns.

    Raises AssertionError where the two disagree on who is let in.
    """
    families = ("IPv4", "IPv6")
    service = objects.service(namespace="n", name="s", selector={"app": "s"}, ports=[_PORT], ip_families=families)
    service["metadata"]["uid"] = "u"
    figures: dict[str, dict[str, float]] = {name: {} for name in WAYS}
    for kind, make in KINDS.items():
        seconds: dict[str, list[float]] = {name: [] for name in WAYS}
        sizes: dict[str, list[int]] = {name: [] for name in WAYS}
        blocks: list[int] = []
        for _ in range(lists or max(LEAST_LISTS, CIDRS_IN_ALL // count)):
            policy, specs = _policy(make(count=count, random=random)), []
            for name, way in WAYS.items():
                begin = time.process_time()
                body = way(policy, service)
                seconds[name].append(time.process_time() - begin)
                sizes[name].append(len(json.dumps(body)))
                specs.append(body["spec"])
            assert specs[0] == specs[1]
            blocks.append(len(specs[0]["ingress"][0]["from"]))
        for name, found in figures.items():
            found[TIMES[kind]] = 1_000_000 * median(seconds[name]) / count
            found[f"emitted{kind} [KiB]"] = median(sizes[name]) / 1024
            found[f"emitted{kind} [ipBlocks]"] = median(blocks)
    return figures


def _policy(entries: list[Json]) -> Json:
    policy = objects.policy(namespace="n", name="p", service="s", allowedCIDRs=entries)
    policy["metadata"] |= {
        "uid": "u",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return policy
