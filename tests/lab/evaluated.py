"""The product's own evaluator against packets: what it says of the objects in the API is what became of connections.

It is told what is known of the lab: the placement of the engine and the mode of the proxy, which change from table to
table, and the rest, which holds for all of them. So it may say of no cell that it depends. Not its business: the
hand-worked model of the same table (`tests.lab.expected`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from ipaddress import ip_address

from nodeport_access.evaluate import (
    Answer,
    BackendPod,
    ByClusterAddress,
    ByExternalIP,
    ByLoadBalancer,
    ByNodePort,
    ByPodAddress,
    Caller,
    Client,
    Known,
    Scene,
    Unknown,
    Verdict,
    evaluate,
)
from nodeport_access.evaluate import Entry as Way
from nodeport_access.evaluate.bodies import parse_frontends
from nodeport_access.evaluate.cni import settle
from nodeport_access.evaluate.unknowns import Enforcement
from nodeport_access.observed import parse_endpoint_slice, parse_network_policy, parse_node, parse_service
from testbed.cluster import Cluster
from testbed.lab import stage
from testbed.lab.dialing import Fate, Outcome
from testbed.lab.policing import Placement
from testbed.lab.proxies import Mode
from testbed.lab.topology import Entry
from tests.lab.cells import CELLS, Cell

LAB = (
    (Unknown.LOCAL_PODS, "cluster"),
    (Unknown.POD_EGRESS, "own"),
    (Unknown.HAIRPIN, "judged"),
    (Unknown.TERMINATING, "isolated"),
    (Unknown.PODS_IN_IPBLOCK, "matched"),
    (Unknown.NODES_IN_IPBLOCK, "matched"),
    (Unknown.CLUSTER_ADDRESS, "routed"),
    (Unknown.POD_ADDRESS, "routed"),
)
"""What holds in the lab whatever the table."""

PLACEMENTS = {
    Placement.EVERY_HOP: "every-hop",
    Placement.OWN_NODE: "own-node",
    Placement.AFTER_SNAT: "after-snat",
}
ENTRIES: dict[Entry, Callable[[str], Way]] = {
    Entry.NODE_PORT: ByNodePort,
    Entry.EXTERNAL_IP: ByExternalIP,
    Entry.LOAD_BALANCER: ByLoadBalancer,
    Entry.CLUSTER_IP: ByClusterAddress,
    Entry.POD: ByPodAddress,
}


def known(mode: Mode, placement: Placement | None) -> Known:
    """What is known of the lab in this mode and placement; None: no engine."""
    placed = ((Unknown.PLACEMENT, PLACEMENTS[placement]),) if placement else ()
    enforcement = Enforcement.ENFORCED if placement else Enforcement.IGNORED
    return settle(proxy_mode=mode.value, assumptions=(*LAB, *placed, (Unknown.ENFORCEMENT, enforcement)))


def disagreements(
    cluster: Cluster, found: Sequence[Outcome], *, mode: Mode, placement: Placement | None
) -> Iterator[str]:
    """A line for each cell of which the evaluator says otherwise. `found` is what became of CELLS."""
    scene, callers = _scene(cluster), _callers(cluster)
    for cell, outcome in zip(CELLS, found, strict=True):
        verdict = asked(scene, cell, callers, known(mode, placement))
        if not agrees(outcome, verdict):
            yield f"{cell}: {outcome}, but the evaluator says {verdict.answer}: {' '.join(verdict.derivation)}"


def asked(scene: Scene, cell: Cell, callers: dict[str, Caller], known: Known) -> Verdict:
    """What the evaluator says of a cell."""
    port = next(port for port in scene.service.ports if port.target.protocol == str(cell.protocol))
    client = Client(ip_address(cell.client.addresses[cell.family]), callers.get(cell.client.name))
    return evaluate(scene, client=client, port=port, entry=ENTRIES[cell.entry](cell.node.name), known=known)


def agrees(outcome: Outcome, verdict: Verdict) -> bool:
    """Whether it is what became of a connection, the address included that the pod saw."""
    if outcome.fate is Fate.REFUSED:
        return verdict.answer is Answer.REFUSED
    return verdict.answer is Answer.THROUGH and verdict.sources == (ip_address(outcome.source),)


def _scene(cluster: Cluster) -> Scene:
    namespace = stage.NAMESPACE
    service = cluster.get("Service", stage.SERVICE, namespace=namespace)
    selector = f"kubernetes.io/service-name={stage.SERVICE}"
    slices = cluster.list("EndpointSlice", namespace=namespace, selector=selector)
    return Scene(
        service=parse_service(service),
        slices=tuple(map(parse_endpoint_slice, slices)),
        nodes=tuple(map(parse_node, cluster.list("Node"))),
        network_policies=tuple(map(parse_network_policy, cluster.list("NetworkPolicy", namespace=namespace))),
        pods=(BackendPod(labels=stage.LABELS),),
        frontends=parse_frontends(service),
    )


def _callers(cluster: Cluster) -> dict[str, Caller]:
    namespaces = {body["metadata"]["name"]: body["metadata"]["labels"] for body in cluster.list("Namespace")}
    return {
        body["metadata"]["name"]: Caller(
            namespace=body["metadata"]["namespace"],
            namespace_labels=namespaces[body["metadata"]["namespace"]],
            labels=body["metadata"]["labels"],
            node=body["spec"].get("nodeName", ""),
        )
        for body in cluster.list("Pod")
    }
