"""Whether what a file says can be read: the fields that the operator reads are of the types that they should be.

Bounds and formats beyond that are the API server's to judge (``crds/`` and its own schemas). What is wrong with a
policy ``policy_body`` says itself. Not the business of this module: what is filled in (``completing``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network

from nodeport_access.fields import Fields, shown
from nodeport_access.inventory.documents import Document
from nodeport_access.kube import (
    ENDPOINT_SLICES,
    NAMESPACES,
    NETWORK_POLICIES,
    NODES,
    PODS,
    POLICIES,
    SERVICES,
    Resource,
)
from nodeport_access.policy_body import parse_policy, parse_selector


def check(resource: Resource, document: Document) -> None:
    """Raises InputError with the first problem, in the order of the file's fields as far as it can be had."""
    if (version := document.body.get("apiVersion")) != resource.api_version:
        raise document.refuse(f"apiVersion of a {resource.kind} must be {resource.api_version}, not {shown(version)}")
    problems: list[str] = []
    if not isinstance(document.body.get("metadata"), Mapping):
        raise document.refuse("metadata is missing, and with it the name")
    _metadata(Fields.of(document.body["metadata"], path="metadata", problems=problems), problems)
    if not problems and resource == POLICIES:
        metadata = {"namespace": "", "uid": "", "resourceVersion": "0", **document.body["metadata"]}
        problems += parse_policy({**document.body, "metadata": metadata}).problems
    elif not problems:
        _READERS[resource](document, problems)
    if problems:
        # YAML takes yes, 1.0 and 010 for something else than texts.
        quoted = "; quote it" if re.search(r": [\w.+-]+ is not a string$", problems[0]) else ""
        raise document.refuse(problems[0] + quoted)
    if document.origin.double:
        raise document.refuse(f"{document.origin.double} stands there twice; keep one")


def _metadata(metadata: Fields, problems: list[str]) -> None:
    if not metadata.text("name") and not problems:
        metadata.wrong("name", "is missing")
    metadata.text("namespace")
    metadata.text("uid")
    metadata.texts("labels")
    metadata.texts("annotations")
    for owner in _objects(metadata, "ownerReferences"):
        for name in ("apiVersion", "kind", "name", "uid"):
            _needed(owner, name, owner.text(name))
    for path, finalizer in metadata.items("finalizers"):
        _text(path, finalizer, problems)
    for _ in _objects(metadata, "managedFields"):
        pass


def _service(document: Document, problems: list[str]) -> None:
    spec = _section(document, "spec", problems)
    for name in ("type", "externalTrafficPolicy", "ipFamilyPolicy", "clusterIP"):
        spec.text(name)
    spec.texts("selector")
    spec.number("healthCheckNodePort")
    for port in _objects(spec, "ports"):
        _needed(port, "port", port.number("port"))
        port.text("name")
        port.text("protocol")
        port.number("nodePort")
        _name_or_number(port, "targetPort")
    for name in ("ipFamilies", "externalIPs", "clusterIPs"):
        for path, text in spec.items(name):
            _text(path, text, problems)


def _network_policy(document: Document, problems: list[str]) -> None:
    spec = _section(document, "spec", problems)
    parse_selector(spec.fields("podSelector"))
    for path, text in spec.items("policyTypes"):
        _text(path, text, problems)
    for direction, side in (("ingress", "from"), ("egress", "to")):
        for rule in _objects(spec, direction):
            for port in _objects(rule, "ports"):
                port.text("protocol")
                port.number("endPort")
                _name_or_number(port, "port")
            for peer in _objects(rule, side):
                for name in ("podSelector", "namespaceSelector"):
                    parse_selector(peer.fields(name))
                _ip_block(peer, problems)


def _ip_block(peer: Fields, problems: list[str]) -> None:
    block = peer.fields("ipBlock")
    if block.values:
        _network(f"{block.path}.cidr", block.values.get("cidr"), problems)
    for path, text in block.items("except"):
        _network(path, text, problems)


def _endpoint_slice(document: Document, problems: list[str]) -> None:
    whole = Fields("", document.body, problems)
    for endpoint in _objects(whole, "endpoints"):
        for path, text in endpoint.items("addresses"):
            _text(path, text, problems)
        endpoint.text("nodeName")
        endpoint.fields("conditions")
    for port in _objects(whole, "ports"):
        port.text("name")
        port.text("protocol")
        port.number("port")


def _pod(document: Document, problems: list[str]) -> None:
    spec = _section(document, "spec", problems)
    spec.text("nodeName")
    for container in _objects(spec, "containers"):
        for port in _objects(container, "ports"):
            port.text("name")
            _needed(port, "containerPort", port.number("containerPort"))
    status = _section(document, "status", problems)
    for condition in _objects(status, "conditions"):
        condition.text("type")
        condition.text("status")
    if (text := status.text("podIP")) is not None:
        _address("status.podIP", text, problems)
    for item in _objects(status, "podIPs"):
        _address(f"{item.path}.ip", item.values.get("ip"), problems)


def _node(document: Document, problems: list[str]) -> None:
    spec = _section(document, "spec", problems)
    spec.text("podCIDR")
    for path, text in spec.items("podCIDRs"):
        _network(path, text, problems)
    for item in _objects(_section(document, "status", problems), "addresses"):
        _needed(item, "address", item.text("address"))


_READERS: Mapping[Resource, Callable[[Document, list[str]], None]] = {
    NAMESPACES: lambda _document, _problems: None,
    NODES: _node,
    SERVICES: _service,
    PODS: _pod,
    ENDPOINT_SLICES: _endpoint_slice,
    NETWORK_POLICIES: _network_policy,
}


def _section(document: Document, name: str, problems: list[str]) -> Fields:
    return Fields.of(document.body.get(name), path=name, problems=problems)


def _objects(around: Fields, name: str) -> Iterator[Fields]:
    for path, item in around.items(name):
        yield Fields.of(item, path=path.removeprefix("."), problems=around.problems)


def _needed(around: Fields, name: str, value: object) -> None:
    if value is None and around.values.get(name) is None:
        around.wrong(name, "is missing")


def _name_or_number(around: Fields, name: str) -> None:
    value = around.values.get(name)
    if value is not None and (isinstance(value, bool) or not isinstance(value, str | int)):
        around.wrong(name, f"{shown(value)} is neither a name nor a number")


def _text(path: str, value: object, problems: list[str]) -> None:
    if not isinstance(value, str):
        problems.append(f"{path}: {shown(value)} is not a string")


def _network(path: str, value: object, problems: list[str]) -> None:
    try:
        ip_network(value if isinstance(value, str) else "", strict=False)
    except ValueError:
        problems.append(f"{path}: {shown(value)} is not a CIDR")


def _address(path: str, value: object, problems: list[str]) -> None:
    try:
        ip_address(value if isinstance(value, str) else "")
    except ValueError:
        problems.append(f"{path}: {shown(value)} is not an IP address")
