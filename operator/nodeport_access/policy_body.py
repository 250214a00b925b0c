"""A policy's body, read into a frozen Policy: whatever stands in it, because the schema that should have refused it may
be older or newer than this operator, or absent.

Not the business of this module: the names and types themselves (``api``), how a field is read (``fields``), and what a
policy becomes (``desired``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from nodeport_access.allowlist import AllowedCIDR, Allowlist
from nodeport_access.api import (
    Body,
    Isolation,
    Mode,
    Policy,
    PolicyKey,
    ServiceKey,
    TrafficPolicy,
)
from nodeport_access.cidrs import Network, lies_inside, parse_network
from nodeport_access.fields import SHOWN, Fields, shown
from nodeport_access.strings import once

Choice = TypeVar("Choice", bound=StrEnum)

NAMELESS = "?"
"""Begins what stands for the Service of a policy that names none: no Service can be called so, and each such policy is
alone with it."""

DEFAULTS: Mapping[str, StrEnum] = {
    "isolation": Isolation.SERVICE,
    "trafficPolicy": TrafficPolicy.LOCAL,
    "mode": Mode.ENFORCE,
}
"""What a field of spec is where it is absent; the same as in the CRD."""


def parse_policy(body: Mapping[str, Any]) -> Policy:
    """Reads a policy's body. Never raises on a bad spec or status, because a policy that is dropped would release its
    Service: what cannot be read admits nobody and is named in ``problems``."""
    metadata = body["metadata"]
    namespace, name = once(metadata["namespace"]), once(metadata["name"])
    problems: list[str] = []
    spec = Fields.of(body.get("spec"), path="spec", problems=problems)
    spec.only("serviceRef", "allowedCIDRs", "allowedPeers", "isolation", "trafficPolicy", "mode")
    reference = spec.fields("serviceRef")
    reference.only("name")
    if not (service_name := reference.text("name")):
        problems.append("spec.serviceRef.name is missing")
    allowlist = _parse_allowlist(spec.values.get("allowedCIDRs"))
    problems += allowlist.problems
    peers = [_parse_peer(path, item, problems) for path, item in spec.items("allowedPeers")]
    return Policy(
        key=PolicyKey(namespace, name),
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        generation=metadata.get("generation", 0),
        created=metadata.get("creationTimestamp", ""),
        deleting="deletionTimestamp" in metadata,
        service=ServiceKey(namespace, once(service_name) or f"{NAMELESS}{name}"),
        allowlist=allowlist,
        peers=tuple(peer for peer in peers if peer is not None),
        isolation=_choice(Isolation, spec, "isolation"),
        traffic_policy=_choice(TrafficPolicy, spec, "trafficPolicy"),
        mode=_choice(Mode, spec, "mode"),
        problems=tuple(problems),
        status=_parse_status(body.get("status")),
    )


def _choice(kind: type[Choice], spec: Fields, name: str) -> Choice:
    value, default = spec.values.get(name), kind(DEFAULTS[name])
    if value is None:
        return default
    try:
        return kind(value)
    except ValueError:
        spec.wrong(name, f"{shown(value)} is not known to this operator")
        return default


_READ: WeakValueDictionary[bytes, Allowlist] = WeakValueDictionary()
"""By a digest of what it was read from. Every write of a status brings the whole spec again."""


def _parse_allowlist(value: object) -> Allowlist:
    """The very same object as before, where somebody still has what was read from the same value."""
    # Of all that JSON can say, the same text stands for the same value, down to the order of fields.
    digest = hashlib.sha256(repr(value).encode()).digest()
    if (known := _READ.get(digest)) is not None:
        return known
    problems: list[str] = []
    spec = Fields(path="spec", values={"allowedCIDRs": value}, problems=problems)
    entries = [_parse_entry(path, item, problems) for path, item in spec.items("allowedCIDRs")]
    read = Allowlist(entries=tuple(entry for entry in entries if entry is not None), problems=tuple(problems))
    _READ[digest] = read
    return read


def _parse_entry(path: str, item: object, problems: list[str]) -> AllowedCIDR | None:
    """None where anything is wrong with it, also a field that is not known: it may ask for less than all the others."""
    if not isinstance(item, Mapping):
        problems.append(f"{path}: {shown(item)} is not an object")
        return None
    found: list[str] = []
    entry = Fields.of(item, path=path, problems=found)
    entry.only("cidr", "description", "except", "ports", "expiresAt")
    cidr = _parse_network(entry, "cidr", entry.text("cidr"))
    excepts = [_parse_except(entry, text, cidr) for _, text in entry.items("except")]
    ports = [port for _, port in entry.items("ports")]
    if entry.values.get("ports") == []:
        entry.wrong("ports", "an empty list could be read either way")
    for port in ports:
        if not isinstance(port, str | int) or isinstance(port, bool):
            entry.wrong("ports", f"{shown(port)} is neither a name nor a number")
    expires = _parse_time(entry, "expiresAt", entry.text("expiresAt"))
    problems += found
    if found or cidr is None:
        return None
    return AllowedCIDR(
        cidr=cidr,
        excepts=tuple(network for network in excepts if network is not None),
        ports=tuple(ports),
        expires_at=expires,
    )


def _parse_network(entry: Fields, name: str, text: str | None) -> Network | None:
    if text is None:
        if entry.values.get(name) is None:
            entry.wrong(name, "is missing")
        return None
    try:
        return parse_network(text)
    except ValueError as error:
        entry.wrong(name, str(error) if len(text) <= SHOWN else f"{shown(text)} is not a CIDR")
        return None


def _parse_except(entry: Fields, text: object, cidr: Network | None) -> Network | None:
    if not isinstance(text, str):
        entry.wrong("except", f"{shown(text)} is not a string")
        return None
    network = _parse_network(entry, "except", text)
    if network is not None and cidr is not None and not lies_inside(network, cidr):
        entry.wrong("except", f"{network} does not lie inside {cidr}")
    return network


def _parse_time(entry: Fields, name: str, text: str | None) -> datetime | None:
    """RFC 3339, as the CRD's ``format: date-time``; a time without zone is refused rather than guessed."""
    if text is None:
        return None
    try:
        time = datetime.fromisoformat(text)
        if time.tzinfo is not None:
            return time.astimezone(UTC)
        entry.wrong(name, f"{shown(text)} has no time zone")
    except (ValueError, OverflowError):
        entry.wrong(name, f"{shown(text)} is not a time such as 2026-12-31T00:00:00Z")
    return None


