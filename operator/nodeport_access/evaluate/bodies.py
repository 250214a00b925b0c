"""What the evaluator reads of bodies beyond what the operator keeps of them: a Service's own addresses, and the pods
behind it with their addresses and the names of their ports.

The operator needs none of it, and trims it away (``observed``). Not the business of this module: which pods are behind
which Service.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_network
from typing import Any

from nodeport_access.cidrs import AddressSet, Network
from nodeport_access.evaluate.question import BackendPod, Frontends


def parse_frontends(service: Mapping[str, Any]) -> Frontends:
    """A Service of core/v1. A load-balancer address with ``ipMode: Proxy`` is none of kube-proxy's (KEP-1860)."""
    spec, status = service.get("spec") or {}, service.get("status") or {}
    ingress = (status.get("loadBalancer") or {}).get("ingress") or ()
    cluster = spec.get("clusterIPs") or ([spec["clusterIP"]] if spec.get("clusterIP") else [])
    return Frontends(
        cluster=_addresses(cluster),
        load_balancer=_addresses(one["ip"] for one in ingress if one.get("ip") and one.get("ipMode") != "Proxy"),
        source_ranges=_addresses(spec.get("loadBalancerSourceRanges") or ()),
        internal_local=spec.get("internalTrafficPolicy") == "Local",
    )


def parse_backend_pod(pod: Mapping[str, Any]) -> BackendPod:
    """A Pod of core/v1; restartable init containers serve too, and may name ports (KEP-753)."""
    spec, status = pod.get("spec") or {}, pod.get("status") or {}
    containers = (*(spec.get("containers") or ()), *(spec.get("initContainers") or ()))
    texts = [one["ip"] for one in status.get("podIPs") or ()] or ([status["podIP"]] if status.get("podIP") else [])
    return BackendPod(
        labels=pod["metadata"].get("labels") or {},
        addresses=_addresses(texts),
        ports={
            (port.get("protocol", "TCP"), port["name"]): port["containerPort"]
            for container in containers
            for port in container.get("ports") or ()
            if port.get("name")
        },
    )


def _addresses(texts: Iterable[str]) -> AddressSet:
    """What is no address, as the cluster address ``None`` of a headless Service, is passed over."""
    networks = (_network(text) for text in texts)
    return AddressSet.of(*(network for network in networks if network is not None))


def _network(text: str) -> Network | None:
    try:
        return ip_network(text.strip(), strict=False)
    except ValueError:
        return None
