"""docs/uninstall.md: whoever follows it, in whichever order, waits for nothing in vain, and nothing is left.

Not the business of this module: how single policies are released (`test_release`), and namespaces that end
(`test_terminating_namespaces`).
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nodeport_access.api import API_VERSION, KIND
from testbed import objects
from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT, OperatorProcess, install
from testbed.programs import Programs
from tests.api.access import LABEL, Json, Site, until
from tests.api.conftest import StartOperator, running
from tests.pages import DOCS, blocks, typed

COMMANDS = [one.command for block in blocks(DOCS / "uninstall.md", "console") for one in typed(block)]
POLICIES, OPERATOR, CRD = COMMANDS[:3], COMMANDS[3:4], COMMANDS[4:5]
CLEAN_UP = COMMANDS[5:]
_numbers = itertools.count(1)
SECONDS = 90
"""For one command of the page: a namespace takes some seconds to end."""


@pytest.fixture(scope="module")
def plane(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane for this module, on which things are installed and uninstalled."""
    with running(programs, tmp_path_factory.mktemp("uninstall")) as plane:
        yield plane


@pytest.fixture
def site(plane: ControlPlane) -> Site:
    """A namespace with three guarded Services, each with another owner of externalTrafficPolicy, or none."""
    install(plane)
    cluster = Cluster(plane)
    site = Site(cluster, f"shop-{next(_numbers)}")
    cluster.create_namespace(objects.namespace(name=site.namespace))
    for name, spec in SERVICES.items():
        body = objects.service(namespace=site.namespace, name=name, selector={"app": name}, **spec)
        site.kubectl("apply", "-f", "-", stdin=body)
    return site


SERVICES: dict[str, Json] = {
    "default": {"type": "LoadBalancer"},
    "local": {"externalTrafficPolicy": "Local"},
    "cluster": {"externalTrafficPolicy": "Cluster"},
}


def guarded(site: Site, start_operator: StartOperator) -> tuple[OperatorProcess, dict[str, Json]]:
    """The operator, once it guards all three, and what the Services were before."""
    before = {name: bare(site.service(name)) for name in SERVICES}
    operator = start_operator(site.cluster.control_plane)
    for name in SERVICES:
        site.create_policy(name, service=name)
    for name in SERVICES:
        site.await_ready(name)
        assert site.guard_of(name) == ("Local", name)
    return operator, before


