"""The fault proxy between a real operator and a real API server."""

from __future__ import annotations

import itertools
from functools import partial

from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.fault_proxy import FaultProxy, Gate
from testbed.operator_process import NAMESPACE, SERVICE_ACCOUNT
from testbed.waiting import wait_for
from tests.api.conftest import StartOperator

CONVERGENCE = [
    "patch networkpolicies web-allow",
    "patch services web",
    "patch networkpolicies web-deny-all",
    "patch nodeportaccesspolicies/status web",
]


def create_pair(cluster: Cluster, *, namespace: str) -> None:
    """A namespace with a Service and its policy."""
    cluster.create_namespace(objects.namespace(name=namespace))
    cluster.create(objects.service(namespace=namespace, name="web", selector={"app": "web"}))
    cluster.create(
        objects.policy(namespace=namespace, name="web", service="web", allowedCIDRs=[{"cidr": "10.2.3.4/32"}])
    )


def is_observed(cluster: Cluster, *, namespace: str) -> bool:
    policy = cluster.get("NodePortAccessPolicy", "web", namespace=namespace)
    return bool(policy.get("status", {}).get("observedGeneration") == policy["metadata"]["generation"])


def is_held_or_done(gate: Gate, cluster: Cluster, *, namespace: str) -> bool:
    return gate.reached.is_set() or is_observed(cluster, namespace=namespace)


def test_an_operator_converges_a_policy_through_the_proxy(
    quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    cluster = Cluster(quiet_control_plane)
    with FaultProxy(quiet_control_plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        operator = start_operator(quiet_control_plane, kubeconfig=kubeconfig)
        create_pair(cluster, namespace="through-the-proxy")
        wait_for(lambda: is_observed(cluster, namespace="through-the-proxy"), seconds=30, what="the status")
        wait_for(
            lambda: proxy.writes(namespace="through-the-proxy") == CONVERGENCE, seconds=5, what="the four writes only"
        )
        operator.kill()
    cluster.delete_namespace("through-the-proxy")


def test_an_operator_can_be_killed_after_each_of_its_writes(
    quiet_control_plane: ControlPlane, start_operator: StartOperator
) -> None:
    cluster = Cluster(quiet_control_plane)
    with FaultProxy(quiet_control_plane) as proxy:
        kubeconfig = proxy.service_account_kubeconfig(namespace=NAMESPACE, name=SERVICE_ACCOUNT)
        for number in itertools.count():
            namespace = f"killed-after-{number}"
            create_pair(cluster, namespace=namespace)
            with proxy.hold_after(writes=number, namespaces={namespace}) as gate:
                operator = start_operator(quiet_control_plane, kubeconfig=kubeconfig, ready=False)
                wait_for(
                    partial(is_held_or_done, gate, cluster, namespace=namespace),
                    seconds=60,
                    what=f"write {number + 1} to be held, or the end",
                    every=0.005,
                )
                operator.kill()
            assert proxy.writes(namespace=namespace) == CONVERGENCE[:number]
            cluster.delete_namespace(namespace)
            if not gate.reached.is_set():
                break
        assert number == len(CONVERGENCE)
