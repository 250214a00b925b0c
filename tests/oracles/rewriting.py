"""Cases rewritten, so that the plain rules, applied to what comes out, give what a deviating engine gives.

Not its business: which engine deviates how (`deviations`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Any

from nodeport_access.api import Body
from tests.oracles.case import Case

Selector = Mapping[str, Any]
Rewrite = Callable[[Selector], Body]


def selectors(case: Case, *, pods: Rewrite | None = None, namespaces: Rewrite | None = None) -> Case:
    """Every selector of pods and of namespaces, in policies and their peers, replaced by what becomes of it."""

    def of_peer(peer: Body, _: Body) -> Body:
        found = dict(peer)
        if pods and "podSelector" in peer:
            found["podSelector"] = pods(peer["podSelector"])
        if namespaces and "namespaceSelector" in peer:
            found["namespaceSelector"] = namespaces(peer["namespaceSelector"])
        return found

    rewritten = peers(case, of_peer)
    if pods is None:
        return rewritten
    return replace(
        rewritten,
        policies=tuple(
            policy | {"spec": policy["spec"] | {"podSelector": pods(policy["spec"]["podSelector"])}}
            for policy in rewritten.policies
        ),
    )


def peers(case: Case, change: Callable[[Body, Body], Body]) -> Case:
    """Every peer of an ingress rule replaced by what becomes of it and of its policy."""

    def of_rule(rule: Body, policy: Body) -> Body:
        return rule | {"from": [change(peer, policy) for peer in rule["from"]]} if rule.get("from") else rule

    return rules(case, of_rule)


def rules(case: Case, change: Callable[[Body, Body], Body]) -> Case:
    """Every ingress rule replaced by what becomes of it and of its policy."""
    policies = []
    for policy in case.policies:
        spec = policy["spec"]
        if spec.get("ingress"):
            spec = spec | {"ingress": [change(rule, policy) for rule in spec["ingress"]]}
        policies.append(policy | {"spec": spec})
    return replace(case, policies=tuple(policies))


def first_32_bits(peer: Body, _: Body) -> Body:
    """An ipBlock of IPv6 as the IPv4 network that the first 32 bits of its address and of its mask are."""
    if ":" not in (peer.get("ipBlock") or {}).get("cidr", ""):
        return peer
    block = peer["ipBlock"]
    parts = {"except": [_cut(text) for text in block["except"]]} if "except" in block else {}
    return {"ipBlock": {"cidr": _cut(block["cidr"]), **parts}}


def _cut(text: str) -> str:
    network = IPv6Network(text)
    return str(IPv4Network((int(network[0]) >> 96, min(network.prefixlen, 32))))


def requirements(selector: Selector) -> list[Body]:
    """A selector as matchExpressions alone."""
    labels = selector.get("matchLabels") or {}
    return [
        *({"key": key, "operator": "In", "values": [value]} for key, value in labels.items()),
        *(dict(each) for each in selector.get("matchExpressions") or ()),
    ]


def where_absent_is_empty(values: frozenset[str]) -> Callable[[Body], list[Body]]:
    """What becomes of a requirement where a label that is absent counts as one with an empty value; ``values`` are all
    that labels have."""

    def change(requirement: Body) -> list[Body]:
        named = requirement.get("values", [])
        if "" not in named:
            return [requirement]
        key, operator = requirement["key"], requirement["operator"]
        if operator == "In":
            return [{"key": key, "operator": "NotIn", "values": sorted(values - set(named)) or ["?"]}]
        return [requirement, {"key": key, "operator": "Exists"}]

    return change


def label_values(case: Case) -> frozenset[str]:
    """Every value that a label of a pod or a namespace has."""
    return frozenset(value for body in (*case.namespaces, *case.pods) for value in body["metadata"]["labels"].values())
