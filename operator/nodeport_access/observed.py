"""What the operator keeps of the objects it watches: trimmed, frozen, comparable, and nothing that moves without
meaning.

Before managedFields is dropped, what it tells of our fields is kept (``managed_fields``). Not the business of this
module: what the objects should be (``desired``), or how they were fetched (``watches``).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from nodeport_access.api import ALLOW_SUFFIX, DENY_SUFFIX, KIND, POLICY_LABEL, Body, ServiceKey
from nodeport_access.cidrs import AddressSet, Family, Network
from nodeport_access.label_selectors import Labels
from nodeport_access.managed_fields import Ownership, applied_by_us, ownership
from nodeport_access.strings import once

SERVICE_NAME_LABEL = "kubernetes.io/service-name"

TUNNEL_ANNOTATIONS = (
    "projectcalico.org/IPv4IPIPTunnelAddr",
    "projectcalico.org/IPv4VXLANTunnelAddr",
    "projectcalico.org/IPv6VXLANTunnelAddr",
    "network.cilium.io/ipv4-cilium-host",
    "network.cilium.io/ipv6-cilium-host",
)
"""Node annotations in which a CNI tells the address that masqueraded traffic carries between nodes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetPort:
    """Where a connection arrives at the pod, which is what a NetworkPolicy sees after DNAT: protocol, and number or
    name."""

    protocol: str
    port: int | str

    def sort_key(self) -> tuple[str, int, str]:
        """Numbers before names, for a stable order in what is written."""
        return (self.protocol, self.port, "") if isinstance(self.port, int) else (self.protocol, 65536, self.port)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePort:
    """One port of a Service."""

    name: str
    port: int
    node_port: int
    target: TargetPort


