"""The EndpointSlice controller's part: from the pods that a Service selects, the slices that the operator and
kube-proxy read.

As the controller does (k8s.io/endpointslice, ``reconciler.go`` and ``utils.go``): pods that have ended or have no
address are no endpoints, those that terminate are not ready, and pods with other numbers for the named ports get slices
of their own. Not the business of this module: Services without selector, whose endpoints somebody writes by hand.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from ipaddress import ip_address
from typing import Any

from nodeport_access.api import Body
from nodeport_access.cidrs import Address
from nodeport_access.label_selectors import selects
from nodeport_access.observed import SERVICE_NAME_LABEL

_VERSIONS = {"IPv4": 4, "IPv6": 6}
_ENDED = ("Succeeded", "Failed")

_Numbers = tuple[int | None, ...]
"""The port at the pod for each port of the Service; None where the pod has none of that name."""


def endpoint_slices(service: Body, pods: Iterable[Body]) -> list[Body]:
    """Slices for each IP family of the Service and each way in which its pods number their ports; none for a Service
    without selector."""
    spec = service.get("spec") or {}
    if spec.get("type") == "ExternalName":
        return []
    groups: defaultdict[tuple[str, _Numbers], list[tuple[Body, Address]]] = defaultdict(list)
    for pod in pods:
        if is_backend(pod, service) and (pod.get("status") or {}).get("phase") not in _ENDED:
            numbers = tuple(_at_the_pod(port, pod) for port in spec.get("ports") or ())
            for family in spec.get("ipFamilies") or _VERSIONS:
                address = next((one for one in addresses(pod) if one.version == _VERSIONS.get(family)), None)
                if address is not None:
                    groups[family, numbers].append((pod, address))
    names = defaultdict[str, int](int)
    slices = []
    for (family, numbers), backends in groups.items():
        names[family] += 1
        number = f"-{names[family]}" if names[family] > 1 else ""
        slices.append(_slice(service, family, numbers, backends, suffix=f"{family.lower()}{number}"))
    return slices


def is_backend(pod: Body, service: Body) -> bool:
    """Whether the Service selects the pod."""
    selector = (service.get("spec") or {}).get("selector") or {}
    same = pod["metadata"]["namespace"] == service["metadata"]["namespace"]
    return same and bool(selector) and selects({"matchLabels": selector}, pod["metadata"].get("labels") or {})


def _slice(service: Body, family: str, numbers: _Numbers, backends: list[tuple[Body, Address]], *, suffix: str) -> Body:
    name, namespace, spec = service["metadata"]["name"], service["metadata"]["namespace"], service["spec"]
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": f"{name}-{suffix}",
            "namespace": namespace,
            "labels": {SERVICE_NAME_LABEL: name},
        },
        "addressType": family,
        "ports": [
            {"name": port.get("name", ""), "protocol": port.get("protocol", "TCP"), "port": number}
            for port, number in zip(spec.get("ports") or (), numbers, strict=True)
            if number is not None
        ],
        "endpoints": [
            {
                "addresses": [str(address)],
                "nodeName": (pod.get("spec") or {}).get("nodeName", ""),
                "conditions": _conditions(pod, always_ready=bool(spec.get("publishNotReadyAddresses"))),
            }
            for pod, address in backends
        ],
    }


def _at_the_pod(port: Mapping[str, Any], pod: Body) -> int | None:
    """A targetPort that is a name is the container port of that name; None where the pod has none."""
    target = port.get("targetPort") or port["port"]
    if isinstance(target, int):
        return target
    numbers = (
        int(known["containerPort"])
        for container in (pod.get("spec") or {}).get("containers") or ()
        for known in container.get("ports") or ()
        if (known.get("name"), known.get("protocol", "TCP")) == (target, port.get("protocol", "TCP"))
    )
    return next(numbers, None)


def addresses(pod: Body) -> list[Address]:
    """A pod's addresses. Raises ValueError for a text that is none."""
    status = pod.get("status") or {}
    texts = [item["ip"] for item in status.get("podIPs") or ()] or [status[key] for key in ("podIP",) if key in status]
    return [ip_address(text) for text in texts]


def _conditions(pod: Body, *, always_ready: bool) -> Body:
    """ "serving is identical to ready except that it is set regardless of the terminating state of endpoints." (API
    reference, EndpointConditions)"""
    serving = always_ready or _is_ready(pod)
    terminating = "deletionTimestamp" in pod["metadata"]
    return {"ready": always_ready or (serving and not terminating), "serving": serving, "terminating": terminating}


def _is_ready(pod: Body) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(condition.get("type") == "Ready" and condition.get("status") == "True" for condition in conditions)
