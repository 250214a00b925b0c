"""The oracle by which the tests on the real API server judge who gets in, held against cases worked out by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.api.witness import STRANGERS, State, addresses, admits, ports_of, selected

LIST = {
    "ingress": [{"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}}], "ports": [{"port": 80}]}]
}
DENY: dict[str, Any] = {"policyTypes": ["Ingress"]}


@pytest.mark.parametrize(
    ("specs", "address", "port", "expected"),
    [
        ([], "198.18.0.1", 80, True),
        ([DENY], "10.1.1.1", 80, False),
        ([{"policyTypes": ["Egress"]}], "198.18.0.1", 80, True),
        ([DENY, LIST], "10.1.1.1", 80, True),
        ([DENY, LIST], "10.9.1.1", 80, False),
        ([DENY, LIST], "11.0.0.0", 80, False),
        ([DENY, LIST], "10.1.1.1", 81, False),
        ([LIST], "2001:db8::1", 80, False),
        ([DENY, {"ingress": [{}]}], "198.18.0.1", 9, True),
        ([{"ingress": [{"from": [{"podSelector": {}}]}]}], "10.1.1.1", 80, False),
        ([{"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}], "10.1.1.1", 90, True),
        ([{"ingress": [{"ports": [{"port": 80, "endPort": 90}]}]}], "10.1.1.1", 91, False),
        ([{"ingress": [{"ports": [{"protocol": "UDP"}]}]}], "10.1.1.1", 80, False),
        ([{"ingress": [{"ports": [{"port": "http"}]}]}], "10.1.1.1", "http", True),
    ],
)
def test_who_gets_in_is_what_the_api_says(specs: list[Any], address: str, port: int | str, expected: bool) -> None:
    assert admits(specs, address, port) is expected


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        ({}, True),
        ({"matchLabels": {"app": "web"}}, True),
        ({"matchLabels": {"app": "api"}}, False),
        ({"matchExpressions": [{"key": "app", "operator": "In", "values": ["web"]}]}, True),
        ({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["web"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["a"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
    ],
)
def test_a_selector_selects_what_the_api_says(selector: dict[str, Any], expected: bool) -> None:
    assert selected(selector, {"app": "web"}) is expected


def test_the_probes_are_the_edges_of_every_network_named_and_strangers() -> None:
    state = State(
        objects={
            "NetworkPolicy": {"a": {"spec": LIST}},
            "Service": {},
            "NodePortAccessPolicy": {"p": {"spec": {"allowedCIDRs": [{"cidr": "2001:db8::/127"}]}}},
        }
    )
    assert set(addresses([state])) == {
        *STRANGERS,
        *("9.255.255.255", "10.0.0.0", "10.255.255.255", "11.0.0.0"),
        *("10.8.255.255", "10.9.0.0", "10.9.255.255", "10.10.0.0"),
        *("2001:db7:ffff:ffff:ffff:ffff:ffff:ffff", "2001:db8::", "2001:db8::1", "2001:db8::2"),
    }
    assert set(ports_of([state])) == {9, 80}
