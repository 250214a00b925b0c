"""The operator's policy for the Service of the stage, and what comes of it.

Not its business: what should come of it.
"""

from __future__ import annotations

from collections.abc import Sequence

from testbed.api_client import Json
from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate, Protocol
from testbed.lab.lab import Lab
from testbed.lab.topology import LOAD_BALANCER, V4
from testbed.waiting import wait_for
from tests.lab.setups import LOAD_BALANCER_CIDRS, policy

NODES = {node.name for node in topology.NODES}
STRANGER = topology.STRANGER.name


def guard(lab: Lab, cidrs: Sequence[str] = LOAD_BALANCER_CIDRS) -> None:
    """Have the operator admit these, the load balancer among them, and wait until the nodes follow.

    That they follow is seen by the address that the pod on node-2 sees. It is not seen by who gets in: some placements
    shut strangers out before kube-proxy has heard of `Local`.
    """
    allow(lab, cidrs)
    for condition in ("ClientIPPreserved", "AllowlistApplied", "DefaultDenyApplied"):
        wait_for_condition(lab, condition, status="True")
    requests = [
        (Dial(address=stage.BACKEND_NODE.addresses[V4], port=stage.NODE_PORT, protocol=protocol), LOAD_BALANCER.name)
        for protocol in Protocol
    ]

    def sees_clients() -> bool:
        assert {outcome.source for outcome in lab.dial(requests)} == {LOAD_BALANCER.addresses[V4]}
        return True

    wait_for(sees_clients, seconds=10, what="the pod to see the load balancer's own address")


def allow(lab: Lab, cidrs: Sequence[str]) -> None:
    """Write the policy with this list."""
    stage.apply(lab, policy(allowedCIDRs=[{"cidr": cidr} for cidr in cidrs]))


def wait_for_condition(lab: Lab, type: str, *, status: str, reason: str = "") -> Json:
    """Wait until the policy's status says so, and return the condition."""

    def said() -> Json:
        policy = lab.cluster.get("NodePortAccessPolicy", stage.POLICY, namespace=stage.NAMESPACE)
        conditions = {found["type"]: found for found in policy.get("status", {}).get("conditions", ())}
        assert type in conditions, f"status has {sorted(conditions)}"
        condition: Json = conditions[type]
        assert condition["status"] == status, condition
        assert reason in ("", condition["reason"]), condition
        return condition

    return wait_for(said, seconds=10, what=f"{type} to be {status} {reason}")


def nodes_open(lab: Lab, *, port: int = stage.NODE_PORT, origin: str = STRANGER) -> set[str]:
    """The nodes through which somebody gets in on a node port, or directly on another port of theirs."""
    requests = [(Dial(address=node.addresses[V4], port=port), origin) for node in topology.NODES]
    outcomes = lab.dial(requests)
    return {
        node.name for node, outcome in zip(topology.NODES, outcomes, strict=True) if outcome.fate is not Fate.REFUSED
    }


def wait_until_open(lab: Lab, nodes: set[str], *, port: int = stage.NODE_PORT, origin: str = STRANGER) -> None:
    """Wait until somebody gets in through exactly these nodes: kube-proxy takes a second to follow, the engine less."""

    def as_wanted() -> bool:
        seen = nodes_open(lab, port=port, origin=origin)
        assert seen == nodes, f"{origin} gets in on port {port} through {sorted(seen) or 'no node'}"
        return True

    wait_for(as_wanted, seconds=10, what=f"{origin} to get in on port {port} through {sorted(nodes) or 'no node'} only")
