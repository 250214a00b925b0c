"""A small cluster and questions about it, as API bodies that every engine reads: the ground on which they are compared.

The common ground: outside addresses and pods as clients, TCP and UDP, no hostNetwork, no pod address inside an ipBlock,
and nobody's egress restricted, because only who gets in is compared. Not its business: making up cases (`generate`),
or what the answer is (`product`, `engines`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import Address, Network

NODE_ADDRESSES = ("192.0.2.10", "2001:db8:ffff::10")
"""Of the one node, which NetworkPolicy lets in to its own pods: no client in any question."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Does this client get through to this port of this pod? ``source`` is the client's pod "namespace/name", empty for
    a client outside the cluster; ``destination`` is a pod likewise."""

    source: str = ""
    address: Address
    destination: str
    protocol: str = "TCP"
    port: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Namespaces, pods and NetworkPolicies as whole bodies, the policies as a user may write them."""

    namespaces: tuple[Body, ...]
    pods: tuple[Body, ...]
    policies: tuple[Body, ...]
    questions: tuple[Question, ...]

    def pod(self, key: str) -> Body:
        """The pod "namespace/name". Raises KeyError."""
        found = next((pod for pod in self.pods if key_of(pod) == key), None)
        if found is None:
            raise KeyError(key)
        return found

    def namespace_labels(self, name: str) -> Mapping[str, str]:
        """The labels of a namespace. Raises KeyError."""
        found = next((body for body in self.namespaces if body["metadata"]["name"] == name), None)
        if found is None:
            raise KeyError(name)
        labels: Mapping[str, str] = found["metadata"]["labels"]
        return labels

    def as_stored(self) -> Case:
        """The same with its policies as an API server would keep them."""
        return replace(self, policies=tuple(stored(policy) for policy in self.policies))


def namespace(name: str, labels: Mapping[str, str] | None = None) -> Body:
    """A Namespace, with the label of its name that every API server puts there."""
    labels = {"kubernetes.io/metadata.name": name, **(labels or {})}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}


def container_port(name: str, number: int, protocol: str = "TCP") -> Body:
    """A port of a container; an empty name is none."""
    return ({"name": name} if name else {}) | {"containerPort": number, "protocol": protocol}


def pod(key: str, *, number: int, labels: Mapping[str, str] | None = None, ports: Sequence[Body] = ()) -> Body:
    """A running Pod "namespace/name" on the one node, its addresses made of `number`."""
    namespace_name, _, name = key.partition("/")
    addresses = [f"10.244.0.{number}", f"fd00:10:244::{number:x}"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace_name, "name": name, "labels": dict(labels or {})},
        "spec": {
            "nodeName": "node-1",
            "containers": [{"name": "main", "image": "registry.example/main:1", "ports": list(ports)}],
        },
        "status": {
            "phase": "Running",
            "hostIP": NODE_ADDRESSES[0],
            "hostIPs": [{"ip": address} for address in NODE_ADDRESSES],
            "podIP": addresses[0],
            "podIPs": [{"ip": address} for address in addresses],
        },
    }


def policy(key: str, spec: Body) -> Body:
    """A NetworkPolicy "namespace/name"."""
    namespace_name, _, name = key.partition("/")
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace_name, "name": name},
        "spec": spec,
    }


def key_of(body: Body) -> str:
    """The "namespace/name" of an object."""
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"


def addresses_of(pod_body: Body) -> tuple[Address, ...]:
    """Of a pod, one for each family."""
    return tuple(ip_address(item["ip"]) for item in pod_body["status"]["podIPs"])


def ports_of(pod_body: Body) -> tuple[Body, ...]:
    """Of all containers of a pod."""
    return tuple(port for container in pod_body["spec"]["containers"] for port in container["ports"])


def rules_of(policy_body: Body) -> Iterator[Body]:
    """The ingress rules of a NetworkPolicy."""
    yield from policy_body["spec"].get("ingress") or ()


def blocks_of(policies: Sequence[Body]) -> Iterator[Body]:
    """Every ipBlock of these policies' ingress rules."""
    for each in policies:
        for rule in rules_of(each):
            yield from (peer["ipBlock"] for peer in rule.get("from") or () if "ipBlock" in peer)


def in_block(address: Address, block: Mapping[str, Any]) -> bool:
    """Whether an ipBlock holds an address, by nothing but `ipaddress`."""
    if address not in network_of(block["cidr"]):
        return False
    return not any(address in network_of(text) for text in block.get("except") or ())


@lru_cache(maxsize=4_096)  # a run asks for the same few hundred all the time
def network_of(text: str) -> Network:
    """The network that a CIDR names."""
    return ip_network(text)


def stored(policy_body: Body) -> Body:
    """The policy as an API server keeps it: protocol and policyTypes have their defaults, and empty lists are gone."""
    spec = dict(policy_body["spec"])
    spec.setdefault("policyTypes", ["Ingress", "Egress"] if spec.get("egress") is not None else ["Ingress"])
    for direction in ("ingress", "egress"):
        rules = [_stored_rule(rule) for rule in spec.pop(direction, None) or ()]
        if rules:
            spec[direction] = rules
    return policy_body | {"spec": spec}


def _stored_rule(rule: Body) -> Body:
    kept = {name: value for name, value in rule.items() if value}
    if "ports" in kept:
        kept["ports"] = [{"protocol": "TCP", **port} for port in kept["ports"]]
    return kept
