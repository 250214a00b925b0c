"""What the tests of the probe share: a guarded Service on three nodes, its plan, and attempts.

The pod is on node-2; the load balancer 10.2.3.4 is allowed, 198.51.100.7 is a stranger.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate import BackendPod, Known, Scene
from nodeport_access.evaluate.bodies import parse_frontends
from nodeport_access.evaluate.cni import settle
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_service
from nodeport_access.probe.attempts import Attempt, Result
from nodeport_access.probe.planning import plan_of
from nodeport_access.probe.plans import Plan, Target
from tests.unit import builders
from tests.unit.builders import NOW, PODS, endpoint, endpoint_slice, network_policy, port

LOAD_BALANCER, STRANGER, POD = map(ip_address, ("10.2.3.4", "198.51.100.7", "10.244.2.32"))
NODES = tuple(
    builders.node(
        f"node-{number}", addresses=[f"10.99.0.{number}", f"fd00:99::{number}"], pod_cidrs=[f"10.244.{number}.0/24"]
    )
    for number in (1, 2, 3)
)
HTTP = port(80, node=31602)
ALLOW = network_policy(name="allow", ingress=[{"from": [{"ipBlock": {"cidr": f"{LOAD_BALANCER}/32"}}]}])
DENY = network_policy(name="deny-all")


def scene(
    *,
    ports: Sequence[Body] = (HTTP,),
    nodes: Sequence[Body] = NODES,
    policies: Sequence[Body] = (ALLOW, DENY),
    **tweaks: Any,
) -> Scene:
    """Guarded, under Local unless tweaked."""
    service = builders.service(ports=ports, **{"traffic_policy": "Local", **tweaks})
    pieces = endpoint_slice(endpoint(str(POD), node="node-2", ready=True))
    pieces["ports"] = [{"name": one["name"], "protocol": one["protocol"], "port": 8080} for one in ports]
    return Scene(
        service=parse_service(service),
        slices=(parse_endpoint_slice(pieces),),
        nodes=tuple(map(parse_node, nodes)),
        network_policies=tuple(map(parse_network_policy, policies)),
        pods=(BackendPod(labels=PODS),),
        frontends=parse_frontends(service),
    )


KNOWN = settle(cni="calico", proxy_mode="nftables")


def plan(found: Scene | None = None, *, known: Known = KNOWN, **more: Any) -> Plan:
    """The plan of a scene."""
    return plan_of(found or scene(), known=known, made=NOW, program="0.1.0", pods=AddressSet.EMPTY, **more)


def target(plan: Plan, node: str, **wanted: object) -> Target:
    """The first target of this node with these traits."""
    return next(
        each
        for each in plan.targets
        if each.node == node and all(getattr(each, name) == value for name, value in wanted.items())
    )


def attempts(*results: Result, source: Any = STRANGER) -> tuple[Attempt, ...]:
    """What became of dials from one source."""
    return tuple(
        Attempt(result=result, source=None if result.tells_nothing else source, began=0.0, seconds=0.01)
        for result in results
    )
