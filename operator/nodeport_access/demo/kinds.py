"""What the API server makes of the kinds that the operator writes: defaults, stored forms, refusals.

Each rule was seen on a real API server 1.37. Not the business of this module: field ownership and versions
(``cluster``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from nodeport_access.api import Body
from nodeport_access.demo import refusals
from nodeport_access.demo.fields import Fields, Path
from nodeport_access.kube import NETWORK_POLICIES, POLICIES, SERVICES, Resource

TYPE: Path = ("spec", "type")
TRAFFIC: Path = ("spec", "externalTrafficPolicy")
HEALTH: Path = ("spec", "healthCheckNodePort")
PORTS: Path = ("spec", "ports")
INGRESS: Path = ("spec", "ingress")
EGRESS: Path = ("spec", "egress")
POLICY_TYPES: Path = ("spec", "policyTypes")
OWNERS: Path = ("metadata", "ownerReferences")
FINALIZERS: Path = ("metadata", "finalizers")

APPLICABLE: dict[Resource, frozenset[Path]] = {
    SERVICES: frozenset({TYPE, TRAFFIC, HEALTH, PORTS, ("spec", "selector")}),
    NETWORK_POLICIES: frozenset({INGRESS, EGRESS, POLICY_TYPES, ("spec", "podSelector")}),
    POLICIES: frozenset(),
}
"""The leaves of spec that can be applied here. Ports of a Service are one leaf: nobody shares them."""

WITH_GENERATION = frozenset({NETWORK_POLICIES, POLICIES})
"""Kinds whose metadata.generation counts changes of spec; a Service has none."""


def exposed(fields: Fields) -> bool:
    """Whether a Service has node ports."""
    return fields.get(TYPE) in ("NodePort", "LoadBalancer")


def stored(resource: Resource, fields: Fields) -> Fields:
    """Values in the form in which they are stored, as far as the API server rewrites them."""
    if resource == NETWORK_POLICIES:
        for path, side in ((INGRESS, "from"), (EGRESS, "to")):
            if path in fields:
                fields = {**fields, path: [_rule(rule, side) for rule in fields[path]]}
    if resource == SERVICES and PORTS in fields:
        fields = {**fields, PORTS: [{"protocol": "TCP", **port} for port in fields[PORTS]]}
    return fields


def _rule(rule: Body, side: str) -> Body:
    """An empty list inside a rule is dropped, which makes it mean everyone; a port without protocol is TCP."""
    kept = {name: value for name, value in rule.items() if value or name not in (side, "ports")}
    if "ports" in kept:
        kept["ports"] = [{"protocol": "TCP", **port} for port in kept["ports"]]
    return kept


def is_rewritten(resource: Resource, wanted: Fields) -> bool:
    """Whether an apply counts as a change although nothing changes: an empty list that is sent and not stored does, so
    resourceVersion and generation move."""
    return resource == NETWORK_POLICIES and [] in (wanted.get(INGRESS), wanted.get(EGRESS))


def returned(resource: Resource, fields: Fields) -> Fields:
    """What is given back: a NetworkPolicy's empty ``ingress`` and ``egress`` are left out."""
    if resource != NETWORK_POLICIES:
        return fields
    return {path: value for path, value in fields.items() if path not in (INGRESS, EGRESS) or value}


def settle(resource: Resource, fields: Fields, *, before: Fields, free_port: Callable[[], int]) -> Fields:
    """The fields with defaults filled in, and without those that their kind or type does not have. What was allocated
    ``before`` stays allocated."""
    if resource == NETWORK_POLICIES:
        kinds = ["Ingress", "Egress"] if fields.get(EGRESS) else ["Ingress"]
        return {("spec", "podSelector"): {}, POLICY_TYPES: kinds, **fields}
    if resource == SERVICES:
        return _settled_service({TYPE: "ClusterIP", **fields}, before, free_port)
    return dict(fields)


def _settled_service(fields: Fields, before: Fields, free_port: Callable[[], int]) -> Fields:
    if not exposed(fields):
        return {path: value for path, value in fields.items() if path not in (TRAFFIC, HEALTH)}
    fields.setdefault(TRAFFIC, "Cluster")
    fields[PORTS] = [
        port if port.get("nodePort") else {**port, "nodePort": free_port()} for port in fields.get(PORTS, [])
    ]
    if fields[TYPE] == "LoadBalancer" and fields[TRAFFIC] == "Local":
        if HEALTH not in fields:
            fields[HEALTH] = before.get(HEALTH) or free_port()
    else:
        fields.pop(HEALTH, None)
    return fields


def check(resource: Resource, *, name: str, before: Fields, wanted: Fields, merged: Fields) -> None:
    """Raises Invalid (422) for an apply that the API server refuses."""
    if len([owner for owner in _owners(merged) if owner.get("controller")]) > 1:
        raise refusals.invalid(resource, name, OWNERS, "Only one reference can have Controller set to true")
    if resource != SERVICES:
        return
    if wanted.get(TRAFFIC) == "Local" and not exposed(merged):
        raise refusals.invalid(
            resource, name, TRAFFIC, 'Invalid value: "Local": may only be set for externally-accessible services'
        )
    if HEALTH in wanted:
        if merged.get(TYPE) != "LoadBalancer" or merged.get(TRAFFIC) != "Local":
            text = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"
            raise refusals.invalid(resource, name, HEALTH, f"Invalid value: {wanted[HEALTH]}: {text}")
        if before.get(HEALTH, wanted[HEALTH]) != wanted[HEALTH]:
            raise refusals.invalid(resource, name, HEALTH, "Forbidden: field is immutable")


def _owners(fields: Fields) -> Iterable[dict[str, Any]]:
    return (value for path, value in fields.items() if path[:-1] == OWNERS)


def owner_uids(fields: Fields) -> frozenset[str]:
    """The uids of the objects that own this one."""
    return frozenset(owner["uid"] for owner in _owners(fields))
