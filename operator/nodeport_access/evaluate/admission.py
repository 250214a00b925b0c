"""NetworkPolicy's part: whether a connection is let in to the pod where it is judged, and by which rule.

One function per clause of the API's own sentence: "Traffic is allowed to a pod if there are no NetworkPolicies
selecting the pod (and cluster policy otherwise allows the traffic), OR if the traffic source is the pod's local node,
OR if the traffic matches at least one ingress rule across all of the NetworkPolicy objects whose podSelector matches
the pod." (NetworkPolicySpec v1 networking.k8s.io, ingress)

Not the business of this module: which address the connection carries (``routes``, ``placement``), or what one rule
says (``rules``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import reduce
from operator import or_
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import Address, AddressSet, Family
from nodeport_access.evaluate.backends import Target
from nodeport_access.evaluate.cases import Case
from nodeport_access.evaluate.hops import Hidden, Source
from nodeport_access.evaluate.placement import Judgement
from nodeport_access.evaluate.question import Caller, Client, Outsiders, Scene
from nodeport_access.evaluate.unknowns import Chance, Matching, Unknown
from nodeport_access.label_selectors import selects
from nodeport_access.observed import NetworkPolicy, ServicePort, TargetPort
from nodeport_access.rules import NOBODY, Admission, admission, isolates, spellings


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """Which clients of a connection get in, everybody of the family where it does not hang on their address, and the
    sentence that says why."""

    admitted: AddressSet
    step: str


def isolating(scene: Scene, target: Target) -> tuple[NetworkPolicy, ...]:
    """ "By default, a pod is non-isolated for ingress [...] A pod is isolated for ingress if there is any NetworkPolicy
    that both selects the pod and has "Ingress" in its policyTypes" (NetworkPolicy concept page)"""
    found = (
        policy
        for policy in scene.network_policies
        if isolates(policy.spec) and selects(policy.spec.get("podSelector") or {}, target.pod.labels)
    )
    return tuple(sorted(found, key=lambda policy: policy.name))


def is_in_its_nodes_network(scene: Scene, target: Target) -> bool:
    """ "NetworkPolicy behaviour for hostNetwork pods is undefined" (NetworkPolicy concept page); wherever it was tried:
    open."""
    return any(target.endpoint.addresses.overlaps(node.addresses) for node in scene.nodes)


def ruling(
    scene: Scene,
    *,
    policies: tuple[NetworkPolicy, ...],
    judgement: Judgement,
    target: Target,
    port: ServicePort,
    case: Case,
) -> Ruling:
    """What the policies that isolate the pod say to whoever comes under this source."""
    face = _face(scene, judgement.source)
    if judgement.at_interface and face.node == target.endpoint.node != "":
        # "OR if the traffic source is the pod's local node"
        step = f"{face.name} is the pod's own node, which NetworkPolicy always lets in."
        return Ruling(admitted=face.whole, step=step)
    admitted, steps = AddressSet.EMPTY, list[str]()
    for match in _matches(scene, policies, face, target, port, case):
        admitted |= match.admitted
        steps.append(match.step)
        if admitted == face.whole:
            break
    if not steps:
        names = " and ".join(policy.name for policy in policies)
        verb = "selects" if len(policies) == 1 else "select"
        steps.append(f"NetworkPolicy {names} {verb} the pod, and no rule admits {face.name}.")
    return Ruling(admitted=admitted, step=" ".join(steps))


@dataclass(frozen=True, slots=True, kw_only=True)
class _Face:
    """What a NetworkPolicy sees of a source.

    addresses: its one address, all of the family for clients that are looked at all at once; empty where none is
        known. doubt: what must be known before an
    ipBlock counts for it. node: the one whose address it is.
    """

    name: str
    family: Family | None
    addresses: AddressSet
    doubt: Unknown | None = None
    pod: Caller | None = None
    node: str = ""

    @property
    def whole(self) -> AddressSet:
        """Everybody who comes under this source."""
        return AddressSet.everyone(Family if self.family is None else [self.family])

    def among(self, addresses: AddressSet) -> AddressSet:
        """Which clients an ipBlock of these addresses covers."""
        if self.addresses == self.whole:
            return addresses & self.whole
        if not self.addresses:
            return self.whole if addresses & self.whole else AddressSet.EMPTY
        return self.whole if self.addresses <= addresses else AddressSet.EMPTY


def _face(scene: Scene, source: Source) -> _Face:
    if isinstance(source, Hidden):
        return _hidden(source)
    client = source.client
    if isinstance(client, Outsiders):
        whole = AddressSet.everyone([client.family])
        return _Face(name="clients outside", family=client.family, addresses=whole)
    node, doubt = scene.node_with(client.address), None
    if client.pod is not None:
        doubt = Unknown.PODS_IN_IPBLOCK
    elif node is not None:
        doubt = Unknown.NODES_IN_IPBLOCK
    return _Face(
        name=str(client),
        family=client.family,
        addresses=_one(client.address),
        doubt=doubt,
        pod=client.pod,
        node=node.name if node is not None and client.pod is None else "",
    )


def _hidden(source: Hidden) -> _Face:
    if source.address is None:
        return _Face(
            name=f"the address of {source.node}",
            family=None,
            addresses=AddressSet.EMPTY,
            doubt=Unknown.HIDDEN_ADDRESS,
            node=source.node,
        )
    return _Face(
        name=str(source.address),
        family=Client(source.address).family,
        addresses=_one(source.address),
        doubt=Unknown.NODES_IN_IPBLOCK,
        node=source.node,
    )


