"""A rival as Kopf's own documentation teaches it: handlers, children by the kubernetes client, `patch.status`.

Kinder than the tutorial in two places: one pool of connections for all handlers in place of one for each call, and as
many threads as the others have workers. Run by `kopf run`.

Not its business: NetworkPolicies that somebody changes.
"""

from __future__ import annotations

import functools
import ipaddress
import os
from datetime import UTC, datetime
from typing import Any

import kopf
import kubernetes

Json = dict[str, Any]

MANAGER = "nodeport-access-operator"
POLICY_LABEL = "nodeport-access.io/policy"
POLICIES = ("nodeport-access.io", "v1alpha1", "nodeportaccesspolicies")


WORKERS = int(os.environ.get("WORKERS", "16"))


@kopf.on.startup()
def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
    settings.execution.max_workers = WORKERS


@functools.cache
def client() -> Any:
    """Of all handlers, made in the first of them: by then Kopf's login has set up the kubernetes client."""
    configuration = kubernetes.client.Configuration.get_default_copy()
    configuration.connection_pool_maxsize = WORKERS
    return kubernetes.client.ApiClient(configuration)


def core() -> Any:
    return kubernetes.client.CoreV1Api(client())


def networking() -> Any:
    return kubernetes.client.NetworkingV1Api(client())


@kopf.on.create(*POLICIES)
@kopf.on.update(*POLICIES, field="spec")
@kopf.on.resume(*POLICIES)
def ensure(body: kopf.Body, spec: kopf.Spec, namespace: str | None, patch: kopf.Patch, **_: Any) -> None:
    """The four writes, the last of them by Kopf after the handler's end."""
    service = core().read_namespaced_service(spec["serviceRef"]["name"], namespace)
    peers = [{"ipBlock": {"cidr": str(network)}} for network in networks(spec)]
    ports = [{"protocol": port.protocol, "port": port.target_port} for port in service.spec.ports]
    rules = [{"from": peers, "ports": ports}] if peers else []
    _ensure_network_policy(body, service, suffix="allow", ingress=rules)
    if service.spec.external_traffic_policy != "Local":
        _make_local(service, policy=body["metadata"]["name"])
    _ensure_network_policy(body, service, suffix="deny-all", ingress=[])
    patch.status.update(_status(body, service, nodes=len(core().list_node().items)))


@kopf.on.event("services", labels={POLICY_LABEL: kopf.PRESENT})
def repair(body: kopf.Body, **_: Any) -> None:
    """A Service that somebody took back."""
    if body["spec"].get("externalTrafficPolicy") == "Cluster" and body["metadata"].get("deletionTimestamp") is None:
        service = core().read_namespaced_service(body["metadata"]["name"], body["metadata"]["namespace"])
        _make_local(service, policy=body["metadata"]["labels"][POLICY_LABEL])


def _make_local(service: Any, *, policy: str) -> None:
    change = {"metadata": {"labels": {POLICY_LABEL: policy}}, "spec": {"externalTrafficPolicy": "Local"}}
    core().patch_namespaced_service(service.metadata.name, service.metadata.namespace, change, field_manager=MANAGER)


def _ensure_network_policy(body: kopf.Body, service: Any, *, suffix: str, ingress: list[Json]) -> None:
    policy, namespace = body["metadata"]["name"], body["metadata"]["namespace"]
    child: Json = {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "name": f"{policy}-{suffix}",
            "namespace": namespace,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                POLICY_LABEL: policy,
                "nodeport-access.io/service": service.metadata.name,
            },
        },
        "spec": {
            "podSelector": {"matchLabels": service.spec.selector},
            "policyTypes": ["Ingress"],
            "ingress": ingress,
            "egress": [],
        },
    }
    kopf.append_owner_reference(child, owner=body, block_owner_deletion=False)
    try:
        networking().create_namespaced_network_policy(namespace, child, field_manager=MANAGER)
    except kubernetes.client.ApiException as error:
        if error.status != 409:
            raise
        name = child["metadata"]["name"]
        networking().patch_namespaced_network_policy(name, namespace, child, field_manager=MANAGER)


def networks(spec: kopf.Spec) -> list[ipaddress.IPv4Network]:
    entries = spec.get("allowedCIDRs", ())
    return list(ipaddress.collapse_addresses(ipaddress.IPv4Network(entry["cidr"]) for entry in entries))


def _status(body: kopf.Body, service: Any, *, nodes: int) -> Json:
    """Of a Service without a ready pod: this rival does not look for any."""
    generation, now = body["metadata"]["generation"], datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    before = {one["type"]: one for one in body.get("status", {}).get("conditions", ())}
    answers = {
        "Ready": "Guarded",
        "ServiceResolved": "ServiceFound",
        "ClientIPPreserved": "LocalInForce",
        "AllowlistApplied": "Applied",
        "DefaultDenyApplied": "Applied",
        "Reachable": "NoReadyEndpoints",
        "Exclusive": "NoOtherOpening",
        "Enforceable": "NothingBypasses",
    }
    return {
        "observedGeneration": generation,
        "conditions": [
            {
                "type": kind,
                "status": "False" if kind == "Reachable" else "True",
                "reason": reason,
                "message": "A sentence about as long as those of the operator, so that as many bytes are sent.",
                "observedGeneration": generation,
                "lastTransitionTime": before.get(kind, {}).get("lastTransitionTime", now),
            }
            for kind, reason in answers.items()
        ],
        "serviceUID": service.metadata.uid,
        "nodePorts": sorted(port.node_port for port in service.spec.ports),
        "effectiveCIDRs": len(networks(body["spec"])),
        "nodes": {"ready": 0, "draining": 0, "total": nodes, "share": f"0/{nodes}"},
    }
