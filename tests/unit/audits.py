"""A cluster with a Service for each rank and an occasion for each trap, as files."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from nodeport_access.inventory import Inventory, converged, read

NOW = datetime(2026, 11, 1, tzinfo=UTC)

NODES = """
apiVersion: v1
kind: Node
metadata: {name: n1, annotations: {projectcalico.org/IPv4IPIPTunnelAddr: 10.244.1.0}}
spec: {podCIDRs: [10.244.1.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.1}]}
---
apiVersion: v1
kind: Node
metadata: {name: n2, annotations: {projectcalico.org/IPv4IPIPTunnelAddr: 10.244.2.0}}
spec: {podCIDRs: [10.244.2.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.2}]}
---
apiVersion: v1
kind: Node
metadata: {name: n3, annotations: {projectcalico.org/IPv4IPIPTunnelAddr: 10.244.3.0}}
spec: {podCIDRs: [10.244.3.0/24]}
status: {addresses: [{type: InternalIP, address: 192.168.0.3}]}
"""

CALLERS = """
apiVersion: v1
kind: Namespace
metadata: {name: ops, labels: {team: ops}}
---
apiVersion: v1
kind: Pod
metadata: {name: reporter, namespace: ops, labels: {app: reporter}}
spec: {nodeName: n3, containers: [{name: main}]}
status: {podIP: 10.244.3.9, conditions: [{type: Ready, status: "True"}]}
"""


def service(name: str, node_port: int, *, policy: str = "Local", app: str = "", extra: str = "") -> str:
    return f"""
apiVersion: v1
kind: Service
metadata: {{name: {name}, namespace: web}}
spec:
  type: NodePort
  externalTrafficPolicy: {policy}
  selector: {{app: {app or name}}}
  ipFamilies: [IPv4]
  ports: [{{name: http, port: 80, targetPort: 8080, nodePort: {node_port}}}]
{extra}
"""


def pod(app: str, *, node: str = "n2", address: str, extra: str = "") -> str:
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {app}-{node}, namespace: web, labels: {{app: {app}}}}}
spec: {{nodeName: {node}, containers: [{{name: main, ports: [{{containerPort: 8080}}]}}]{extra}}}
status: {{podIP: {address}, conditions: [{{type: Ready, status: "True"}}]}}
"""


def network_policy(name: str, app: str, rule: str) -> str:
    return f"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {{name: {name}, namespace: web}}
spec:
  podSelector: {{matchLabels: {{app: {app}}}}}
  policyTypes: [Ingress]
  ingress: [{rule}]
"""


def policy(name: str, entries: str, *, mode: str = "Enforce", service: str = "") -> str:
    return f"""
apiVersion: nodeport-access.io/v1alpha1
kind: NodePortAccessPolicy
metadata: {{name: {name}, namespace: web}}
spec:
  serviceRef: {{name: {service or name}}}
  mode: {mode}
  allowedCIDRs: {entries}
"""


GUARDED = (
    service("shop", 30001),
    pod("shop", address="10.244.2.11"),
    policy("shop", "[{cidr: 203.0.113.0/24, except: [203.0.113.66/32]}, {cidr: 198.51.100.0/24}]"),
)
BARE = (service("bare", 30002, policy="Cluster"), pod("bare", address="10.244.2.12"))
TRAPPED = (
    service("trapped", 30003, policy="Cluster"),
    pod("trapped", address="10.244.2.13"),
    network_policy("list", "trapped", "{from: [{ipBlock: {cidr: 192.168.0.0/24}}], ports: [{port: 8080}]}"),
)
SHARED = (
    service("front", 30004),
    service("back-door", 30005, policy="Cluster", app="front"),
    pod("front", address="10.244.2.14"),
    policy("front", "[{cidr: 198.51.100.7/32}, {cidr: 10.244.3.0/24}]"),
)
HOST = (
    service("agent", 30006),
    pod("agent", address="192.168.0.1", node="n1", extra=", hostNetwork: true"),
)
NO_FROM = (
    service("wide", 30007),
    pod("wide", address="10.244.2.15"),
    network_policy("wide", "wide", "{ports: [{port: 8080}]}"),
)
ENTRIES = (
    service("dated", 30008),
    pod("dated", address="10.244.2.16"),
    policy(
        "dated",
        "[{cidr: 198.51.100.1/32, expiresAt: '2026-10-01T00:00:00Z'},"
        " {cidr: 198.51.100.2/32, expiresAt: '2026-11-03T00:00:00Z'}]",
    ),
)
AUDITED = (
    service("watched", 30009),
    pod("watched", address="10.244.2.17"),
    policy("watched", "[{cidr: 198.51.100.1/32}]", mode="Audit"),
)
STALLED = (
    service("bad", 30010),
    pod("bad", address="10.244.2.18"),
    policy("bad", "[{cidr: 198.51.100.1/32, ports: [nosuch]}]"),
)
CLOSED = (
    service("closed", 30011),
    pod("closed", address="10.244.2.19"),
    policy("closed", "[]"),
)
ALL = tuple(
    text for part in (GUARDED, BARE, TRAPPED, SHARED, HOST, NO_FROM, ENTRIES, AUDITED, STALLED, CLOSED) for text in part
)


def write(folder: Path, *texts: str, nodes: bool = True) -> str:
    """A file with these objects, and with nodes and callers."""
    path = folder / "cluster.yaml"
    path.write_text("\n---\n".join((*((NODES, CALLERS) if nodes else ()), *texts)), encoding="utf-8")
    return str(path)


def cluster(folder: Path, *texts: str, nodes: bool = True) -> Inventory:
    """The inventory of these objects, once the operator has done its work."""
    return converged(read([write(folder, *texts, nodes=nodes)]), NOW).inventory