def _one(address: Address) -> AddressSet:
    return AddressSet.from_texts([f"{address}/{address.max_prefixlen}"])


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rule:
    """One ingress rule by the name that sentences give it, and whom it admits to the port: for sure, and if a name that
    cannot be resolved is that of the port. ``anyone``: it has no ``from``."""

    name: str
    namespace: str
    anyone: bool
    surely: Admission
    perhaps: Admission


def _matches(
    scene: Scene, policies: Iterable[NetworkPolicy], face: _Face, target: Target, port: ServicePort, case: Case
) -> Iterator[Ruling]:
    """ "OR if the traffic matches at least one ingress rule across all of the NetworkPolicy objects". Those that match
    for sure come first, so that nothing is asked where one of them is enough."""
    rules = _rules(scene, policies, target, port)
    found = [match for rule in rules for match in _matches_of(rule, face)]
    for match in sorted(found, key=lambda match: len(match.needs)):
        if all(case.ask(unknown) in (Matching.MATCHED, Chance.YES) for unknown in match.needs):
            yield match.ruling


@dataclass(frozen=True, slots=True)
class _Match:
    """What a rule admits if what it ``needs`` turns out so."""

    needs: tuple[Unknown, ...]
    ruling: Ruling


def _matches_of(rule: _Rule, face: _Face) -> Iterator[_Match]:
    """A rule counts by whom it admits for sure; by its ipBlocks, which "should be cluster-external IPs, since Pod IPs
    are ephemeral and unpredictable" (concept page), so that for a pod's or a node's address the CNI decides; and by a
    port whose name cannot be resolved."""
    spelled = [(rule.surely, tuple[Unknown, ...](), "")]
    if rule.perhaps != rule.surely:
        spelled.append((rule.perhaps, (Unknown.NAMED_PORT,), ", at the port that it names"))
    for admits, needs, where in spelled:
        if admitted := _for_sure(rule, admits, face):
            who = face.name if admitted == face.whole else f"{face.name} that it lists"
            yield _Match(needs, Ruling(admitted=admitted, step=f"{rule.name} admits {who}{where}."))
        elif face.doubt is not None and (admitted := face.among(admits.addresses)):
            step = f"{rule.name} admits {face.name} by an ipBlock{where}."
            yield _Match((*needs, face.doubt), Ruling(admitted=admitted, step=step))


def _for_sure(rule: _Rule, admitted: Admission, face: _Face) -> AddressSet:
    """Whom it admits without any doubt of what an ipBlock covers; a rule without ``from`` is no ipBlock, and admits
    pods and nodes too."""
    if rule.anyone:
        return face.whole if admitted.addresses else AddressSet.EMPTY
    if face.pod is not None:
        pod = face.pod
        is_known = any(is_peer(json.loads(peer), pod, rule.namespace) for peer in admitted.peers)
        return face.whole if is_known else AddressSet.EMPTY
    return AddressSet.EMPTY if face.doubt is not None else face.among(admitted.addresses)


def _rules(scene: Scene, policies: Iterable[NetworkPolicy], target: Target, port: ServicePort) -> Iterator[_Rule]:
    targets, names_may_match = spellings_at(scene, target, port)
    for policy in policies:
        for number, rule in enumerate(policy.spec.get("ingress") or (), start=1):
            yield _Rule(
                name=f"Rule {number} of NetworkPolicy {policy.name}",
                namespace=policy.namespace,
                anyone=not rule.get("from"),
                surely=_admission(rule, targets),
                perhaps=_admission(rule, targets, names_may_match=names_may_match),
            )


def spellings_at(scene: Scene, target: Target, port: ServicePort) -> tuple[set[TargetPort], bool]:
    """The port at the pod by number and by every name, as far as they are known, and whether a name may be missing. The
    pod's own names tell it best; of a pod that is not known, the EndpointSlices tell the number."""
    wanted, named = port.target, target.pod.ports
    if named is None:
        return spellings(port, scene.slices)
    number = named.get((wanted.protocol, wanted.port)) if isinstance(wanted.port, str) else wanted.port
    names = {name for (protocol, name), each in named.items() if (protocol, each) == (wanted.protocol, number)}
    return {wanted, *(replace(wanted, port=one) for one in (number, *names) if one is not None)}, False


def _admission(rule: Body, targets: Iterable[TargetPort], *, names_may_match: bool = False) -> Admission:
    """Whom one rule alone admits to any of these ports."""
    spec = {"policyTypes": ["Ingress"], "ingress": [rule]}
    admissions = (admission(spec, target=target, names_may_match=names_may_match) for target in targets)
    return reduce(or_, admissions, NOBODY)


def is_peer(peer: Mapping[str, Any], caller: Caller, namespace: str) -> bool:
    """ "If namespaceSelector is also set, then the NetworkPolicyPeer as a whole selects the pods matching podSelector
    in the Namespaces selected by NamespaceSelector. Otherwise it selects the pods matching podSelector in the policy's
    own namespace." (NetworkPolicyPeer, podSelector)"""
    namespaces = peer.get("namespaceSelector")
    if namespaces is None:
        return caller.namespace == namespace and selects(peer.get("podSelector") or {}, caller.labels)
    return selects(namespaces, caller.namespace_labels) and selects(peer.get("podSelector") or {}, caller.labels)
