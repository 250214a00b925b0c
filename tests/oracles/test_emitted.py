"""The central property: the NetworkPolicies that the operator emits admit exactly what the policy says.

Exactly means: the product's evaluator and four others, asked at and around every boundary of what was emitted, answer
as a naive reading of the policy's own text does, which is written here with nothing but `ipaddress`. Not its business:
whether the evaluators agree on other people's policies (`test_agreement`).
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product as pairs
from random import Random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from nodeport_access.api import Body
from nodeport_access.cidrs import Address
from nodeport_access.desired import allow_body, deny_body
from nodeport_access.observed import parse_service
from nodeport_access.policy_body import parse_policy
from tests.oracles import case as bodies
from tests.oracles import product
from tests.oracles.case import Case, Question, addresses_of, blocks_of, in_block, key_of
from tests.oracles.deviations import differences
from tests.oracles.engines import Oracles
from tests.oracles.generate import QUESTIONS, outsiders
from tests.oracles.tally import Tally
from tests.unit.builders import NAMESPACE, NOW, PODS
from tests.unit.strategies import policies, properties, services

CASES = int(os.environ.get("CASES", "500"))

# Every port has a name, because a Service and a rule may go by either. One pod resolves names to numbers of their own,
# the other to numbers that the Service names too.
APART = {"web": (8090, "TCP"), "tls": (8453, "UDP")}
TOGETHER = {"web": (8080, "TCP"), "tls": (8443, "TCP")}
NUMBERS = ((8080, "TCP"), (8443, "TCP"), (8080, "UDP"), (8443, "UDP"), (9999, "TCP"))
Ports = Mapping[str, tuple[int, str]]

NAMESPACES = (
    bodies.namespace(NAMESPACE),
    bodies.namespace("foo", {"region": "foo", "team": "a"}),
    bodies.namespace("bar", {"region": "bar", "team": "a"}),
)
OTHERS = (
    bodies.pod(f"{NAMESPACE}/other", number=2, labels={"app": "other"}, ports=[bodies.container_port("http", 8080)]),
    bodies.pod("foo/caller", number=3, labels={"role": "caller"}),
    bodies.pod("foo/stranger", number=4),
    bodies.pod("bar/caller", number=5, labels={"role": "caller"}),
)
BEHIND = f"{NAMESPACE}/shop"


def test_what_is_emitted_admits_what_the_policy_says(oracles: Oracles, tally: Tally) -> None:
    @properties(CASES)
    @given(policies(), services(), st.sampled_from([APART, TOGETHER]), st.integers(0, 2**16))
    def says(policy: Body, service: Body, names: Ports, pick: int) -> None:
        case = emitted(policy, service, names, pick)
        tally.cases += 1
        wanted = [admitted(policy, service, case, question, names) for question in case.questions]
        for question, said, want in zip(case.questions, product.answers(case), wanted, strict=True):
            assert said == want, f"the product does not say {want} to {question}"
        tally.admitted.update(wanted)
        for difference in differences(case, wanted, oracles.ask(case)):
            assert difference.by, f"{difference.engine} says {difference.word!r} to {difference.question}"
            for deviation in difference.by:
                tally.meet(deviation)

    says()


def emitted(policy: Body, service: Body, names: Ports, pick: int) -> Case:
    """What the operator makes of the policy, as an API server keeps it, in a small cluster with questions about it."""
    parsed, about = parse_policy(policy), parse_service(service)
    assert parsed.problems == ()
    specs = [allow_body(parsed, about, NOW), deny_body(parsed, about, holder=True)]
    kept = tuple(bodies.stored(bodies.policy(key_of(body), body["spec"])) for body in specs)
    ports = [bodies.container_port(name, *where) for name, where in names.items()]
    taken = set(names.values())
    ports += [
        bodies.container_port(f"{protocol.lower()}-{number}", number, protocol)
        for number, protocol in NUMBERS
        if (number, protocol) not in taken
    ]
    pods = (bodies.pod(BEHIND, number=1, labels=PODS, ports=ports), *OTHERS)
    outside = outsiders([*policy["spec"]["allowedCIDRs"], *blocks_of(kept)])
    led_to = {where(port, names) for port in service["spec"]["ports"]}
    asked = list(questions(outside, pods, kept, led_to))
    return Case(
        namespaces=NAMESPACES,
        pods=pods,
        policies=kept,
        questions=tuple(Random(pick).sample(asked, min(2 * QUESTIONS, len(asked)))),
    )


def questions(
    outside: Sequence[Address], pods: Sequence[Body], kept: Sequence[Body], led_to: Container[tuple[int, str] | None]
) -> Iterator[Question]:
    """From these addresses and from every pod, to every port that the Service leads to, and one that it does not."""
    clients: list[tuple[str, Address]] = [("", address) for address in outside]
    for source in pods:
        for address in addresses_of(source):
            if not any(in_block(address, block) for block in blocks_of(kept)):
                clients.append((key_of(source), address))
    for (source_key, address), destination in pairs(clients, pods[:2]):
        if source_key == key_of(destination):
            continue
        ports = [(port["containerPort"], port["protocol"]) for port in bodies.ports_of(destination)]
        strange = [port for port in ports if port not in led_to][-1:]
        for number, protocol in (*(port for port in ports if port in led_to), *strange):
            yield Question(
                source=source_key, address=address, destination=key_of(destination), protocol=protocol, port=number
            )


# --- the naive reading ---


def admitted(policy: Body, service: Body, case: Case, question: Question, names: Ports) -> bool:
    """Whether the policy's own text lets this client in to this port of this pod."""
    spec = policy["spec"]
    if question.destination != BEHIND:
        return bool(spec["isolation"] == "Service")
    asked = (question.port, question.protocol)
    if question.source:
        caller = case.pod(question.source)
        labels = case.namespace_labels(caller["metadata"]["namespace"])
        every_port = {where(port, names) for port in service["spec"]["ports"]}
        return asked in every_port and any(is_peer(peer, caller, labels) for peer in spec.get("allowedPeers") or ())
    if f"IPv{question.address.version}" not in service["spec"]["ipFamilies"]:
        return False
    return any(
        holds(entry, question.address) and asked in ports_of(entry, service, names) for entry in spec["allowedCIDRs"]
    )


