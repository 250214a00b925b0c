"""The sample that `make up` puts into the cluster: DESIGN's three nodes and a dashboard behind a node port.

Not its business: processes (`testbed.playground`).
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from testbed import objects
from testbed.cluster import Cluster
from testbed.kubectl import PROGRAM
from testbed.operator_process import ROOT, OperatorProcess

NAMESPACE, SERVICE, POLICY = "tekton-pipelines", "tekton-dashboard", "dashboard"
_SAMPLE = Path(__file__).with_name("sample")

# name, address, range of its pods, address of its tunnel
NODES = (
    ("node1", "10.102.123.117", "10.233.90.0/24", "10.233.90.0"),
    ("node2", "10.102.123.104", "10.233.96.0/24", "10.233.96.0"),
    ("node3", "10.102.123.143", "10.233.92.0/24", "10.233.92.0"),
)


def create_nodes(cluster: Cluster) -> None:
    for name, address, pod_cidr, tunnel in NODES:
        annotations = {"projectcalico.org/IPv4IPIPTunnelAddr": tunnel}
        cluster.create(objects.node(name=name, addresses=[address], pod_cidrs=[pod_cidr], annotations=annotations))


def create(cluster: Cluster) -> None:
    """The nodes, the Service, and its pod on the second node; wait until the Service has found it."""
    create_nodes(cluster)
    cluster.create_namespace(objects.namespace(name=NAMESPACE))
    cluster.control_plane.kubectl("apply", "-f", _SAMPLE / "service.yaml")
    labels, ports = {"app": SERVICE}, {"http": 9097}
    pod = objects.pod(
        namespace=NAMESPACE, name=f"{SERVICE}-0", node="node2", ips=["10.233.96.32"], labels=labels, ports=ports
    )
    cluster.create(pod)
    cluster.wait_for_endpoints(SERVICE, namespace=NAMESPACE, ready=["10.233.96.32"])


def apply_policy(cluster: Cluster) -> None:
    cluster.control_plane.kubectl("apply", "-f", _SAMPLE / "policy.yaml")


def is_ready(cluster: Cluster) -> bool:
    """Whether the policy has the condition Ready; where not, the AssertionError says what its status is."""
    status = cluster.get("NodePortAccessPolicy", POLICY, namespace=NAMESPACE).get("status", {})
    ready = {item["type"]: item["status"] for item in status.get("conditions", ())}.get("Ready")
    assert ready == "True", f"status is {status}"
    return True


def what_to_type_next(*, folder: Path, operator: OperatorProcess) -> str:
    """For a person at a terminal in the project's folder."""
    # Of the same release as the server; whoever has another kubectl knows how to use it.
    kubectl = os.path.relpath(PROGRAM, ROOT)
    return f"""\
A Kubernetes API server runs here, with the operator on it. To use it:

  export KUBECONFIG={shlex.quote(str(folder / "kubeconfig"))}

  {kubectl} get npap -A
  {kubectl} explain npap.spec
  {kubectl} -n {NAMESPACE} describe npap {POLICY}
  {kubectl} -n {NAMESPACE} get networkpolicies,service {SERVICE} -o yaml

Break it, and look again:

  {kubectl} -n {NAMESPACE} patch service {SERVICE} -p '{{"spec": {{"externalTrafficPolicy": "Cluster"}}}}'
  {kubectl} -n {NAMESPACE} delete networkpolicy {POLICY}-allow

What the operator says of itself:

  tail -f {os.path.relpath(operator.log, ROOT)}
  curl -s {operator.metrics_url}

There are no kubelets, so the nodes and the pod exist on paper only, and the Deployment of manifests/ has nobody to run
it: the operator runs as a process of this machine, with the same ServiceAccount and RBAC.

  make down    ends all of it
"""
