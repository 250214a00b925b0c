"""That the two opinions by which tests judge say the same of NetworkPolicies: the API's text, and the evaluator.

What is made of that is in tests/api/histories and tests/soak.
"""

from __future__ import annotations

from typing import Any

import pytest

from testbed import objects
from tests.api.histories import admission
from tests.api.histories.admission import PROBES
from tests.api.histories.vocabulary import CONTAINER_PORTS, ENTRIES, HTTP, HTTPS, POD_LABELS
from tests.soak import evaluated

RED = {"matchLabels": {"app": "red"}}
ONE = {"from": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.66/32"]}}]}
OF_PODS: dict[str, Any] = {"from": [{"podSelector": {}}]}
AT_8080, AT_BACKEND = ({"ports": [{"port": port, "protocol": "TCP"}]} for port in (8080, "backend"))


def network_policy(selector: Any = RED, types: tuple[str, ...] = ("Ingress",), **spec: Any) -> dict[str, Any]:
    spec = {"podSelector": selector, "policyTypes": list(types), **spec}
    return objects.network_policy(namespace="soak", name="any", spec=spec)


def by_number(access: admission.Access) -> admission.Access:
    """Addresses alone, at the numbers that the pod's names stand for."""
    return frozenset((who, CONTAINER_PORTS.get(str(port), port)) for who, port in access if who in PROBES)


@pytest.mark.parametrize(
    "network_policies",
    [
        pytest.param([], id="none"),
        pytest.param([network_policy()], id="shut"),
        pytest.param([network_policy(), network_policy(ingress=[ONE])], id="one network at any port"),
        pytest.param([network_policy(ingress=[{**ONE, **AT_8080}])], id="at one port"),
        pytest.param([network_policy(ingress=[{**ONE, **AT_BACKEND}])], id="at a port by its name"),
        pytest.param([network_policy(ingress=[OF_PODS])], id="pods alone"),
        pytest.param([network_policy(ingress=[{}])], id="everyone"),
        pytest.param([network_policy({}), network_policy(ingress=[AT_8080])], id="everyone at one port"),
        pytest.param([network_policy(types=("Egress",))], id="it isolates nobody"),
    ],
)
def test_both_opinions_let_the_same_addresses_in(network_policies: list[dict[str, Any]]) -> None:
    for labels in POD_LABELS:
        assert evaluated.admitted(network_policies, labels) == by_number(admission.admitted(network_policies, labels))


def test_what_a_policy_allows_is_the_same_at_ports_by_their_numbers() -> None:
    policy = objects.policy(namespace="soak", name="first", service="web", allowedCIDRs=list(ENTRIES))
    service = objects.service(namespace="soak", name="web", selector={"app": "red"}, ports=[HTTP, HTTPS])
    assert set(evaluated.allowed(policy, service)) == by_number(frozenset(admission.allowed(policy, service)))
    assert {port for _, port in evaluated.allowed(policy, service)} == {8080, 8443}
