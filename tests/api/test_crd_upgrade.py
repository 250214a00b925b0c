"""The CRD and the operator are not of one version: the CRD is upgraded under a running operator that was newer than it.

The older CRD is ours without fields that could have come later: a spec field, fields of status, a default, a column.
Not the business of this module: the CRD that is absent or goes (`test_startup`), and its rules (`test_crd`).
"""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
import yaml

from testbed.cluster import Cluster
from testbed.control_plane import ControlPlane
from testbed.operator_process import ROOT
from tests.api.access import ALLOWED, Site, a_site, until
from tests.api.conftest import StartOperator

CRDS = ROOT / "crds"
AMISS = "The installed CustomResourceDefinition is older than the operator"
NAMES = ("web", "audited", "web-too")


def older() -> dict[str, Any]:
    crd: dict[str, Any] = copy.deepcopy(yaml.safe_load((CRDS / "nodeportaccesspolicies.yaml").read_text("utf-8")))
    (version,) = crd["spec"]["versions"]
    schema = version["schema"]["openAPIV3Schema"]["properties"]
    del schema["spec"]["properties"]["isolation"]
    del schema["status"]["default"]
    for name in ("nodes", "lastDrift"):
        del schema["status"]["properties"][name]
    del schema["status"]["properties"]["plan"]["items"]["properties"]["fields"]
    version["additionalPrinterColumns"] = [
        column for column in version["additionalPrinterColumns"] if ".nodes." not in column["jsonPath"]
    ]
    return crd


def populate(site: Site) -> None:
    """A Service with a pod and a policy that holds it, one that waits, and one that only reports."""
    site.create_pod()
    site.create_service()
    site.create_policy()
    site.create_policy("audited", mode="Audit")
    site.create_policy("web-too", allowed=["192.0.2.0/24"])


def asked_for(site: Site) -> dict[str, Any]:
    """What users own of every policy, and by what the API server knows it."""
    return {
        one["metadata"]["name"]: (
            one["metadata"]["uid"],
            one["metadata"]["creationTimestamp"],
            {name: value for name, value in one["spec"].items() if name != "isolation"},
        )
        for one in site.cluster.list("NodePortAccessPolicy", namespace=site.namespace)
    }


@pytest.mark.parametrize("how", [(), ("--server-side",)], ids=["client-side", "server-side"])
def test_an_operator_newer_than_its_crd_guards_and_says_so_and_an_upgrade_of_the_crd_loses_nothing(
    own_control_plane: ControlPlane, start_operator: StartOperator, how: tuple[str, ...]
) -> None:
    plane = own_control_plane
    plane.kubectl("apply", "-f", "-", input=json.dumps(older()))
    site = a_site(plane, "upgraded")
    until(lambda: not knows_isolation(plane, site), "the API server to go by the older CRD")
    operator = start_operator(plane)
    populate(site)

    assert AMISS in site.await_condition("Ready", "True Guarded")
    assert AMISS in site.await_condition("Ready", "False AuditMode", "audited")
    assert AMISS in site.await_condition("Ready", "False ServiceAlreadyClaimed", "web-too")
    assert "nodes" not in site.status()
    assert site.status()["nodePorts"], "what the older one knows is told"
    site.await_guard("Local", "web")
    site.await_allowlist({"TCP/8080": list(ALLOWED)})
    site.edit_service(externalTrafficPolicy="Cluster")
    site.await_guard("Local", "web")
    warnings = [line for line in map(json.loads, operator.log_lines()) if line["level"] == "WARNING"]
    assert [line for line in warnings if AMISS in line["message"] and "field not declared in schema" in line["message"]]
    assert len(warnings) <= 2, "once a minute, and not for each policy"
    assert operator.health()[0] == 200

    before, mark = asked_for(site), plane.audit_mark()
    services, guards = site.moment("Service"), site.moment("NetworkPolicy")
    plane.kubectl("apply", *how, "-f", CRDS)
    until(lambda: knows_isolation(plane, site), "the API server to go by the newer CRD")
    for name in NAMES:
        await_whole_status(site, name)
    assert site.status()["nodes"] == {"ready": 1, "draining": 0, "total": 3, "share": "1/3"}
    assert asked_for(site) == before
    assert set(site.writes(since=mark)) == {f"patch nodeportaccesspolicies/status {name}" for name in NAMES}
    assert site.events(services, guards) == [[], []], "nobody's access changed, not for a moment"
    assert operator.exit_code is None

    site.edit_policy(isolation="Namespace")
    until(
        lambda: site.network_policies()["web-deny-all"]["spec"]["podSelector"] == {}, "the new field to have its effect"
    )
    site.await_ready()


def await_whole_status(site: Site, name: str) -> None:
    """The operator tries again within a minute at first, and later every five."""
    until(lambda: "nodes" in site.status(name), f"the whole status of {name}", seconds=60)
    assert AMISS not in json.dumps(site.status(name))


def knows_isolation(plane: ControlPlane, site: Site) -> bool:
    """Whether the API server takes a policy with a field that only the newer CRD has."""
    body = {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"name": "dry", "namespace": site.namespace},
        "spec": {"serviceRef": {"name": "dry"}, "isolation": "Namespace"},
    }
    dry = plane.kubectl("create", "--dry-run=server", "-f", "-", input=json.dumps(body), check=False)
    assert dry.returncode == 0 or 'unknown field "spec.isolation"' in dry.stderr, dry.stderr
    return dry.returncode == 0


def test_the_crd_has_one_version_which_is_served_and_stored(quiet_control_plane: ControlPlane) -> None:
    found = Cluster(quiet_control_plane).get("CustomResourceDefinition", "nodeportaccesspolicies.nodeport-access.io")
    (version,) = found["spec"]["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert found["status"]["storedVersions"] == ["v1alpha1"]
