"""What the API server adds to an object that is created, as far as it bears on access: names of its own, and defaults.

What only a real API server can know stays open: a node port that it will allocate is absent, the uid is one that
``items.invented_uid`` makes, and the creation is later than that of any object that exists. Not the business of this
module: whether the object can be read (``checking``).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network

from nodeport_access.api import FIELD_MANAGER, MANAGED_BY_LABEL, POLICY_LABEL, Body
from nodeport_access.cidrs import Family
from nodeport_access.inventory.items import ObjectKey, invented_uid
from nodeport_access.inventory.ownership import network_policy_fields, our_entry, service_fields
from nodeport_access.kube import NAMESPACES, NETWORK_POLICIES, POLICIES, SERVICES, Resource
from nodeport_access.policy_body import DEFAULTS

NOT_YET = "9999-12-31T23:59:59Z"
"""The creationTimestamp of what no API server has seen: claims go to the oldest policy, so it is younger than all."""
NAME_LABEL = "kubernetes.io/metadata.name"
"""The label that each namespace gets from the API server (Kubernetes, "Automatic labelling")."""
_DUAL_STACK = ("PreferDualStack", "RequireDualStack")


def named(resource: Resource, written: Body, *, namespace: str) -> tuple[ObjectKey, Body]:
    """A copy of what is written with the metadata of an object that is stored, and its key. ``namespace`` is that of
    an object which names none."""
    body = copy.deepcopy(written)
    metadata = body["metadata"]
    if resource.namespaced:
        metadata["namespace"] = metadata.get("namespace") or namespace
    else:
        metadata.pop("namespace", None)
    key = ObjectKey(resource, metadata.get("namespace", ""), metadata["name"])
    if not str(metadata.get("resourceVersion") or "").isdecimal():
        metadata["resourceVersion"] = "1"
    metadata["uid"] = metadata.get("uid") or invented_uid(key)
    metadata["creationTimestamp"] = metadata.get("creationTimestamp") or NOT_YET
    return key, body


def completed(resource: Resource, body: Body, *, family: Family) -> Body:
    """The body with defaults, and without what its type does not have; ``family`` is the cluster's first. A body that
    is complete comes back equal."""
    if resource == SERVICES:
        return _service(body, family)
    if resource == NETWORK_POLICIES:
        return _network_policy(body)
    if resource == POLICIES:
        return {**body, "spec": {**{name: str(value) for name, value in DEFAULTS.items()}, **(body.get("spec") or {})}}
    if resource == NAMESPACES:
        metadata = body["metadata"]
        labels = {**(metadata.get("labels") or {}), NAME_LABEL: metadata["name"]}
        return {**body, "metadata": {**metadata, "labels": labels}}
    return body


def first_family(nodes: Iterable[Body]) -> Family:
    """The cluster's first IP family, as its nodes tell it; IPv4 where they do not."""
    for node in nodes:
        spec, status = node.get("spec") or {}, node.get("status") or {}
        ranges = [*(spec.get("podCIDRs") or ()), spec.get("podCIDR") or ""]
        texts = [*ranges, *(item["address"] for item in status.get("addresses") or ())]
        for text in texts:
            try:
                return _family(ip_network(text, strict=False).version)
            except ValueError:
                continue
    return Family.IPV4


def _family(version: int) -> Family:
    return Family.IPV4 if version == 4 else Family.IPV6


def _service(body: Body, family: Family) -> Body:
    spec = {"type": "ClusterIP", **(body.get("spec") or {})}
    exposed = spec["type"] in ("NodePort", "LoadBalancer")
    if exposed:
        spec.setdefault("externalTrafficPolicy", "Cluster")
    else:
        spec.pop("externalTrafficPolicy", None)
    if spec["type"] != "LoadBalancer" or spec.get("externalTrafficPolicy") != "Local":
        spec.pop("healthCheckNodePort", None)
    if spec["type"] == "ExternalName":
        spec.pop("ipFamilies", None)
    else:
        spec["ipFamilies"] = spec.get("ipFamilies") or _families(spec, family)
    if "ports" in spec:
        spec["ports"] = [_service_port(port, exposed=exposed) for port in spec["ports"] or ()]
    whole = {**body, "spec": spec}
    if _label(body, POLICY_LABEL) and "managedFields" not in body["metadata"]:
        return _held(whole, service_fields(label=True, local=spec.get("externalTrafficPolicy") == "Local"))
    return whole


def _families(spec: Mapping[str, object], family: Family) -> list[str]:
    """ "If this field is specified manually, [...] it will be used. Otherwise it is assigned by ipFamilyPolicy" (API
    reference, ServiceSpec, ipFamilies); cluster addresses that are there tell it."""
    given = spec.get("clusterIPs") or [spec.get("clusterIP")]
    assert isinstance(given, list), "checked to be a list"
    texts = [text for text in given if isinstance(text, str) and text not in ("", "None")]
    if texts:
        return [str(_family(ip_address(text).version)) for text in texts]
    both = [family, next(other for other in Family if other is not family)]
    return [str(one) for one in (both if spec.get("ipFamilyPolicy") in _DUAL_STACK else both[:1])]


def _service_port(port: Body, *, exposed: bool) -> Body:
    whole = {"protocol": "TCP", "targetPort": port["port"], **port}
    # A headless Service may be of no type with node ports; 0 is what the API server takes for "allocate one".
    return {name: value for name, value in whole.items() if name != "nodePort" or (exposed and value)}


def _network_policy(body: Body) -> Body:
    """An empty list of rules is not stored; inside a rule, one means everyone, and is not stored either."""
    spec = dict(body.get("spec") or {})
    for direction, side in (("ingress", "from"), ("egress", "to")):
        rules = [_rule(rule, side) for rule in spec.pop(direction, None) or ()]
        if rules:
            spec[direction] = rules
    spec["podSelector"] = spec.get("podSelector") or {}
    spec["policyTypes"] = spec.get("policyTypes") or ["Ingress", *(["Egress"] if spec.get("egress") else [])]
    whole = {**body, "spec": spec}
    metadata = body["metadata"]
    ours = _label(body, MANAGED_BY_LABEL) == FIELD_MANAGER and _label(body, POLICY_LABEL)
    if ours and "managedFields" not in metadata:
        owners = [owner["uid"] for owner in metadata.get("ownerReferences") or ()]
        return _held(whole, network_policy_fields(owners=owners))
    return whole


def _rule(rule: Body, side: str) -> Body:
    kept = {name: value for name, value in rule.items() if value or name not in (side, "ports")}
    if "ports" in kept:
        kept["ports"] = [{"protocol": "TCP", **port} for port in kept["ports"]]
    return kept


def _label(body: Body, name: str) -> str:
    return str((body["metadata"].get("labels") or {}).get(name, ""))


def _held(body: Body, fields: Iterable[tuple[str, ...]]) -> Body:
    """With our entry of managedFields. ``kubectl get -o yaml`` leaves managedFields out; without them, what the
    operator has written would look like a stranger's, and it bears labels that nobody else has a reason to set."""
    return {**body, "metadata": {**body["metadata"], "managedFields": [our_entry(fields)]}}
