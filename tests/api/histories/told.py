"""What the status of a policy has to say once all is quiet.

Not its business: messages, which a fresh operator would write anew where they are not right, and what stands in the
cluster (`expected`).
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator
from typing import Any

from tests.api.access import Json
from tests.api.histories.admission import PROBES, block, enforcing, has_node_ports, selector_of
from tests.api.histories.seen import SERVICE_LABEL, Guard, claims_of, conflicting
from tests.api.histories.vocabulary import Labels
from tests.api.witness import selected

LASTING = (
    "ServiceTypeUnsupported",
    "ExternalNameService",
    "SelectorMissing",
    "PortNotFound",
    "ClusterUnmanaged",
    "NameConflict",
    "OpenedByOtherPolicy",
    "HostNetworkBackend",
    "UnguardedClusterService",
    "ServiceAlreadyClaimed",
)
PASSING = ("ServiceNotFound", "ClusterInForce", "NotApplied")


def differences(guard: Guard, policy: Json) -> Iterator[str]:
    """Everything in the status of one policy that is not as it has to be."""
    name, status = policy["metadata"]["name"], policy.get("status") or {}
    if status.get("observedGeneration") != policy["metadata"]["generation"]:
        yield f"status of {name} speaks of generation {status.get('observedGeneration')}"
        return
    said = {one["type"]: f"{one['status']} {one['reason']}" for one in status.get("conditions") or ()}
    wanted = _conditions(guard, policy)
    if f"{name}-allow" in conflicting(guard.seen, policy):
        # What stands of the deny-all stays as it is.
        said.pop("DefaultDenyApplied", None)
        wanted.pop("DefaultDenyApplied", None)
    for kind in sorted(said.keys() | wanted.keys()):
        if said.get(kind) != wanted.get(kind):
            yield f"condition {kind} of {name} is {said.get(kind)}, not {wanted.get(kind)}"
    for fact, value in _facts(guard, policy).items():
        if status.get(fact) != value:
            yield f"{fact} in the status of {name} is {status.get(fact)}, not {value}"


def _facts(guard: Guard, policy: Json) -> dict[str, Any]:
    if guard.service is None:
        return dict.fromkeys(("serviceUID", "nodePorts", "effectiveCIDRs", "nodes"))
    ready, draining = _nodes(guard)
    rules = guard.allow(policy).values()
    return {
        "serviceUID": guard.service["metadata"]["uid"],
        "nodePorts": [port["nodePort"] for port in guard.service["spec"].get("ports") or () if "nodePort" in port],
        "effectiveCIDRs": sum(not who.startswith("{") for rule in rules for who in rule),
        "nodes": {
            "ready": len(ready),
            "draining": len(draining),
            "total": len(guard.seen.nodes),
            "share": f"{len(ready)}/{len(guard.seen.nodes)}",
        },
    }


def _conditions(guard: Guard, policy: Json) -> dict[str, str]:
    """In the order in which they are asked."""
    found = {
        "ServiceResolved": _resolved(guard, policy),
        "ClientIPPreserved": _client_ip(guard, policy),
        "AllowlistApplied": _applied(guard, policy, "-allow"),
        "DefaultDenyApplied": _applied(guard, policy, "-deny-all"),
        "Reachable": _reachable(guard, policy),
        "Exclusive": _exclusive(guard, policy),
        "Enforceable": _enforceable(guard, policy),
    }
    reasons = [text.split()[1] for text in found.values()]
    if policy["spec"].get("mode") == "Audit":
        return {**found, "Ready": "False AuditMode"}
    if policy is not guard.holder:
        reasons = ["ServiceAlreadyClaimed"]
    for heavy, kind in ((LASTING, "Stalled"), (PASSING, "Reconciling")):
        if worst := next((reason for reason in reasons if reason in heavy), None):
            return {**found, "Ready": f"False {worst}", kind: f"True {worst}"}
    return {**found, "Ready": "True Guarded"}


def _resolved(guard: Guard, policy: Json) -> str:
    if guard.service is None:
        return "False ServiceNotFound"
    if guard.service["spec"]["type"] == "ExternalName":
        return "False ExternalNameService"
    if not has_node_ports(guard.service):
        return "False ServiceTypeUnsupported"
    if not guard.selector:
        return "False SelectorMissing"
    ports = guard.service["spec"].get("ports") or ()
    known = {port.get("name") for port in ports} | {port["port"] for port in ports}
    named = {ref for entry in policy["spec"].get("allowedCIDRs") or () for ref in entry.get("ports") or ()}
    return "True ServiceFound" if named <= known else "False PortNotFound"


def _unknown(guard: Guard, policy: Json) -> str:
    return f"Unknown {_resolved(guard, policy).split()[1]}"


def _client_ip(guard: Guard, policy: Json) -> str:
    if guard.service is None or not has_node_ports(guard.service):
        return _unknown(guard, policy)
    if guard.service["spec"]["externalTrafficPolicy"] == "Local":
        return "True LocalInForce"
    unmanaged = policy["spec"].get("trafficPolicy") == "Unmanaged"
    return "False ClusterUnmanaged" if unmanaged else "False ClusterInForce"


def _applied(guard: Guard, policy: Json, suffix: str) -> str:
    waits = enforcing(policy) and policy is not guard.holder
    if waits and suffix == "-allow":
        return "False ServiceAlreadyClaimed"
    if not guard.selector:
        return _unknown(guard, policy)
    if policy["spec"].get("mode") == "Audit":
        return "False AuditMode"
    name = policy["metadata"]["name"]
    taken = conflicting(guard.seen, policy)
    if f"{name}{suffix}" in taken:
        return "False NameConflict"
    return "True Applied"


def _reachable(guard: Guard, policy: Json) -> str:
    if guard.service is None or not has_node_ports(guard.service):
        return _unknown(guard, policy)
    return "True NodesAnswer" if _nodes(guard)[0] else "False NoReadyEndpoints"


def _nodes(guard: Guard) -> tuple[set[str], set[str]]:
    """Nodes with a ready endpoint, and those that only drain."""
    ready, draining = set(), set()
    for endpoint in (one for piece in _slices(guard) for one in piece.get("endpoints") or ()):
        conditions = endpoint.get("conditions") or {}
        if conditions.get("ready") is not False:
            ready.add(endpoint.get("nodeName", ""))
        elif conditions.get("terminating") and conditions.get("serving") is not False:
            draining.add(endpoint.get("nodeName", ""))
    return ready, draining - ready


def _slices(guard: Guard) -> list[Json]:
    slices = guard.seen.objects["EndpointSlice"].values()
    return [one for one in slices if one["metadata"]["labels"].get("kubernetes.io/service-name") == guard.name]


def _pod_labels(guard: Guard) -> list[Labels]:
    """Those of the Service's pods; while there are none, what a pod must at least carry."""
    found = [pod["metadata"].get("labels", {}) for pod in guard.seen.objects["Pod"].values()]
    return [labels for labels in found if guard.selector.items() <= labels.items()] or [guard.selector]


