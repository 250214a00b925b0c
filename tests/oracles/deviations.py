"""Where the other implementations are known to differ from the API's text, each by name, with upstream's own words.

A deviation is as narrow as it can be told: either the engine gives up with these very words, or it answers as the
plain rules answer to a case that is rewritten to say what the engine takes it for. Every difference that none of them
explains is somebody's bug that nobody knows yet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nodeport_access.api import Body
from tests.oracles import product, rewriting
from tests.oracles.case import Case, Question
from tests.oracles.engines import (
    CYCLONUS,
    KUBE_NETWORK_POLICIES,
    NETPOL_ANALYZER,
    NETWORK_CONFIG_ANALYZER,
    NO,
    YES,
    Answers,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deviation:
    """A known difference of one engine.

    ``seen`` is what the case becomes in the engine's eyes for a question, or ``refusal`` the words with which it gives
    up on a case and a question, None where it does not. ``words`` are upstream's own, ``source`` is where they stand.
    """

    engine: str
    name: str
    seen: Callable[[Case, Question], Case] | None = None
    refusal: Callable[[Case, Question], str | None] | None = None
    words: str
    source: str


# --- cyclonus ---


def _not_in_needs_the_key(selector: rewriting.Selector) -> Body:
    found: list[Body] = []
    for each in selector.get("matchExpressions") or ():
        found.append(each)
        if each["operator"] == "NotIn":
            found.append({"key": each["key"], "operator": "Exists"})
    # Labels stay labels: what cyclonus makes of them is another deviation.
    return {**selector, "matchExpressions": found}


def _empty_match_labels(case: Case, _: Question) -> Case:
    change = rewriting.where_absent_is_empty(rewriting.label_values(case))

    def of(selector: rewriting.Selector) -> Body:
        labels = {"matchLabels": selector.get("matchLabels") or {}}
        pairs = [part for each in rewriting.requirements(labels) for part in change(each)]
        return {"matchExpressions": [*pairs, *(selector.get("matchExpressions") or ())]}

    return rewriting.selectors(case, pods=of, namespaces=of)


# --- network-config-analyzer ---


def _namespaces_without_label(case: Case, _: Question) -> Case:
    change = rewriting.where_absent_is_empty(rewriting.label_values(case))

    def of(selector: rewriting.Selector) -> Body:
        return {"matchExpressions": [part for each in rewriting.requirements(selector) for part in change(each)]}

    return rewriting.selectors(case, namespaces=of)


def _keys_in_own_namespace(peer: Body, policy: Body) -> Body:
    """A podSelector that asks for a key selects in the policy's own namespace alone."""
    expressions = (peer.get("podSelector") or {}).get("matchExpressions") or ()
    if "namespaceSelector" not in peer or all(each["operator"] in ("In", "NotIn") for each in expressions):
        return peer
    own = {
        "key": "kubernetes.io/metadata.name",
        "operator": "In",
        "values": [policy["metadata"]["namespace"]],
    }
    selector = peer["namespaceSelector"]
    both = selector | {"matchExpressions": [*(selector.get("matchExpressions") or ()), own]}
    return peer | {"namespaceSelector": both}


def _types_in_order(case: Case, _: Question) -> str | None:
    first = next((words for policy in case.policies if (words := _type_trouble(policy))), None)
    return f"SyntaxError: {first}" if first else None


def _type_trouble(policy: Body) -> str | None:
    types = policy["spec"].get("policyTypes")
    return "policyTypes has invalid value in spec" if types == ["Egress", "Ingress"] else None


def _unused_ingress(case: Case, _: Question) -> str | None:
    for policy in case.policies:
        spec = policy["spec"]
        if spec.get("policyTypes") == ["Egress"] and spec.get("ingress") is not None:
            return 'SyntaxError: A NetworkPolicy with ingress field but no "Ingress" in its policyTypes'
    return None


# --- netpol-analyzer ---


def _no_ipv6(_: Case, question: Question) -> str | None:
    if question.source or question.address.version == 4:
        return None
    return f"{question.address} is not a valid ipv4"


def _ipv6_as_ipv4(case: Case, question: Question) -> Case:
    """Of no concern to pods, which no ipBlock selects there."""
    return case if question.source else rewriting.peers(case, rewriting.first_32_bits)


def _any_protocol(rule: Body, _: Body) -> Body:
    if not rule.get("ports"):
        return rule
    ports: list[dict[str, Any]] = []
    for port in rule["ports"]:
        ports += [port] if "port" in port else [{"protocol": name} for name in ("TCP", "UDP", "SCTP")]
    return rule | {"ports": ports}


