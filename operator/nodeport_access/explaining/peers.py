"""What one peer of a rule says to whoever comes, in the words of its field: which block, selector or exception it is.

Not the business of this module: ports, and rules as a whole (``rulings``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_network
from typing import Any

from nodeport_access.cidrs import Address, AddressSet
from nodeport_access.evaluate import Caller, Known, Scene, Unknown, is_peer
from nodeport_access.evaluate.hops import Hidden, Source
from nodeport_access.evaluate.question import Outsiders
from nodeport_access.evaluate.unknowns import Matching
from nodeport_access.label_selectors import Labels, selects


class Word(StrEnum):
    """What a rule says."""

    ADMITS = "admits"
    MAYBE = "may admit"
    NOT = "does not admit"


@dataclass(frozen=True, slots=True, kw_only=True)
class Face:
    """Who comes, to a rule: an address, None where it is not known, and the pod; ``doubt`` is what decides whether an
    ipBlock counts for it."""

    address: Address | None
    pod: Caller | None = None
    doubt: Unknown | None = None

    @classmethod
    def of(cls, scene: Scene, source: Source) -> Face:
        if isinstance(source, Hidden):
            doubt = Unknown.NODES_IN_IPBLOCK if source.address else Unknown.HIDDEN_ADDRESS
            return cls(address=source.address, doubt=doubt)
        client = source.client
        assert not isinstance(client, Outsiders), "one client is asked about"
        if client.pod is not None:
            return cls(address=client.address, pod=client.pod, doubt=Unknown.PODS_IN_IPBLOCK)
        node = scene.node_with(client.address)
        return cls(address=client.address, doubt=Unknown.NODES_IN_IPBLOCK if node is not None else None)


def peer_word(peer: Mapping[str, Any], namespace: str, face: Face, known: Known) -> tuple[Word, str]:
    """What a peer of a rule in this namespace says to who comes, and why."""
    if peer.get("ipBlock"):
        return _block(peer["ipBlock"], face, known)
    if face.pod is None:
        return Word.NOT, f"{_selectors(peer)} is for pods, which it does not come as"
    if is_peer(peer, face.pod, namespace):
        return Word.ADMITS, f"{_selectors(peer)} selects it"
    namespaces = peer.get("namespaceSelector")
    if namespaces is None and face.pod.namespace != namespace:
        return (
            Word.NOT,
            f"{_selectors(peer)} without namespaceSelector is for pods of namespace {namespace} alone,"
            f" and it is of {face.pod.namespace}",
        )
    if namespaces is not None and not selects(namespaces, face.pod.namespace_labels):
        return (
            Word.NOT,
            f"namespaceSelector {selector_text(namespaces)} does not select namespace {face.pod.namespace}"
            f" ({labels_text(face.pod.namespace_labels)})",
        )
    return (
        Word.NOT,
        f"podSelector {selector_text(peer.get('podSelector') or {})} does not select its labels"
        f" ({labels_text(face.pod.labels)})",
    )


def _block(block: Mapping[str, Any], face: Face, known: Known) -> tuple[Word, str]:
    cidr = block["cidr"]
    if face.address is None:
        return Word.MAYBE, f"whether ipBlock {cidr} holds the node's address is not known here"
    try:
        is_held = face.address in AddressSet.of(_network(cidr))
        excepts = [text for text in block.get("except") or () if face.address in AddressSet.of(_network(text))]
    except ValueError:
        holds = "is written in an old spelling, and taken for everyone"
    else:
        if not is_held:
            return Word.NOT, f"ipBlock {cidr} does not hold {face.address}"
        if excepts:
            return Word.NOT, f"{face.address} is in except {excepts[0]} of ipBlock {cidr}"
        holds = f"holds {face.address}"
    answers = {Matching.MATCHED} if face.doubt is None else known.get(face.doubt, frozenset(face.doubt.options))
    if answers == {Matching.MATCHED}:
        return Word.ADMITS, f"ipBlock {cidr} {holds}"
    whose = "pods" if face.doubt is Unknown.PODS_IN_IPBLOCK else "nodes"
    if answers == {Matching.PASSED_OVER}:
        return Word.NOT, f"ipBlock {cidr} {holds}, but does not cover {whose}"
    return Word.MAYBE, f"ipBlock {cidr} {holds}, if it covers {whose}"


def _network(text: str) -> Any:
    return ip_network(text, strict=False)


def _selectors(peer: Mapping[str, Any]) -> str:
    return " with ".join(
        f"{name} {selector_text(peer[name] or {})}"
        for name in ("namespaceSelector", "podSelector")
        if peer.get(name) is not None
    )


def selector_text(selector: Mapping[str, Any]) -> str:
    """A selector on one line, as kubectl takes it."""
    parts = [f"{key}={value}" for key, value in (selector.get("matchLabels") or {}).items()]
    for one in selector.get("matchExpressions") or ():
        values = f" ({', '.join(one.get('values') or ())})" if one.get("values") else ""
        parts.append(f"{one['key']} {one['operator']}{values}")
    return f"{{{', '.join(parts)}}}"


def labels_text(labels: Labels) -> str:
    """Labels on one line."""
    return ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "no labels"