OPERATORS = ("In", "NotIn", "Exists", "DoesNotExist")


def _parse_peer(path: str, item: object, problems: list[str]) -> Body | None:
    """A NetworkPolicyPeer without ipBlock and without nulls; None where anything is wrong with it. What else the API
    server demands of labels is its own to say."""
    found: list[str] = []
    peer = Fields.of(item, path=path, problems=found)
    peer.only("namespaceSelector", "podSelector")
    selectors = {
        name: parse_selector(peer.fields(name))
        for name in ("namespaceSelector", "podSelector")
        if peer.values.get(name) is not None
    }
    if not selectors and not found:
        found.append(f"{path}: an empty peer could be read as everyone")
    problems += found
    return None if found else selectors


def parse_selector(selector: Fields) -> Body:
    """A LabelSelector without what is empty in it."""
    selector.only("matchLabels", "matchExpressions")
    labels = selector.fields("matchLabels")
    expressions = [
        Fields.of(item, path=path, problems=selector.problems) for path, item in selector.items("matchExpressions")
    ]
    parsed: Body = {
        "matchLabels": {name: labels.text(name) or "" for name in labels.values},
        "matchExpressions": [_parse_expression(expression) for expression in expressions],
    }
    return {name: value for name, value in parsed.items() if value}


def _parse_expression(expression: Fields) -> Body:
    expression.only("key", "operator", "values")
    key, operator = expression.text("key"), expression.text("operator")
    if not key:
        expression.wrong("key", "is missing")
    if operator not in OPERATORS:
        expression.wrong("operator", f"{shown(operator)} is none of {', '.join(OPERATORS)}")
    values = [value for _, value in expression.items("values")]
    for value in values:
        if not isinstance(value, str):
            expression.wrong("values", f"{shown(value)} is not a string")
    return {"key": key, "operator": operator, **({"values": values} if values else {})}


def _parse_status(value: object) -> Mapping[str, Any]:
    """What of a status can be read; the rest counts as not written yet."""
    if not isinstance(value, Mapping):
        return {}
    conditions = value.get("conditions")
    kept = [one for one in conditions if _is_condition(one)] if isinstance(conditions, list) else []
    read: Mapping[str, Any] = once(
        {
            name: kept if name == "conditions" else field
            for name, field in value.items()
            if (name != "lastDrift" or isinstance(field, Mapping))
            and (name != "healthCheckNodePort" or (isinstance(field, int) and not isinstance(field, bool)))
        }
    )
    return read


def _is_condition(value: object) -> bool:
    return isinstance(value, Mapping) and isinstance(value.get("type"), str) and isinstance(value.get("status"), str)
