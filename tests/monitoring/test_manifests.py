"""What a real API server with the Prometheus Operator's CRDs makes of manifests/overlays/monitoring, and kustomize of
the overlay that docs/monitoring.md shows.

Not the business of this module: what the rules say (`test_rules`), and the Prometheus Operator itself, which no test
runs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from docs.monitoring_page import alerts
from testbed import kubectl
from testbed.control_plane import ControlPlane
from testbed.waiting import wait_for
from tests.monitoring.expressions import MONITORING, panels

ROOT = MONITORING.parents[1]
OVERLAY = ROOT / "manifests" / "overlays" / "monitoring"
CRDS = Path(__file__).parent / "crds"
NAMESPACE = "nodeport-access-system"


def built(folder: Path) -> dict[str, dict[str, Any]]:
    """What `kubectl kustomize` makes of a folder, by kind and name."""
    documents = yaml.safe_load_all(kubectl.kustomize(folder))
    return {f"{one['kind']}/{one['metadata']['name']}": one for one in documents}


def served(control_plane: ControlPlane, path: str) -> bool:
    return control_plane.request("GET", path)[0] == 200


@pytest.fixture(scope="module")
def applied(control_plane: ControlPlane) -> Iterator[None]:
    """The overlay, applied under strict validation; afterwards the CRDs are gone, and the objects with them."""
    control_plane.kubectl("apply", "--server-side", "-f", CRDS)
    group = "/apis/monitoring.coreos.com/v1"
    for plural in ("prometheusrules", "servicemonitors"):
        wait_for(partial(served, control_plane, f"{group}/{plural}"), seconds=30, what=plural)
    control_plane.kubectl("apply", "--server-side", "--validate=strict", "--force-conflicts", "-k", OVERLAY)
    yield
    control_plane.kubectl("delete", "-f", CRDS)


@pytest.mark.usefixtures("applied")
def test_a_real_api_server_takes_every_object_as_it_is(control_plane: ControlPlane) -> None:
    for name, wanted in built(OVERLAY).items():
        if wanted["apiVersion"].startswith("monitoring.coreos.com"):
            kind = wanted["kind"].lower() + "s"
            _, found = control_plane.request(
                "GET", f"/apis/monitoring.coreos.com/v1/namespaces/{NAMESPACE}/{kind}/{wanted['metadata']['name']}"
            )
            assert found["spec"] == wanted["spec"], name


def test_the_overlay_is_the_base_and_three_objects_more() -> None:
    base, overlay = built(ROOT / "manifests"), built(OVERLAY)
    assert {name: overlay[name] for name in base} == base
    assert overlay.keys() - base.keys() == {
        "ServiceMonitor/nodeport-access-operator",
        "PrometheusRule/nodeport-access-operator",
        "ConfigMap/nodeport-access-dashboard",
    }
    assert {overlay[name]["metadata"]["namespace"] for name in overlay.keys() - base.keys()} == {NAMESPACE}


def test_the_service_monitor_finds_the_port_by_the_service_and_leaves_labels_as_they_are() -> None:
    objects = built(OVERLAY)
    spec = objects["ServiceMonitor/nodeport-access-operator"]["spec"]
    service = objects["Service/nodeport-access-operator-metrics"]
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    (endpoint,) = spec["endpoints"]
    assert endpoint["port"] in [port["name"] for port in service["spec"]["ports"]]
    assert endpoint["honorLabels"] is True


def test_grafanas_sidecar_finds_the_dashboard() -> None:
    config_map = built(OVERLAY)["ConfigMap/nodeport-access-dashboard"]
    assert config_map["metadata"]["labels"]["grafana_dashboard"] == "1"
    (content,) = config_map["data"].values()
    assert yaml.safe_load(content)["panels"] == panels()


def test_the_overlay_in_the_documentation_has_runbooks_be_where_it_says(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```yaml\n# kustomization.yaml\n(.*?)```", page, flags=re.DOTALL)
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    (tmp_path / "kustomization.yaml").write_text(shown, encoding="utf-8")
    rule = built(tmp_path)["PrometheusRule/nodeport-access-operator"]
    links = [
        one["annotations"]["runbook_url"]
        for group in rule["spec"]["groups"]
        for one in group["rules"]
        if "alert" in one
    ]
    assert links == [f"https://git.example/nodeport-access/{one['annotations']['runbook_url']}" for one in alerts()]
    assert rule["metadata"]["labels"]["release"] == "kube-prometheus-stack"
