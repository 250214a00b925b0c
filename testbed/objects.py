"""Builders of the objects that tests put into a cluster: plain dicts, whole, with the status a kubelet would report.

Every builder takes the few things that tests vary by name; for the rest there is `changed`.

Not its business: sending them anywhere (`testbed.cluster`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Json = dict[str, Any]

_SOME_TIME = "2026-01-01T00:00:00Z"
NEVER_PULLED = "registry.invalid/nothing:1"  # there is no kubelet that would pull it


def node(
    *,
    name: str,
    addresses: Sequence[str] = (),
    pod_cidrs: Sequence[str] = (),
    annotations: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    ready: bool = True,
) -> Json:
    """A Node with these InternalIP addresses. `pod_cidrs`: at most one of each family."""
    ranges = {"podCIDR": pod_cidrs[0], "podCIDRs": list(pod_cidrs)} if pod_cidrs else {}
    internal = [{"type": "InternalIP", "address": address} for address in addresses]
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/hostname": name, **(labels or {})},
            "annotations": dict(annotations or {}),
        },
        "spec": ranges,
        "status": {
            "addresses": [*internal, {"type": "Hostname", "address": name}],
            "conditions": [
                condition(type="Ready", status=ready, reason="KubeletReady" if ready else "KubeletNotReady")
            ],
        },
    }


def pod(
    *,
    namespace: str,
    name: str,
    node: str,
    ips: Sequence[str],
    labels: Mapping[str, str] | None = None,
    ports: Mapping[str, int] | None = None,
    ready: bool = True,
    host_network: bool = False,
) -> Json:
    """A running Pod on a node, with these addresses (at most one of each family; the node's own if `host_network`).

    `ports` are container ports (TCP) by their names. For a terminating one see `testbed.cluster.terminate`.
    """
    container_ports = [{"name": name, "containerPort": number} for name, number in (ports or {}).items()]
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"namespace": namespace, "name": name, "labels": dict(labels or {})},
        "spec": {
            "nodeName": node,
            "hostNetwork": host_network,
            "automountServiceAccountToken": False,
            "containers": [{"name": "main", "image": NEVER_PULLED, "ports": container_ports}],
        },
        "status": {
            "phase": "Running",
            "startTime": _SOME_TIME,
            "podIP": ips[0],
            "podIPs": [{"ip": ip} for ip in ips],
            "conditions": [
                condition(type=kind, status=ready or kind in ("PodScheduled", "Initialized")) for kind in kinds
            ],
            "containerStatuses": [
                {
                    "name": "main",
                    "image": NEVER_PULLED,
                    "imageID": "",
                    "restartCount": 0,
                    "started": True,
                    "ready": ready,
                    "state": {"running": {"startedAt": _SOME_TIME}},
                }
            ],
        },
    }


def service(
    *,
    namespace: str,
    name: str,
    selector: Mapping[str, str] | None,
    ports: Iterable[Mapping[str, object]] = ({"name": "http", "port": 80},),
    type: str = "NodePort",
    ip_families: Sequence[str] = ("IPv4",),
    **spec: object,
) -> Json:
    """A Service. More fields of its spec are added by name; a field whose value is None is left out."""
    families = {
        "ipFamilies": list(ip_families),
        "ipFamilyPolicy": "RequireDualStack" if len(ip_families) > 1 else "SingleStack",
    }
    fields: Json = {"type": type, "selector": selector and dict(selector), "ports": [dict(port) for port in ports]}
    fields |= families if type != "ExternalName" else {}
    fields |= spec
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {field: value for field, value in fields.items() if value is not None},
    }


def namespace(*, name: str, labels: Mapping[str, str] | None = None) -> Json:
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": dict(labels or {})}}


def network_policy(*, namespace: str, name: str, spec: Mapping[str, object]) -> Json:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": dict(spec),
    }


def policy(*, namespace: str, name: str, service: str, **spec: object) -> Json:
    """A NodePortAccessPolicy; more fields of its spec are added by name."""
    return {
        "apiVersion": "nodeport-access.io/v1alpha1",
        "kind": "NodePortAccessPolicy",
        "metadata": {"namespace": namespace, "name": name},
        "spec": {"serviceRef": {"name": service}, **spec},
    }


def condition(*, type: str, status: bool, reason: str | None = None) -> Json:
    """A condition as kubelets write them; `reason` left out where a Pod's has none."""
    fields = {"type": type, "status": str(status), "lastTransitionTime": _SOME_TIME}
    return fields | ({"reason": reason} if reason else {})


def changed(body: Mapping[str, Any], change: Mapping[str, Any]) -> Json:
    """`body` with `change` merged in as a JSON merge patch would (RFC 7386): None removes. `body` stays as it is."""
    result = dict(body)
    for key, value in change.items():
        if value is None:
            result.pop(key, None)
        elif isinstance(value, Mapping):
            inner = result.get(key)
            result[key] = changed(inner if isinstance(inner, Mapping) else {}, value)
        else:
            result[key] = value
    return result