def _exclusive(guard: Guard, policy: Json) -> str:
    if not guard.selector:
        return _unknown(guard, policy)
    for other in _others(guard):
        if any(_opens(guard, other["spec"], policy, port) for port in (guard.service or {})["spec"].get("ports", ())):
            return "False OpenedByOtherPolicy"
    return "True NoOtherOpening"


def _others(guard: Guard) -> Iterator[Json]:
    """NetworkPolicies that select one of the pods, all but the children of this Service's policies."""
    own = {f"{one['metadata']['name']}{suffix}" for one in guard.policies for suffix in ("-allow", "-deny-all")}
    for name, other in guard.seen.objects["NetworkPolicy"].items():
        made_here = name in own or other["metadata"].get("labels", {}).get(SERVICE_LABEL) == guard.name
        selects = any(selected(other["spec"].get("podSelector") or {}, one) for one in _pod_labels(guard))
        if selects and not (claims_of(other) and made_here):
            yield other


def _opens(guard: Guard, spec: Json, policy: Json, port: Json) -> bool:
    """Whether it admits an address to a port of the Service that the allowlist does not."""
    mine: set[str] = set()
    for entry in policy["spec"].get("allowedCIDRs") or ():
        named = "ports" not in entry or port.get("name") in entry["ports"] or port["port"] in entry["ports"]
        if named and guard.in_force(entry):
            mine |= block(entry["cidr"], entry.get("except", ()))
    theirs = {one for rule in _rules(guard, spec, port) for one in _addresses(rule)}
    return any(ipaddress.ip_address(one).version in _versions(guard) for one in theirs - mine)


