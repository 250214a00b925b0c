"""How long an allowlist takes to compile, and how large what is emitted is: ours, and the obvious way by `ipaddress`.

Both make the whole body of the allowlist NetworkPolicy of the same policy. Not its business: the API server.
"""

from __future__ import annotations

import ipaddress
import json
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from random import Random
from typing import Any

from nodeport_access import desired
from nodeport_access.observed import parse_service
from nodeport_access.policy_body import parse_policy
from testbed import objects

SIZES = (10, 100, 1000)
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def cidrs(*, count: int, random: Random) -> list[dict[str, Any]]:
    """Addresses, ranges and neighbours that join, every fourth with an exception."""
    found: dict[str, dict[str, Any]] = {}
    while len(found) < count:
        length = random.choice((32, 32, 28, 24, 24, 20))
        network = ipaddress.IPv4Network((random.getrandbits(32) >> (32 - length) << (32 - length), length))
        entry: dict[str, Any] = {"cidr": str(network)}
        if len(found) % 4 == 3 and length < 32:
            entry["except"] = [str(ipaddress.IPv4Network((int(network.network_address) + 1, 32)))]
        found[entry["cidr"]] = entry
    return list(found.values())


def plain(body: Mapping[str, Any], service: Mapping[str, Any]) -> dict[str, Any]:
    """The allowlist by `ipaddress` alone: exclude the exceptions of each entry, and collapse what is left."""
    networks: list[ipaddress.IPv4Network] = []
    for entry in body["spec"]["allowedCIDRs"]:
        parts = [ipaddress.IPv4Network(entry["cidr"])]
        for text in entry.get("except", ()):
            hole = ipaddress.IPv4Network(text)
            parts = [part for one in parts for part in (one.address_exclude(hole) if hole.subnet_of(one) else (one,))]
        networks += parts
    peers = [{"ipBlock": {"cidr": str(network)}} for network in ipaddress.collapse_addresses(networks)]
    ports = [{"protocol": port["protocol"], "port": port["targetPort"]} for port in service["spec"]["ports"]]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": f"{body['metadata']['name']}-allow", "namespace": body["metadata"]["namespace"]},
        "spec": {
            "podSelector": {"matchLabels": service["spec"]["selector"]},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": ports}],
            "egress": [],
        },
    }


def compiled(*, count: int, random: Random, seconds: float = 0.5) -> Mapping[str, Mapping[str, float]]:
    """Figures of both ways for one allowlist, in turns; the best of what fits into `seconds`.

    Raises AssertionError where the two disagree on who is let in.
    """
    port = {"name": "http", "port": 80, "targetPort": 8080, "protocol": "TCP", "nodePort": 30000}
    service = objects.service(namespace="n", name="s", selector={"app": "s"}, ports=[port])
    service["metadata"]["uid"] = "u"
    body = objects.policy(namespace="n", name="p", service="s", allowedCIDRs=cidrs(count=count, random=random))
    body["metadata"] |= {
        "uid": "u",
        "generation": 1,
        "resourceVersion": "1",
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }

    def ours() -> dict[str, Any]:
        return desired.allow_body(parse_policy(body), parse_service(service), _NOW)

    ways: Mapping[str, Callable[[], dict[str, Any]]] = {"ours": ours, "plain": lambda: plain(body, service)}
    assert ways["ours"]()["spec"] == ways["plain"]()["spec"]
    best = dict.fromkeys(ways, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or float("inf") in best.values():
        for name, way in ways.items():
            begin = time.perf_counter()
            way()
            best[name] = min(best[name], time.perf_counter() - begin)
    return {
        name: {"compile [ms]": 1000 * best[name], "emitted [KiB]": len(json.dumps(way())) / 1024}
        for name, way in ways.items()
    }
