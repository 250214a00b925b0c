"""Who is where in the lab: plain values. Addresses are of ranges for documentation, or private; none is a machine's.

                        control plane 10.99.0.1
                                 |
    outside hosts ----------- fabric ----------- node-1, node-2, node-3 ---- pods
    load balancer 10.2.3.4        routes         10.99.0.11 ...              10.244.<node>.0/24
    partner   203.0.113.10
    hole      203.0.113.66                       whoever is sent to an external IP, a load-balancer address or
    stranger 198.51.100.7                        a cluster address from outside comes in through the node of his choice

Every host has an address of either family. Not its business: making any of it (`testbed.lab.network`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

V4, V6 = 0, 1  # places in a pair of addresses
Pair = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Host:
    """Somebody outside the cluster, in a network of his own behind the fabric."""

    name: str
    addresses: Pair


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A node of the cluster, with the ranges that its pods have their addresses from.

    `external_ips` and `load_balancer_ips`: addresses of the Service that the fabric sends to this node; `tos`: what a
    packet carries that shall come in here although its address, a cluster address, does not say so.
    """

    name: str
    addresses: Pair
    pod_cidrs: Pair
    external_ips: Pair
    load_balancer_ips: Pair
    tos: int

    def pod(self, number: int) -> Pair:
        """The addresses of the pod with this number on this node."""
        return self.pod_cidrs[V4].replace("0/24", str(number)), self.pod_cidrs[V6].replace("/64", f"{number:x}")


class Entry(StrEnum):
    """Which of a Service's addresses a client dials."""

    NODE_PORT = "node port"
    EXTERNAL_IP = "external IP"
    LOAD_BALANCER = "load-balancer address"
    CLUSTER_IP = "cluster IP"
    POD = "pod address"


FABRIC = ("10.99.0.1", "fd00:99::1")
NODE_NETWORKS = ("10.99.0.0/24", "fd00:99::/64")
POD_NETWORKS = ("10.244.0.0/16", "fd00:244::/56")
SERVICE_NETWORKS = ("10.96.0.0/16", "fd00:96::/112")

LOAD_BALANCER = Host(name="load-balancer", addresses=("10.2.3.4", "fd00:2:3::4"))
PARTNER = Host(name="partner", addresses=("203.0.113.10", "2001:db8:113::10"))
HOLE = Host(name="hole", addresses=("203.0.113.66", "2001:db8:113::66"))
STRANGER = Host(name="stranger", addresses=("198.51.100.7", "2001:db8:51::7"))
OUTSIDE = (LOAD_BALANCER, PARTNER, HOLE, STRANGER)

PARTNERS = ("203.0.113.0/24", "2001:db8:113::/64")  # the allowed range, with HOLE as its exception


def _node(number: int) -> Node:
    return Node(
        name=f"node-{number}",
        addresses=(f"10.99.0.1{number}", f"fd00:99::1{number}"),
        pod_cidrs=(f"10.244.{number}.0/24", f"fd00:244:0:{number}::/64"),
        external_ips=(f"192.0.2.8{number}", f"2001:db8:2::8{number}"),
        load_balancer_ips=(f"192.0.2.9{number}", f"2001:db8:2::9{number}"),
        tos=4 * number,  # a multiple of 4: the two lowest bits are congestion notification's (RFC 3168)
    )


NODES = tuple(_node(number) for number in (1, 2, 3))
