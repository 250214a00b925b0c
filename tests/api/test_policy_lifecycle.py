"""A policy from its creation on: what stands in the cluster after each change of it.

Not the business of this module: changes of the Service (`test_service_changes`), several policies (`test_claims`),
modes (`test_modes`), deletion for good (`test_release`), and the order and number of writes.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.access import (
    ALLOWED,
    LABELS,
    MANAGER,
    Site,
    admissions,
    entries,
    isolated,
    until,
)

PORTS = [{"name": "http", "port": 80, "targetPort": 8080}, {"name": "https", "port": 443, "targetPort": "tls"}]
BOTH = "TCP/8080 TCP/tls"


def test_a_policy_leaves_its_service_open_to_the_allowlist_only(site: Site) -> None:
    service = site.create_service()
    site.create_pod()
    policy = site.create_policy()
    site.await_ready()

    allow, deny = (site.network_policies()[name] for name in ("web-allow", "web-deny-all"))
    for child in (allow, deny):
        assert child["spec"]["podSelector"] == {"matchLabels": LABELS}
        assert child["spec"]["policyTypes"] == ["Ingress"]
        assert child["metadata"]["labels"] == {
            "app.kubernetes.io/managed-by": MANAGER,
            "nodeport-access.io/policy": "web",
            "nodeport-access.io/service": "web",
        }
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["uid"], owner["controller"]) == (policy["metadata"]["uid"], True)
        assert "blockOwnerDeletion" not in owner
    assert admissions(allow) == {"TCP/8080": list(ALLOWED)}
    assert "ingress" not in deny["spec"]
    assert site.guard_of() == ("Local", "web")
    assert site.policy()["metadata"].keys().isdisjoint({"finalizers", "annotations"})

    status = site.status()
    assert status["serviceUID"] == service["metadata"]["uid"]
    assert status["nodePorts"] == [service["spec"]["ports"][0]["nodePort"]]
    assert status["effectiveCIDRs"] == 2
    assert status["nodes"] == {"ready": 1, "draining": 0, "total": 3, "share": "1/3"}
    assert status.keys().isdisjoint({"lastDrift", "plan", "healthCheckNodePort"})
    assert site.conditions() == {
        "Ready": "True Guarded",
        "ServiceResolved": "True ServiceFound",
        "ClientIPPreserved": "True LocalInForce",
        "AllowlistApplied": "True Applied",
        "DefaultDenyApplied": "True Applied",
        "Reachable": "True NodesAnswer",
        "Exclusive": "True NoOtherOpening",
        "Enforceable": "True NothingBypasses",
    }


def test_a_policy_without_entries_admits_nobody(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=())
    site.await_ready()

    assert site.allowlist() == {}
    assert site.network_policies()["web-allow"]["spec"]["policyTypes"] == ["Ingress"]
    assert site.status()["effectiveCIDRs"] == 0


BAR = {"namespaceSelector": {"matchExpressions": [{"key": "region", "operator": "NotIn", "values": ["bar"]}]}}
TEAM = {"namespaceSelector": {"matchLabels": {}}, "podSelector": {"matchLabels": {"team": "edge"}}}


def peer(body: dict[str, Any]) -> str:
    return json.dumps(body, sort_keys=True)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param(
            {"allowedCIDRs": entries([*ALLOWED, "198.51.100.7/32"])},
            {BOTH: ["10.2.3.4/32", "198.51.100.7/32", "203.0.113.0/24"]},
            id="one-more-cidr",
        ),
        pytest.param({"allowedCIDRs": entries(ALLOWED[:1])}, {BOTH: ["10.2.3.4/32"]}, id="one-cidr-less"),
        pytest.param({"allowedCIDRs": []}, {}, id="no-cidr-left"),
        pytest.param({"allowedCIDRs": None}, {}, id="list-removed"),
        pytest.param(
            {"allowedCIDRs": entries(["203.0.113.0/25", "203.0.113.128/25", "203.0.113.5/32"])},
            {BOTH: ["203.0.113.0/24"]},
            id="neighbours-and-parts-are-joined",
        ),
        pytest.param(
            {"allowedCIDRs": [{"cidr": "203.0.113.0/24", "except": ["203.0.113.0/26", "203.0.113.128/25"]}]},
            {BOTH: ["203.0.113.64/26"]},
            id="exceptions-are-subtracted",
        ),
        pytest.param(
            {"allowedCIDRs": [{"cidr": "10.2.3.4/32", "ports": ["https"]}, {"cidr": "203.0.113.0/24", "ports": [80]}]},
            {"TCP/8080": ["203.0.113.0/24"], "TCP/tls": ["10.2.3.4/32"]},
            id="a-port-for-each-by-name-and-by-number",
        ),
        pytest.param(
            {"allowedCIDRs": [{"cidr": "10.2.3.4/32", "ports": [80, "https"]}, {"cidr": "203.0.113.0/24"}]},
            {BOTH: ["10.2.3.4/32", "203.0.113.0/24"]},
            id="all-ports-named-are-every-port",
        ),
        pytest.param({"allowedPeers": [BAR]}, {BOTH: [*ALLOWED, peer(BAR)]}, id="one-peer"),
        pytest.param(
            {"allowedPeers": [BAR, TEAM], "allowedCIDRs": [{"cidr": "10.2.3.4/32", "ports": ["http"]}]},
            {
                "TCP/8080": ["10.2.3.4/32"],
                BOTH: [peer(BAR), peer({"namespaceSelector": {}, "podSelector": TEAM["podSelector"]})],
            },
            id="peers-get-every-port",
        ),
    ],
)
def test_an_edit_of_the_policy_becomes_the_allowlist_in_place(
    change: dict[str, Any], expected: dict[str, list[str]], site: Site
) -> None:
    site.create_service(ports=PORTS)
    site.create_policy()
    site.await_ready()
    before = site.network_policies()

    site.edit_policy(**change)
    site.await_allowlist(expected)
    site.edit_policy(allowedCIDRs=entries(ALLOWED), allowedPeers=None)
    site.await_allowlist({BOTH: list(ALLOWED)})

    after = site.network_policies()
    assert {name: one["metadata"]["uid"] for name, one in after.items()} == {
        name: one["metadata"]["uid"] for name, one in before.items()
    }, "a child that is deleted and created anew refuses everybody in between"
    assert after["web-deny-all"]["metadata"]["resourceVersion"] == before["web-deny-all"]["metadata"]["resourceVersion"]


def test_isolation_of_the_namespace_selects_every_pod_of_it_and_goes_back(site: Site) -> None:
    site.create_service()
    site.create_policy(isolation="Namespace")

    def selected() -> Any:
        return {name: one["spec"]["podSelector"] for name, one in site.network_policies().items()}

    service_only = {"matchLabels": LABELS}
    until(lambda: selected() == {"web-allow": service_only, "web-deny-all": {}}, "isolation of the namespace")
    uid = site.network_policies()["web-deny-all"]["metadata"]["uid"]
    site.edit_policy(isolation="Service")
    until(lambda: selected() == {"web-allow": service_only, "web-deny-all": service_only}, "isolation of the Service")
    site.edit_policy(isolation="Namespace")
    until(lambda: selected() == {"web-allow": service_only, "web-deny-all": {}}, "isolation of the namespace again")

    assert site.network_policies()["web-deny-all"]["metadata"]["uid"] == uid
    assert "every pod of the namespace" in site.await_condition("Ready", "True Guarded")


def test_a_policy_made_anew_within_a_second_takes_everything_over(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    service, children = site.moment("Service"), site.moment("NetworkPolicy")

    site.delete("NodePortAccessPolicy")
    policy = site.create_policy(allowed=["198.51.100.0/24"])
    site.await_ready()
    site.await_allowlist({"TCP/8080": ["198.51.100.0/24"]})

    def owned_by_the_new_one() -> bool:
        owners = {one["metadata"]["ownerReferences"][0]["uid"] for one in site.network_policies().values()}
        assert owners == {policy["metadata"]["uid"]}
        return True

    until(owned_by_the_new_one, "children of the new policy")
    site.await_network_policies("web-allow", "web-deny-all")
    assert site.guard_of() == ("Local", "web")
    # Whatever the garbage collector did meanwhile: who got in was in one of the two lists.
    states, services = site.history(children, service)
    for state in states:
        addresses = [cidr for one in state.values() for cidrs in admissions(one).values() for cidr in cidrs]
        assert set(addresses) <= {*ALLOWED, "198.51.100.0/24"}
        assert not addresses or isolated(LABELS, state.values())
    assert {state["web"]["metadata"]["uid"] for state in services} == {site.service()["metadata"]["uid"]}


def test_a_policy_made_anew_for_another_service_leaves_the_first(site: Site) -> None:
    site.create_service()
    site.create_service("other", selector={"app": "other"})
    site.create_policy()
    site.await_ready()

    site.delete("NodePortAccessPolicy")
    policy = site.create_policy(service="other")
    site.await_ready()

    site.await_guard("Cluster", None)
    site.await_guard("Local", "web", service="other")

    def moved() -> bool:
        children = site.network_policies()
        assert children.keys() == {"web-allow", "web-deny-all"}
        for child in children.values():
            assert child["spec"]["podSelector"] == {"matchLabels": {"app": "other"}}
            assert child["metadata"]["labels"]["nodeport-access.io/service"] == "other"
            assert [owner["uid"] for owner in child["metadata"]["ownerReferences"]] == [policy["metadata"]["uid"]]
        return True

    until(moved, "children for the other Service")
