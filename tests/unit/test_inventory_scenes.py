"""From objects to questions: the scene of a Service, what stands in for Nodes and Pods not known, and who calls."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

import pytest

from nodeport_access.api import ServiceKey
from nodeport_access.cidrs import Family
from nodeport_access.evaluate import Answer, ByNodePort, Client, evaluate, reach
from nodeport_access.inventory import read
from nodeport_access.inventory.scenes import WITH_POD, WITHOUT_POD, callers, scene

KEY = ServiceKey("web", "shop")
SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: shop, namespace: web}
spec:
  type: NodePort
  externalTrafficPolicy: %s
  selector: {app: shop}
  ports: [{name: http, port: 80, targetPort: http}]
"""
ALLOW = """
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: allow, namespace: web}
spec:
  podSelector: {matchLabels: {app: shop}}
  ingress: [{from: [{ipBlock: {cidr: 10.0.0.0/8}}], ports: [{port: http}]}]
"""
PODS = """
---
apiVersion: v1
kind: Pod
metadata: {name: shop-0, namespace: web, labels: {app: shop}}
spec: {nodeName: n1, containers: [{name: main, ports: [{name: http, containerPort: 8080}]}]}
status: {podIP: 10.244.1.5, podIPs: [{ip: 10.244.1.5}], conditions: [{type: Ready, status: "True"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: agent, namespace: ops}
spec: {nodeName: n1, hostNetwork: true, containers: [{name: main}]}
status: {podIP: 10.99.0.1, podIPs: [{ip: 10.99.0.1}]}
"""


def files(folder: Path, text: str) -> str:
    path = folder / "objects.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_without_nodes_one_with_a_ready_pod_stands_in_and_one_without(tmp_path: Path) -> None:
    found = scene(read([files(tmp_path, SERVICE % "Local" + ALLOW)]), KEY)
    (port,) = found.service.ports
    sets = {
        node.name: reach(found, port=port, entry=ByNodePort(node.name), families=[Family.IPV4]) for node in found.nodes
    }
    assert sets[WITH_POD].surely.texts() == ("10.0.0.0/8",)
    assert sets[WITHOUT_POD].surely.texts() == ()
    assert not any(each.depends_on for each in sets.values())
    assert sets[WITH_POD].derivation[0] == (
        "Under Local, a node with a ready pod sends it to the pod on a node with a ready pod and keeps the source."
    )


def test_what_hangs_on_the_address_of_a_node_that_stands_in_depends(tmp_path: Path) -> None:
    found = scene(read([files(tmp_path, SERVICE % "Cluster" + ALLOW)]), KEY)
    client = Client(ip_address("198.51.100.7"))
    verdict = evaluate(found, client=client, port=found.service.ports[0], entry=ByNodePort(WITHOUT_POD))
    assert verdict.answer is Answer.DEPENDS
    assert "hidden-address" in [unknown.key for unknown in verdict.depends_on]


def test_pods_that_are_known_are_the_endpoints_and_their_nodes_are_named(tmp_path: Path) -> None:
    found = scene(read([files(tmp_path, SERVICE % "Local" + PODS)]), KEY)
    assert [node.name for node in found.nodes] == ["n1", WITHOUT_POD]
    assert [pod.ports for pod in found.pods] == [{("TCP", "http"): 8080}]


def test_pods_call_under_their_own_addresses_and_those_in_a_nodes_network_do_not(tmp_path: Path) -> None:
    (caller,) = callers(read([files(tmp_path, SERVICE % "Local" + PODS)]))
    assert caller.name == "web/shop-0"
    assert [client.address for client in caller.clients] == [ip_address("10.244.1.5")]
    assert [client.pod.node for client in caller.clients if client.pod] == ["n1"]


def test_a_service_that_is_not_there_has_no_scene(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="web/other"):
        scene(read([files(tmp_path, SERVICE % "Local")]), ServiceKey("web", "other"))