def holds(entry: Body, address: Address) -> bool:
    """Whether an entry is in force and holds an address."""
    if "expiresAt" in entry and datetime.fromisoformat(entry["expiresAt"]) <= NOW:
        return False
    return in_block(address, entry)


def ports_of(entry: Body, service: Body, names: Ports) -> set[tuple[int, str] | None]:
    """Where the ports of an entry arrive at the pod; no port at all means every port of the Service."""
    wanted = entry.get("ports")
    return {
        where(port, names)
        for port in service["spec"]["ports"]
        if not wanted or port["name"] in wanted or port["port"] in wanted
    }


def where(port: Body, names: Ports) -> tuple[int, str] | None:
    """Where a port of the Service arrives at the pod: nowhere, if it leads to a name that the pod does not have, or has
    for another protocol."""
    target, protocol = port["targetPort"], port["protocol"]
    if isinstance(target, int):
        return (target, protocol)
    return names[target] if names[target][1] == protocol else None


def is_peer(peer: Mapping[str, Any], caller: Body, namespace_labels: Mapping[str, str]) -> bool:
    """Whether a peer selects a pod."""
    if "namespaceSelector" in peer:
        if not selected(peer["namespaceSelector"], namespace_labels):
            return False
    elif caller["metadata"]["namespace"] != NAMESPACE:
        return False
    return selected(peer.get("podSelector", {}), caller["metadata"]["labels"])


def selected(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """Whether a selector, as far as the generated ones go, selects labels."""
    for each in selector.get("matchExpressions", ()):
        assert each["operator"] == "NotIn"
        if labels.get(each["key"]) in each["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
