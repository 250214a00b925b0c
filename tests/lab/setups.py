"""The set-ups whose tables are drawn: what is put into the cluster or typed on its nodes, and whom it admits.

Not its business: proxies' modes and engines' placements, which each of them is tried under.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed import objects
from testbed.lab import stage, topology
from testbed.lab.dialing import Fate, Outcome, Protocol
from testbed.lab.lab import Lab
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4, Entry
from testbed.waiting import wait_for
from tests.lab.cells import CELLS, Cell, Kind
from tests.lab.expected import Admission, Situation, expected

LOAD_BALANCER_CIDRS = tuple(
    f"{address}/{length}" for address, length in zip(topology.LOAD_BALANCER.addresses, (32, 128), strict=True)
)
_HOLE = tuple(f"{address}/{length}" for address, length in zip(topology.HOLE.addresses, (32, 128), strict=True))


def network_policy(name: str, *cidrs: str) -> dict[str, Any]:
    """A NetworkPolicy as people write it, that admits these to the dashboard; deny-all without any."""
    rules = [{"from": [{"ipBlock": {"cidr": cidr}} for cidr in cidrs]}] if cidrs else []
    spec = {"podSelector": {"matchLabels": stage.LABELS}, "policyTypes": ["Ingress"], "ingress": rules}
    return objects.network_policy(namespace=stage.NAMESPACE, name=name, spec=spec)


def policy(**spec: object) -> dict[str, Any]:
    """The NodePortAccessPolicy of the lab, or another one by fields of its spec."""
    fields: Mapping[str, object] = {
        "allowedCIDRs": [
            *({"cidr": cidr, "description": "edge load balancer"} for cidr in LOAD_BALANCER_CIDRS),
            *({"cidr": cidr, "except": [hole]} for cidr, hole in zip(topology.PARTNERS, _HOLE, strict=True)),
        ],
        "allowedPeers": [{"namespaceSelector": {"matchLabels": {"region": "foo"}}}],
    }
    return objects.policy(namespace=stage.NAMESPACE, name=stage.POLICY, service=stage.SERVICE, **{**fields, **spec})


@dataclass(frozen=True, slots=True, kw_only=True)
class SetUp:
    """One set-up. `make` brings it about; the rest says what follows from it: see `tests.lab.expected.Situation`.

    `refuses`: what is typed on the nodes stops this cell before kube-proxy sees it. `typed_first`: under no kube-proxy
    yet. In nftables mode its chain has the priority of iptables' nat PREROUTING (dstnat), and of two such the kernel
    asks the newer first (nf_hook_entries_grow); in iptables mode it puts its own rule at the head of that chain.
    """

    key: str
    title: str
    make: Callable[[Lab], None]
    local: bool = False
    admission: Admission | None = None
    refuses: Callable[[Cell], bool] = lambda _: False
    typed_first: bool = False

    def __str__(self) -> str:
        return self.key

    def expected(self, mode: Mode, placement: Placement | None) -> list[Outcome]:
        """What must become of all cells, in their order."""
        situation = Situation(mode=mode, local=self.local, admission=self.admission, placement=placement)
        return [Outcome(Fate.REFUSED) if self.refuses(cell) else expected(situation, cell) for cell in CELLS]


def _nothing(_lab: Lab) -> None:
    pass


def _local_alone(lab: Lab) -> None:
    stage.set_traffic_policy(lab, "Local")


def _network_policies(*cidrs: str) -> Callable[[Lab], None]:
    def make(lab: Lab) -> None:
        lab.cluster.create(network_policy("deny-all"))
        lab.cluster.create(network_policy("allowlist", *cidrs))

    return make


def _on_every_node(*lines: str) -> Callable[[Lab], None]:
    def make(lab: Lab) -> None:
        for node in topology.NODES:
            for line in lines:
                lab.network[node.name].run(*shlex.split(line))

    return make


def _guarded(**spec: object) -> Callable[[Lab], None]:
    def make(lab: Lab) -> None:
        stage.guard(lab, policy(**spec))

    return make


def _set_back_to_cluster(**spec: object) -> Callable[[Lab], None]:
    def make(lab: Lab) -> None:
        stage.guard(lab, policy(**spec))
        lab.operator.pause()  # or it would be repaired before anybody looks
        stage.set_traffic_policy(lab, "Cluster")

    return make


def _without_allowlist(lab: Lab) -> None:
    stage.guard(lab, policy())
    lab.operator.pause()
    lab.cluster.delete("NetworkPolicy", f"{stage.POLICY}-allow", namespace=stage.NAMESPACE)


def _released(lab: Lab) -> None:
    stage.guard(lab, policy())
    lab.cluster.delete("NodePortAccessPolicy", stage.POLICY, namespace=stage.NAMESPACE)
    wait_for(lambda: stage.is_left_alone(lab), seconds=30, what="the operator's hands off the Service")


def _matches(cell: Cell) -> bool:
    """TCP over IPv4 to the node port, as typed; what the node itself sends does not come through prerouting."""
    typed = (cell.entry, cell.family, cell.protocol) == (Entry.NODE_PORT, V4, Protocol.TCP)
    return typed and cell.client.name != topology.LOAD_BALANCER.name and not cell.is_own


def _matches_on_the_way(cell: Cell) -> bool:
    """What a pod sends to another node's port passes its own node, whose kube-proxy has no business with it."""
    return _matches(cell) and cell.client.kind is Kind.POD and cell.client.node != cell.node


