"""A policy's body is read without ever failing: what cannot be read admits nobody and is named."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import ConditionType, Isolation, Mode, PolicyKey, ServiceKey, TrafficPolicy, parse_policy
from nodeport_access.reasons import Reason, Weight
from tests.unit import builders
from tests.unit.builders import NOW, entry
from tests.unit.strategies import properties


def test_every_field_of_a_policy_is_read() -> None:
    peer = {"podSelector": {"matchLabels": {"role": "caller"}}}
    policy = parse_policy(
        builders.policy(
            namespace="web",
            name="shop-guard",
            service="shop",
            uid="policy-uid",
            resource_version=7,
            generation=3,
            created="2026-01-01T00:00:00Z",
            allowed=[
                entry(
                    "203.0.113.0/24",
                    description="office",
                    excepts=["203.0.113.66/32"],
                    ports=["http", 9000],
                    expiresAt="2026-12-31T00:00:00Z",
                ),
                "2001:db8::/32",
            ],
            allowedPeers=[peer],
            isolation="Namespace",
            trafficPolicy="Unmanaged",
            mode="Audit",
            status={"serviceUID": "x"},
        )
    )
    assert policy.key == PolicyKey("web", "shop-guard")
    assert policy.service == ServiceKey("web", "shop")
    assert (policy.uid, policy.resource_version, policy.generation) == ("policy-uid", "7", 3)
    assert policy.created == "2026-01-01T00:00:00Z"
    first, second = policy.allowed
    assert (first.cidr, first.excepts) == (ip_network("203.0.113.0/24"), (ip_network("203.0.113.66/32"),))
    assert first.ports == ("http", 9000)
    assert first.expires_at == datetime(2026, 12, 31, tzinfo=UTC)
    assert (second.cidr, second.excepts, second.ports, second.expires_at) == (ip_network("2001:db8::/32"), (), (), None)
    assert policy.peers == (peer,)
    assert policy.isolation is Isolation.NAMESPACE
    assert policy.traffic_policy is TrafficPolicy.UNMANAGED
    assert policy.mode is Mode.AUDIT
    assert policy.status == {"serviceUID": "x"}
    assert policy.problems == ()


def test_a_policy_of_its_service_alone_enforces_with_the_defaults_and_admits_nobody() -> None:
    metadata = {"namespace": "web", "name": "shop", "uid": "u", "resourceVersion": "1"}
    policy = parse_policy({"metadata": metadata, "spec": {"serviceRef": {"name": "shop"}}})
    assert (policy.isolation, policy.traffic_policy, policy.mode) == (
        Isolation.SERVICE,
        TrafficPolicy.LOCAL,
        Mode.ENFORCE,
    )
    assert (policy.allowed, policy.peers, policy.problems, policy.status) == ((), (), (), {})
    assert policy.enforcing


@pytest.mark.parametrize(
    ("tweaks", "enforcing"),
    [
        ({}, True),
        ({"mode": "Audit"}, False),
        ({"deleting": True}, False),
        ({"trafficPolicy": "Unmanaged"}, True),
    ],
)
def test_only_a_living_policy_in_mode_enforce_enforces(tweaks: dict[str, Any], enforcing: bool) -> None:
    assert parse_policy(builders.policy(**tweaks)).enforcing is enforcing


def test_children_are_named_after_the_policy_and_not_after_the_service() -> None:
    policy = parse_policy(builders.policy(name="guard", service="shop"))
    assert (policy.allow_name, policy.deny_name) == ("guard-allow", "guard-deny-all")


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        ({"cidr": "10.2.3.4"}, "'10.2.3.4' is not a CIDR"),
        ({"cidr": "10.2.3.4/24"}, "canonical form is 10.2.3.0/24"),
        ({"cidr": "10.0.0.0/8", "except": ["10.0.0.1"]}, "'10.0.0.1' is not a CIDR"),
        ({"cidr": "10.0.0.0/8", "except": 5}, "not iterable"),
        ({"cidr": 5}, "expected string"),
        ({"except": []}, "cidr"),
        ({"cidr": "10.0.0.0/8", "expiresAt": "soon"}, "soon"),
        ({"cidr": "10.0.0.0/8", "expiresAt": "2026-12-31T00:00:00"}, "has no time zone"),
        ({"cidr": "10.0.0.0/8", "expiresAt": 5}, "argument must be str"),
        ({"cidr": "10.0.0.0/8", "ports": 80}, "not iterable"),
    ],
)
def test_an_entry_that_cannot_be_read_admits_nobody_and_is_named(bad: dict[str, Any], named: str) -> None:
    policy = parse_policy(builders.policy(allowed=["192.0.2.1/32", bad, "192.0.2.2/32"]))
    assert [str(item.cidr) for item in policy.allowed] == ["192.0.2.1/32", "192.0.2.2/32"]
    (problem,) = policy.problems
    assert problem.startswith("spec.allowedCIDRs[1]: ")
    assert named in problem


@pytest.mark.parametrize("field", ["isolation", "trafficPolicy", "mode"])
def test_an_unknown_choice_falls_back_to_the_one_that_guards_and_is_named(field: str) -> None:
    body = builders.policy()
    policy = parse_policy({**body, "spec": {**body["spec"], field: "Sideways"}})
    assert policy.problems == (f"spec.{field}: 'Sideways' is not known to this operator",)
    assert policy.enforcing


def test_a_policy_without_a_service_is_kept_and_says_so() -> None:
    specs: list[dict[str, Any]] = [{}, {"serviceRef": {}}, {"serviceRef": None}]
    for spec in specs:
        policy = parse_policy({**builders.policy(), "spec": spec})
        assert policy.service == ServiceKey("web", "")
        assert policy.problems == ("spec.serviceRef.name is missing",)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.just("10.0.0.0/8")),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(st.text(max_size=3), inner, max_size=2)),
    max_leaves=3,
)


@properties(200)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("cidr", "except", "ports", "expiresAt"), JSON)))
def test_no_value_in_an_entry_stops_the_policy_from_being_read(bad: dict[str, Any]) -> None:
    policy = parse_policy(builders.policy(allowed=["192.0.2.1/32", bad]))
    assert policy.allowed[0].cidr == ip_network("192.0.2.1/32")
    assert len(policy.allowed) + len(policy.problems) == 2


@pytest.mark.parametrize(
    "text", ["2026-06-01T12:00:00Z", "2026-06-01T14:00:00+02:00", "2026-06-01T12:00:00.000000000Z"]
)
def test_an_entry_ends_at_the_very_instant_that_it_names(text: str) -> None:
    (item,) = parse_policy(builders.policy(allowed=[entry("10.0.0.0/8", expiresAt=text)])).allowed
    assert item.in_force(NOW - timedelta(microseconds=1))
    assert not item.in_force(NOW)
    assert not item.in_force(NOW + timedelta(days=365))


def test_an_entry_without_an_end_is_always_in_force() -> None:
    (item,) = parse_policy(builders.policy()).allowed
    assert item.in_force(datetime.max.replace(tzinfo=UTC))


def test_a_policy_that_only_moved_in_version_is_the_same_policy() -> None:
    assert parse_policy(builders.policy(resource_version=1)) == parse_policy(builders.policy(resource_version=2))
    assert parse_policy(builders.policy(generation=1)) != parse_policy(builders.policy(generation=2))


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_is_one_word_with_a_sentence_for_people(reason: Reason) -> None:
    assert re.fullmatch(r"[A-Z][A-Za-z]+", reason)  # within the pattern of metav1.Condition
    assert re.fullmatch(r"\S.+\.", reason.sentence)
    assert isinstance(reason.weight, Weight)
    assert {str(other): other for other in Reason}[reason.value] is reason


def test_every_condition_type_is_one_word_and_ready_comes_first() -> None:
    assert next(iter(ConditionType)) is ConditionType.READY
    assert all(re.fullmatch(r"[A-Z][A-Za-z]+", kind) for kind in ConditionType)


def test_keys_are_written_as_namespace_and_name() -> None:
    assert str(PolicyKey("web", "guard")) == "web/guard"
    assert str(ServiceKey("web", "shop")) == "web/shop"
