"""The few names, networks, labels and ports of which histories are made. Few, so that they meet.

Not its business: what is done with them (`stage`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed import scenario

Labels = Mapping[str, str]
Json = dict[str, Any]

SERVICES = ("web", "api")
POLICIES = ("first", "second", "third")

FRONT = {"tier": "front"}
"""What a pod may get and lose while it stays a pod of the same app."""
POD_LABELS: tuple[Labels, ...] = (
    {"app": "red"},
    {"app": "red", **FRONT},
    {"app": "blue"},
    {"app": "blue", **FRONT},
)
SELECTORS: tuple[Labels | None, ...] = ({"app": "red"}, {"app": "red", **FRONT}, {"app": "blue"}, FRONT, None)
PODS = ("pod-1", "pod-2", "pod-3")
NODES: Mapping[str, str] = {name: address for name, address, *_ in scenario.NODES}
POD_ADDRESSES: Mapping[str, str] = {"node1": "10.233.90.{}", "node2": "10.233.96.{}", "node3": "10.233.92.{}"}
"""By node; the rest is the pod's own."""
CONTAINER_PORTS = {"backend": 8443}

HTTP = {"name": "http", "port": 80, "targetPort": 8080}
HTTPS = {"name": "https", "port": 443, "targetPort": "backend"}
PORTS: tuple[tuple[Json, ...], ...] = ((HTTP,), (HTTP, HTTPS), ({**HTTP, "targetPort": 8443},))
TARGETS: tuple[int | str, ...] = (8080, 8443, "backend")
TYPES = ("NodePort", "LoadBalancer", "ClusterIP", "ExternalName")

ENTRIES: tuple[Json, ...] = (
    {"cidr": "10.2.3.4/32"},
    {"cidr": "203.0.113.0/24", "except": ["203.0.113.66/32"]},
    {"cidr": "198.51.100.0/25"},
    {"cidr": "198.51.100.128/25"},
    {"cidr": "203.0.113.64/26", "ports": ["http"]},
    {"cidr": "192.0.2.0/24", "ports": ["https"]},
    {"cidr": "10.102.123.0/24"},
    {"cidr": "2001:db8::/48"},
)
PEERS: tuple[Json, ...] = (
    {"namespaceSelector": {"matchLabels": {"region": "foo"}}},
    {"podSelector": {}},
)
FOREIGN_CIDRS = ("0.0.0.0/0", "203.0.113.0/25", "10.102.123.0/24")
CIDRS: tuple[str, ...] = (
    *(cidr for entry in ENTRIES for cidr in (entry["cidr"], *entry.get("except", ()))),
    *FOREIGN_CIDRS,
)
"""Every network that occurs anywhere."""
