"""One inventory laid over another, as ``kubectl apply`` of the one to a cluster that holds the other.

Not the business of this module: what the operator makes of the result (``converging``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nodeport_access.api import Body
from nodeport_access.inventory.completing import NOT_YET
from nodeport_access.inventory.items import Inventory, Item, ObjectKey
from nodeport_access.inventory.settling import service_of, settled
from nodeport_access.kube import ENDPOINT_SLICES, NETWORK_POLICIES, POLICIES, SERVICES

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_WHOLE = (NETWORK_POLICIES, POLICIES)
"""Kinds of whose spec the API server allocates nothing: what a file leaves out is not wanted any more."""


def overlay(base: Inventory, change: Inventory) -> Inventory:
    """The base with the objects of the change in place of those of the same key.

    What a file says wins. What it leaves out of a Service, and was not taken out since it was last applied by kubectl,
    stays: it was allocated, or somebody else set it. Status, uid and managedFields stay.
    """
    stated = {key: item for key, item in change.items.items() if not item.origin.derived}
    items = {key: item for key, item in base.items.items() if not item.origin.derived}
    stale = set[tuple[str, str]]()
    for key, item in stated.items():
        before = items.get(key)
        body = item.body if before is None else _applied(key, before.body, item.written)
        items[key] = replace(item, body=body, written=body)
        if before is not None and key.resource == SERVICES and _backing(before.body) != _backing(body):
            stale.add((key.namespace, key.name))
    kept = {
        key: item
        for key, item in items.items()
        if key.resource != ENDPOINT_SLICES or key in stated or service_of(item.body) not in stale
    }
    return settled(kept, notes=dict.fromkeys((*base.notes, *change.notes)))


def succeeding(base: Inventory, change: Inventory) -> Inventory:
    """The change, in which what the base holds too is older than what is new: who came first holds a Service."""
    items = {
        key: _older(item) if key in base.items and key.resource == POLICIES else item
        for key, item in change.items.items()
    }
    return Inventory.of(items, notes=change.notes)


def _older(item: Item) -> Item:
    metadata = item.body["metadata"]
    if metadata["creationTimestamp"] != NOT_YET:
        return item
    earlier = {**metadata, "creationTimestamp": "9999-01-01T00:00:00Z"}
    return replace(item, body={**item.body, "metadata": earlier})


def _backing(service: Body) -> tuple[Any, ...]:
    """What a Service's EndpointSlices follow from."""
    spec = service.get("spec") or {}
    ports = [
        (port.get("name"), port.get("protocol", "TCP"), port.get("targetPort", port["port"]))
        for port in spec.get("ports") or ()
    ]
    return spec.get("selector"), ports


def _applied(key: ObjectKey, before: Body, written: Body) -> Body:
    last = _last_applied(before)
    body = {**before, **{name: value for name, value in written.items() if name not in ("metadata", "spec", "status")}}
    body["metadata"] = dict(before["metadata"])
    for name in ("labels", "annotations"):
        said = (written.get("metadata") or {}).get(name) or {}
        formerly = (last.get("metadata") or {}).get(name) or {}
        merged = _merged(before["metadata"].get(name) or {}, said, formerly)
        if merged or name in body["metadata"]:
            body["metadata"][name] = merged
    if "spec" in written or "spec" in before:
        said, formerly = written.get("spec") or {}, last.get("spec") or {}
        spec = dict(said) if key.resource in _WHOLE else _merged(before.get("spec") or {}, said, formerly)
        if key.resource == SERVICES and "ports" in spec:
            spec["ports"] = _with_node_ports(spec["ports"] or [], (before.get("spec") or {}).get("ports") or [])
        body["spec"] = spec
    return body


def _last_applied(body: Body) -> Body:
    text = (body["metadata"].get("annotations") or {}).get(LAST_APPLIED)
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = {}
    return found if isinstance(found, dict) else {}


def _merged(before: Mapping[str, Any], said: Mapping[str, Any], formerly: Mapping[str, Any]) -> Body:
    """A field that was applied before and is not any more goes; one that nobody applied stays."""
    return {name: value for name, value in before.items() if name in said or name not in formerly} | dict(said)


def _with_node_ports(ports: list[Body], before: list[Body]) -> list[Body]:
    """A port keeps its node port; port and protocol tell which is which, as in a patch by kubectl."""
    known = {(port.get("port"), port.get("protocol", "TCP")): port.get("nodePort") for port in before}
    return [
        {**port, **({"nodePort": number} if number and not port.get("nodePort") else {})}
        for port in ports
        for number in [known.get((port.get("port"), port.get("protocol", "TCP")))]
    ]
