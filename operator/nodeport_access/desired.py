"""What a policy becomes: the two NetworkPolicies and the fields of the Service, as whole server-side-apply bodies.

Bodies are built from the policy and the Service alone, never from an object that was read back, and always carry
``ingress``, ``egress`` and ``policyTypes``: what an apply omits, a stranger's edit survives in. Not the business of
this module: who may write them and when (``plan``), or what is there already (``drift``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime

from nodeport_access.allowlist import PortRef
from nodeport_access.api import (
    API_VERSION,
    FIELD_MANAGER,
    KIND,
    MANAGED_BY_LABEL,
    POLICY_LABEL,
    SERVICE_LABEL,
    Body,
    Isolation,
    Policy,
)
from nodeport_access.cidrs import AddressSet
from nodeport_access.observed import Service, TargetPort

TargetPorts = frozenset[TargetPort]

NETWORKS_LIMIT = 20_000
"""CIDRs of one allowlist. Kubernetes 1.37 took 20,000 IPv6 ones (1.4 MB) in about a second; no engine is happy with
more, and a policy within its bounds can come to 150,000."""


def allowed_addresses(policy: Policy, service: Service, now: datetime) -> dict[TargetPorts, AddressSet]:
    """Who may come in from outside, per distinct set of ports at the pod: allowed minus excepted, expired entries
    dropped, only the Service's families. Sets without an address and entries without a port are left out."""
    parts: defaultdict[TargetPorts, list[AddressSet]] = defaultdict(list)
    for refs, addresses in policy.allowlist.admitted(now).items():
        parts[target_ports(service, refs)].append(addresses.restricted_to(service.families))
    sets = {ports: AddressSet.union(*sets) for ports, sets in parts.items() if ports}
    return {ports: addresses for ports, addresses in sets.items() if addresses}


def networks_count(allowed: Mapping[TargetPorts, AddressSet]) -> int:
    """How many ipBlocks the allowlist comes to; above NETWORKS_LIMIT it is not built."""
    return sum(addresses.count() for addresses in allowed.values())


def target_ports(service: Service, refs: Iterable[PortRef]) -> TargetPorts:
    """The ports at the pod behind Service ports given by name or number; no reference at all means every port of the
    Service."""
    refs = frozenset(refs)
    return frozenset(port.target for port in service.ports if not refs or port.name in refs or port.port in refs)


def unknown_ports(policy: Policy, service: Service) -> tuple[PortRef, ...]:
    """Port references of the policy that the Service does not have, in the order in which they appear."""
    known = {port.name for port in service.ports} | {port.port for port in service.ports}
    return tuple(dict.fromkeys(ref for entry in policy.allowed for ref in entry.ports if ref not in known))


def allow_body(policy: Policy, service: Service, now: datetime) -> Body:
    """The allowlist: selects the Service's pods, one rule for each distinct set of ports. A rule whose peers or ports
    come out empty is never emitted: to the API, an empty list means everyone."""
    peers: dict[TargetPorts, list[Body]] = {
        ports: [{"ipBlock": {"cidr": text}} for text in addresses.texts()]
        for ports, addresses in allowed_addresses(policy, service, now).items()
    }
    every_port = target_ports(service, ())
    if policy.peers and every_port:
        peers.setdefault(every_port, []).extend(_stored_form(peer) for peer in policy.peers)
    ingress = [
        {"from": peers[ports], "ports": [_port(target) for target in sorted(ports, key=TargetPort.sort_key)]}
        for ports in sorted(peers, key=lambda ports: sorted(target.sort_key() for target in ports))
    ]
    return _network_policy(policy, name=policy.allow_name, pod_selector=_pods_of(service), ingress=ingress)


def deny_body(policy: Policy, service: Service, *, holder: bool) -> Body:
    """The deny-all. A policy that waits for the Service shuts only the Service's pods, whatever its isolation."""
    whole_namespace = holder and policy.isolation is Isolation.NAMESPACE
    return _network_policy(
        policy, name=policy.deny_name, pod_selector={} if whole_namespace else _pods_of(service), ingress=[]
    )


def service_body(policy: Policy, service: Service, *, health_check_node_port: int) -> Body:
    """The fields of the Service that are ours; its uid keeps the apply from creating a Service. A health check node
    port of 0 is left to the API server."""
    spec: Body = {"externalTrafficPolicy": "Local"}
    if health_check_node_port:
        spec["healthCheckNodePort"] = health_check_node_port
    return _service(service, labels={POLICY_LABEL: policy.key.name}, spec=spec)


def released_service_body(service: Service) -> Body:
    """Applied, it hands every field back: the API server keeps another owner's value, or sets the default."""
    return _service(service, labels={}, spec={})


def _service(service: Service, *, labels: dict[str, str], spec: Body) -> Body:
    metadata: Body = {"name": service.key.name, "namespace": service.key.namespace, "uid": service.uid}
    body: Body = {"apiVersion": "v1", "kind": "Service", "metadata": metadata}
    if labels:
        metadata["labels"] = labels
    if spec:
        body["spec"] = spec
    return body


def _network_policy(policy: Policy, *, name: str, pod_selector: Body, ingress: list[Body]) -> Body:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": name,
            "namespace": policy.key.namespace,
            "labels": {
                MANAGED_BY_LABEL: FIELD_MANAGER,
                POLICY_LABEL: policy.key.name,
                SERVICE_LABEL: policy.service.name,
            },
            "ownerReferences": [
                {
                    "apiVersion": API_VERSION,
                    "kind": KIND,
                    "name": policy.key.name,
                    "uid": policy.uid,
                    "controller": True,
                }
            ],
        },
        "spec": {"podSelector": pod_selector, "policyTypes": ["Ingress"], "ingress": ingress, "egress": []},
    }


def _stored_form(peer: Body) -> Body:
    """A peer as the API server gives it back: empty matchLabels, matchExpressions and values are dropped, an empty
    selector stays."""
    return {
        kind: {
            field: [{key: value for key, value in item.items() if value} for item in content]
            if field == "matchExpressions"
            else content
            for field, content in selector.items()
            if content
        }
        for kind, selector in peer.items()
    }


def _pods_of(service: Service) -> Body:
    return {"matchLabels": dict(service.selector)}


def _port(target: TargetPort) -> Body:
    return {"protocol": target.protocol, "port": target.port}