FAMILIES = frozenset(Family)
SERVICE_PATHS: Mapping[str, tuple[str, ...]] = {
    "spec.externalTrafficPolicy": ("spec", "externalTrafficPolicy"),
    "spec.healthCheckNodePort": ("spec", "healthCheckNodePort"),
    "metadata.labels": ("metadata", "labels", POLICY_LABEL),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A Service, as far as access to its node ports goes; ``allocates_node_ports``: each of its ports has a node port,
    or gets one when it is created."""

    key: ServiceKey
    uid: str
    type: str
    selector: Labels
    ports: tuple[ServicePort, ...]
    families: tuple[Family, ...]
    external_traffic_policy: str
    health_check_node_port: int
    external_ips: tuple[str, ...]
    policy_label: str
    ownership: Ownership
    allocates_node_ports: bool

    @property
    def node_ports(self) -> tuple[int, ...]:
        """The numbers of its node ports, each once: one number can be taken for TCP and for UDP."""
        return tuple(dict.fromkeys(port.node_port for port in self.ports if port.node_port))

    @property
    def has_node_ports(self) -> bool:
        """NodePort and LoadBalancer are the types that kube-proxy opens node ports for."""
        return self.type in ("NodePort", "LoadBalancer")

    @property
    def exposed(self) -> bool:
        """Reachable from outside by node port, load-balancer address or external IP."""
        return self.has_node_ports or bool(self.external_ips)

    @property
    def taken(self) -> bool:
        """We own a field of it by apply, so we owe it a release when no policy asks for it any more."""
        return bool(self.ownership.ours)

    @property
    def targets(self) -> frozenset[TargetPort]:
        """Where the connections of all its ports arrive."""
        return frozenset(port.target for port in self.ports)


def parse_service(body: Body) -> Service:
    """A Service of core/v1."""
    metadata, spec = body["metadata"], body.get("spec") or {}
    external = spec.get("type") != "ExternalName"
    return Service(
        key=ServiceKey(once(metadata["namespace"]), metadata["name"]),
        uid=metadata["uid"],
        type=once(spec.get("type", "ClusterIP")),
        selector=once(spec.get("selector") or {}) if external else {},
        ports=tuple(_parse_service_port(port) for port in spec.get("ports") or ()),
        families=tuple(Family(one) for one in spec.get("ipFamilies") or () if one in FAMILIES) or tuple(Family),
        external_traffic_policy=once(spec.get("externalTrafficPolicy", "")),
        health_check_node_port=spec.get("healthCheckNodePort", 0),
        external_ips=tuple(spec.get("externalIPs") or ()),
        policy_label=once((metadata.get("labels") or {}).get(POLICY_LABEL, "")),
        ownership=ownership(metadata, SERVICE_PATHS),
        allocates_node_ports=spec.get("type") == "NodePort"
        or (spec.get("type") == "LoadBalancer" and spec.get("allocateLoadBalancerNodePorts") is not False),
    )


def _parse_service_port(port: Mapping[str, Any]) -> ServicePort:
    return ServicePort(
        name=port.get("name", ""),
        port=port["port"],
        node_port=port.get("nodePort", 0),
        target=TargetPort(protocol=port.get("protocol", "TCP"), port=port.get("targetPort", port["port"])),
    )


NETWORK_POLICY_PATHS: dict[str, tuple[str, ...]] = {
    "spec.podSelector": ("spec", "podSelector"),
    "spec.policyTypes": ("spec", "policyTypes"),
    "spec.ingress": ("spec", "ingress"),
    "spec.egress": ("spec", "egress"),
    "metadata.labels": ("metadata", "labels", POLICY_LABEL),
    "metadata.ownerReferences": ("metadata", "ownerReferences"),
    "metadata.finalizers": ("metadata", "finalizers"),
}


ESSENCE = frozenset({"spec.podSelector", "spec.policyTypes"})
"""What every NetworkPolicy has, so that whoever made one holds it."""


def owner_path(uid: str) -> str:
    """Our name for one item of ownerReferences: the API owns each whole, by its uid."""
    return f"metadata.ownerReferences[{uid}]"


@lru_cache(maxsize=256)
def owner_steps(uid: str) -> tuple[str, ...]:
    """The steps to one item of ownerReferences in FieldsV1, the same for both children of a policy."""
    return ("metadata", "ownerReferences", f"k:{json.dumps({'uid': uid}, separators=(',', ':'))}")


@lru_cache(maxsize=256)
def _set_of(*names: str) -> frozenset[str]:
    """The same set for both children of a policy, which are read one soon after the other."""
    return frozenset(names)


@dataclass(frozen=True, slots=True, kw_only=True)
class NetworkPolicy:
    """A NetworkPolicy; ``spec`` is whole, ``labels`` and ``owners`` hold what a claim to it rests on.

    One that is ``deleting`` is gone as soon as its last finalizer is. ``applied_by_us``: our Apply entry is on it.
    ``made_by_us``: it is, and nobody else holds what makes up a NetworkPolicy; or so it was when this object, by its
    uid, was seen before. ``claims``: the names of the policies that an object of ours belongs to, by label or by
    ownerReference, of which a stranger may strip one without making it his; empty where it is not ours.
    """

    namespace: str
    name: str
    uid: str
    resource_version: str = field(compare=False)
    spec: Body
    labels: Labels
    owners: tuple[Body, ...]
    finalizers: tuple[str, ...]
    deleting: bool
    ownership: Ownership
    applied_by_us: bool
    made_by_us: bool
    claims: frozenset[str] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        """A pass asks for the claims a dozen times."""
        object.__setattr__(self, "claims", self._claimed_for())

    def succeeding(self, old: NetworkPolicy) -> NetworkPolicy:
        """This state of an object that was seen before. Who replaces it whole leaves no trace of us on it, and still it
        is the object that we made."""
        lost = old.made_by_us and not self.made_by_us and old.uid == self.uid
        return replace(self, made_by_us=True) if lost else self

    @property
    def is_ours(self) -> bool:
        """Whether we applied it, or it is what became of an object that we made."""
        return self.applied_by_us or self.made_by_us

    def _claimed_for(self) -> frozenset[str]:
        if not self.is_ours:
            return frozenset()
        names = [
            owner["name"] for owner in self.owners if owner.get("kind") == KIND and self._is_named_for(owner["name"])
        ]
        if label := self.labels.get(POLICY_LABEL):
            names.append(label)
        return _set_of(*names)

    def _is_named_for(self, policy: str) -> bool:
        """Whether it bears the name of this policy's child. An owner of which it does not is a stranger's addition."""
        return self.name in (f"{policy}{ALLOW_SUFFIX}", f"{policy}{DENY_SUFFIX}")

    def is_child_of(self, policy: str) -> bool:
        """Whether an object that stands under the name of this policy's child is that child.

        That it is ours is enough unless the object is claimed for another policy: who strips label and ownerReference
        in one edit must not make it a stranger's, which is left as it is.
        """
        claims = self.claims
        return self.is_ours and (not claims or policy in claims)

    @property
    def owned_by_policy(self) -> bool:
        """Whether an ownerReference to a policy is left for the garbage collector to follow."""
        return any(owner.get("kind") == KIND for owner in self.owners)


def parse_network_policy(body: Body) -> NetworkPolicy:
    """A NetworkPolicy of networking.k8s.io/v1."""
    metadata = body["metadata"]
    owners = tuple(map(once, metadata.get("ownerReferences") or ()))
    uids = [owner["uid"] for owner in owners]
    held = ownership(metadata, NETWORK_POLICY_PATHS | {owner_path(uid): owner_steps(uid) for uid in uids})
    applied = applied_by_us(metadata)
    return NetworkPolicy(
        namespace=once(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        resource_version=metadata["resourceVersion"],
        spec=once(body.get("spec") or {}),
        labels=once(metadata.get("labels") or {}),
        owners=owners,
        finalizers=tuple(metadata.get("finalizers") or ()),
        deleting="deletionTimestamp" in metadata,
        ownership=held,
        applied_by_us=applied,
        made_by_us=applied and held.others.keys().isdisjoint(ESSENCE),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One backend of a Service on one node; FQDN endpoints have no addresses."""

    addresses: AddressSet
    node: str
    ready: bool
    draining: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointSlice:
    """An EndpointSlice of discovery.k8s.io/v1; ``ports`` maps a target (protocol, Service port name) to the number at
    the pod."""

    namespace: str
    name: str
    service: ServiceKey
    endpoints: tuple[Endpoint, ...]
    ports: tuple[tuple[str, str, int], ...]


def parse_endpoint_slice(body: Body) -> EndpointSlice:
    """An absent ``ready`` means ready; serving and terminating together mean draining (API reference,
    EndpointConditions)."""
    metadata = body["metadata"]
    namespace = once(metadata["namespace"])
    return EndpointSlice(
        namespace=namespace,
        name=metadata["name"],
        service=ServiceKey(namespace, once((metadata.get("labels") or {}).get(SERVICE_NAME_LABEL, ""))),
        endpoints=tuple(_parse_endpoint(endpoint) for endpoint in body.get("endpoints") or ()),
        ports=tuple(
            (port.get("protocol", "TCP"), port.get("name") or "", port["port"])
            for port in body.get("ports") or ()
            if port.get("port") is not None
        ),
    )


def _parse_endpoint(endpoint: Mapping[str, Any]) -> Endpoint:
    conditions = endpoint.get("conditions") or {}
    ready = conditions.get("ready") is not False
    serving = conditions.get("serving")
    return Endpoint(
        addresses=AddressSet.of(*_networks(endpoint.get("addresses") or ())),
        node=endpoint.get("nodeName") or "",
        ready=ready,
        draining=not ready and bool(conditions.get("terminating")) and serving is not False,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """A Node's own addresses, those of them that masqueraded traffic to other nodes carries in their place, and the
    ranges its pods get."""

    name: str
    addresses: AddressSet
    pod_ranges: AddressSet
    tunnels: AddressSet = AddressSet.EMPTY


def parse_node(body: Body) -> Node:
    """A Node of core/v1; what is not an address (a Hostname) is passed over."""
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    annotations = metadata.get("annotations") or {}
    texts = [item["address"] for item in status.get("addresses") or ()]
    tunnels = AddressSet.of(*_networks(annotations[name] for name in TUNNEL_ANNOTATIONS if name in annotations))
    ranges = spec.get("podCIDRs") or ([spec["podCIDR"]] if spec.get("podCIDR") else [])
    return Node(
        name=metadata["name"],
        addresses=AddressSet.of(*_networks(texts)) | tunnels,
        pod_ranges=AddressSet.of(*_networks(ranges)),
        tunnels=tunnels,
    )


def _networks(texts: Iterable[str]) -> Iterator[Network]:
    for text in texts:
        try:
            yield ip_network(text, strict=False)
        except ValueError:
            continue


@dataclass(frozen=True, slots=True, kw_only=True)
class Pod:
    """A Pod's metadata: labels decide which NetworkPolicies select it."""

    namespace: str
    name: str
    labels: Labels


def parse_pod(body: Body) -> Pod:
    """A Pod of core/v1, or its PartialObjectMetadata."""
    metadata = body["metadata"]
    return Pod(namespace=metadata["namespace"], name=metadata["name"], labels=metadata.get("labels") or {})