def _versions(guard: Guard) -> set[int]:
    return {{"IPv4": 4, "IPv6": 6}[one] for one in guard.families}


def _rules(guard: Guard, spec: Json, port: Json) -> Iterator[Json]:
    """The rules that may be about a port of the Service."""
    target, number = port["targetPort"], _number(guard, port)
    for rule in spec.get("ingress") or () if "Ingress" in spec.get("policyTypes", ["Ingress"]) else ():
        ports = {one["port"] for one in rule.get("ports") or ()}
        # A number may have any name, and a name that no EndpointSlice resolves may be any number.
        doubtful = str if isinstance(target, int) else int if number is None else ()
        if not ports or ports & {target, number} or any(isinstance(one, doubtful) for one in ports):
            yield rule


def _number(guard: Guard, port: Json) -> int | None:
    """The number at the pod."""
    if isinstance(port["targetPort"], int):
        return int(port["targetPort"])
    found = (one for piece in _slices(guard) for one in piece.get("ports") or () if one.get("name") == port["name"])
    return next((one["port"] for one in found if one.get("port") is not None), None)


def _enforceable(guard: Guard, policy: Json) -> str:
    if not guard.selector:
        return _unknown(guard, policy)
    endpoints = [one for piece in _slices(guard) for one in piece.get("endpoints") or ()]
    own = {text for node in guard.seen.nodes for text in _node_addresses(node)}
    if any(own.intersection(one["addresses"]) for one in endpoints):
        return "False HostNetworkBackend"
    sharing = [one for name, one in guard.seen.objects["Service"].items() if name != guard.name and _shares(guard, one)]
    if any(one["spec"].get("externalTrafficPolicy") != "Local" for one in sharing):
        return "False UnguardedClusterService"
    if any(_covers_nodes(guard, _blocks(guard, other["spec"])) for other in _others(guard)):
        return "False OtherPolicyCoversNodes"
    if sharing:
        return "False UnguardedService"
    allowed = [text for who in guard.allow(policy).values() for text in who if not text.startswith("{")]
    return "False AllowlistCoversNodes" if _covers_nodes(guard, allowed) else "True NothingBypasses"


def _covers_nodes(guard: Guard, cidrs: Iterable[str]) -> bool:
    """Whether an address of a node or its pods is in a list that does not admit everyone."""
    networks = [network for network in map(ipaddress.ip_network, cidrs) if network.prefixlen]
    nodes = [ipaddress.ip_network(text) for node in guard.seen.nodes for text in _node_networks(node)]
    return any(
        one.version == node.version and one.version in _versions(guard) and one.overlaps(node)
        for one in networks
        for node in nodes
    )


def _blocks(guard: Guard, spec: Json) -> Iterator[str]:
    """The networks of the rules that may be about a port of the Service."""
    for port in (guard.service or {})["spec"].get("ports", ()):
        for rule in _rules(guard, spec, port):
            yield from (peer["ipBlock"]["cidr"] for peer in rule.get("from") or () if "ipBlock" in peer)


def _shares(guard: Guard, other: Json) -> bool:
    """Whether another Service opens one of these pods, and no policy keeps it Local."""
    selector = selector_of(other)
    if not selector or not has_node_ports(other):
        return False
    holder = guard.seen.holder_of(other["metadata"]["name"])
    guarded = holder is not None and holder["spec"].get("trafficPolicy", "Local") == "Local"
    return not guarded and any(selector.items() <= labels.items() for labels in _pod_labels(guard))


def _addresses(rule: Json) -> set[str]:
    if not rule.get("from"):
        return set(PROBES)
    blocks = [peer["ipBlock"] for peer in rule["from"] if "ipBlock" in peer]
    return {one for item in blocks for one in block(item["cidr"], item.get("except", ()))}


def _node_networks(node: Json) -> Iterator[str]:
    yield from _node_addresses(node)
    yield from node["spec"].get("podCIDRs") or ()


def _node_addresses(node: Json) -> Iterator[str]:
    yield from (one["address"] for one in node["status"]["addresses"] if one["type"] == "InternalIP")
    for annotation, address in (node["metadata"].get("annotations") or {}).items():
        if "Tunnel" in annotation:
            yield address
