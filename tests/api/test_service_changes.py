"""The Service under a policy comes, goes and changes; the policy follows, and what was shut stays shut.

Not the business of this module: who else gets at the Service's pods (`test_conditions`), and writers that take fields
back (`test_drift`).
"""

from __future__ import annotations

from typing import Any

import pytest

from testbed.api_client import JSON_PATCH
from tests.api.access import ALLOWED, HTTP, LABELS, Site, admissions, until

CHILDREN = ("web-allow", "web-deny-all")
ON_HTTP = {"TCP/8080": list(ALLOWED)}


def still_shut(site: Site) -> bool:
    """Both children stand as they did when the policy was in force."""
    children = site.network_policies()
    return (
        children.keys() == set(CHILDREN)
        and all(one["spec"]["podSelector"] == {"matchLabels": LABELS} for one in children.values())
        and admissions(children["web-allow"]) == ON_HTTP
        and admissions(children["web-deny-all"]) == {}
    )


def test_a_service_made_after_its_policy_is_taken_at_once(site: Site) -> None:
    site.create_policy()
    message = site.await_condition("ServiceResolved", "False ServiceNotFound")
    assert message == "Service 'web' does not exist in this namespace."
    assert site.conditions()["Ready"] == "False ServiceNotFound"
    assert site.conditions()["Reconciling"] == "True ServiceNotFound"
    assert "Stalled" not in site.conditions()
    assert site.network_policies() == {}
    assert site.status().keys().isdisjoint({"serviceUID", "nodePorts", "nodes", "effectiveCIDRs"})

    service = site.create_service()

    site.await_ready()
    assert site.guard_of() == ("Local", "web")
    assert still_shut(site)
    assert site.status()["serviceUID"] == service["metadata"]["uid"]
    assert "Reconciling" not in site.conditions()


