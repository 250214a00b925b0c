"""What a namespace has to look like once all is quiet: computed from the policies, the Services and what strangers
made, by rules written down here anew, from the documentation and not from the operator's code.

Where the past decides (docs/decisions/0007: what stands, stays), it says nothing: a Service that is gone or has no
selector, a stranger's object under the name of a child.

Not its business: what the status says (`told`), and the way there (`guarding`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping

from tests.api.access import LABEL, MANAGER, Json
from tests.api.histories import told
from tests.api.histories.admission import enforcing, has_node_ports
from tests.api.histories.seen import (
    KIND,
    SERVICE_LABEL,
    Guard,
    Seen,
    applied_by_us,
    children_of,
    claims_of,
    conflicting,
)
from tests.api.histories.vocabulary import Labels


def differences(seen: Seen) -> list[str]:
    """Everything that is not as it has to be."""
    names = {one["spec"]["serviceRef"]["name"] for one in seen.objects[KIND].values()} | seen.objects["Service"].keys()
    return [
        *_leftovers(seen),
        *(text for name in sorted(names) for text in _guard(Guard(seen, name))),
    ]


def _leftovers(seen: Seen) -> Iterator[str]:
    """What the garbage collector has still to take, and children of ours that no enforcing policy wants."""
    uids = {one["metadata"]["uid"] for one in seen.objects[KIND].values()}
    for name, item in seen.objects["NetworkPolicy"].items():
        metadata = item["metadata"]
        gone = any(one["uid"] not in uids for one in metadata.get("ownerReferences") or () if one["kind"] == KIND)
        if gone and "deletionTimestamp" not in metadata:
            yield f"NetworkPolicy {name} waits for the garbage collector"
        claims = claims_of(item)
        wanted = {one for one in claims if one in seen.objects[KIND] and enforcing(seen.objects[KIND][one])}
        service = metadata.get("labels", {}).get(SERVICE_LABEL, "")
        if claims and not wanted and _stays_shut(seen, service):
            yield f"NetworkPolicy {name} is left of {sorted(claims)}"


def _stays_shut(seen: Seen, service: str) -> bool:
    """Whether what others left may go: else it may be all that keeps the pods shut, where the holder has no child of
    its own yet (its Service is gone, a stranger's object has the name)."""
    if (holder := seen.holder_of(service)) is None:
        return True
    standing = children_of(seen, holder).keys() - set(conflicting(seen, holder))
    return bool(standing)


def _guard(guard: Guard) -> Iterator[str]:
    """One Service with all that guards it."""
    for policy in guard.policies:
        if guard.selector and enforcing(policy):
            yield from _children(guard, policy)
    yield from _fields(guard)
    for policy in guard.policies:
        if "deletionTimestamp" not in policy["metadata"]:
            yield from told.differences(guard, policy)


def _children(guard: Guard, policy: Json) -> Iterator[str]:
    name, holds = policy["metadata"]["name"], policy is guard.holder
    taken = conflicting(guard.seen, policy)
    if f"{name}-allow" not in taken:
        if holds:
            yield from _child(guard, policy, f"{name}-allow", guard.allow(policy), selector=guard.selector)
        elif f"{name}-allow" in guard.seen.objects["NetworkPolicy"] and _stays_shut(guard.seen, guard.name):
            yield f"NetworkPolicy {name}-allow of a policy that waits"
    if f"{name}-deny-all" not in taken and not (holds and f"{name}-allow" in taken):
        whole = holds and policy["spec"].get("isolation") == "Namespace"
        yield from _child(guard, policy, f"{name}-deny-all", {}, selector={} if whole else guard.selector)


def _child(
    guard: Guard, policy: Json, name: str, wanted: Mapping[str, list[str]], *, selector: Labels
) -> Iterator[str]:
    found = guard.seen.objects["NetworkPolicy"].get(name)
    if found is None:
        yield f"NetworkPolicy {name} is absent"
        return
    spec, metadata = found["spec"], found["metadata"]
    chosen = {"matchLabels": dict(selector)} if selector else {}
    labels = {"app.kubernetes.io/managed-by": MANAGER, LABEL: policy["metadata"]["name"], SERVICE_LABEL: guard.name}
    owner = {"kind": KIND, "name": policy["metadata"]["name"], "uid": policy["metadata"]["uid"], "controller": True}
    facts = {
        "podSelector": (spec.get("podSelector"), chosen),
        "policyTypes": (spec.get("policyTypes"), ["Ingress"]),
        "ingress": (_rules(spec), wanted),
        "egress": (spec.get("egress"), None),
        "labels": ({key: metadata.get("labels", {}).get(key) for key in labels}, labels),
        "owner": ([owner.items() <= one.items() for one in metadata.get("ownerReferences") or ()], [True]),
        "finalizers": (metadata.get("finalizers"), None),
        "deletionTimestamp": (metadata.get("deletionTimestamp"), None),
    }
    for fact, (have, want) in facts.items():
        if have != want:
            yield f"{fact} of NetworkPolicy {name} is {have}, not {want}"


def _fields(guard: Guard) -> Iterator[str]:
    """Of the Service itself."""
    if guard.service is None:
        return
    ours = applied_by_us(guard.service) and _owns_fields(guard.service)
    wants = guard.holder is not None and guard.holder["spec"].get("trafficPolicy", "Local") == "Local"
    if not wants or not has_node_ports(guard.service):
        if ours:
            yield f"Service {guard.name} was not handed back"
        return
    assert guard.holder is not None
    if not guard.selector or f"{guard.holder['metadata']['name']}-allow" in conflicting(guard.seen, guard.holder):
        return
    policy = guard.service["spec"].get("externalTrafficPolicy")
    label = guard.service["metadata"].get("labels", {}).get(LABEL)
    if (policy, label, ours) != ("Local", guard.holder["metadata"]["name"], True):
        yield f"Service {guard.name} is {policy}, labelled {label}, {'' if ours else 'not '}ours"


def _owns_fields(service: Json) -> bool:
    fields = next(
        entry["fieldsV1"]
        for entry in service["metadata"]["managedFields"]
        if entry["manager"] == MANAGER and entry["operation"] == "Apply"
    )
    return bool(fields)


def _rules(spec: Json) -> dict[str, list[str]]:
    """Who is let in, by ports; what the operator never writes shows as it is."""
    found: dict[str, list[str]] = {}
    for rule in spec.get("ingress") or ():
        ports = " ".join(sorted(f"{one['protocol']}/{one['port']}" for one in rule.get("ports") or ()))
        who = [
            peer["ipBlock"]["cidr"] if peer.get("ipBlock", {}).keys() == {"cidr"} else json.dumps(peer, sort_keys=True)
            for peer in rule.get("from") or ()
        ]
        found[ports] = found.get(ports, []) + (who or ["everyone"])
    return found