def await_garbage_collector(site: Site) -> None:
    """It looks every 30 s for kinds that are new. Of one that it has not met when its definition goes, it can never
    tell whether an owner is gone."""
    owner = site.create_policy("owner", service="absent")["metadata"]
    reference = {"apiVersion": API_VERSION, "kind": KIND, "name": owner["name"], "uid": owner["uid"]}
    metadata = {"name": "owned", "ownerReferences": [reference]}
    site.kubectl("create", "-f", "-", stdin={"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})
    site.delete("NodePortAccessPolicy", "owner")
    owned = ("get", "configmap", "owned", "--ignore-not-found", "-o", "name")
    until(lambda: site.kubectl(*owned) == "", "the garbage collector to know policies", seconds=120)


def bare(service: Json) -> Json:
    """What a person would notice, and who the API server thinks owns it; a LoadBalancer's health check port is another
    one each time."""
    metadata = service["metadata"]
    spec = {key: value for key, value in service["spec"].items() if key != "healthCheckNodePort"}
    managers = {entry["manager"] for entry in metadata["managedFields"]}
    return {"spec": spec, "labels": metadata.get("labels", {}), "managers": managers}


def follow(site: Site, commands: list[str], tmp_path: Path) -> None:
    """Type them as the page has them, in the repository's folder; what is gone already is passed over."""
    for command in commands:
        ran = subprocess.run(
            ["bash", "-o", "pipefail", "-c", command],
            cwd=ROOT,
            env={
                "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
                "HOME": str(tmp_path),
                "KUBECONFIG": str(site.cluster.control_plane.admin_kubeconfig),
                "NODEPORT_ACCESS_METRICS_BIND_ADDRESS": "127.0.0.1:0",
                "NODEPORT_ACCESS_HEALTH_BIND_ADDRESS": "127.0.0.1:0",
            },
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        assert ran.returncode == 0, f"{command}\n{ran.stderr}"


def left(site: Site) -> dict[str, Any]:
    """Whatever is in the cluster that the operator, or its installation, has brought."""
    everywhere = site.cluster.control_plane.kubectl
    kinds = "namespaces,serviceaccounts,clusterroles,clusterrolebindings,deployments,services,crds,leases"
    listed = json.loads(everywhere("get", kinds, "--all-namespaces", "-o", "json").stdout)["items"]
    return {
        f"{one['kind']} {one['metadata']['name']}": one["metadata"]
        for one in listed
        if "nodeport-access" in one["metadata"]["name"] or LABEL in one["metadata"].get("labels", {})
    } | {f"NetworkPolicy {name}": policy["metadata"] for name, policy in site.network_policies().items()}


def test_in_the_order_of_the_page_nothing_is_left(site: Site, start_operator: StartOperator, tmp_path: Path) -> None:
    operator, before = guarded(site, start_operator)

    follow(site, POLICIES, tmp_path)
    assert {name: bare(site.service(name)) for name in SERVICES} == before, "handed back while the operator is there"
    follow(site, OPERATOR, tmp_path)
    operator.stop()
    follow(site, CRD, tmp_path)

    assert left(site) == {}


@pytest.mark.parametrize(
    "order", [(OPERATOR, POLICIES[:2], CRD), (OPERATOR, CRD)], ids=["then the policies", "then the CRD"]
)
def test_where_the_operator_goes_first_services_stay_local_until_they_are_handed_back(
    order: tuple[list[str], ...], site: Site, start_operator: StartOperator, tmp_path: Path
) -> None:
    await_garbage_collector(site)
    operator, before = guarded(site, start_operator)
    operator.stop()

    for commands in order:
        follow(site, commands, tmp_path)
    until(lambda: not site.network_policies(), "the garbage collector to take the children", seconds=60)
    assert {name: site.guard_of(name) for name in SERVICES} == {name: ("Local", name) for name in SERVICES}
    assert set(left(site)) == {f"Service {name}" for name in SERVICES}

    follow(site, [*CLEAN_UP, *OPERATOR, *CRD], tmp_path)
    assert {name: bare(site.service(name)) for name in SERVICES} == before
    assert left(site) == {}


def test_where_the_crd_goes_first_the_operator_ends_and_the_rest_is_taken_away(
    site: Site, start_operator: StartOperator, tmp_path: Path
) -> None:
    operator, before = guarded(site, start_operator)

    follow(site, CRD, tmp_path)
    assert operator.wait_for_end(seconds=30) == 1
    assert "CustomResourceDefinition was deleted" in operator.log_lines()[-1]
    follow(site, [*CLEAN_UP, *OPERATOR, *CRD], tmp_path)

    assert {name: bare(site.service(name)) for name in SERVICES} == before
    assert left(site) == {}


def test_a_namespace_that_goes_takes_everything_of_its_own_along(
    site: Site, start_operator: StartOperator, tmp_path: Path
) -> None:
    guarded(site, start_operator)

    follow(site, [f"kubectl delete namespace {site.namespace}"], tmp_path)

    assert site.cluster.find("Namespace", site.namespace) is None
    follow(site, [*POLICIES, *OPERATOR, *CRD], tmp_path)
    assert left(site) == {}


def test_the_page_has_the_commands_that_are_followed_here() -> None:
    assert len(POLICIES) == 3
    assert [one[0].split()[:2] for one in (POLICIES, OPERATOR, CRD)] == [["kubectl", "delete"]] * 3
    assert [one.strip("(").split()[:2] for one in CLEAN_UP] == [["kubectl", "apply"], ["nodeport-access", "run"]]
