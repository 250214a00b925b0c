"""The trap of a list that holds the nodes: packets spring it, and the operator names it, in metrics and in status."""

from __future__ import annotations

from functools import partial

from testbed.lab import stage, topology
from testbed.lab.dialing import Dial, Fate
from testbed.lab.lab import Lab
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import V4
from testbed.waiting import wait_for
from tests.lab.setups import LOAD_BALANCER_CIDRS, network_policy, policy

_NAME = "balancer"
_LABELS = (
    f'external_traffic_policy="{{}}",namespace="{stage.NAMESPACE}",network_policy="{_NAME}",service="{stage.SERVICE}"'
)


def covering(lab: Lab) -> list[str]:
    """The series of the metric, each with its labels."""
    name = "nodeport_access_network_policy_covers_nodes{"
    return [line for line in lab.operator.metrics().splitlines() if line.startswith(name)]


def names(series: list[str], traffic_policy: str) -> bool:
    """Whether there is one, and it has these labels."""
    wanted = {
        f'namespace="{stage.NAMESPACE}"',
        f'service="{stage.SERVICE}"',
        f'network_policy="{_NAME}"',
        f'external_traffic_policy="{traffic_policy}"',
    }
    return len(series) == 1 and all(label in series[0] for label in wanted)


def fate(lab: Lab, client: str, node: topology.Node) -> Fate:
    request = Dial(address=node.addresses[V4], port=stage.NODE_PORT)
    return lab.dial([(request, client)], seconds=0.5)[0].fate


def gets_in(lab: Lab, client: str, node: topology.Node) -> bool:
    return fate(lab, client, node) is Fate.THROUGH


def test_a_network_policy_that_lets_in_the_nodes_lets_in_the_world_and_is_named(lab: Lab) -> None:
    lab.arrange(Mode.NFTABLES, Placement.OWN_NODE)
    node_1, node_2, _ = topology.NODES
    wait_for(lambda: gets_in(lab, "stranger", node_2), seconds=10, what="kube-proxy to have settled")
    lab.cluster.create(network_policy(_NAME, *LOAD_BALANCER_CIDRS, *topology.NODE_NETWORKS))
    wait_for(lambda: fate(lab, "stranger", node_2) is Fate.REFUSED, seconds=10, what="the stranger to be refused")

    for shut_out in ("stranger", "bar-2"):
        wait_for(partial(gets_in, lab, shut_out, node_1), seconds=10, what=f"{shut_out} to get in")
    wait_for(lambda: names(covering(lab), "Cluster"), seconds=5, what="the metric to name it under Cluster")

    stage.guard(lab, policy(allowedCIDRs=[{"cidr": "0.0.0.0/0"}, {"cidr": "::/0"}]))
    wait_for(lambda: names(covering(lab), "Local"), seconds=5, what="the metric to name it under Local")
    status = lab.cluster.get("NodePortAccessPolicy", stage.POLICY, namespace=stage.NAMESPACE)["status"]
    enforceable = next(item for item in status["conditions"] if item["type"] == "Enforceable")
    assert (enforceable["status"], enforceable["reason"]) == ("False", "OtherPolicyCoversNodes")
    assert _NAME in enforceable["message"]

    lab.cluster.delete("NetworkPolicy", _NAME, namespace=stage.NAMESPACE)
    wait_for(lambda: covering(lab) == [], seconds=5, what="the series to vanish")
    wait_for(lambda: stage.condition(lab, "Enforceable") == "True", seconds=5, what="the condition to be True again")
