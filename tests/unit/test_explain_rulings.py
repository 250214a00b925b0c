"""What is said of each rule never contradicts the verdict: they are worked out in two places."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address

from hypothesis import example, given
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.evaluate import (
    Answer,
    ByClusterAddress,
    ByNodePort,
    Caller,
    Client,
    Entry,
    Known,
    Unknown,
    evaluate,
)
from nodeport_access.evaluate.cni import settle
from nodeport_access.explaining.peers import Word
from nodeport_access.explaining.rulings import told
from nodeport_access.observed import parse_network_policy
from tests.unit import builders
from tests.unit.strategies import POD_SELECTORS, POLICY_TYPES, RULE_LISTS, properties
from tests.unit.test_evaluate import scene

CLIENTS: list[tuple[Client, Entry]] = [
    *((Client(ip_address(text)), ByNodePort("node2")) for text in ("10.2.3.4", "198.51.100.7", "203.0.113.66")),
    *(
        (
            Client(
                ip_address("10.244.1.21"),
                Caller(namespace=name, namespace_labels={"region": name}, labels=labels, node="node1"),
            ),
            ByClusterAddress(),
        )
        for name in ("web", "foo", "bar")
        for labels in ({}, {"app": "shop"})
    ),
]
KNOWNS = [
    settle(assumptions=[(Unknown.PLACEMENT, "own-node"), (Unknown.PODS_IN_IPBLOCK, answer)])
    for answer in Unknown.PODS_IN_IPBLOCK.options
]


OLD_SPELLING: list[Body] = [{"from": [{"ipBlock": {"cidr": "010.0.0.0/8"}}]}]


@properties(max_examples=300)
@example(rules=[OLD_SPELLING], selector={}, types=["Ingress"], client=CLIENTS[0], known=KNOWNS[0])
@example(rules=[OLD_SPELLING], selector={}, types=["Ingress"], client=CLIENTS[-1], known=KNOWNS[0])
@example(rules=[OLD_SPELLING], selector={}, types=["Ingress"], client=CLIENTS[-1], known=KNOWNS[-1])
@given(
    rules=st.lists(st.sampled_from([*RULE_LISTS, OLD_SPELLING]), min_size=1, max_size=2),
    selector=st.sampled_from(POD_SELECTORS),
    types=st.sampled_from(POLICY_TYPES),
    client=st.sampled_from(CLIENTS),
    known=st.sampled_from(KNOWNS),
)
def test_somebody_gets_in_exactly_if_a_rule_is_said_to_admit_him(
    rules: list[list[Body]], selector: Body, types: list[str], client: tuple[Client, Entry], known: Known
) -> None:
    policies = [
        builders.network_policy(name=f"policy-{number}", pod_selector=selector, policy_types=types, ingress=ingress)
        for number, ingress in enumerate(rules)
    ]
    found = replace(scene(local=True), network_policies=tuple(map(parse_network_policy, policies)))
    (who, entry), port = client, found.service.ports[0]
    verdict = evaluate(found, client=who, port=port, entry=entry, known=known)
    places = told(found, client=who, port=port, entries=[entry], known=known)
    words = {rule.word for place in places for policy in place.policies for rule in policy.rules}
    if not places:
        assert verdict.answer is Answer.THROUGH, "no policy selects the pod"
    elif Word.ADMITS in words:
        assert verdict.answer is Answer.THROUGH
    elif Word.MAYBE in words:
        assert verdict.answer is Answer.DEPENDS
    else:
        assert verdict.answer is Answer.REFUSED
