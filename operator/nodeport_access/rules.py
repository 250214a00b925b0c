"""What the ingress rules of a NetworkPolicy admit: addresses and peers, per port at the pod.

One function per rule of the API text (Kubernetes API reference, NetworkPolicySpec v1 networking.k8s.io), quoted above
it. Not the business of this module: which pods a policy selects (``label_selectors``), or what the operator wants
(``desired``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from ipaddress import ip_network
from operator import or_
from typing import Any

from nodeport_access.api import Body, Effect
from nodeport_access.cidrs import AddressSet, Family, Network, admitted
from nodeport_access.observed import EndpointSlice, ServicePort, TargetPort

EVERYONE = AddressSet.everyone(Family)


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """Who gets in: addresses, and in-cluster peers as canonical texts. A rule without ``from`` admits every address,
    and with that every peer."""

    addresses: AddressSet
    peers: frozenset[str] = frozenset()

    def __or__(self, other: Admission) -> Admission:
        return Admission(addresses=self.addresses | other.addresses, peers=self.peers | other.peers)

    def exceeds(self, other: Admission) -> bool:
        """Whether this lets in anybody whom the other does not."""
        if not self.addresses <= other.addresses:
            return True
        return not (self.peers <= other.peers or other.addresses >= EVERYONE)


NOBODY = Admission(addresses=AddressSet.EMPTY)


def isolates(spec: Mapping[str, Any]) -> bool:
    """ "If this field is not specified, it will default based on the existence of ingress or egress rules; policies
    that contain an egress section are assumed to affect egress, and all policies (whether or not they contain an
    ingress section) are assumed to affect ingress." (policyTypes)"""
    return "Ingress" in (spec.get("policyTypes") or ("Ingress",))


def admission(spec: Mapping[str, Any], *, target: TargetPort | None, names_may_match: bool = False) -> Admission:
    """Who reaches this port through the policy's own rules; ``target`` None stands for a port that no rule names.

    A name and a number may be one port, which only the pod's own spec tells: ``names_may_match`` takes them for the
    same, so that a finding may name a policy too many, never one too few.

    "Traffic is allowed to a pod if [...] the traffic matches at least one ingress rule across all of the
    NetworkPolicy objects whose podSelector matches the pod. If this field is empty then this NetworkPolicy does not
    allow any traffic." (ingress)
    """
    admissions = by_rule(spec, target=target, names_may_match=names_may_match)
    return reduce(or_, admissions, NOBODY)


def by_rule(
    spec: Mapping[str, Any], *, target: TargetPort | None, names_may_match: bool = False
) -> Iterator[Admission]:
    """What each rule that covers this port admits by itself; the port as in ``admission``."""
    if isolates(spec):
        for rule in spec.get("ingress") or ():
            if _covers(rule.get("ports") or (), target, names_may_match):
                yield _peers(rule.get("from") or ())


def spellings(port: ServicePort, slices: Iterable[EndpointSlice]) -> tuple[set[TargetPort], bool]:
    """Where a Service port arrives at the pod and, if that is a name which the EndpointSlices resolve, its numbers; and
    whether ``names_may_match``: names that are resolved need no guessing."""
    target = port.target
    if isinstance(target.port, int):
        return {target}, True
    numbers = {
        TargetPort(protocol=protocol, port=number)
        for piece in slices
        for protocol, name, number in piece.ports
        if name == port.name and protocol == target.protocol
    }
    return {target, *numbers}, not numbers


def on_any_port(spec: Mapping[str, Any]) -> Iterator[AddressSet]:
    """The addresses that each rule admits, whichever ports it names."""
    if isolates(spec):
        for rule in spec.get("ingress") or ():
            yield _peers(rule.get("from") or ()).addresses


def _covers(ports: Iterable[Mapping[str, Any]], target: TargetPort | None, names_may_match: bool) -> bool:
    """ "If this field is empty or missing, this rule matches all ports (traffic not restricted by port)." (ports)"""
    ports = tuple(ports)
    return not ports or (target is not None and any(_is_port(port, target, names_may_match) for port in ports))


def _is_port(port: Mapping[str, Any], target: TargetPort, names_may_match: bool) -> bool:
    """ "This can either be a numerical or named port on a pod. If this field is not provided, this matches all port
    names and numbers." (port) "[endPort] indicates that the range of ports from port to endPort if set, inclusive,
    should be allowed." (endPort)"""
    if port.get("protocol", "TCP") != target.protocol:
        return False
    number = port.get("port")
    if number is None:
        return True
    if isinstance(number, str) != isinstance(target.port, str):
        return names_may_match
    if (last := port.get("endPort")) is not None and isinstance(target.port, int):
        return bool(number <= target.port <= last)
    return bool(number == target.port)


def _peers(peers: Iterable[Mapping[str, Any]]) -> Admission:
    """ "If this field is empty or missing, this rule matches all sources (traffic not restricted by source)." (from)"""
    peers = tuple(peers)
    if not peers:
        return Admission(addresses=EVERYONE)
    blocks = (_block(peer["ipBlock"]) for peer in peers if peer.get("ipBlock"))
    selectors = (json.dumps(peer, sort_keys=True) for peer in peers if not peer.get("ipBlock"))
    return Admission(addresses=AddressSet.union(*blocks), peers=frozenset(selectors))


def _block(block: Mapping[str, Any]) -> AddressSet:
    """The API server takes CIDRs with host bits, and old spellings that ``ipaddress`` refuses: those count as
    everyone, so that a finding never misses an opening."""
    return _admitted(block["cidr"], tuple(block.get("except") or ()))


@functools.lru_cache(maxsize=32_768)  # a list of thousands is read again for every port, node and question
def _admitted(cidr: str, excepts: tuple[str, ...]) -> AddressSet:
    try:
        return admitted(_network(cidr), map(_network, excepts))
    except ValueError:
        return EVERYONE


def _network(text: str) -> Network:
    return ip_network(text, strict=False)


def change(*, before: Body, after: Body) -> Effect:
    """What turning one spec into the other does to access through this policy alone, for a policy that isolates its
    pods.

    Opened where anybody gains anything, even if others lose; a podSelector that moves leaves pods behind, so it
    opens.
    """
    if before.get("podSelector") != after.get("podSelector") or (isolates(before) and not isolates(after)):
        return Effect.OPENED
    targets = {*_targets(before), *_targets(after), None}
    lost = False
    for target in targets:
        was, now = admission(before, target=target), admission(after, target=target)
        if now.exceeds(was):
            return Effect.OPENED
        lost = lost or was.exceeds(now)
    if lost or before.get("policyTypes") != after.get("policyTypes"):
        return Effect.CLOSED
    return Effect.NONE


def _targets(spec: Mapping[str, Any]) -> set[TargetPort]:
    """One port for each stretch of ports that the rules treat alike: a stretch begins at a number that is named, or
    after the last of a range; 0 stands for all that are not named, which a rule without number admits too."""
    found: set[TargetPort] = set()
    for rule in spec.get("ingress") or ():
        for port in rule.get("ports") or ():
            number: int | str = port.get("port") or 0
            begins: list[int | str] = (
                [0, number] if isinstance(number, str) else [0, number, (port.get("endPort") or number) + 1]
            )
            found |= {TargetPort(protocol=port.get("protocol", "TCP"), port=begin) for begin in begins}
    return found
