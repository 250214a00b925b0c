"""A stranger's NetworkPolicy under the name of a child: it is told and left unharmed, and the policy goes on by itself
once it is gone. A child that somebody replaced is no stranger's, as long as it is the same object.

Not the business of this module: all else that strangers do to objects of the operator (`test_drift`).
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import pytest

from testbed import objects
from testbed.cluster import Refused
from testbed.operator_process import USER, OperatorProcess
from tests.api.access import ALLOWED, LABELS, MANAGER, Json, Site, until
from tests.api.witness import Witness, assert_never_wider

DIFFERING = {"podSelector": {"matchLabels": {"app": "theirs"}}, "policyTypes": ["Ingress"], "ingress": [{}]}
SAME_AS_DENY_ALL = {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"]}
FOR_ALL_PODS = {"podSelector": {}, "policyTypes": ["Ingress"]}
"""Of which managedFields hold nothing but policyTypes: an empty selector is nobody's."""


def assert_unharmed(site: Site, stranger: Json) -> None:
    found = site.network_policies()[stranger["metadata"]["name"]]
    assert found["metadata"]["uid"] == stranger["metadata"]["uid"]
    assert found["spec"] == stranger["spec"]
    assert found["metadata"].keys().isdisjoint({"labels", "ownerReferences", "annotations"})
    assert MANAGER not in {entry["manager"] for entry in found["metadata"]["managedFields"]}


CONDITIONS = {"allow": "AllowlistApplied", "deny-all": "DefaultDenyApplied"}


def test_strangers_that_were_there_before_stay_unharmed(site: Site, shared_operator: OperatorProcess) -> None:
    rows = {f"{how}-{which}": which for how in ("same", "differing") for which in CONDITIONS}
    strangers = {}
    for name, which in rows.items():
        spec = DIFFERING if name.startswith("differing") else {**SAME_AS_DENY_ALL, "podSelector": selector_of(name)}
        strangers[name] = site.create_network_policy(f"{name}-{which}", **spec)
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)

    for name, which in rows.items():
        message = site.await_condition(CONDITIONS[which], "False NameConflict", name)
        assert f"'{name}-{which}'" in message or f"/{name}-{which}" in message
        site.await_condition("Ready", "False NameConflict", name)
        assert site.conditions(name)["Stalled"] == "True NameConflict"
        assert_unharmed(site, strangers[name])

    with shared_operator.paused():
        for name, which in rows.items():
            site.delete("NetworkPolicy", f"{name}-{which}")
        witness = Witness(site)
    for name in rows:
        site.await_ready(name)
        assert "Stalled" not in site.conditions(name)
        assert site.allowlist(name) == {"TCP/8080": list(ALLOWED)}
        assert site.guard_of(name) == ("Local", name)
    states = witness.states()
    for name in rows:
        assert_never_wider(states, service=name, labels={"app": name})

    for name in rows:
        site.delete("NodePortAccessPolicy", name)
    site.await_network_policies()


def selector_of(name: str) -> Json:
    return {"matchLabels": {"app": name}}


def replacement(site: Site, child: str, name: str) -> Json:
    """Opens the same pods, and has no field as the operator's have it."""
    same_pods = {"matchExpressions": [{"key": "app", "operator": "In", "values": [name]}]}
    spec = {"podSelector": same_pods, "policyTypes": ["Ingress", "Egress"], "ingress": [{}], "egress": [{}]}
    return objects.network_policy(namespace=site.namespace, name=child, spec=spec)


def test_a_child_that_somebody_replaced_whole_is_repaired_by_one_write(
    site: Site, shared_operator: OperatorProcess
) -> None:
    for name in CONDITIONS:
        site.create_service(name, selector={"app": name})
        site.create_policy(name, service=name)
    for name in CONDITIONS:
        site.await_ready(name)
    before = {name: child["spec"] for name, child in site.network_policies().items()}

    with shared_operator.paused():
        for name in CONDITIONS:
            site.kubectl("replace", "-f", "-", stdin=replacement(site, f"{name}-{name}", name))
            assert MANAGER not in managers(site, f"{name}-{name}")
        begin, witness = site.cluster.control_plane.audit_mark(), Witness(site)

    for name in CONDITIONS:
        until(partial(is_told, site, name, "kubectl-replace"), f"the writer of {name}-{name}")
        site.await_ready(name)
    assert {name: child["spec"] for name, child in site.network_policies().items()} == before
    assert Counter(site.writes(since=begin)) == Counter(
        write
        for name in CONDITIONS
        for write in (f"patch networkpolicies {name}-{name}", f"patch nodeportaccesspolicies/status {name}")
    )
    states = witness.states()
    for name in CONDITIONS:
        assert_never_wider(states, service=name, labels={"app": name})


