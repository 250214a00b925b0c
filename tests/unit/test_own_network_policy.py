"""Who gets in to the operator itself under the NetworkPolicy of manifests/, as the product's own evaluator judges it.

Not the business of this module: whether an API server takes it (tests/api/test_manifests.py), and packets.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from nodeport_access.api import ServiceKey
from nodeport_access.evaluate import DEFAULT, Answer
from nodeport_access.explaining import By, ask, explain, find_client
from tests.unit.audits import NODES, cluster

BASE = Path(__file__).resolve().parents[2] / "manifests" / "base"
NAMESPACE, NAME = "nodeport-access-system", "nodeport-access-operator"
METRICS, PROBES = "nodeport-access-operator-metrics", "probes"
OWN_NODE, OTHER_NODE, CALLER, STRANGER = "192.168.0.2", "192.168.0.1", "ops/reporter", "198.51.100.7"

# Nobody ships it: it gives the port of the probes a name to ask for.
SERVICE_OF_THE_PROBES: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": PROBES, "namespace": NAMESPACE},
    "spec": {
        "selector": {"app.kubernetes.io/name": NAME},
        "ports": [{"name": "health", "port": 8081, "targetPort": "health"}],
    },
}


def shipped(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((BASE / f"{name}.yaml").read_text(encoding="utf-8"))
    return loaded


def running_pod() -> dict[str, Any]:
    template = shipped("deployment")["spec"]["template"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**template["metadata"], "name": "operator", "namespace": NAMESPACE},
        "spec": {**template["spec"], "nodeName": "n2"},
        "status": {"podIP": "10.244.2.5", "conditions": [{"type": "Ready", "status": "True"}]},
    }


def answer(folder: Path, service: str, who: str, *, guarded: bool = True) -> Answer:
    names = ["namespace", "service", *(["networkpolicy"] if guarded else [])]
    objects = [*(shipped(name) for name in names), SERVICE_OF_THE_PROBES, running_pod()]
    inventory = cluster(folder, *(yaml.safe_dump(each) for each in objects))
    asked = ask(inventory, ServiceKey(NAMESPACE, service), by=[By.POD_ADDRESS])
    (found,) = explain(asked, find_client(inventory, who), known=DEFAULT).answers
    return found.verdict.answer


@pytest.mark.parametrize(
    ("who", "metrics", "probes"),
    [
        (CALLER, Answer.THROUGH, Answer.REFUSED),
        (OWN_NODE, Answer.THROUGH, Answer.THROUGH),
        (OTHER_NODE, Answer.REFUSED, Answer.REFUSED),
        (STRANGER, Answer.REFUSED, Answer.REFUSED),
    ],
    ids=["a pod", "the kubelet of its node", "another node", "a stranger"],
)
def test_pods_read_its_metrics_its_kubelet_probes_it_and_nobody_else_gets_in(
    who: str, metrics: Answer, probes: Answer, tmp_path: Path
) -> None:
    assert answer(tmp_path, METRICS, who) is metrics
    assert answer(tmp_path, PROBES, who) is probes


def test_without_it_every_pod_would_reach_both_ports(tmp_path: Path) -> None:
    assert answer(tmp_path, METRICS, CALLER, guarded=False) is Answer.THROUGH
    assert answer(tmp_path, PROBES, CALLER, guarded=False) is Answer.THROUGH


def test_the_nodes_of_the_test_are_the_ones_it_asks_about() -> None:
    nodes = yaml.safe_load_all(NODES)
    addresses = {node["metadata"]["name"]: node["status"]["addresses"][0]["address"] for node in nodes}

    assert (addresses["n2"], addresses["n1"]) == (OWN_NODE, OTHER_NODE)
