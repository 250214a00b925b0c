"""What is in the lab's cluster: a dashboard behind a Service with every kind of address, and the pods that call it.

    tekton-pipelines    dashboard-0 on node-2, and the Service tekton-dashboard (TCP and UDP, IPv4 and IPv6)
    foo (region=foo)    foo-1 on node-1, foo-2 on node-2: in-cluster callers that a policy may admit
    bar (region=bar)    bar-1 on node-1, bar-2 on node-2: the namespace to be shut out

Not its business: policies.
"""

from __future__ import annotations

from collections.abc import Mapping

from testbed import objects
from testbed.lab import topology
from testbed.lab.lab import Lab, Pod
from testbed.lab.topology import Node
from testbed.waiting import wait_for

NAMESPACE, SERVICE, POLICY = "tekton-pipelines", "tekton-dashboard", "dashboard"
LABELS = {"app": SERVICE}
NODE_PORT, SERVICE_PORT, POD_PORT = 31602, 80, 8080  # of TCP and UDP alike
BACKEND = "dashboard-0"
BACKEND_NODE = topology.NODES[1]
CALLERS = ("foo", "bar")


def create(lab: Lab) -> None:
    """Make it all, and wait until the Service has found its pod."""
    cluster = lab.cluster
    cluster.create_namespace(objects.namespace(name=NAMESPACE))
    for name in CALLERS:
        cluster.create_namespace(objects.namespace(name=name, labels={"region": name}))
    add_backend(lab, BACKEND, node=BACKEND_NODE, number=10)
    for number, namespace in enumerate(CALLERS, start=2):
        for node in topology.NODES[:2]:
            place = node.name[-1]
            lab.add_pod(namespace, f"{namespace}-{place}", node=node, number=10 * number, labels={"app": namespace})
    ingress = [address for node in topology.NODES for address in node.load_balancer_ips]
    service = objects.service(
        namespace=NAMESPACE,
        name=SERVICE,
        selector=LABELS,
        type="LoadBalancer",
        ip_families=("IPv4", "IPv6"),
        ports=[
            {
                "name": protocol.lower(),
                "protocol": protocol,
                "port": SERVICE_PORT,
                "targetPort": POD_PORT,
                "nodePort": NODE_PORT,
            }
            for protocol in ("TCP", "UDP")
        ],
        externalIPs=[address for node in topology.NODES for address in node.external_ips],
    )
    cluster.create(service | {"status": {"loadBalancer": {"ingress": [{"ip": address} for address in ingress]}}})
    cluster.wait_for_endpoints(SERVICE, namespace=NAMESPACE, ready=lab.pods[BACKEND].addresses)


def add_backend(lab: Lab, name: str, *, node: Node, number: int) -> Pod:
    """One more pod of the Service."""
    return lab.add_pod(
        NAMESPACE, name, node=node, number=number, labels=LABELS, tcp={"tcp": POD_PORT}, udp={"udp": POD_PORT}
    )


def reset(lab: Lab) -> None:
    """As `create` left it: no policy of any kind, the Service under Cluster, one pod, on node-2."""
    cluster = lab.cluster
    for kind in ("NodePortAccessPolicy", "NetworkPolicy"):
        cluster.delete_all(kind, namespace=NAMESPACE)
    wait_for(lambda: is_left_alone(lab), seconds=30, what="the operator's hands off the Service")
    set_traffic_policy(lab, "Cluster")
    for name in [name for name, pod in lab.pods.items() if pod.namespace == NAMESPACE and name != BACKEND]:
        lab.remove_pod(name)
    if BACKEND not in lab.pods:
        add_backend(lab, BACKEND, node=BACKEND_NODE, number=10)
    cluster.wait_for_endpoints(SERVICE, namespace=NAMESPACE, ready=lab.pods[BACKEND].addresses)


def is_left_alone(lab: Lab) -> bool:
    """Whether neither a child is left of any policy, nor what one made of the Service."""
    service = lab.cluster.get("Service", SERVICE, namespace=NAMESPACE)
    labels = service["metadata"].get("labels", {})
    return "nodeport-access.io/policy" not in labels and not lab.cluster.list("NetworkPolicy", namespace=NAMESPACE)


def guard(lab: Lab, policy: Mapping[str, object]) -> None:
    """Apply a NodePortAccessPolicy named POLICY, and wait until its status says Ready."""
    apply(lab, policy)
    wait_for(lambda: condition(lab, "Ready") == "True", seconds=30, what="condition Ready of the policy", every=0.02)


def apply(lab: Lab, policy: Mapping[str, object]) -> None:
    """Apply an object as `kubectl apply --server-side` does."""
    lab.cluster.apply(policy, manager="kubectl", force=True)


def traffic_policy(lab: Lab) -> str:
    """The Service's externalTrafficPolicy."""
    value: str = lab.cluster.get("Service", SERVICE, namespace=NAMESPACE)["spec"]["externalTrafficPolicy"]
    return value


def condition(lab: Lab, type: str) -> str:
    """The status of a condition of the policy, empty where it has none."""
    status = lab.cluster.get("NodePortAccessPolicy", POLICY, namespace=NAMESPACE).get("status", {})
    found: dict[str, str] = {item["type"]: item["status"] for item in status.get("conditions", ())}
    return found.get(type, "")


def set_traffic_policy(lab: Lab, value: str) -> None:
    """Somebody sets the Service's externalTrafficPolicy."""
    change = {"spec": {"externalTrafficPolicy": value}}
    lab.cluster.patch("Service", SERVICE, change, namespace=NAMESPACE, manager="kubectl-edit")
