"""Builders of API bodies for unit tests: whole, as the API server returns them, and as normal as can be.

Each takes by name the few things that tests vary; `store_of` and `snapshot_of` bring bodies to where the pure core
begins. Not their business: generated objects (`strategies`), or an API server that answers (`model_cluster`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nodeport_access.api import API_VERSION, FIELD_MANAGER, KIND, POLICY_LABEL, SERVICE_LABEL, Body, Policy, ServiceKey
from nodeport_access.shelf import Shelf
from nodeport_access.snapshot import Snapshot
from nodeport_access.store import Store

NOW = datetime(2026, 6, 1, 12, 0, 0, tzinfo=UTC)
NAMESPACE = "web"
NAME = "shop"
"""Both the Service's name and its policy's, unless a test says otherwise."""
KEY = ServiceKey(NAMESPACE, NAME)
PODS = {"app": "shop"}
CREATED = "2026-01-01T00:00:00Z"
LATER = "2026-02-01T00:00:00Z"


def uid_of(*words: str) -> str:
    """A uid that tells two objects apart and is the same in every run."""
    return hashlib.sha256(" ".join(words).encode()).hexdigest()[:12]


def entry(cidr: str, **fields: Any) -> Body:
    """One entry of `allowedCIDRs`; `excepts` stands for `except`, which Python keeps for itself."""
    if "excepts" in fields:
        fields["except"] = fields.pop("excepts")
    return {"cidr": cidr, **fields}


def policy(
    *,
    namespace: str = NAMESPACE,
    name: str = NAME,
    service: str = NAME,
    uid: str = "",
    resource_version: int = 1,
    generation: int = 1,
    created: str = CREATED,
    deleting: bool = False,
    allowed: Sequence[Body | str] = ("10.2.3.4/32",),
    status: Mapping[str, Any] | None = None,
    **spec: Any,
) -> Body:
    """A NodePortAccessPolicy; more fields of its spec are added by name. `allowed`: entries, or just their CIDRs."""
    metadata: Body = {
        "namespace": namespace,
        "name": name,
        "uid": uid or uid_of(KIND, namespace, name),
        "resourceVersion": str(resource_version),
        "generation": generation,
        "creationTimestamp": created,
    }
    if deleting:
        metadata["deletionTimestamp"] = "2026-06-01T11:59:59Z"
    body: Body = {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": metadata,
        "spec": {
            "serviceRef": {"name": service},
            "allowedCIDRs": [entry(item) if isinstance(item, str) else item for item in allowed],
            "isolation": "Service",
            "trafficPolicy": "Local",
            "mode": "Enforce",
            **spec,
        },
    }
    return body | ({"status": dict(status)} if status else {})


def port(number: int = 80, *, name: str = "http", target: int | str = 8080, node: int = 0, **fields: Any) -> Body:
    """One port of a Service. `node` 0 gives it node port 30000 + `number`."""
    return {
        "name": name,
        "port": number,
        "protocol": "TCP",
        "targetPort": target,
        "nodePort": node or 30000 + number,
        **fields,
    }


def service(
    *,
    namespace: str = NAMESPACE,
    name: str = NAME,
    uid: str = "",
    resource_version: int = 1,
    type: str = "NodePort",
    selector: Mapping[str, str] | None = PODS,
    ports: Sequence[Body] = (port(),),
    families: Sequence[str] = ("IPv4",),
    traffic_policy: str = "Cluster",
    health_check_node_port: int = 0,
    labels: Mapping[str, str] | None = None,
    managed: Sequence[Body] = (),
    **spec: Any,
) -> Body:
    """A Service. Only a type with node ports gets `traffic_policy` and keeps its node ports, as on the API server."""
    fields: Body = {"type": type, "ports": [dict(item) for item in ports], "ipFamilies": list(families)}
    if selector:
        fields["selector"] = dict(selector)
    if type in ("NodePort", "LoadBalancer"):
        fields["externalTrafficPolicy"] = traffic_policy
    else:
        fields["ports"] = [{key: item[key] for key in item if key != "nodePort"} for item in fields["ports"]]
    if health_check_node_port:
        fields["healthCheckNodePort"] = health_check_node_port
    if type == "ExternalName":
        fields = {"type": type, "externalName": "elsewhere.example", "selector": fields.get("selector", {})}
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "uid": uid or uid_of("Service", namespace, name),
            "resourceVersion": str(resource_version),
            "creationTimestamp": CREATED,
            "labels": dict(labels or {}),
            "managedFields": list(managed),
        },
        "spec": fields | spec,
    }


def held_service(*, policy: str = NAME, **tweaks: Any) -> Body:
    """A Service that the operator has taken for a policy."""
    fields: Body = {
        "traffic_policy": "Local",
        "labels": {POLICY_LABEL: policy},
        "managed": [ours("spec.externalTrafficPolicy", f"metadata.labels.{POLICY_LABEL}")],
    }
    return service(**(fields | tweaks))


def network_policy(
    *,
    namespace: str = NAMESPACE,
    name: str = "other",
    uid: str = "",
    resource_version: int = 1,
    pod_selector: Mapping[str, Any] | None = None,
    ingress: Sequence[Body] = (),
    policy_types: Sequence[str] = ("Ingress",),
    labels: Mapping[str, str] | None = None,
    owners: Sequence[Body] = (),
    managed: Sequence[Body] | None = None,
    **spec: Any,
) -> Body:
    """A NetworkPolicy, a stranger's unless `managed` says otherwise. `pod_selector` None selects the Service's pods."""
    metadata: Body = {
        "namespace": namespace,
        "name": name,
        "uid": uid or uid_of("NetworkPolicy", namespace, name),
        "resourceVersion": str(resource_version),
        "creationTimestamp": CREATED,
        "managedFields": list(managed if managed is not None else [theirs("spec.podSelector", "spec.policyTypes")]),
    }
    if labels:
        metadata["labels"] = dict(labels)
    if owners:
        metadata["ownerReferences"] = [dict(owner) for owner in owners]
    fields: Body = {
        "podSelector": dict(pod_selector) if pod_selector is not None else {"matchLabels": dict(PODS)},
        "policyTypes": list(policy_types),
    }
    if ingress:
        fields["ingress"] = [dict(rule) for rule in ingress]
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": metadata,
        "spec": fields | spec,
    }


CHILD_FIELDS = (
    f"metadata.labels.{POLICY_LABEL}",
    f"metadata.labels.{SERVICE_LABEL}",
    "metadata.ownerReferences",
    "spec.podSelector",
    "spec.policyTypes",
    "spec.ingress",
    "spec.egress",
)


def stored(body: Body, *, resource_version: int = 1, managed: Sequence[Body] | None = None) -> Body:
    """A NetworkPolicy as the API server keeps what we applied: empty lists of rules are not kept, and a field that
    `managed` does not name is no longer ours."""
    metadata, spec = body["metadata"], body["spec"]
    return {
        **body,
        "metadata": {
            **metadata,
            "uid": uid_of("NetworkPolicy", metadata["namespace"], metadata["name"]),
            "resourceVersion": str(resource_version),
            "managedFields": list(managed) if managed is not None else [ours(*CHILD_FIELDS, *owner_fields(body))],
        },
        "spec": {field: value for field, value in spec.items() if value or field not in ("ingress", "egress")},
    }


def owner_fields(body: Body) -> list[str]:
    """The paths of the owners of an object, for `ours` and `theirs`: each is owned whole, by its uid."""
    return [owner_field(owner["uid"]) for owner in body["metadata"].get("ownerReferences") or ()]


def owner_field(uid: str) -> str:
    """The path of one owner."""
    return f'metadata.ownerReferences.k:{{"uid":"{uid}"}}'


def ours(*paths: str) -> Body:
    """The entry of managedFields that makes these fields ours."""
    return managed_by(FIELD_MANAGER, "Apply", *paths)


def theirs(*paths: str, manager: str = "kubectl-edit") -> Body:
    """The entry of managedFields of somebody who updated these fields."""
    return managed_by(manager, "Update", *paths)


def managed_by(manager: str, operation: str, *paths: str, time: str = "2026-06-01T00:00:00Z") -> Body:
    """An entry of managedFields; a path is `spec.x` or `metadata.labels.x`, and x may hold dots."""
    fields: Body = {}
    for path in paths:
        inner = fields
        for step in path.split(".", 2 if path.startswith("metadata.labels.") else -1):
            inner = inner.setdefault(step if step.startswith("k:") else f"f:{step}", {})
    return {
        "manager": manager,
        "operation": operation,
        "apiVersion": "v1",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def node(
    name: str = "node-1",
    *,
    addresses: Sequence[str] = ("10.102.123.117",),
    pod_cidrs: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    resource_version: int = 1,
) -> Body:
    """A Node with these InternalIP addresses, and its name for a Hostname."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "resourceVersion": str(resource_version), "annotations": dict(annotations or {})},
        "spec": {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {},
        "status": {
            "addresses": [
                *({"type": "InternalIP", "address": address} for address in addresses),
                {"type": "Hostname", "address": name},
            ]
        },
    }