def is_told(site: Site, name: str, writer: str) -> bool:
    drift = site.status(name).get("lastDrift", {})
    return (drift.get("object"), drift.get("writer")) == (f"NetworkPolicy/{name}-{name}", writer)


def managers(site: Site, child: str) -> set[str]:
    return {entry["manager"] for entry in site.network_policies()[child]["metadata"]["managedFields"]}


def test_what_stands_in_place_of_a_deleted_child_is_a_strangers(site: Site, shared_operator: OperatorProcess) -> None:
    site.create_service()
    site.create_policy()
    site.await_ready()

    with shared_operator.paused():
        site.kubectl("replace", "--force", "-f", "-", stdin=replacement(site, "web-allow", "web"))
        stranger = site.network_policies()["web-allow"]
        witness = Witness(site)

    site.await_condition("AllowlistApplied", "False NameConflict")
    site.await_condition("Ready", "False NameConflict")
    site.await_condition("Exclusive", "False OpenedByOtherPolicy")
    assert_unharmed(site, stranger)
    site.delete("NetworkPolicy", "web-allow")
    site.await_ready()
    witness.assert_never_wider()


def test_a_stranger_is_unharmed_when_its_policy_goes(site: Site) -> None:
    stranger = site.create_network_policy("web-allow", **DIFFERING)
    site.create_service()
    site.create_policy()
    site.await_condition("Ready", "False NameConflict")

    site.delete("NodePortAccessPolicy")
    site.await_network_policies("web-allow")
    site.await_guard("Cluster", None)

    assert_unharmed(site, stranger)


@pytest.mark.parametrize("spec", [DIFFERING, SAME_AS_DENY_ALL, FOR_ALL_PODS], ids=["differing", "same", "for all pods"])
def test_a_stranger_that_comes_in_the_same_moment_stays_unharmed(spec: dict[str, Any], site: Site) -> None:
    """The operator has decided to create the deny-all, and somebody is faster by milliseconds."""
    control_plane = site.cluster.control_plane
    for attempt in range(20):
        name = f"web{attempt}"
        site.create_service(name)
        begin, before = control_plane.audit_mark(), site.moment("NetworkPolicy")
        stranger = overtake(site, name, spec)
        if stranger is None:
            continue
        site.await_condition("DefaultDenyApplied", "False NameConflict", name)
        codes = [
            event["responseStatus"]["code"]
            for event in control_plane.audit_events(since=begin, user=USER)
            if event["verb"] == "patch"
            and event["objectRef"]["namespace"] == site.namespace
            and event["objectRef"]["name"] == f"{name}-deny-all"
        ]
        assert_unharmed(site, stranger)
        if codes:
            break
    assert codes[0] == 409
    assert stranger is not None
    (states,) = site.history(before)
    versions = {
        state[f"{name}-deny-all"]["metadata"]["resourceVersion"] for state in states if f"{name}-deny-all" in state
    }
    assert versions == {stranger["metadata"]["resourceVersion"]}, "it was changed, be it for a moment"
    site.delete("NetworkPolicy", f"{name}-deny-all")
    site.await_condition("DefaultDenyApplied", "True Applied", name)


def overtake(site: Site, name: str, spec: dict[str, Any]) -> Json | None:
    """Create a policy, and under the name of its deny-all a NetworkPolicy as soon as its allowlist is there; None where
    the operator was faster."""
    site.create_policy(name, service=name)
    until(lambda: site.cluster.find("NetworkPolicy", f"{name}-allow", namespace=site.namespace), "the allowlist")
    try:
        return site.create_network_policy(f"{name}-deny-all", **spec)
    except Refused as refused:
        if refused.code != 409:
            raise
        return None
