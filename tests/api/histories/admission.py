"""Who gets in to pods, from the API's text: by the NetworkPolicies that stand, and by what a policy allows.

Access is a set of pairs, who and at which port at the pod. Few networks occur in histories, so the ends of them and
their neighbours stand for all addresses. Not its business: whether it is right (`guarding`, `expected`).
"""

from __future__ import annotations

import functools
import ipaddress
import json
from collections.abc import Iterable, Iterator

from tests.api.access import Json
from tests.api.histories.vocabulary import CIDRS, TARGETS, Labels
from tests.api.witness import STRANGERS, selected

Access = frozenset[tuple[str, int | str]]
"""Who gets at which port at the pod: an address, an in-cluster peer as JSON, or any peer."""

ANY_PEER = "any pod of the cluster"
PORTS: tuple[int | str, ...] = (*TARGETS, 9)
"""The ports that any Service has, and one that none has."""


def _probes() -> Iterator[str]:
    """The ends of every network that occurs, and their neighbours outside: all sets of addresses that can be made of
    these networks differ in one of them, if they differ."""
    yield from STRANGERS
    for network in map(ipaddress.ip_network, CIDRS):
        for number in (int(network[0]) - 1, int(network[0]), int(network[-1]), int(network[-1]) + 1):
            if 0 <= number < 2**network.max_prefixlen:
                yield str(ipaddress.IPv4Address(number) if network.version == 4 else ipaddress.IPv6Address(number))


PROBES = frozenset(_probes())


@functools.cache
def inside(cidr: str) -> frozenset[str]:
    """The probes inside a network."""
    network = ipaddress.ip_network(cidr, strict=False)
    return frozenset(one for one in PROBES if ipaddress.ip_address(one) in network)


def block(cidr: str, excepts: Iterable[str]) -> frozenset[str]:
    """The probes inside a network less its exceptions."""
    return inside(cidr).difference(*(inside(one) for one in excepts))


EVERYONE: Access = frozenset((who, port) for who in (*PROBES, ANY_PEER) for port in PORTS)


def admitted(network_policies: Iterable[Json], labels: Labels) -> Access:
    """Who gets at pods with these labels (NetworkPolicySpec, ingress; `tests.api.witness.admits` has the sentence)."""
    isolating = [one for one in network_policies if isolates(one, labels)]
    if not isolating:
        return EVERYONE
    rules = [rule for one in isolating for rule in one["spec"].get("ingress") or ()]
    return frozenset((who, port) for rule in rules for who in _from(rule) for port in _to(rule))


def isolates(network_policy: Json, labels: Labels) -> bool:
    """Whether only its rules, and those of others like it, let anybody in to pods with these labels."""
    spec = network_policy["spec"]
    return selected(spec.get("podSelector") or {}, labels) and "Ingress" in spec.get("policyTypes", ["Ingress"])


def _from(rule: Json) -> Iterator[str]:
    if not rule.get("from"):
        yield from (*PROBES, ANY_PEER)
    for peer in rule.get("from") or ():
        if "ipBlock" in peer:
            yield from block(peer["ipBlock"]["cidr"], peer["ipBlock"].get("except", ()))
        else:
            yield json.dumps(peer, sort_keys=True)


def _to(rule: Json) -> Iterable[int | str]:
    return [port["port"] for port in rule["ports"]] if rule.get("ports") else PORTS


def beyond(wide: Access, found: Access) -> Access:
    """Who of those found is not in the other; any pod includes every peer."""
    return frozenset(
        (who, port) for who, port in found - wide if (who, port) in EVERYONE or (ANY_PEER, port) not in wide
    )


def enforcing(policy: Json) -> bool:
    """Living and in mode Enforce."""
    return policy["spec"].get("mode", "Enforce") == "Enforce" and "deletionTimestamp" not in policy["metadata"]


def selector_of(service: Json | None) -> Labels:
    """The selector by which a Service finds pods; empty where it finds none."""
    if service is None or service["spec"].get("type") == "ExternalName":
        return {}
    return service["spec"].get("selector") or {}


def has_node_ports(service: Json) -> bool:
    """NodePort or LoadBalancer."""
    return service["spec"].get("type") in ("NodePort", "LoadBalancer")


def allowed(policy: Json, service: Json | None, *, expiring: bool = True) -> Iterator[tuple[str, int | str]]:
    """Whom a policy allows at the target ports of a Service; by an entry that ends, too, unless not ``expiring``."""
    if service is None:
        return
    ports = service["spec"].get("ports") or ()
    families = {one.removeprefix("IPv") for one in service["spec"].get("ipFamilies") or ()}
    for entry in policy["spec"].get("allowedCIDRs") or ():
        ends = "expiresAt" in entry and not expiring
        admitted_by_it = block(entry["cidr"], entry.get("except", ()))
        who = [one for one in admitted_by_it if str(ipaddress.ip_address(one).version) in families and not ends]
        for port in ports:
            if not entry.get("ports") or port.get("name") in entry["ports"] or port["port"] in entry["ports"]:
                yield from ((one, port["targetPort"]) for one in who)
    for peer in policy["spec"].get("allowedPeers") or ():
        yield from ((json.dumps(peer, sort_keys=True), port["targetPort"]) for port in ports)