def pod(
    name: str = "shop-1",
    *,
    namespace: str = NAMESPACE,
    labels: Mapping[str, str] = PODS,
    resource_version: int = 1,
) -> Body:
    """A Pod's PartialObjectMetadata."""
    return {
        "apiVersion": "meta.k8s.io/v1",
        "kind": "PartialObjectMetadata",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "resourceVersion": str(resource_version),
            "labels": dict(labels),
        },
    }


def endpoint(*addresses: str, node: str = "node-1", **conditions: bool) -> Body:
    """One endpoint; `ready`, `serving` and `terminating` are absent unless given."""
    body: Body = {"addresses": list(addresses or ("10.233.90.7",)), "conditions": conditions}
    return body | ({"nodeName": node} if node else {})


def endpoint_slice(
    *endpoints: Body,
    namespace: str = NAMESPACE,
    name: str = "shop-abc",
    service: str = NAME,
    ports: Iterable[tuple[str, int]] = (("http", 8080),),
    resource_version: int = 1,
) -> Body:
    """An EndpointSlice; `ports` are the Service ports' names and the numbers at the pod."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "namespace": namespace,
            "name": name,
            "resourceVersion": str(resource_version),
            "labels": {"kubernetes.io/service-name": service},
        },
        "endpoints": list(endpoints),
        "ports": [{"name": port_name, "protocol": "TCP", "port": number} for port_name, number in ports],
    }


def shelf_for(store: Store, body: Body) -> Shelf[Any]:
    """Where the store keeps objects of this body's kind."""
    shelves: dict[str, Shelf[Any]] = {
        KIND: store.policies,
        "Service": store.services,
        "NetworkPolicy": store.network_policies,
        "EndpointSlice": store.slices,
        "Node": store.nodes,
        "PartialObjectMetadata": store.pods,
    }
    return shelves[body["kind"]]


def store_of(*bodies: Body) -> Store:
    """A store that has seen these objects."""
    store = Store()
    store.pods.replace([], "0")
    store.nodes.replace([], "0")
    for body in bodies:
        shelf_for(store, body).put(body)
    return store


def snapshot_of(*bodies: Body, key: ServiceKey = KEY, now: datetime = NOW) -> Snapshot:
    """What bears on one Service in a cluster of these objects."""
    return store_of(*bodies).snapshot(key, now)


def policy_in(snapshot: Snapshot, name: str = NAME) -> Policy:
    """The policy of that name, as the snapshot holds it."""
    return next(policy for policy in snapshot.policies if policy.key.name == name)