_REST = f"-p tcp --dport {stage.NODE_PORT} ! -s {topology.LOAD_BALANCER.addresses[V4]}"
_INPUT = f"iptables -I INPUT {_REST} -j DROP"
_REDIRECT = f"iptables -t nat -I PREROUTING {_REST} -j REDIRECT --to-ports 9"
_EARLY_DROP = (  # ahead of every dstnat, whose priority is -100
    "nft add table inet guard",
    "nft add chain inet guard early '{ type filter hook prerouting priority -110; }'",
    f"nft add rule inet guard early tcp dport {stage.NODE_PORT} fib daddr type local"
    f" ip saddr != {topology.LOAD_BALANCER.addresses[V4]} ct state new drop",
)
_ADMITTED = Admission(cidrs=(*LOAD_BALANCER_CIDRS, *topology.PARTNERS), excepted=_HOLE, namespaces=("foo",))
WIDE = ("10.0.0.0/8", "fd00::/16")  # hold the load balancer, and every node and pod of the lab
_WIDE_SPEC = {"allowedCIDRs": [{"cidr": cidr} for cidr in WIDE], "allowedPeers": []}

SET_UPS = (
    SetUp(key="open", title="No policy", make=_nothing),
    SetUp(key="local", title="externalTrafficPolicy Local and nothing else", make=_local_alone, local=True),
    SetUp(
        key="ipblock",
        title="A deny-all and an ipBlock for the load balancer, under Cluster",
        make=_network_policies(*LOAD_BALANCER_CIDRS),
        admission=Admission(cidrs=LOAD_BALANCER_CIDRS),
    ),
    SetUp(
        key="scheme-1",
        title='The nodes\' addresses added to the ipBlocks ("Scheme 1"), under Cluster',
        make=_network_policies(*LOAD_BALANCER_CIDRS, *topology.NODE_NETWORKS),
        admission=Admission(cidrs=(*LOAD_BALANCER_CIDRS, *topology.NODE_NETWORKS)),
    ),
    SetUp(
        key="operator",
        title="The operator's policy",
        make=_guarded(),
        local=True,
        admission=_ADMITTED,
    ),
    SetUp(
        key="flipped",
        title="The operator's policy, the Service set back to Cluster, not repaired yet",
        make=_set_back_to_cluster(),
        admission=_ADMITTED,
    ),
    SetUp(
        key="flipped-wide",
        title="The same with 10.0.0.0/8 and fd00::/16 as the allowlist, which hold the nodes",
        make=_set_back_to_cluster(**_WIDE_SPEC),
        admission=Admission(cidrs=WIDE),
    ),
    SetUp(
        key="allowlist-deleted",
        title="The operator's policy, its allowlist deleted, not repaired yet",
        make=_without_allowlist,
        local=True,
        admission=Admission(),
    ),
    SetUp(key="released", title="The operator's policy deleted", make=_released),
)

TYPED = (
    SetUp(
        key="input",
        title=f"No policy, and typed on every node: {_INPUT}",
        make=_on_every_node(_INPUT),
    ),
    SetUp(
        key="redirect",
        title=f"No policy, and typed on every node: {_REDIRECT}",
        make=_on_every_node(_REDIRECT),
        refuses=_matches,
    ),
    SetUp(
        key="redirect-first",
        title="The same typed before kube-proxy starts",
        make=_on_every_node(_REDIRECT),
        refuses=_matches_on_the_way,
        typed_first=True,
    ),
    SetUp(
        key="early-drop",
        title=f"No policy, and typed on every node: {'; '.join(_EARLY_DROP)}",
        make=_on_every_node(*_EARLY_DROP),
        refuses=_matches,
    ),
)
