"""How far the operator goes: `mode` and `trafficPolicy`, from the start and switched both ways.

Not the business of this module: modes in the competition for one Service (`test_claims`).
"""

from __future__ import annotations

from typing import Any

from testbed.operator_process import USER
from tests.api.access import ALLOWED, MANAGER, Site, until

CHILDREN = ("web-allow", "web-deny-all")
WHOLE_PLAN = [
    {"action": "create", "object": "NetworkPolicy/web-allow"},
    {"action": "update", "object": "Service/web", "fields": ["spec.externalTrafficPolicy", "metadata.labels"]},
    {"action": "create", "object": "NetworkPolicy/web-deny-all"},
]


def planned(site: Site, name: str = "web") -> list[dict[str, Any]]:
    """status.plan, without empty lists of fields."""
    plan = site.status(name).get("plan", [])
    return [{key: value for key, value in write.items() if value} for write in plan]


def writes(site: Site, *, since: int) -> list[str]:
    """What the operator has written in the namespace since a mark, as resource/subresource."""
    events = site.cluster.control_plane.audit_events(since=since, user=USER)
    return [
        "/".join(part for part in (event["objectRef"]["resource"], event["objectRef"].get("subresource")) if part)
        for event in events
        if event["verb"] in ("create", "update", "patch", "delete")
        and event["objectRef"].get("namespace") == site.namespace
    ]


def test_an_audit_policy_tells_what_it_would_do_and_writes_its_status_only(site: Site) -> None:
    begin = site.cluster.control_plane.audit_mark()
    before = site.create_service()
    site.create_policy(mode="Audit")

    site.await_condition("Ready", "False AuditMode")

    assert planned(site) == WHOLE_PLAN
    conditions = site.conditions()
    assert conditions["ServiceResolved"] == "True ServiceFound"
    assert conditions["ClientIPPreserved"] == "False ClusterInForce"
    assert conditions["AllowlistApplied"] == conditions["DefaultDenyApplied"] == "False AuditMode"
    assert conditions.keys().isdisjoint({"Reconciling", "Stalled"})
    assert site.network_policies() == {}
    assert site.service()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    assert set(writes(site, since=begin)) == {"nodeportaccesspolicies/status"}


def test_the_plan_of_an_audit_policy_follows_the_world(site: Site) -> None:
    site.create_policy(mode="Audit")
    site.await_condition("ServiceResolved", "False ServiceNotFound")
    assert planned(site) == []

    site.create_service(externalTrafficPolicy="Local")
    # It is Local already, so nothing is open in a way that could not wait for the children.
    until(lambda: planned(site) == [WHOLE_PLAN[0], WHOLE_PLAN[2], WHOLE_PLAN[1]], "the whole plan")
    site.edit_service(type="ClusterIP", externalTrafficPolicy=None)

    until(
        lambda: [write["object"] for write in planned(site)] == [f"NetworkPolicy/{name}" for name in CHILDREN], "less"
    )


def test_an_enforced_policy_that_turns_to_audit_lets_everything_go_and_comes_back(site: Site) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    site.edit_policy(mode="Audit")
    site.await_guard("Cluster", None)
    site.await_network_policies()
    site.await_condition("Ready", "False AuditMode")
    until(lambda: planned(site) == WHOLE_PLAN, "the whole plan")
    assert MANAGER not in {entry["manager"] for entry in site.service()["metadata"]["managedFields"]}
    assert "lastDrift" not in site.status(), "what we let go ourselves nobody took"

    site.edit_policy(mode="Enforce")
    site.await_ready()
    assert site.guard_of() == ("Local", "web")
    assert sorted(site.network_policies()) == list(CHILDREN)
    assert "plan" not in site.status()


def test_an_audit_policy_that_goes_leaves_no_trace(site: Site) -> None:
    before = site.create_service()
    site.create_policy(mode="Audit")
    site.await_condition("Ready", "False AuditMode")
    begin = site.cluster.control_plane.audit_mark()

    site.delete("NodePortAccessPolicy")
    site.create_policy("next", allowed=["10.2.3.4/32"])  # once this one is served, the other's end is history
    site.await_ready("next")

    assert site.service()["metadata"]["uid"] == before["metadata"]["uid"]
    site.await_network_policies("next-allow", "next-deny-all")
    assert sorted(writes(site, since=begin)) == [
        "networkpolicies",
        "networkpolicies",
        "nodeportaccesspolicies/status",
        "services",
    ]


def test_an_unmanaged_service_is_only_looked_at(site: Site) -> None:
    before = site.create_service()
    site.create_pod()
    site.create_policy(trafficPolicy="Unmanaged")

    message = site.await_condition("ClientIPPreserved", "False ClusterUnmanaged")
    assert "Unmanaged" in message
    assert site.conditions()["Ready"] == "False ClusterUnmanaged"
    assert site.conditions()["Stalled"] == "True ClusterUnmanaged"
    assert sorted(site.network_policies()) == list(CHILDREN)
    assert site.service()["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
    site.cluster.wait_for_endpoints("web", namespace=site.namespace, ready=["10.233.96.32"])
    assert "every node answers" in site.await_condition("Reachable", "True NodesAnswer"), "as Cluster makes them"

    site.edit_service(externalTrafficPolicy="Local", manager="owner")
    site.await_ready()
    assert site.guard_of() == ("Local", None)
    assert "Stalled" not in site.conditions()

    site.edit_service(externalTrafficPolicy="Cluster", manager="owner")
    site.await_condition("Ready", "False ClusterUnmanaged")
    assert "lastDrift" not in site.status(), "what is not ours nobody can take from us"


def test_the_traffic_policy_is_handed_back_and_taken_again(site: Site) -> None:
    site.create_service(type="LoadBalancer")
    site.create_policy()
    site.await_ready()

    site.edit_policy(trafficPolicy="Unmanaged")
    site.await_guard("Cluster", None)
    site.await_condition("Ready", "False ClusterUnmanaged")
    assert site.allowlist() == {"TCP/8080": list(ALLOWED)}
    assert MANAGER not in {entry["manager"] for entry in site.service()["metadata"]["managedFields"]}

    site.edit_policy(trafficPolicy="Local")
    site.await_guard("Local", "web")
    site.await_ready()
    assert site.status()["healthCheckNodePort"] == site.service()["spec"]["healthCheckNodePort"]
    assert "lastDrift" not in site.status()
