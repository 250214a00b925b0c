"""The topology made: the fabric, hosts and nodes on it, and pods that come and go.

The fabric is the namespace that the process is in, so the control plane can listen there, on loopback for whoever runs
the lab and on the fabric's own address for the nodes.

A pod is wired to its node as CNIs with routed pods do it, and an outside host to the fabric: a veth, one address on
the far side and none on the near one, which answers for the gateway by proxy ARP (Calico's FAQ, "Why does my container
have a route to 169.254.1.1?").

Not its business: what nodes do with packets (`testbed.lab.proxies`, `testbed.lab.policing`).
"""

from __future__ import annotations

from testbed.lab import topology
from testbed.lab.namespaces import Namespace
from testbed.lab.topology import V4, V6, Node, Pair

_GATEWAY = ("169.254.1.1", "fe80::1")  # of whoever is wired to a router
_SERVICE_TABLE = 100  # routing tables from here on: one for each node that is chosen by a packet's TOS

_HOST = {
    "ipv4/conf/all/rp_filter": 0,
    "ipv4/conf/default/rp_filter": 0,
    "ipv6/conf/all/disable_ipv6": 0,
    "ipv6/conf/default/accept_ra": 0,
    "ipv6/conf/default/accept_dad": 0,
    # Whoever does not choose a port gets one above those that dials choose from (`testbed.lab.dialing`).
    "ipv4/ip_local_port_range": "60001 65000",
}
_ROUTER = {
    "ipv4/ip_forward": 1,
    "ipv6/conf/all/forwarding": 1,
    "ipv4/conf/all/send_redirects": 0,
    "ipv4/conf/default/send_redirects": 0,
}


class Network:
    """Everything that is wired up, by name."""

    def __init__(self, fabric: Namespace) -> None:
        """Make the outside hosts and the nodes. Raises NamespaceFailed."""
        self.fabric = fabric
        self._namespaces: dict[str, Namespace] = {}
        fabric.set(_HOST | _ROUTER)
        fabric.ip(
            "link add nodes type bridge",
            "link set nodes up",
            *_addresses("nodes", topology.FABRIC, (24, 64)),
            f"route add {_GATEWAY[V4]} dev nodes",  # proxy ARP answers only for what is routed elsewhere
        )
        for host in topology.OUTSIDE:
            self._namespaces[host.name] = Namespace.make(host.name)
            _wire(self[host.name], to=fabric, addresses=host.addresses)
        for node in topology.NODES:
            self._namespaces[node.name] = Namespace.make(node.name)
            self._add_node(node)

    def __getitem__(self, name: str) -> Namespace:
        return self._namespaces[name]

    def __contains__(self, name: str) -> bool:
        return name in self._namespaces

    def names(self) -> list[str]:
        return [self.fabric.name, *self._namespaces]

    def add_pod(self, name: str, *, node: Node, addresses: Pair) -> Namespace:
        """Wire up a pod on a node. Raises NamespaceFailed."""
        self._namespaces[name] = Namespace.make(name)
        _wire(self[name], to=self[node.name], addresses=addresses)
        return self[name]

    def remove_pod(self, name: str, *, node: Node) -> None:
        """Take a pod away, its wire and its routes with it."""
        self[node.name].ip(f"link del {_interface(name)}")
        self._namespaces.pop(name).remove()

    def unplug(self, node: Node) -> None:
        """The node loses its cable."""
        self.fabric.ip(f"link set {_interface(node.name)} down")

    def plug_in(self, node: Node) -> None:
        self.fabric.ip(f"link set {_interface(node.name)} up")

    def _add_node(self, node: Node) -> None:
        namespace, wire, others = self[node.name], _interface(node.name), [o for o in topology.NODES if o != node]
        namespace.set(_HOST | _ROUTER)
        self.fabric.ip(
            f"link add {wire} type veth peer name eth0 netns {node.name}",
            f"link set {wire} master nodes",
            f"link set {wire} up",
        )
        namespace.ip(
            "link set eth0 up",
            *_addresses("eth0", node.addresses, (24, 64)),
            *(f"route add default via {gateway}" for gateway in topology.FABRIC),
            *(f"route add {o.pod_cidrs[family]} via {o.addresses[family]}" for o in others for family in (V4, V6)),
            # As Calico has it: what is for a pod that is gone would go round between node and fabric.
            *(f"route add blackhole {pod_cidr}" for pod_cidr in node.pod_cidrs),
        )
        table = str(_SERVICE_TABLE + node.tos)
        for family, number in ((V4, "-4"), (V6, "-6")):
            via = f"via {node.addresses[family]}"
            self.fabric.run("ip", number, "rule", "add", "tos", f"{node.tos:#x}", "lookup", table)
            self.fabric.ip(
                f"route add {topology.SERVICE_NETWORKS[family]} {via} table {table}",
                f"route add {node.pod_cidrs[family]} {via}",
                *(f"route add {addresses[family]} {via}" for addresses in (node.external_ips, node.load_balancer_ips)),
            )


def _wire(namespace: Namespace, *, to: Namespace, addresses: Pair) -> None:
    """Wire a pod or an outside host to its router, whose end is ready before the other asks for its gateway."""
    near = _interface(namespace.name)
    namespace.set(_HOST)
    to.ip(f"link add {near} type veth peer name eth0 netns {namespace.name}")
    to.set({f"ipv4/conf/{near}/proxy_arp": 1, f"ipv4/neigh/{near}/proxy_delay": 0})
    to.ip(
        f"link set {near} up",
        f"addr add {_GATEWAY[V6]}/64 dev {near} nodad",
        *(f"route add {address} dev {near}" for address in addresses),
    )
    namespace.ip(
        "link set eth0 up",
        *_addresses("eth0", addresses, (32, 128)),
        f"route add {_GATEWAY[V4]} dev eth0 scope link",
        *(f"route add default via {gateway} dev eth0" for gateway in _GATEWAY),
    )


def _addresses(interface: str, addresses: Pair, lengths: tuple[int, int]) -> list[str]:
    return [
        f"addr add {addresses[V4]}/{lengths[V4]} dev {interface}",
        f"addr add {addresses[V6]}/{lengths[V6]} dev {interface} nodad",
    ]


def _interface(name: str) -> str:
    """The near end of the wire to somebody (IFNAMSIZ leaves 15 letters)."""
    return f"to-{name}"[:15]
