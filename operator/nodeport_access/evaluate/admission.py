"""NetworkPolicy's part: whether a connection that has come as far as the pod's node is let in to the pod, and by which
rule.

One function per clause of the API's own sentence: "Traffic is allowed to a pod if there are no NetworkPolicies
selecting the pod (and cluster policy otherwise allows the traffic), OR if the traffic source is the pod's local node,
OR if the traffic matches at least one ingress rule across all of the NetworkPolicy objects whose podSelector matches
the pod." (NetworkPolicySpec v1 networking.k8s.io, ingress)

Not the business of this module: which address the connection carries by then (``routes``), or what one rule says
(``rules``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import AddressSet
from nodeport_access.evaluate.question import Answer, Caller, Client, Scene
from nodeport_access.evaluate.routes import Route
from nodeport_access.label_selectors import Labels, selects
from nodeport_access.observed import NetworkPolicy, ServicePort, TargetPort
from nodeport_access.rules import NOBODY, Admission, admission, isolates


@dataclass(frozen=True, slots=True)
class Ruling:
    """What NetworkPolicy says to one connection, and the sentence that says why."""

    answer: Answer
    step: str


def rulings(scene: Scene, route: Route, port: ServicePort) -> tuple[Ruling, ...]:
    """One for each set of labels among the pods, because each is selected by policies of its own; at least one."""
    nodes = AddressSet.union(*(node.addresses for node in scene.nodes))
    if route.endpoint.addresses.overlaps(nodes):
        # "NetworkPolicy behaviour for hostNetwork pods is undefined" (concept page); wherever it was tried: open.
        return (Ruling(Answer.THROUGH, "The pod is in its node's network, where NetworkPolicy does not apply."),)
    pods = list(scene.pods) or [scene.service.selector]
    found = (_ruling(scene, labels, route, port) for labels in pods)
    return tuple(dict.fromkeys(found))


def _ruling(scene: Scene, labels: Labels, route: Route, port: ServicePort) -> Ruling:
    policies = sorted(_isolating(scene.network_policies, labels), key=lambda policy: policy.name)
    if not policies:
        return Ruling(Answer.THROUGH, "No NetworkPolicy selects the pod, so it takes everything.")
    if _from_own_node(scene, route):
        text = f"{route.judged.address} is the pod's own node, which NetworkPolicy always lets in."
        return Ruling(Answer.THROUGH, text)
    matches = [match for policy in policies for match in _matches(policy, route.judged, scene, port)]
    best = next((match for match in matches if match.answer is Answer.THROUGH), None) or next(iter(matches), None)
    if best is None:
        names = " and ".join(policy.name for policy in policies)
        verb = "selects" if len(policies) == 1 else "select"
        return Ruling(
            Answer.REFUSED, f"NetworkPolicy {names} {verb} the pod, and no rule admits {_named(route.judged)}."
        )
    return best


def _isolating(policies: Iterable[NetworkPolicy], labels: Labels) -> Iterable[NetworkPolicy]:
    """ "By default, a pod is non-isolated for ingress [...] A pod is isolated for ingress if there is any NetworkPolicy
    that both selects the pod and has "Ingress" in its policyTypes" (NetworkPolicy concept page)"""
    return (
        policy for policy in policies if isolates(policy.spec) and selects(policy.spec.get("podSelector") or {}, labels)
    )


def _from_own_node(scene: Scene, route: Route) -> bool:
    """ "OR if the traffic source is the pod's local node" """
    node = next((node for node in scene.nodes if node.name == route.endpoint.node), None)
    return node is not None and route.judged.pod is None and route.judged.address in node.addresses


def _matches(policy: NetworkPolicy, client: Client, scene: Scene, port: ServicePort) -> Iterable[Ruling]:
    """ "OR if the traffic matches at least one ingress rule across all of the NetworkPolicy objects" """
    for number, rule in enumerate(policy.spec.get("ingress") or (), start=1):
        name = f"Rule {number} of NetworkPolicy {policy.name}"
        match _says(rule, client, policy.namespace, _admission(rule, _targets(scene, port))):
            case Answer.THROUGH:
                yield Ruling(Answer.THROUGH, f"{name} admits {_named(client)}.")
            case Answer.DEPENDS:
                text = f"{name} covers {client.address} by an ipBlock; what that means for a pod depends on the CNI."
                yield Ruling(Answer.DEPENDS, text)
            case Answer.REFUSED if isinstance(port.target.port, int):
                guess = _admission(rule, [port.target], names_may_match=True)
                if _says(rule, client, policy.namespace, guess) is not Answer.REFUSED:
                    text = f"{name} admits {_named(client)} if the port that it names is {port.target.port} at the pod."
                    yield Ruling(Answer.DEPENDS, text)


def _admission(rule: Body, targets: Iterable[TargetPort], *, names_may_match: bool = False) -> Admission:
    """Whom one rule alone admits to any of these ports."""
    spec = {"policyTypes": ["Ingress"], "ingress": [rule]}
    admissions = (admission(spec, target=target, names_may_match=names_may_match) for target in targets)
    return reduce(or_, admissions, NOBODY)


def _says(rule: Body, client: Client, namespace: str, admitted: Admission) -> Answer:
    """ipBlock peers "should be cluster-external IPs, since Pod IPs are ephemeral and unpredictable" (concept page): for
    a pod's address, the CNI decides. A rule without ``from`` is no ipBlock, and admits pods too."""
    if client.pod is not None and any(is_peer(json.loads(peer), client.pod, namespace) for peer in admitted.peers):
        return Answer.THROUGH
    if client.address not in admitted.addresses:
        return Answer.REFUSED
    return Answer.DEPENDS if client.pod is not None and rule.get("from") else Answer.THROUGH


def is_peer(peer: Mapping[str, Any], caller: Caller, namespace: str) -> bool:
    """ "If namespaceSelector is also set, then the NetworkPolicyPeer as a whole selects the pods matching podSelector
    in the Namespaces selected by NamespaceSelector. Otherwise it selects the pods matching podSelector in the policy's
    own namespace." (NetworkPolicyPeer, podSelector)"""
    namespaces = peer.get("namespaceSelector")
    if namespaces is None:
        return caller.namespace == namespace and selects(peer.get("podSelector") or {}, caller.labels)
    return selects(namespaces, caller.namespace_labels) and selects(peer.get("podSelector") or {}, caller.labels)


def _targets(scene: Scene, port: ServicePort) -> frozenset[TargetPort]:
    """The port at the pod in every spelling that is known: as the Service has it, and as its EndpointSlices resolve
    it."""
    numbers = {
        replace(port.target, port=number)
        for piece in scene.slices
        for protocol, name, number in piece.ports
        if (protocol, name) == (port.target.protocol, port.name)
    }
    return frozenset({port.target, *numbers})


def _named(client: Client) -> str:
    return f"{client.address}, a pod of namespace {client.pod.namespace}" if client.pod else str(client.address)
