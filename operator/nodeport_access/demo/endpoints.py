"""The EndpointSlice controller's part: from the pods that a Service selects, the slice that the operator and
kube-proxy read.

Not the business of this module: Services without selector, whose endpoints somebody writes by hand; pods that
terminate.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import Address
from nodeport_access.label_selectors import selects
from nodeport_access.observed import SERVICE_NAME_LABEL


def endpoint_slices(service: Body, pods: Iterable[Body]) -> list[Body]:
    """One slice for each IP family of the pods behind it; none for a Service without selector."""
    if service["spec"].get("type") == "ExternalName":
        return []
    chosen = [pod for pod in pods if is_backend(pod, service)]
    return [
        _slice(service, family, backends)
        for family, version in (("IPv4", 4), ("IPv6", 6))
        if (backends := [(pod, address) for pod in chosen for address in addresses(pod) if address.version == version])
    ]


def is_backend(pod: Body, service: Body) -> bool:
    """Whether the Service selects the pod."""
    selector = service["spec"].get("selector") or {}
    same = pod["metadata"]["namespace"] == service["metadata"]["namespace"]
    return same and bool(selector) and selects({"matchLabels": selector}, pod["metadata"].get("labels") or {})


def _slice(service: Body, family: str, backends: list[tuple[Body, Address]]) -> Body:
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    ports = ((port, _at_the_pod(port, backends[0][0])) for port in service["spec"].get("ports") or ())
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{family.lower()}",
            "namespace": namespace,
            "labels": {SERVICE_NAME_LABEL: name},
        },
        "addressType": family,
        "ports": [
            {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
            for port, number in ports
            if number is not None
        ],
        "endpoints": [
            {
                "addresses": [str(address)],
                "nodeName": pod["spec"].get("nodeName", ""),
                "conditions": {"ready": _is_ready(pod), "serving": _is_ready(pod), "terminating": False},
            }
            for pod, address in backends
        ],
    }


def _at_the_pod(port: Mapping[str, Any], pod: Body) -> int | None:
    """A targetPort that is a name is the container port of that name; None where the pod has none."""
    target = port.get("targetPort", port["port"])
    if isinstance(target, int):
        return target
    numbers = (
        int(known["containerPort"])
        for container in pod["spec"].get("containers") or ()
        for known in container.get("ports") or ()
        if (known.get("name"), known.get("protocol", "TCP")) == (target, port.get("protocol", "TCP"))
    )
    return next(numbers, None)


def addresses(pod: Body) -> list[Address]:
    """A pod's addresses. Raises ValueError for a text that is none."""
    status = pod.get("status") or {}
    texts = [item["ip"] for item in status.get("podIPs") or ()] or [status[key] for key in ("podIP",) if key in status]
    return [ip_address(text) for text in texts]


def _is_ready(pod: Body) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)
