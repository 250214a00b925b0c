"""A policy's body is read without ever failing: what cannot be read admits nobody and is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Isolation, Mode, PolicyKey, ServiceKey, TrafficPolicy
from nodeport_access.policy_body import parse_policy
from tests.unit import builders
from tests.unit.builders import NOW, entry
from tests.unit.strategies import ANYTHING, properties


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
        ({"cidr": "10.0.0.0/8", "except": 5}, "except: 5 is not a list"),
        ({"cidr": "10.0.0.0/8", "except": "10.0.0.0/9"}, 'except: "10.0.0.0/9" is not a list'),
        ({"cidr": "10.0.0.0/8", "except": [None]}, "except: null is not a string"),
        ({"cidr": "10.0.0.0/8", "except": ["11.0.0.0/9"]}, "except: 11.0.0.0/9 does not lie inside 10.0.0.0/8"),
        ({"cidr": "10.0.0.0/8", "except": ["::/0"]}, "except: ::/0 does not lie inside 10.0.0.0/8"),
        ({"cidr": "10.0.0.0/9", "except": ["10.0.0.0/8"]}, "except: 10.0.0.0/8 does not lie inside 10.0.0.0/9"),
        ({"cidr": 5}, "cidr: 5 is not a string"),
        ({"except": []}, "cidr: is missing"),
        ({"cidr": "10.0.0.0/8", "expiresAt": "soon"}, 'expiresAt: "soon" is not a time'),
        ({"cidr": "10.0.0.0/8", "expiresAt": "0001-01-01T00:00:00+14:00"}, "is not a time"),
        ({"cidr": "10.0.0.0/8", "expiresAt": "2026-12-31T00:00:00"}, "has no time zone"),
        ({"cidr": "10.0.0.0/8", "expiresAt": 5}, "expiresAt: 5 is not a string"),
        ({"cidr": "10.0.0.0/8", "ports": 80}, "ports: 80 is not a list"),
        ({"cidr": "10.0.0.0/8", "ports": "http"}, 'ports: "http" is not a list'),
        ({"cidr": "10.0.0.0/8", "ports": []}, "ports: an empty list could be read either way"),
        ({"cidr": "10.0.0.0/8", "ports": [{"http": 80}]}, 'ports: {"http": 80} is neither a name nor a number'),
        ({"cidr": "10.0.0.0/8", "ports": [True]}, "ports: true is neither a name nor a number"),
        ({"cidr": "10.0.0.0/8", "startsAt": "2027-01-01T00:00:00Z"}, "startsAt: this operator does not know the field"),
        ("10.0.0.0/8", 'spec.allowedCIDRs[1]: "10.0.0.0/8" is not an object'),
        (["10.0.0.0/8"], "is not an object"),
        (None, "spec.allowedCIDRs[1]: null is not an object"),
    ],
)
def test_an_entry_that_cannot_be_read_admits_nobody_and_is_named(bad: Any, named: str) -> None:
    body = builders.policy()
    good = [entry("192.0.2.1/32"), entry("192.0.2.2/32")]
    policy = parse_policy({**body, "spec": {**body["spec"], "allowedCIDRs": [good[0], bad, good[1]]}})
    assert [str(item.cidr) for item in policy.allowed] == ["192.0.2.1/32", "192.0.2.2/32"]
    (problem,) = policy.problems
    assert problem.startswith("spec.allowedCIDRs[1]")
    assert named in problem


@pytest.mark.parametrize(
    ("bad", "named"),
    [
        (None, "allowedPeers[1]: an empty peer could be read as everyone"),
        ({}, "allowedPeers[1]: an empty peer could be read as everyone"),
        ("everyone", 'allowedPeers[1]: "everyone" is not an object'),
        ({"podSelector": None}, "an empty peer could be read as everyone"),
        ({"podSelector": "app=web"}, 'podSelector: "app=web" is not an object'),
        ({"podSelector": {}, "ipBlock": {"cidr": "0.0.0.0/0"}}, "ipBlock: this operator does not know the field"),
        ({"podSelector": {"app": "web"}}, "podSelector.app: this operator does not know the field"),
        ({"podSelector": {"matchLabels": ["app"]}}, 'podSelector.matchLabels: ["app"] is not an object'),
        ({"podSelector": {"matchLabels": {"app": 5}}}, "podSelector.matchLabels.app: 5 is not a string"),
        ({"podSelector": {"matchExpressions": {}}}, "podSelector.matchExpressions: {} is not a list"),
        ({"podSelector": {"matchExpressions": [None]}}, "podSelector.matchExpressions[0].key: is missing"),
        (
            {"podSelector": {"matchExpressions": [{"key": "app", "operator": "Is"}]}},
            'matchExpressions[0].operator: "Is" is none of In, NotIn, Exists, DoesNotExist',
        ),
        (
            {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [5]}]}},
            "matchExpressions[0].values: 5 is not a string",
        ),
    ],
)
def test_a_peer_that_cannot_be_read_is_not_let_in_and_named(bad: Any, named: str) -> None:
    good = {"podSelector": {"matchLabels": {"role": "caller"}}}
    policy = parse_policy(builders.policy(allowedPeers=[good, bad]))
    assert policy.peers == (good,)
    assert named in policy.problems[0]


def test_nulls_and_empty_lists_in_a_peer_mean_what_they_mean_in_kubernetes() -> None:
    peer: dict[str, Any] = {"namespaceSelector": {}, "podSelector": {"matchLabels": None, "matchExpressions": []}}
    exists = {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists", "values": None}]}}
    policy = parse_policy(builders.policy(allowedPeers=[peer, {**exists, "podSelector": None}]))
    assert policy.problems == ()
    assert policy.peers == (
        {"namespaceSelector": {}, "podSelector": {}},
        {"namespaceSelector": {"matchExpressions": [{"key": "team", "operator": "Exists"}]}},
    )


@pytest.mark.parametrize("field", ["allowedCIDRs", "allowedPeers"])
@pytest.mark.parametrize("bad", ["10.0.0.0/8", {"cidr": "10.0.0.0/8"}, 5, True])
def test_a_list_that_is_none_admits_nobody_and_is_named(field: str, bad: Any) -> None:
    body = builders.policy()
    policy = parse_policy({**body, "spec": {"serviceRef": {"name": "shop"}, field: bad}})
    assert (policy.allowed, policy.peers) == ((), ())
    (problem,) = policy.problems
    assert problem.startswith(f"spec.{field}: ")
    assert problem.endswith(" is not a list")


def test_a_field_that_a_newer_crd_may_have_is_named_and_the_rest_enforced() -> None:
    policy = parse_policy(builders.policy(schedule="nightly"))
    assert policy.problems == ("spec.schedule: this operator does not know the field; it may be older than the CRD",)
    assert policy.enforcing
    assert len(policy.allowed) == 1


def test_what_is_named_of_a_large_value_is_its_beginning() -> None:
    large = "x" * 1_000_000
    spec = {"serviceRef": {"name": "shop"}, "allowedCIDRs": [{"cidr": large}], "mode": large, large: 1}
    policy = parse_policy({**builders.policy(), "spec": spec})
    assert len(policy.problems) == 3
    assert all(len(problem) < 200 for problem in policy.problems)


@pytest.mark.parametrize("field", ["isolation", "trafficPolicy", "mode"])
def test_an_unknown_choice_falls_back_to_the_one_that_guards_and_is_named(field: str) -> None:
    body = builders.policy()
    policy = parse_policy({**body, "spec": {**body["spec"], field: "Sideways"}})
    assert policy.problems == (f'spec.{field}: "Sideways" is not known to this operator',)
    assert policy.enforcing


def test_a_policy_without_a_service_is_kept_and_says_so() -> None:
    specs: list[Any] = [None, {}, {"serviceRef": {}}, {"serviceRef": None}, {"serviceRef": {"name": ""}}]
    for spec in specs:
        policy = parse_policy({**builders.policy(), "spec": spec})
        assert policy.service == ServiceKey("web", "?shop")
        assert policy.problems == ("spec.serviceRef.name is missing",)


@pytest.mark.parametrize("spec", ["shop", ["shop"], 5, {"serviceRef": "shop"}, {"serviceRef": {"name": 5}}])
def test_a_service_that_cannot_be_read_is_missing(spec: Any) -> None:
    policy = parse_policy({**builders.policy(), "spec": spec})
    assert policy.service == ServiceKey("web", "?shop")
    assert len(policy.problems) == 2
    assert policy.problems[1] == "spec.serviceRef.name is missing"


@pytest.mark.parametrize(
    ("status", "read"),
    [
        (None, {}),
        ("Ready", {}),
        ({"conditions": "Ready"}, {"conditions": []}),
        ({"conditions": [None, "Ready", {"type": "Ready"}, {"type": 5, "status": "True"}]}, {"conditions": []}),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, {"conditions": [{"type": "Ready", "status": "True"}]}),
        ({"lastDrift": "yesterday", "healthCheckNodePort": "31000", "serviceUID": 5}, {"serviceUID": 5}),
        (
            {"lastDrift": {"field": "x"}, "healthCheckNodePort": 31000},
            {"lastDrift": {"field": "x"}, "healthCheckNodePort": 31000},
        ),
    ],
)
def test_of_a_status_what_can_be_read_is_kept(status: Any, read: dict[str, Any]) -> None:
    assert parse_policy({**builders.policy(), "status": status}).status == read


@properties(200)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(("cidr", "except", "ports", "expiresAt", "other"), ANYTHING)))
def test_no_value_in_an_entry_stops_the_policy_from_being_read(bad: dict[str, Any]) -> None:
    policy = parse_policy(builders.policy(allowed=["192.0.2.1/32", bad]))
    assert policy.allowed[0].cidr == ip_network("192.0.2.1/32")
    assert (len(policy.allowed) == 2) is not bool(policy.problems)


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