DEVIATIONS = (
    Deviation(
        engine=CYCLONUS,
        name="NotIn does not match an object without the label",
        seen=lambda case, _: rewriting.selectors(case, pods=_not_in_needs_the_key, namespaces=_not_in_needs_the_key),
        words="even for NotIn -- if the key isn't there, it's not a match",
        source="https://github.com/mattfenwick/cyclonus/blob/v0.5.6/pkg/kube/labelselector.go",
    ),
    Deviation(
        engine=CYCLONUS,
        name="a label with an empty value in matchLabels matches an object without the label",
        seen=_empty_match_labels,
        words="for key, val := range labelSelector.MatchLabels { if labels[key] != val { return false } }",
        source="https://github.com/mattfenwick/cyclonus/blob/v0.5.6/pkg/kube/labelselector.go",
    ),
    Deviation(
        engine=NETWORK_CONFIG_ANALYZER,
        name="a namespace without a label counts as one with an empty value",
        seen=_namespaces_without_label,
        words="if peer.namespace.labels.get(key, '') in values",
        source="https://github.com/np-guard/network-config-analyzer/blob/v2.1.0/nca/NetworkConfig/PeerContainer.py",
    ),
    Deviation(
        engine=NETWORK_CONFIG_ANALYZER,
        name="beside a namespaceSelector, Exists and DoesNotExist of pods select in the policy's namespace alone",
        seen=lambda case, _: rewriting.peers(case, _keys_in_own_namespace),
        words="return self.peer_container.get_peers_with_key(self.namespace, key, operator == 'DoesNotExist')",
        source="https://github.com/np-guard/network-config-analyzer/blob/v2.1.0/nca/Parsers/K8sPolicyYamlParser.py",
    ),
    Deviation(
        engine=NETWORK_CONFIG_ANALYZER,
        name="policyTypes in another order are refused",
        refusal=_types_in_order,
        words="{'policyTypes': [['Ingress'], ['Egress'], ['Ingress', 'Egress']]}",
        source="https://github.com/np-guard/network-config-analyzer/blob/v2.1.0/nca/Parsers/K8sPolicyYamlParser.py",
    ),
    Deviation(
        engine=NETWORK_CONFIG_ANALYZER,
        name="ingress rules of a policy that is not of type Ingress are refused",
        refusal=_unused_ingress,
        words='A NetworkPolicy with ingress field but no "Ingress" in its policyTypes',
        source="https://github.com/np-guard/network-config-analyzer/blob/v2.1.0/nca/Parsers/K8sPolicyYamlParser.py",
    ),
    Deviation(
        engine=NETPOL_ANALYZER,
        name="IPv6 clients are refused",
        refusal=_no_ipv6,
        words="IPv6 addresses are not supported",
        source="https://github.com/np-guard/netpol-analyzer/blob/v1.4.4/docs/connlist_output.md",
    ),
    Deviation(
        engine=NETPOL_ANALYZER,
        name="an ipBlock of IPv6 is taken for the IPv4 network of its first 32 bits",
        seen=_ipv6_as_ipv4,
        words="IPBlock: support ipv6",
        source="https://github.com/np-guard/netpol-analyzer/issues/47",
    ),
    Deviation(
        engine=NETPOL_ANALYZER,
        name="evaluate takes a port without a number for every protocol's",
        seen=lambda case, _: rewriting.rules(case, _any_protocol),
        words="If this field is not provided, this matches all port names and numbers.",
        source="https://github.com/np-guard/netpol-analyzer/blob/v1.4.4/pkg/netpol/eval/internal/k8s/netpol.go",
    ),
)

SPARED = (
    Deviation(
        engine=KUBE_NETWORK_POLICIES,
        name="an empty list of ingress rules admits everyone",
        words="Pod has allowed all ingress traffic",
        source="https://github.com/kubernetes-sigs/kube-network-policies/blob/v1.1.1/pkg/networkpolicy/networkpolicy.go",
    ),
    Deviation(
        engine=KUBE_NETWORK_POLICIES,
        name="a policy without policyTypes isolates nobody",
        words="for _, policyType := range netpol.Spec.PolicyTypes",
        source="https://github.com/kubernetes-sigs/kube-network-policies/blob/v1.1.1/pkg/networkpolicy/networkpolicy.go",
    ),
    Deviation(
        engine=KUBE_NETWORK_POLICIES,
        name="a port without protocol ends in a panic",
        words="if protocol != *policyPort.Protocol",
        source="https://github.com/kubernetes-sigs/kube-network-policies/blob/v1.1.1/pkg/networkpolicy/networkpolicy.go",
    ),
    Deviation(
        engine=CYCLONUS,
        name="a policy without policyTypes ends in a panic",
        words="invalid network policy: need at least 1 type",
        source="https://github.com/mattfenwick/cyclonus/blob/v0.5.6/pkg/matcher/builder.go",
    ),
)
"""What engines make of objects that no API server has given its defaults to. They never see such: they get what one
would keep (`case.stored`), as they do where they are at home."""


def explained(case: Case, question: Question, *, engine: str, word: str) -> tuple[Deviation, ...]:
    """The deviations by which this engine says this word where the product says otherwise; empty where none does.

    One alone if it is enough, and else all that the engine has together.
    """
    known = [each for each in DEVIATIONS if each.engine == engine]
    if word not in (YES, NO):
        return tuple(each for each in known if each.refusal and each.refusal(case, question) == word)
    for each in known:
        if each.seen and _says(each.seen(case, question), question) == word:
            return (each,)
    together = case
    seeing = [each for each in known if each.seen]
    for each in seeing:
        assert each.seen is not None
        together = each.seen(together, question)
    return tuple(seeing) if _says(together, question) == word else ()


def _says(case: Case, question: Question) -> str:
    return YES if product.admits(case, question) else NO


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """Where an engine says something else than the product, and by which deviations, if any is known."""

    question: Question
    engine: str
    word: str
    by: tuple[Deviation, ...]


def differences(case: Case, own: Sequence[bool], answers: Answers) -> Iterator[Difference]:
    """Every difference between the product's own answers and the engines', question by question."""
    for number, question in enumerate(case.questions):
        for engine, words in answers.items():
            if words[number] != (YES if own[number] else NO):
                by = explained(case, question, engine=engine, word=words[number])
                yield Difference(question=question, engine=engine, word=words[number], by=by)
