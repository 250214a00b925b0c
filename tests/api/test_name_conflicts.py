"""A stranger's NetworkPolicy under the name of a child: it is told and left unharmed, and the policy goes on by itself
once it is gone.

Not the business of this module: what strangers do to objects of the operator (`test_drift`).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from testbed.cluster import Cluster, Refused
from testbed.operator_process import USER, OperatorProcess
from tests.api.access import ALLOWED, LABELS, MANAGER, Json, Site, assert_no_rule_admits_everyone, until

DIFFERING = {"podSelector": {"matchLabels": {"app": "theirs"}}, "policyTypes": ["Ingress"], "ingress": [{}]}
SAME_AS_DENY_ALL = {"podSelector": {"matchLabels": LABELS}, "policyTypes": ["Ingress"]}


@pytest.fixture
def site(cluster: Cluster, namespace: str, shared_operator: OperatorProcess) -> Site:
    assert shared_operator.exit_code is None
    return Site(cluster, namespace)


@pytest.fixture(scope="module", autouse=True)
def never_everyone(cluster: Cluster) -> Iterator[None]:
    begin = cluster.control_plane.audit_mark()
    yield
    assert_no_rule_admits_everyone(cluster, since=begin)


def assert_unharmed(site: Site, stranger: Json) -> None:
    found = site.network_policies()[stranger["metadata"]["name"]]
    assert found["metadata"]["uid"] == stranger["metadata"]["uid"]
    assert found["spec"] == stranger["spec"]
    assert found["metadata"].keys().isdisjoint({"labels", "ownerReferences", "annotations"})
    assert MANAGER not in {entry["manager"] for entry in found["metadata"]["managedFields"]}


@pytest.mark.parametrize("spec", [DIFFERING, SAME_AS_DENY_ALL], ids=["differing", "same"])
@pytest.mark.parametrize(
    ("name", "condition"), [("web-allow", "AllowlistApplied"), ("web-deny-all", "DefaultDenyApplied")]
)
def test_a_stranger_that_was_there_before_stays_unharmed(
    name: str, condition: str, spec: dict[str, Any], site: Site
) -> None:
    stranger = site.create_network_policy(name, **spec)
    site.create_service()
    site.create_policy()

    message = site.await_condition(condition, "False NameConflict")
    assert f"'{name}'" in message or f"/{name}" in message
    site.await_condition("Ready", "False NameConflict")
    assert site.conditions()["Stalled"] == "True NameConflict"
    assert_unharmed(site, stranger)

    site.delete("NetworkPolicy", name)
    site.await_ready()
    assert "Stalled" not in site.conditions()
    assert site.allowlist() == {"TCP/8080": list(ALLOWED)}
    assert site.guard_of() == ("Local", "web")

    site.delete("NodePortAccessPolicy")
    site.await_network_policies()


def test_a_stranger_is_unharmed_when_its_policy_goes(site: Site) -> None:
    stranger = site.create_network_policy("web-allow", **DIFFERING)
    site.create_service()
    site.create_policy()
    site.await_condition("Ready", "False NameConflict")

    site.delete("NodePortAccessPolicy")
    site.await_network_policies("web-allow")
    site.await_guard("Cluster", None)

    assert_unharmed(site, stranger)


@pytest.mark.parametrize(("spec", "answer"), [(DIFFERING, 409), (SAME_AS_DENY_ALL, 200)])
def test_a_stranger_that_comes_in_the_same_moment_stays_unharmed(spec: dict[str, Any], answer: int, site: Site) -> None:
    """The operator has decided to create the deny-all, and somebody is faster by milliseconds."""
    control_plane = site.cluster.control_plane
    for attempt in range(20):
        name = f"web{attempt}"
        site.create_service(name)
        begin = control_plane.audit_mark()
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
    assert codes[0] == answer
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
