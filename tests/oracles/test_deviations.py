"""Each known deviation, shown by one small case: when upstream mends it, its test fails, and it goes from the table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from nodeport_access.api import Body
from tests.oracles import product
from tests.oracles.case import Case, Question, addresses_of, container_port, namespace, pod, policy
from tests.oracles.deviations import DEVIATIONS, SPARED, Deviation, differences
from tests.oracles.engines import BEHIND_AN_API_SERVER, CYCLONUS, ENGINES, Oracles

OUTSIDE = "203.0.113.1"


def example(
    *rules: Body, source: str = "", address: str = OUTSIDE, protocol: str = "TCP", labels: Any = None, **spec: Any
) -> Case:
    """One client asks for port 8080 of pod web/shop, of which one policy speaks; pod ops/caller has `labels`."""
    pods = (
        pod("web/shop", number=1, ports=[container_port("http", 8080), container_port("dns", 8080, "UDP")]),
        pod("ops/caller", number=2, labels=labels),
    )
    client = addresses_of(pods[1])[0] if source else ip_address(address)
    body = {"podSelector": {}, "policyTypes": ["Ingress"]} | ({"ingress": list(rules)} if rules else {}) | spec
    question = Question(source=source, address=client, destination="web/shop", protocol=protocol, port=8080)
    return Case(
        namespaces=(namespace("web"), namespace("ops")),
        pods=pods,
        policies=(policy("web/policy", {name: value for name, value in body.items() if value is not None}),),
        questions=(question,),
    )


def from_peers(*peers: Body) -> Body:
    """A rule."""
    return {"from": list(peers)}


def expression(key: str, operator: str, *values: str) -> Body:
    """A selector of one expression."""
    return {"matchExpressions": [{"key": key, "operator": operator} | ({"values": list(values)} if values else {})]}


CALLER = "ops/caller"
EXAMPLES: Mapping[str, Case] = {
    "NotIn does not match an object without the label": example(
        from_peers({"namespaceSelector": expression("region", "NotIn", "bar")}), source=CALLER
    ),
    "a label with an empty value in matchLabels matches an object without the label": example(
        from_peers({"namespaceSelector": {}, "podSelector": {"matchLabels": {"tier": ""}}}), source=CALLER
    ),
    "a namespace without a label counts as one with an empty value": example(
        from_peers({"namespaceSelector": expression("team", "In", "", "a")}), source=CALLER
    ),
    "beside a namespaceSelector, Exists and DoesNotExist of pods select in the policy's namespace alone": example(
        from_peers({"namespaceSelector": {}, "podSelector": expression("app", "Exists")}),
        source=CALLER,
        labels={"app": "shop"},
    ),
    "policyTypes in another order are refused": example(policyTypes=["Egress", "Ingress"], egress=[{}]),
    "ingress rules of a policy that is not of type Ingress are refused": example({}, policyTypes=["Egress"]),
    "IPv6 clients are refused": example(address="2001:db8::1"),
    "an ipBlock of IPv6 is taken for the IPv4 network of its first 32 bits": example(
        from_peers({"ipBlock": {"cidr": "cb00:7100::/24"}})
    ),
    "evaluate takes a port without a number for every protocol's": example(
        {"ports": [{"protocol": "TCP"}]}, protocol="UDP"
    ),
}

AS_WRITTEN: Mapping[str, tuple[Case, str]] = {
    "an empty list of ingress rules admits everyone": (example(ingress=[]), "yes"),
    "a policy without policyTypes isolates nobody": (example(policyTypes=None), "yes"),
    "a port without protocol ends in a panic": (
        example({"ports": [{"port": 8080}]}),
        "panic: runtime error: invalid memory address or nil pointer dereference",
    ),
    "a policy without policyTypes ends in a panic": (
        example(policyTypes=None),
        "panic: invalid network policy: need at least 1 type",
    ),
}


def by_name(deviations: Sequence[Deviation]) -> list[Any]:
    """Parameters with readable ids."""
    return [pytest.param(each, id=f"{each.engine}: {each.name}") for each in deviations]


@pytest.mark.parametrize("deviation", by_name(DEVIATIONS))
def test_a_known_deviation_is_still_there(deviation: Deviation, oracles: Oracles) -> None:
    case = EXAMPLES[deviation.name]
    answers = oracles.ask(case)
    found = [each for each in differences(case, product.answers(case), answers) if each.engine == deviation.engine]
    assert [each.by for each in found] == [(deviation,)]


@pytest.mark.parametrize("deviation", by_name(SPARED))
def test_an_api_server_spares_an_engine_what_it_cannot_read(deviation: Deviation, oracles: Oracles) -> None:
    case, word = AS_WRITTEN[deviation.name]
    assert list(oracles.ask_as_written(case, deviation.engine)) == [word]
    assert deviation.engine in BEHIND_AN_API_SERVER
    assert [
        each for each in differences(case, product.answers(case), oracles.ask(case)) if each.engine == deviation.engine
    ] == []


def test_deviations_that_come_together_are_told_together(oracles: Oracles) -> None:
    case = example({}, source=CALLER, podSelector=expression("app", "NotIn", "shop"))
    second = policy("web/second", {"podSelector": {"matchLabels": {"tier": ""}}, "policyTypes": ["Ingress"]})
    case = replace(case, policies=(*case.policies, second))

    found = [each for each in differences(case, product.answers(case), oracles.ask(case)) if each.engine == CYCLONUS]

    assert [each.by for each in found] == [tuple(each for each in DEVIATIONS if each.engine == CYCLONUS)]


def test_a_difference_that_no_deviation_explains_is_told() -> None:
    case = example(from_peers({"ipBlock": {"cidr": f"{OUTSIDE}/32"}}))
    for word in ("no", "out of order"):
        found = list(differences(case, [True], {engine: [word] for engine in ENGINES}))
        assert [(each.engine, each.word, each.by) for each in found] == [(engine, word, ()) for engine in ENGINES]