def test_the_pods_stay_shut_while_their_service_is_gone_and_the_next_one_is_taken(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    site.delete("Service")
    site.await_condition("Ready", "False ServiceNotFound")
    assert still_shut(site)
    assert site.status().keys().isdisjoint({"serviceUID", "nodePorts", "nodes", "effectiveCIDRs"})

    anew = site.create_service()
    site.await_ready()
    assert site.guard_of() == ("Local", "web")
    assert site.status()["serviceUID"] == anew["metadata"]["uid"]
    assert site.status()["nodePorts"] == [anew["spec"]["ports"][0]["nodePort"]]
    assert "lastDrift" not in site.status(), "a new Service was never ours, so nobody has taken anything from us"


def test_a_service_made_anew_at_once_is_taken_as_a_new_one(site: Site) -> None:
    site.create_service(type="LoadBalancer")
    site.create_policy()
    site.await_ready()

    site.delete("Service")
    anew = site.create_service(type="LoadBalancer")

    site.await_guard("Local", "web")
    until(lambda: site.status().get("serviceUID") == anew["metadata"]["uid"], "the new Service in status")
    site.await_ready()
    assert site.status()["healthCheckNodePort"] == site.service()["spec"]["healthCheckNodePort"]
    assert still_shut(site)


UNSUITABLE: dict[str, tuple[dict[str, Any], str]] = {
    "ClusterIP": ({"type": "ClusterIP"}, "False ServiceTypeUnsupported"),
    "ExternalName": (
        {"type": "ExternalName", "externalName": "example.org", "clusterIP": None, "clusterIPs": None},
        "False ExternalNameService",
    ),
}


@pytest.mark.parametrize("there", ["ClusterIP", "ExternalName"])
def test_a_service_without_node_ports_is_let_go_with_its_pods_shut_and_taken_again(there: str, site: Site) -> None:
    types = {"first": "NodePort", "second": "LoadBalancer"}
    for name, type in types.items():
        site.create_service(name, type=type, selector={"app": name})
        site.create_policy(name, service=name)
    for name in types:
        site.await_ready(name)
    children = {name: one["spec"] for name, one in site.network_policies().items()}
    assert len(children) == 4

    change, why = UNSUITABLE[there]
    for name in types:
        site.edit_service(name, **change)
    for name in types:
        site.await_guard(None, None, service=name)
        site.await_condition("ServiceResolved", why, name)
        conditions = site.conditions(name)
        assert (conditions["Ready"], conditions["Stalled"]) == (why, why.replace("False", "True"))
        assert conditions["ClientIPPreserved"] == conditions["Reachable"] == why.replace("False", "Unknown")
        assert "healthCheckNodePort" not in site.status(name)
        assert site.status(name)["nodePorts"] == []
    assert {name: one["spec"] for name, one in site.network_policies().items()} == children

    for name, type in types.items():
        site.edit_service(name, type=type, externalName=None)
    for name in types:
        site.await_guard("Local", name, service=name)
        site.await_ready(name)
        assert "Stalled" not in site.conditions(name)
    assert {name: one["spec"] for name, one in site.network_policies().items()} == children


def test_a_node_port_becomes_a_load_balancer_and_back(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    assert "healthCheckNodePort" not in site.status()

    site.edit_service(type="LoadBalancer")
    number = until(lambda: site.service()["spec"].get("healthCheckNodePort"), "a port for the load balancer's probes")
    until(lambda: site.status().get("healthCheckNodePort") == number, "the same port in status")
    assert site.guard_of() == ("Local", "web")

    site.edit_service(type="NodePort")
    until(lambda: "healthCheckNodePort" not in site.status(), "no such port in status")
    assert site.guard_of() == ("Local", "web")
    assert site.conditions()["Ready"] == "True Guarded"
    assert still_shut(site)


def test_the_allowlist_follows_the_ports_of_the_service(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=["10.2.3.4/32", {"cidr": "203.0.113.0/24", "ports": ["http"]}])
    site.await_allowlist(ON_HTTP)

    site.edit_service(ports=[{**HTTP, "targetPort": 9090}])
    site.await_allowlist({"TCP/9090": list(ALLOWED)})
    site.edit_service(ports=[{**HTTP, "targetPort": "backend"}])
    site.await_allowlist({"TCP/backend": list(ALLOWED)})
    site.edit_service(ports=[HTTP, {"name": "dns", "port": 53, "protocol": "UDP"}])
    site.await_allowlist({"TCP/8080": ["203.0.113.0/24"], "TCP/8080 UDP/53": ["10.2.3.4/32"]})

    site.await_ready()
    node_ports = [port["nodePort"] for port in site.service()["spec"]["ports"]]
    until(lambda: site.status()["nodePorts"] == node_ports, "both node ports in status")
    site.edit_service(ports=[{**site.service()["spec"]["ports"][0], "nodePort": None}])
    until(lambda: site.status()["nodePorts"] == [site.service()["spec"]["ports"][0]["nodePort"]], "the new node port")
    assert site.allowlist() == ON_HTTP


def test_a_port_that_the_service_does_not_have_admits_nobody_and_is_named(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=["10.2.3.4/32", {"cidr": "203.0.113.0/24", "ports": ["https", 8443]}])

    message = site.await_condition("ServiceResolved", "False PortNotFound")
    assert "https" in message
    assert "8443" in message
    assert "http (80)" in message
    assert site.conditions()["Ready"] == "False PortNotFound"
    assert site.conditions()["Stalled"] == "True PortNotFound"
    assert site.allowlist() == {"TCP/8080": ["10.2.3.4/32"]}
    assert site.guard_of() == ("Local", "web"), "all else is in force"

    site.edit_service(ports=[HTTP, {"name": "https", "port": 443}, {"name": "admin", "port": 8443}])
    site.await_ready()
    assert site.allowlist() == {"TCP/443 TCP/8080 TCP/8443": ["10.2.3.4/32"], "TCP/443 TCP/8443": ["203.0.113.0/24"]}

    site.edit_service(ports=[HTTP])
    site.await_condition("Ready", "False PortNotFound")
    assert site.allowlist() == {"TCP/8080": ["10.2.3.4/32"]}


def test_an_allowlist_whose_every_port_is_unknown_ends_as_nobody(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=[{"cidr": "0.0.0.0/0", "ports": ["https"]}])

    site.await_condition("Ready", "False PortNotFound")

    assert site.allowlist() == {}
    assert site.network_policies()["web-allow"]["spec"]["policyTypes"] == ["Ingress"]


def test_both_children_follow_the_selector_of_the_service(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()
    uids = {name: one["metadata"]["uid"] for name, one in site.network_policies().items()}

    replace: Any = [{"op": "replace", "path": "/spec/selector", "value": {"app": "next", "tier": "front"}}]
    site.cluster.patch("Service", "web", replace, namespace=site.namespace, content_type=JSON_PATCH)

    def followed() -> bool:
        children = site.network_policies()
        for child in children.values():
            assert child["spec"]["podSelector"] == {"matchLabels": {"app": "next", "tier": "front"}}
        assert {name: one["metadata"]["uid"] for name, one in children.items()} == uids
        return True

    until(followed, "the new selector in both children")


def test_a_selector_that_is_taken_away_leaves_the_pods_shut(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    site.edit_service(selector=None)
    site.await_condition("Ready", "False SelectorMissing")
    assert site.conditions()["Stalled"] == "True SelectorMissing"
    assert still_shut(site)

    site.edit_service(selector=LABELS)
    site.await_ready()
    assert still_shut(site)


def test_for_a_service_without_selector_nothing_is_written(site: Site) -> None:
    site.create_service(selector=None)
    site.create_policy()

    site.await_condition("ServiceResolved", "False SelectorMissing")

    assert site.network_policies() == {}
    assert site.guard_of() == ("Cluster", None)
    assert site.conditions()["AllowlistApplied"] == "Unknown SelectorMissing"
    assert site.conditions()["Stalled"] == "True SelectorMissing"


def test_a_headless_service_is_told_to_have_no_node_ports(site: Site) -> None:
    site.create_service(type="ClusterIP", clusterIP="None")
    site.create_policy()

    message = site.await_condition("Ready", "False ServiceTypeUnsupported")

    assert message == "Service 'web' is of type ClusterIP; only NodePort and LoadBalancer have node ports."
    assert site.guard_of() == (None, None)


MIXED = ["10.2.3.4/32", "203.0.113.0/24", "2001:db8::/33", "2001:db8:8000::/33"]


@pytest.mark.parametrize(
    ("families", "expected"),
    [
        (["IPv4"], ["10.2.3.4/32", "203.0.113.0/24"]),
        (["IPv6"], ["2001:db8::/32"]),
        (["IPv4", "IPv6"], ["10.2.3.4/32", "203.0.113.0/24", "2001:db8::/32"]),
        (["IPv6", "IPv4"], ["10.2.3.4/32", "203.0.113.0/24", "2001:db8::/32"]),
    ],
    ids=" ".join,
)
def test_the_allowlist_holds_the_families_of_the_service(families: list[str], expected: list[str], site: Site) -> None:
    site.create_service(ip_families=families)
    site.create_policy(allowed=MIXED)
    site.await_ready()

    assert site.allowlist() == {"TCP/8080": expected}
    assert site.status()["effectiveCIDRs"] == len(expected)


def test_an_allowlist_of_the_other_family_only_admits_nobody(site: Site) -> None:
    site.create_service(ip_families=["IPv6"])
    site.create_policy(allowed=["0.0.0.0/0"])
    site.await_ready()

    assert site.allowlist() == {}


def test_a_service_that_becomes_dual_stack_admits_the_second_family_and_back(site: Site) -> None:
    site.create_service()
    site.create_policy(allowed=MIXED)
    site.await_allowlist(ON_HTTP)

    site.edit_service(ipFamilyPolicy="RequireDualStack", ipFamilies=["IPv4", "IPv6"])
    site.await_allowlist({"TCP/8080": [*ALLOWED, "2001:db8::/32"]})
    first = site.service()["spec"]["clusterIPs"][0]
    site.edit_service(ipFamilyPolicy="SingleStack", ipFamilies=["IPv4"], clusterIPs=[first])
    site.await_allowlist(ON_HTTP)
